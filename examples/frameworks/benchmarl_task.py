# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.13.0", "torchvision==0.28.0", "torchrl==0.11.1", "benchmarl==1.5.2"]
# ///
"""BenchMARL: its IPPO and MAPPO train on an epidemic and on taxis, with parameter sharing.

Parameter sharing is BenchMARL's default (``share_policy_params``): one network is the policy of all agents. The
critic of IPPO sees an agent's own observation, that of MAPPO the population as one vector, the mean field.

``python examples/frameworks/benchmarl_task.py`` prints what an agent earns in an episode, at random and after
training. Agents are selfish: in the epidemic with its default constants they earn *less* in equilibrium than at
random (-9.4 against -8.1 among 20 agents), since others infect them. Here keeping distance is cheap and illness is
long, and they earn more.
"""

import tempfile
import warnings

import torch
from benchmarl.algorithms import IppoConfig, MappoConfig
from benchmarl.algorithms.common import AlgorithmConfig
from benchmarl.experiment import Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig
from torchrl.envs.utils import ExplorationType, set_exploration_type

import mfenvs
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


def mean_return(game: mfenvs.Game, policy: torch.nn.Module | None) -> float:
    """What an agent earns in an episode, averaged over agents and worlds; None for random actions."""
    env = mfenvs.torchrl_env(game, N_WORLDS, seed=1)
    with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
        episodes = env.rollout(game.horizon, policy)  # shape (n_worlds, horizon)
    return float(episodes["next", "agents", "reward"].sum(dim=1).mean())


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
