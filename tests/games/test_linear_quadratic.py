"""The linear-quadratic game against hand-worked steps, moments of Gaussian chains, and simulated frequencies."""

import dataclasses
import math

import gymnasium
import numpy as np
import pytest
from gaussian_chain import chain_costs
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.integrate import quad, solve_ivp

import mfenvs
from mfenvs import Engine, make
from mfenvs.engine.snapshot import Snapshot
from mfenvs.games.linear_quadratic.discretisation import step_of
from mfenvs.games.linear_quadratic.game import LinearQuadratic
from mfenvs.rendering import make_recorder

NAME = "LinearQuadratic-v0"
STILL = {"volatility": (0.0, 0.0), "initial_variance": (0.0, 0.0)}


def at(game, states, time=0, n_worlds=1, seed=0):
    """An engine in which agents are in these states."""
    engine = Engine(game, n_worlds)
    placed = np.tile(np.asarray(states, np.float32), (n_worlds, 1))
    engine.restore(Snapshot(seed=seed, episode=0, time=time, states=placed))
    return engine


def acted(engine, controls):
    """Take a step with these controls, and return rewards and next states of world 0."""
    shape = (engine.n_worlds, engine.game.n_agents, 1)
    rewards = engine.step(np.broadcast_to(np.asarray(controls, np.float32)[:, None], shape).copy())
    return rewards[0].astype(float), engine.states[0].astype(float)


def test_the_default_is_that_of_the_source_and_the_specification():
    game = make(NAME)
    assert (game.n_agents, game.horizon, game.duration, game.dt) == (1000, 100, 2.0, 0.02)
    assert game.numbers.tolist() == [700, 300]
    assert game.agent_names[698:702] == ["consumer_698", "consumer_699", "pv_0", "pv_1"]
    assert game.action_space == gymnasium.spaces.Box(-10.0, 10.0, (1,), np.float32)
    assert game.n_features == 4


def test_a_step_worked_by_hand():
    """Three agents, two consumers: dt = 1/2, xbar = (2 - 1 + 5) / 3 = 2."""
    game = make(NAME, n_agents=3, horizon=4, **STILL)
    assert game.numbers.tolist() == [2, 1]
    rewards, states = acted(at(game, [2.0, -1.0, 5.0]), [1.0, 0.0, -2.0])
    # x + (-.2 x + u + .15 * 2) / 2 for consumers, x + (-.1 x + 1.2 u + .25 * 2) / 2 for the PV owner.
    assert_allclose(states, [2 - 0.2 + 0.5 + 0.15, -1 + 0.1 + 0.15, 5 - 0.25 - 1.2 + 0.25], rtol=1e-6)
    # (x^2 / 2 + u^2 / 2 + .3 x * 2) / 2 for consumers, (.4 x^2 + u^2 / 4 + .2 x * 2) / 2 for the PV owner.
    assert_allclose(rewards, [-(2 + 0.5 + 1.2) / 2, -(0.5 - 0.6) / 2, -(10 + 1 + 2) / 2], rtol=1e-6)


def test_the_last_step_pays_for_the_state_after_it():
    game = make(NAME, n_agents=3, horizon=4, terminal_cost=(0.5, 3.0), **STILL)
    before, same = acted(at(game, [2.0, -1.0, 5.0], time=2), [1.0, 0.0, -2.0])
    last, states = acted(at(game, [2.0, -1.0, 5.0], time=3), [1.0, 0.0, -2.0])
    assert_array_equal(states, same)
    assert_allclose(before - last, np.array([0.25, 0.25, 1.5]) * states**2, rtol=1e-5)


@pytest.mark.parametrize("horizon", [1, 4, 100])
def test_an_exact_step_solves_the_differential_equation(horizon):
    game = make(
        NAME, n_agents=3, horizon=horizon, transition="exact", drift=(-1.5, 0.0), coupling=(0.5, -0.4), **STILL
    )
    controls = [1.0, 0.0, -2.0]
    _, states = acted(at(game, [2.0, -1.0, 5.0]), controls)
    for x0, u, x1, (a, b, kappa) in zip(
        (2.0, -1.0, 5.0), controls, states, ((-1.5, 1.0, 0.5), (-1.5, 1.0, 0.5), (0.0, 1.2, -0.4)), strict=True
    ):
        path = solve_ivp(
            lambda t, x, a=a, b=b, u=u, kappa=kappa: a * x + b * u + kappa * 2.0,
            (0.0, 2.0 / horizon),
            [x0],
            rtol=1e-10,
            atol=1e-10,
        )
        assert x1 == pytest.approx(path.y[0, -1], rel=2e-6)


def noise_of(transition, **constants):
    """Noise in one step of 100 000 agents of each type who are at 0: mean-free numbers, (2, 100 000)."""
    game = make(NAME, n_agents=200_000, proportions=(0.5, 0.5), horizon=2, transition=transition, **constants)
    _, states = acted(at(game, np.zeros(game.n_agents), seed=3), np.zeros(game.n_agents))
    return states.reshape(2, -1)


@pytest.mark.parametrize("transition", ["euler", "exact"])
def test_noise_is_gaussian_and_of_the_right_variance(transition):
    """Bounds on means and variances, four of 1e-9 each, and a Kolmogorov-Smirnov test of 1e-8 for each type."""
    drift, volatility = (-1.0, 0.3), (0.4, 0.6)
    for a, sigma, noise in zip(
        drift, volatility, noise_of(transition, drift=drift, volatility=volatility), strict=True
    ):
        variance = sigma**2 * (1.0 if transition == "euler" else quad(lambda s, a=a: math.exp(2 * a * s), 0, 1)[0])
        n = len(noise)
        assert abs(noise.mean()) < stats.norm.isf(5e-10) * math.sqrt(variance / n)
        low, high = stats.chi2.ppf([5e-10, 1 - 5e-10], n)
        assert low < (noise**2).sum() / variance < high
        assert stats.kstest(noise, "norm", (0.0, math.sqrt(variance))).pvalue > 1e-8


def test_types_have_independent_noise():
    """A correlation of 100 000 pairs beyond 6.2 / sqrt(n) has probability 6e-10."""
    noise = noise_of("euler")
    assert abs(np.corrcoef(noise)[0, 1]) < 6.2 / math.sqrt(noise.shape[1])
    assert abs(np.corrcoef(noise[0, ::2], noise[0, 1::2])[0, 1]) < 6.2 / math.sqrt(noise.shape[1] / 2)


def test_first_states_are_gaussian_by_type():
    """Kolmogorov-Smirnov tests of 1e-9."""
    game = make(NAME, n_agents=100_000)
    states = Engine(game).reset(seed=2)[0]
    for kind, (mean, sd) in enumerate(((1.0, 0.3), (-0.5, 0.4))):
        own = states[game.agents["type"] == kind]
        assert stats.kstest(own, "norm", (mean, sd)).pvalue > 1e-9


def shocks(n_worlds, seed=0, n_steps=1, **constants):
    """Common noise in the last of some steps of agents who are at 0 and act not, (n_worlds, n_agents)."""
    game = make(NAME, n_agents=6, horizon=2, common_volatility=0.5, **STILL, **constants)
    engine = at(game, np.zeros(6), n_worlds=n_worlds, seed=seed)
    engine.reset(seed)
    for _ in range(n_steps):
        engine.states[...] = 0.0
        engine.step(np.zeros((n_worlds, 6, 1), np.float32))
    return engine.states.astype(float)


def test_common_noise_is_the_same_for_all_agents_and_follows_the_seed():
    moved = shocks(50)
    assert_array_equal(moved, np.repeat(moved[:, :1], 6, axis=1))
    assert len(np.unique(moved)) == 50
    assert_array_equal(moved[:3], shocks(3))
    assert not np.any(moved == shocks(50, seed=1))
    assert not np.any(moved == shocks(50, n_steps=2))


def test_common_noise_has_the_right_covariance():
    """40 000 worlds: the covariance of types of different drifts, three bounds of 3e-9 on squares and products."""
    drift, n = (-2.0, 0.5), 40_000
    constants = {"transition": "exact", "drift": drift, "coupling": (0.0, 0.0)}
    for n_steps in (1, 2):
        moved = shocks(n, n_steps=n_steps, **constants)[:, [0, 5]]
        for i, j in ((0, 0), (0, 1), (1, 1)):
            products = moved[:, i] * moved[:, j]
            expected = 0.25 * quad(lambda s, i=i, j=j: math.exp((drift[i] + drift[j]) * s), 0.0, 1.0)[0]
            # Means of so many products are normal; 6 standard errors.
            assert abs(products.mean() - expected) < 6.0 * products.std() / math.sqrt(n)
    euler = shocks(n)[:, 0]
    low, high = stats.chi2.ppf([5e-10, 1 - 5e-10], n)
    assert low < (euler**2).sum() / 0.25 < high


def test_noise_of_nearly_equal_drifts_is_nearly_the_same():
    drift = np.array([-2.0, 0.5, 0.49, 0.5])
    zeros = np.zeros(4)
    factor = step_of("exact", 1.5, drift, zeros, zeros, zeros, 0.5).common
    expected = [[quad(lambda s, a=a + b: math.exp(a * s), 0.0, 1.5)[0] / 4.0 for a in drift] for b in drift]
    assert_allclose(factor @ factor.T, expected, rtol=1e-12)
    assert_array_equal(factor, np.tril(factor))


def test_the_mean_is_added_up_in_double_precision():
    """In single precision sums beyond 2^22 are rounded to halves."""
    n = 2**18
    game = make(NAME, n_agents=n, horizon=100)
    assert np.cumsum(np.full(n, 50.2, np.float32))[-1] / n != pytest.approx(50.2, rel=1e-4)
    engine = at(game, np.full(n, 50.2))
    engine.step(np.zeros((1, n, 1), np.float32))
    assert engine.signal[0, 0] == pytest.approx(50.2, rel=1e-6)


def test_observations_hold_state_type_and_time_and_the_present_means():
    vector = mfenvs.vector_env(NAME, n_agents=6, horizon=4, observe="type-means")
    game = vector.game
    observed, _ = vector.reset(seed=1)
    for time in range(3):
        states = vector.engine.states[0]
        assert_array_equal(observed[:, 0], states)
        assert_array_equal(observed[:, 1:3], [[1, 0]] * 4 + [[0, 1]] * 2)
        assert_array_equal(observed[:, 3], np.float32(time / 4))
        means = states[:4].mean(), states[4:].mean()
        assert_allclose(game.means_of(observed[:, 4:]), np.tile(means, (6, 1)), atol=1e-6)
        observed, *_ = vector.step(np.full((6, 1), 0.5, np.float32))


def test_means_of_a_type_without_agents_are_zero():
    for proportions in ((1.0, 0.0), (0.0, 1.0)):
        game = make(NAME, n_agents=3, proportions=proportions)
        found = game.means_of(game.type_means(np.array([[1.0, 2.0, 3.0]], np.float32)))
        assert_allclose(found, [2.0 * np.array(proportions)], atol=1e-6)


@pytest.mark.parametrize("common_volatility", [0.0, 0.4])
def test_returns_are_those_of_the_gaussian_chain(common_volatility):
    """5 agents in 20 000 worlds, 10 means of returns, each beyond 6.5 standard errors with probability 1e-10."""
    game = make(NAME, n_agents=5, horizon=8, common_volatility=common_volatility)
    rng, n = np.random.default_rng(0), 20_000
    gains, constants = rng.uniform(-0.2, 1.5, (8, 2)), rng.uniform(-0.5, 0.5, (8, 2))
    engine, kinds = Engine(game, n), game.agents["type"]
    engine.reset(seed=4)
    earned = np.zeros((n, 5))
    for h in range(8):
        controls = -(gains[h][kinds] * engine.states + constants[h][kinds])
        earned += engine.step(controls[..., None].astype(np.float32))
    errors = earned.std(axis=0, ddof=1) / math.sqrt(n)
    assert np.all(abs(earned.mean(axis=0) + chain_costs(game, gains, constants)) < 6.5 * errors + 1e-5)
    assert errors.max() < 0.03


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("transition", ["euler", "exact"])
def test_states_stay_within_the_observation_space_whatever_is_done(sign, transition):
    game = make(NAME, n_agents=4, horizon=20, transition=transition, common_volatility=1.0)
    engine = Engine(game, 50, debug=True)
    engine.reset(seed=0)
    for _ in range(20):
        engine.step(np.full((50, 4, 1), 10.0 * sign, np.float32))
        engine.observe()
    reached = np.abs(engine.states).max()
    assert reached < game.most_state < 10.0 * reached


def test_the_bound_is_that_of_the_worst_case():
    """Without drift and noise, 1 + 2 * 1.2 * 10 is reached, and growth of 1 + .25 dt compounds."""
    assert make(NAME, drift=(0.0, 0.0), coupling=(0.0, 0.0), **STILL).most_state == pytest.approx(25.0, rel=2e-3)
    grown = make(NAME, horizon=10, drift=(0.5, 0.5), control_gain=(0.0, 0.0), coupling=(0.0, 0.0), **STILL)
    assert grown.most_state == pytest.approx(1.1**10, rel=2e-3)


THREE = {
    "types": ("a", "b", "c"),
    "proportions": (0.5, 0.25, 0.25),
    **dict.fromkeys(("drift", "control_gain", "coupling", "initial_mean"), (-0.5, 0.2, 0.1)),
    **dict.fromkeys(("volatility", "state_cost", "control_cost", "initial_variance"), (0.5, 0.2, 0.1)),
    **dict.fromkeys(("coupling_cost", "terminal_cost"), (0.5, 0.2, 0.1)),
}


def test_any_number_of_types():
    three = make(NAME, n_agents=7, **THREE)
    assert three.numbers.tolist() == [3, 2, 2]
    assert three.agent_names == ["a_0", "a_1", "a_2", "b_0", "b_1", "c_0", "c_1"]
    one = {name: values[:1] for name, values in THREE.items()} | {"proportions": [1]}
    assert make(NAME, n_agents=2, **one).agent_names == ["a_0", "a_1"]
    assert (
        make(NAME, **{name: list(values) for name, values in THREE.items()}).describe()
        == make(NAME, **THREE).describe()
    )


@pytest.mark.parametrize(
    ("constants", "steps", "dt"),
    [({"dt": 0.1}, 20, 0.1), ({"dt": 0.1, "horizon": 20}, 20, 0.1), ({"duration": 3, "horizon": 4}, 4, 0.75)],
)
def test_steps_and_their_length(constants, steps, dt):
    game = make(NAME, **constants)
    assert (game.horizon, game.dt) == (steps, pytest.approx(dt))
    again = dataclasses.replace(game, n_agents=7)
    assert (again.horizon, again.dt, again.describe()) == (
        game.horizon,
        game.dt,
        game.describe() | {"n_agents": 7},
    )


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        (
            {"initial_variance": (0.1, -0.1)},
            r"initial_variance\[1\] must be a finite number in \[0, 1e\+06\], got -0",
        ),
        ({"volatility": (-1.0, 0.1)}, r"volatility\[0\] must be"),
        ({"control_cost": (1.0, 0.0)}, r"control_cost\[1\] must be a finite number in \(0, "),
        ({"proportions": (0.7, 0.2)}, r"proportions must sum to 1, got \(0.7, 0.2\)"),
        ({"proportions": (1.2, -0.2)}, r"proportions\[0\] must be"),
        ({"drift": (0.1,)}, "drift must hold 2 numbers, one for each of the types consumer, pv, got"),
        ({"drift": 0.1}, "drift must hold 2 numbers"),
        ({"types": ("a", "b", "c")}, "proportions must hold 3 numbers, one for each of the types a, b, c, got"),
        ({"types": ("a", "a")}, r"types must hold one or more different names, .* got \('a', 'a'\)"),
        ({"types": ("a b", "c")}, "types must hold"),
        ({"types": ()}, "types must hold"),
        ({"dt": 0.3}, r"dt must divide duration = 2.0 into whole steps, got 0.3"),
        ({"dt": 0.1, "horizon": 10}, r"horizon must be duration / dt = 20, .* got 10 with dt=0.1"),
        ({"dt": 1e-12}, r"dt must be a finite number in \[9.3"),
        ({"dt": -0.1}, "dt must be"),
        ({"duration": 0.0}, "duration must be"),
        ({"transition": "milstein"}, "transition must be one of 'euler', 'exact', got 'milstein'"),
        (
            {"drift": (-0.2, -5.0), "horizon": 4},
            r"dt must be at most 0.4 for a stable .* drift\[1\] = -5, got 0.5",
        ),
        (
            {"coupling": (-9.0, -9.0), "horizon": 4},
            r"dt must be smaller for a stable scheme of the means of types",
        ),
        ({"drift": (50.0, 0.1)}, "duration must be shorter, or drift, coupling or control_bound smaller"),
        ({"terminal_cost": (1e6, 1.0), "drift": (18.0, 0.0)}, "duration must be shorter, or drift"),
        ({"control_bound": 0.0}, "control_bound must be"),
        ({"discount": 0.9}, "discount must be 1"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(constants, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make(NAME, **constants)


def test_the_limits_of_stability_are_allowed():
    make(NAME, drift=(-4.0, -3.9), coupling=(0.0, 0.0), horizon=4)
    make(NAME, drift=(-50.0, -5.0), horizon=4, transition="exact")
    make(NAME, drift=(1.0, 0.5), horizon=4)  # Grows, as its differential equation does.


def test_snapshots_of_impossible_states_are_refused():
    game = make(NAME, n_agents=3)
    with pytest.raises(ValueError, match=r"snapshot.states\[0, 1\] must be in \[-90.* got 1000"):
        at(game, [0.0, 1000.0, 0.0])


def recorded(*times):
    game = make(NAME, n_agents=6, horizon=4)
    recorder, engine = make_recorder(game), Engine(game)
    engine.reset(seed=0)
    for states in times:
        engine.states[0] = states
        recorder.record(engine)
    return recorder


EPISODE = ([1, 1, 1, 1, -3, -1], [1, 2, 3, 4, 0, 0], [0, 0, 0, 0, 3, 5])


def test_text():
    assert recorded(*EPISODE).ansi().splitlines() == [
        "LinearQuadratic-v0, 6 agents, time 2 of 4",
        "           mean state  90 % of states in     mean over time",
        "consumer            0  [0, 0]                ▅▇▃",
        "pv                  4  [3.1, 4.9]            ▁▃█",
    ]


def test_image():
    """Lines of both types in their colours, and bands that are wider where states differ more."""
    image = recorded(*EPISODE).rgb_array()
    for colour in ((31, 119, 180), (255, 127, 14)):
        assert (image == colour).all(axis=-1).sum() > 100
    same = recorded([1, 1, 1, 1, -1, -1], [2, 2, 2, 2, -2, -2]).rgb_array()
    apart = recorded([0, 1, 1, 2, -2, 0], [1, 2, 2, 3, -3, -1]).rgb_array()
    coloured = [np.ptp(picture.astype(int), axis=-1) > 10 for picture in (same, apart)]
    assert coloured[1].sum() > 3 * coloured[0].sum()


def test_nothing_is_shown_before_the_first_record_or_after_it_is_cleared():
    recorder = recorded(*EPISODE)
    recorder.clear()
    with pytest.raises(RuntimeError, match="reset"):
        recorder.ansi()


def test_it_is_registered():
    assert mfenvs.registered_games()[NAME] is LinearQuadratic
    assert gymnasium.make(f"mfenvs/{NAME}", n_agents=2).unwrapped.game.n_agents == 2
