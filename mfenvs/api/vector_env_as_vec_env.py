"""A gymnasium vector environment as a VecEnv of Stable-Baselines3."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from mfenvs.api.sb3 import UniformVecEnv
from mfenvs.game import Game
from mfenvs.wrappers.observations import ObservationBlock


class VectorEnvAsVecEnv(UniformVecEnv):
    """A gymnasium VectorEnv, such as ``gymnasium.make_vec`` makes, as a VecEnv; it may be wrapped.

    Parameters
    ----------
    vector:
        The vector environment, made with ``autoreset_mode="SameStep"``: SB3 wants a new episode to begin in the
        step in which the last one ended.

    Raises
    ------
    ValueError
        If ``vector`` has another autoreset mode.
    """

    def __init__(self, vector: "gymnasium.vector.VectorEnv[Any, Any, Any]") -> None:
        mode = vector.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"autoreset_mode must be {AutoresetMode.SAME_STEP.value!r} for Stable-Baselines3, got"
                f" {getattr(mode, 'value', mode)!r}: make the environment with"
                f" autoreset_mode={AutoresetMode.SAME_STEP.value!r}"
            )
        self.vector = vector
        self.render_mode = vector.render_mode
        self._actions: NDArray[Any] | None = None
        self._masks: NDArray[np.bool_] | None = None
        super().__init__(vector.num_envs, vector.single_observation_space, vector.single_action_space)

    @property
    def game(self) -> Game:
        """The game, if the vector environment is one of this package's."""
        made: Game = self.vector.unwrapped.game  # type: ignore[attr-defined]
        return made

    @property
    def observe(self) -> tuple[ObservationBlock, ...]:
        """The observation blocks of the vector environment, if it is one of this package's."""
        blocks: tuple[ObservationBlock, ...] = getattr(self.vector.unwrapped, "observe", ())
        return blocks

    def reset(self) -> Any:
        """Begin episodes, with the seed given to :meth:`seed` since the last reset; return the observations."""
        observations, infos = self.vector.reset(seed=self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self._keep_masks(infos)
        self.reset_infos = rows_of_infos(infos, self.num_envs)
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Take one step with the actions of :meth:`step_async`.

        Returns
        -------
        Observations, rewards (num_envs,), whether the episode ended (num_envs,), and infos. Where an episode
        ended, they are those of its last step, with ``terminal_observation`` and ``TimeLimit.truncated``; those of
        the next episode's beginning are in ``reset_infos``.

        Raises
        ------
        RuntimeError
            Without actions.
        """
        if self._actions is None:
            raise RuntimeError("step_wait() was called without actions: call step_async() first")
        actions, self._actions = self._actions, None
        observations, rewards, terminated, truncated, infos = self.vector.step(actions)
        self._keep_masks(infos)
        dones = terminated | truncated
        rows = rows_of_infos(infos, self.num_envs)
        ended = rows_of_infos(infos.get("final_info", {}), self.num_envs) if dones.any() else rows
        for row in np.flatnonzero(dones):
            cut = bool(truncated[row] and not terminated[row])
            self.reset_infos[row] = rows[row]
            # What wrappers tell of the episode that ended (its "episode") is not in its final infos.
            told = {**rows[row], **ended[row]}
            rows[row] = {**told, "terminal_observation": infos["final_obs"][row], "TimeLimit.truncated": cut}
        return observations, rewards, dones, rows

    def action_masks(self) -> NDArray[np.bool_]:
        """Action masks for sb3-contrib, shape (num_envs, n_actions): False for an action that has no use now.

        They are the vector environment's ``infos["action_mask"]``; if there is none, all are True.

        Raises
        ------
        TypeError
            If actions are not discrete.
        """
        if not isinstance(self.action_space, gymnasium.spaces.Discrete):
            raise TypeError(f"action_masks() needs discrete actions, got {self.action_space}")
        if self._masks is None:
            return np.ones((self.num_envs, int(self.action_space.n)), np.bool_)
        return self._masks.copy()

    def close(self) -> None:
        """Close the environment."""
        self.vector.close()

    def get_images(self) -> Sequence[Any]:
        """The frames that the vector environment renders, each once if environments share it."""
        frames = self.vector.render() or (None,)
        return list({id(frame): frame for frame in frames}.values())

    def _keep_masks(self, infos: dict[str, Any]) -> None:
        """Keep the action masks in the infos; without one, an environment allows all actions."""
        self._masks = None
        if "action_mask" in infos:
            told = np.asarray(infos.get("_action_mask", True)).reshape(-1, 1)
            self._masks = np.asarray(infos["action_mask"], np.bool_) | ~told


def rows_of_infos(infos: dict[str, Any], n_rows: int) -> list[dict[str, Any]]:
    """The infos of a gymnasium VectorEnv as one dict for each of its environments.

    Entries are arrays with a row for each environment, dicts of such arrays, or values that all environments have
    in common. If there is a mask ``infos["_<name>"]``, only the rows where it is True have the entry. Entries
    about final steps are left out.
    """
    rows: list[dict[str, Any]] = [{} for _ in range(n_rows)]
    for name, value in infos.items():
        if name.startswith("final_") or (name.startswith("_") and name[1:] in infos):
            continue
        told: Any
        if isinstance(value, dict):
            told = rows_of_infos(value, n_rows)
        elif np.ndim(value) == 0:
            told = [value] * n_rows
        else:
            told = value.tolist() if isinstance(value, np.ndarray) and value.ndim == 1 else list(value)
        has_it = infos.get(f"_{name}")
        if has_it is None or np.all(has_it):
            for row, cell in zip(rows, told, strict=True):
                row[name] = cell
        else:
            for k in np.flatnonzero(has_it):
                rows[k][name] = told[k]
    return rows
