from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from weather import Weather

from baselines.policies import TabularPolicy
from mfenvs import Engine, make
from mfenvs.files import write_arrays


def observations(states: list[int], time: int, horizon: int, n_states: int = 2) -> np.ndarray:
    rows = np.zeros((len(states), n_states + 1), np.float32)
    rows[np.arange(len(states)), states] = 1.0
    rows[:, n_states] = np.float32(time) / np.float32(horizon)
    return rows


def deterministic_table() -> np.ndarray:
    """Horizon 3, two states, two actions: the action is (time + state) mod 2."""
    table = np.zeros((3, 2, 2))
    for h in range(3):
        for s in range(2):
            table[h, s, (h + s) % 2] = 1.0
    return table


@pytest.mark.parametrize("deterministic", [True, False])
def test_predict_reads_state_and_time_from_the_observation(deterministic: bool) -> None:
    policy = TabularPolicy(deterministic_table())
    for h in range(3):
        actions, memory = policy.predict(observations([0, 1, 1], h, 3), deterministic=deterministic)
        assert memory is None
        assert actions.tolist() == [h % 2, (h + 1) % 2, (h + 1) % 2]


def test_predict_takes_one_observation_and_ignores_further_features() -> None:
    row = np.append(observations([1], 2, 3)[0], [0.3, 0.7])
    action, _ = TabularPolicy(deterministic_table()).predict(row)
    assert action.shape == ()
    assert int(action) == 1


def test_every_horizon_up_to_500_is_read_back_from_float32() -> None:
    for horizon in (7, 20, 128, 500):
        table = np.zeros((horizon, 1, 2))
        table[:, 0, 0], table[:, 0, 1] = np.arange(horizon) % 2 == 0, np.arange(horizon) % 2 == 1
        policy = TabularPolicy(table)
        for h in range(horizon):
            action, _ = policy.predict(observations([0], h, horizon, 1)[0])
            assert int(action) == h % 2


def test_one_table_per_agent_goes_round_with_the_worlds() -> None:
    table = deterministic_table()
    policy = TabularPolicy(np.stack([table, table[:, ::-1]]))
    actions, _ = policy.predict(observations([0, 0, 0, 0], 0, 3))
    assert actions.tolist() == [0, 1, 0, 1]
    with pytest.raises(ValueError, match="multiple of n_agents = 2 rows, got 3"):
        policy.predict(observations([0, 0, 0], 0, 3))


def test_samples_have_the_tables_law() -> None:
    # Two-sided binomial test at error rate 1e-7.
    policy = TabularPolicy(np.array([[[0.3, 0.7]]]), seed=3)
    n = 20_000
    actions, _ = policy.predict(np.tile([1.0, 0.0], (n, 1)))
    assert stats.binomtest(int(actions.sum()), n, 0.7).pvalue > 1e-7


def test_save_and_load(tmp_path) -> None:
    policy = TabularPolicy(deterministic_table())
    policy.save(tmp_path / "policy.npz")
    assert np.array_equal(TabularPolicy.load(tmp_path / "policy.npz").probabilities, policy.probabilities)
    (tmp_path / "wrong.npz").write_bytes(b"no table")
    with pytest.raises(ValueError, match=r"wrong\.npz is not a saved TabularPolicy"):
        TabularPolicy.load(tmp_path / "wrong.npz")
    with pytest.raises(ValueError, match=r"missing\.npz"):
        TabularPolicy.load(tmp_path / "missing.npz")


def test_uniform_has_the_games_shape() -> None:
    game = make("RockPaperScissors-v0", horizon=4)
    assert np.allclose(TabularPolicy.uniform(game).probabilities, np.full((4, 3, 3), 1 / 3))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.ones((2, 2)), r"shape \(T, S, A\) or \(n_agents, T, S, A\), got \(2, 2\)"),
        (np.full((1, 1, 2), 0.6), r"probabilities\[0, 0\].*sum 1.2"),
        (np.array([[[1.5, -0.5]]]), "non-negative"),
        (np.array([[[np.nan, 1.0]]]), "nan"),
    ],
)
def test_what_is_not_a_policy_is_refused(table: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TabularPolicy(table)


def test_a_stationary_policy_reads_the_state_only() -> None:
    policy = TabularPolicy([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    assert (policy.n_times, policy.n_states) == (1, 2)
    actions, _ = policy.predict([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert actions.tolist() == [0, 2, 0]
    # What comes behind the state is not taken for a time.
    assert policy.predict([0.0, 1.0, 7.0])[0] == 2
    with pytest.raises(ValueError, match=r"observation must have shape \(..., at least 2\), got \(1,\)"):
        policy.predict([1.0])
    each = TabularPolicy([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
    assert each.predict(np.ones((4, 1)))[0].tolist() == [0, 1, 0, 1]


def test_uniform_of_an_infinite_game_is_stationary() -> None:
    game = make("RockPaperScissors-v0", horizon=4, discount=0.5)
    assert np.array_equal(TabularPolicy.uniform(game).probabilities, np.full((1, 3, 3), 1 / 3))


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda policy: TabularPolicy([[[1.0], [0.5, 0.5]]]), "probabilities must be an array: .*inhomogeneous"),
        (lambda policy: TabularPolicy(np.ones((1, 0, 2))), r"probabilities must have shape .*, got \(1, 0, 2\)"),
        (lambda policy: TabularPolicy(np.ones((1, 2, 0))), r"probabilities must have shape .*, got \(1, 2, 0\)"),
        (lambda policy: TabularPolicy([[["a", "b"]]]), "probabilities must be an array of numbers, got dtype <U1"),
        (lambda policy: TabularPolicy(policy.probabilities, seed=-1), "seed must be an integer >= 0, got -1"),
        (lambda policy: TabularPolicy(policy.probabilities, seed=None), "seed must be an integer >= 0, got None"),
        (lambda policy: TabularPolicy.uniform("Epidemic-v0"), "game must be a FiniteGame, got 'Epidemic-v0'"),
        (lambda policy: policy.predict([[1.0], [1.0, 2.0]]), "observation must be an array: .*inhomogeneous"),
        (
            lambda policy: policy.predict([["a", "b", "c"]]),
            "observation must be an array of numbers, got",
        ),
        (lambda policy: policy.predict(np.ones((1, 3)), deterministic=2), "deterministic must be True or False"),
        (lambda policy: TabularPolicy(policy.probabilities, n_public_states=0), "n_public_states must be"),
        (
            lambda policy: TabularPolicy(policy.probabilities, n_public_states=3),
            "each of 3 public states .* 2 rows",
        ),
    ],
)
def test_wrong_arguments_are_named(use, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        use(TabularPolicy(deterministic_table()))


def test_a_policy_for_every_agent_comes_back(tmp_path) -> None:
    table = np.stack([deterministic_table()] * 2)
    TabularPolicy(table).save(tmp_path / "policy.npz")
    assert np.array_equal(TabularPolicy.load(tmp_path / "policy.npz").probabilities, table)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"other": deterministic_table()}, "it has no array 'probabilities'"),
        ({"probabilities": deterministic_table(), "other": np.ones(1)}, "it must hold the arrays 'probabilities'"),
        ({"probabilities": np.array(1.0)}, "probabilities must have 3 or 4 axes, got 0"),
        ({"probabilities": np.ones((1, 1, 1, 1, 1))}, "probabilities must have 3 or 4 axes, got 5"),
        ({"probabilities": np.ones((1, 0, 1))}, r"probabilities must have shape .*, got \(1, 0, 1\)"),
        ({"probabilities": np.ones((1, 1, 2))}, r"probabilities\[0, 0\] must sum to 1, got 2\.0"),
        ({"probabilities": np.full((1, 1, 2), np.nan)}, r"probabilities\[0, 0, 0\] must be .*, got nan"),
        ({"probabilities": np.array([[[1.5, -0.5]]])}, r"probabilities\[0, 0, 1\] must be .*, got -0\.5"),
        ({"probabilities": np.ones((1, 1, 1), np.float32)}, "probabilities must have dtype float64"),
        ({"probabilities": np.ones((1, 1, 1), "M8[s]")}, "probabilities must have dtype float64"),
        ({"probabilities": deterministic_table(), "n_public_states": np.array(1)}, "n_public_states must be"),
        (
            {"probabilities": deterministic_table(), "n_public_states": np.array(3)},
            "probabilities must have a row",
        ),
        ({"probabilities": np.ones((1, 1, 1), object)}, r"probabilities must have dtype float64 \(<f8\), got \|O"),
    ],
)
def test_a_file_that_holds_no_policy_is_refused(members, message: str, tmp_path) -> None:
    np.savez(tmp_path / "policy.npz", **members)
    with pytest.raises(ValueError, match=rf"policy\.npz is not a saved TabularPolicy: {message}"):
        TabularPolicy.load(tmp_path / "policy.npz")


def test_damaged_files_are_refused(tmp_path) -> None:
    path = tmp_path / "policy.npz"
    TabularPolicy(deterministic_table()).save(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place])
        with pytest.raises(ValueError, match=r"policy\.npz is not a saved TabularPolicy"):
            TabularPolicy.load(path)
    start = whole.index(b"probabilities.npy") + 60
    path.write_bytes(whole[:start] + b"\xff" * 8 + whole[start + 8 :])
    with pytest.raises(ValueError, match=r"policy\.npz is not a saved TabularPolicy"):
        TabularPolicy.load(path)


class TestPublicStates:
    """Of a game with a public chain: two own states, two public states, horizon 3."""

    def test_predict_plays_what_the_engine_plays(self) -> None:
        game = Weather(n_agents=4, first=(0.6, 0.4))
        rows = np.arange(3)[:, None, None, None] + np.arange(2)[:, None, None] + np.array([[0], [1]])
        table = (rows % 2 == np.arange(2)).astype(float)  # The action is (time + public state + state) mod 2.
        policy = TabularPolicy.for_game(game, table)
        assert policy.n_states == 2
        engine = Engine(game, 30)
        engine.reset(seed=5)
        for time in range(3):
            actions, _ = policy.predict(engine.observe())
            expected = (time + engine.signal[:, -1:] + engine.states) % 2
            np.testing.assert_array_equal(actions, expected)
            engine.step(actions)

    def test_each_agent_has_a_table(self) -> None:
        laws = np.random.default_rng(1).integers(0, 2, (2, 3, 4))
        policy = TabularPolicy(np.eye(2)[laws], n_public_states=2)
        seen = [[0.0, 1.0, 2 / 3, 0.0, 1.0], [1.0, 0.0, 1 / 3, 1.0, 0.0]]
        assert policy.predict(seen)[0].tolist() == [laws[0, 2, 3], laws[1, 1, 0]]

    def test_observations_without_the_public_state_are_refused(self) -> None:
        policy = TabularPolicy.uniform(Weather())
        with pytest.raises(ValueError, match=r"observation must have shape \(..., at least 5\)"):
            policy.predict([1.0, 0.0, 0.0])
        with pytest.raises(ValueError, match="observation must show the public state one-hot"):
            policy.predict([1.0, 0.0, 0.0, 0.5, 0.5])

    def test_save_and_load(self, tmp_path) -> None:
        TabularPolicy.uniform(Weather()).save(tmp_path / "policy.npz")
        assert TabularPolicy.load(tmp_path / "policy.npz").n_public_states == 2


class TestLevels:
    """Of a game whose agents see the levels of their state: three states, at (0, 0), (1, 0) and (0, .5)."""

    LEVELS = ((0.0, 0.0), (1.0, 0.0), (0.0, 0.5))
    TABLE = np.eye(3)[None]
    """The action is the number of the state."""

    def test_the_state_is_that_with_the_nearest_levels(self) -> None:
        policy = TabularPolicy(self.TABLE, state_levels=self.LEVELS)
        rows = np.float32([[0, 0], [1, 0], [0, 0.5], [0.1, 0.2], [0.9, 0.3], [0.2, 0.9], [0.4, 0.0]])
        assert policy.predict(rows)[0].tolist() == [0, 1, 2, 0, 1, 2, 0]
        assert policy.predict(rows[1])[0].shape == ()
        assert policy.predict(np.zeros((0, 2)))[0].shape == (0,)
        with pytest.raises(ValueError, match=r"observation must have shape \(\.\.\., at least 2\), got \(3, 1\)"):
            policy.predict(np.zeros((3, 1)))

    def test_the_time_comes_after_the_levels(self) -> None:
        table = np.concatenate([self.TABLE, self.TABLE[:, ::-1]])
        policy = TabularPolicy(table, state_levels=self.LEVELS)
        assert policy.predict([[1, 0, 0.0], [0, 0, 0.0], [1, 0, 0.5], [0, 0, 0.5]])[0].tolist() == [1, 0, 1, 2]

    def test_many_rows_are_as_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = np.random.default_rng(0).random((50, 2))
        policy = TabularPolicy(self.TABLE, state_levels=self.LEVELS)
        singly = [int(policy.predict(row)[0]) for row in rows]
        monkeypatch.setattr("baselines.policies.NUMBERS_AT_A_TIME", 13)
        assert policy.predict(rows)[0].tolist() == singly

    def test_they_are_saved_with_the_table(self, tmp_path: Path) -> None:
        TabularPolicy(self.TABLE, state_levels=self.LEVELS).save(tmp_path / "policy.npz")
        loaded = TabularPolicy.load(tmp_path / "policy.npz")
        assert np.array_equal(loaded.state_levels, self.LEVELS)
        assert np.array_equal(loaded.probabilities, self.TABLE)
        write_arrays(tmp_path / "wrong.npz", {"probabilities": self.TABLE, "state_levels": np.zeros((2, 1))})
        with pytest.raises(ValueError, match=r"state_levels must have shape \(3, any\), got \(2, 1\)"):
            TabularPolicy.load(tmp_path / "wrong.npz")

    def test_a_game_says_what_its_agents_see(self) -> None:
        malware = make("Malware-v0", n_levels=3)
        assert np.array_equal(TabularPolicy.uniform(malware).state_levels, [[0.0], [0.5], [1.0]])
        assert TabularPolicy.uniform(make("Auction-v0")).state_levels is None

    @pytest.mark.parametrize(
        ("levels", "message"),
        [
            ([[0.0], [1.0]], r"state_levels must have shape \(3, 1\), got \(2, 1\)"),
            ([0.0, 0.5, 1.0], r"state_levels must have shape \(3, 1\), got \(3,\)"),
            ([[0.0], [np.nan], [1.0]], r"state_levels\[1, 0\] must be finite, got nan"),
        ],
    )
    def test_wrong_ones(self, levels: list[float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            TabularPolicy(self.TABLE, state_levels=levels)
