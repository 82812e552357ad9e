"""Speeds of approximate symmetry: alpha, beta and the induced game of many agents who all differ."""

from collections.abc import Iterator

from benchmarks.measuring import Row, medians
from mfenvs import FiniteGame, InducedGame, make
from mfenvs.meanfield.symmetry import approximate_symmetry

MANY = 100_000


def symmetry(repetitions: int) -> Iterator[Row]:
    """Measure alpha, beta and the arrays of the induced game of A-SIS among 10^5 different agents."""
    game = make("Epidemic-v0", n_agents=MANY)
    assert isinstance(game, FiniteGame)

    def both() -> None:
        found = approximate_symmetry(game)
        assert found.kind == "exact"
        induced = InducedGame(game)
        induced.flow(induced.uniform_policy())

    (seconds,) = medians(repetitions, (both, 1))
    name = f"A-SIS, N = {MANY:,}: alpha and beta, exact, and the induced game's arrays along a flow"
    yield Row(name, seconds, "s", "< 5", seconds < 5.0)
