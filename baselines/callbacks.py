"""Callbacks for the trainers: measurements during training, saving, stopping."""

import time
from collections.abc import Callable
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from mfenvs import checks
from mfenvs.engine.cuda.device import device_index
from mfenvs.evaluation import Evaluation, evaluate
from mfenvs.game import Game
from mfenvs.meanfield.n_player import Exploitability, n_player_exploitability
from mfenvs.public_chain import refuse_public_chain

from .neural.ppo import PPO
from .policies import TabularPolicy
from .trainer import Trainer


class ExploitabilityCallback(BaseCallback):
    """Measures the N-player exploitability of a tabular trainer's policy during training, and logs it.

    Parameters
    ----------
    every:
        Number of iterations between measurements.
    n_worlds:
        Number of simulated worlds, at least 2.
    deviators_per_world:
        Number of agents that deviate in each world, one at a time; all of them if there are fewer.
    seed:
        Random seed of the simulations (:func:`mfenvs.n_player_exploitability`).
    device:
        Device on which worlds are simulated, as of :class:`mfenvs.Engine`.

    Attributes
    ----------
    measured:
        The measurements in order, as (number of iterations, exploitability).

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed; by ``learn``, if the trainer is not a tabular one or its game has a public
        chain.
    """

    def __init__(
        self,
        every: int = 1,
        *,
        n_worlds: int = 16,
        deviators_per_world: int = 4,
        seed: int = 0,
        device: Any = "cpu",
    ) -> None:
        super().__init__()
        self.every = checks.integer("every", every, 1)
        self.n_worlds = checks.integer("n_worlds", n_worlds, 2)
        self.deviators_per_world = checks.integer("deviators_per_world", deviators_per_world, 1)
        self.seed = checks.integer("seed", seed, 0)
        device_index(device)  # A ValueError now, and not in the midst of training.
        self.device = device
        self.measured: list[tuple[int, Exploitability]] = []

    def _on_training_start(self) -> None:
        if not isinstance(self.model, Trainer):
            raise TypeError(
                f"ExploitabilityCallback is for tabular trainers, got {type(self.model).__name__}: use"
                " EvaluationCallback"
            )
        refuse_public_chain(self.model.game, "ExploitabilityCallback, which simulates deviations,")
        if not isinstance(self.model.policy, TabularPolicy):
            raise TypeError(
                "ExploitabilityCallback needs a policy that is a table; that of"
                f" {type(self.model).__name__} for {type(self.model.game).__name__} is a network"
            )

    def _on_step(self) -> bool:
        trainer = self.model
        assert isinstance(trainer, Trainer)
        if trainer.iteration % self.every == 0:
            found = n_player_exploitability(
                trainer.game,
                trainer.policy.probabilities,
                n_worlds=self.n_worlds,
                deviators_per_world=min(self.deviators_per_world, trainer.game.n_agents),
                seed=self.seed,
                device=self.device,
            )
            self.measured.append((trainer.iteration, found))
            for key, value in found.summary().items():
                if isinstance(value, float):
                    trainer.logger.record(f"eval/exploitability_{key}", value)
        return True


class EvaluationCallback(BaseCallback):
    """Measures the mean return of a :class:`baselines.PPO` in fresh worlds during training, and logs it.

    Parameters
    ----------
    every:
        Number of updates between measurements.
    n_worlds:
        Number of simulated worlds, at least 2.
    seed:
        Random seed of the simulations (:func:`mfenvs.evaluate`).
    device:
        Device on which worlds are simulated, as of :class:`mfenvs.Engine`.

    Attributes
    ----------
    measured:
        The measurements in order, as (number of updates, evaluation).

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed; by ``learn``, if the trainer is not a :class:`baselines.PPO` on a game of
        mfenvs.
    """

    def __init__(self, every: int = 1, *, n_worlds: int = 4, seed: int = 0, device: Any = "cpu") -> None:
        super().__init__()
        self.every = checks.integer("every", every, 1)
        self.n_worlds = checks.integer("n_worlds", n_worlds, 2)
        self.seed = checks.integer("seed", seed, 0)
        device_index(device)  # A ValueError now, and not in the midst of training.
        self.device = device
        self.measured: list[tuple[int, Evaluation]] = []

    def _on_training_start(self) -> None:
        model = self.model
        if not isinstance(model, PPO):
            raise TypeError(
                f"EvaluationCallback is for baselines.PPO and its subclasses, got {type(model).__name__}:"
                " use ExploitabilityCallback for tabular trainers"
            )
        self._game()
        # An error may have ended the last training before its end.
        if self._measure not in model.after_update:
            model.after_update.append(self._measure)

    def _on_training_end(self) -> None:
        assert isinstance(self.model, PPO)
        self.model.after_update.remove(self._measure)

    def _game(self) -> Game:
        try:
            game = self.training_env.get_attr("game", [0])[0]
        except AttributeError:
            game = None
        if not isinstance(game, Game):
            raise TypeError(
                f"EvaluationCallback needs an environment of a game of mfenvs, got {self.training_env!r}"
            )
        return game

    def _measure(self) -> None:
        model = self.model
        assert isinstance(model, PPO)
        done = model.num_timesteps // (model.n_steps * model.n_envs)
        if done % self.every == 0:
            found = evaluate(self._game(), model, n_worlds=self.n_worlds, seed=self.seed, device=self.device)
            self.measured.append((done, found))
            self.logger.record("eval/return", found.mean_return.value)
            for name, shares in found.region_shares.items():
                self.logger.record(f"eval/{name}", float(shares[:, -1].mean()))

    def _on_step(self) -> bool:
        return True


class SaveEvery(BaseCallback):
    """Saves a training run at regular intervals of time, between two iterations.

    The last iteration has been logged by then, so that no row of a log is lost if the process is killed.

    Parameters
    ----------
    seconds:
        Time between two saves, in seconds: ``save`` is called before the first iteration that begins at least so
        long after the last save.
    save:
        Function without arguments that saves the run.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """

    def __init__(self, seconds: float, save: Callable[[], None]) -> None:
        super().__init__()
        self.seconds = checks.real("seconds", seconds, 0.0)
        if not callable(save):
            raise TypeError(f"save must be a function without arguments, got {save!r}")
        self.save = save
        self._saved = time.monotonic()

    def _on_rollout_start(self) -> None:
        if time.monotonic() - self._saved >= self.seconds:
            self.save()
            self._saved = time.monotonic()

    def _on_step(self) -> bool:
        return True


class StopOnInterrupt(BaseCallback):
    """Ends training at the end of the step in which :meth:`interrupt` was called, as by a signal handler."""

    def __init__(self) -> None:
        super().__init__()
        self.is_interrupted = False
        """Whether training was asked to end."""

    def interrupt(self) -> None:
        """Ask training to end."""
        self.is_interrupted = True

    def _on_step(self) -> bool:
        return not self.is_interrupted


class StopAfter(BaseCallback):
    """Ends training at the end of the first step that ends at least ``seconds`` after its beginning.

    Parameters
    ----------
    seconds:
        Time limit, in seconds.

    Raises
    ------
    TypeError, ValueError
        If the time limit is not a number >= 0.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = checks.real("seconds", seconds, 0.0)
        self._end = 0.0

    def _on_training_start(self) -> None:
        self._end = time.monotonic() + self.seconds

    def _on_step(self) -> bool:
        return time.monotonic() < self._end
