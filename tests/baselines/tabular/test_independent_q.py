"""Independent Q-learners and MF-Q against a replay in plain Python on the engine, and by hand."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from tabulated import RING, Tabulated, optimal_q, softmax, tabulated_arrays

from baselines.solvers.population_iteration import GMFV
from baselines.tabular.gmf_q import GMFQ, NaiveQ
from baselines.tabular.independent_q import MFQ, IndependentQ
from mfenvs import Engine, make, rule
from mfenvs.engine.random import ACT, ADVANCE, agent_key, step_key, uniform
from mfenvs.rules import World


def auction(**constants):
    small = {"n_agents": 6, "n_budgets": 3, "n_bids": 3, "n_bidders": 3, "horizon": 4, "penalty": 0.25}
    return make("Auction-v0", **(small | constants))


GAMES = {
    "auction": auction(heterogeneity=0.25),
    "auction-ends": auction(discount=1.0),
    "epidemic": make("Epidemic-v0", n_agents=6, horizon=4, discount=0.8),
    "epidemic-ends": make("Epidemic-v0", n_agents=6, horizon=4),
    "rps": make("RockPaperScissors-v0", n_agents=6, horizon=4),
    "tabulated": Tabulated(crowding=1.0, pull=0.5, tastes=(0.0, 1.0), discount=0.5),
}


def agents_key(seed, episode, h, purpose, i):
    return agent_key(np.uint64(step_key(seed, 0, episode, h, purpose)), i)


def mean_met(game, engine, i, states, actions, key, of_all):
    """The mean action of those whom agent i met: by the game's rule, in its world, or of all others."""
    n = game.n_agents
    if game.met is None or of_all:
        return (actions.sum() - actions[i]) / (n - 1)
    world = World(
        engine.counts[0],
        engine._signal[0],
        game.constants,
        0,
        int(actions[i]),
        np.float32(1.0),
        np.float32(1 / (n - 1)),
        np.float32(1 / n),
    )
    return game.met(states[i], int(actions[i]), game.agents.view(np.ndarray)[i], world, key)


def epsilon_greedy(values, epsilon):
    best = values == values.max()
    return epsilon / len(values) + (1 - epsilon) * best / best.sum()


def replay(game, n_episodes, *, c, seed, exponent, n_bins=None, epsilon=None, constant=None, of_all=False):
    """Q-learners in plain Python; ``n_bins``: MF-Q. Q (N, T, S, B, A), and the mean return of an agent."""

    def play(values):
        return softmax(c * values) if epsilon is None else epsilon_greedy(values, epsilon)

    n, n_actions = game.n_agents, game.n_actions
    n_times, n_states, _ = game.policy_shape
    b = n_bins or 1
    q = np.zeros((n, n_times, n_states, b, n_actions))
    visits, seen = np.zeros(q.shape, int), np.zeros(q.shape[:-1], int)
    bins = [(b - 1) // 2] * n
    engine, total = Engine(game), 0.0
    for episode in range(n_episodes):
        now = engine.reset(seed if episode == 0 else None)[0].astype(int)
        for h in range(game.horizon):
            t, after = (0, 0) if game.discount < 1 else (h, h + 1)
            actions = np.zeros(n, np.int32)
            for i in range(n):
                draw = uniform(agents_key(seed, episode, h, ACT, i), 0)
                law = play(q[i, t, now[i], bins[i]])
                actions[i] = min(np.searchsorted(np.cumsum(law), draw, side="right"), n_actions - 1)
                seen[i, t, now[i], bins[i]] += 1
            rewards = engine.step(actions[None])[0].astype(float)
            following = engine.states[0].astype(int)
            for i in range(n):
                a, s, to = actions[i], now[i], following[i]
                if n_bins:
                    key = agents_key(seed, episode, h, ADVANCE, i)
                    mean = mean_met(game, engine, i, now, actions, key, of_all)
                    assert 0 <= mean <= n_actions - 1
                    bins[i] = int(np.floor(mean / max(1, n_actions - 1) * (b - 1) + 0.5))
                target = rewards[i]
                if after < n_times:
                    row = q[i, after, to, bins[i]]
                    target += game.discount * (play(row) @ row if n_bins else row.max())
                entry = i, t, s, bins[i], a
                visits[entry] += 1
                step = constant or visits[entry] ** -exponent
                q[entry] += step * (target - q[entry])
            total += game.discount**h * rewards.sum()
            now = following
    return q, visits, seen, total / n


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("n_bins", [None, 1, 2, 3, 5])
def test_learners_in_plain_python_learn_the_same(name, n_bins) -> None:
    game, seed, c, exponent = GAMES[name], 5, 1.5, 0.7
    options = {"inverse_temperature": c, "step_exponent": exponent, "seed": seed, "episodes": 6}
    trainer = MFQ(game, n_bins=n_bins, **options) if n_bins else IndependentQ(game, **options)
    step = trainer.timesteps_per_iteration
    q, visits, seen, total = replay(game, 12, c=c, seed=seed, exponent=exponent, n_bins=n_bins)
    trainer.learn(step)
    first = trainer.measured["train/return"]
    trainer.learn(step)
    assert_array_equal(trainer._tables.visits, visits)
    assert_array_equal(trainer._tables.seen, seen)
    assert_allclose(trainer.q if n_bins else trainer.q[:, :, :, None], q, rtol=1e-6, atol=1e-6)
    assert first + trainer.measured["train/return"] == pytest.approx(total / 6, rel=1e-6)
    assert trainer.measured["train/unvisited"] == (visits == 0).mean()
    # The policy: softmax_c, averaged over the mean actions that were had in mind (over all where none was).
    laws = np.where(seen > 0, seen, (seen.sum(axis=-1, keepdims=True) == 0).astype(int))[..., None] * softmax(
        c * q
    )
    laws = laws.sum(axis=-2)
    assert_allclose(trainer.policy.probabilities, laws / laws.sum(axis=-1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    ("trainer_class", "options"),
    [
        (MFQ, {"mean_action": "others", "exploration": "epsilon-greedy", "constant_step": 0.25, "n_bins": 3}),
        pytest.param(MFQ, {"mean_action": "others", "n_bins": 4}, marks=pytest.mark.slow),
        pytest.param(MFQ, {"exploration": "epsilon-greedy", "n_bins": 2}, marks=pytest.mark.slow),
        pytest.param(IndependentQ, {"exploration": "epsilon-greedy"}, marks=pytest.mark.slow),
        (IndependentQ, {"constant_step": 0.5}),
    ],
)
def test_other_information_exploration_and_steps_in_plain_python(trainer_class, options) -> None:
    game, seed, c, exponent, epsilon = GAMES["auction"], 3, 1.5, 0.7, 0.375
    given = {"inverse_temperature": c, "step_exponent": exponent, "epsilon": epsilon, "seed": seed, **options}
    trainer = trainer_class(game, episodes=8, **given).learn(1)
    is_greedy = "exploration" in options
    q, visits, seen, total = replay(
        game,
        8,
        c=c,
        seed=seed,
        exponent=exponent,
        n_bins=options.get("n_bins"),
        epsilon=epsilon if is_greedy else None,
        constant=options.get("constant_step"),
        of_all="mean_action" in options,
    )
    assert_array_equal(trainer._tables.visits, visits)
    assert_allclose(trainer._tables.q, q, rtol=1e-6, atol=1e-6)
    assert trainer.measured["train/return"] == pytest.approx(total / 8, rel=1e-6)
    laws = np.apply_along_axis(epsilon_greedy, -1, q, epsilon) if is_greedy else softmax(c * q)
    met = np.where(seen.sum(axis=-1, keepdims=True) > 0, seen, 1)[..., None]
    assert_allclose(trainer.policy.probabilities, (met * laws).sum(-2) / met.sum(-2), atol=1e-6)


def test_policies_at_another_temperature() -> None:
    """Of two mean actions, one was looked at three times as often as the other."""
    trainer = MFQ(auction(), n_bins=3, episodes=1).learn(1)
    trainer._tables.q[0, 0, 0] = [[0.0, 1.0, 1.0], [2.0, 0.0, 0.0], [0.0, 0.0, 5.0]]
    trainer._tables.seen[0, 0, 0] = [1, 3, 0]
    trainer._tables.seen[0, 0, 1] = 0
    trainer._tables.q[0, 0, 1] = [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    greedy = trainer.policy_at(np.inf).probabilities[0, 0]
    assert_allclose(greedy[0], [0.75, 0.125, 0.125])
    assert_allclose(greedy[1], [1 / 3, 0, 2 / 3])
    usual = trainer.policy_at(np.inf, usual_only=True).probabilities[0, 0]
    assert_array_equal(usual[0], [1.0, 0.0, 0.0])
    warm = trainer.policy_at(0.5).probabilities[0, 0, 0]
    assert_allclose(warm, 0.25 * softmax(np.array([0, 0.5, 0.5])) + 0.75 * softmax(np.array([1.0, 0, 0])))
    assert_array_equal(trainer.policy_at(4.0).probabilities, trainer.policy.probabilities)
    with pytest.raises(ValueError, match="inverse_temperature must be"):
        trainer.policy_at(0.0)


def test_epsilon_greedy_learners_go_on_from_a_file(tmp_path) -> None:
    options = {"exploration": "epsilon-greedy", "mean_action": "others", "n_bins": 3, "episodes": 2, "seed": 4}
    trainer = MFQ(auction(), **options).learn(1)
    trainer.save(tmp_path / "half")
    loaded = MFQ.load(tmp_path / "half")
    step = trainer.timesteps_per_iteration
    assert_array_equal(trainer.learn(step).q, loaded.learn(step).q)
    trainer._tables.weights[0, 0, 0, 0] = [1.0, 0.0, 0.0]
    trainer._tables.q[0, 0, 0, 0] = [0.0, 1.0, 0.0]
    trainer.save(tmp_path / "wrong")
    with pytest.raises(ValueError, match="weights must be those of the epsilon-greedy policy"):
        MFQ.load(tmp_path / "wrong")


def test_there_are_as_many_bins_as_actions() -> None:
    for name in ("auction", "epidemic", "rps"):
        game, options = GAMES[name], {"seed": 2, "episodes": 5}
        by_default = MFQ(game, **options).learn(1)
        assert by_default.q.shape == (6, *game.policy_shape[:2], game.n_actions, game.n_actions)
        assert_array_equal(by_default.q, MFQ(game, n_bins=game.n_actions, **options).learn(1).q)


def test_the_first_updates_by_hand() -> None:
    """One round, everybody somewhere: Q is the reward of the one action taken, and zero elsewhere."""
    game = Tabulated(moves=RING, horizon=1, crowding=0.5, discount=0.5)
    engine = Engine(game)
    states = engine.reset(9)[0].copy()
    trainer = IndependentQ(game, episodes=1, seed=9).learn(1)
    others = MFQ(game, episodes=1, seed=9, n_bins=4).learn(1)
    # All begin with even odds, so that both take the same actions.
    actions = [int(trainer._tables.visits[i, 0, states[i], 0].argmax()) for i in range(4)]
    for i in range(4):
        same = sum(actions[j] == actions[i] for j in range(4) if j != i) / 3
        expected = np.zeros((3, 2))
        expected[states[i], actions[i]] = game.pay[states[i]][actions[i]] - 0.5 * same
        assert_allclose(trainer.q[i, 0], expected, atol=1e-6)
        # The mean action of the three others is k / 3: bin k of 4.
        k = sum(actions) - actions[i]
        assert_allclose(others.q[i, 0, :, k], expected, atol=1e-6)
        assert_array_equal(np.delete(others._tables.visits[i, 0], k, axis=1), 0)
        assert others._tables.bins[i] == k


@pytest.mark.parametrize("discount", [0.5, 1.0])
@pytest.mark.parametrize("trainer_class", [IndependentQ, MFQ])
def test_without_coupling_everybody_learns_the_optimum(trainer_class, discount) -> None:
    """c small enough that all is explored; IL learns Q* whatever it plays."""
    game = Tabulated(discount=discount, tastes=(0.0, 1.0))
    trainer = trainer_class(game, inverse_temperature=1.0, episodes=40_000, seed=1)
    trainer.learn(1)
    p, r = (np.array([table] * game.policy_shape[0]) for table in tabulated_arrays(game, np.full((3, 2), 1 / 6)))
    for i, taste in enumerate((0.0, 1.0) * 2):
        r[..., 1] = np.array(game.pay)[:, 1] + taste
        if trainer_class is IndependentQ:
            assert_allclose(trainer.q[i], optimal_q(p, r, discount), atol=0.1)
        else:
            # MF-Q learns the value of its own soft policy: what softmax_c(Q) earns, a fixed point.
            q = np.zeros(r.shape)
            for _ in range(100):
                ahead = (softmax(q) * q).sum(axis=-1)
                then = ahead if discount < 1 else np.vstack([ahead[1:], np.zeros((1, 3))])
                q = r + discount * np.einsum("tsau,tu->tsa", p, then)
            for k in range(2):
                assert_allclose(trainer.q[i, :, :, k], q, atol=0.1)
    assert trainer.measured["train/unvisited"] == 0.0


def test_mf_q_with_one_bin_is_il_but_for_what_it_looks_ahead_to() -> None:
    """In a game of one round there is nothing ahead; else the maximum is more than a mean."""
    options = {"seed": 5, "episodes": 3, "inverse_temperature": 1.0}
    once = Tabulated(crowding=1.0, discount=1.0, horizon=1)
    one, other = MFQ(once, n_bins=1, **options).learn(1), IndependentQ(once, **options).learn(1)
    assert_array_equal(one.q[:, :, :, 0], other.q)
    game = GAMES["tabulated"]
    one, other = MFQ(game, n_bins=1, **options).learn(1), IndependentQ(game, **options).learn(1)
    assert not np.array_equal(one.q[:, :, :, 0], other.q)


def test_mf_q_with_one_bin_has_tables_of_il() -> None:
    options = {"seed": 5, "episodes": 3}
    one, other = (
        made.learn(1) for made in (MFQ(auction(), n_bins=1, **options), IndependentQ(auction(), **options))
    )
    assert one.q.shape == (6, 1, 3, 1, 3)
    assert one.policy.probabilities.shape == other.policy.probabilities.shape


@pytest.mark.parametrize("trainer_class", [IndependentQ, MFQ])
@pytest.mark.parametrize(("scale", "c"), [(1.0, 4.0), (1e3, 1.0), (1e3, 100.0), (-1e3, 100.0), (1e6, 1e3)])
def test_weights_are_those_of_the_policy(trainer_class, scale, c) -> None:
    """However large rewards are: exp(c (q - level)) is kept within range and means softmax_c(q)."""
    pay = tuple(tuple(scale * x for x in row) for row in ((0.0, -0.25), (0.5, 0.0), (1.0, 1.5)))
    trainer = trainer_class(Tabulated(pay=pay, crowding=1.0, discount=0.9), inverse_temperature=c, episodes=200)
    trainer.learn(3 * trainer.timesteps_per_iteration)
    tables = trainer._tables
    assert np.isfinite(tables.weights).all()
    assert (tables.weights.max(axis=-1) >= 1e-30).all()
    assert (tables.weights.max(axis=-1) <= 1e30).all()
    mine = tables.weights / tables.weights.sum(axis=-1, keepdims=True)
    assert_allclose(mine, softmax(c * tables.q), atol=1e-7)
    # What is kept follows from the values alone.
    with np.errstate(under="ignore"):
        exponents = c * (tables.q - tables.levels[..., None])
        assert_allclose(tables.weights, np.exp(exponents), rtol=1e-6, atol=1e-300)


def test_many_visits_go_on_as_few_do() -> None:
    """Steps beyond those that are looked up: Q of one noiseless round is its reward, and of a mean its mean."""
    game = Tabulated(moves=RING, horizon=1, discount=1.0, crowding=1.0, n_agents=2, first=(1, 0, 0))
    trainer = IndependentQ(game, episodes=12_000, step_exponent=1.0, inverse_temperature=1e-6, seed=3).learn(1)
    visits = trainer._tables.visits[:, 0, 0, 0]
    assert visits.min() > 5000
    # With step 1/n, Q is the plain mean: pay - 1{the other does the same}, of which half of the rounds are.
    together = np.array(game.pay)[0] - trainer.q[:, 0, 0]
    counts = together * visits
    assert_allclose(counts, np.rint(counts), atol=1e-3)
    assert_allclose(counts[0], counts[1], atol=1e-3)  # both were there


@pytest.mark.slow
def test_forty_agents_at_once() -> None:
    game = make("Auction-v0", n_agents=40, horizon=5)
    for trainer_class in (IndependentQ, MFQ):
        trainer = trainer_class(game, episodes=4)
        trainer.learn(2 * trainer.timesteps_per_iteration)
        assert trainer.timesteps_per_iteration == 4 * 40 * 5
        assert trainer._tables.visits.sum() == 2 * 4 * 40 * 5
        assert_array_equal(trainer._tables.visits.sum(axis=(1, 2, 3, 4)), 40)
        assert trainer.policy.probabilities.shape == (40, 1, 10, 10)
        assert len(np.unique(trainer.q.reshape(40, -1), axis=0)) == 40


# Rules that return what they must not.


@rule
def far_off(state, action, agent, world, key):
    return np.float32(7.0)


@rule
def nowhere(state, action, agent, world, key):
    return 200, np.float32(0.0)


@dataclasses.dataclass(kw_only=True)
class Strays(Tabulated):
    """Steps to a state that there is not."""

    step = staticmethod(nowhere)


@rule
def below(state, action, agent, world, key):
    return -1, np.float32(0.0)


@dataclasses.dataclass(kw_only=True)
class Falls(Tabulated):
    """Steps to a state below all states."""

    step = staticmethod(below)


@dataclasses.dataclass(kw_only=True)
class MeetsNobody(Tabulated):
    """Says that it met a mean action that there is not."""

    met = staticmethod(far_off)


@pytest.mark.parametrize("trainer", [IndependentQ, MFQ])
def test_a_step_to_no_state_is_refused(trainer):
    with pytest.raises(ValueError, match=r"Strays.step must return a state in \[0, 2\], got 200"):
        trainer(Strays(), episodes=1).learn(1)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("trainer", [GMFQ, NaiveQ])
def test_a_step_to_no_state_is_refused_in_a_frozen_population(trainer, asynchronous):
    with pytest.raises(ValueError, match=r"Strays.step must return a state in \[0, 2\], got 200"):
        trainer(Strays(), asynchronous=asynchronous).learn(1)


def test_a_step_to_a_state_below_zero_is_refused_in_a_frozen_population():
    with pytest.raises(ValueError, match=r"Falls.step must return a state in \[0, 2\], got -1 at time 0"):
        GMFQ(Falls()).learn(1)


@pytest.mark.slow
def test_a_step_to_no_state_is_refused_by_the_engine():
    game = Strays()
    engine, actions = Engine(game, debug=True), np.zeros((1, game.n_agents), np.int32)
    engine.reset(0)
    with pytest.raises(ValueError, match=r"start and step of Strays must return states in \[0, 2\], got 200"):
        engine.step(actions)
    with pytest.raises(ValueError, match="got 200"):
        engine.rollout(np.full(game.policy_shape, 0.5), seed=0)
    engine = Engine(game)
    engine.reset(0)
    engine.step(actions)
    with pytest.raises(ValueError, match="got 200"):
        engine.sample_actions(np.full((1, *game.policy_shape), 2.0, np.float32))


@pytest.mark.slow
def test_a_mean_action_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"MeetsNobody.met must return a mean action in \[0, 1\], got 7"):
        MFQ(MeetsNobody(), episodes=1).learn(1)
    IndependentQ(MeetsNobody(), episodes=1).learn(1)  # does not ask


@pytest.mark.parametrize("trainer", [IndependentQ, MFQ, GMFQ, GMFV])
def test_seeds_have_one_limit_everywhere(trainer):
    with pytest.raises(ValueError, match=r"seed must be an integer in \[0, 9223372036854775807\]"):
        trainer(Tabulated(), seed=2**63)
    trainer(Tabulated(), seed=2**63 - 1).learn(1)


@pytest.mark.parametrize(("trainer", "name"), [(GMFQ, "asynchronous"), (NaiveQ, "exact")])
def test_switches_are_true_or_false(trainer, name):
    with pytest.raises(TypeError, match=f"{name} must be True or False, got 'no'"):
        trainer(Tabulated(), **{name: "no"})
