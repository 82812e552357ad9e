"""Version 0 of the energy market and of its binned game: the same rules with the options and constants of then.

In version 0 a prosumer has one limit price, imbalances are settled with the retailer one by one, tariffs are flat,
one weather factor changes load, sun and wind alike, and observations are 30 numbers. Homes use as much as those of
the embedded series, PV is smaller, there are fewer batteries, and there are wind owners. Nearly all that can be
gained there is gained by trade itself, and hardly anything by the use of batteries.
"""

import dataclasses
from typing import Any, ClassVar

from mfenvs.energy.tariffs import AnyTariff
from mfenvs.games.energy.binned import BinnedEnergyMarket
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.prosumer_types import LAW_V0, PROPORTIONS_V0, ProsumerLaw


@dataclasses.dataclass(kw_only=True)
class EnergyMarketV0(EnergyMarket):
    """The energy market with the defaults of version 0; all terms are those of :class:`EnergyMarket`."""

    prices: str = "one"
    """Limit prices: ``one`` for all that a prosumer orders, or ``separate`` ones."""
    imbalance: str = "individual"
    """How deviations from the forecast are settled: ``individual``, ``pooled`` or ``ex-post``."""
    proportions: tuple[float, ...] = PROPORTIONS_V0
    """Shares of consumers, PV owners, owners of PV and a battery, businesses and wind owners in the population."""
    retail: AnyTariff = 0.32
    """Retail tariff, which the grid charges for imports, without the network charge, EUR/kWh."""
    network_charge: AnyTariff = 0.0
    """Network charge, EUR/kWh, which is added to the retail tariff: one number, or 24, one for each hour."""
    weather_sd: float | tuple[float, float, float] = 0.1
    """Standard deviation of the common weather factors, or three, of load, PV and wind generation."""
    weather_correlation: str | tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Correlations of the weather factors of load and sun, load and wind, sun and wind: all are one factor."""
    time_unit: str = "step"
    """What ``weather_memory``, ``slope`` and observed forecasts count in: ``step`` or ``hour``."""
    observations: str = "short"
    """What agents observe: ``short``, 30 numbers, or ``full``."""

    law: ProsumerLaw = LAW_V0
    """Laws of the members' parameters that no table gives."""


@dataclasses.dataclass(kw_only=True)
class BinnedEnergyMarketV0(BinnedEnergyMarket):
    """The energy market in bins with the defaults of version 0; all terms are those of the newer version."""

    prices: str = EnergyMarketV0.prices
    """Limit prices: ``one`` for all that a prosumer orders, or ``separate`` ones."""
    imbalance: str = EnergyMarketV0.imbalance
    """How deviations from the forecast are settled: ``individual``, ``pooled`` or ``ex-post``."""
    proportions: tuple[float, ...] = EnergyMarketV0.proportions
    """Shares of consumers, PV owners, owners of PV and a battery, businesses and wind owners in the population."""
    retail: AnyTariff = EnergyMarketV0.retail
    """Retail tariff, which the grid charges for imports, without the network charge, EUR/kWh."""
    network_charge: AnyTariff = 0.0
    """Network charge, EUR/kWh, which is added to the retail tariff: one number, or 24, one for each hour."""
    law: ProsumerLaw = LAW_V0
    """Laws of the members' parameters that no table gives."""
    weather_correlation: str | tuple[float, float, float] = EnergyMarketV0.weather_correlation
    """Correlations of the weather factors of load and sun, load and wind, sun and wind: all are one factor."""

    market_class: ClassVar[Any] = EnergyMarketV0
