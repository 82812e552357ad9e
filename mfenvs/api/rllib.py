"""RLlib: one world of a game as a MultiAgentEnv, whose agents go by their names."""

from typing import Any

from mfenvs.api.pettingzoo import parallel_env
from mfenvs.game import Game

try:
    from ray.rllib.env.wrappers.pettingzoo_env import (  # type: ignore[import-not-found, unused-ignore]
        ParallelPettingZooEnv,
    )
except ModuleNotFoundError as error:
    raise ImportError("PopulationMultiAgentEnv needs RLlib: pip install 'ray[rllib]'") from error


class PopulationMultiAgentEnv(ParallelPettingZooEnv):  # type: ignore[misc, unused-ignore]
    """One world of a game as RLlib's MultiAgentEnv: its own wrapper, but truncations stay truncations.

    RLlib (2.60) takes an episode in which all agents are truncated for one that terminated, and so values nothing
    that would have come after it. Here only ``truncateds["__all__"]`` says that the episode is truncated.

    RLlib's single-agent runner is faster. It takes the gymnasium vector environment, in which every agent is an
    environment of its own, with ``gym_env_vectorize_mode="vector_entry_point"``.

    Parameters
    ----------
    game:
        A registered name, or a game.
    kwargs:
        Arguments of :func:`mfenvs.parallel_env`: ``observe``, ``max_cycles`` and the game's constants among them.
    """

    def __init__(self, game: str | Game, **kwargs: Any) -> None:
        super().__init__(parallel_env(game, **kwargs))

    def step(
        self, action_dict: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Take one step.

        Parameters
        ----------
        action_dict:
            An action for each agent.

        Returns
        -------
        Observations, rewards, terminations, truncations and infos by agent; the key ``"__all__"`` says whether the
        episode has terminated or was truncated for all. Truncations have that key only.

        Raises
        ------
        RuntimeError, TypeError, ValueError
            As in PettingZoo's API (:class:`mfenvs.api.pettingzoo.PopulationParallelEnv`).
        """
        observations, rewards, terminateds, truncateds, infos = super().step(action_dict)
        return observations, rewards, terminateds, {"__all__": truncateds["__all__"]}, infos
