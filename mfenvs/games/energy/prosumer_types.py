"""Who takes part in the energy market: types of prosumers and their parameters."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.calendar import ANNUAL_LOAD_KWH
from mfenvs.energy.series import MarketSeries
from mfenvs.games.typed_agents import stratified

TYPES = ("consumer", "pv", "storage", "commercial", "wind")
"""Names of the types; ``storage`` owns PV and a battery."""
CONSUMER, PV, STORAGE, COMMERCIAL, WIND = range(5)

PROPORTIONS = (0.40, 0.10, 0.40, 0.10, 0.0)
"""Shares of the types in the population [O]."""
PROPORTIONS_V0 = (0.40, 0.20, 0.25, 0.10, 0.05)
"""Those of version 0: fewer batteries, and wind owners."""

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
        ("vehicle_energy", np.float32),
        ("vehicle_power", np.float32),
        ("vehicle_arrival", np.float32),
        ("vehicle_departure", np.float32),
        ("efficiency", np.float32),
    ]
)
"""Parameters of an agent.

``type``: index in :data:`TYPES`. ``profile``: home profile of the series. ``shift``: days by which its load is
shifted. ``load_scale``: factor on its profile's load. ``pv_kwp``, ``wind_kw``: installed PV (kWp) and wind (kW).
``capacity``, ``power``: of its battery (kWh, kW). ``flexible_share``: share of its load that is flexible.
``flexible_value``: what flexible load is worth to it (EUR/kWh). ``error_scale``, ``degrees_of_freedom``: scale,
relative to load and generation, and degrees of freedom nu of its Student-t forecast errors. ``risk_aversion``:
gamma. ``node``: its node of the payment network, taken modulo the network's size. ``spread``: the 90 % quantile of
its forecast errors. ``vehicle_energy``: what its electric vehicle needs every day (kWh), 0 without one.
``vehicle_power``: with which that is charged (kW). ``vehicle_arrival``, ``vehicle_departure``: hours of the day at
which it comes home and departs. ``efficiency``: one-way battery efficiency, of charging and of discharging.
"""

Range = tuple[float, float]

LAST_HOUR = 23.99
"""Latest hour of the day at which vehicles come and depart."""
MOST_KWH = 1e6
"""Largest annual load (kWh), installed power (kW) and battery capacity (kWh)."""


@dataclasses.dataclass(frozen=True)
class ProsumerLaw:
    """Laws from which :func:`draw_prosumers` draws; pairs are the bounds of uniform laws [O].

    Homes are those of families, as far as there are public figures: German households of three and of four persons
    use 3,720 and 4,085 kWh a year (BDEW, 2021). The mean capacity of German home batteries was about 10 kWh at the
    end of 2022 (BSW-Solar, from the register of the Bundesnetzagentur: 6.7 GWh in 640,000 systems). A business of
    the default law uses some 30 MWh, below the 100 MWh a year up to which standard load profiles are used.

    Raises
    ------
    TypeError, ValueError
        If a field is not allowed; the message names it.
    """

    annual_load_kwh: float = 4_000.0
    """Median of the homes' annual loads, which are lognormal, kWh."""
    annual_load_log_sd: float = 0.23
    """Standard deviation of their logarithms, at most 1."""
    commercial_factor: float = 8.0
    """Annual load of a business, relative to a home's."""
    pv_kwp: Range = (5.0, 12.0)
    """Installed PV power of PV owners, kWp."""
    wind_kw: Range = (30.0, 120.0)
    """Installed wind power of wind owners, kW: a share of a turbine, such that the community is at times short of
    energy and at times has too much."""
    capacity_kwh: Range = (5.0, 12.0)
    """Battery capacity, kWh."""
    c_rate: float = 0.5
    """Battery power per capacity, kW per kWh."""
    flexible_share: Range = (0.0, 0.3)
    """Share of the load that is flexible."""
    flexible_value: Range = (0.15, 0.5)
    """Value of flexible load, EUR/kWh."""
    error_scale: Range = (0.05, 0.15)
    """Scale of the Student-t forecast errors, relative to load and generation."""
    nu: float = 4.0
    """Degrees of freedom of a home's forecast errors, above 1 as all of these."""
    spiky_nu: float = 2.5
    """Degrees of freedom of a home's errors with heavy tails."""
    spiky_share: float = 0.2
    """Share of homes whose errors have heavy tails."""
    aggregate_nu: float = 30.0
    """Degrees of freedom of a business's errors, which average over many loads."""
    risk_aversion: Range = (0.0, 0.5)
    """Risk aversion gamma."""
    vehicle_energy_kwh: Range = (4.0, 12.0)
    """Energy that an electric vehicle needs every day, kWh: 20 to 60 km."""
    vehicle_power_kw: Range = (3.7, 11.0)
    """Power at which it can be charged, kW."""
    vehicle_arrival_hour: Range = (16.0, 20.0)
    """Hour of the day at which it comes home; within [0, 24)."""
    vehicle_departure_hour: Range = (6.0, 9.0)
    """Hour of the day at which it departs; within [0, 24)."""
    most_weeks_shifted: int = 3
    """Loads are shifted by whole weeks up to this, so that agents of one profile are not copies of each other."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("annual_load_kwh", 0.0, MOST_KWH),
            ("annual_load_log_sd", 0.0, 1.0),
            ("commercial_factor", 0.0, 1e3),
            ("c_rate", 0.0, 1e3),
            ("spiky_share", 0.0, 1.0),
        ):
            checks.real(f"the law's {name}", getattr(self, name), low, high)
        for name in ("nu", "spiky_nu", "aggregate_nu"):
            checks.real(f"the law's {name}", getattr(self, name), 1.0, 1e6, exclude_low=True)
        checks.integer("the law's most_weeks_shifted", self.most_weeks_shifted, 0, 52)
        for name, high in (
            ("pv_kwp", MOST_KWH),
            ("wind_kw", MOST_KWH),
            ("capacity_kwh", MOST_KWH),
            ("flexible_share", 1.0),
            ("flexible_value", 1e3),
            ("error_scale", 10.0),
            ("risk_aversion", 1.0),
            ("vehicle_energy_kwh", MOST_KWH),
            ("vehicle_power_kw", MOST_KWH),
            ("vehicle_arrival_hour", LAST_HOUR),
            ("vehicle_departure_hour", LAST_HOUR),
        ):
            bounds = getattr(self, name)
            if not isinstance(bounds, tuple) or len(bounds) != 2:
                raise TypeError(f"the law's {name} must be a pair of bounds, got {bounds!r}")
            low = checks.real(f"the lower bound of the law's {name}", bounds[0], 0.0, high)
            checks.real(f"the upper bound of the law's {name}", bounds[1], low, high)


LAW = ProsumerLaw()
"""The laws of the game: homes as in Germany, with larger PV and batteries than version 0."""
LAW_V0 = ProsumerLaw(annual_load_kwh=ANNUAL_LOAD_KWH, pv_kwp=(3.0, 8.0))
"""The laws of version 0: homes that use as much as those of the embedded series."""
LEAST_ANNUAL_LOAD = 1e-3
"""Least annual load of a profile, which is scaled to that of a home, kWh."""
NODES = 2**20
"""Payment-network nodes are drawn below this, and taken modulo the number of nodes."""


def draw_prosumers(
    proportions: tuple[float, ...],
    n: int,
    series: MarketSeries,
    rng: np.random.Generator,
    law: ProsumerLaw = LAW,
    vehicle_share: float = 0.0,
    efficiency: float = 0.95,
) -> NDArray[Any]:
    """Draw n agents, ordered by type.

    Parameters
    ----------
    proportions:
        Shares of the types, in the order of :data:`TYPES`.
    n:
        Number of agents.
    series:
        Series whose profiles they take.
    rng:
        Source of randomness.
    law:
        Laws of the parameters.
    vehicle_share:
        Share of homes, which are all but businesses and wind owners, that have an electric vehicle.
    efficiency:
        One-way battery efficiency of all.

    Returns
    -------
    Array of :data:`PROSUMER`, shape (n,).

    Raises
    ------
    ValueError
        If a profile of the series has (nearly) no load: annual loads are reached by scaling.
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
    if not of_profile.min() >= LEAST_ANNUAL_LOAD:
        raise ValueError(
            f"series must have a load of at least {LEAST_ANNUAL_LOAD:g} kWh a year in every profile, got"
            f" {of_profile.min():g} in profile {of_profile.argmin()}"
        )
    agents["load_scale"] = annual / of_profile[agents["profile"]]

    def uniform(bounds: tuple[float, float]) -> NDArray[np.float64]:
        return rng.uniform(*bounds, n)

    agents["pv_kwp"] = uniform(law.pv_kwp) * is_sunny
    agents["wind_kw"] = uniform(law.wind_kw) * (kind == WIND)
    agents["capacity"] = uniform(law.capacity_kwh) * (kind == STORAGE)
    agents["power"] = law.c_rate * agents["capacity"]
    agents["efficiency"] = efficiency
    agents["flexible_share"] = uniform(law.flexible_share)
    agents["flexible_value"] = uniform(law.flexible_value)
    agents["error_scale"] = uniform(law.error_scale)
    homes_nu = np.where(rng.random(n) < law.spiky_share, law.spiky_nu, law.nu)
    agents["degrees_of_freedom"] = np.where(is_business, law.aggregate_nu, homes_nu)
    agents["risk_aversion"] = uniform(law.risk_aversion)
    agents["node"] = rng.integers(NODES, size=n)
    agents["spread"] = agents["error_scale"] * stdtrit(agents["degrees_of_freedom"], 0.9)
    # Drawn last: those without vehicles are the same people whatever the share.
    has_vehicle = np.isin(kind, (CONSUMER, PV, STORAGE)) & (rng.random(n) < vehicle_share)
    agents["vehicle_energy"] = uniform(law.vehicle_energy_kwh) * has_vehicle
    agents["vehicle_power"] = uniform(law.vehicle_power_kw) * has_vehicle
    agents["vehicle_arrival"] = uniform(law.vehicle_arrival_hour) * has_vehicle
    agents["vehicle_departure"] = uniform(law.vehicle_departure_hour) * has_vehicle
    return agents
