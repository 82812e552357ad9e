"""Deep solvers: equilibria in closed form, mirror descent step by step, masks, resuming, what is refused."""

import dataclasses
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from tabulated import HOME, Tabulated

from baselines import AverageNetworkFictitiousPlay, DeepMirrorDescent
from baselines.callbacks import ExploitabilityCallback, StopAfter
from baselines.deep.networks import NetworkPolicy
from baselines.policies import TabularPolicy
from baselines.runs import load_trainer, read_run, save_results, write_config
from mfenvs import Engine, Game, InducedGame, evaluate, make
from mfenvs.game import NO_PARAMETERS
from mfenvs.play import Player
from mfenvs.rules import rule

BOTH = pytest.mark.parametrize("trainer_class", [DeepMirrorDescent, AverageNetworkFictitiousPlay])
TINY: dict[type, dict[str, Any]] = {
    DeepMirrorDescent: {"n_updates": 6, "hidden": (8,), "episodes": 2},
    AverageNetworkFictitiousPlay: {
        **{"n_updates": 6, "hidden": (8,), "episodes": 2, "answer_episodes": 2},
        **{"n_average_updates": 5, "reservoir_size": 40},
    },
}
LINEAR: dict[str, Any] = {"hidden": (), "learning_rate": 0.02, "episodes": 2}
"""Networks without hidden layers: tables, where observations are one-hot."""


def arrays_of(trainer) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in trainer._state().items()}


def assert_same(one, other) -> None:
    assert (one.iteration, one.num_timesteps) == (other.iteration, other.num_timesteps)
    mine, others = arrays_of(one), arrays_of(other)
    assert mine.keys() == others.keys()
    for name, array in mine.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)


def at_home(**constants):
    """Everybody in one state; action 0 earns 1 and action 1 earns .8, less the share of those who do the same.

    The equilibrium plays 0 with probability .6.
    """
    defaults = {"n_agents": 500, "horizon": 1, "moves": HOME, "pay": ((1.0, 0.8),) * 3, "crowding": 1.0}
    return Tabulated(**{**defaults, "first": (1, 0, 0), **constants})


once_and_for_ever = pytest.mark.parametrize(
    "constants",
    [
        pytest.param({}, id="one step"),
        pytest.param({"discount": 0.5, "horizon": 6}, id="for ever", marks=pytest.mark.slow),
    ],
)


@once_and_for_ever
def test_mirror_descent_finds_the_equilibrium_of_one_state(constants):
    """Each iteration shrinks the distance of the log-odds from those of the equilibrium by about a half."""
    options = LINEAR | {"n_updates": 300, "munchausen": 1.0, "temperature": 1.0}
    trainer = DeepMirrorDescent(at_home(**constants), **options)
    trainer.learn(10 * trainer.timesteps_per_iteration)
    assert trainer.policy.probabilities[0, 0, 0] == pytest.approx(0.6, abs=0.02)
    assert trainer.policy.probabilities.shape == trainer.game.policy_shape


@once_and_for_ever
def test_fictitious_play_finds_the_equilibrium_of_one_state(constants):
    options = LINEAR | {"n_updates": 150, "n_average_updates": 150, "average_learning_rate": 0.02}
    trainer = AverageNetworkFictitiousPlay(at_home(**constants), **options)
    trainer.learn(20 * trainer.timesteps_per_iteration)
    assert trainer.policy.probabilities[0, 0, 0] == pytest.approx(0.6, abs=0.05)


def test_the_closed_form_of_one_step():
    """Rewards that nobody changes: after k iterations the policy is softmax(k r / tau)."""
    pay = ((0.0, -0.25), (0.5, 0.0), (0.5, 0.75))
    game = Tabulated(n_agents=60, horizon=1, pay=pay)
    options = LINEAR | {"n_updates": 400, "munchausen": 1.0, "temperature": 0.5, "explorers": 0.5, "epsilon": 1.0}
    trainer = DeepMirrorDescent(game, **options)
    for k in range(4):
        gaps = np.diff(np.array(pay), axis=1)[:, 0] * k / 0.5
        np.testing.assert_allclose(trainer.policy.probabilities[0, :, 1], 1 / (1 + np.exp(-gaps)), atol=5e-3)
        trainer.learn(trainer.timesteps_per_iteration)


@pytest.mark.slow
def test_it_is_mirror_descent():
    """On rock-paper-scissors, step by step, with the exact flow; the bound is one of 4000 agents' sampling."""
    game = make("WeightedRockPaperScissors-v0", n_agents=4000)
    induced, tau = InducedGame(game), 4.0
    options = LINEAR | {
        "n_updates": 500,
        "munchausen": 1.0,
        "temperature": tau,
        "explorers": 0.0,
        "target_every": 100,
    }
    trainer = DeepMirrorDescent(game, **options)
    policy = induced.uniform_policy()
    for _ in range(5):
        trainer.learn(trainer.timesteps_per_iteration)
        q = induced.evaluate(policy)
        policy = policy * np.exp((q - q.max(-1, keepdims=True)) / tau)
        policy /= policy.sum(-1, keepdims=True)
        # At the start only: what is done later changes nothing.
        np.testing.assert_allclose(trainer.policy.probabilities[0, 0], policy[0, 0], atol=0.02)
    assert np.abs(policy[0, 0] - 1 / 3).max() > 0.08


@pytest.mark.parametrize(
    ("trainer_class", "options", "share"),
    [
        (DeepMirrorDescent, {"temperature": 0.5}, 0.25),
        pytest.param(
            AverageNetworkFictitiousPlay,
            {"n_average_updates": 300, "average_learning_rate": 5e-3},
            0.15,
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.slow
def test_policies_approach_the_equilibrium_of_the_beach_bar(trainer_class, options, share):
    """After six iterations the exploitability is a small share of that of the uniform policy."""
    game = make("BeachBar-v0")
    induced = InducedGame(game)
    small = {"n_updates": 300, "hidden": (32,), "learning_rate": 5e-3, "episodes": 3, "target_every": 25}
    trainer = trainer_class(game, **small, **options, seed=1)
    trainer.learn(6 * trainer.timesteps_per_iteration)
    before = induced.exploitability(induced.uniform_policy())
    assert induced.exploitability(trainer.policy) < share * before
    assert induced.exploitability(trainer.network_policy) < share * before


@BOTH
def test_everything_is_uniform_at_first(trainer_class):
    trainer = trainer_class(make("BeachBar-v0", n_agents=20), **TINY[trainer_class])
    np.testing.assert_allclose(trainer.policy.probabilities, 1 / 3, rtol=1e-6)


@dataclasses.dataclass(kw_only=True)
class Gated(Tabulated):
    """In state 1 only action 0 is allowed; it would pay to take the other."""

    @staticmethod
    @rule
    def allowed(action, state, agent, public):
        return action == 0 or state != 1


@BOTH
def test_masked_actions_are_never_taken(trainer_class):
    game = Gated(n_agents=30, pay=((0.0, 0.0), (0.0, 9.0), (0.0, 0.5)))
    trainer = trainer_class(game, **TINY[trainer_class] | {"explorers": 0.5, "epsilon": 1.0})
    for _ in range(3):
        trainer.learn(trainer.timesteps_per_iteration)
        buffer = trainer._buffer
        rows = np.arange(buffer.n_stored)
        assert buffer._masks[rows, buffer._actions[rows]].all()
        in_one = buffer._observations[rows, 1] == 1
        assert in_one.any()
        np.testing.assert_array_equal(buffer._masks[rows], np.stack([np.ones_like(in_one), ~in_one], 1))
        goes_on = buffer._goes_on[rows] == 1
        ahead = buffer._next_observations[rows, 1] == 1
        np.testing.assert_array_equal(buffer._next_masks[rows, 1], ~(goes_on & ahead))
        if trainer_class is AverageNetworkFictitiousPlay:
            kept = trainer._reservoir
            assert kept.masks[np.arange(40), kept.actions].all()
    assert (trainer.policy.probabilities[:, 1, 1] == 0).all()
    assert (trainer.policy.probabilities[:, [0, 2], 1] > 0).all()


@BOTH
def test_a_resumed_run_is_an_unbroken_one(trainer_class, tmp_path):
    game = make("BeachBar-v0", n_agents=20)
    options = TINY[trainer_class] | {"seed": 7, "n_worlds": 2}
    whole, part = trainer_class(game, **options), trainer_class(game, **options)
    step = whole.timesteps_per_iteration
    whole.learn(5 * step)
    part.learn(2 * step).save(tmp_path / "part.npz")
    resumed = trainer_class.load(tmp_path / "part.npz")
    assert resumed.config == part.config
    assert_same(resumed, part)
    assert_same(resumed.learn(3 * step), whole)
    assert_same(part.learn(3 * step), whole)
    other = trainer_class(game, **options | {"seed": 8}).learn(5 * step)
    pairs = zip(arrays_of(other).values(), arrays_of(whole).values(), strict=True)
    assert any(not np.array_equal(one, two) for one, two in pairs)


@BOTH
def test_torchs_random_numbers_are_left_alone(trainer_class):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    trainer = trainer_class(make("BeachBar-v0", n_agents=20), **TINY[trainer_class])
    trainer.learn(1)
    assert torch.equal(torch.rand(2), expected)


def test_the_reservoir_counts_every_iteration_alike():
    trainer = AverageNetworkFictitiousPlay(
        make("BeachBar-v0", n_agents=20), **TINY[AverageNetworkFictitiousPlay] | {"n_worlds": 3, "explorers": 0.25}
    )
    seen = []
    for _ in range(3):
        trainer.learn(1)
        seen.append(trainer._reservoir.n_seen)
    # 2 episodes, 3 steps, 3 worlds, 5 explorers.
    assert seen == [90, 180, 270]


def test_random_seeds_differ():
    """By the seed of the trainer, the iteration, the purpose and the number."""
    game, seeds = make("BeachBar-v0", n_agents=20), []
    for seed in (0, 1):
        trainer = DeepMirrorDescent(game, **TINY[DeepMirrorDescent], seed=seed)
        for _ in range(3):
            seeds += [trainer._seed_of(purpose, number) for purpose in range(5) for number in range(4)]
            trainer.learn(1)
    assert len(set(seeds)) == len(seeds) == 120


def test_the_target_network_is_a_copy_from_time_to_time(monkeypatch):
    options = TINY[DeepMirrorDescent] | {"n_updates": 11, "target_every": 4, "episodes": 3}
    trainer = DeepMirrorDescent(make("BeachBar-v0", n_agents=20), **options)
    bias, seen = trainer._q.network[0].bias, []

    def update(target, rng):
        seen.append(float(target[0].bias[0]))
        with torch.no_grad():
            bias[0] = len(seen)
        return 0.0

    monkeypatch.setattr(trainer, "_update", update)
    with torch.no_grad():
        bias[0] = 0.0
    trainer.learn(1)
    assert seen == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8]


def test_explorers_are_so_many_of_every_world():
    trainer = DeepMirrorDescent(make("BeachBar-v0", n_agents=20), n_worlds=3, explorers=0.25)
    rng = np.random.default_rng(0)
    drawn = [trainer._drawn_explorers(rng) for _ in range(50)]
    for rows in drawn:
        assert np.bincount(rows // 20, minlength=3).tolist() == [5, 5, 5]
        assert len(np.unique(rows)) == 15
    assert len(np.unique(np.concatenate(drawn))) == 60
    none = DeepMirrorDescent(make("BeachBar-v0", n_agents=20), explorers=0.0)
    assert len(none._drawn_explorers(rng)) == 0


@BOTH
def test_a_buffer_that_is_too_small_keeps_some_of_every_step(trainer_class):
    trainer = trainer_class(
        make("BeachBar-v0", n_agents=20), **TINY[trainer_class] | {"buffer_size": 6 * 7 + 1, "n_updates": 2}
    )
    trainer.learn(1)
    buffer = trainer._buffer
    assert buffer.n_stored == 42
    times = np.rint(3 * buffer._observations[:42, -1]).astype(int)
    assert np.bincount(times).tolist() == [14, 14, 14]
    assert (buffer._goes_on[:42] == (times < 2)).all()


@dataclasses.dataclass(kw_only=True)
class Line(Game):
    """A point in [0, 1] that its agent moves by .25 to the left (0), not at all (1) or to the right (2).

    It earns its place less the share of all agents who do the same. There is no move beyond the ends. Not finite:
    places begin anywhere.
    """

    n_agents: int = 40
    horizon: int = 4
    agent_dtype = NO_PARAMETERS
    state_dtype = np.dtype(np.float32)
    n_cells = 3
    n_features = 2

    @staticmethod
    @rule
    def start(agent, initial, key):
        return np.float32((key % 1000) / 2000.0)

    @staticmethod
    @rule
    def cell(state, action, agent):
        return action

    @staticmethod
    @rule
    def step(state, action, agent, world, key):
        place = state + np.float32(0.25) * (action - 1)
        return min(max(place, np.float32(0.0)), np.float32(1.0)), place - world.counts[action] * world.per_agent

    @staticmethod
    @rule
    def observe(out, state, agent, public):
        out[0] = state
        out[1] = public.elapsed

    @staticmethod
    @rule
    def allowed(action, state, agent, public):
        return action == 1 or (action == 0 and state >= 0.25) or (action == 2 and state <= 0.75)

    @property
    def action_space(self):
        return gymnasium.spaces.Discrete(3)


@BOTH
def test_games_that_are_not_finite(trainer_class, tmp_path):
    game = Line()
    trainer = trainer_class(game, **TINY[trainer_class] | {"n_updates": 200, "learning_rate": 0.01})
    trainer.learn(2 * trainer.timesteps_per_iteration)
    policy = trainer.policy
    assert isinstance(policy, NetworkPolicy)
    seen = np.array([[0.1, 0.0], [0.5, 0.5], [0.9, 0.75]], np.float32)
    masks = np.array([[False, True, True], [True, True, True], [True, True, False]])
    laws = policy.action_probabilities(seen, masks)
    assert (laws[~masks] == 0).all()
    np.testing.assert_allclose(laws.sum(1), 1.0, rtol=1e-5)
    actions = policy.predict(np.repeat(seen[None], 300, 0), action_masks=np.repeat(masks[None], 300, 0))[0]
    assert masks[np.arange(3)[None], actions].all()
    assert policy.predict(seen, deterministic=True, action_masks=masks)[0].tolist() == laws.argmax(1).tolist()
    trainer.save(tmp_path / "line.npz")
    assert_same(trainer_class.load(tmp_path / "line.npz", game), trainer)
    assert np.isfinite(evaluate(game, policy, n_worlds=2).mean_return.value)
    with pytest.raises(TypeError, match="ExploitabilityCallback needs a policy that is a table"):
        trainer.learn(1, callback=ExploitabilityCallback())


def test_policies_that_see_the_others_are_networks():
    game = make("BeachBar-v0", n_agents=20)
    trainer = DeepMirrorDescent(game, **TINY[DeepMirrorDescent], observe=("mean-field",))
    trainer.learn(1)
    assert isinstance(trainer.policy, NetworkPolicy)
    assert trainer.policy.observe == ("mean-field",)
    assert np.isfinite(evaluate(game, trainer.policy, n_worlds=2).mean_return.value)
    assert isinstance(DeepMirrorDescent(game).policy, TabularPolicy)


def test_training_ends_after_a_time(monkeypatch):
    now = [0.0]

    def clock():
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr("baselines.callbacks.time.monotonic", clock)
    trainer = DeepMirrorDescent(make("BeachBar-v0", n_agents=20), **TINY[DeepMirrorDescent])
    trainer.learn(100 * trainer.timesteps_per_iteration, callback=StopAfter(3.5))
    assert trainer.iteration == 4
    with pytest.raises(ValueError, match="seconds must be a finite number in"):
        StopAfter(-1.0)


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"explorers": 1.5}, "explorers must be a finite number in"),
        ({"epsilon": -0.1}, "epsilon must be a finite number in"),
        ({"hidden": (0,)}, r"hidden\[0\] must be an integer in"),
        ({"hidden": 3}, "hidden must be a tuple"),
        ({"activation": "selu"}, "activation must be one of"),
        ({"batch_size": 0}, "batch_size must be an integer in"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number in"),
        ({"observe": ("nothing",)}, "observe"),
        ({"device": "abacus"}, "device must be"),
        ({"buffer_size": 11}, "buffer_size must be at least 12, one transition of every step in the 4 episodes"),
        ({"warm_up": 3}, "warm_up must be at most 2, of episodes of 3 steps, got 3"),
    ],
)
def test_wrong_hyper_parameters_are_named(trainer_class, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        trainer_class(make("BeachBar-v0"), **options)


@BOTH
def test_short_episodes_of_infinite_games(trainer_class):
    """The last step of an episode has no transition: of two steps one is left, of one none."""
    trainer = trainer_class(at_home(discount=0.5, horizon=2, n_agents=10), **TINY[trainer_class])
    trainer.learn(1)
    assert trainer.iteration == 1
    with pytest.raises(ValueError, match=r"horizon must be at least 2 in an infinite game.* got 1"):
        trainer_class(at_home(discount=0.5, horizon=1, n_agents=10), **TINY[trainer_class])


def test_other_wrong_hyper_parameters_are_named():
    for name, value in (("temperature", 0.0), ("munchausen", 1.1), ("least_probability", 0.0)):
        with pytest.raises(ValueError, match=f"{name} must be a finite number in"):
            DeepMirrorDescent(make("BeachBar-v0"), **{name: value})
    for name in ("reservoir_size", "answer_episodes", "n_average_updates"):
        with pytest.raises(ValueError, match=f"{name} must be an integer in"):
            AverageNetworkFictitiousPlay(make("BeachBar-v0"), **{name: 0})
    with pytest.raises(ValueError, match="explorers must be a finite number in"):
        AverageNetworkFictitiousPlay(make("BeachBar-v0"), explorers=0.0)


@BOTH
def test_games_with_a_box_of_actions_are_refused(trainer_class):
    with pytest.raises(TypeError, match="needs a game with discrete actions, got LinearQuadratic"):
        trainer_class(make("LinearQuadratic-v0", n_agents=4))


@BOTH
def test_rewards_that_are_not_finite_are_refused(trainer_class):
    game = Tabulated(pay=((0.0, 0.0), (0.0, 0.0), (0.0, 1e39)))
    trainer = trainer_class(game, **TINY[trainer_class])
    before = arrays_of(trainer)
    with pytest.raises(ValueError, match=r"rewards must be finite, got inf of agent_\d at time \d for action 1"):
        trainer.learn(5 * trainer.timesteps_per_iteration)
    assert trainer.iteration == 0
    for name, array in arrays_of(trainer).items():
        np.testing.assert_array_equal(array, before[name])


@BOTH
def test_losses_that_are_not_finite_undo_the_iteration(trainer_class):
    game = Tabulated(n_agents=30, pay=((0.0, 1e30), (0.0, 0.0), (0.0, 0.0)))
    trainer = trainer_class(game, **TINY[trainer_class])
    before = arrays_of(trainer)
    with pytest.raises(ValueError, match="the loss must be finite, got inf"):
        trainer.learn(5 * trainer.timesteps_per_iteration)
    for name, array in arrays_of(trainer).items():
        np.testing.assert_array_equal(array, before[name])


def test_a_file_whose_reservoir_takes_masked_actions_is_refused(tmp_path):
    trainer = AverageNetworkFictitiousPlay(Gated(n_agents=30), **TINY[AverageNetworkFictitiousPlay])
    trainer.learn(1).save(tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as file:
        members = dict(file)
    members["reservoir/masks"][3] = False
    np.savez(tmp_path / "bad.npz", **members)
    with pytest.raises(ValueError, match=r"bad.npz.*reservoir/actions must be allowed by reservoir/masks"):
        AverageNetworkFictitiousPlay.load(tmp_path / "bad.npz", trainer.game)


def test_a_file_with_impossible_moments_is_refused(tmp_path):
    trainer = DeepMirrorDescent(make("BeachBar-v0", n_agents=20), **TINY[DeepMirrorDescent])
    trainer.learn(1).save(tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as file:
        members = dict(file)
    for name, value, message in (
        ("q/0.weight.exp_avg", 1e6, r"0.weight.exp_avg must be at most 8 times the root of exp_avg_sq"),
        ("q/0.weight", 1e7, r"q/0.weight\[0, 0\] must be a finite number in \[-1e\+06, 1e\+06\]"),
        ("q/2.bias.exp_avg_sq", -1.0, r"q/2.bias.exp_avg_sq\[0\] must be a finite number in \[0, inf\]"),
    ):
        np.savez(tmp_path / "bad.npz", **members | {name: np.full_like(members[name], value)})
        with pytest.raises(ValueError, match=message):
            DeepMirrorDescent.load(tmp_path / "bad.npz")


def test_parameters_that_grow_without_bound_undo_the_iteration():
    trainer = DeepMirrorDescent(make("BeachBar-v0", n_agents=20), **TINY[DeepMirrorDescent])
    with torch.no_grad():
        trainer._q.network[0].weight[0, 0] = 2e6
    before = arrays_of(trainer)
    with pytest.raises(ValueError, match=r"parameters must be at most 1e\+06 in size, those of 0.weight"):
        trainer.learn(1)
    for name, array in arrays_of(trainer).items():
        np.testing.assert_array_equal(array, before[name])


def test_networks_are_played_with_action_masks():
    game = Line()
    trainer = DeepMirrorDescent(game, **TINY[DeepMirrorDescent])
    engine, player = Engine(game, 5), Player(game, trainer.policy)
    engine.reset(seed=3)
    for _ in range(game.horizon):
        masks = engine.action_masks()
        actions = player.actions(engine)
        assert not masks.all()
        assert np.take_along_axis(masks, actions[..., None], -1).all()
        engine.step(actions)


@BOTH
@pytest.mark.parametrize("observe", [(), ("mean-field",)])
def test_run_folders(trainer_class, observe, tmp_path):
    """A table is in a file of its own; a network in the checkpoint only."""
    game = make("BeachBar-v0", n_agents=20)
    trainer = trainer_class(game, **TINY[trainer_class], observe=observe).learn(1)
    write_config(tmp_path, trainer, 1000)
    save_results(tmp_path, trainer)
    assert (tmp_path / "policy.npz").exists() == (not observe)
    found_game, policy, _ = read_run(tmp_path)
    assert found_game == game
    assert isinstance(policy, NetworkPolicy if observe else TabularPolicy)
    seen = np.random.default_rng(0).random((7, trainer._sizes[0]), np.float32)
    if observe:
        expected = trainer.policy.action_probabilities(seen)
        np.testing.assert_array_equal(policy.action_probabilities(seen), expected)
    assert_same(load_trainer(tmp_path, trainer.name, game, trainer.config), trainer)
