# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.13.0",
#     "mfenvs",
#     "gymnasium==1.4.0",
#     "psutil==7.2.2",
#     "pyro-ppl==1.9.2",
#     "rich",
#     "rich-argparse",
# ]
# [tool.mfenvs]
# without-dependencies = ["pufferlib-core==3.0.23"]
# [tool.uv]
# override-dependencies = ["torch==2.13.0"]
# [tool.uv.sources]
# mfenvs = { path = "../.." }
# ///
"""PufferLib 3: PPO over a native PufferEnv, one network for all agents (parameter sharing).

The environment steps in PufferLib's own arrays. PufferLib's trainer PuffeRL does the rest. Three things to know
of it: it cuts rewards to [-1, 1], it takes no notice of truncations, and it knows no action masks.

The wheel ``pufferlib-core`` pins a release of torch with CUDA; it is installed without its dependencies. Its
compiled module, one function that estimates advantages, then does not load: :func:`advantages` takes its place.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pufferlib
import pufferlib.models
import pufferlib.vector
import torch
from numpy.typing import NDArray
from pufferlib import pufferl
from torch import Tensor

import mfenvs
from mfenvs import Game
from mfenvs.api.pufferlib import PopulationPufferEnv

SMALL_CITY = {"n_agents": 20, "horizon": 32, "city": ("111", "HSH", "222")}
"""A-Taxi with twenty taxis in a city of six places, which is learned in seconds."""

SETTINGS: dict[str, Any] = {
    "seed": 0,
    "device": "cpu",
    "batch_size": "auto",
    "bptt_horizon": 32,
    "minibatch_size": 1280,
    "max_minibatch_size": 1280,
    "update_epochs": 8,
    "learning_rate": 5e-3,
    "anneal_lr": True,
    "gamma": 0.98,
    "gae_lambda": 0.95,
    "clip_coef": 0.2,
    "vf_coef": 0.5,
    "vf_clip_coef": 1.0,
    "ent_coef": 0.01,
    "max_grad_norm": 0.5,
    "vtrace_rho_clip": 1.0,
    "vtrace_c_clip": 1.0,
    "prio_alpha": 0.0,
    "prio_beta0": 1.0,
    "optimizer": "adam",
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_eps": 1e-8,
    "precision": "float32",
    "compile": False,
    "cpu_offload": False,
    "use_rnn": False,
    "torch_deterministic": True,
    "checkpoint_interval": 10**9,
}
"""PuffeRL's settings; PufferLib has them in ``config/default.ini``, which the wheel lacks."""


class Quiet(pufferl.PuffeRL):
    """PuffeRL without its dashboard and its checkpoints."""

    def print_dashboard(self, *args: Any, **kwargs: Any) -> None:
        """Print nothing."""

    def save_checkpoint(self) -> None:
        """Write nothing."""

    def close(self) -> None:
        """End the thread that watches the machine."""
        self.vecenv.close()
        self.utilization.stop()


class Policy(pufferlib.models.Default):
    """PufferLib's default network, which :func:`mfenvs.evaluate` can play."""

    @torch.no_grad()
    def predict(self, observations: NDArray[np.float32]) -> tuple[NDArray[np.int32], None]:
        """Sampled actions."""
        logits, _ = self.forward_eval(torch.as_tensor(observations))
        return pufferlib.pytorch.sample_logits(logits)[0].numpy(), None


def advantages(
    values: Tensor,
    rewards: Tensor,
    ends: Tensor,
    ratio: Tensor,
    out: Tensor,
    gamma: float,
    gae_lambda: float,
    rho_clip: float,
    c_clip: float,
) -> Tensor:
    """PufferLib's advantages, V-trace's in the form of generalised advantage estimation; arrays (agents, steps).

    A reward and an end are received together with the observation that follows the action: those of step t + 1
    are of action t.
    """
    rho, c = ratio.clamp(max=rho_clip), ratio.clamp(max=c_clip)
    later = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1] - 1)):
        goes_on = 1.0 - ends[:, t + 1]
        error = rho[:, t] * (rewards[:, t + 1] + gamma * values[:, t + 1] * goes_on - values[:, t])
        later = error + gamma * gae_lambda * c[:, t] * later * goes_on
        out[:, t] = later
    return out


def stepping(game: Game) -> dict[str, Callable[[int], None]]:
    """For each route, a function that takes one world through some steps of random actions."""
    native = pufferlib.vector.make(PopulationPufferEnv, env_args=[game])
    emulated = pufferlib.vector.make(
        lambda buf=None, seed=0: pufferlib.emulation.PettingZooPufferEnv(
            env_creator=lambda: mfenvs.parallel_env(game), buf=buf, seed=seed
        ),
        backend=pufferlib.vector.Serial,
    )

    def stepper(env: Any) -> Callable[[int], None]:
        env.async_reset(0)
        actions = native.action_space.sample().astype(np.int32)

        def take(n_steps: int) -> None:
            for _ in range(n_steps):
                env.recv()
                env.send(actions)

        return take

    return {"native PufferEnv": stepper(native), "emulated PettingZoo": stepper(emulated)}


def main(n_steps: int = 80_000) -> tuple[float, float]:
    """Train on A-Taxi; print and return what an agent earns by random actions and by the trained network."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if not pufferl._C_AVAILABLE:
        pufferl.compute_puff_advantage = advantages
    game = mfenvs.make("Taxi-v0", **SMALL_CITY)
    env = pufferlib.vector.make(PopulationPufferEnv, env_args=[game], env_kwargs={"n_worlds": 4})
    policy = Policy(env, hidden_size=64)
    trainer = Quiet({**SETTINGS, "total_timesteps": n_steps}, env, policy)
    began = time.perf_counter()
    while trainer.global_step < n_steps:
        trainer.evaluate()
        trainer.train()
    speed = trainer.global_step / (time.perf_counter() - began)
    trainer.close()
    at_random, trained = (mfenvs.evaluate(game, who, n_worlds=16).mean_return for who in (None, policy))
    print(f"random {at_random}, trained {trained}; {speed:,.0f} agent-steps/s with learning")
    return at_random.value, trained.value


if __name__ == "__main__":
    main()
