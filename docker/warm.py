"""Compile the kernels of registered games, so that an image holds their machine code.

Run while the image is built: ``python docker/warm.py [GAME ...]``, by default for all games. The machine code goes
to ``NUMBA_CACHE_DIR``. Kernels depend on a game's rules and on the types of its arrays, not on the number of
agents nor on the horizon: few agents and short episodes are enough.
"""

import concurrent.futures
import contextlib
import io
import multiprocessing
import os
import sys
import time
import warnings

import gymnasium
import matplotlib.font_manager  # noqa: F401  # its list of fonts takes seconds to make, and is kept
import numpy as np

import mfenvs
from baselines.runs import ALGORITHMS
from mfenvs import Engine, FiniteGame, Game, InducedGame

N_AGENTS = 20
"""Largest number of agents of the games that are played here."""
HORIZON = 6
"""Longest episode, in steps: at its own horizon, a solver takes minutes for an iteration of the largest game."""

SMALL_CONSTANTS = {"MeanFieldGarnet-v0": {"n_nodes": 5}}
"""Constants of games of which one agent's decision problem takes minutes at its own size."""
MAX_PROCESSES = 4
"""Largest number of processes, each of which takes up to 4 GB of memory."""


def main(names: list[str]) -> int:
    """Compile for the named games, all if none is named, in several processes."""
    # Not forked: numba and torch do not survive it. A process that dies ends the build, and is not waited for.
    with concurrent.futures.ProcessPoolExecutor(
        min(MAX_PROCESSES, len(os.sched_getaffinity(0))), multiprocessing.get_context("spawn")
    ) as pool:
        return compile_games(names, pool)


def compile_games(names: list[str], pool: concurrent.futures.Executor) -> int:
    """Compile for the named games, all if none is named; print what was done for each."""
    unused = set(ALGORITHMS)
    compilations = {pool.submit(compile_game, name): name for name in names or mfenvs.registered_games()}
    for compilation in concurrent.futures.as_completed(compilations):
        name = compilations[compilation]
        try:
            seconds, trained = compilation.result()
        except Exception as error:
            pool.shutdown(cancel_futures=True)
            error.add_note(f"while kernels of {name} were compiled")
            raise
        unused.difference_update(trained)
        print(f"{name}: {seconds:.1f} s; {', '.join(trained)}", flush=True)
    if unused and not names:
        print(f"no game could be trained by {', '.join(sorted(unused))}", file=sys.stderr)
        return 1
    return 0


def compile_game(name: str) -> tuple[float, list[str]]:
    """Compile for one game; the seconds that it took, and the algorithms by which it could be trained."""
    began = time.perf_counter()
    own = mfenvs.make(name)
    game = mfenvs.make(name, n_agents=min(N_AGENTS, own.n_agents), horizon=min(HORIZON, own.horizon))
    play(game)
    play_through_apis(name, game)
    if isinstance(game, FiniteGame):
        play_tables(game)
        measure(mfenvs.make(name, n_agents=game.n_agents, horizon=game.horizon, **SMALL_CONSTANTS.get(name, {})))
    trained = [algorithm for algorithm in ALGORITHMS if train(algorithm, game)]
    return time.perf_counter() - began, trained


def play(game: Game) -> None:
    """Reset, step and observe, and what else the engine computes for this game."""
    rules = game.rules
    engine = Engine(game, 2, keep_accounts=rules.account is not None)
    engine.reset(seed=0)
    engine.observe()
    actions = engine.random_actions()
    for kind in (np.int32, np.int64) if actions.dtype.kind == "i" else (np.float32,):
        engine.reset()  # an episode may have one step only
        engine.step(actions.astype(kind))
    if rules.allowed is not None:
        engine.action_masks()
    if rules.place is not None:
        engine.occupancy()
    if rules.account is not None:
        engine.accounts()
    mfenvs.evaluate(game, n_worlds=2)


def play_through_apis(name: str, game: Game) -> None:
    """Reset and step through each API."""
    parallel = mfenvs.parallel_env(game)
    parallel.reset(seed=0)
    parallel.step({agent: parallel.action_space(agent).sample() for agent in parallel.agents})
    for env in (
        mfenvs.vector_env(game),
        gymnasium.make(f"mfenvs/{name}", n_agents=game.n_agents, horizon=game.horizon, population_policy=None),
    ):
        env.reset(seed=0)
        env.step(env.action_space.sample())
    vec_env = mfenvs.vec_env(game)
    vec_env.reset()
    vec_env.step(np.array([vec_env.action_space.sample() for _ in range(vec_env.num_envs)]))


def play_tables(game: FiniteGame) -> None:
    """Play tabular policies, and compute exploitability in the mean-field game."""
    induced = InducedGame(game)
    induced.exploitability(induced.uniform_policy())
    for policy in uniform_laws(game):
        Engine(game, 2).rollout(policy, seed=0)
        mfenvs.evaluate(game, policy, n_worlds=2)


def measure(game: FiniteGame) -> None:
    """Compute exploitability in the game of N agents."""
    for policy in uniform_laws(game):
        # Refused under common noise, and where a decision problem of one agent is too large for dense tables.
        with contextlib.suppress(TypeError, ValueError):
            mfenvs.n_player_exploitability(game, policy, n_worlds=2, deviators_per_world=1)
    if game.discount < 1:
        mfenvs.relative_exploitability(game, uniform_laws(game)[0], n_joint_states=2, n_worlds=2)


def uniform_laws(game: FiniteGame) -> tuple[np.ndarray, np.ndarray]:
    """The uniform policy, as one table for all and as a table for each agent."""
    law = np.full(game.policy_shape, 1 / game.n_actions)
    return law, np.broadcast_to(law, (game.n_agents, *law.shape))


def train(algorithm: str, game: Game) -> bool:
    """Train for one iteration; False if the algorithm refuses such games."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # One iteration does not converge.
        try:
            ALGORITHMS[algorithm](game).learn(1, callback=[])
        except (TypeError, ValueError):
            return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
