"""A finite game as OpenSpiel's mean-field games are written. Importing this module needs open_spiel."""

from typing import Any

import numpy as np
import pyspiel
from numpy.typing import NDArray
from open_spiel.python import policy as spiel_policy

from mfenvs.finite_game import FiniteGame
from mfenvs.peers.handed_over import HandedOver

ACT, ANNOUNCE, PAY, DRAW = "act", "announce", "pay", "draw"
"""The nodes of a step, in their order."""

GAME_TYPE = pyspiel.GameType(
    short_name="mfenvs",
    long_name="A finite game of mfenvs",
    dynamics=pyspiel.GameType.Dynamics.MEAN_FIELD,
    chance_mode=pyspiel.GameType.ChanceMode.EXPLICIT_STOCHASTIC,
    information=pyspiel.GameType.Information.PERFECT_INFORMATION,
    utility=pyspiel.GameType.Utility.GENERAL_SUM,
    reward_model=pyspiel.GameType.RewardModel.REWARDS,
    max_num_players=1,
    min_num_players=1,
    provides_information_state_string=True,
    provides_information_state_tensor=False,
    provides_observation_string=True,
    provides_observation_tensor=False,
    parameter_specification={},
)


class HandedOverGame(pyspiel.Game):  # type: ignore[misc]  # OpenSpiel is untyped
    """A finite game of mfenvs."""

    def __init__(self, game: FiniteGame) -> None:
        self.handed = HandedOver(game, "OpenSpiel")
        self.source = game
        masks = self.handed.induced.allowed
        by_time = np.broadcast_to(True if masks is None else masks, game.policy_shape)
        self.legal = [[np.flatnonzero(row).tolist() for row in by_state] for by_state in by_time]
        """The legal actions of every time and state."""
        info = pyspiel.GameInfo(
            num_distinct_actions=game.n_actions,
            max_chance_outcomes=game.n_states,
            num_players=1,
            min_utility=-np.inf,
            max_utility=np.inf,
            utility_sum=None,
            max_game_length=2 * game.horizon,
        )
        super().__init__(GAME_TYPE, info, {})

    def new_initial_state(self) -> "HandedOverState":
        """The node at which chance draws the first state."""
        return HandedOverState(self)

    def make_py_observer(self, iig_obs_type: Any = None, params: Any = None) -> "NodeObserver":
        """What a player sees: the node."""
        return NodeObserver()

    def max_chance_nodes_in_history(self) -> int:
        """One for the first state and one for every step."""
        return self.source.horizon + 1


class HandedOverState(pyspiel.State):  # type: ignore[misc]  # OpenSpiel is untyped
    """A node of the game. It holds numbers only, since OpenSpiel copies it for every move."""

    def __init__(self, game: HandedOverGame) -> None:
        super().__init__(game)
        self.node = DRAW
        self.time = -1
        self.place = -1
        self.chosen = -1
        self.law: NDArray[np.float64] | None = None
        self.earned = 0.0

    def __str__(self) -> str:
        if self.time < 0:
            return "initial"
        return f"({self.time}, {self.place}" + (")" if self.node == ACT else f", {self.chosen})_{self.node}")

    def current_player(self) -> int:
        """Whose turn it is, in OpenSpiel's numbers."""
        if self.is_terminal():
            return int(pyspiel.PlayerId.TERMINAL)
        players = {ACT: pyspiel.PlayerId.DEFAULT_PLAYER_ID, PAY: pyspiel.PlayerId.DEFAULT_PLAYER_ID}
        others = {ANNOUNCE: pyspiel.PlayerId.MEAN_FIELD, DRAW: pyspiel.PlayerId.CHANCE}
        return int({**players, **others}[self.node])

    def is_terminal(self) -> bool:
        """Whether all steps were made."""
        return bool(self.time >= self.get_game().source.horizon)

    def _legal_actions(self, player: int) -> list[int]:
        if self.node == PAY:
            return [0]
        return list(self.get_game().legal[self.time][self.place]) if self.node == ACT else []

    def chance_outcomes(self) -> list[tuple[int, float]]:
        """The next states that are possible, and their probabilities."""
        if self.time < 0:
            row = self.get_game().handed.induced.initial
        else:
            row = self._arrays()[0][self.place, self.chosen]
        return [(int(state), float(row[state])) for state in np.flatnonzero(row > 0.0)]

    def distribution_support(self) -> list[str]:
        """Names of the nodes at which the law of (state, action) is announced, in the order of the pairs."""
        game = self.get_game().source
        return [
            f"({self.time}, {state}, {action})_{ANNOUNCE}"
            for state in range(game.n_states)
            for action in range(game.n_actions)
        ]

    def update_distribution(self, distribution: list[float]) -> None:
        """Take note of the law of (state, action), and of what is earned in it."""
        self.law, self.node = np.asarray(distribution, np.float64), PAY
        self.earned += float(self._arrays()[1][self.place, self.chosen])

    def _arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.get_game().handed.arrays(self.time, self.law)  # type: ignore[no-any-return]

    def _apply_action(self, action: int) -> None:
        if self.node == ACT:
            self.chosen, self.node = action, ANNOUNCE
        elif self.node == PAY:
            self.node = DRAW
        else:
            self.time, self.place, self.chosen, self.node = self.time + 1, action, -1, ACT

    def _action_to_string(self, player: int, action: int) -> str:
        return str(action)

    def rewards(self) -> list[float]:
        """The reward of the step at the node at which it is paid, else 0."""
        return [float(self._arrays()[1][self.place, self.chosen]) if self.node == PAY else 0.0]

    def returns(self) -> list[float]:
        """The sum of the rewards so far."""
        return [self.earned]


class NodeObserver:
    """An observer who sees the name of the node."""

    tensor = None

    def __init__(self) -> None:
        self.dict: dict[str, Any] = {}

    def set_from(self, state: HandedOverState, player: int) -> None:
        """There are no tensors."""

    def string_from(self, state: HandedOverState, player: int) -> str:
        """The name of the node."""
        return str(state)


class HandedOverPolicy(spiel_policy.Policy):  # type: ignore[misc]  # OpenSpiel is untyped
    """A policy (T, S, A) for a game that was handed over."""

    def __init__(self, game: HandedOverGame, policy: Any) -> None:
        super().__init__(game, [0])
        law = game.handed.induced.policy("policy", policy)
        for time, by_state in enumerate(game.legal):
            for state, legal in enumerate(by_state):
                if law[time, state].sum() - law[time, state, legal].sum() > 0.0:
                    raise ValueError(f"policy[{time}, {state}] must play legal actions only, which are {legal}")
        self._law = law

    def action_probabilities(self, state: HandedOverState, player_id: int | None = None) -> dict[int, float]:
        """The probabilities of the legal actions at a node."""
        if state.node == PAY:
            return {0: 1.0}
        return {action: float(self._law[state.time, state.place, action]) for action in state.legal_actions()}
