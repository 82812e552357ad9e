"""A checked view of somebody's PettingZoo ParallelEnv: local states, actions and rewards as arrays."""

import operator
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import gymnasium
import numpy as np
import pettingzoo
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import MAX_CELLS
from mfenvs.game import MAX_AGENTS

OF_STEP = "observations", "rewards", "terminations", "truncations", "infos"
"""What an environment returns of a step."""
LARGEST_REWARD = 1e100
"""Largest size of a reward: estimates take sums of squares."""

StateFunction = Callable[[Any, str], int]
"""A function of an agent's observation and name that returns the agent's local state."""


class Environment:
    """A ParallelEnv all of whose agents have discrete local states and equal discrete actions.

    Parameters
    ----------
    env:
        The environment. All its agents must take part in every step of an episode.
    states:
        Function of an agent's observation and name that returns its local state, an integer in [0, n_states). None
        where observations are Discrete: the observation is the state.
    n_states:
        Number of local states; None where ``states`` is None.

    Raises
    ------
    TypeError
        If ``env`` is no ParallelEnv, ``states`` is not a function, or a space is not Discrete.
    ValueError
        If there are fewer than two agents, or their spaces are unequal.
    """

    def __init__(self, env: Any, states: StateFunction | None, n_states: int | None) -> None:
        if not isinstance(env, pettingzoo.ParallelEnv):
            how = ": convert it by pettingzoo.utils.aec_to_parallel" if isinstance(env, pettingzoo.AECEnv) else ""
            raise TypeError(f"env must be a pettingzoo.ParallelEnv, got {checks.shown(env)}{how}")
        self.env = env
        """The environment itself."""
        self.agents: tuple[str, ...] = _names(env)
        """Names of the agents, in the order of all arrays."""
        if len(self.agents) < 2:
            raise ValueError(f"env must have at least 2 agents, got {list(self.agents)}")
        checks.at_most("the number of agents of env", len(self.agents), MAX_AGENTS)
        actions = _common_space("action", [env.action_space(agent) for agent in self.agents], self.agents)
        self.n_actions, self._first_action = int(actions.n), int(actions.start)
        self._first_observation = 0
        if states is None:
            if n_states is not None:
                raise ValueError(
                    f"n_states is given by states only, got n_states={checks.shown(n_states)} and states=None"
                )
            hint = "; or give states, a function of an observation and the agent's name, and n_states"
            spaces = [env.observation_space(agent) for agent in self.agents]
            observations = _common_space("observation", spaces, self.agents, hint)
            self.n_states, self._first_observation = int(observations.n), int(observations.start)
        elif not callable(states):
            raise TypeError(f"states must be a function of an observation and a name, got {checks.shown(states)}")
        elif n_states is None:
            raise ValueError("n_states must be the number of values of states, got None")
        else:
            self.n_states = checks.integer("n_states", n_states, 1)
        checks.at_most("n_states * n_actions", self.n_states * self.n_actions, MAX_CELLS)
        self._state_of = states
        self.asks_twice = False
        """Whether every state is asked for twice, and a function that changes its mind refused."""

    @property
    def n_agents(self) -> int:
        """Number of agents N."""
        return len(self.agents)

    def reset(self, seed: int) -> NDArray[np.int64]:
        """Begin an episode with this seed; return all agents' local states, shape (n_agents,).

        Raises
        ------
        TypeError, ValueError
            If the environment returns something else than observations and infos, agents are missing, or an
            observation has no local state.
        """
        observations, _ = _parts("reset", self.env.reset(seed=seed), ("observations", "infos"))
        self._check_everybody(self.env.agents, "after reset", "take part from the first step")
        return self._states(observations, "after reset")

    def step(self, actions: NDArray[np.int64], time: int) -> tuple[NDArray[np.int64], NDArray[np.float64], bool]:
        """Take step number ``time`` with the actions of all agents, each in [0, n_actions), shape (n_agents,).

        Returns
        -------
        The next local states and the rewards, shape (n_agents,) each, and whether the episode is over.

        Raises
        ------
        TypeError, ValueError
            If the environment returns something else than PettingZoo's five dicts, some agents leave and others
            stay, an observation has no local state, or a reward is no number of size at most 1e100.
        """
        chosen = (actions + self._first_action).tolist()
        found = self.env.step(dict(zip(self.agents, chosen, strict=True)))
        observations, rewards, terminations, truncations, _ = _parts("step", found, OF_STEP)
        when = f"after step {time}"
        leaving = [
            agent
            for agent in self.agents
            if _flag("terminations", terminations, agent, when) | _flag("truncations", truncations, agent, when)
        ]
        over = len(leaving) == self.n_agents or not self.env.agents
        if not over:
            left = set(leaving) | (set(self.agents) - set(self.env.agents))
            self._check_everybody([a for a in self.agents if a not in left], when, "stay until the episode ends")
            self._check_everybody(self.env.agents, when, "stay until the episode ends")
        return self._states(observations, when), self._rewards(rewards, when), over

    def _check_everybody(self, present: Any, when: str, what: str) -> None:
        if len(present) == self.n_agents and set(present) == set(self.agents):
            return
        missing = [agent for agent in self.agents if agent not in set(present)]
        unknown = [agent for agent in present if agent not in set(self.agents)]
        faults = [
            f"{len(names)} {how} ({', '.join(map(str, names[:3]))}{', ...' if len(names) > 3 else ''})"
            for how, names in (("missing", missing), ("not in possible_agents", unknown))
            if names
        ]
        raise ValueError(f"all agents of env must {what}, got {when} {' and '.join(faults)}")

    def _states(self, observations: Mapping[str, Any], when: str) -> NDArray[np.int64]:
        found = np.empty(self.n_agents, np.int64)
        for i, agent in enumerate(self.agents):
            if agent not in observations:
                raise ValueError(f"env must return an observation of every agent, got none of {agent} {when}")
            found[i] = self.state(observations[agent], agent)
            if self.asks_twice and (again := self.state(observations[agent], agent)) != found[i]:
                raise ValueError(
                    "states must be a function of the observation and the name alone, got"
                    f" {found[i]} and then {again} for the same observation of {agent} {when}"
                )
        return found

    def state(self, observation: Any, agent: str) -> int:
        """The local state of an agent who sees this; TypeError or ValueError if there is none."""
        if self._state_of is None:
            first = self._first_observation
            return checks.integer(f"observation of {agent}", observation, first, first + self.n_states - 1) - first
        found = self._state_of(observation, agent)
        if not (type(found) is int and 0 <= found < self.n_states):
            return checks.integer(f"states(observation of {agent})", found, 0, self.n_states - 1)
        return found

    def _rewards(self, rewards: Mapping[str, Any], when: str) -> NDArray[np.float64]:
        try:
            given = [rewards[agent] for agent in self.agents]
        except KeyError as error:
            raise ValueError(f"env must return a reward of every agent, got none of {error} {when}") from None
        try:
            found = checks.numbers("rewards", given, (self.n_agents,))
        except (TypeError, ValueError):
            wrong = checks.shown(dict(rewards))
            raise TypeError(f"rewards of env must be numbers, got {wrong} {when}") from None
        # Written such that a NaN is found.
        is_wrong = ~(np.abs(found) <= LARGEST_REWARD)
        if is_wrong.any():
            i = int(is_wrong.argmax())
            raise ValueError(
                f"rewards of env must be finite and of size at most {LARGEST_REWARD:g}, got {found[i]} of"
                f" {self.agents[i]} {when}"
            )
        return found


def _names(env: Any) -> tuple[str, ...]:
    """The names of an environment's agents; TypeError or ValueError if it has none, or one of them twice."""
    given = getattr(env, "possible_agents", None)
    if not isinstance(given, list | tuple) or not all(isinstance(name, Hashable) for name in given):
        raise TypeError(f"env.possible_agents must be a list of the agents' names, got {checks.shown(given)}")
    if len(set(given)) < len(given):
        raise ValueError(f"env.possible_agents must be different names, got {checks.shown(given)}")
    return tuple(given)


def _parts(method: str, found: Any, names: tuple[str, ...]) -> tuple[Mapping[str, Any], ...]:
    """What a method of an environment returned, which must be one dict for each of ``names``."""
    if not isinstance(found, tuple | list) or len(found) != len(names):
        raise TypeError(
            f"env.{method} must return {len(names)} dicts ({', '.join(names)}), got {checks.shown(found)}"
        )
    for name, part in zip(names, found, strict=True):
        if not isinstance(part, Mapping):
            raise TypeError(f"{name} of env.{method} must be a dict by agent, got {checks.shown(part)}")
    return tuple(found)


def _flag(name: str, flags: Mapping[str, Any], agent: str, when: str) -> bool:
    """Whether an agent is in a dict of flags, and its flag set."""
    found = flags.get(agent, False)
    if found is True or found is False:
        return found
    return checks.boolean(f"{name} of {agent} {when}", found)


def _common_space(kind: str, spaces: "list[gymnasium.Space[Any]]", agents: tuple[str, ...], hint: str = "") -> Any:
    """The Discrete space that all agents share; TypeError or ValueError if there is none."""
    for agent, space in zip(agents, spaces, strict=True):
        if not isinstance(space, gymnasium.spaces.Discrete):
            raise TypeError(f"{kind} spaces of env must be Discrete, got {checks.shown(space)} of {agent}{hint}")
        if (operator.index(space.n), operator.index(space.start)) != (spaces[0].n, spaces[0].start):  # type: ignore[attr-defined]
            raise ValueError(
                f"{kind} spaces of env must be equal, got {spaces[0]} of {agents[0]} and {space} of {agent}{hint}"
            )
    return spaces[0]
