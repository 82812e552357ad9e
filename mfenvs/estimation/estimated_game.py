"""A finite game estimated from a black-box environment, and policies played in that environment."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.estimation import rollouts
from mfenvs.estimation.environment import Environment, StateFunction
from mfenvs.estimation.estimates import Estimates, PopulationEstimates, estimate, pair_groups
from mfenvs.estimation.fitted_game import FittedGame
from mfenvs.estimation.predictions import exploitability_bound, exploitability_draws, predicted_return
from mfenvs.estimation.rollouts import MOST_EPISODES, Episodes
from mfenvs.game import MAX_HORIZON, MAX_SEED
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.n_player import Estimate
from mfenvs.play import tabulate

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Played:
    """A policy played by all agents of the environment."""

    returns: Array
    """Total (discounted) rewards, shape (n_episodes, n_agents)."""
    state_shares: Array
    """Share of agents in each state, averaged over episodes, shape (H + 1, S)."""
    predicted_return: Estimate | None
    """The return that the fitted mean-field game predicts; None if agents have policies of their own. If the two
    differ by more than their errors, then the local states do not tell enough of the past, P and R are not linear
    in the features at these populations (:meth:`EstimatedGame.more_episodes` helps), or N is too small for the
    mean-field limit."""

    @property
    def mean_return(self) -> Estimate:
        """Expected return, averaged over agents, with the standard error between episodes."""
        return Estimate.of(self.returns.mean(axis=1))


@dataclasses.dataclass(frozen=True)
class DeviationGain:
    """One agent's gain from deviating alone, measured in the environment."""

    gain: Estimate
    """Mean over episodes of the deviator's return, less its return in the same episode without deviation: a lower
    bound on the mean over agents of the exploitability E_i of the N-player game, hence on their maximum."""
    deviation: Array
    """The policy of the deviator, shape (T, S, A)."""
    predicted_gain: float | None
    """The gain in the fitted mean-field game; None if agents have policies of their own."""
    deviators: NDArray[np.int64]
    """Index of the agent that deviated in each episode, shape (n_episodes,)."""
    is_paired: bool
    """Whether the environment repeats an episode when it is given the same seed. If not, episodes with and without
    the deviation are independent: intervals are valid, but wider."""


@dataclasses.dataclass(frozen=True, eq=False)
class EstimatedGame:
    """A finite game estimated from rollouts of a black-box environment: see :func:`from_parallel_env`."""

    environment: Environment
    """The environment, as arrays."""
    episodes: Episodes
    """The episodes from which the game was estimated."""
    estimates: Estimates
    """The fitted functions of the population, with errors."""
    game: FittedGame
    """The finite game, for every solver and trainer. Nothing is known of the pairs in :attr:`unvisited`: in the
    game they lead back to their own state, with the smallest reward that was seen."""
    ridge: float
    """Penalty on squared slopes."""
    time_dependent: bool
    """Whether P and R depend on time."""
    seed: int
    """Random seed of the episodes."""
    has_own_horizon: bool
    """Whether the horizon is the length of the environment's own episodes."""
    is_seedable: bool
    """Whether the environment repeated an episode when it was given its seed again."""

    @property
    def unvisited(self) -> list[tuple[int, ...]]:
        """Pairs (state, action) without a visit; triples (time, state, action) if the game depends on time."""
        pairs = np.argwhere(self.estimates.visits == 0)
        return [tuple(int(i) for i in (pair if self.time_dependent else pair[1:])) for pair in pairs]

    def at(self, mu: Any, time: int = 0) -> PopulationEstimates:
        """P and R with standard errors at a population mu (S, A): :meth:`.estimates.Estimates.at`."""
        return self.estimates.at(mu, time)

    def along(self, policy: Any) -> list[PopulationEstimates]:
        """Estimates at the population of every time if all play ``policy``, as the fitted game predicts them."""
        flow = InducedGame(self.game).flow(self._shared("policy", policy))
        last = len(self.estimates.values) - 1
        return [self.at(mu / mu.sum(), min(h, last)) for h, mu in enumerate(flow.mu)]

    def more_episodes(
        self, policies: Sequence[Any] | None, n_episodes: int = 64, exploration: float = 0.1
    ) -> "EstimatedGame":
        """Estimate again from these episodes and more, played under other policies.

        With the policies that a solver finds, estimates get better at the populations that matter for them: solve,
        call this method, solve again. Few episodes at a time give the same estimates as all at once. What was
        estimated before is left as it is, also where the call is interrupted.

        Parameters
        ----------
        policies, n_episodes, exploration:
            As for :func:`from_parallel_env`; policies of any kind that :func:`mfenvs.tabulate` takes.
        """
        n_episodes = checks.integer("n_episodes", n_episodes, 1, MOST_EPISODES)
        exploration = checks.real("exploration", exploration, 0.0, 1.0)
        given = None if policies is None else _sequence(policies)
        tables = given and [tabulate(self.game, p, f"policies[{i}]") for i, p in enumerate(given)]
        n_before, horizon = len(self.episodes), self.game.horizon
        new = _collect(
            *(self.environment, tables or None, exploration, n_episodes, n_before, horizon, self.seed),
            must_end=self.has_own_horizon,
        )
        episodes = self.episodes.followed_by(new)
        found = estimate(episodes, self.estimates.groups, time_dependent=self.time_dependent, ridge=self.ridge)
        game = dataclasses.replace(self.game, values=found.values, first_states=found.first_states)
        return dataclasses.replace(self, episodes=episodes, estimates=found, game=game)

    def predicted_return(self, policy: Any) -> Estimate:
        """Return of a policy in the fitted mean-field game, with the standard error that the estimates cause."""
        return predicted_return(self.game, self.estimates, self._shared("policy", policy))

    def exploitability_bound(self, policy: Any, confidence: float = 0.95) -> float:
        """Upper bound on the exploitability of a policy in the mean-field game that was estimated.

        With V the fitted values of the policy pi, V* those of a best response, and B, B* the half-widths of
        simultaneous Student intervals for R + gamma P V and R + gamma P V* at all (h, s, a) that can be reached,

            E(pi) <= V* - V + max_{pi'} E_{pi'}[ sum_h gamma^h B*_h ] + E_pi[ sum_h gamma^h B_h ].

        Every estimate is computed along the flow that it predicts itself, so that errors of the flow are part of
        B. The bound is of first order in the errors, and holds where P and R are linear in the features. It is
        infinite where an agent could reach a state with an action that was never tried there, or the population is
        unlike all that were met.

        Parameters
        ----------
        policy:
            One policy for all agents.
        confidence:
            Probability, below 1, with which all intervals hold at once.
        """
        law = self._shared("policy", policy)
        confidence = checks.real("confidence", confidence, 0.0, 1.0, exclude_low=True, exclude_high=True)
        return exploitability_bound(self.game, self.estimates, law, confidence)

    def exploitability_draws(self, policy: Any, n_draws: int = 200, seed: int = 0) -> Array:
        """Exploitabilities of a policy in games that are drawn around the estimates, by their errors.

        Tables are drawn from a multivariate Student distribution with the estimates' covariance. Seen from the
        estimates, the true exploitability is one more such draw, also for a policy that was computed from them:
        quantiles of the draws are the error that is to be expected. They are far below
        :meth:`exploitability_bound`, which adds up worst cases; they are infinite where it is.

        Parameters
        ----------
        policy:
            One policy for all agents.
        n_draws:
            Number of draws.
        seed:
            Random seed.

        Returns
        -------
        Exploitabilities in the mean-field game, shape (n_draws,).
        """
        law = self._shared("policy", policy)
        n_draws, seed = (
            checks.integer("n_draws", n_draws, 1, MOST_EPISODES),
            checks.integer("seed", seed, 0, MAX_SEED),
        )
        return exploitability_draws(self.game, self.estimates, law, n_draws, np.random.default_rng(seed))

    def play(self, policy: Any, n_episodes: int = 32, seed: int = 0) -> Played:
        """Play a policy in the environment.

        Parameters
        ----------
        policy:
            One policy for all agents, or one for each, of any kind that :func:`mfenvs.tabulate` takes.
        n_episodes:
            Number of episodes, at least 2. They have other random numbers than those that were estimated from.
        seed:
            Random seed.
        """
        law = tabulate(self.game, policy)
        n_episodes, seed = (
            checks.integer("n_episodes", n_episodes, 2, MOST_EPISODES),
            checks.integer("seed", seed, 0, MAX_SEED),
        )
        episodes = Episodes.of([self._episode(law, (seed, rollouts.PLAY, k)) for k in range(n_episodes)])
        in_state = episodes.states[..., None] == np.arange(self.game.n_states)
        return Played(
            returns=episodes.returns(self.game.discount),
            state_shares=in_state.mean(axis=(0, 2)),
            predicted_return=self.predicted_return(law) if law.ndim == 3 else None,
        )

    def deviation_gain(
        self,
        policy: Any,
        deviation: Any = None,
        *,
        agent: str | None = None,
        n_episodes: int = 64,
        seed: int = 0,
    ) -> DeviationGain:
        """Measure in the environment what one agent gains from leaving a policy that all others keep.

        Every episode is played twice with the same seed and the same random numbers of the agents.

        Parameters
        ----------
        policy:
            As for :meth:`play`.
        deviation:
            The deviator's policy; by default its best response in the fitted mean-field game.
        agent:
            Name of the deviator; by default it is drawn in every episode.
        n_episodes:
            Number of pairs of episodes, at least 2.
        seed:
            Random seed.
        """
        law = tabulate(self.game, policy)
        n_episodes, seed = (
            checks.integer("n_episodes", n_episodes, 2, MOST_EPISODES),
            checks.integer("seed", seed, 0, MAX_SEED),
        )
        shared = law if law.ndim == 3 else None
        if deviation is not None:
            answer = self._shared("deviation", deviation)
        elif shared is None:
            raise ValueError("deviation must be given where policy holds one policy for each agent")
        induced = InducedGame(self.game)
        flow = None if shared is None else induced.flow(shared)
        if deviation is None and flow is not None:
            answer = induced.best_response(flow)
        predicted = None if flow is None else induced.value(answer, flow) - induced.value(shared, flow)
        n_agents = self.environment.n_agents
        if agent is None:
            deviators = np.random.default_rng([seed, rollouts.DEVIATE]).integers(n_agents, size=n_episodes)
        else:
            name = checks.choice("agent", agent, self.environment.agents)
            deviators = np.full(n_episodes, self.environment.agents.index(name))
        gains = np.empty(n_episodes)
        for k, who in enumerate(deviators):
            numbers = seed, rollouts.DEVIATE, k
            without = self._episode(law, numbers)
            with_it = self._episode(law, numbers, deviator=int(who), deviation=answer)
            earned = [run.returns(self.game.discount)[0, who] for run in (with_it, without)]
            gains[k] = earned[0] - earned[1]
        return DeviationGain(Estimate.of(gains), answer, predicted, deviators, self.is_seedable)

    def summary(self) -> dict[str, Any]:
        """Sizes, and how well P and R are known, as a dict for JSON."""
        visits = self.estimates.visits
        return {
            "n_agents": self.game.n_agents,
            "n_states": self.game.n_states,
            "n_actions": self.game.n_actions,
            "horizon": self.game.horizon,
            "discount": self.game.discount,
            "n_episodes": len(self.episodes),
            "n_transitions": int(visits.sum()),
            "least_visits": int(visits.min()),
            "unvisited": [list(pair) for pair in self.unvisited],
            "n_averaged_over_populations": int(self.estimates.is_constant.sum()),
            "is_seedable": self.is_seedable,
        }

    def _episode(self, law: Array, numbers: tuple[int, int, int], **deviator: Any) -> Episodes:
        must_end = self.has_own_horizon
        return rollouts.play(self.environment, law, self.game.horizon, numbers, must_end=must_end, **deviator)

    def _shared(self, name: str, policy: Any) -> Array:
        law = tabulate(self.game, policy, name)
        if law.ndim != 3:
            raise ValueError(
                f"{name} must be one policy for all, of shape {self.game.policy_shape}, got one for each agent, of"
                f" shape {law.shape}"
            )
        return law


def from_parallel_env(
    env: Any,
    states: StateFunction | None = None,
    n_states: int | None = None,
    *,
    n_episodes: int = 64,
    policies: Sequence[Any] | None = None,
    exploration: float = 0.1,
    features: Any = "state-action",
    time_dependent: bool = False,
    horizon: int | None = None,
    discount: float = 1.0,
    ridge: float = 0.0,
    seed: int = 0,
) -> EstimatedGame:
    """Estimate a finite game from rollouts of a black-box PettingZoo ParallelEnv.

    Agents have local states, which must tell all that matters of an agent's own past: the function ``states`` of
    their observations, or the observations themselves where these are Discrete. For every state s and action a,
    the probability of the next state and the reward are fitted as linear functions of the *others'* population at
    that step. The result is a finite game for every solver. The policies that these find can be played, and tested
    against deviations, in the environment.

    Standard errors assume only that episodes are independent: they come from leaving out one episode at a time, or
    one of 64 groups. They are errors of the linear function that fits best at the populations that were met. Where
    agents differ, it is that of the mean over agents, weighted by visits.

    Parameters
    ----------
    env:
        A ``pettingzoo.ParallelEnv`` with at least two agents, whose action spaces are Discrete and equal. All
        agents must stay to the end of an episode, and all episodes must have one length.
    states:
        Function of an agent's observation and name that returns its local state, an integer in [0, n_states). By
        default the observation, which must be Discrete.
    n_states:
        Number of local states, if ``states`` is given.
    n_episodes:
        Number of episodes, at least 2. They are independent samples: errors fall with their square root. Where an
        environment is slow, begin with few and go on by :meth:`EstimatedGame.more_episodes`: what was estimated
        stays if that is interrupted.
    policies:
        Policies to play in turn, tables of probabilities of shape (T, S, A), or (n_agents, T, S, A). None plays a
        different random policy in every episode, so that many populations are met.
    exploration:
        Weight in [0, 1] with which each policy is mixed with uniformly random actions.
    features:
        What P and R read of the population: ``"state-action"``, ``"state"``, ``"action"``, ``"none"``, or the
        group of every pair of a state and an action, integers of shape (S, A). Fewer groups need fewer episodes.
    time_dependent:
        Whether P and R depend on time. All steps are then estimated apart.
    horizon:
        Number of steps after which episodes are cut; by default they are played to the end.
    discount:
        Discount factor gamma in (0, 1] of the game. Below 1 its horizon is infinite and policies are stationary;
        episodes are samples of it, cut at ``horizon``.
    ridge:
        Penalty >= 0 on squared slopes, beside the mean squared residual, for few data. Standard errors do not
        contain the bias that it causes.
    seed:
        Random seed of the episodes.

    Returns
    -------
    The fitted game, with standard errors and numbers of visits.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed; if agents leave before the end, episodes have unequal lengths, an
        observation has no local state, or ``states`` gives two states for one observation.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Definition 6 (induced game).

    Examples
    --------
    >>> import mfenvs
    >>> env = mfenvs.parallel_env("Epidemic-v0", n_agents=20, horizon=5)
    >>> found = mfenvs.from_parallel_env(env, lambda observation, agent: int(observation[1]), 2, n_episodes=20)
    >>> found.at([[0.25, 0.25], [0.25, 0.25]]).transitions.shape
    (2, 2, 2)
    """
    environment = Environment(env, states, n_states)
    n_episodes = checks.integer("n_episodes", n_episodes, 2, MOST_EPISODES)
    exploration = checks.real("exploration", exploration, 0.0, 1.0)
    groups = pair_groups(features, environment.n_states, environment.n_actions)
    time_dependent = checks.boolean("time_dependent", time_dependent)
    discount = checks.real("discount", discount, 0.0, 1.0, exclude_low=True)
    if time_dependent and discount < 1.0:
        raise ValueError(f"time_dependent must be False in an infinite game, got True and discount={discount:g}")
    ridge = checks.real("ridge", ridge, 0.0)
    seed = checks.integer("seed", seed, 0, MAX_SEED)
    if horizon is not None:
        horizon = checks.integer("horizon", horizon, 1, MAX_HORIZON)
    given = None if policies is None else _sequence(policies)

    length, is_seedable = _probe(environment, horizon, seed)
    n_times = 1 if discount < 1.0 else length
    table = n_times, environment.n_states, environment.n_actions
    tables = given and [
        checks.policy_table(f"policies[{i}]", p, table, environment.n_agents) for i, p in enumerate(given)
    ]
    must_end = horizon is None
    episodes = _collect(environment, tables or None, exploration, n_episodes, 0, length, seed, must_end=must_end)
    found = estimate(episodes, groups, time_dependent=time_dependent, ridge=ridge)
    game = FittedGame(
        n_agents=environment.n_agents,
        horizon=length,
        discount=discount,
        values=found.values,
        groups=groups,
        first_states=found.first_states,
    )
    return EstimatedGame(
        environment=environment,
        episodes=episodes,
        estimates=found,
        game=game,
        ridge=ridge,
        time_dependent=time_dependent,
        seed=seed,
        has_own_horizon=must_end,
        is_seedable=is_seedable,
    )


def _probe(environment: Environment, horizon: int | None, seed: int) -> tuple[int, bool]:
    """The length of an episode, and whether it repeats itself with the same seed."""
    uniform = np.full((1, environment.n_states, environment.n_actions), 1.0 / environment.n_actions)
    environment.asks_twice = True
    first, again = (rollouts.play(environment, uniform, horizon, (seed, rollouts.PROBE, 0)) for _ in range(2))
    environment.asks_twice = False
    return first.actions.shape[1], all(
        np.array_equal(getattr(first, f.name), getattr(again, f.name)) for f in dataclasses.fields(Episodes)
    )


def _collect(
    environment: Environment,
    policies: list[Array] | None,
    exploration: float,
    n_episodes: int,
    n_before: int,
    horizon: int,
    seed: int,
    *,
    must_end: bool,
) -> Episodes:
    """Play the episodes n_before, ..., n_before + n_episodes - 1 under policies in turn, or random ones (None)."""
    n_states, n_actions = environment.n_states, environment.n_actions
    played = []
    for k in range(n_before, n_before + n_episodes):
        if policies is None:
            rng = np.random.default_rng([seed, rollouts.COLLECT, k, 1])
            law = rng.dirichlet(np.ones(n_actions), (1, n_states))
        else:
            law = policies[(k - n_before) % len(policies)]
        law = (1.0 - exploration) * law + exploration / n_actions
        played.append(rollouts.play(environment, law, horizon, (seed, rollouts.COLLECT, k), must_end=must_end))
    return Episodes.of(played)


def _sequence(policies: Any) -> list[Any]:
    if not isinstance(policies, list | tuple) or not policies:
        raise TypeError(f"policies must be a list of at least one policy, or None, got {checks.shown(policies)}")
    return list(policies)
