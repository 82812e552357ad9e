"""Simulated steps of a finite game follow its ``transition`` and ``reward``, whoever wrote the step."""

import numpy as np
import pytest
from bounds import assert_frequencies, assert_mean

from mfenvs import Engine, World
from mfenvs.engine.snapshot import Snapshot
from mfenvs.rules import plain

N_WORLDS = 20_000
N_SCENES = 6


def worlds_of(game, states, actions, time):
    """What every agent's rules see of everyone, counted here."""
    n = game.n_agents
    rules, people = game.rules, list(zip(states, actions, game.agents, strict=True))
    if rules.count is not None:
        counts, signal = np.zeros(game.n_cells), np.zeros(game.n_signals)
        everyone = World(counts, signal, game.constants, time, -1, 0.0, 1 / (n - 1), 1 / n)
        for person in people:
            rules.count(counts, 1.0, *person, everyone)
        if rules.aggregate is not None:
            rules.aggregate(everyone, signal)
        return [everyone] * n
    cells = [int(plain(rules.cell)(*person)) for person in people]
    weights = [1.0 if rules.weight is None else float(plain(rules.weight)(*person)) for person in people]
    counts = np.bincount(cells, weights, minlength=game.n_cells)
    signal, per = np.zeros(game.n_signals), (1 / (n - 1), 1 / n)
    if rules.aggregate is not None:
        rules.aggregate(World(counts, signal, game.constants, time, -1, 0.0, *per), signal)
    return [World(counts, signal, game.constants, time, cells[i], weights[i], *per) for i in range(n)]


@pytest.mark.parametrize("scene", range(N_SCENES))
def test_steps_follow_transition_and_reward(finite_case, scene):
    """One profile in 20 000 worlds. 13 cases of 6 scenes, in all 7000 bounds of 1e-10 each."""
    game, rng = finite_case.game(), np.random.default_rng(scene)
    states = rng.integers(0, game.n_states, game.n_agents)
    actions = rng.integers(0, game.n_actions, game.n_agents)
    time = int(rng.integers(0, game.horizon))
    engine = Engine(game, N_WORLDS)
    placed = np.tile(states, (N_WORLDS, 1)).astype(game.state_dtype)
    engine.restore(Snapshot(seed=scene, episode=0, time=time, states=placed))
    rewards = engine.step(np.tile(actions, (N_WORLDS, 1))).astype(float)
    successors = engine.states.astype(int)
    width = max(np.ptp(rewards), 1e-2)
    for i, world in enumerate(worlds_of(game, states, actions, time)):
        me = int(states[i]), int(actions[i]), game.agents[i], world
        row = [game.transition(successor, *me) for successor in range(game.n_states)]
        assert sum(row) == pytest.approx(1.0, abs=1e-6)
        assert_frequencies(np.bincount(successors[:, i], minlength=game.n_states), N_WORLDS, row, 1e-10)
        mine = rewards[:, i]
        assert_mean(mine.mean(), mine.var(), N_WORLDS, game.reward(*me), width, 1e-10)
