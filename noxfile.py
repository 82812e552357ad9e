"""Examples of other frameworks, each run and tested in an environment of its own.

``nox -l`` lists them. ``nox -s rllib_ppo`` makes an environment from what ``examples/frameworks/rllib_ppo.py``
says it needs (PEP 723), runs the file, and then its tests, ``tests/frameworks/test_rllib_ppo.py``. ``nox -s
rllib_ppo -- speed`` measures the speeds of its routes instead. Without ``-s`` only the examples run whose
packages are small.
"""

import ast
from pathlib import Path

import nox

EXAMPLES = Path(__file__).parent / "examples" / "frameworks"
TESTS = Path("tests") / "frameworks"

LIGHT = ("cleanrl_ppo", "sb3_contrib_maskable_ppo", "stable_baselines3_ppo")
"""Examples whose packages are small."""

TEST_PACKAGES = ("pytest", "hypothesis", "matplotlib")
"""Packages of which the tests of examples make use, and the examples do not."""

ONE_THREAD = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Environment variables for one thread: threads that spin beside each other on few cores crawl."""


def register(script: Path) -> None:
    """Make the session of an example, whose summary is that of the example."""

    @nox.session(name=script.stem, default=script.stem in LIGHT)
    def session(session: nox.Session) -> None:
        session.env.update(ONE_THREAD, MPLBACKEND="agg")
        metadata = nox.project.load_toml(script)
        first, *others = metadata["dependencies"]
        # Torch first, from the pin: another package's requirement might choose a build with gigabytes of CUDA.
        session.install(first)
        session.install(*TEST_PACKAGES, first, *("." if name == "mfenvs" else name for name in others))
        # Packages whose own requirements exclude the releases above; what they import is named above.
        if alone := metadata.get("tool", {}).get("mfenvs", {}).get("without-dependencies"):
            session.install("--no-deps", *alone)
        if session.posargs == ["speed"]:
            session.run("python", "-m", "benchmarks", "frameworks", script.stem)
            return
        session.run("python", str(script), *session.posargs)
        # Not `python -m pytest`, which would import the clone instead of what is installed.
        session.run("pytest", "-q", str(TESTS / f"test_{script.stem}.py"))

    session.__doc__ = (ast.get_docstring(ast.parse(script.read_text("utf-8"))) or "").partition("\n")[0]


for path in sorted(EXAMPLES.glob("*.py")):
    register(path)
