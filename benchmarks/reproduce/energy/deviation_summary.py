"""What the JSON holds of gains by deviating from each policy, and of how the planned equilibrium was found."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.reproduce.energy.figures.style import TYPE_WORDS, mean_interval
from benchmarks.reproduce.energy.players import DEVIATED_FROM, EQUILIBRIUM, PLANNED
from benchmarks.reproduce.energy.ratios import ratio
from mfenvs.energy.calendar import DAYS_PER_YEAR
from mfenvs.games.energy.prosumer_types import TYPES

Array = NDArray[np.float64]
Deviations = Mapping[int, Mapping[str, Any]]
"""By day and policy what :func:`.deviations.gains_against` returns, and more of the planned equilibrium."""


def summarise_deviations(found: Mapping[tuple[Any, ...], Any]) -> dict[str, Any]:
    """The results of the tasks ``deviations`` and ``planned``, which are of the same days."""
    deviations = {}
    for day in (key[1] for key in found if key[0] == "deviations"):
        of_day = {**found["deviations", day], PLANNED: found["planned", day]}
        deviations[day] = {name: of_day[name] for name in DEVIATED_FROM}
    return {
        "deviations": deviation_table(deviations),
        "n_deviation_days": len(deviations),
        "planned": planned_sweeps(deviations),
        "less_to_gain": less_to_gain(deviations),
    }


def planned_sweeps(deviations: Deviations) -> dict[str, Any]:
    """How the planned equilibrium was found.

    Returns
    -------
    dict
        ``n_sweeps``; by day ``sweep``, that of the policies that are played, counted from 1, and ``regret``, the
        mean regret of a member in it, EUR a day.
    """
    plans = [found[PLANNED] for found in deviations.values()]
    return {
        "n_sweeps": len(plans[0]["regrets"]),
        "sweep": [plan["sweep"] for plan in plans],
        "regret": [float(plan["regrets"][plan["sweep"] - 1]) for plan in plans],
    }


def deviation_table(deviations: Deviations) -> dict[str, dict[str, Any]]:
    """Gains by deviating, EUR per member and year, by policy.

    Returns
    -------
    dict
        ``mean`` over members of the sample, with its interval over days; ``median`` and ``largest`` of all;
        ``by_type``, the mean of each type that was drawn with a bootstrap interval; ``n`` and ``n_by_type``, how
        many members were drawn.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name in next(iter(deviations.values())):
        of_days, types = yearly_gains(deviations, name)
        together = np.concatenate(of_days)
        kinds, counts = np.unique(np.concatenate(types), return_counts=True)
        rows[name] = {
            **means_of_members(of_days, types),
            "median": float(np.median(together)),
            "largest": float(together.max()),
            "n": len(together),
            "n_by_type": {TYPE_WORDS[TYPES[k]]: int(n) for k, n in zip(kinds, counts, strict=True)},
        }
    return rows


def less_to_gain(deviations: Deviations) -> dict[str, Any]:
    """What members gain less by deviating from the planned than from the mean-field equilibrium, EUR a year.

    They are the same members in the same weather, so that their differences are taken.

    Returns
    -------
    dict
        ``mean`` and ``by_type`` as in :func:`deviation_table`.
    """
    before, types = yearly_gains(deviations, EQUILIBRIUM)
    after, _ = yearly_gains(deviations, PLANNED)
    return means_of_members([one - other for one, other in zip(before, after, strict=True)], types)


def yearly_gains(deviations: Deviations, name: str) -> tuple[list[Array], list[NDArray[np.int64]]]:
    """Gains by deviating from a policy, EUR a year, and types of the members in each day's sample."""
    of_days = [found[name] for found in deviations.values()]
    return (
        [np.asarray(one["gains"], np.float64) * DAYS_PER_YEAR for one in of_days],
        [np.asarray(one["types"], np.int64) for one in of_days],
    )


def means_of_members(of_days: list[Array], types: list[NDArray[np.int64]]) -> dict[str, Any]:
    """Means of figures of each day's members: of all with a Student, of each type with a bootstrap interval.

    A day's sample may lack a type, so that a type's mean is that of its members of all days together.
    """
    by_type = {
        TYPE_WORDS[TYPES[k]]: ratio(
            [one[kinds == k].sum() for one, kinds in zip(of_days, types, strict=True)],
            [(kinds == k).sum() for kinds in types],
        )
        for k in np.unique(np.concatenate(types))
    }
    return {"mean": mean_interval([one.mean() for one in of_days]), "by_type": by_type}
