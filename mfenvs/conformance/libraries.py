"""The conformance tests of PettingZoo, gymnasium, Stable-Baselines3 and TorchRL, for the environments of a game.

Every test raises an error if it fails. Libraries are imported when their tests are run: some may not be installed.
"""

import logging

import numpy as np

from mfenvs.conformance.subject import Subject


def pettingzoo_parallel_api(subject: Subject) -> None:
    """PettingZoo's test of a ParallelEnv: agents, spaces, and what ``reset`` and ``step`` return."""
    from pettingzoo.test import parallel_api_test

    parallel_api_test(subject.parallel(), num_cycles=subject.n_cycles)


def pettingzoo_parallel_seed(subject: Subject) -> None:
    """PettingZoo's test that a seed determines a ParallelEnv."""
    from pettingzoo.test import parallel_seed_test

    parallel_seed_test(subject.parallel, num_cycles=subject.n_cycles)


def pettingzoo_api(subject: Subject) -> None:
    """PettingZoo's test of an AECEnv; unlike that of a ParallelEnv, it checks dtypes and observations."""
    from pettingzoo.test import api_test

    api_test(subject.aec(), num_cycles=2 * subject.n_cycles)


def pettingzoo_seed(subject: Subject) -> None:
    """PettingZoo's test that a seed determines an AECEnv."""
    from pettingzoo.test import seed_test

    seed_test(subject.aec, num_cycles=subject.n_cycles)


def pettingzoo_state(subject: Subject) -> None:
    """PettingZoo's test that ``state()`` is in the state space."""
    from pettingzoo.test import state_test

    state_test(subject.aec(), subject.parallel(), num_cycles=min(5, subject.n_cycles))


def gymnasium_env(subject: Subject) -> None:
    """The test of gymnasium for an Env: spaces, seeds, and that returned arrays are not written to again."""
    from gymnasium.utils.env_checker import check_env

    check_env(subject.representative())


def gymnasium_vector(subject: Subject) -> None:
    """A VectorEnv's spaces, shapes, dtypes and flags, over whole episodes; gymnasium has no test of its own."""
    n_worlds, game = 2, subject.game
    vector = subject.vector(n_worlds)
    vector.action_space.seed(0)
    observations, _ = vector.reset(seed=0)
    shape = (n_worlds * game.n_agents,)
    time = 0
    for _ in range(2 * game.horizon + 2):
        for slot, row in enumerate(observations):
            assert vector.single_observation_space.contains(row), f"observations[{slot}] {row} is not in its space"
        observations, rewards, terminations, truncations, _ = vector.step(vector.action_space.sample())
        time = (time + 1) % (game.horizon + 1)  # an episode, then the step in which the next one begins
        ends, goes_on = (truncations, terminations) if game.is_infinite else (terminations, truncations)
        for name, array, dtype in (
            ("rewards", rewards, np.dtype(np.float32)),
            ("terminations", terminations, np.dtype(np.bool_)),
            ("truncations", truncations, np.dtype(np.bool_)),
        ):
            found = array.dtype, array.shape
            assert found == (dtype, shape), f"{name} must be of {dtype} and shape {shape}, got {found}"
        assert np.isfinite(rewards).all(), f"rewards must be finite, got {rewards}"
        assert (ends == (time == game.horizon)).all(), f"slots must end at time {game.horizon}, not {time}"
        assert not goes_on.any(), f"no slot may {'terminate' if game.is_infinite else 'be truncated'}"


def stable_baselines3_env(subject: Subject) -> None:
    """Stable-Baselines3's test of an Env: spaces that its networks take, and what steps return."""
    from stable_baselines3.common.env_checker import check_env

    check_env(subject.representative(), skip_render_check=True)


def torchrl_env_specs(subject: Subject) -> None:
    """TorchRL's test that what its environment returns is in the specs, with stops and with resets in between."""
    from torchrl.envs.utils import check_env_specs

    from mfenvs.api.torchrl import PopulationTorchRLEnv

    env = PopulationTorchRLEnv(subject.game, 2, observe=subject.observe, return_state=True, debug=subject.debug)
    logger = logging.getLogger("torchrl")
    level = logger.level
    logger.setLevel(logging.WARNING)  # It reports every success.
    try:
        check_env_specs(env, seed=0)
        for stops in (True, False):
            check_env_specs(env, break_when_any_done=stops)
    finally:
        logger.setLevel(level)
