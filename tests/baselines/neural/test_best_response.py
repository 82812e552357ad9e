"""Deviators whose best response is known."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest

from baselines import PPO, approximate_best_response
from mfenvs import FiniteGame, deviation_gain, make, n_player_exploitability, rule, share

AGENTS, HORIZON = 12, 6


@dataclasses.dataclass(kw_only=True)
class TwoRoads(FiniteGame):
    """Each step an agent takes road 0 or 1, and earns the share of the others on the other road."""

    n_agents: int = AGENTS
    horizon: int = HORIZON
    agent_dtype: ClassVar[np.dtype[Any]] = np.dtype([("unused", np.float32)])
    n_states = 1
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        return 1.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        return share(world, 1 - action)


class Always:
    """A policy that knows one law."""

    def __init__(self, *law):
        self.law = np.array(law, np.float32)

    def action_probabilities(self, observations):
        return np.tile(self.law, (len(observations), 1))


FAST = {"learning_rate": 3e-3, "ent_coef": 0.0, "policy_kwargs": {"net_arch": [8]}, "device": "cpu"}


def test_the_gain_of_a_known_deviation_is_exact():
    # All others on road 0: road 1 earns 1 a step instead of 0, in every world.
    gain = deviation_gain(TwoRoads(), Always(1, 0), Always(0, 1), n_worlds=3)
    assert gain.value == pytest.approx(HORIZON)
    assert gain.standard_error == 0.0
    assert gain.n_samples == 3


def test_who_does_not_deviate_gains_nothing_at_all():
    gain = deviation_gain(TwoRoads(), Always(0.3, 0.7), Always(0.3, 0.7), n_worlds=5, seed=3)
    assert (gain.value, gain.standard_error) == (0.0, 0.0)


def test_one_agent_may_be_named():
    class Mixed:
        """Agents 0 to 5 on road 0, the rest on road 1."""

        def action_probabilities(self, observations):
            return np.eye(2, dtype=np.float32)[(np.arange(len(observations)) % AGENTS) // 6]

    # Road 1 holds 6 of the 11 others of agent 0, and 5 of the 11 others of agent 11.
    for agent, expected in ((0, (5 - 6) / 11), (11, 0.0)):
        gain = deviation_gain(TwoRoads(), Mixed(), Always(0, 1), agent=agent, n_worlds=2)
        assert gain.value == pytest.approx(HORIZON * expected, abs=1e-5)


def test_a_deviator_learns_the_empty_road():
    best = approximate_best_response(
        TwoRoads(),
        Always(0.9, 0.1),
        total_timesteps=4_000,
        n_worlds=8,
        deviators_per_world=2,
        evaluation_worlds=200,
        seed=1,
        batch_size=96,
        **FAST,
    )
    # Playing (0.9, 0.1) earns 0.18 a step, road 1 for sure 0.9.
    low, high = best.gain.interval
    assert low < HORIZON * 0.72 < high
    assert best.gain.value > 0.9 * HORIZON * 0.72
    assert best.agent is None


def test_the_best_of_several_deviators_is_taken():
    """So few and large steps lead deviators to different policies."""
    others = {"n_worlds": 2, "deviators_per_world": 2, "evaluation_worlds": 100, "seed": 1, "batch_size": 24}
    hasty = FAST | {"learning_rate": 0.1}

    def best_of(n, **more):
        return approximate_best_response(
            TwoRoads(), Always(0.9, 0.1), total_timesteps=24, n_deviators=n, **others, **hasty, **more
        )

    one, several = best_of(1), best_of(4)
    assert one.tried == ()
    gains = [gain.value for gain in several.tried]
    assert len(set(gains)) == 4
    chosen = int(np.argmax(gains))
    assert chosen != 0, "the first is the best: choose another seed"
    # The policy is that of the largest gain, which is measured in other worlds.
    assert several.policy.seed == one.policy.seed + chosen
    assert several.gain.value != gains[chosen]
    again = deviation_gain(TwoRoads(), Always(0.9, 0.1), several.policy, n_worlds=4000, seed=77)
    assert abs(several.gain.value - again.value) < 6 * np.hypot(several.gain.standard_error, again.standard_error)
    with pytest.raises(ValueError, match="n_deviators must be"):
        best_of(0)


def test_in_an_equilibrium_there_is_nothing_to_gain():
    best = approximate_best_response(
        TwoRoads(),
        Always(0.5, 0.5),
        total_timesteps=500,
        n_worlds=2,
        deviators_per_world=2,
        evaluation_worlds=400,
        **FAST,
    )
    # Six standard errors: an error rate of 2e-9.
    assert abs(best.gain.value) < 6 * best.gain.standard_error + 1e-9


def test_it_is_below_the_exploitability_that_is_computed():
    """On A-SIS, against everyone going out, where best responses are exact for tables."""
    game = make("Epidemic-v0", n_agents=60, horizon=4, heterogeneity=0.0)
    out = np.zeros((4, 2, 2))
    out[..., 1] = 1.0
    exact = n_player_exploitability(game, out, n_worlds=200, deviators_per_world=4)
    best = approximate_best_response(
        game,
        out,
        agent=3,
        total_timesteps=8_000,
        n_worlds=32,
        evaluation_worlds=800,
        batch_size=128,
        **{**FAST, "learning_rate": 1e-2},
    )
    assert best.gain.value < exact.max + 6 * best.gain.standard_error
    assert best.gain.value > 0.7 * exact.mean


def test_a_model_of_the_same_shape_is_where_the_deviator_begins():
    game = make("Taxi-v0", n_agents=8, horizon=4)
    model = PPO("MlpPolicy", game, seed=0, device="cpu", policy_kwargs={"net_arch": [8]})
    arguments = {"n_worlds": 2, "deviators_per_world": 2, "evaluation_worlds": 2, "learning_rate": 1e-30}
    arguments |= {"total_timesteps": 10, "device": "cpu", "policy_kwargs": {"net_arch": [8]}}
    warm = approximate_best_response(game, model, **arguments)
    assert warm.gain.value == 0.0
    cold = approximate_best_response(game, model, warm_start=False, **arguments)
    for same, begun in ((True, warm), (False, cold)):
        mine, theirs = begun.policy.policy.action_net.weight, model.policy.action_net.weight
        assert np.allclose(mine.detach().numpy(), theirs.detach().numpy()) is same


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"total_timesteps": 0}, ValueError, "total_timesteps must be an integer >= 1, got 0"),
        ({"evaluation_worlds": 1}, ValueError, "evaluation_worlds must be an integer >= 2, got 1"),
        ({"deviators_per_world": 13}, ValueError, r"deviators_per_world must be an integer in \[1, 12\], got 13"),
        (
            {"agent": 1, "deviators_per_world": 2},
            ValueError,
            r"deviators_per_world must be an integer in \[1, 1\]",
        ),
        ({"seed": -1}, ValueError, "seed must be an integer >= 0, got -1"),
        ({"warm_start": 1}, TypeError, "warm_start must be True or False, got 1"),
        ({"callback": True}, TypeError, "callback must be None, a callback of .* got True"),
        ({"agent": AGENTS}, ValueError, r"agent must be an integer in \[0, 11\], got 12"),
    ],
)
def test_arguments_that_are_not_allowed(arguments, error, message):
    with pytest.raises(error, match=message):
        approximate_best_response(TwoRoads(), None, **{**FAST, **arguments})


def test_training_can_be_stopped_by_a_callback():
    seen = []
    approximate_best_response(
        TwoRoads(), None, evaluation_worlds=2, callback=lambda *_: seen.append(1) or len(seen) < 3, **FAST
    )
    assert len(seen) == 3


def test_a_deviation_must_be_a_policy():
    with pytest.raises(TypeError, match="deviation must have action_probabilities or predict, got 'best'"):
        deviation_gain(TwoRoads(), None, "best")
