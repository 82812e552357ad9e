"""Games with several populations: against numbers from loops over populations, and among N agents."""

import dataclasses
import itertools
import math
from typing import ClassVar, NamedTuple

import numpy as np
import pytest
from hunt import ACTIONS, DOVE, HAWK, INITIAL, SIZES, Hunt, Oracle, earned, random_policies, row

import mfenvs
from baselines import OnlineMirrorDescent, StationaryPolicyGradient, mean_field_psro
from baselines.analysis import analyse
from baselines.cli.list import game_row
from baselines.policy_measures import MeasurementSettings, measure_policy
from mfenvs import (
    Engine,
    FiniteGame,
    InducedGame,
    Population,
    PopulationGame,
    crowd_in,
    n_player_exploitability,
    rule,
    share,
    share_in,
)
from mfenvs.cumulated import cumulative
from mfenvs.game import NO_PARAMETERS
from mfenvs.meanfield.black_box import as_black_box
from mfenvs.meanfield.contraction import contraction_moduli
from mfenvs.meanfield.dominance import dominance
from mfenvs.meanfield.lipschitz import lipschitz_constants
from mfenvs.meanfield.monotonicity import monotonicity
from mfenvs.meanfield.relative_exploitability import joint_states, relative_exploitability
from mfenvs.meanfield.symmetry import approximate_symmetry
from mfenvs.wrappers import shared_policy


@pytest.fixture(scope="module")
def game():
    return Hunt()


@pytest.fixture(scope="module")
def induced(game):
    return InducedGame(game)


def test_flow_and_exploitability_by_enumeration(game, induced):
    oracle, rng = Oracle(game), np.random.default_rng(3)
    for _ in range(3):
        policies = random_policies(rng)
        policy = game.union_policy(policies)
        flow = induced.flow(policy)
        laws = game.laws_by_population(flow.mu)
        for h, (expected, model) in enumerate(oracle.flow(policies)):
            for p in (HAWK, DOVE):
                inside = game.states_of(p)
                own = np.s_[: SIZES[p], : ACTIONS[p]]
                np.testing.assert_allclose(laws[p, h][own], expected[p], atol=1e-12)
                found = flow.transitions[h, inside, : ACTIONS[p]]
                np.testing.assert_allclose(found[..., inside], model[p][0], atol=1e-12)
                assert found.sum() == pytest.approx(model[p][0].sum(), abs=1e-12)
                np.testing.assert_allclose(flow.rewards[h, inside, : ACTIONS[p]], model[p][1], atol=1e-12)
            assert laws[:, h].sum((1, 2)) == pytest.approx([1.0, 1.0], abs=1e-12)
        each = [oracle.exploitability(p, policies) for p in (HAWK, DOVE)]
        np.testing.assert_allclose(induced.exploitabilities(policy), each, atol=1e-12)
        # One number is never a sum or a mean.
        assert induced.exploitability(policy) == max(induced.exploitabilities(policy))
        assert abs(each[0] - each[1]) > 1e-3


def test_shares_of_populations_do_not_matter_where_rules_read_laws_within_them(induced):
    game = Hunt(n_agents=24, share_of_hawks=0.75)
    policies = random_policies(np.random.default_rng(4))
    expected = [Oracle(game).exploitability(p, policies) for p in (HAWK, DOVE)]
    np.testing.assert_allclose(
        InducedGame(game).exploitabilities(game.union_policy(policies)), expected, atol=1e-12
    )


def test_names_places_and_sizes(game):
    assert game.agent_names == [f"hawk_{i}" for i in range(3)] + [f"dove_{i}" for i in range(9)]
    assert (game.n_populations, game.n_states, game.n_actions, game.n_features) == (2, 5, 3, 6)
    assert [game.state_name(s) for s in range(5)] == [
        "hawk: 0",
        "hawk: 1",
        "dove: nest",
        "dove: field",
        "dove: wood",
    ]
    assert game.agents["population"].tolist() == [0] * 3 + [1] * 9
    np.testing.assert_allclose(game.initial_distribution, [0.25 * 0.25, 0.25 * 0.75, *0.75 * np.array(INITIAL[1])])
    # Rounding by largest remainders.
    assert np.bincount(Hunt(n_agents=10).population_of_agent).tolist() == [3, 7]


def test_policies_of_the_union_and_of_populations(game, induced):
    policies = random_policies(np.random.default_rng(5))
    policy = game.union_policy(policies)
    padded = game.policies_by_population(policy)
    assert padded.shape == (2, 2, 3, 3)
    for p in (HAWK, DOVE):
        np.testing.assert_array_equal(padded[p][:, : SIZES[p], : ACTIONS[p]], policies[p])
        assert padded[p].sum() == pytest.approx(2 * SIZES[p])
    np.testing.assert_array_equal(game.union_policy(padded), policy)
    np.testing.assert_array_equal(induced.uniform_policy()[0, 4], [1, 0, 0])
    np.testing.assert_array_equal(induced.uniform_policy()[1, 2], [0.5, 0.5, 0])


@pytest.mark.parametrize("n_agents", [9, 12])
def test_rules_among_few_agents_leave_the_agent_out_of_its_own_population(n_agents):
    """One step of all agents, compared with shares counted by hand."""
    rng = np.random.default_rng(7)
    game = Hunt(n_agents=n_agents, horizon=3)
    n, whose = game.n_agents, game.population_of_agent
    engine = Engine(game, 1)
    engine.reset(seed=1)
    states = engine.states[0].astype(int) - np.array([0, 2])[whose]
    actions = rng.integers(0, np.array(ACTIONS)[whose])
    rewards = engine.step(actions[None])[0]
    moved = engine.states[0].astype(int) - np.array([0, 2])[whose]
    own = np.arange(n) % 3
    for i in range(n):
        laws = []
        for without in (i, None):
            laws.append([np.zeros((SIZES[p], ACTIONS[p])) for p in (HAWK, DOVE)])
            for j in range(n):
                if j != without:
                    laws[-1][whose[j]][states[j], actions[j]] += 1
            for law in laws[-1]:
                law /= law.sum()
        others, everyone = laws
        pay = earned(whose[i], states[i], actions[i], 1.0 + own[i], game.hunger, others, everyone)
        pay -= 0.25 * (1.0 + own[i]) * (moved[i] != states[i])
        assert rewards[i] == pytest.approx(pay, abs=1e-5)


def test_simulation_agrees_with_the_flow(game):
    """20 000 agents in 20 worlds: 8 standard errors, exceeded with probability below 1e-12 under the normal law.

    A bias of order 1 / N is allowed beside it.
    """
    game = dataclasses.replace(game, n_agents=20_000, horizon=4)
    policies = random_policies(np.random.default_rng(8), 4)
    policy = game.union_policy(policies)
    # The limit keeps each agent's own parameters: here all agents of a population have the same.
    calm = _Calm(n_agents=20_000, horizon=4)
    flow = InducedGame(calm).flow(policy)
    engine = Engine(calm, 20)
    engine.reset(seed=11)
    for h in range(4):
        counts = np.array([np.bincount(states, minlength=5) for states in engine.states]) / calm.n_agents
        law = flow.mu[h].sum(-1)
        error = np.maximum(counts.std(0, ddof=1), np.sqrt(law * (1 - law) / calm.n_agents)) / np.sqrt(20)
        assert (np.abs(counts.mean(0) - law) <= 8 * error + 4 / calm.n_agents).all()
        earned_by = engine.step(engine.sample_actions(cumulative(policy[None]))).astype(float)
        for p in (HAWK, DOVE):
            inside = calm.states_of(p)
            expected = (flow.mu[h, inside] * flow.rewards[h, inside]).sum() / calm.tables.shares[p]
            means = earned_by[:, calm.population_of_agent == p].mean(1)
            assert abs(means.mean() - expected) <= 8 * means.std(ddof=1) / np.sqrt(20) + 20 / calm.n_agents


class _Calm(Hunt):
    """All agents of a population are alike."""

    def draw_parameters(self, rng):
        parameters = np.zeros(self.n_agents, self.parameter_dtype)
        parameters["nerve"], parameters["worth"] = np.where(self.population_of_agent == HAWK, 0.3, 0.7), 2.0
        return parameters


@pytest.mark.slow
def test_agents_stay_in_their_population_and_lack_no_action():
    game = Hunt(n_agents=40, horizon=30)
    engine = Engine(game, 3, debug=True)
    engine.reset(seed=2)
    masks = engine.action_masks()
    hawks = game.population_of_agent == HAWK
    assert masks[:, hawks].all()
    assert not masks[:, ~hawks, 2].any()
    for _ in range(30):
        assert (engine.states[:, hawks] < 2).all()
        assert (engine.states[:, ~hawks] >= 2).all()
        assert (engine.action_masks().sum(-1) == np.where(hawks, 3, np.where(engine.states == 4, 1, 2))).all()
        engine.step(engine.random_actions())


def test_an_action_that_a_population_lacks_is_action_0(game, induced):
    """For the agent, and in what others see of it; in simulations and in the limit."""
    states, rewards = [], []
    for third in (0, 2):
        engine = Engine(game, 50)
        engine.reset(seed=3)
        actions = np.where(game.population_of_agent == HAWK, 1, third)
        rewards.append(engine.step(np.broadcast_to(actions, (50, game.n_agents))).copy())
        states.append(engine.states.copy())
    np.testing.assert_array_equal(*states)
    np.testing.assert_array_equal(*rewards)
    policy = game.union_policy(random_policies(np.random.default_rng(2)))
    other = policy.copy()
    other[:, 2:, 2], other[:, 2:, 0] = policy[:, 2:, 0], 0.0
    flows = induced.flow(policy), induced.flow(other)
    np.testing.assert_allclose(flows[0].mu.sum(-1), flows[1].mu.sum(-1), atol=1e-14)
    np.testing.assert_allclose(flows[0].rewards, flows[1].rewards, atol=1e-14)
    np.testing.assert_allclose(flows[0].rewards[:, 2:, 2], flows[0].rewards[:, 2:, 0], atol=1e-14)


@pytest.mark.slow
def test_exploitability_among_agents_starts_in_the_own_population():
    """Agents who do not affect each other gain what the limit says, and no noise hides it."""
    game = _Alone(n_agents=6)
    policy = InducedGame(game).uniform_policy()
    each = InducedGame(game).exploitabilities(policy)
    assert each == pytest.approx([1.0, 0.5])
    found = n_player_exploitability(game, policy, n_worlds=4, seed=1)
    assert found.per_agent == pytest.approx(each[game.population_of_agent], abs=1e-9)
    assert found.max_lower_bound.value == pytest.approx(1.0, abs=1e-9)


def among_four(game, policies, deviator, deviation):
    """Value of an agent of a Hunt with a hawk and three doves who deviates, by enumeration of all that can be."""
    whose, own = [HAWK, DOVE, DOVE, DOVE], [0, 1, 2, 0]
    nerve = [0.2 + 0.1 * k if p == HAWK else 0.5 + 0.2 * k for p, k in zip(whose, own, strict=True)]
    played = [policies[p] for p in whose]
    played[deviator] = deviation
    worth, p = 1.0 + own[deviator], whose[deviator]

    def within(states, actions, left_out):
        laws = [np.zeros((SIZES[q], ACTIONS[q])) for q in (HAWK, DOVE)]
        for j, (state, action) in enumerate(zip(states, actions, strict=True)):
            laws[whose[j]][state, action] += j != left_out
        return [law / max(law.sum(), 1.0) for law in laws]

    all_states = list(itertools.product(*(range(SIZES[q]) for q in whose)))
    present = {s: math.prod(INITIAL[q][k] for q, k in zip(whose, s, strict=True)) for s in all_states}
    total = 0.0
    for h in range(game.horizon):
        then = dict.fromkeys(all_states, 0.0)
        for states, mass in present.items():
            for actions in itertools.product(*(range(ACTIONS[q]) for q in whose)):
                chance = mass * math.prod(played[j][h][states[j], actions[j]] for j in range(4))
                if chance == 0.0:
                    continue
                rows = []
                for j in range(4):
                    seen = within(states, actions, j)
                    rows.append(
                        row(whose[j], states[j], actions[j], nerve[j], seen[DOVE][1].sum(), seen[HAWK][1, 2])
                    )
                state, law = states[deviator], rows[deviator]
                laws = within(states, actions, deviator), within(states, actions, None)
                pay = earned(p, state, actions[deviator], worth, game.hunger, *laws)
                pay -= 0.25 * worth * (1.0 - law[state])
                if h == game.horizon - 1:
                    pay += (1.0 + p) * law[1]
                else:
                    for after in all_states:
                        then[after] += chance * math.prod(rows[j][after[j]] for j in range(4))
                total += chance * pay
        present = then
    return total


def test_gains_among_four_agents_by_enumeration():
    """With a hawk alone in its population. Errors are at most 5.5 standard errors, at a rate below 1e-7."""
    game, policies = Hunt(n_agents=4), random_policies(np.random.default_rng(5))
    found = n_player_exploitability(game, game.union_policy(policies), n_worlds=4000, seed=3)
    gains = []
    for i, p in enumerate((HAWK, DOVE, DOVE, DOVE)):
        answer = np.eye(ACTIONS[p])[found.candidates[i][:, game.states_of(p)]]
        gains.append(among_four(game, policies, i, answer) - among_four(game, policies, i, policies[p]))
    for bound, gain in (
        (found.max_lower_bound, gains[np.argmax(found.per_agent)]),
        (found.mean_lower_bound, np.mean(gains)),
    ):
        assert abs(bound.value - gain) <= 5.5 * bound.standard_error
        assert bound.standard_error < 0.04 < 0.1 < gain


@dataclasses.dataclass(kw_only=True)
class _Alone(PopulationGame):
    """Each action of hawks is worth its number, in both steps; doves do so in one of their two states only."""

    n_agents: int = 6
    horizon: int = 2
    populations = (
        Population(name="hawk", share=0.5, n_states=1, n_actions=2),
        Population(name="dove", share=0.5, n_states=2, n_actions=2, initial=(0.5, 0.5)),
    )

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        return 1.0 if next_state == state else 0.0

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return float(action) if agent.population == HAWK or state == 1 else 0.0


@dataclasses.dataclass(kw_only=True)
class _Plain(FiniteGame):
    n_agents: int = 30
    horizon: int = 4
    discount: float = 1.0
    agent_dtype = NO_PARAMETERS
    n_states = 3
    n_actions = 2
    initial_distribution = np.array([0.2, 0.5, 0.3])

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        ahead = 0.3 + 0.5 * share(world, 2 * state + 1) if action == 1 else 0.2
        return ahead if next_state == (state + 1) % 3 else (1.0 - ahead if next_state == state else 0.0)

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return state - 2.0 * share(world, 2 * state) - 0.2 * action


@dataclasses.dataclass(kw_only=True)
class _One(PopulationGame):
    n_agents: int = 30
    horizon: int = 4
    populations = (Population(name="agent", share=1.0, n_states=3, n_actions=2, initial=(0.2, 0.5, 0.3)),)

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        ahead = 0.3 + 0.5 * share_in(world, 0, state, 1) if action == 1 else 0.2
        return ahead if next_state == (state + 1) % 3 else (1.0 - ahead if next_state == state else 0.0)

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return state - 2.0 * share_in(world, 0, state, 0) - 0.2 * action


@pytest.mark.parametrize("discount", [1.0, pytest.param(0.9, marks=pytest.mark.slow)])
def test_one_population_is_the_plain_game(discount):
    plain, one = _Plain(discount=discount), _One(discount=discount)
    policy = np.random.default_rng(9).dirichlet([1, 1], plain.policy_shape[:2])
    ours, theirs = InducedGame(one), InducedGame(plain)
    for name in ("mu", "transitions", "rewards"):
        np.testing.assert_allclose(
            getattr(ours.flow(policy), name), getattr(theirs.flow(policy), name), atol=1e-15
        )
    assert ours.exploitability(policy) == pytest.approx(theirs.exploitability(policy), abs=1e-14)
    assert ours.exploitabilities(policy) == pytest.approx([theirs.exploitability(policy)], abs=1e-14)
    assert theirs.exploitabilities(policy) == pytest.approx([theirs.exploitability(policy)], abs=1e-14)
    runs = [Engine(game, 3).rollout(policy, seed=5) for game in (one, plain)]
    np.testing.assert_array_equal(runs[0].states, runs[1].states)
    np.testing.assert_allclose(runs[0].returns, runs[1].returns, atol=1e-5)


@dataclasses.dataclass(kw_only=True)
class _Ring(PopulationGame):
    """Three populations on rings; each is drawn to the next one in the order of ``places``."""

    n_agents: int = 31
    horizon: int = 5
    order: tuple[int, ...] = (0, 1, 2)
    SHARES: ClassVar = (0.5, 0.3, 0.2)
    n_branches = 2

    @property
    def populations(self):
        return [
            Population(name=f"p{k}", share=self.SHARES[k], n_states=3 + k, n_actions=2, initial=np.eye(3 + k)[k])
            for k in self.order
        ]

    @property
    def constants(self):
        """Who is after whom, and how many states each has."""
        after = [self.order.index((k + 1) % 3) for k in self.order]
        return np.array(after), np.array([3 + k for k in self.order])

    @staticmethod
    @rule
    def branch(branch, state, action, agent, world):
        n = world.constants[1][agent.population]
        return (state + action + branch) % n, 0.8 if branch == 0 else 0.2

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        other = world.constants[0][agent.population]
        drawn = share_in(world, other, state) if state < world.constants[1][other] else 0.0
        return drawn - crowd_in(world, agent.population, state)


@pytest.mark.slow
def test_the_order_of_populations_does_not_matter():
    first, second = _Ring(), _Ring(order=(2, 0, 1))
    rng = np.random.default_rng(6)
    policies = [rng.dirichlet([1, 1], (5, 3 + k)) for k in range(3)]
    found = InducedGame(first).exploitabilities(first.union_policy(policies))
    other = InducedGame(second).exploitabilities(second.union_policy([policies[k] for k in second.order]))
    np.testing.assert_allclose(other, found[list(second.order)], atol=1e-13)
    assert len(set(found.round(6))) == 3


def test_stationary_flows_keep_the_mass_of_populations():
    game = _Ring(discount=0.9)
    flow = InducedGame(game).flow(InducedGame(game).uniform_policy())
    np.testing.assert_allclose(game.laws_by_population(flow.mu).sum((1, 2, 3)), 1.0, atol=1e-9)


def test_kernels_that_do_not_read_the_population_are_tabulated_once():
    assert not InducedGame(_Ring()).kernels.varies
    assert InducedGame(Hunt()).kernels.varies


@pytest.mark.parametrize(
    ("game", "constants"),
    [
        pytest.param(_Ring, {}, marks=pytest.mark.slow),
        pytest.param(_Ring, {"discount": 0.8}, marks=pytest.mark.slow),
        (Hunt, {}),
        (_Alone, {}),
    ],
    ids=str,
)
def test_solve_certifies_every_population(game, constants):
    made = game(**constants)
    found = mfenvs.solve(made, tolerance=1e-6, seconds=20)
    assert found.is_solved
    assert found.exploitability <= 1e-6
    each = InducedGame(made).exploitabilities(found.policy)
    # An infinite game's flow is searched from another law here.
    np.testing.assert_allclose(found.exploitabilities, each, rtol=0.0, atol=1e-12)
    assert found.exploitability == found.exploitabilities.max()
    np.testing.assert_array_equal(made.union_policy(found.policies), found.policy)


@pytest.mark.parametrize("kind", [Hunt, pytest.param(_Ring, marks=pytest.mark.slow)])
def test_conformance(kind):
    """Rules against plain Python, and all APIs that are installed."""
    report = mfenvs.check(kind(n_agents=8), quiet=True)
    assert not report.failed, str(report)
    assert len(report.passed) > 10


def made_with(**changes):
    first = {"name": "hawk", "share": 0.5, "n_states": 1, "n_actions": 2, **changes}
    second = Population(name="dove", share=0.5, n_states=2, n_actions=2)
    return type("Wrong", (_Alone,), {"populations": (Population(**first), second)})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"name": "dove"}, ValueError, "different names, got 'dove' twice"),
        ({"name": "a b"}, ValueError, r"populations\[0\].name must be a word"),
        ({"share": 0.4}, ValueError, "shares of populations must sum to 1, got 0.9"),
        ({"share": float("nan")}, ValueError, r"populations\[0\].share"),
        ({"n_states": 0}, ValueError, r"populations\[0\].n_states"),
        ({"n_actions": 1.5}, TypeError, r"populations\[0\].n_actions"),
        ({"initial": (0.5, 0.5)}, ValueError, r"populations\[0\].initial"),
        ({"initial": (0.5,)}, ValueError, r"populations\[0\].initial"),
        ({"state_names": ("a", "b")}, ValueError, r"populations\[0\].state_names must hold 1 names"),
    ],
)
def test_wrong_populations(changes, error, message):
    with pytest.raises(error, match=message):
        made_with(**changes)()


def test_wrong_declarations():
    with pytest.raises(TypeError, match="must not declare cell"):
        type("Wrong", (_Alone,), {"cell": staticmethod(_Alone.local_reward)})()
    for name, value, instead in (
        ("n_actions", 1, "populations"),
        ("initial_distribution", np.ones(4) / 4, "populations"),
        ("agent_dtype", NO_PARAMETERS, "parameter_dtype"),
        ("draw_agents", _Alone.draw_agents, "draw_parameters"),
    ):
        with pytest.raises(TypeError, match=f"must declare {instead} and not {name}"):
            type("Wrong", (_Alone,), {name: value})()
    with pytest.raises(TypeError, match="must declare the rule transition"):
        type("Wrong", (PopulationGame,), {"populations": _Alone.populations})(n_agents=2, horizon=1)
    with pytest.raises(TypeError, match="reward must take reward"):
        type("Wrong", (_Alone,), {"reward": staticmethod(_Alone.local_transition)})()
    branch = {"branch": staticmethod(_Ring.local_branch), "n_branches": 2}
    with pytest.raises(TypeError, match="rule branch or the rule transition, not both"):
        type("Wrong", (_Alone,), branch)()
    with pytest.raises(ValueError, match="every population has an agent, got 2 and no p2"):
        _Ring(n_agents=2)
    taken = {"parameter_dtype": np.dtype([("population", np.float32)])}
    with pytest.raises(TypeError, match="must give its parameter 'population' another name"):
        type("Wrong", (_Alone,), taken)()
    constants = NamedTuple("Constants", [("populations", float)])(1.0)
    with pytest.raises(TypeError, match="constants must not have the entry 'populations'"):
        InducedGame(type("Wrong", (_Alone,), {"constants": constants})())
    with pytest.raises(TypeError, match="must declare draw_parameters"):
        type("Wrong", (_Alone,), {"parameter_dtype": np.dtype([("x", np.float32)])})()


def test_a_branch_that_leaves_the_population_is_refused():
    @rule
    def branch(branch, state, action, agent, world):
        return state + 1, 0.5

    kind = type("Leaves", (_Ring,), {"branch": staticmethod(branch)})
    with pytest.raises(ValueError, match="must return a next_state"):
        InducedGame(kind())


def test_wrong_policies(game):
    policies = random_policies(np.random.default_rng(1))
    with pytest.raises(ValueError, match="policies must hold 2 policies, got 1"):
        game.union_policy(policies[:1])
    with pytest.raises(ValueError, match=r"policies\[1\]"):
        game.union_policy([policies[0], policies[0]])
    padded = game.policies_by_population(game.union_policy(policies))
    padded[0, 0, 2, 0] = 1.0
    with pytest.raises(ValueError, match=r"policies\[0\] must be padded with zeros"):
        game.union_policy(padded)


def test_rows_of_the_oracle_are_probabilities():
    for p in (HAWK, DOVE):
        for s, a in np.ndindex(SIZES[p], ACTIONS[p]):
            assert row(p, s, a, 0.5, 0.3, 0.2).sum() == pytest.approx(1.0)


def test_agents_of_other_populations_are_refused_in_snapshots(game):
    engine = Engine(game, 1)
    engine.reset(seed=1)
    snapshot = engine.snapshot()
    snapshot.states[0, 0] = 3
    with pytest.raises(ValueError, match=r"snapshot.states\[0, 0\] must be in \[0, 1\].* its population .*got 3"):
        engine.restore(snapshot)


def test_agents_of_other_populations_are_refused_at_the_start(game, induced):
    starts = np.where(game.population_of_agent == HAWK, 1, 4) * np.ones((2, 1), int)
    engine = Engine(game, 2)
    assert (engine.rollout(induced.uniform_policy(), seed=1, starts=starts).states[:, 0] == starts).all()
    starts[1, 2] = 2
    with pytest.raises(ValueError, match=r"starts\[1, 2\] must be in \[0, 1\], as the states of its pop.* got 2"):
        engine.rollout(induced.uniform_policy(), seed=1, starts=starts)


def test_what_needs_one_population_is_refused(game):
    with pytest.raises(ValueError, match=r"one population.* to be a black box, got 2 populations"):
        as_black_box(game)
    with pytest.raises(ValueError, match=r"StationaryPolicyGradient needs a game with one population.* got 3"):
        StationaryPolicyGradient(_Ring(discount=0.9))
    with pytest.raises(ValueError, match=r"correlated equilibria need a game with one population.* got 3"):
        mean_field_psro(_Ring())


def test_what_looks_at_any_law_is_refused(game, induced):
    """In such laws populations would have other shares, and rules probabilities above one."""
    for look in (lipschitz_constants, monotonicity):
        with pytest.raises(
            TypeError, match=f"{look.__name__} looks at arbitrary laws .* one population, got Hunt"
        ):
            look(induced)
    for look in (dominance, approximate_symmetry):
        with pytest.raises(TypeError, match="is for games with one population, got Hunt with 2"):
            look(game)
    with pytest.raises(ValueError, match="Hunt has 2 populations: only games with one are analysed"):
        analyse(game)


def test_moduli_compare_populations_with_the_right_shares():
    """Agents who do not affect each other answer all populations alike, and move by their policy alone."""
    seen = []
    induced = InducedGame(_Alone(n_agents=6))
    frozen = induced.frozen
    induced.frozen = lambda law: seen.append(law) or frozen(law)
    assert contraction_moduli(induced, n_pairs=4).d1 == 0.0
    for law in seen:
        masses = law.sum(axis=(0, 2)) / len(law)
        np.testing.assert_allclose(
            np.bincount(induced.game.population_of_state, masses), induced.game.tables.shares
        )
    assert len(seen) == 8


def test_averages_over_agents_are_those_of_their_population(game, induced):
    """What agents would do in states of another population is never seen, and must not count."""
    rng = np.random.default_rng(3)
    kinds = [random_policies(rng) for _ in range(4)]
    hawks, doves = (1, 1, 1, 0), (2, 2, 2, 3)
    each = np.stack([game.union_policy(kinds[i % 4]) for i in range(12)])
    # Three hawks of one kind each, and nine doves, of which three are of the last kind.
    expected = [np.average([k[p] for k in kinds], axis=0, weights=w) for p, w in ((HAWK, hawks), (DOVE, doves))]
    found = shared_policy(each, game)
    np.testing.assert_allclose(found, game.union_policy(expected), atol=1e-15)
    assert induced.exploitabilities(found).shape == (2,)
    with pytest.raises(ValueError, match=r"shared_policy\(policy, game\) makes their average"):
        induced.exploitability(each)
    with pytest.raises(ValueError, match=r"joint must be a table of shape \(n_agents, T, S, A\), got \(2, 5, 3\)"):
        shared_policy(found, game)


def test_relative_exploitability_starts_in_states_of_the_own_population():
    """Agents who do not affect each other gain what the limit says, whatever states they start in."""
    game = _Alone(n_agents=6)
    policy = InducedGame(game).uniform_policy()
    found = mfenvs.relative_exploitability(game, policy, n_joint_states=6, n_worlds=2)
    # Hawks gain half of 2, doves half of 2 in one of two states.
    assert found.absolute.value == pytest.approx((3 * 1.0 + 3 * 0.5) / 6, abs=1e-9)
    assert found.best_value.value == pytest.approx((3 * 2.0 + 3 * 1.0) / 6, abs=1e-9)


def test_joint_states_are_of_the_own_population(game):
    states = joint_states(game, np.random.default_rng(1), 200)
    assert states.shape == (200, game.n_agents)
    for p in (HAWK, DOVE):
        inside = game.states_of(p)
        found = np.unique(states[:, game.population_of_agent == p])
        assert found.tolist() == list(range(inside.start, inside.stop))


def test_groups_and_names_in_dict_apis(game):
    env = mfenvs.parallel_env(game)
    observations, _ = env.reset(seed=1)
    assert list(observations)[2:4] == ["hawk_2", "dove_0"]
    assert all(observations[f"hawk_{i}"][2:5].sum() == 0 for i in range(3))
    assert all(observations[f"dove_{i}"][:2].sum() == 0 for i in range(9))
    torchrl = pytest.importorskip("torchrl")
    assert torchrl is not None
    groups = mfenvs.torchrl_env(game, 2, group_map="types")
    data = groups.reset()
    assert data["hawk", "observation"].shape == (2, 3, 6)
    assert data["dove", "action_mask"][..., 2].sum() == 0
    with_actions = groups.rand_action(data)
    assert groups.step(with_actions)["next", "dove", "reward"].shape == (2, 9, 1)


def test_measures_and_lists_name_populations(game):
    policy = game.union_policy(random_policies(np.random.default_rng(2)))
    measures = measure_policy(game, policy, MeasurementSettings(n_worlds=4))
    each = InducedGame(game).exploitabilities(policy)
    assert measures.summary["mean_field_exploitability"] == pytest.approx(each.max(), abs=1e-14)
    by_name = measures.summary["mean_field_exploitability_by_population"]
    assert by_name == pytest.approx({"hawk": each[0], "dove": each[1]}, abs=1e-14)
    shares = game.tables.shares
    returns = measures.summary["return_by_population"]
    assert shares @ [returns["hawk"], returns["dove"]] == pytest.approx(measures.summary["return"], abs=1e-6)
    values = [value for name, value, _ in measures.rows if name == "... of hawk"]
    assert values == [f"{returns['hawk']:.4f}", f"{each[0]:.4f}"]
    assert game_row(game)[2] == "5 of 2 populations"


def test_solvers_certify_every_population():
    game = _Ring()
    solver = OnlineMirrorDescent(game)
    solver.learn(1)
    names = [f"eval/mean_field_exploitability/p{k}" for k in range(3)]
    each = solver.induced.exploitabilities(solver.policy)
    assert [solver.measured[name] for name in names] == pytest.approx(each, abs=1e-14)
    assert solver.measured["eval/mean_field_exploitability"] == max(solver.measured.values())
    found = solver.solve(tolerance=1e-2, seconds=20)
    each = solver.induced.exploitabilities(found.policy)
    assert found.exploitabilities == pytest.approx(each, abs=1e-14)
    assert found.exploitability == max(found.exploitabilities) <= 1e-2


@dataclasses.dataclass(kw_only=True)
class Spread(PopulationGame):
    """Two populations of two agents: one is infected if the other of its population is, seldom with caution."""

    n_agents: int = 4
    horizon: int = 2
    populations: ClassVar = tuple(
        Population(name=name, share=0.5, n_states=2, n_actions=2, initial=(0.0, 1.0))
        for name in ("host", "vector")
    )

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        infected = share_in(world, agent.population, 1) * (1.0 - 0.5 * action)
        return infected if next_state == 1 else 1.0 - infected

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return -math.sqrt(1.0 - share_in(world, agent.population, 0)) * state


def test_agents_are_not_asked_about_states_of_other_populations():
    """There the share of their own population would be 2 of 1: no probability, and no number under the root.

    Nobody is cautious, so all are infected for ever and lose 2. Who is cautious in step 0 loses 1.5.
    """
    game = Spread()
    careless = np.zeros((2, 4, 2))
    careless[:, :, 0] = 1.0
    found = n_player_exploitability(game, careless, n_worlds=4)
    np.testing.assert_allclose(found.per_agent, 0.5)
    assert found.max_lower_bound.interval == pytest.approx((0.5, 0.5))
    assert (found.candidates[:2, 0, 1] == 1).all()
    # From a pair's four joint states: caution gains a half where both are infected. 400 draws: 6 standard errors.
    anywhere = relative_exploitability(game, careless, n_joint_states=400, n_worlds=2, seed=1)
    assert anywhere.absolute.value == pytest.approx(0.125, abs=6 * math.sqrt(0.25 * 0.75 / 400) / 2)
