"""What a study of learners says: intervals of C(pi) and of differences, orders, and the paper's claims."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.markdown import markdown_table
from benchmarks.reproduce.gmf_q_learners import ALGORITHMS

Array = NDArray[np.float64]

EVALUATIONS = ("own", "c = 16", "c = 64", "greedy")
"""The policies that are judged: that by which a learner acts, and colder ones of the same values."""
RESPONSES = ("stationary", "time", "population", "influence")
"""The classes of best responses, as :func:`mfenvs.relative_exploitability` has them, and stationary ones whose
influence on the others is played out. The first is used throughout, the others where a row is followed closely."""
CONFIDENCE = 0.9
"""Confidence of the intervals [S]."""
RESAMPLES = 4000
"""Number of resamples of the bootstrap over seeds."""
PAIRS = (("GMF-Q", "MF-Q"), ("MF-Q", "IL"), ("GMF-Q", "IL"))
"""The paper's claims: the first of each pair has the lower C(pi)."""


def comparisons(runs: dict[str, list[dict[str, dict[str, float]]]]) -> dict[str, Any]:
    """Means of C(pi), of the gap and of pairs' differences of C(pi), with intervals, by what was judged.

    Intervals are percentiles of the bootstrap over seeds. All algorithms of a seed are drawn together, since they
    are judged in the same joint states.
    """
    found = {}
    shared = set.intersection(*(set(run) for values in runs.values() for run in values))
    for judged in sorted(shared):
        by_algorithm = {
            a: {q: np.array([run[judged][q] for run in values]) for q in ("relative", "absolute")}
            for a, values in runs.items()
        }
        relative = {a: by_algorithm[a]["relative"] for a in ALGORITHMS}
        found[judged] = {
            **{a: {q: interval(samples) for q, samples in by_algorithm[a].items()} for a in ALGORITHMS},
            "differences": {f"{x} - {y}": interval(relative[x] - relative[y]) for x, y in PAIRS},
        }
    return found


def interval(samples: Array) -> list[float]:
    """Mean over seeds and its bootstrap interval: [mean, low, high]."""
    rng = np.random.default_rng(0)
    means = samples[rng.integers(len(samples), size=(RESAMPLES, len(samples)))].mean(axis=1)
    low, high = np.quantile(means, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return [float(samples.mean()), float(low), float(high)]


def order(compared: dict[str, Any]) -> str:
    """The algorithms by C(pi), lowest first: "<" where the interval of the difference excludes 0, else "~"."""
    ranked = sorted(ALGORITHMS, key=lambda a: compared[a]["relative"][0])
    words = [ranked[0]]
    for x, y in itertools.pairwise(ranked):
        difference = compared["differences"].get(f"{x} - {y}") or compared["differences"][f"{y} - {x}"]
        words += ["<" if difference[1] > 0.0 or difference[2] < 0.0 else "~", y]
    return " ".join(words)


def claims(rows: dict[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Of each claim of the paper, the combinations of row and judgement in which it holds, fails, or is open."""
    found: dict[str, dict[str, list[str]]] = {}
    names = {f"{x} < {y}": f"{x} - {y}" for x, y in PAIRS}
    for claim in (*names, "GMF-Q < MF-Q < IL"):
        found[claim] = {"holds": [], "fails": [], "open": []}
    for row, content in rows.items():
        for judged in _judged(content["compared"]):
            differences = content["compared"][judged]["differences"]
            verdicts = {
                claim: "holds" if differences[k][2] < 0 else "fails" if differences[k][1] > 0 else "open"
                for claim, k in names.items()
            }
            pairs = set(verdicts.values())
            verdicts["GMF-Q < MF-Q < IL"] = "fails" if "fails" in pairs else "open" if "open" in pairs else "holds"
            for claim, verdict in verdicts.items():
                found[claim][verdict].append(f"{row}; {judged}")
    return found


def judgements(closely: bool) -> list[tuple[str, str]]:
    """The policies that are judged in a row, each with the class of best responses."""
    throughout, *others = RESPONSES
    found = [(evaluation, throughout) for evaluation in EVALUATIONS]
    return found + [(e, r) for e in ("own", "greedy") for r in others if closely]


def _judged(compared: dict[str, Any]) -> list[str]:
    """What counts as a combination with a row: all judgements, and in the small auction the exact values alone."""
    exact = [f"{e}, exact" for e in EVALUATIONS]
    if exact[0] in compared:
        return exact
    found = [f"{evaluation}, {responses}" for evaluation, responses in judgements(closely=True)]
    return [name for name in found if name in compared]


def table_of_rows(rows: dict[str, Any]) -> str:
    """C(pi) and the gap of the learners' own policies against stationary best responses, as a Markdown table."""
    cells = []
    for name, content in rows.items():
        judged = "own, exact" if "own, exact" in content["compared"] else "own, stationary"
        found = content["compared"][judged]
        numbers = [_shown(found[a]["relative"]) + f" ({found[a]['absolute'][0]:.2f})" for a in ALGORITHMS]
        cells.append((name, *numbers, order(found)))
    return markdown_table(("Trained with", *ALGORITHMS, "order"), cells)


def table_of_orders(rows: dict[str, Any]) -> str:
    """The order for every row and judged policy, against stationary (or exact) best responses, as Markdown."""
    cells = []
    for name, content in rows.items():
        kind = "exact" if "own, exact" in content["compared"] else "stationary"
        cells.append((name, *(order(content["compared"][f"{e}, {kind}"]) for e in EVALUATIONS)))
    return markdown_table(("Trained with", *EVALUATIONS), cells)


def table_of_claims(found: dict[str, dict[str, list[str]]]) -> str:
    """In how many combinations each claim holds, fails, or is open, as a Markdown table."""
    verdicts = "holds", "open", "fails"
    cells = [(claim, *(len(of_claim[verdict]) for verdict in verdicts)) for claim, of_claim in found.items()]
    return markdown_table(("Claim", *verdicts), cells)


def _shown(numbers: list[float]) -> str:
    mean, low, high = numbers
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"
