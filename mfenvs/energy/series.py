"""Days of load, PV, wind, prices and carbon that the energy market plays: real, synthetic, or a user's own.

PV means photovoltaics; its capacity is in kWp, kilowatts at peak sun.
"""

import dataclasses
import functools
import zoneinfo
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.calendar import (
    ANNUAL_LOAD_KWH,
    DAYS_PER_YEAR,
    HOURS_PER_DAY,
    STEP_MINUTES,
    month_of,
    whole_days,
)
from mfenvs.energy.country_days import MOST_PROFILES, Given, country_days
from mfenvs.energy.embedded_data import GERMANY_CLOCK, GERMANY_START, HOMES_FIRST_DAY, germany_2018, homes
from mfenvs.energy.own_days import own_days
from mfenvs.energy.profiles import Profiles
from mfenvs.energy.series_checks import checked_array, checked_names, checked_weekdays, read_only
from mfenvs.files import ArraySpecification, SavedArrays, write_arrays

MOST_DAYS = 36_500
"""Most days of a synthetic series: a century."""

PV_YIELD_SHARE = 0.1
"""A profile is fit for PV owners if it yields at least this share of what the median profile yields [O]."""

GERMAN_CARBON = 0.38
"""Carbon intensity of the grid where a user gives none, kg CO2/kWh: about Germany's mix of 2023."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class MarketSeries:
    """The data of the market game: whole days in equal steps from 00:00 of the local clock.

    Energies are those of the step, so that they add up; prices and carbon intensities are the step's mean. The
    arrays are read-only copies.

    Parameters
    ----------
    load:
        Electricity that each home profile uses in a step, kWh, float32, shape (n_days, steps, n_profiles), >= 0.
    pv:
        PV output of each profile in a step, kWh per installed kWp, float32, shape (n_days, steps, n_profiles), >=
        0.
    wind:
        Wind output in a step, kWh per installed kW (capacity factor x ``step_hours``), float32, shape (n_days,
        steps), >= 0.
    price:
        Day-ahead wholesale price, EUR/kWh, float64, shape (n_days, steps); may be negative.
    co2:
        Carbon intensity of the grid's energy, kg CO2/kWh, float64, shape (n_days, steps), >= 0.
    step_hours:
        Length of a step in hours: 1.0 (24 steps) or 0.25 (96 steps).
    dates:
        Label of each day, such as ``07-02`` or ``2024-07-02``.
    weekdays:
        Day of the week of each day, 0 (Monday) to 6; None takes them of labels ``yyyy-mm-dd``, and leaves them
        unknown for others.
    load_names, pv_names:
        Names of each profile's load and PV, by which members of one's own refer to them; () numbers them from 0.

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
    weekdays: tuple[int, ...] | None = None
    load_names: tuple[str, ...] = ()
    pv_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        step_hours = checks.choice("step_hours", self.step_hours, tuple(minutes / 60 for minutes in STEP_MINUTES))
        if not isinstance(self.dates, Iterable) or isinstance(self.dates, str):
            raise TypeError(f"dates must be one text for each day, got {self.dates!r}")
        dates = tuple(checks.text(f"dates[{at}]", label) for at, label in enumerate(self.dates))
        steps = round(HOURS_PER_DAY / step_hours)
        load = np.asarray(self.load)
        if load.ndim != 3 or load.shape[0] < 1 or load.shape[1] != steps or load.shape[2] < 1:
            raise ValueError(
                f"load must have shape (n_days >= 1, {steps}, n_profiles >= 1) for step_hours ="
                f" {step_hours:g}, got {load.shape}"
            )
        if len(dates) != len(load):
            raise ValueError(f"dates must have one label for each of {len(load)} days, got {len(dates)}")
        days = load.shape[:2]
        for name, shape, dtype, least in (
            ("load", load.shape, np.float32, 0.0),
            ("pv", load.shape, np.float32, 0.0),
            ("wind", days, np.float32, 0.0),
            ("price", days, np.float64, -np.inf),
            ("co2", days, np.float64, 0.0),
        ):
            array = checked_array(name, getattr(self, name), shape, dtype, dates, least)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "dates", dates)
        object.__setattr__(self, "step_hours", step_hours)
        object.__setattr__(self, "weekdays", checked_weekdays(self.weekdays, dates))
        for name in ("load_names", "pv_names"):
            object.__setattr__(self, name, checked_names(name, getattr(self, name), load.shape[2]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MarketSeries):
            return NotImplemented
        return self is other or all(
            np.array_equal(getattr(self, field.name), getattr(other, field.name))
            for field in dataclasses.fields(MarketSeries)
        )

    def __hash__(self) -> int:
        return hash((self.dates, self.load.shape, self.load_names, self.pv_names))

    def __repr__(self) -> str:
        return (
            f"MarketSeries of {self.n_days} days from {self.dates[0]} to {self.dates[-1]}, {self.steps} steps,"
            f" {self.n_profiles} profiles"
        )

    @property
    def n_days(self) -> int:
        """Number of days."""
        return len(self.load)

    @property
    def steps(self) -> int:
        """Number of steps of a day: 24 or 96."""
        return int(self.load.shape[1])

    @property
    def n_profiles(self) -> int:
        """Number of home profiles."""
        return int(self.load.shape[2])

    def known_weekdays(self) -> NDArray[np.int64]:
        """The days of the week, 0 (Monday) to 6, shape (n_days,); ValueError if they are unknown."""
        if self.weekdays is None:
            raise ValueError(
                f"series must have weekdays, or dates yyyy-mm-dd, for prices by day of the week, got"
                f" {checks.shown(self.dates[0])}"
            )
        return np.array(self.weekdays)

    def known_months(self) -> NDArray[np.int64]:
        """The month of each day, 1 to 12, shape (n_days,); ValueError if a label does not tell it."""
        return np.array([month_of(label) for label in self.dates])

    @functools.cached_property
    def pv_profiles(self) -> NDArray[np.int64]:
        """Indices of the profiles fit for PV owners: those that yield at least a tenth of the median profile [O].

        Of the embedded homes this leaves out the fifteenth alone (index 14): 29 kWh per kWp a year against a
        median of 1,455.
        """
        yields = self.pv.sum((0, 1), dtype=np.float64)
        return read_only(np.flatnonzero(yields >= PV_YIELD_SHARE * np.median(yields)))

    @classmethod
    def embedded(cls) -> Self:
        """The real days: 17 homes, their PV and carbon, with German wind and prices; hourly, 363 days.

        Days are in the homes' order, 1 August to 31 July. Each takes the German day of 2018 of the same month and
        day, both on their local clocks [O]; days of the week are the homes', and those of the German day differ.
        25 March (23 hours) and 28 October (25 hours) of the German year are left out, and with them these days of
        the homes [O]. Wind is the German onshore series divided by its maximum of the year, 40,389 MW, since the
        installed capacity is not part of the data [O].
        """
        germany = germany_2018()
        german_days = whole_days(GERMANY_START, len(germany.solar_mw), 60, zoneinfo.ZoneInfo(GERMANY_CLOCK))
        first_of = {f"{day:%m-%d}": first for day, first in german_days.items()}
        days = [HOMES_FIRST_DAY + timedelta(days=n) for n in range(DAYS_PER_YEAR)]
        kept = [n for n, day in enumerate(days) if f"{day:%m-%d}" in first_of]
        dates = tuple(f"{days[n]:%m-%d}" for n in kept)
        hours = np.add.outer([first_of[label] for label in dates], np.arange(HOURS_PER_DAY))

        def by_day(array: NDArray[Any]) -> NDArray[Any]:
            return array.reshape(DAYS_PER_YEAR, HOURS_PER_DAY, *array.shape[1:])[kept]

        source = homes()
        weekdays = tuple(days[n].weekday() for n in kept)
        return cls(
            load=by_day(source.load_kwh),
            pv=by_day(source.pv_kw_per_kwp),
            wind=(germany.wind_onshore_mw / germany.wind_onshore_mw.max())[hours],
            price=germany.day_ahead_price_eur_per_mwh.astype(np.float64)[hours] / 1000,
            co2=by_day(source.co2_kg_per_kwh).astype(np.float64),
            step_hours=1.0,
            dates=dates,
            weekdays=weekdays,
        )

    @classmethod
    def synthetic(
        cls, n_days: int, n_profiles: int, seed: int, *, step_minutes: int = 60, first_date: str = "01-01"
    ) -> Self:
        """Synthetic days that follow each other, the same for the same arguments; all laws are ours [O].

        Load has a peak in the morning and a higher one in the evening, at each home's own time; at weekends (the
        first day is a Monday) the morning peak comes two hours later. Load is higher in winter, and varies by a
        gamma-distributed factor of mean one for each home and step. A home's expected load of 365 days is
        lognormal with median 10,400 kWh; the standard deviation of its logarithm is 0.23. PV output is the sun's
        height at 50 degrees north to the power 1.15, times the day's cloudiness (beta-distributed, correlated from
        day to day) and a factor of the profile; 1,000 kWh per kWp are expected in 365 days. The wind speed is
        Rayleigh distributed (mean 6.5 m/s) and correlated over time; a turbine's power curve turns it into output,
        with an expected capacity factor of 0.25. The price rises with the load and falls with wind and sun, at
        times below zero; carbon falls with wind and sun.

        Parameters
        ----------
        n_days:
            Number of days, 1 to 36,500.
        n_profiles:
            Number of home profiles, 1 to 10,000.
        seed:
            Random seed of the series, >= 0.
        step_minutes:
            Length of a step: 15 or 60 minutes.
        first_date:
            Month and day of the first day, ``mm-dd``; years have 365 days.

        Returns
        -------
        MarketSeries
            With dates ``mm-dd``.

        Raises
        ------
        TypeError, ValueError
            If an argument is none of those allowed.
        """
        n_days = checks.integer("n_days", n_days, 1, MOST_DAYS)
        n_profiles = checks.integer("n_profiles", n_profiles, 1, MOST_PROFILES)
        seed = checks.integer("seed", seed, 0)
        step_minutes = checks.choice("step_minutes", step_minutes, STEP_MINUTES)
        try:
            first = datetime.strptime(f"2018-{checks.text('first_date', first_date)}", "%Y-%m-%d").date()
        except ValueError:
            raise ValueError(f"first_date must be mm-dd, got {first_date!r}") from None
        # Imported here: the laws come from a large part of scipy, which the embedded days do without.
        from mfenvs.energy import synthetic

        return cls(**synthetic.days(n_days, n_profiles, np.random.default_rng(seed), step_minutes, first))

    @classmethod
    def from_entsoe(
        cls,
        load: Given | Sequence[Given],
        solar: Given | Sequence[Given],
        wind: Given | Sequence[Given],
        price: Given | Sequence[Given],
        *,
        profiles: int = 17,
        solar_capacity_mw: float | None = None,
        wind_capacity_mw: float | None = None,
        annual_load_kwh: float = ANNUAL_LOAD_KWH,
        co2_kg_per_kwh: float = GERMAN_CARBON,
        step_minutes: int = 60,
        timezone: str = GERMANY_CLOCK,
    ) -> Self:
        """Days of a user's own ENTSO-E files, or of series of :func:`~mfenvs.energy.entsoe.read_entsoe`.

        The country's load is scaled so that its mean power over the days is that of a home of ``annual_load_kwh``
        in 365 days; all profiles are this one, so homes differ only by what the game draws for them. Solar and
        wind are divided by the capacity, or by their maximum over the days, which overstates the yield. Series of
        other resolutions are brought to ``step_minutes`` by means or by repetition. Days are cut by the local
        clock; those with 23 or 25 hours, and those that not every series covers, are left out [O].

        Solar farms draw a little power at night: negative solar power down to -1 % of the capacity counts as 0,
        with a warning. A lower one is an error.

        Parameters
        ----------
        load, solar, wind:
            Mean powers in MW: one series or file each, or several that follow each other
            (:func:`~mfenvs.energy.entsoe.joined`), which may have different steps. Of files of generation, solar
            and onshore wind power are read; of files that hold several areas, read the series yourself.
        price:
            Day-ahead price (of the auction on the day before delivery) in EUR/MWh, likewise.
        profiles:
            Number of equal home profiles, 1 to 10,000.
        solar_capacity_mw, wind_capacity_mw:
            Installed capacities in MW, > 0; None takes the maximum over the days.
        annual_load_kwh:
            Electricity that a profile uses in 365 days, kWh, > 0.
        co2_kg_per_kwh:
            Carbon intensity of the grid's energy in every step, kg CO2/kWh, >= 0.
        step_minutes:
            Length of the market's steps: 15 or 60 minutes.
        timezone:
            IANA name of the clock whose midnight begins a day, and of the clock of files that are not in UTC.

        Returns
        -------
        MarketSeries
            With dates ``yyyy-mm-dd``.

        Raises
        ------
        TypeError
            If a series is neither a :class:`~mfenvs.energy.entsoe.Series` nor a path, or an argument of another
            kind than above.
        EntsoeFormatError, OSError
            If a file cannot be read.
        ValueError
            If a unit is another, the series share no whole day, a maximum that is needed is not above zero, a
            power is negative, or an argument is none of those allowed.

        Warns
        -----
        UserWarning
            If small negative solar power is set to 0.
        """
        fields = country_days(
            {"load": load, "solar": solar, "wind": wind, "price": price},
            {"solar": solar_capacity_mw, "wind": wind_capacity_mw},
            profiles=profiles,
            annual_load_kwh=annual_load_kwh,
            co2_kg_per_kwh=co2_kg_per_kwh,
            step_minutes=step_minutes,
            timezone=timezone,
        )
        return cls(**fields)

    @classmethod
    def from_profiles(
        cls,
        load: Profiles,
        pv: Profiles | None = None,
        *,
        wind: Profiles | None = None,
        price: Profiles | float = 0.0,
        co2: Profiles | float = GERMAN_CARBON,
        step_minutes: int = 60,
    ) -> Self:
        """Days of a user's own loads and PV, such as :func:`~mfenvs.energy.profiles.read_profiles` returns.

        Each load column becomes a profile. A PV column goes to the profile whose load has its name; if no name
        fits, the PV columns are dealt out in turn, so that a single one serves all. PV columns that are left over
        make more profiles, with the loads in turn. Only days that all tables have are kept.

        Parameters
        ----------
        load:
            Loads in kWh.
        pv:
            Output in kWh per kWp (or of whole systems, whose owners then have ``pv_kwp = 1``); None for no PV.
        wind:
            One column of output in kWh per kW; None for no wind.
        price:
            Day-ahead price: one column in EUR/kWh, or a number. Only day-ahead tariffs need it.
        co2:
            Carbon intensity of the grid's energy: one column in kg/kWh, or a number.
        step_minutes:
            Length of the market's steps: 15 or 60 minutes.

        Raises
        ------
        TypeError, ValueError
            If an argument is none of those allowed, has another unit or number of columns, or the tables share no
            day.
        """
        fields = own_days({"load": load, "pv": pv, "wind": wind, "price": price, "co2": co2}, step_minutes)
        return cls(**fields)

    def paired(self, pairs: Sequence[tuple[int, int]]) -> "MarketSeries":
        """The same days with other profiles: each has the load of one profile and the PV of another.

        Parameters
        ----------
        pairs:
            Indices of the profiles whose load and whose PV the new profile has.
        """
        of_load, of_pv = ([pair[which] for pair in pairs] for which in (0, 1))
        return dataclasses.replace(
            self,
            load=self.load[:, :, of_load],
            pv=self.pv[:, :, of_pv],
            load_names=tuple(self.load_names[at] for at in of_load),
            pv_names=tuple(self.pv_names[at] for at in of_pv),
        )

    def save(self, path: str | Path) -> None:
        """Write the series to an ``.npz`` file for :meth:`read`."""
        arrays = {name: getattr(self, name) for name in ("load", "pv", "wind", "price", "co2")}
        names = ("step_hours", "dates", "weekdays", "load_names", "pv_names")
        write_arrays(path, arrays, {name: getattr(self, name) for name in names})

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
            names = {"step_hours", "dates", "weekdays", "load_names", "pv_names"}
            if not isinstance(header, dict) or set(header) != names:
                raise ValueError(f"its header must hold {', '.join(map(repr, sorted(names)))}")
            whole = saved.shape("load")
            each_profile = ArraySpecification(np.float32, whole, low=0.0)
            fields: dict[str, Any] = saved.arrays(
                {
                    "load": each_profile,
                    "pv": each_profile,
                    "wind": ArraySpecification(np.float32, whole[:2], low=0.0),
                    "price": ArraySpecification(np.float64, whole[:2]),
                    "co2": ArraySpecification(np.float64, whole[:2], low=0.0),
                }
            )
            return cls(**fields, **header)

    def resampled(self, minutes: int) -> "MarketSeries":
        """The same days in steps of 15 or 60 minutes.

        To quarters, each takes a quarter of the hour's energies, and its price and carbon intensity. To hours, the
        quarters' energies are added, their prices and intensities averaged.

        Raises
        ------
        ValueError
            If ``minutes`` is neither 15 nor 60.
        """
        minutes = checks.choice("minutes", minutes, STEP_MINUTES)
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
