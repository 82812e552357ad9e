"""alpha and beta of Definition 7: by hand, by all joint vectors, by formulas, and who breaks the symmetry."""

import dataclasses
import itertools
import tracemalloc

import numpy as np
import pytest
from black_boxes import definition_6, definition_7, from_tables, random_tables
from ferry import Ferry
from numpy.testing import assert_allclose

from mfenvs import FiniteGame, InducedGame, make, rule, share
from mfenvs.meanfield.black_box import BlackBoxGame, as_black_box
from mfenvs.meanfield.lattice_search import search_lattice
from mfenvs.meanfield.sampled_symmetry import sample_symmetry
from mfenvs.meanfield.symmetry import approximate_symmetry


def alone(reward, n, **terms) -> BlackBoxGame:
    """A game of one state and two actions, of which only the reward matters."""
    return BlackBoxGame(
        lambda *_: [1.0], reward, **{"n_agents": n, "n_states": 1, "n_actions": 2, "horizon": 1, **terms}
    )


def test_two_agents_by_hand():
    """If the other is in 1, they move to 1 with .5 and .3: in l1 .2 from the mean each. Rewards are 1 and 0."""

    def transition(agent, state, action, others):
        one = (0.5, 0.3)[agent] if others[0, 0] == 1 else 0.1
        return [1 - one, one]

    game = BlackBoxGame(
        transition, lambda agent, *_: float(agent == 0), n_agents=2, n_states=2, n_actions=1, horizon=2
    )
    found = approximate_symmetry(game)
    assert (found.alpha, found.beta) == (pytest.approx(0.2), 0.5)
    assert found.kind == "exact"
    assert found.n_points == 2
    assert_allclose(found.alpha_of_agent, 0.2)
    assert found.alpha_at.others.tolist() == [[0], [1]]
    assert_allclose(found.treated_apart, 0.0)


def test_three_agents_by_hand():
    """R^i = 1 if the first other plays 1: at one of two it is 1 or 0, and Sym(R) is 1/2; all treat all alike."""
    found = approximate_symmetry(alone(lambda i, s, a, others: float(others[0, 1]), 3))
    assert (found.alpha, found.beta) == (0.0, 0.5)
    assert_allclose(found.beta_of_agent, 0.5)
    assert_allclose(found.treated_apart, 1.0)
    assert found.beta_at.others.tolist() == [[1, 1]]


def test_an_agent_who_is_treated_apart_is_named():
    """All but agent 2 earn 1 if agent 2 plays 1, and agent 2 the share of the others who do."""

    def reward(i, s, a, others):
        return float(others[2 if i > 2 else 1, 1]) if i != 2 else float(others[:, 1].mean())

    found = approximate_symmetry(alone(reward, 4))
    assert_allclose(found.treated_apart, [1 / 3, 1 / 3, 1.0, 1 / 3])
    assert found.most_asymmetric()[0] == 2
    assert found.most_asymmetric(2, by="treated_apart").tolist() == [2, 0]


def test_an_agent_with_rules_of_its_own_is_named():
    """Agent 3 of 5 earns .5 more than the others: 4/5 of it from the mean, and the others 1/5."""
    found = approximate_symmetry(alone(lambda i, s, a, others: others[:, 1].mean() + 0.5 * (i == 3), 5))
    assert found.beta == pytest.approx(0.4)
    assert_allclose(found.beta_of_agent, [0.1, 0.1, 0.1, 0.4, 0.1])
    assert found.most_asymmetric()[0] == 3
    assert found.beta_at.agent == 3
    assert found.most_asymmetric(5)[0] == 3
    assert_allclose(found.treated_apart, 0.0, atol=1e-15)


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_games_against_all_joint_vectors(n, seed):
    p, r = random_tables(np.random.default_rng(seed), n, 2, 2)
    found = approximate_symmetry(from_tables(p, r))
    alpha, beta = definition_7(p, r)
    assert_allclose(found.alpha_of_agent, alpha, atol=1e-12)
    assert_allclose(found.beta_of_agent, beta, atol=1e-12)
    assert (found.alpha, found.beta) == (pytest.approx(alpha.max()), pytest.approx(beta.max()))
    induced = definition_6(p, r)
    for at, which, table in ((found.alpha_at, 0, p), (found.beta_at, 1, r[..., None])):
        pairs = np.repeat(np.arange(4), at.others.ravel())
        mean = np.reshape(induced[tuple(pairs)][which][at.state, at.action], -1)
        own = [table[(at.agent, at.state, at.action, *order)] for order in itertools.permutations(pairs)]
        expected = (alpha, beta)[which].max()
        assert max(np.abs(row - mean).sum() for row in own) == pytest.approx(expected)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_symmetric_games_are_symmetric_to_rounding(n):
    """Rules that are computed from the others one by one, in their order, so that sums are rounded differently."""

    def transition(i, s, a, others):
        one = sum(0.1 * t + 0.07 * b for t, b in others) / n
        return [1 - one, one]

    def reward(i, s, a, others):
        return sum(0.1 * (b == a) for _, b in others) + 0.3 * s

    game = BlackBoxGame(transition, reward, n_agents=n, n_states=2, n_actions=2, horizon=1)
    found = approximate_symmetry(game)
    assert found.alpha < 1e-15 * 8
    assert found.beta < 1e-15 * 8
    assert found.kind == "exact"
    counted = BlackBoxGame(transition, reward, n_agents=n, n_states=2, n_actions=2, horizon=1, sees_counts=True)
    assert (approximate_symmetry(counted).alpha, approximate_symmetry(counted).beta) == (0.0, 0.0)


@pytest.mark.parametrize(("name", "n"), [("Epidemic-v0", 2), ("Epidemic-v0", 5), ("RockPaperScissors-v0", 3)])
def test_counts_and_black_boxes_agree(name, n):
    game = make(name, n_agents=n, horizon=2)
    by_counts, by_vectors = approximate_symmetry(game, n_points=1000), approximate_symmetry(as_black_box(game))
    assert by_counts.kind == by_vectors.kind == "exact"
    assert by_counts.n_points == game.n_states * game.n_actions  # The corners are enough.
    assert_allclose(by_counts.alpha_of_agent, by_vectors.alpha_of_agent, atol=1e-12)
    assert_allclose(by_counts.beta_of_agent, by_vectors.beta_of_agent, atol=1e-12)
    assert_allclose(by_vectors.treated_apart, 0.0, atol=1e-12)
    for found in (by_counts, by_vectors):
        assert found.alpha_of_agent[found.alpha_at.agent] == found.alpha
        assert found.beta_of_agent[found.beta_at.agent] == found.beta


@pytest.mark.parametrize("n", [7, 1000, 20_000])
def test_an_epidemic_by_its_formula(n):
    """P^i moves 1 - theta_i of the ill and alpha_i sigma(I, U) of the healthy: twice the difference from the mean.

    Rules are affine in the population, so that the four corners are enough.
    """
    game = make("Epidemic-v0", n_agents=n, alpha_width=0.07)
    found = approximate_symmetry(game, n_points=4)
    rates = np.stack([game.agents[name].astype(float) for name in ("susceptibility", "recovery", "aversion")])
    apart = np.abs(rates - rates.mean(axis=1, keepdims=True))
    assert_allclose(found.alpha_of_agent, 2 * apart[:2].max(axis=0), atol=1e-9)
    assert_allclose(found.beta_of_agent, apart[2], atol=1e-9)
    assert found.kind == "exact"
    assert found.n_points == 4
    assert found.alpha == found.alpha_of_agent.max()
    assert found.beta_at.agent == apart[2].argmax()
    # From the ill, whatever the others do, or from the healthy who go out where all others are ill and do so.
    worst = int(apart[:2].max(axis=1).argmax())
    assert (found.alpha_at.state, found.alpha_at.agent) == ((1, 0)[worst], apart[worst].argmax())
    assert worst == 1 or (found.alpha_at.action == 1 and found.alpha_at.others[0, 1] == n - 1)
    assert not found.treated_apart.any()


def peak_bytes(call) -> int:
    """The most memory that numpy and Python take for a call, beyond what they held before."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_with_the_number_of_agents_once_and_not_with_steps():
    """At N = 10^5 agents of 12 bytes each: some copies in double precision, and nothing more for a flow."""
    peaks = []
    for n in (50_000, 100_000):
        game = make("Epidemic-v0", n_agents=n, horizon=50)
        approximate_symmetry(game, n_points=1)  # Draw the agents, compile.
        peaks.append(peak_bytes(lambda game=game: (approximate_symmetry(game), InducedGame(game))))
    assert peaks[1] < 2.2 * peaks[0]
    assert peaks[1] < 400 * 100_000
    induced = InducedGame(game)
    policy = induced.uniform_policy()
    assert peak_bytes(lambda: induced.flow(policy)) < 50_000


def test_a_planted_agent_is_named_in_a_large_population():
    game = make("Epidemic-v0", n_agents=5000, heterogeneity=0.1)
    game.agents.flags.writeable = True
    game.agents["recovery"][1234] = 0.6
    game.agents.flags.writeable = False
    found = approximate_symmetry(game, n_points=12)
    assert found.most_asymmetric()[0] == found.alpha_at.agent == 1234
    assert found.alpha == pytest.approx(2 * (0.6 - game.agents["recovery"].astype(float).mean()), abs=1e-6)


def test_agents_who_are_all_alike_are_symmetric_without_a_search():
    for name in ("Epidemic-v0", "Auction-v0"):
        found = approximate_symmetry(make(name, n_agents=10_000, heterogeneity=0.0))
        assert (found.alpha, found.beta, found.kind, found.n_points) == (0.0, 0.0, "exact", 0)


def test_agents_who_are_alike_count_as_many_as_they_are():
    """One of 10 has a recovery of .6 instead of .3: 9/10 of that from the mean, the others 1/10."""
    game = make("Epidemic-v0", n_agents=10, heterogeneity=0.0)
    game.agents.flags.writeable = True
    game.agents["recovery"][4] = 0.6
    found = approximate_symmetry(game)
    assert_allclose(found.alpha_of_agent, 2 * np.where(np.arange(10) == 4, 0.27, 0.03), atol=1e-7)


def test_rounding_is_not_taken_for_asymmetry():
    """Transitions that are equal but for rounding do not tell who is odd; agent 1's rewards do."""
    game = BlackBoxGame(
        lambda i, s, a, o: [0.5 + 1e-15 * (i == 3), 0.5 - 1e-15 * (i == 3)],
        lambda i, s, a, o: 1e-3 * (i == 1) + 1e-5 * i,
        n_agents=4,
        n_states=2,
        n_actions=1,
        horizon=1,
    )
    assert approximate_symmetry(game).most_asymmetric()[0] == 1


@dataclasses.dataclass(kw_only=True)
class Spike(FiniteGame):
    """Agent i with a taste earns it where half of the others play 1, at the last of three steps."""

    n_agents: int = 41
    horizon: int = 3
    agent_dtype = np.dtype([("taste", np.float32)])
    n_states = 1
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        return 1.0

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        near = max(1.0 - 10.0 * abs(share(world, 1) - 0.5), 0.0)
        return agent.taste * near * (1.0 if world.time == 2 else 0.0)

    def draw_agents(self, rng):
        agents = np.zeros(self.n_agents, self.agent_dtype)
        agents["taste"][11] = 1.0
        return agents


def test_a_maximum_inside_the_lattice_and_late_is_found():
    """beta = 40/41 at 20 of 40 who play 1, at time 2 only: no corner tells."""
    exact = approximate_symmetry(Spike(), n_points=3 * 41)
    assert exact.kind == "exact"
    assert exact.beta == pytest.approx(40 / 41, abs=1e-6)
    assert exact.beta_at.others.tolist() == [[20, 20]]
    assert (exact.beta_at.time, exact.beta_at.agent) == (2, 11)
    searched = approximate_symmetry(Spike(), n_points=3 * 41 - 1, seed=3)
    assert searched.kind == "lower estimate"
    assert 0.5 < searched.beta <= exact.beta
    assert searched.most_asymmetric()[0] == 11


class Late(Spike):
    """Agent 11 earns the share of the others who play 1 times the step."""

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return agent.taste * share(world, 1) * world.time


def test_corners_are_enough_at_every_time_that_rules_read():
    """beta = 2 * 40/41 at time 2, where all others play 1: two corners at three steps, or not all of them."""
    found = approximate_symmetry(Late(), n_points=6)
    assert (found.kind, found.n_points) == ("exact", 6)
    assert found.beta == pytest.approx(80 / 41, abs=1e-6)
    assert (found.beta_at.time, found.beta_at.others.tolist()) == (2, [[0, 40]])
    some = approximate_symmetry(Late(), n_points=5)
    assert (some.alpha_kind, some.beta_kind) == ("exact", "lower estimate")


def test_the_search_stays_within_its_points_and_climbs():
    """A peak at (7, 2, 1, 0) that only single steps reach, and a second function with its peak elsewhere."""
    peaks, seen = np.array([[7, 2, 1, 0], [0, 0, 5, 5]]), []

    def evaluate(counts, time):
        assert counts.sum() == 10
        assert counts.min() >= 0
        seen.append(tuple(counts))
        return tuple(100.0 - np.abs(counts - peaks).sum(axis=1))

    search_lattice(evaluate, 4, 10, range(1), 150, np.random.default_rng(0))
    assert len(seen) <= 150
    assert tuple(peaks[0]) in seen
    assert tuple(peaks[1]) in seen
    seen.clear()
    search_lattice(evaluate, 4, 10, range(1), 3, np.random.default_rng(0))
    assert len(seen) == 3


def heavy(n: int, weight: float) -> BlackBoxGame:
    """The chance of state 1 is .2 + .6 times the weight of the others who play 1; agent 7 weighs more than others.

    Agent 4 earns 1 with action 1.
    """
    weights = np.ones(n)
    weights[7 % n] = weight

    def transition(i, s, a, others):
        one = 0.2 + 0.6 * (np.delete(weights, i) * others[:, 1]).sum() / weights.sum()
        return [1 - one, one]

    return BlackBoxGame(
        transition, lambda i, s, a, o: float(a * (i == 4 % n)), n_agents=n, n_states=1 + 1, n_actions=2, horizon=2
    )


def test_a_large_black_box_is_estimated_from_below_with_its_error():
    """Exactly: alpha = 1.2 (3/22 - 1/20), where agent 7 alone plays 1, or all do; beta = 19/20.

    The estimate exceeds the truth by 6.5 standard errors with a chance below 1e-10.
    """
    found = approximate_symmetry(heavy(20, 3.0), n_points=20, n_permutations=64)
    exact = 1.2 * (3 / 22 - 1 / 20)
    assert found.kind == "lower estimate"
    assert found.n_permutations == 64
    assert 0.7 * exact < found.alpha < exact + 6.5 * found.alpha_standard_error + 1e-12
    assert found.beta == pytest.approx(19 / 20)
    assert found.beta_standard_error < 1e-15
    assert set(found.most_asymmetric(2).tolist()) == {4, 7}
    assert found.treated_apart is None
    again = approximate_symmetry(heavy(20, 3.0), n_points=20, n_permutations=64)
    assert (again.alpha, again.alpha_standard_error) == (found.alpha, found.alpha_standard_error)


def test_sampled_estimates_are_unbiased_where_the_truth_can_be_enumerated():
    """A game of 4: estimates with 15 seeds, against the exact distance at the points that were found.

    6.5 standard errors, of each or of their sum, are exceeded with a chance below 1e-8 in all.
    """
    game = heavy(4, 3.0)
    exact, errors, variance = approximate_symmetry(game), [], 0.0
    for seed in range(15):
        found = sample_symmetry(game, 9, 60, np.random.default_rng(seed)).transitions
        playing = found.others.sum(axis=0)[1]
        # The others weigh 1 each, or 3 for agent 3, who may be one of them; on average over agents 4.5 / 3 each.
        mean = 0.6 * playing * 1.5 / 6
        own = [0.6 * playing / 6] if found.agent == 3 else [0.6 * (playing + 2 * b) / 6 for b in (0, 1)]
        errors.append(min((found.value - 2 * abs(x - mean) for x in own), key=abs))
        variance += found.standard_error**2
        assert found.value <= exact.alpha + 6.5 * found.standard_error + 1e-12
    assert variance > 0
    assert abs(sum(errors)) <= 6.5 * np.sqrt(variance)


def test_in_a_large_black_box_random_agents_stand_for_the_mean():
    """60 agents, of whom 32 are drawn for each sample; agent 7 weighs 30 times what the others do."""
    weights = np.ones(60)
    weights[7] = 30.0
    others = weights.sum() - weights
    game = heavy(60, 30.0)
    found = approximate_symmetry(game, n_points=6, n_permutations=64)
    # Where all play 1: what the others of agent i weigh, against the mean over agents.
    exact = 1.2 * (others.mean() - others[7]) / weights.sum()
    assert found.alpha_at.others[:, 1].sum() == 59
    assert abs(found.alpha - exact) <= 6.5 * found.alpha_standard_error
    assert 0.0 < found.alpha_standard_error < 0.1 * exact
    assert found.most_asymmetric(by="alpha")[0] == 7


def test_a_black_box_that_reads_counts_is_searched_without_permutations():
    """Agent 5 earns three times the share of the others who play 1: at most 2 more, less that of the mean."""
    game = alone(lambda i, s, a, o: (3.0 if i == 5 else 1.0) * o[:, 1].mean(), 1001, sees_counts=True)
    found = approximate_symmetry(game, n_points=20)
    assert found.kind == "lower estimate"
    assert found.beta == pytest.approx(2 * 1000 / 1001)
    assert found.beta_at.others.tolist() == [[0, 1000]]
    assert found.most_asymmetric()[0] == 5
    assert found.n_permutations == 0


def test_a_large_black_box_that_does_not_read_counts_as_it_says_is_refused():
    game = alone(lambda i, s, a, o: float(o[0, 1]), 1001, sees_counts=True)
    with pytest.raises(ValueError, match="sees_counts must be False: agent"):
        approximate_symmetry(game, n_points=2)


def test_a_game_that_weighs_its_agents_is_a_black_box():
    """The ferry reads the time: each time is a game of its own."""
    with pytest.raises(
        ValueError, match=r"Ferry counts agents by who they are and reads the time: .*as_black_box"
    ):
        approximate_symmetry(Ferry(n_agents=3))
    found = approximate_symmetry(as_black_box(Ferry(n_agents=3), 1))
    assert found.kind == "exact"
    assert found.alpha > 0.0
    assert found.treated_apart.max() > 0.0


def test_results_are_reported():
    found = approximate_symmetry(make("Epidemic-v0", n_agents=50), n_points=3)
    report = found.summary()
    assert report["alpha"] == found.alpha
    assert (report["alpha_kind"], report["beta_kind"]) == ("lower estimate", "exact")
    assert report["beta_agent"] == found.beta_at.agent
    assert "alpha >= " in str(found)
    assert f"beta = {found.beta:.6g} (exact, agent {found.beta_at.agent}), 3 points" in str(found)
    assert "alpha = " in str(approximate_symmetry(make("Epidemic-v0", n_agents=50, heterogeneity=0.0)))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda g: approximate_symmetry(3), TypeError, "game must be a FiniteGame or a BlackBoxGame, got 3"),
        (
            lambda g: approximate_symmetry(g, n_points=0),
            ValueError,
            r"n_points must be an integer in \[1, 1000000\]",
        ),
        (
            lambda g: approximate_symmetry(g, n_permutations=1),
            ValueError,
            r"n_permutations must be an integer in \[2, 1000000\]",
        ),
        (lambda g: approximate_symmetry(g, seed=-1), ValueError, "seed must be"),
        (lambda g: approximate_symmetry(g).most_asymmetric(0), ValueError, "n must be an integer in"),
        (lambda g: approximate_symmetry(g).most_asymmetric(by="gamma"), ValueError, "by must be one of"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    game = alone(lambda *_: 0.0, 2)
    with pytest.raises(error, match=words):
        call(game)
