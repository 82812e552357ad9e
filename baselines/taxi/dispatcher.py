"""A dispatcher's rule for A-Taxi, written by hand: serve whoever is nearest."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import shortest_path

from mfenvs import checks
from mfenvs.games.taxi.taxi import ONE_HOT, WAIT, Taxi

from .planning import checked_game

N_ACTIONS = WAIT + 1


class Dispatcher:
    """The policy that delivers on a shortest way, then picks up the nearest customer [O].

    A taxi with a passenger goes to the target. One without goes to the nearest own customer, and waits if there is
    none. Of several moves that are equally short it draws one uniformly. A taxi at a start draws the part of the
    city that it goes to: a set of places between which a taxi can travel. All taxis can follow it
    (:func:`mfenvs.evaluate`). It knows neither jams nor multipliers, and is a yardstick for what is learned.

    Parameters
    ----------
    game:
        A game of A-Taxi, whose taxis observe places one-hot.
    shares:
        Probability with which a taxi goes to each part of the city, in the order of their first places (on the
        paper's map: zone 1, zone 2); by default in proportion to the numbers of their places.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """

    def __init__(self, game: Taxi, shares: tuple[float, ...] | None = None) -> None:
        self._game = checked_game(game)
        if game.observation != ONE_HOT:
            raise ValueError(f"game must be one whose observation is {ONE_HOT!r}, got {game.observation!r}")
        self._part_of = game.map.parts
        n_parts = self._part_of.max() + 1
        sizes = np.bincount(self._part_of[self._part_of >= 0], minlength=n_parts)
        given = sizes / sizes.sum() if shares is None else checks.array("shares", shares)
        self.shares = checks.probabilities("shares", given, (n_parts,))
        """Probability of each part of the city, shape (n_parts,)."""
        moves = game.constants.city.moves.astype(np.int64)
        ways = np.zeros((game.n_places, game.n_places))
        ways[np.arange(game.n_places)[:, None], moves] = 1.0
        np.fill_diagonal(ways, 0.0)
        self._moves = moves
        self._distance = shortest_path(ways, unweighted=True)
        """Number of moves from each place to each, infinite where there is no way, (n_places, n_places)."""

    def action_probabilities(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of all actions.

        Parameters
        ----------
        observations:
            The game's own observations, shape (n_rows, n_features).

        Returns
        -------
        Probabilities, shape (n_rows, 5).
        """
        n_places = self._game.n_places
        seen = np.asarray(observations)
        if seen.ndim != 2 or seen.shape[1] != self._game.n_features:
            raise ValueError(
                f"observations must have shape (n_rows, {self._game.n_features}), got {np.shape(observations)}"
            )
        cells = seen[:, :n_places].argmax(axis=1)
        wanted, customers = seen[:, n_places : 2 * n_places], seen[:, 2 * n_places : 3 * n_places]
        # Where the taxi wants to go: its passenger's target, else any of its nearest customers.
        goals = np.where(wanted.any(axis=1, keepdims=True), wanted, customers) > 0.0
        distance = np.where(goals, self._distance[cells], np.inf)
        nearest = distance.min(axis=1, keepdims=True)
        goals = np.isfinite(nearest) & (distance == nearest)
        laws = np.zeros((len(seen), N_ACTIONS), np.float32)
        for move in range(self._moves.shape[1]):
            after = self._distance[self._moves[cells, move]]
            laws[:, move] = (goals & (after < distance)).any(axis=1)
        laws[:, WAIT] = ~laws[:, :WAIT].any(axis=1)
        at_start = np.isin(cells, self._game.map.starts)
        laws[at_start] = self._departures(cells[at_start])
        laws /= laws.sum(axis=1, keepdims=True)
        return laws

    def _departures(self, cells: NDArray[np.int64]) -> NDArray[np.float32]:
        """Probabilities of the actions of taxis at a start, (n, 5): of a part, then of a move that enters it."""
        parts = self._part_of[self._moves[cells]]
        found = np.zeros((len(cells), N_ACTIONS), np.float32)
        for part, share in enumerate(self.shares):
            enters = parts == part
            found[:, :WAIT] += share * enters / np.maximum(enters.sum(axis=1, keepdims=True), 1)
        # A start from which no wanted part can be entered is left by any move.
        lost = found.sum(axis=1) == 0.0
        found[lost, :WAIT] = parts[lost] >= 0
        return found
