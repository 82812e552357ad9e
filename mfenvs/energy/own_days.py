"""Days of the market made of a user's own profiles: loads and PV by column, and what is public."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mfenvs import checks
from mfenvs.energy.calendar import STEP_MINUTES
from mfenvs.energy.profiles import Profiles

UNIT_OF = {"load": "kWh", "pv": "kWh", "wind": "kWh", "price": "EUR/kWh", "co2": "kg/kWh"}
"""The unit of each part of a series."""

NO_PV = "no PV"
"""Name of the PV of a profile that has none."""


def own_days(given: Mapping[str, Any], step_minutes: int) -> dict[str, Any]:
    """The fields of :meth:`mfenvs.energy.series.MarketSeries.from_profiles`, where they are described."""
    step_minutes = checks.choice("step_minutes", step_minutes, STEP_MINUTES)
    tables = {name: table.resampled(step_minutes) for name, table in _tables(given).items()}
    dates = sorted(set.intersection(*(set(table.dates) for table in tables.values())))
    if not dates:
        spans = "; ".join(f"{name} {table.dates[0]} to {table.dates[-1]}" for name, table in tables.items())
        raise ValueError(f"the tables share no day: {spans}")
    values = {name: table.on(dates) for name, table in tables.items()}
    loads, pv = values["load"], values.get("pv")
    public = {
        name: values[name][:, :, 0] if name in values else np.full(loads.shape[:2], float(given[name] or 0.0))
        for name in ("wind", "price", "co2")
    }
    pv_names = tables["pv"].names if "pv" in tables else ()
    pairs = profile_pairs(tables["load"].names, pv_names)
    none = np.zeros(loads.shape[:2])
    return {
        "load": loads[:, :, [load for load, _ in pairs]],
        "pv": np.stack([none if at is None or pv is None else pv[:, :, at] for _, at in pairs], axis=2),
        **public,
        "step_hours": step_minutes / 60,
        "dates": tuple(dates),
        "load_names": tuple(tables["load"].names[load] for load, _ in pairs),
        "pv_names": tuple(NO_PV if at is None else pv_names[at] for _, at in pairs),
    }


def profile_pairs(loads: Sequence[str], pv: Sequence[str]) -> list[tuple[int, int | None]]:
    """Which load and which PV column make each profile: by their names, else in turn."""
    if not pv:
        return [(at, None) for at in range(len(loads))]
    if not set(pv) & set(loads):
        return [(at % len(loads), at % len(pv)) for at in range(max(len(loads), len(pv)))]
    by_name: list[tuple[int, int | None]] = [
        (at, pv.index(name) if name in pv else None) for at, name in enumerate(loads)
    ]
    left_over = [at for at, name in enumerate(pv) if name not in loads]
    return by_name + [(turn % len(loads), at) for turn, at in enumerate(left_over)]


def _tables(given: Mapping[str, Any]) -> dict[str, Profiles]:
    """The tables among what is given, in the right units; numbers are checked."""
    tables = {}
    for name, value in given.items():
        if isinstance(value, Profiles):
            if value.unit != UNIT_OF[name]:
                raise ValueError(f"the unit of {name} must be {UNIT_OF[name]}, got {value.unit!r}")
            n_columns = value.values.shape[2]
            if name not in ("load", "pv") and n_columns != 1:
                raise ValueError(f"{name} must have one column, got {n_columns}: {', '.join(value.names)}")
            tables[name] = value
        elif name in ("price", "co2") and value is not None:
            checks.real(name, value, 0.0 if name == "co2" else -np.inf)
        elif name == "load" or value is not None:
            raise TypeError(f"{name} must be Profiles as of read_profiles, got {checks.shown(value)}")
    return tables
