"""What is proven of rules, against what they do at numbers; and that nothing false is called exact."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from ferry import Ferry
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from random_game import RandomGame
from rising import Rising

from mfenvs import FiniteGame, InducedGame, crowd, individual, make, rule, share
from mfenvs.meanfield import dependence
from mfenvs.meanfield.dependence import proven_dependences, times_that_matter
from mfenvs.meanfield.dominance import dominance
from mfenvs.meanfield.lipschitz import lipschitz_constants
from mfenvs.meanfield.monotonicity import monotonicity
from mfenvs.meanfield.symmetry import approximate_symmetry
from mfenvs.rules import World, plain


@rule
def stay(next_state, state, action, agent, world):
    return 1.0 if next_state == state else 0.0


@rule
def doubled(x):
    return x + x


def game_of(
    reward: Any, transition: Any = stay, tastes=(1.0, 2.0, 3.0), aggregate=None, **constants
) -> FiniteGame:
    """Two states, two actions, agents of different tastes, and rules that are given."""
    rules = {"transition": staticmethod(transition), "reward": staticmethod(rule(reward))}
    if aggregate is not None:
        rules |= {"aggregate": staticmethod(rule(aggregate)), "n_signals": 2}

    @dataclasses.dataclass(kw_only=True)
    class Given(FiniteGame):
        n_agents: int = len(tastes)
        horizon: int = 3
        agent_dtype = np.dtype([("taste", np.float32), ("kind", np.int8), ("pay", np.float32, (2,))])
        n_states = 2
        n_actions = 2
        constants = (0.5, np.arange(4.0))

        def draw_agents(self, rng):
            agents = np.zeros(self.n_agents, self.agent_dtype)
            agents["taste"], agents["kind"] = tastes, np.arange(self.n_agents) % 2
            agents["pay"] = rng.random((self.n_agents, 2))
            return agents

    return type("Given", (Given,), rules)(**constants)


def rewards_proven(reward, **terms) -> set[str]:
    game = game_of(reward, **terms)
    return {proven_dependences(game, in_mean_field=mean_field).rewards for mean_field in (True, False)}


@pytest.mark.parametrize(
    ("expected", "reward"),
    [
        ("none", lambda s, a, agent, w: agent.taste * agent.pay[a] - w.time / 2 + w.constants[0]),
        ("none", lambda s, a, agent, w: math.exp(s) + abs(agent.taste) ** agent.kind),
        ("affine", lambda s, a, agent, w: share(w, s * 2 + a)),
        ("affine", lambda s, a, agent, w: -agent.taste * (1 - share(w, 0)) / agent.pay[1] + crowd(w, 3)),
        ("affine", lambda s, a, agent, w: doubled(w.counts[1]) * w.constants[1][a] + w.counts.sum()),
        ("affine", lambda s, a, agent, w: (share(w, 0) if a == 1 else +share(w, 1)) ** 1),
        ("affine", lambda s, a, agent, w: (w.counts[0] - individual(w)) * np.float32(3) + np.float64(2)),
        ("affine", lambda s, a, agent, w: share(w, 2) if agent.kind == 1 else agent.taste),  # by kinds of agents
        ("affine", lambda s, a, agent, w: share(w, 2) * math.exp(agent.taste)),
        ("unknown", lambda s, a, agent, w: share(w, 0) * share(w, 1)),
        ("unknown", lambda s, a, agent, w: share(w, 0) ** agent.taste),
        ("unknown", lambda s, a, agent, w: 1 / (1 + share(w, 0))),
        ("unknown", lambda s, a, agent, w: 2.0 ** share(w, 0)),
        ("unknown", lambda s, a, agent, w: max(share(w, 0), 0.25)),
        ("unknown", lambda s, a, agent, w: abs(share(w, 0) - 0.5)),
        ("unknown", lambda s, a, agent, w: 1.0 if share(w, 0) else 0.0),
        ("unknown", lambda s, a, agent, w: 1.0 if share(w, 0) == 0.25 else 0.0),
        ("unknown", lambda s, a, agent, w: 1.0 if share(w, 0) != 0.25 else 0.0),
        ("unknown", lambda s, a, agent, w: float(share(w, 0) > 0.5)),
        ("unknown", lambda s, a, agent, w: math.sqrt(share(w, 0))),
        ("unknown", lambda s, a, agent, w: math.floor(share(w, 0))),
        ("unknown", lambda s, a, agent, w: int(share(w, 0)) + round(w.counts[1])),
        ("unknown", lambda s, a, agent, w: w.constants[1][w.counts[0]]),
        ("unknown", lambda s, a, agent, w: np.exp(share(w, 0))),
        ("unknown", lambda s, a, agent, w: share(w, 0) // 1),
        ("unknown", lambda s, a, agent, w: share(w, 0) % 1),
        ("unknown", lambda s, a, agent, w: w.no_such_field),
        ("unknown", lambda s, a, agent, w: None),
    ],
)
def test_what_is_done_with_the_population(expected, reward):
    assert rewards_proven(reward) == {expected}


def spread(world, signal):
    signal[:] = 0.0
    for cell in range(4):
        signal[0] += cell * world.counts[cell] * world.per_agent
        signal[1] += world.counts[cell] * world.counts[cell]


def curved(world, signal):
    signal[0] = max(world.counts[0], world.counts[1])
    signal[1] = 1.0


def test_public_signals_are_followed():
    assert rewards_proven(lambda s, a, agent, w: 2 - w.signal[0], aggregate=spread) == {"affine"}
    assert rewards_proven(lambda s, a, agent, w: w.signal[1], aggregate=spread) == {"unknown"}
    # What a signal that cannot be followed holds is unknown; rules that do not read it are not touched.
    assert rewards_proven(lambda s, a, agent, w: w.signal[1], aggregate=curved) == {"unknown"}
    assert rewards_proven(lambda s, a, agent, w: share(w, 1), aggregate=curved) == {"affine"}


def test_nothing_is_proven_of_rules_that_write_what_they_read():
    def writing(s, a, agent, w):
        w.counts[0] = 1.0
        return w.counts[0]

    def to_the_signal(s, a, agent, w):
        w.signal[1] = 1.0
        return w.signal[1]

    assert rewards_proven(writing) == {"unknown"}
    assert rewards_proven(to_the_signal, aggregate=spread) == {"unknown"}


def test_rules_that_differ_among_agents_and_in_the_limit_are_told_apart():
    """Among N agents 1 / N < 1, and the population counts; in the limit it does not."""
    game = game_of(lambda s, a, agent, w: share(w, 0) ** 2 if w.per_agent < 1.0 else 0.0)
    assert proven_dependences(game, in_mean_field=True).rewards == "none"
    assert proven_dependences(game, in_mean_field=False).rewards == "unknown"

    def among_few(world, signal):
        signal[0] = world.counts[0] ** 2 if world.per_agent < 1.0 else world.counts[0]

    game = game_of(lambda s, a, agent, w: w.signal[0], aggregate=among_few)
    assert proven_dependences(game, in_mean_field=True).rewards == "affine"
    assert proven_dependences(game, in_mean_field=False).rewards == "unknown"


def test_too_many_entries_are_not_gone_through(monkeypatch):
    monkeypatch.setattr(dependence, "MOST_CALLS", 3)
    assert rewards_proven(lambda s, a, agent, w: 0.0) == {"unknown"}
    monkeypatch.setattr(dependence, "MOST_CALLS", 4)
    assert rewards_proven(lambda s, a, agent, w: 0.0) == {"none"}
    # Three kinds of agents, four entries each.
    by_kind = {"reward": lambda s, a, agent, w: 1.0 if agent.kind == 1 else 0.0}
    monkeypatch.setattr(dependence, "MOST_CALLS", 11)
    assert rewards_proven(**by_kind) == {"unknown"}
    monkeypatch.setattr(dependence, "MOST_CALLS", 12)
    assert rewards_proven(**by_kind) == {"none"}


def test_registered_games():
    found = {
        name: proven_dependences(make(name), in_mean_field=False)
        for name in ("Epidemic-v0", "RockPaperScissors-v0", "Congestion-v0", "Malware-v0", "Auction-v0")
    }
    assert found == {
        "Epidemic-v0": ("affine", "none"),
        "RockPaperScissors-v0": ("none", "affine"),
        "Congestion-v0": ("none", "unknown"),
        "Malware-v0": ("none", "affine"),
        "Auction-v0": ("unknown", "unknown"),
    }
    # min(signal * pull, 1) in the transitions; a sum of shares in the rewards.
    assert proven_dependences(Ferry(n_agents=3), in_mean_field=True) == ("unknown", "affine")
    # Agents of equal exponents 1: the cost is the share itself.
    linear = make("Congestion-v0", exponent=1.0, exponent_width=0.0)
    assert proven_dependences(linear, in_mean_field=True) == ("none", "affine")
    assert times_that_matter(Rising(horizon=4)) == range(4)
    assert times_that_matter(make("Epidemic-v0")) == range(1)


class Expression:
    """A rule that is put together at random, from numbers, shares, tastes and operations."""

    def __init__(self, draw: st.DrawFn, depth: int) -> None:
        kinds = ["number", "share", "taste"]
        if depth:
            kinds += ["+", "-", "*", "/", "min", "choose", "power", "negative", "wrapped"] * 2
        self.kind = draw(st.sampled_from(kinds))
        self.number = draw(st.sampled_from([-1.5, 0.25, 1.0, 2.0]))
        self.cell = draw(st.integers(0, 3))
        self.parts = [Expression(draw, depth - 1) for _ in range(2)] if depth else []

    def __call__(self, state, action, agent, world):
        if self.kind == "number":
            return self.number
        if self.kind == "share":
            return plain(share)(world, self.cell)
        if self.kind == "taste":
            return agent.taste
        one, two = (part(state, action, agent, world) for part in self.parts)
        if self.kind == "choose":
            return one if action == 1 else two
        if self.kind == "power":
            return one**self.number
        operations = {
            "+": lambda: one + two,
            "-": lambda: one - two,
            "*": lambda: one * two,
            "/": lambda: one / two,
            "min": lambda: min(one, two),
            "negative": lambda: -one,
            "wrapped": lambda: doubled.py_func(one),
        }
        return operations[self.kind]()


@st.composite
def expressions(draw: st.DrawFn) -> Expression:
    return Expression(draw, draw(st.integers(0, 4)))


@given(expressions(), st.integers(0, 2**32))
def test_what_is_proven_holds_at_numbers(expression, seed):
    """At random populations of random agents: affine in the counts, or the same everywhere."""
    game = game_of(lambda s, a, agent, w: 0.0)
    population = dependence._MeanField(game)
    # The rule itself; compiled it would take seconds.
    proof = dependence._of_rule(population, lambda s, a, agent, w: expression(s, a, agent, w), ())
    if proof == "unknown":
        return
    rng = np.random.default_rng(seed)
    one, other = rng.dirichlet(np.ones(4), 2)
    for agent in game.agents.view(np.recarray):
        for action in (0, 1):

            def at(law, agent=agent, action=action):
                with np.errstate(all="ignore"):
                    return expression(0, action, agent, World(law, None, (), 0, -1, 0.0, 1.0, 1.0))

            ends = at(one), at(other)
            if np.isfinite(ends).all():
                middle = at(0.25 * one + 0.75 * other)
                assert_allclose(middle, 0.25 * ends[0] + 0.75 * ends[1], rtol=1e-6, atol=1e-9)
                if proof == "none":
                    assert ends[0] == ends[1]


@dataclasses.dataclass(kw_only=True)
class Needle(FiniteGame):
    """Agents of a taste gain and move by it where a share is within 1e-4 of .4142; elsewhere rules are affine."""

    n_agents: int = 20_000
    horizon: int = 2
    agent_dtype = np.dtype([("taste", np.float32)])
    n_states = 2
    n_actions = 1

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        near = 1.0 if abs(share(world, 1) - 0.4142) < 1e-4 else 0.0
        return 0.5 + (0.5 - next_state) * agent.taste * near

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        near = 1.0 if abs(share(world, 1) - 0.4142) < 1e-4 else 0.0
        return state + share(world, 1) + agent.taste * near

    def draw_agents(self, rng):
        agents = np.zeros(self.n_agents, self.agent_dtype)
        agents["taste"][::2] = 1.0
        return agents


def test_what_no_trial_shows_is_not_called_exact():
    """The needle is not found, of course; so nothing that is found is certain."""
    game = Needle()
    induced = InducedGame(game)
    constants = lipschitz_constants(induced)
    assert (constants.k_mu.value, constants.l_mu.value) == (0.0, pytest.approx(0.5))
    assert (constants.transitions, constants.rewards) == ("none", "affine")
    for name in ("k_mu", "l_mu", "k_s", "k_a", "l_s", "l_a", "reward_span", "l_pop"):
        assert not getattr(constants, name).is_exact
    found = approximate_symmetry(game, n_points=40)
    assert (found.alpha, found.beta) == (0.0, 0.0)
    assert found.alpha_kind == found.beta_kind == "lower estimate"
    one_agent = dominance(game)
    assert not any(part.is_exact for part in (one_agent.c_1, one_agent.c_2, one_agent.sparsity))
    for along_flows in (False, True):
        seen = monotonicity(induced, along_flows=along_flows)
        assert seen.is_monotone is None
        assert not seen.transitions_are_certain
        assert seen.method != "certificate"


def test_what_is_proven_is_called_exact_at_any_size():
    game = RandomGame(n_agents=1000)
    assert approximate_symmetry(game).kind == "exact"
    assert dominance(game).c_2.is_exact
    assert lipschitz_constants(InducedGame(game)).l_pop.is_exact
    assert monotonicity(InducedGame(game)).method == "certificate"


def test_each_constant_says_for_itself_what_it_is():
    """Congestion: transitions ignore the others, rewards are curved."""
    game = make("Congestion-v0", n_agents=50, slip_width=0.05)
    found = approximate_symmetry(game)
    slips = game.agents["slip"].astype(float)
    assert found.alpha == pytest.approx(2 * np.abs(slips - slips.mean()).max())
    assert (found.alpha_kind, found.beta_kind, found.kind) == ("exact", "lower estimate", "lower estimate")
    one_agent = dominance(game)
    assert one_agent.c_1.value == 0.0
    assert (one_agent.c_1.is_exact, one_agent.c_2.is_exact) == (True, False)
