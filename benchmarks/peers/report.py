"""What a comparison says: rows of a game and a library, the best algorithm, worst ratios, a page."""

import os
import platform
import statistics
from typing import Any

from baselines.versions import versions
from benchmarks.markdown import markdown_table
from benchmarks.peers import bench_mfg, mfglib
from benchmarks.peers.child import PEERS
from benchmarks.peers.runs import FAILED, THRESHOLDS

KEYS = [f"{threshold:g}" for threshold in THRESHOLDS]
"""Thresholds as keys of JSON."""
PAGE = """\
# Solvers of other libraries beside `mfenvs.solve`

`python -m benchmarks peers --seconds SECONDS`: CPU seconds (one thread) to an exploitability, on the games that
both libraries have.

- Every library solves its own copy of the game with each of its algorithms, at its defaults and at a few other
  parameters; the table shows the quickest for each threshold, `results.json` all of them.
- The exploitability of every policy is measured by mfenvs, the same for all. That time is not counted, nor the
  time in which a library would measure exploitability itself. Of `mfenvs.solve` everything is counted: tabulation
  and its own evaluations.
- Compilation is not counted for anybody; `seconds_of_first_call` in `results.json` has ours with it.
- An algorithm gets SECONDS seconds. "-" means not reached in that time.
- `*`: the library rounds the game's probabilities, so that its equilibrium is another one than ours and the
  smallest threshold may be out of its reach.
"""


def results(
    runs: list[dict[str, Any]], peers: dict[str, dict[str, str]], *, seconds: float, jobs: int, is_complete: bool
) -> dict[str, Any]:
    """Everything that is written as JSON.

    Parameters
    ----------
    runs:
        Runs in the order of tasks: those of mfenvs before those of a library, game by game.
    peers:
        Versions of each library that was asked for; empty for one that is not installed.
    seconds:
        Limit of the CPU time of a run.
    jobs:
        Number of processes at a time.
    is_complete:
        Whether nothing was interrupted.
    """
    rows: list[dict[str, Any]] = []
    ours: dict[str, Any] | None = None
    for run in runs:
        if run["solver"] == "mfenvs":
            ours = run
            continue
        if not rows or (rows[-1]["game"], rows[-1]["peer"]) != (run["game"], run["solver"]):
            mine = ours if ours is not None and ours["game"] == run["game"] else None
            rows.append({"game": run["game"], "peer": run["solver"], "ours": mine, "runs": []})
        rows[-1]["runs"].append(run)
    for row in rows:
        row |= {"rounded": any(run["rounded"] for run in row["runs"]), "best": best(row["runs"])}
    order = {name: place for place, name in enumerate(shared_games(peers))}
    rows.sort(key=lambda row: order.get(label(row), len(order)))
    return {
        "complete": is_complete,
        "seconds": seconds,
        "jobs": jobs,
        "thresholds": list(THRESHOLDS),
        "seeds": {"mfenvs": 0, "MFGLib": mfglib.SEED, "Bench-MFG": bench_mfg.SEED},
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, one thread a process",
        "load": round(os.getloadavg()[2], 1),
        "versions": versions(),
        "peers": peers,
        "missing": [peer for peer, found in peers.items() if not found],
        "left_out": left_out(rows, peers),
        "summary": {key: summary(rows, key) for key in KEYS},
        "rows": rows,
    }


def left_out(rows: list[dict[str, Any]], peers: dict[str, dict[str, str]]) -> list[str]:
    """Games of the installed libraries that were not run."""
    done = {label(row) for row in rows}
    return [each for each in shared_games(peers) if each not in done]


def shared_games(peers: dict[str, dict[str, str]]) -> list[str]:
    """All games of the installed libraries, by the labels of their rows."""
    return [f"{game} ({peer})" for peer, module in PEERS.items() if peers.get(peer) for game in module.GAMES]


def best(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The best of a library's algorithms: for each threshold the quickest; and the least exploitability of all."""
    quickest: dict[str, Any] = {}
    for key in KEYS:
        found = [run for run in runs if run["seconds_to"][key] is not None]
        first = min(found, key=lambda run: float(run["seconds_to"][key]), default=None)
        quickest[key] = first and {"algorithm": first["algorithm"], "seconds": first["seconds_to"][key]}
    least = min((run for run in runs if run["best"] is not None), key=lambda run: float(run["best"]), default=None)
    return {
        "seconds_to": quickest,
        "exploitability": least and least["best"],
        "algorithm": least and least["algorithm"],
        "n_failed": sum(run["ended"] == FAILED for run in runs),
        "n_runs": len(runs),
    }


def summary(rows: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """Who reached a threshold where, and the worst of our ratios over all games that are shared."""
    pairs = [(row, our_seconds(row, key), their_seconds(row, key)) for row in rows]
    ratios = [(mine / theirs, row) for row, mine, theirs in pairs if mine is not None and theirs is not None]
    lost = [row for row, mine, theirs in pairs if mine is None and theirs is not None]
    worst = max(ratios, key=lambda pair: pair[0], default=None)
    return {
        "n_rows": len(rows),
        "n_ours": sum(mine is not None for _, mine, _ in pairs),
        "n_theirs": sum(theirs is not None for _, _, theirs in pairs),
        "n_slower": sum(ratio > 1.0 for ratio, _ in ratios) + len(lost),
        "only_theirs": [label(row) for row in lost],
        "worst_ratio": worst and {"ratio": worst[0], "where": label(worst[1])},
        "median_ratio": statistics.median(ratio for ratio, _ in ratios) if ratios else None,
    }


def label(row: dict[str, Any]) -> str:
    """A game and a library."""
    return f"{row['game']} ({row['peer']})"


def our_seconds(row: dict[str, Any], key: str) -> float | None:
    """CPU seconds of ``mfenvs.solve`` to a threshold."""
    found: float | None = row["ours"] and row["ours"]["seconds_to"][key]
    return found


def their_seconds(row: dict[str, Any], key: str) -> float | None:
    """CPU seconds of a library's quickest algorithm to a threshold."""
    found = row["best"]["seconds_to"][key]
    return float(found["seconds"]) if found is not None else None


def markdown(found: dict[str, Any]) -> str:
    """The page of a comparison."""
    lines = [PAGE.replace("SECONDS", f"{found['seconds']:g}")]
    if not found["complete"]:
        lines += ["**Interrupted: not all games are here; `--resume` goes on.**", ""]
    for peer, versions_found in found["peers"].items():
        text = ", ".join(f"{name} {version}" for name, version in versions_found.items())
        lines.append(f"- {peer}: {text or 'not installed, left out'}")
    lines.append(f"- machine: {found['machine']}; load average of the last 15 minutes: {found['load']}")
    if found["left_out"]:
        lines.append(f"- **not run: {', '.join(found['left_out'])}**")
    lines += ["", *summary_lines(found), "", table(found), ""]
    lines += ["![CPU time to each exploitability](peers.png)", ""]
    return "\n".join(lines)


def summary_lines(found: dict[str, Any]) -> list[str]:
    """Counts and the worst ratio over all rows, for each threshold."""
    lines = [
        "| exploitability | pairs of game and library | reached by ours | by theirs | ours slower or not there |"
        " worst ratio ours / theirs | median ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for key in KEYS:
        of = found["summary"][key]
        worst = of["worst_ratio"]
        text = "-" if worst is None else f"{worst['ratio']:.3g}: {worst['where']}"
        if of["only_theirs"]:
            text = f"reached by theirs only: {', '.join(of['only_theirs'])}; else {text}"
        median = "-" if of["median_ratio"] is None else f"{of['median_ratio']:.2g}"
        counts = f"{of['n_rows']} | {of['n_ours']} | {of['n_theirs']} | {of['n_slower']}"
        lines.append(f"| {key} | {counts} | {text} | {median} |")
    return lines


def table(found: dict[str, Any]) -> str:
    """A row for each game and library, in Markdown."""
    seconds = [f"ours {key}" for key in KEYS] + [f"theirs {key}" for key in KEYS]
    head = ("game", "library", *seconds, "their best algorithm", "its exploitability", "ours")
    rows = []
    for row in found["rows"]:
        cells = [seconds_text(our_seconds(row, key)) for key in KEYS]
        cells += [seconds_text(their_seconds(row, key)) for key in KEYS]
        reached = [row["best"]["seconds_to"][key] for key in KEYS if row["best"]["seconds_to"][key] is not None]
        algorithm = reached[-1]["algorithm"] if reached else row["best"]["algorithm"]
        name = row["game"] + ("*" if row["rounded"] else "")
        ends = [exploitability_text(row["best"]["exploitability"])]
        ends.append(exploitability_text(row["ours"] and row["ours"]["best"]))
        cells += [algorithm or "none", *ends]
        rows.append((name, row["peer"], *cells))
    return markdown_table(head, rows)


def seconds_text(seconds: float | None) -> str:
    """Seconds, or a dash."""
    return "-" if seconds is None else f"{seconds:.2g}"


def exploitability_text(value: float | None) -> str:
    """An exploitability, or that no policy came."""
    return "no policy in time" if value is None else f"{value:.1e}"
