"""What is compiled into a market's rules: its options, as a key under which markets share machine code."""

from typing import NamedTuple

PRICES = ("separate", "one")
"""Whose limit prices a prosumer names: of battery and flexible load each, or one for both."""

IMBALANCES = ("pooled", "individual", "ex-post")
"""How deviations from the forecast are settled."""

PEAKS = ("community", "member")
"""Whose daily peak is charged."""

TIME_UNITS = ("hour", "step")
"""What the memory of the weather, the slope of linear orders and observed forecasts count in."""

OBSERVATIONS = ("full", "short")
"""Kinds of observations."""


class Traits(NamedTuple):
    """Options of a market that are compiled into its rules."""

    actions: str
    """``box`` or ``discrete``."""
    orders: str
    """One of :data:`mfenvs.games.energy.clearing.ORDERS`."""
    prices: str
    """One of :data:`PRICES`."""
    imbalance: str
    """One of :data:`IMBALANCES`."""
    has_limits: bool
    """Whether a transformer limits what the community exchanges with the grid."""
    peak: str
    """Whose daily peak is charged, one of :data:`PEAKS`; empty if none is."""
    shifts: bool
    """Whether flexible load that is not served waits."""
    has_vehicles: bool
    """Whether there are electric vehicles."""
    observations: str
    """One of :data:`OBSERVATIONS`."""

    @property
    def counts_imbalance(self) -> bool:
        """Whether shortages and surpluses of the community are counted: where their sums decide what is paid."""
        return self.imbalance == "pooled" or (self.imbalance == "individual" and self.peak == "community")

    @property
    def counts_sums(self) -> bool:
        """Whether sums over the community are counted behind the orders."""
        return self.has_limits or self.counts_imbalance
