"""What PPO learns, against dynamic programming and against what can be known."""

import functools
import itertools

import pytest
from tastes import OwnTastes
from torch import nn

import mfenvs
from baselines.neural.ppo import PPO
from mfenvs.evaluation import evaluate


def optimal_and_random_return(street, arrival, horizon):
    """What the best policy and the uniformly random one earn in a street of one zone, by dynamic programming."""
    n = len(street)
    zone = [place for place in range(n) if street[place] == "1"]
    none = -1

    def arrivals(customers):
        empty = [place for place in zone if place not in customers]
        for new in itertools.product((False, True), repeat=len(empty)):
            probability = arrival ** sum(new) * (1 - arrival) ** (len(new) - sum(new))
            yield probability, customers | {place for place, came in zip(empty, new, strict=True) if came}

    def outcomes(cell, target, customers, action):
        """(probability, reward, cell, target, customers) before new customers appear."""
        if action in ("left", "right"):
            to = cell + (1 if action == "right" else -1)
            yield 1.0, 0.0, to if to in zone else cell, target, customers
        elif action == "wait" and target == cell:
            yield 1.0, 1.0, cell, none, customers
        elif action == "wait" and target == none and cell in customers:
            for to in zone:
                yield 1 / len(zone), 0.0, cell, to, customers - {cell}
        else:  # up and down lead nowhere
            yield 1.0, 0.0, cell, target, customers

    @functools.cache
    def value(time, cell, target, customers, plays_best):
        if time == horizon:
            return 0.0
        found = [
            sum(
                p * (reward + sum(q * value(time + 1, *to, then, plays_best) for q, then in arrivals(waiting)))
                for p, reward, *to, waiting in outcomes(cell, target, customers, action)
            )
            for action in ("up", "down", "left", "right", "wait")
        ]
        return max(found) if plays_best else sum(found) / 5

    start = (0, street.index("S"), none, frozenset())
    return value(*start, True), value(*start, False)


@pytest.mark.parametrize(("street", "arrival"), [("S1", 0.3), pytest.param("S11", 0.5, marks=pytest.mark.slow)])
def test_finds_the_optimum_of_a_taxi_alone(street, arrival):
    constants = {"city": (street,), "base_rewards": (1.0,), "arrival": arrival, "jam": 0.0, "heterogeneity": 0.0}
    game = mfenvs.make("Taxi-v0", n_agents=200, horizon=10, **constants)
    best, at_random = optimal_and_random_return(street, arrival, 10)
    untrained = evaluate(game, n_worlds=16, seed=1).mean_return
    # 3200 agents; an interval of 95% is wrong for one seed in 20, twice as wide for one in 10,000.
    assert abs(untrained.value - at_random) < 2 * (untrained.interval[1] - untrained.value)
    model = PPO(env=game, seed=1, learning_rate=3e-3, batch_size=500, gamma=1.0, ent_coef=1e-3, **net(32))
    model.learn(60 * 2000)
    found = evaluate(game, model, n_worlds=16, seed=1).mean_return
    error = found.interval[1] - found.value
    assert best * 0.95 - error < found.value < best + 2 * error
    assert found.value > 5 * at_random


def net(width):
    return {"policy_kwargs": {"net_arch": [width, width], "activation_fn": nn.LeakyReLU}, "device": "cpu"}


@pytest.mark.parametrize(
    ("n_agents", "observe", "reward"),
    [
        (8, (), 0.5),
        (8, "one-hot-identity", 1.0),
        (8, "own-parameters", 1.0),
        (2, "integer-identity", 1.0),
        (3, ["integer-identity"], 1.0),
        (3, (), 2 / 3),
    ],
    ids=str,
)
def test_identity_is_information(n_agents, observe, reward):
    game = OwnTastes(n_agents=n_agents, n_actions=2)
    model = PPO(
        env=game,
        observe=observe,
        seed=0,
        n_steps=32,
        batch_size=128,
        learning_rate=0.01,
        gamma=0.0,
        ent_coef=0.1,  # less, and a third of the seeds end where agent 1 of 3 does as its neighbours
        **net(32),
    )
    model.learn(40 * 32 * n_agents)
    found = evaluate(game, model, n_worlds=32).mean_return
    # Without identity the best policy is one for all: it can be no better, whatever is drawn.
    assert found.value / 4 == pytest.approx(reward, abs=0.05)
