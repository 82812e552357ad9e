"""Who takes part in the energy market: types of prosumers and their parameters."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.energy.series import MarketSeries

TYPES = ("consumer", "pv", "storage", "commercial", "wind")
"""Names of the types; ``storage`` owns PV and a battery."""
CONSUMER, PV, STORAGE, COMMERCIAL, WIND = range(5)

PROPORTIONS = (0.40, 0.20, 0.25, 0.10, 0.05)
"""Their shares of the population [O]."""

PROSUMER = np.dtype(
    [
        ("type", np.int32),
        ("profile", np.int32),
        ("shift", np.int32),
        ("load_scale", np.float32),
        ("pv_kwp", np.float32),
        ("wind_kw", np.float32),
        ("capacity", np.float32),
        ("power", np.float32),
        ("flexible_share", np.float32),
        ("flexible_value", np.float32),
        ("error_scale", np.float32),
        ("degrees_of_freedom", np.float32),
        ("risk_aversion", np.float32),
        ("node", np.int32),
        ("spread", np.float32),
    ]
)
"""Parameters of an agent: index of its type; its home profile and by how many days its load is shifted; what its
profile's load is multiplied with; PV in kWp, wind in kW, battery in kWh and kW; share of the load that is
flexible and what a kWh of it is worth in EUR; scale (relative to load and generation) and degrees of freedom nu
of its Student-t forecast errors; risk aversion gamma; its node of the payment network, as a number that the
network takes modulo its size; the 90 % quantile of the forecast errors.
"""


@dataclasses.dataclass(frozen=True)
class ProsumerLaw:
    """The laws from which :func:`draw_prosumers` draws; all uniform ranges [O] but where it is said."""

    annual_load_kwh: float = 10_400.0
    """Median of the homes' lognormal annual loads."""
    annual_load_log_sd: float = 0.23
    commercial_factor: float = 8.0
    """A business uses so many times as much as a home."""
    pv_kwp: tuple[float, float] = (3.0, 8.0)
    wind_kw: tuple[float, float] = (30.0, 120.0)
    """A share of a turbine: with these the community is at times short of energy and at times has too much."""
    capacity_kwh: tuple[float, float] = (5.0, 12.0)
    c_rate: float = 0.5
    """Power of a battery, kW per kWh."""
    flexible_share: tuple[float, float] = (0.0, 0.3)
    flexible_value: tuple[float, float] = (0.15, 0.5)
    """EUR per kWh of flexible load."""
    error_scale: tuple[float, float] = (0.05, 0.15)
    """Scale of the forecast errors, relative to load and generation."""
    nu: float = 4.0
    spiky_nu: float = 2.5
    spiky_share: float = 0.2
    """Share of homes whose errors have heavy tails."""
    aggregate_nu: float = 30.0
    """Of businesses, which average over many loads."""
    risk_aversion: tuple[float, float] = (0.0, 0.5)
    most_weeks_shifted: int = 3
    """Loads are shifted by whole weeks up to this, so that agents of one profile are not copies of each other."""


LAW = ProsumerLaw()
NODES = 2**20
"""Payment-network nodes are drawn below this, and taken modulo the number of nodes."""


def stratified(proportions: tuple[float, ...], n: int) -> NDArray[np.int64]:
    """How many of n agents are of each type: proportions, rounded by largest remainders (ties to the first)."""
    exact = np.array(proportions) / sum(proportions) * n
    counts = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: n - counts.sum()]] += 1
    return counts


def draw_prosumers(
    proportions: tuple[float, ...], n: int, series: MarketSeries, rng: np.random.Generator, law: ProsumerLaw = LAW
) -> NDArray[Any]:
    """Draw n agents, ordered by type.

    Parameters
    ----------
    proportions:
        Shares of the types, in the order of :data:`TYPES`.
    n:
        Number of agents.
    series:
        Whose profiles they take.
    rng:
        Source of randomness.
    law:
        The laws of the parameters.

    Returns
    -------
    Shape (n,) of :data:`PROSUMER`.
    """
    from scipy.special import stdtrit  # Here, as it takes long to import.

    agents = np.zeros(n, PROSUMER)
    agents["type"] = kind = np.repeat(np.arange(len(TYPES)), stratified(proportions, n))
    is_sunny, is_business = np.isin(kind, (PV, STORAGE)), kind == COMMERCIAL
    any_profile = rng.integers(series.n_profiles, size=n)
    sunny_profile = series.pv_profiles[rng.integers(len(series.pv_profiles), size=n)]
    agents["profile"] = np.where(is_sunny, sunny_profile, any_profile)
    weeks = law.most_weeks_shifted
    agents["shift"] = 7 * rng.integers(-weeks, weeks + 1, size=n) % series.n_days
    annual = law.annual_load_kwh * np.exp(law.annual_load_log_sd * rng.standard_normal(n))
    annual[is_business] *= law.commercial_factor
    of_profile = series.load.sum(axis=(0, 1), dtype=np.float64) * 365 / series.n_days
    agents["load_scale"] = annual / of_profile[agents["profile"]]

    def uniform(bounds: tuple[float, float]) -> NDArray[np.float64]:
        return rng.uniform(*bounds, n)

    agents["pv_kwp"] = uniform(law.pv_kwp) * is_sunny
    agents["wind_kw"] = uniform(law.wind_kw) * (kind == WIND)
    agents["capacity"] = uniform(law.capacity_kwh) * (kind == STORAGE)
    agents["power"] = law.c_rate * agents["capacity"]
    agents["flexible_share"] = uniform(law.flexible_share)
    agents["flexible_value"] = uniform(law.flexible_value)
    agents["error_scale"] = uniform(law.error_scale)
    homes_nu = np.where(rng.random(n) < law.spiky_share, law.spiky_nu, law.nu)
    agents["degrees_of_freedom"] = np.where(is_business, law.aggregate_nu, homes_nu)
    agents["risk_aversion"] = uniform(law.risk_aversion)
    agents["node"] = rng.integers(NODES, size=n)
    agents["spread"] = agents["error_scale"] * stdtrit(agents["degrees_of_freedom"], 0.9)
    return agents
