"""Callbacks for the trainers."""

import time
from collections.abc import Callable

from stable_baselines3.common.callbacks import BaseCallback

from mfenvs import checks
from mfenvs.evaluation import Evaluation, evaluate
from mfenvs.meanfield.n_player import Exploitability, n_player_exploitability

from .neural.ppo import PPO
from .trainer import Trainer


class ExploitabilityCallback(BaseCallback):
    """Measures the N-player exploitability of the policy learned so far, and logs it.

    Parameters
    ----------
    every:
        Measure after every so many iterations.
    n_worlds, deviators_per_world, seed:
        See :func:`mfenvs.n_player_exploitability`.

    Attributes
    ----------
    measured:
        What was measured, as (iteration, exploitability) in order.
    """

    def __init__(self, every: int = 1, *, n_worlds: int = 16, deviators_per_world: int = 4, seed: int = 0) -> None:
        super().__init__()
        self.every = checks.integer("every", every, 1)
        self.n_worlds, self.deviators_per_world = n_worlds, deviators_per_world
        self.seed = checks.integer("seed", seed, 0)
        self.measured: list[tuple[int, Exploitability]] = []

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
            )
            self.measured.append((trainer.iteration, found))
            for key, value in found.summary().items():
                if isinstance(value, float):
                    trainer.logger.record(f"eval/exploitability_{key}", value)
        return True


class EvaluationCallback(BaseCallback):
    """Measures what the network learned so far earns in fresh worlds, and logs it.

    Parameters
    ----------
    every:
        Measure after every so many updates.
    n_worlds, seed:
        See :func:`mfenvs.evaluate`.

    Attributes
    ----------
    measured:
        What was measured, as (number of updates, evaluation) in order.
    """

    def __init__(self, every: int = 1, *, n_worlds: int = 4, seed: int = 0) -> None:
        super().__init__()
        self.every = checks.integer("every", every, 1)
        self.n_worlds = checks.integer("n_worlds", n_worlds, 2)
        self.seed = checks.integer("seed", seed, 0)
        self.measured: list[tuple[int, Evaluation]] = []

    def _on_training_start(self) -> None:
        assert isinstance(self.model, PPO)
        self.model.after_update.append(self._measure)

    def _on_training_end(self) -> None:
        assert isinstance(self.model, PPO)
        self.model.after_update.remove(self._measure)

    def _measure(self) -> None:
        model = self.model
        assert isinstance(model, PPO)
        done = model.num_timesteps // (model.n_steps * model.n_envs)
        if done % self.every == 0:
            game = self.training_env.get_attr("game", [0])[0]
            found = evaluate(game, model, n_worlds=self.n_worlds, seed=self.seed)
            self.measured.append((done, found))
            self.logger.record("eval/return", found.mean_return.value)
            for name, shares in found.region_shares.items():
                self.logger.record(f"eval/{name}", float(shares[:, -1].mean()))

    def _on_step(self) -> bool:
        return True


class SaveEvery(BaseCallback):
    """Calls ``save`` before the first iteration that begins so many seconds after the last save.

    The iteration before it has been logged by then, so that no row of a log is lost if the process is killed.
    """

    def __init__(self, seconds: float, save: Callable[[], None]) -> None:
        super().__init__()
        self.seconds, self.save = seconds, save
        self._saved = time.monotonic()

    def _on_rollout_start(self) -> None:
        if time.monotonic() - self._saved >= self.seconds:
            self.save()
            self._saved = time.monotonic()

    def _on_step(self) -> bool:
        return True


class StopOnInterrupt(BaseCallback):
    """Ends training after the current iteration once :meth:`interrupt` was called, as by a signal handler."""

    def __init__(self) -> None:
        super().__init__()
        self.is_interrupted = False

    def interrupt(self) -> None:
        """Ask training to end."""
        self.is_interrupted = True

    def _on_step(self) -> bool:
        return not self.is_interrupted
