"""What environments are refused, and with which words; starts of spaces other than 0."""

import gymnasium
import numpy as np
import pettingzoo
import pytest
from foreign import Coins, Disguised, looks
from pettingzoo.utils import parallel_to_aec

import mfenvs
from mfenvs import from_parallel_env
from mfenvs.estimation.environment import Environment

Discrete, Box = gymnasium.spaces.Discrete, gymnasium.spaces.Box


def spoiled(**attributes):
    return from_parallel_env(Coins(n_agents=3, **attributes), n_episodes=2)


def test_an_agent_that_leaves_is_named() -> None:
    with pytest.raises(ValueError, match=r"stay until the episode ends, got after step 1 1 missing \(p0\)"):
        spoiled(leaver=2)


def test_an_agent_that_is_late_is_named() -> None:
    class Late(Coins):
        def reset(self, seed=None, options=None):
            found = super().reset(seed)
            self.agents.remove("p1")
            return found

    with pytest.raises(ValueError, match=r"take part from the first step, got after reset 1 missing \(p1\)"):
        from_parallel_env(Late(3), n_episodes=2)


def test_an_agent_that_comes_later_is_named() -> None:
    class Growing(Coins):
        def step(self, actions):
            found = super().step(actions)
            self.agents = self.agents and [*self.agents, "new"]
            return found

    with pytest.raises(ValueError, match=r"after step 0 1 not in possible_agents \(new\)"):
        from_parallel_env(Growing(3), n_episodes=2)


def test_unequal_lengths_are_refused_and_a_horizon_helps() -> None:
    with pytest.raises(ValueError, match="the first had 3 steps, another ended after 2"):
        spoiled(lengths=[3, 3, 2])
    with pytest.raises(ValueError, match="the first had 3 steps, another was not over after 3"):
        spoiled(lengths=[3, 3, 4])
    found = from_parallel_env(Coins(3, lengths=[3, 4, 2]), n_episodes=3, horizon=2)
    assert found.game.horizon == 2
    assert found.episodes.actions.shape == (3, 2, 3)
    with pytest.raises(ValueError, match="a number of steps that all episodes of env reach, got 4"):
        from_parallel_env(Coins(3), n_episodes=2, horizon=4)


def test_an_episode_without_end_needs_a_horizon(monkeypatch) -> None:
    monkeypatch.setattr("mfenvs.estimation.rollouts.MOST_STEPS", 20)
    with pytest.raises(ValueError, match="did not end within 20 steps: give horizon"):
        spoiled(length=21)
    assert spoiled(length=20).game.horizon == 20


@pytest.mark.parametrize(
    ("reward", "error", "match"),
    [
        (np.nan, ValueError, "rewards of env must be finite and of size .*, got nan of p1 after step 0"),
        ("much", TypeError, "rewards of env must be numbers, got .*'much'"),
    ],
)
def test_rewards_are_finite_numbers(reward, error, match) -> None:
    with pytest.raises(error, match=match):
        spoiled(reward=reward)


def test_observations_without_a_discrete_state_are_refused() -> None:
    boxes = dict.fromkeys(("p0", "p1", "p2"), Box(0.0, 1.0))
    with pytest.raises(TypeError, match=r"observation spaces of env must be Discrete, got Box.*or give states"):
        spoiled(observations=boxes)
    spaces = {"p0": Discrete(2), "p1": Discrete(2), "p2": Discrete(3)}
    with pytest.raises(ValueError, match=r"must be equal, got Discrete\(2\) of p0 and Discrete\(3\) of p2"):
        spoiled(observations=spaces)
    with pytest.raises(ValueError, match=r"observation of p\d must be an integer in \[0, 1\], got [23]"):
        spoiled(first=2)


@pytest.mark.parametrize(
    ("states", "error", "match"),
    [
        (lambda seen, name: 2, ValueError, r"states\(observation of p0\) must be an integer in \[0, 1\], got 2"),
        (lambda seen, name: -1, ValueError, r"must be an integer in \[0, 1\], got -1"),
        (lambda seen, name: seen + 0.5, TypeError, r"must be an integer in \[0, 1\], got [01].5"),
        (lambda seen, name: None, TypeError, r"must be an integer in \[0, 1\], got None"),
        (lambda seen, name: True, ValueError, r"must be an integer in \[0, 1\], got True"),
        ("state", TypeError, "states must be a function of an observation and a name, got 'state'"),
    ],
)
def test_states_are_integers_in_range(states, error, match) -> None:
    with pytest.raises(error, match=match):
        from_parallel_env(Coins(), states, 2, n_episodes=2)


def test_a_function_that_changes_its_mind_is_refused() -> None:
    calls = []

    def fickle(seen, name):
        calls.append(name)
        return int(len(calls) > 7)

    with pytest.raises(ValueError, match="got 0 and then 1 for the same observation of p1 after step 0"):
        from_parallel_env(Coins(), fickle, 2, n_episodes=2)


def test_the_number_of_states_goes_with_the_function() -> None:
    with pytest.raises(ValueError, match="n_states must be the number of values of states, got None"):
        from_parallel_env(Coins(), lambda seen, name: 0)
    with pytest.raises(ValueError, match="n_states is given by states only"):
        from_parallel_env(Coins(), n_states=2)


def test_action_spaces_are_discrete_and_equal() -> None:
    with pytest.raises(ValueError, match=r"action spaces of env must be equal, got Discrete\(2\) of p0"):
        spoiled(actions={"p0": Discrete(2), "p1": Discrete(3), "p2": Discrete(2)})
    with pytest.raises(ValueError, match="action spaces of env must be equal"):
        spoiled(actions={"p0": Discrete(2), "p1": Discrete(2, start=1), "p2": Discrete(2)})
    with pytest.raises(TypeError, match="action spaces of env must be Discrete, got Box"):
        spoiled(actions=dict.fromkeys(("p0", "p1", "p2"), Box(0.0, 1.0)))


def test_one_agent_or_no_parallel_environment_is_refused() -> None:
    with pytest.raises(ValueError, match=r"env must have at least 2 agents, got \['p0'\]"):
        from_parallel_env(Coins(1))
    with pytest.raises(TypeError, match=r"env must be a pettingzoo.ParallelEnv.*pettingzoo.utils.aec_to_parallel"):
        from_parallel_env(parallel_to_aec(Coins()))
    with pytest.raises(TypeError, match=r"env must be a pettingzoo\.ParallelEnv, got 3"):
        from_parallel_env(3)


def test_missing_entries_are_named() -> None:
    class Silent(Coins):
        lost = 0

        def step(self, actions):
            found = super().step(actions)
            del found[self.lost]["p1"]
            return found

    with pytest.raises(ValueError, match="an observation of every agent, got none of p1 after step 0"):
        from_parallel_env(Silent(), n_episodes=2)
    Silent.lost = 1
    with pytest.raises(ValueError, match="a reward of every agent, got none of 'p1' after step 0"):
        from_parallel_env(Silent(), n_episodes=2)


def test_spaces_may_start_elsewhere() -> None:
    spaces = dict.fromkeys(("p0", "p1"), Discrete(2, start=5))
    environment = Environment(Coins(actions=spaces, observations=spaces, first=5), None, None)
    assert (environment.n_states, environment.n_actions) == (2, 2)
    assert set(environment.reset(0)) <= {0, 1}
    states, rewards, over = environment.step(np.array([1, 0]), 0)
    assert states.tolist() == [1, 0]
    assert rewards.tolist() == [0.0, 0.0]
    assert not over


def test_a_game_in_disguise_keeps_its_states() -> None:
    game = mfenvs.make("Epidemic-v0", n_agents=6, horizon=3)
    env = Disguised(game)
    environment = Environment(env, looks, 2)
    engine = mfenvs.Engine(game, 1)
    engine.reset(seed=7)
    assert environment.reset(7).tolist() == engine.states[0].tolist()
    assert isinstance(env, pettingzoo.ParallelEnv)


def changed(method, change):
    """Coins whose ``reset`` or ``step`` returns something else than it should."""

    def spoiled_method(self, *arguments, **names):
        return change(getattr(Coins, method)(self, *arguments, **names))

    return type("Changed", (Coins,), {method: spoiled_method})(3)


def replaced(k, part):
    return lambda found: (*found[:k], part, *found[k + 1 :])


def every(k, value):
    return lambda found: replaced(k, dict.fromkeys(("p0", "p1", "p2"), value))(found)


@pytest.mark.parametrize(
    ("method", "change", "error", "match"),
    [
        ("reset", lambda _: None, TypeError, r"env\.reset must return 2 dicts \(observations, infos\), got None"),
        ("reset", lambda found: found[0], TypeError, r"env\.reset must return 2 dicts"),
        (
            "reset",
            replaced(0, [1, 0, 1]),
            TypeError,
            r"observations of env\.reset must be a dict by agent",
        ),
        (
            "step",
            lambda _: None,
            TypeError,
            r"env\.step must return 5 dicts .*, infos\), got None",
        ),
        ("step", lambda found: found[:4], TypeError, r"env\.step must return 5 dicts"),
        ("step", replaced(1, None), TypeError, r"rewards of env\.step must be a dict by agent, got None"),
        ("step", replaced(2, None), TypeError, r"terminations of env\.step must be a dict by agent, got None"),
        ("step", every(1, True), TypeError, "rewards of env must be numbers, got .*True"),
        ("step", every(1, "1"), TypeError, "rewards of env must be numbers, got .*'1'"),
        ("step", every(1, 10**400), TypeError, "rewards of env must be numbers"),
        ("step", every(1, np.ones(1)), TypeError, "rewards of env must be numbers, got .*array"),
        ("step", every(1, 1e101), ValueError, r"of size at most 1e\+100, got 1e\+101 of p0 after step 0"),
        ("step", every(2, np.nan), TypeError, "terminations of p0 after step 0 must be True or False, got nan"),
        (
            "step",
            every(3, "False"),
            TypeError,
            "truncations of p0 after step 0 must be True or False",
        ),
        ("step", every(2, np.ones(2, bool)), TypeError, "terminations of p0 after step 0 must be True or False"),
    ],
)
def test_what_is_no_parallel_environment_after_all_is_refused(method, change, error, match) -> None:
    with pytest.raises(error, match=match):
        from_parallel_env(changed(method, change), n_episodes=2)


def test_flags_may_be_those_of_numpy() -> None:
    found = changed("step", lambda found: replaced(2, {k: np.bool_(v) for k, v in found[2].items()})(found))
    assert from_parallel_env(found, n_episodes=2).game.horizon == 3


@pytest.mark.parametrize(
    ("names", "error", "match"),
    [
        (None, TypeError, r"env\.possible_agents must be a list of the agents' names, got None"),
        ([["a"], ["b"]], TypeError, r"env\.possible_agents must be a list of the agents' names"),
        (
            ["p0", "p0", "p1"],
            ValueError,
            r"env\.possible_agents must be different names, got",
        ),
    ],
)
def test_names_of_agents_are_a_list_of_different_ones(names, error, match) -> None:
    env = Coins(3)
    env.possible_agents = names
    with pytest.raises(error, match=match):
        from_parallel_env(env, n_episodes=2)


def test_what_an_environment_raises_is_left_as_it_is() -> None:
    def fails(_):
        raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        from_parallel_env(changed("step", fails), n_episodes=2)
