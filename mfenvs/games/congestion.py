"""The asymmetric dynamic congestion game: routes on a ring of sites, dearer the more agents take them."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import MAX_CELLS, FiniteGame
from mfenvs.rules import rule, share

ZERO, ONE = np.float32(0.0), np.float32(1.0)
LARGEST_EXPONENT = 100.0
"""Largest exponent of a congestion cost."""
LARGEST_PREFERENCE = 1e9
"""Largest size of a preference: rewards are in single precision."""


class Ring(NamedTuple):
    """The ring, as the rules read it (``world.constants``)."""

    n_sites: int
    n_routes: int


@rule
def neighbour(site: Any, route: Any, n_sites: Any) -> Any:
    """The site to which a route leads: the next one by an even route, the previous one by an odd route."""
    if route % 2 == 0:
        return site + 1 if site + 1 < n_sites else 0
    return site - 1 if site > 0 else n_sites - 1


@dataclasses.dataclass(kw_only=True)
class Congestion(FiniteGame):
    """Asymmetric dynamic congestion game: parallel routes on a ring of sites, crowded routes cost more.

    Yardim & He, Example 1 and appendix D.1; tags as in :mod:`mfenvs.games`.

    States: the sites 0 .. n_sites - 1 of a ring. Actions: routes 0 .. n_routes - 1 from a site to its
    neighbours. Even routes lead to the next site, odd routes to the previous one; with probability
    ``slip_i`` the agent stays where it is [O]. All agents start at site 0 [O].

        r^i(s, a) = -w_i sigma(s, a)^{p_i} + r_i(s, a)

    The first term is h_i(s, a, n), non-increasing in the number n of agents who take the same route from the
    same site [S]; its form is ours [O]. sigma(s, a) = n / (N - 1) with n the number of the N - 1 others
    [R: the paper's sum over all N agents is not a function of the others alone, as its reward is].

    Agents (``game.agents``): ``cost`` w_i, ``exponent`` p_i and ``slip``, each uniform around its centre with
    half-width heterogeneity * width; ``preference`` r_i(s, a), shape (n_sites, n_routes), independent for every
    site and route [O].

    Remarks. The transitions do not depend on the others and the mean reward falls in sigma(s, a): the induced
    game is monotone (Definition 10). The routes' cost is 1-sparse (Definition 8). As p_i >= 1, rewards have
    the Lipschitz modulus w_i p_i in sigma, whatever N. The game is (alpha, beta)-symmetric with
    alpha = 2 max_i |slip_i - mean slip| and

        beta = max_{i, s, a, k} |h_i(k) - mean_j h_j(k) + r_i(s, a) - mean_j r_j(s, a)|,

    k from 0 to N - 1. By default alpha = 0.
    """

    n_agents: int = 1000
    """Number of agents N [O]."""
    horizon: int = 10
    """Number of steps H [O]."""
    n_sites: int = 6
    """Number of sites |S| of the ring [O]."""
    n_routes: int = 4
    """Number of routes |A| from every site [O]."""
    slip: float = 0.1
    """Centre of the probabilities of staying at a site [O]."""
    slip_width: float = 0.0
    """Half-width of their range: the asymmetry of the dynamics [O]."""
    cost: float = 0.8
    """Centre of the congestion costs w_i of a route that everybody takes, in [0, 1] [O]."""
    cost_width: float = 0.1
    """Half-width of their range [O]."""
    exponent: float = 1.5
    """Centre of the exponents p_i of the congestion cost, all at least 1 [O]."""
    exponent_width: float = 0.25
    """Half-width of their range [O]."""
    preference: float = 0.1
    """Centre of the preferences r_i(s, a) [O]."""
    preference_width: float = 0.1
    """Half-width of their range [O]."""
    heterogeneity: float = 1.0
    """Factor on all half-widths; 0 makes the game exactly symmetric [O]."""

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P^i(next_state | state, action): one step along the route, or none."""
        n_sites = world.constants.n_sites
        stays = agent.slip if next_state == state else ZERO
        moves = ONE - agent.slip if next_state == neighbour(state, action, n_sites) else ZERO
        return stays + moves

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R^i(state, action, others): the preference less the cost of congestion."""
        taken = share(world, state * world.constants.n_routes + action)
        return agent.preference[state, action] - agent.cost * taken**agent.exponent

    def check(self) -> None:
        """Check the sizes, and that every agent's slip is a probability, its cost in [0, 1], its exponent >= 1."""
        self.n_sites = checks.integer("n_sites", self.n_sites, 1)
        self.n_routes = checks.integer("n_routes", self.n_routes, 1)
        checks.at_most("n_sites * n_routes", self.n_sites * self.n_routes, MAX_CELLS)
        super().check()
        for name in ("slip_width", "cost_width", "exponent_width", "preference_width", "heterogeneity"):
            setattr(self, name, checks.real(name, getattr(self, name), 0.0))
        for name, low, high in (
            ("slip", 0.0, 1.0),
            ("cost", 0.0, 1.0),
            ("exponent", 1.0, LARGEST_EXPONENT),
            ("preference", -LARGEST_PREFERENCE, LARGEST_PREFERENCE),
        ):
            half_width = self.heterogeneity * getattr(self, f"{name}_width")
            setattr(self, name, checks.centre(name, getattr(self, name), half_width, low, high))

    def draw_agents(self, rng: np.random.Generator) -> NDArray[Any]:
        """Draw w_i, p_i, slip_i and r_i(s, a) independently and uniformly around their centres."""
        agents = np.empty(self.n_agents, self.agent_dtype)
        for name in ("slip", "cost", "exponent", "preference"):
            half_width = self.heterogeneity * getattr(self, f"{name}_width")
            agents[name] = getattr(self, name) + half_width * rng.uniform(-1.0, 1.0, agents[name].shape)
        return agents

    @property
    def agent_dtype(self) -> np.dtype[Any]:
        """Slip, cost, exponent, and a preference for every site and route."""
        numbers = [(name, np.float32) for name in ("slip", "cost", "exponent")]
        return np.dtype([*numbers, ("preference", np.float32, (self.n_sites, self.n_routes))])

    @property
    def n_states(self) -> int:
        """|S|: sites."""
        return self.n_sites

    @property
    def n_actions(self) -> int:
        """|A|: routes."""
        return self.n_routes

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """All agents start at site 0."""
        law = np.zeros(self.n_sites)
        law[0] = 1.0
        return law

    @property
    def constants(self) -> Ring:
        """The sizes of the ring."""
        return Ring(self.n_sites, self.n_routes)
