"""``python -m benchmarks reproduce NAME``, ``... speed [NAME]``, ``... peers``, ``... frameworks NAME``."""

import importlib
import os
import signal
import sys

REPRODUCTIONS = {
    "asymmetric-games": "benchmarks.reproduce.asymmetric_games",
    "chaos": "benchmarks.reproduce.chaos",
    "classic-games": "benchmarks.reproduce.classic_games",
    "energy": "benchmarks.reproduce.energy.command",
    "energy-policies": "benchmarks.reproduce.energy_policies",
    "gmf-q": "benchmarks.reproduce.gmf_q",
    "heterogeneity": "benchmarks.reproduce.heterogeneity",
    "investments": "benchmarks.reproduce.investments",
    "linear-quadratic": "benchmarks.reproduce.linear_quadratic",
    "malware": "benchmarks.reproduce.malware",
    "modulation": "benchmarks.reproduce.modulation",
    "population-size": "benchmarks.reproduce.population_size",
    "scaling": "benchmarks.reproduce.scaling",
    "taxi": "benchmarks.reproduce.taxi",
}

ONE_THREAD = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Environment variables for the speed measurements, which run on one thread; numba and torch read them when they
are imported."""

USAGE = f"""\
usage: python -m benchmarks reproduce NAME [FLAGS]   NAME: {", ".join(REPRODUCTIONS)}
       python -m benchmarks speed [NAME ...] [FLAGS]
       python -m benchmarks peers [FLAGS]               MFGLib, OpenSpiel and Bench-MFG beside mfenvs.solve
       python -m benchmarks frameworks NAME             NAME: a file in examples/frameworks
"""


def main(words: list[str]) -> int:
    """Dispatch to a reproduction or to the speed table; return the exit status."""
    match words:
        case ["reproduce", name, *rest] if name in REPRODUCTIONS:
            if name == "classic-games":
                os.environ.update(ONE_THREAD)
            status = importlib.import_module(REPRODUCTIONS[name]).main(rest)
        case ["speed", *rest]:
            os.environ.update(ONE_THREAD)
            status = importlib.import_module("benchmarks.speed").main(rest)
        case ["peers", *rest]:
            status = importlib.import_module("benchmarks.peers.command").main(rest)
        case ["frameworks", *rest]:
            os.environ.update(ONE_THREAD)
            status = importlib.import_module("benchmarks.frameworks").main(rest)
        case ["-h" | "--help"]:
            print(USAGE)
            status = 0
        case _:
            print(USAGE, file=sys.stderr)
            status = 2
    return int(status)


if __name__ == "__main__":
    # Schedulers and containers end a process by SIGTERM: like Ctrl-C, so that what is done is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
