"""All conformance tests of a game in one call: :func:`mfenvs.check`."""

import contextlib
import dataclasses
import importlib
import importlib.util
import io
import re
import traceback
import warnings
from collections.abc import Callable
from typing import Any, Literal

from mfenvs import checks
from mfenvs.conformance import libraries, rules
from mfenvs.conformance.subject import Subject
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game
from mfenvs.registry import make, name_of
from mfenvs.wrappers.observations import Observe, Observer

ADVICE = (
    "Observation space for each agent probably should be",
    "Action space for each agent probably should be",
    "Observation is a single number",
    "Observation numpy array is all zeros",
    "we recommend",
    "We recommend you to use a symmetric and normalized",
    "Not able to test alternative render modes",
    "The old environment creation API has been deprecated",
)
"""Parts of warnings that do not concern the game's contracts: of images, scales, and the libraries themselves."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Outcome = Literal["passed", "failed", "skipped"]


@dataclasses.dataclass(frozen=True)
class ConformanceTest:
    """A test, and when it applies."""

    name: str
    run: Callable[[Subject], None]
    package: str | None = None
    """Import name of a package that the test needs, if it is not always installed."""
    inapplicable: Callable[[Game], str | None] = lambda game: None
    """Why the test does not apply to a game, or None if it does."""


def _has_no_masks(game: Game) -> str | None:
    return None if game.rules.allowed is not None else "the game has no rule allowed"


def _has_no_law(game: Game) -> str | None:
    if not isinstance(game, FiniteGame):
        return "the game is not a FiniteGame"
    return None if hasattr(game, "step") else "the game has no rule step of its own"


TESTS = (
    ConformanceTest("rules: debug mode", rules.debug_mode),
    ConformanceTest("rules: same seed, same trajectory", rules.seeds),
    ConformanceTest("rules: action masks", rules.action_masks, inapplicable=_has_no_masks),
    ConformanceTest("rules: step follows its law", rules.step_follows_its_law, inapplicable=_has_no_law),
    ConformanceTest("PettingZoo: parallel_api_test", libraries.pettingzoo_parallel_api),
    ConformanceTest("PettingZoo: parallel_seed_test", libraries.pettingzoo_parallel_seed),
    ConformanceTest("PettingZoo: api_test", libraries.pettingzoo_api),
    ConformanceTest("PettingZoo: seed_test", libraries.pettingzoo_seed),
    ConformanceTest("PettingZoo: state_test", libraries.pettingzoo_state),
    ConformanceTest("gymnasium: check_env", libraries.gymnasium_env),
    ConformanceTest("gymnasium: vector environment", libraries.gymnasium_vector),
    ConformanceTest("Stable-Baselines3: check_env", libraries.stable_baselines3_env, "stable_baselines3"),
    ConformanceTest("TorchRL: check_env_specs", libraries.torchrl_env_specs, "torchrl"),
)
"""All tests, in the order in which they are run; the first one tells whether the others can trust the rules."""


@dataclasses.dataclass(frozen=True)
class Result:
    """The outcome of one test."""

    name: str
    outcome: Outcome
    reason: str = ""
    """Why the test failed or was skipped."""
    remarks: tuple[str, ...] = ()
    """What the test warned of."""

    def __str__(self) -> str:
        lines = [f"{self.outcome:8}{self.name}{self.reason and f': {self.reason}'}"]
        return "\n        ".join([*lines, *(f"warning: {remark}" for remark in self.remarks)])


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcomes of all tests of a game."""

    game: Game
    """The game that was tested."""
    changes: tuple[str, ...]
    """How it differs from the game that was given, and why it does not where it should."""
    results: tuple[Result, ...]

    @property
    def passed(self) -> tuple[Result, ...]:
        """The tests that passed."""
        return self._of("passed")

    @property
    def failed(self) -> tuple[Result, ...]:
        """The tests that failed."""
        return self._of("failed")

    @property
    def skipped(self) -> tuple[Result, ...]:
        """The tests that were not run."""
        return self._of("skipped")

    def __str__(self) -> str:
        game = name_of(self.game) or self.game.kind
        title = f"{game} with {self.game.n_agents} agents and a horizon of {self.game.horizon}"
        counts = f"{len(self.passed)} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"
        return "\n".join([title, *self.changes, *map(str, self.results), counts])

    def _of(self, outcome: Outcome) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.outcome == outcome)


def check(
    game: str | Game,
    *,
    observe: Observe = (),
    max_agents: int | None = 10,
    max_horizon: int | None = 20,
    raise_on_failure: bool = False,
    quiet: bool = False,
    **constants: Any,
) -> Report:
    """Run all conformance tests on a game, and print what passed, what failed and why, and what was skipped.

    The tests are, first, of the rules: debug mode, that the same seed gives the same trajectory, action masks, and
    that a finite game's own ``step`` follows its ``transition`` and ``reward``. Then come PettingZoo's tests of
    parallel and AEC environments, and those of gymnasium, Stable-Baselines3 and TorchRL. Tests of libraries are
    skipped where these are not installed.

    Rules that fail in debug mode may write outside of their arrays: then all further tests run in debug mode.

    Parameters
    ----------
    game:
        A registered name, or a game.
    observe:
        Observation blocks that agents see beside their own observation.
    max_agents, max_horizon:
        Largest numbers of agents and of steps; None for any. A game with more is made smaller, since some tests go
        through the agents one by one; the report says so. A game that cannot be made smaller is tested as it is.
    raise_on_failure:
        Whether to raise an error if a test fails, for tests of one's own game.
    quiet:
        Whether to print nothing.
    constants:
        The game's constants, if the game is given by name.

    Returns
    -------
    The report, with ``passed``, ``failed`` and ``skipped`` tests.

    Raises
    ------
    AssertionError
        With ``raise_on_failure``, if a test fails. The message is the report.
    RuntimeError
        If Python runs without assertions (``python -O``): then the libraries' tests would test nothing.
    TypeError, ValueError
        If an argument is not allowed.
    """
    if not __debug__:
        raise RuntimeError("check() needs Python's assertions, which python -O switches off")
    raises, is_quiet = checks.boolean("raise_on_failure", raise_on_failure), checks.boolean("quiet", quiet)
    tested, changes = make(game, **constants), []
    for name, most, least in (("n_agents", max_agents, 2), ("horizon", max_horizon, 1)):
        if most is not None:
            tested, change = _smaller(tested, name, checks.integer(f"max_{name.removeprefix('n_')}", most, least))
            changes += change
    subject = Subject(tested, Observer(tested, observe).blocks)
    results = []
    for test in TESTS:
        results.append(_result(test, subject))
        if test.run is rules.debug_mode and results[-1].outcome == "failed":
            subject = dataclasses.replace(subject, debug=True)
    report = Report(tested, tuple(changes), tuple(results))
    if raises and report.failed:
        raise AssertionError(str(report))
    if not is_quiet:
        print(report)
    return report


def _smaller(game: Game, name: str, most: int) -> tuple[Game, list[str]]:
    """The game with at most ``most`` as its constant ``name``, if there is such a game, and what was done."""
    given = getattr(game, name)
    if given <= most:
        return game, []
    try:
        smaller = dataclasses.replace(game, **{name: most})
    except (TypeError, ValueError) as error:
        return game, [f"{name} stays {given}, since {most} is not allowed: {_first_line(error)}"]
    return smaller, [f"{name} is {most} in place of {given}, for the tests' sake"]


def _result(test: ConformanceTest, subject: Subject) -> Result:
    """Run a test; what it prints is dropped, what it warns of is kept."""
    if test.package is not None:
        if importlib.util.find_spec(test.package) is None:
            return Result(test.name, "skipped", f"{test.package} is not installed")
        # Before the output is redirected: a library may keep the stream to which it logs.
        importlib.import_module(test.package)
    why_not = test.inapplicable(subject.game)
    if why_not is not None:
        return Result(test.name, "skipped", why_not)
    outcome: Outcome = "passed"
    reason = ""
    with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        try:
            test.run(subject)
        except Exception as error:
            outcome, reason = "failed", _reason(error)
    texts = dict.fromkeys(COLOUR.sub("", str(one.message)) for one in warned)
    remarks = tuple(text for text in texts if not any(advice in text for advice in ADVICE))
    return Result(test.name, outcome, reason, remarks)


def _reason(error: Exception) -> str:
    """An error in one line: its kind and message, or the statement that raised it."""
    message = _first_line(error)
    if not message:
        message = traceback.extract_tb(error.__traceback__)[-1].line or ""
    return message if isinstance(error, AssertionError) else f"{type(error).__name__}: {message}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")
