"""Days of load, PV, wind, prices and carbon that the energy market plays: real, synthetic, or a user's own.

The embedded series (folder ``series``, licences in its ``DATA_LICENSES``):

``homes.npz``
    17 homes and 8,760 hours. Checked here: the hours run 24, 1, 2, ..., 23, without a break. ``hour`` h is the
    hour that *begins* at h:00 on the local clock, and 24 begins at 00:00: the time-of-use peak (16:00 to 21:00)
    holds in the hours 16 to 20; the PV output is centred on solar noon only if so, and moves by one hour on 6
    November and 12 March, when California changes its clocks. So row 0 is 00:00 of 1 August, and the rows are the
    365 whole days from 1 August to 31 July (2016/17): none is dropped. The columns ``month`` and ``day_type``
    change one hour late, at hour 1, and are not used. Every day has 24 rows, also the two on which the clocks
    change.
``germany_2018.npz``
    8,760 hours from 2018-01-01 00:00 Europe/Berlin without a break, so that the clock's changes are within them.
"""

import dataclasses
import functools
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.energy.calendar import ANNUAL_LOAD_KWH, DAYS_PER_YEAR, HOURS_PER_DAY, STEP_MINUTES
from mfenvs.energy.entsoe import Series
from mfenvs.files import ArraySpecification, SavedArrays, write_arrays

EMBEDDED = Path(__file__).parent / "embedded"

PV_YIELD_SHARE = 0.1
"""A profile is fit for PV owners if it yields more than this share of the median profile [O]."""

HOMES_FIRST_DAY = date(2016, 8, 1)
GERMANY_START = datetime(2017, 12, 31, 23, tzinfo=UTC)
GERMANY_CLOCK = "Europe/Berlin"

GERMAN_CARBON = 0.38
"""kg/kWh where a user gives none: about Germany's mix of 2023."""


@dataclasses.dataclass(frozen=True, eq=False)
class Homes:
    """The embedded homes' series as published, row 0 from 1 August 00:00 local clock; arrays are read-only."""

    load_kwh: NDArray[np.float32]
    """Electric load of the hour, shape (8760, 17)."""
    pv_kw_per_kwp: NDArray[np.float32]
    """PV output per installed kWp, shape (8760, 17)."""
    temperature_c: NDArray[np.float32]
    """Outdoor temperature, shape (8760,), as all below."""
    relative_humidity: NDArray[np.float32]
    """Per cent."""
    diffuse_w_m2: NDArray[np.float32]
    """Diffuse irradiance."""
    direct_w_m2: NDArray[np.float32]
    """Direct irradiance."""
    tariff_usd_per_kwh: NDArray[np.float32]
    """Time-of-use tariff."""
    co2_kg_per_kwh: NDArray[np.float32]
    """Carbon intensity of the grid."""
    month: NDArray[np.int8]
    """1 to 12; one hour late."""
    hour: NDArray[np.int8]
    """1 to 24: the hour begins then, 24 at 00:00."""
    day_type: NDArray[np.int8]
    """1 Monday to 7 Sunday; one hour late."""


@dataclasses.dataclass(frozen=True, eq=False)
class Germany:
    """The embedded German hours of 2018, in absolute order from 1 January 00:00 Europe/Berlin; read-only."""

    day_ahead_price_eur_per_mwh: NDArray[np.float32]
    """Day-ahead price, -76.01 to 128.26, shape (8760,), as all below."""
    solar_mw: NDArray[np.float32]
    """Mean power of the hour, as those below."""
    wind_onshore_mw: NDArray[np.float32]
    """Mean power of wind on land."""
    wind_offshore_mw: NDArray[np.float32]
    """Mean power of wind at sea."""


@functools.cache
def homes() -> Homes:
    """The embedded homes; loaded once."""
    arrays = _loaded("homes.npz")
    arrays["pv_kw_per_kwp"] = _read_only(arrays.pop("pv_w_per_kw") / np.float32(1000))
    return Homes(**arrays)


@functools.cache
def germany_2018() -> Germany:
    """The embedded German series of 2018; loaded once."""
    return Germany(**_loaded("germany_2018.npz"))


@dataclasses.dataclass(frozen=True, eq=False)
class MarketSeries:
    """Whole days in equal steps from 00:00 of the local clock: what the market game reads.

    Energies are of the step, so that they add up; prices and intensities are the step's mean. The arrays are
    copies, read-only.

    Parameters
    ----------
    load:
        kWh that each home profile uses, float32, shape (n_days, steps, n_profiles), >= 0.
    pv:
        kWh per installed kWp at each profile, float32, shape (n_days, steps, n_profiles), >= 0.
    wind:
        kWh per installed kW (capacity factor times ``step_hours``), float32, shape (n_days, steps), >= 0.
    price:
        Day-ahead price in EUR/kWh, float64, shape (n_days, steps); may be negative.
    co2:
        Carbon intensity of the grid in kg/kWh, float64, shape (n_days, steps), >= 0.
    step_hours:
        1.0 (24 steps) or 0.25 (96 steps).
    dates:
        One label a day, such as ``07-02``.

    Raises
    ------
    TypeError
        If an array is not of numbers, or a date no text.
    ValueError
        If shapes disagree, there is no day or profile, or a value is not finite or is negative where it must not
        be; the error names the field and the place.
    """

    load: NDArray[np.float32]
    pv: NDArray[np.float32]
    wind: NDArray[np.float32]
    price: NDArray[np.float64]
    co2: NDArray[np.float64]
    step_hours: float
    dates: tuple[str, ...]

    def __post_init__(self) -> None:
        checks.choice("step_hours", self.step_hours, [minutes / 60 for minutes in STEP_MINUTES])
        dates = tuple(self.dates)
        for at, label in enumerate(dates):
            if not isinstance(label, str):
                raise TypeError(f"dates[{at}] must be a text, got {label!r}")
        steps = round(HOURS_PER_DAY / self.step_hours)
        load = np.asarray(self.load)
        if load.ndim != 3 or load.shape[0] < 1 or load.shape[1] != steps or load.shape[2] < 1:
            raise ValueError(
                f"load must have shape (n_days >= 1, {steps}, n_profiles >= 1) for step_hours ="
                f" {self.step_hours:g}, got {load.shape}"
            )
        if len(dates) != len(load):
            raise ValueError(f"dates must have one label for each of {len(load)} days, got {len(dates)}")
        days = load.shape[:2]
        _set_checked(self, "load", load.shape, np.float32, least=0.0)
        _set_checked(self, "pv", load.shape, np.float32, least=0.0)
        _set_checked(self, "wind", days, np.float32, least=0.0)
        _set_checked(self, "price", days, np.float64)
        _set_checked(self, "co2", days, np.float64, least=0.0)
        object.__setattr__(self, "dates", dates)
        object.__setattr__(self, "step_hours", float(self.step_hours))

    @property
    def n_days(self) -> int:
        """Number of days."""
        return len(self.load)

    @property
    def steps(self) -> int:
        """Steps of a day: 24 or 96."""
        return int(self.load.shape[1])

    @property
    def n_profiles(self) -> int:
        """Number of home profiles."""
        return int(self.load.shape[2])

    @functools.cached_property
    def pv_profiles(self) -> NDArray[np.int64]:
        """Profiles fit for PV owners: those that yield at least a tenth of what the median profile does [O].

        Of the embedded homes this leaves out the fifteenth alone (index 14): 29 kWh per kWp a year against a
        median of 1,455.
        """
        yields = self.pv.sum((0, 1), dtype=np.float64)
        return _read_only(np.flatnonzero(yields >= PV_YIELD_SHARE * np.median(yields)))

    @classmethod
    def embedded(cls) -> Self:
        """The real days: 17 homes, their PV and carbon, with German wind and prices; hourly, 363 days.

        Days are in the homes' order, 1 August to 31 July. Each takes the German day of 2018 of the same month and
        day, both on their local clocks [O]; weekdays therefore differ. 25 March (23 hours) and 28 October (25
        hours) of the German year are left out, and with them these days of the homes [O]. Wind is the German
        onshore series divided by its maximum of the year, 40,389 MW, since the installed capacity is not part of
        it [O].
        """
        germany = germany_2018()
        german_days = _whole_days(GERMANY_START, len(germany.solar_mw), 60, zoneinfo.ZoneInfo(GERMANY_CLOCK))
        first_of = {f"{day:%m-%d}": first for day, first in german_days.items()}
        days = [HOMES_FIRST_DAY + timedelta(days=n) for n in range(DAYS_PER_YEAR)]
        kept = [n for n, day in enumerate(days) if f"{day:%m-%d}" in first_of]
        dates = tuple(f"{days[n]:%m-%d}" for n in kept)
        hours = np.add.outer([first_of[label] for label in dates], np.arange(HOURS_PER_DAY))

        def by_day(array: NDArray[Any]) -> NDArray[Any]:
            return array.reshape(DAYS_PER_YEAR, HOURS_PER_DAY, *array.shape[1:])[kept]

        source = homes()
        return cls(
            load=by_day(source.load_kwh),
            pv=by_day(source.pv_kw_per_kwp),
            wind=(germany.wind_onshore_mw / germany.wind_onshore_mw.max())[hours],
            price=germany.day_ahead_price_eur_per_mwh.astype(np.float64)[hours] / 1000,
            co2=by_day(source.co2_kg_per_kwh).astype(np.float64),
            step_hours=1.0,
            dates=dates,
        )

    @classmethod
    def synthetic(
        cls, n_days: int, n_profiles: int, seed: int, *, step_minutes: int = 60, first_date: str = "01-01"
    ) -> Self:
        """Made-up days that follow each other, the same for the same arguments [O].

        Load has a peak in the morning and a higher one in the evening, at each home's own time; at weekends (the
        first day is a Monday) the morning comes two hours later. It is higher in winter, and each home and step
        has a gamma factor of mean one. A home's expected load of 365 days is lognormal with median 10,400 kWh
        (log-sd 0.23). PV is the sun's height at 50 degrees north to the power 1.15, times the day's cloudiness
        (beta, correlated from day to day) and a factor of the profile; 1,000 kWh per kWp are expected in 365 days.
        Wind speed is Rayleigh (mean 6.5 m/s) with memory, through a power curve: the expected capacity factor is
        0.25. The price rises with the load and falls with wind and sun, at times below zero; carbon falls with
        wind and sun.

        Parameters
        ----------
        n_days:
            Days, >= 1.
        n_profiles:
            Home profiles, >= 1.
        seed:
            Seed of the generator, >= 0.
        step_minutes:
            15 or 60.
        first_date:
            Month and day of the first, ``mm-dd``; years have 365 days.

        Returns
        -------
        MarketSeries
            With dates ``mm-dd``.

        Raises
        ------
        TypeError, ValueError
            If an argument is none of those allowed.
        """
        n_days = checks.integer("n_days", n_days, 1)
        n_profiles = checks.integer("n_profiles", n_profiles, 1)
        seed = checks.integer("seed", seed, 0)
        checks.choice("step_minutes", step_minutes, STEP_MINUTES)
        try:
            first = datetime.strptime(f"2018-{first_date}", "%Y-%m-%d").date()
        except (TypeError, ValueError):
            raise ValueError(f"first_date must be mm-dd, got {first_date!r}") from None
        # Imported here: the laws come from a large part of scipy, which the embedded days do without.
        from mfenvs.energy import synthetic

        return cls(**synthetic.days(n_days, n_profiles, np.random.default_rng(seed), step_minutes, first))

    @classmethod
    def from_entsoe(
        cls,
        load: Series,
        solar: Series,
        wind: Series,
        price: Series,
        *,
        profiles: int = 17,
        solar_capacity_mw: float | None = None,
        wind_capacity_mw: float | None = None,
        annual_load_kwh: float = ANNUAL_LOAD_KWH,
        co2_kg_per_kwh: float = GERMAN_CARBON,
        step_minutes: int = 60,
        timezone: str = GERMANY_CLOCK,
    ) -> Self:
        """Days of a user's own ENTSO-E series, as :func:`~mfenvs.energy.entsoe.read_entsoe` returns them.

        The country's load is scaled so that its mean power over the days is that of a home of ``annual_load_kwh``
        in 365 days; all profiles are this one, so homes differ only by what the game draws for them. Solar and
        wind are divided by the capacity, or by their maximum over the days, which overstates the yield. Series of
        other resolutions are brought to ``step_minutes`` by means or by repetition. Days are cut by the local
        clock; those with 23 or 25 hours, and those that not every series covers, are left out [O].

        Parameters
        ----------
        load, solar, wind:
            Mean powers in MW.
        price:
            Day-ahead price in EUR/MWh.
        profiles:
            Number of equal profiles, >= 1.
        solar_capacity_mw, wind_capacity_mw:
            Installed capacities in MW, > 0; None takes the maximum over the days.
        annual_load_kwh:
            Load of a profile in 365 days, > 0.
        co2_kg_per_kwh:
            Constant carbon intensity, >= 0.
        step_minutes:
            15 or 60.
        timezone:
            The clock whose midnight begins a day.

        Returns
        -------
        MarketSeries
            With dates ``yyyy-mm-dd``.

        Raises
        ------
        TypeError
            If a series is no :class:`~mfenvs.energy.entsoe.Series`.
        ValueError
            If a unit is another, the series share no whole day, a maximum that is needed is not above zero, or an
            argument is none of those allowed.
        """
        profiles = checks.integer("profiles", profiles, 1)
        checks.choice("step_minutes", step_minutes, STEP_MINUTES)
        annual_load_kwh = checks.real("annual_load_kwh", annual_load_kwh, 0.0, exclude_low=True)
        co2_kg_per_kwh = checks.real("co2_kg_per_kwh", co2_kg_per_kwh, 0.0)
        try:
            zone = zoneinfo.ZoneInfo(timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"timezone must be the name of an IANA time zone, got {timezone!r}") from error
        given = {"load": load, "solar": solar, "wind": wind, "price": price}
        cut = {}
        for name, series in given.items():
            if not isinstance(series, Series):
                raise TypeError(f"{name} must be a Series as of read_entsoe, got {type(series).__name__}")
            checks.choice(f"the unit of {name}", series.unit, ["EUR/MWh" if name == "price" else "MW"])
            cut[name] = _days_of(series, step_minutes, zone)
        days = sorted(set.intersection(*(set(each) for each in cut.values())))
        if not days:
            spans = "; ".join(f"{name} {series.start[0]} to {series.start[-1]}" for name, series in given.items())
            raise ValueError(f"load, solar, wind and price share no whole day of {timezone}: {spans} (UTC)")
        powers = {name: np.stack([each[day] for day in days]) for name, each in cut.items()}
        mean_load = powers["load"].mean()
        if not mean_load > 0:
            raise ValueError(f"load must have a mean above 0 MW, got {mean_load:g}")
        step_hours = step_minutes / 60
        home = powers["load"] / mean_load * annual_load_kwh / (DAYS_PER_YEAR * HOURS_PER_DAY) * step_hours
        capacities = {
            "solar": _capacity("solar", solar_capacity_mw, powers["solar"]),
            "wind": _capacity("wind", wind_capacity_mw, powers["wind"]),
        }
        sun, blown = (powers[name] / capacities[name] * step_hours for name in ("solar", "wind"))
        return cls(
            load=np.repeat(home[:, :, None].astype(np.float32), profiles, 2),
            pv=np.repeat(sun[:, :, None].astype(np.float32), profiles, 2),
            wind=blown.astype(np.float32),
            price=powers["price"] / 1000,
            co2=np.full(home.shape, co2_kg_per_kwh),
            step_hours=step_hours,
            dates=tuple(map(str, days)),
        )

    def save(self, path: str | Path) -> None:
        """Write the series to an ``.npz`` file for :meth:`read`."""
        arrays = {name: getattr(self, name) for name in ("load", "pv", "wind", "price", "co2")}
        write_arrays(path, arrays, {"step_hours": self.step_hours, "dates": self.dates})

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a series that :meth:`save` wrote.

        Raises
        ------
        ValueError
            If the file cannot be read or holds no such series; it names the file and what is wrong.
        """
        with SavedArrays(path, "market series") as saved, saved.blamed():
            header = saved.header()
            if not isinstance(header, dict) or set(header) != {"step_hours", "dates"}:
                raise ValueError("its header must hold 'step_hours' and 'dates'")
            if not isinstance(header["dates"], list):
                raise ValueError(f"dates must be a list, got {header['dates']!r}")
            whole = saved.shape("load")
            each_profile = ArraySpecification(np.float32, whole, low=0.0)
            arrays = saved.arrays(
                {
                    "load": each_profile,
                    "pv": each_profile,
                    "wind": ArraySpecification(np.float32, whole[:2], low=0.0),
                    "price": ArraySpecification(np.float64, whole[:2]),
                    "co2": ArraySpecification(np.float64, whole[:2], low=0.0),
                }
            )
            return cls(**arrays, step_hours=header["step_hours"], dates=tuple(header["dates"]))

    def resampled(self, minutes: int) -> "MarketSeries":
        """The same days in steps of 15 or 60 minutes.

        To quarters, each takes a quarter of the hour's energies, and its price and carbon intensity. To hours, the
        quarters' energies are added, their prices and intensities averaged.

        Raises
        ------
        ValueError
            If ``minutes`` is neither 15 nor 60.
        """
        checks.choice("minutes", minutes, STEP_MINUTES)
        step_hours = minutes / 60
        if step_hours == self.step_hours:
            return self
        parts = round(max(STEP_MINUTES) / min(STEP_MINUTES))

        def repeated(array: NDArray[Any]) -> NDArray[Any]:
            return np.repeat(array, parts, 1)

        def total(array: NDArray[Any]) -> NDArray[Any]:
            return np.add.reduceat(array, np.arange(0, array.shape[1], parts), 1, dtype=np.float64)

        to_quarters = minutes == min(STEP_MINUTES)

        def energy(array: NDArray[np.float32]) -> NDArray[np.float32]:
            return (repeated(array) / parts if to_quarters else total(array)).astype(np.float32)

        def mean(array: NDArray[np.float64]) -> NDArray[np.float64]:
            return repeated(array) if to_quarters else total(array) / parts

        return dataclasses.replace(
            self,
            load=energy(self.load),
            pv=energy(self.pv),
            wind=energy(self.wind),
            price=mean(self.price),
            co2=mean(self.co2),
            step_hours=step_hours,
        )


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _loaded(name: str) -> dict[str, NDArray[Any]]:
    with np.load(EMBEDDED / name, allow_pickle=False) as arrays:
        return {key: _read_only(arrays[key]) for key in arrays.files}


def _set_checked(
    series: MarketSeries, name: str, shape: tuple[int, ...], dtype: Any, least: float = -np.inf
) -> None:
    """Replace a field by its checked, read-only copy."""
    given: ArrayLike = getattr(series, name)
    array = np.array(checks.shaped(name, given, shape, dtype))
    allowed = "finite" if least == -np.inf else f"finite and >= {least:g}"
    wrong = ~(np.isfinite(array) & (array >= least))
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        place = f"{name}[{', '.join(map(str, where))}]"
        raise ValueError(f"{place} ({series.dates[where[0]]}) must be {allowed}, got {array[where]}")
    object.__setattr__(series, name, _read_only(array))


def _whole_days(start: datetime, n_steps: int, minutes: int, zone: zoneinfo.ZoneInfo) -> dict[date, int]:
    """First step of each local day of 24 hours that lies wholly within ``n_steps`` steps from ``start`` (UTC)."""
    first_of = {}
    last = start + n_steps * timedelta(minutes=minutes)
    day = start.astimezone(zone).date()
    while (begin := datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)) < last:
        following = day + timedelta(days=1)
        end = datetime(following.year, following.month, following.day, tzinfo=zone).astimezone(UTC)
        if start <= begin and end <= last and end - begin == timedelta(hours=HOURS_PER_DAY):
            first_of[day] = (begin - start) // timedelta(minutes=minutes)
        day = following
    return first_of


def _days_of(series: Series, minutes: int, zone: zoneinfo.ZoneInfo) -> dict[date, NDArray[np.float64]]:
    """The values of each whole local day in steps of ``minutes``: means of shorter steps, repeated longer ones."""
    start = series.start[0].astype(datetime).replace(tzinfo=UTC)
    n_steps = HOURS_PER_DAY * 60 // series.resolution
    days = {}
    for day, first in _whole_days(start, len(series.values), series.resolution, zone).items():
        # Through the finest step, since half-hours are no whole part of a quarter.
        quarters = np.repeat(series.values[first : first + n_steps], series.resolution // min(STEP_MINUTES))
        days[day] = quarters.reshape(-1, minutes // min(STEP_MINUTES)).mean(1)
    return days


def _capacity(name: str, given: float | None, power: NDArray[np.float64]) -> float:
    if given is not None:
        return checks.real(f"{name}_capacity_mw", given, 0.0, exclude_low=True)
    highest = float(power.max())
    if not highest > 0:
        raise ValueError(f"{name} is never above 0 MW, so {name}_capacity_mw must be given, got None")
    return highest
