"""Ways to step a game, each as a function that takes some steps: the bare engine, all APIs, and PPO's updates."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import Engine, Game, parallel_env, torchrl_env, vec_env, vector_env

Stepper = Callable[[int], None]
"""A function that takes all worlds through some steps, and returns when they are done."""

PETTINGZOO = "PettingZoo parallel"


def engine(game: Game, n_worlds: int, device: str, seed: int) -> Stepper:
    """The engine's own steps, without observations."""
    return _engine_steps(game, n_worlds, device, seed, observes=False)


def observed_engine(game: Game, n_worlds: int, device: str, seed: int) -> Stepper:
    """The engine's own steps, with observations: what every API's step consists of at least."""
    return _engine_steps(game, n_worlds, device, seed, observes=True)


def _engine_steps(game: Game, n_worlds: int, device: str, seed: int, observes: bool) -> Stepper:
    stepped: Any = Engine(game, n_worlds, device=device)
    stepped.reset(seed)
    actions = _actions(game, n_worlds, seed)
    shape = n_worlds, game.n_agents
    if device == "cpu":
        chosen, rewards = actions, np.empty(shape, np.float32)
        seen = np.empty((*shape, game.n_features), np.float32)
    else:
        import torch

        chosen = torch.from_numpy(actions).to(stepped.tensor_device)
        rewards = torch.empty(shape, device=stepped.tensor_device)
        seen = torch.empty((*shape, game.n_features), device=stepped.tensor_device)

    def take(n_steps: int) -> None:
        for _ in range(n_steps):
            if not stepped.is_playing:
                stepped.reset()
            stepped.step(chosen, rewards)
            if observes:
                stepped.observe(seen)
        if device != "cpu":
            stepped.synchronize()

    return take


def gymnasium_vector(game: Game, n_worlds: int, device: str, seed: int) -> Stepper:
    """Steps of ``mfenvs.vector_env``, whose arrays are used again."""
    env = vector_env(game, n_worlds, device=device, copy=False)
    env.reset(seed=seed)
    actions = _rows(_actions(game, n_worlds, seed))

    def take(n_steps: int) -> None:
        for _ in range(n_steps):
            env.step(actions)

    return take


def stable_baselines(game: Game, n_worlds: int, device: str, seed: int) -> Stepper:
    """Steps of ``mfenvs.vec_env``."""
    env = vec_env(game, n_worlds, device=device)
    env.seed(seed)
    env.reset()
    actions = _rows(_actions(game, n_worlds, seed))

    def take(n_steps: int) -> None:
        for _ in range(n_steps):
            env.step(actions)

    return take


def torchrl(game: Game, n_worlds: int, device: str, seed: int) -> Stepper:
    """Steps of ``mfenvs.torchrl_env``."""
    import torch

    env: Any = torchrl_env(game, n_worlds, seed=seed, device=device)
    now = env.reset()
    actions = _actions(game, n_worlds, seed)
    now["agents", "action"] = torch.from_numpy(
        actions.astype(np.int64 if actions.dtype.kind == "i" else np.float32)
    ).to(env.device)

    def take(n_steps: int) -> None:
        for _ in range(n_steps):
            if not env.engine.is_playing:
                env.reset()
            env.step(now)
        if device != "cpu":
            env.engine.synchronize()

    return take


def pettingzoo_parallel(game: Game, n_worlds: int, device: str, seed: int) -> Stepper:
    """Steps of ``mfenvs.parallel_env``, whose actions and results are dicts with an entry for each agent."""
    env = parallel_env(game)
    env.reset(seed=seed)
    actions = dict(zip(env.possible_agents, _actions(game, 1, seed)[0].tolist(), strict=True))

    def take(n_steps: int) -> None:
        for _ in range(n_steps):
            if not env.agents:
                env.reset()
            env.step(actions)

    return take


def ppo(game: Game, n_worlds: int, device: str, seed: int) -> Stepper:
    """Updates of ``baselines.PPO`` with its default hyper-parameters: an episode of all agents, four passes."""
    import torch

    from baselines import PPO

    model = PPO("MlpPolicy", game, n_worlds=n_worlds, device=device, seed=seed)
    rows = game.n_agents * n_worlds * game.horizon

    def take(n_steps: int) -> None:
        model.learn(n_steps * rows, reset_num_timesteps=False)
        if device != "cpu":
            torch.cuda.synchronize()

    return take


ROUTES: dict[str, Callable[[Game, int, str, int], Stepper]] = {
    "engine": engine,
    "engine with observations": observed_engine,
    "gymnasium vector": gymnasium_vector,
    "SB3 vec_env": stable_baselines,
    "TorchRL": torchrl,
    PETTINGZOO: pettingzoo_parallel,
}
"""Routes by name: functions of a game, a number of worlds, a device and a random seed."""

TRAINERS: dict[str, Callable[[Game, int, str, int], Stepper]] = {"PPO": ppo}
"""Trainers by name, as routes whose step is an update."""

ON_A_GPU = [name for name in ROUTES if name != PETTINGZOO]


def _actions(game: Game, n_worlds: int, seed: int) -> NDArray[Any]:
    """Random actions of all agents, shape (n_worlds, n_agents), followed by the shape of a Box."""
    rng, shape, space = np.random.default_rng(seed), (n_worlds, game.n_agents), game.action_space
    if hasattr(space, "n"):
        return rng.integers(0, space.n, shape, dtype=np.int32)
    return rng.uniform(space.low, space.high, (*shape, *space.shape)).astype(np.float32)  # type: ignore[attr-defined]


def _rows(actions: NDArray[Any]) -> NDArray[Any]:
    return actions.reshape(-1, *actions.shape[2:])
