"""Learning rates that fall while the population changes, as the Wasserstein distance between its laws measures it.

:class:`WassersteinSchedule` is a learning-rate schedule for every on-policy algorithm of Stable-Baselines3.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from mfenvs import checks
from mfenvs.engine.engine import Engine

from .rollout_law import Floats, RolloutLaw, agent_types, coordinate_of

LAWS = ("law", "law_before")
"""The attributes of a :class:`WassersteinSchedule` that hold a law: one after the first update, then both."""


class WassersteinSchedule:
    """Learning rate alpha_t = alpha_0 min(1, tau_0 / t) / (1 + beta W1(mu_t, mu_{t-1})) of the t-th update.

    It is given as ``learning_rate`` to :class:`baselines.PPO`, :class:`baselines.ActorCritic`, or an on-policy
    algorithm of Stable-Baselines3 itself, whose ``learn`` then needs a :class:`WassersteinCallback`; ours adds it.
    Every model needs a schedule of its own. Models are saved with it, and continue where it was.

    mu_t is the empirical law of agents' local states by type in the t-th rollout, at each of its steps, with the
    states of all worlds pooled (:meth:`RolloutLaw.distance`). Rollouts of whole episodes thus compare the
    population with itself at the same time of the episode [R: the source's t counts updates and market time at
    once]. W1(mu_1, mu_0) is 0 [O]. Even where nothing drifts, the distance between laws of n samples is of the
    order n^(-1/2).

    Parameters
    ----------
    initial_rate:
        alpha_0, above 0.
    tau_0:
        Number of updates after which the rate decays as 1 / t; infinite: it does not.
    beta:
        Strength of the modulation, per unit of the state; 0 for none.
    coordinate:
        Name of the component of the local state whose law is compared; None where states are plain numbers (in
        finite games: the states' indices, and so their order matters).

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.

    References
    ----------
    "Math Deep Dive: Understanding Mean-Field-Type Games", section 4.2.
    """

    def __init__(
        self,
        initial_rate: float,
        *,
        tau_0: float = math.inf,
        beta: float = 1.0,
        coordinate: str | None = None,
    ) -> None:
        self.initial_rate = checks.real("initial_rate", initial_rate, 0.0, exclude_low=True)
        is_infinite = isinstance(tau_0, float) and tau_0 == math.inf
        self.tau_0 = math.inf if is_infinite else checks.real("tau_0", tau_0, 0.0, exclude_low=True)
        self.beta = checks.real("beta", beta, 0.0)
        self.coordinate = None if coordinate is None else checks.text("coordinate", coordinate)
        self.restart()

    def restart(self) -> None:
        """Forget all rollouts: the next update is the first."""
        self.updates = 0
        """Number t of the present update, from 1; 0 before the first rollout."""
        self.distance = 0.0
        """W1(mu_t, mu_{t-1})."""
        self.num_timesteps = 0
        """Number of agent-steps at the end of the present update's rollout."""
        self.law: RolloutLaw | None = None
        """mu_t."""
        self.law_before: RolloutLaw | None = None
        """mu_{t-1}."""

    @property
    def rate(self) -> float:
        """alpha_t of the present update; alpha_0 before the first rollout."""
        return self.rate_at(max(self.updates, 1), self.distance)

    def rate_at(self, update: int, distance: float) -> float:
        """alpha_t for t = ``update``, from 1, and the distance W1(mu_t, mu_{t-1})."""
        return self.initial_rate * min(1.0, self.tau_0 / update) / (1.0 + self.beta * distance)

    def observe(self, law: RolloutLaw, num_timesteps: int) -> None:
        """Take in the law of a rollout that has been collected, before the update from it.

        Parameters
        ----------
        law:
            mu_t.
        num_timesteps:
            Number of agent-steps at the end of the rollout. If it is that of the last call, the rollout was
            repeated, as after an update that failed, and its law replaces the last one.

        Raises
        ------
        ValueError
            If the rollout is not as long as the one before.
        """
        is_repeated = self.updates > 0 and num_timesteps == self.num_timesteps
        before = self.law_before if is_repeated else self.law
        self.distance = 0.0 if before is None else law.distance(before)
        self.updates += not is_repeated
        self.law, self.law_before, self.num_timesteps = law, before, num_timesteps

    def state(self) -> tuple[dict[str, int], dict[str, Floats]]:
        """The counters and the states of the laws by name, from which :meth:`set_state` continues."""
        counters = {"updates": self.updates, "num_timesteps": int(self.num_timesteps)}
        laws = {name: getattr(self, name) for name in LAWS}
        return counters, {name: law.states for name, law in laws.items() if law is not None}

    def set_state(
        self, counters: dict[str, int], laws: dict[str, Floats], types: NDArray[Any], n_worlds: int
    ) -> None:
        """Continue from what :meth:`state` returned.

        Parameters
        ----------
        counters, laws:
            What :meth:`state` returned.
        types:
            Each agent's type, shape (n_agents,).
        n_worlds:
            Number of worlds.

        Raises
        ------
        ValueError
            If the states of a law are not sorted within each type.
        """
        kinds, numbers = np.unique(types, return_counts=True)
        found = {name: RolloutLaw(states, kinds, numbers * n_worlds) for name, states in laws.items()}
        for name, law in found.items():
            if any((np.diff(states, axis=1) < 0.0).any() for states in law.by_type().values()):
                raise ValueError(f"the states of {name} must be sorted within each type")
        self.restart()
        self.updates, self.num_timesteps = counters["updates"], counters["num_timesteps"]
        self.law, self.law_before = found.get("law"), found.get("law_before")
        if self.law is not None and self.law_before is not None:
            self.distance = self.law.distance(self.law_before)

    def __call__(self, progress_remaining: float) -> float:
        """The rate of the present update.

        Parameters
        ----------
        progress_remaining:
            Share of the training that is left; it has no effect.

        Raises
        ------
        RuntimeError
            If training has begun and no rollout was observed.
        """
        if self.updates == 0 and progress_remaining < 1.0:
            raise RuntimeError(
                "the learning rate follows the population, and no rollout was observed:"
                " call learn(..., callback=WassersteinCallback())"
            )
        return self.rate

    def __repr__(self) -> str:
        return (
            f"WassersteinSchedule({self.initial_rate:g}, tau_0={self.tau_0:g}, beta={self.beta:g},"
            f" coordinate={self.coordinate!r}), {self.updates} updates"
        )


class WassersteinCallback(BaseCallback):
    """Shows a model's :class:`WassersteinSchedule` how the population moves, on one of our VecEnvs.

    A call of ``learn`` that starts the count of timesteps at zero restarts the schedule too. The distance is
    logged as ``train/wasserstein_distance``.

    Raises
    ------
    TypeError, ValueError
        By ``learn``, if the model's ``learning_rate`` is no WassersteinSchedule, the environment is not one of
        :func:`mfenvs.vec_env`, possibly within wrappers, or the game's states do not have the schedule's
        ``coordinate``.
    """

    def _on_training_start(self) -> None:
        found = getattr(self.model, "learning_rate", None)
        if not isinstance(found, WassersteinSchedule):
            raise TypeError(
                f"WassersteinCallback needs a model whose learning_rate is a WassersteinSchedule, got {found!r}"
            )
        self._schedule = found
        if self.model.num_timesteps == 0:
            found.restart()
        coordinate_of(self._engine().states, found.coordinate)

    def _on_rollout_start(self) -> None:
        self._seen = [self._states()]

    def _on_step(self) -> bool:
        self._seen.append(self._states())
        return True

    def _on_rollout_end(self) -> None:
        # The states after the last step may be those of a new episode; they belong to the next rollout.
        law = RolloutLaw.of(np.stack(self._seen[:-1]), agent_types(self._engine().game))
        self._seen.clear()
        self._schedule.observe(law, self.model.num_timesteps)
        self.logger.record("train/wasserstein_distance", self._schedule.distance)

    def _states(self) -> Floats:
        return coordinate_of(self._engine().states, self._schedule.coordinate)

    def _engine(self) -> Engine:
        try:
            engine = self.training_env.get_attr("engine", [0])[0]
        except AttributeError:
            engine = None
        if not isinstance(engine, Engine):
            raise TypeError(
                f"WassersteinCallback needs an environment of mfenvs.vec_env, got {self.training_env!r}"
            )
        return engine
