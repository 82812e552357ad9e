# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.13.0",
#     "mfenvs",
#     "benchmarl==1.5.2",
#     "torchrl==0.11.1",
#     "torchvision==0.28.0",
#     "gymnasium==1.4.0",
#     "pettingzoo==1.27.0",
# ]
# [tool.uv.sources]
# mfenvs = { path = "../.." }
# ///
"""BenchMARL: IPPO and MAPPO with one network for all agents (parameter sharing), on a task made of a game.

Parameter sharing is BenchMARL's default (``share_policy_params``): one network is the policy of all agents. The
critic of IPPO sees an agent's own observation, that of MAPPO the population as one vector, the mean field.

``python examples/frameworks/benchmarl_task.py`` prints what an agent earns in an episode, at random and after
training. Agents are selfish: in the epidemic with its default constants they earn *less* in equilibrium than at
random (-9.4 against -8.1 among 20 agents), since others infect them. Here keeping distance is cheap and illness is
long, and they earn more.
"""

import tempfile
import warnings
from collections.abc import Callable

import torch
from benchmarl.algorithms import IppoConfig, MappoConfig
from benchmarl.algorithms.common import AlgorithmConfig
from benchmarl.experiment import Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig
from torchrl.envs import TransformedEnv
from torchrl.envs.utils import ExplorationType, set_exploration_type

import mfenvs
from mfenvs import Game
from mfenvs.api.benchmarl import GameTask, benchmarl_task

EPIDEMIC = mfenvs.make("Epidemic-v0", n_agents=20, recovery=0.1, aversion=0.2)
TAXI = mfenvs.make("Taxi-v0", n_agents=20, horizon=24, city=("1S2", "1H2"))
N_WORLDS = 20


def experiment(task: GameTask, algorithm: type[AlgorithmConfig], n_iterations: int, folder: str) -> Experiment:
    """An experiment of BenchMARL with small networks; an iteration plays one episode in each of the worlds."""
    steps = N_WORLDS * task.config["game"].horizon
    config = ExperimentConfig.get_from_yaml()
    config.max_n_iters, config.max_n_frames = n_iterations, None
    config.on_policy_collected_frames_per_batch = steps
    config.on_policy_n_envs_per_worker = N_WORLDS
    config.on_policy_minibatch_size = steps // 4
    config.on_policy_n_minibatch_iters = 8
    config.lr = 3e-3
    config.loggers, config.create_json, config.evaluation = [], False, False
    config.save_folder = folder
    network = MlpConfig(num_cells=[64, 64], layer_class=torch.nn.Linear, activation_class=torch.nn.Tanh)
    return Experiment(
        task=task,
        algorithm_config=algorithm.get_from_yaml(),
        model_config=network,
        critic_model_config=network,
        seed=0,
        config=config,
    )


def mean_return(game: Game, policy: torch.nn.Module | None) -> float:
    """What an agent earns in an episode, averaged over agents and worlds; None for random actions."""
    env = mfenvs.torchrl_env(game, N_WORLDS, seed=1)
    with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
        episodes = env.rollout(game.horizon, policy)  # shape (n_worlds, horizon)
    return float(episodes["next", "agents", "reward"].sum(dim=1).mean())


def stepping(game: Game) -> dict[str, Callable[[int], None]]:
    """A function that takes one world through some steps of random actions, as experiments make it."""
    task = benchmarl_task(game)
    world = task.get_env_fun(1, task.supports_continuous_actions(), seed=0, device="cpu")()
    env = TransformedEnv(world, task.get_reward_sum_transform(world))
    now = env.reset()
    actions = env.rand_action(now.copy()).select(*env.action_keys)

    def take(n_steps: int) -> None:
        nonlocal now
        for _ in range(n_steps):
            _, now = env.step_and_maybe_reset(now.update(actions))

    return {"benchmarl_task": take}


def main(n_iterations: int = 15) -> dict[tuple[str, str], tuple[float, float]]:
    """Train both algorithms on both games; return what an agent earns at random and after training."""
    # BenchMARL uses an old name of TorchRL's collector.
    warnings.filterwarnings("ignore", message="SyncDataCollector has been deprecated", category=DeprecationWarning)
    found = {}
    for name, game in (("A-SIS", EPIDEMIC), ("A-Taxi", TAXI)):
        torch.manual_seed(0)
        at_random = mean_return(game, None)
        for algorithm in (IppoConfig, MappoConfig):
            with tempfile.TemporaryDirectory() as folder:
                trained = experiment(benchmarl_task(game), algorithm, n_iterations, folder)
                trained.run()
            returns = at_random, mean_return(game, trained.policy)
            found[name, algorithm.associated_class().__name__] = returns
    for (game, algorithm), (before, after) in found.items():
        print(f"{game}, {algorithm}: an agent earns {before:.2f} at random, {after:.2f} after training")
    return found


if __name__ == "__main__":
    main()
