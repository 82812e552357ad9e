"""The comparison of GMF-Q with its rivals: experience, cells of the study, intervals, orders and claims."""

import json

import numpy as np
import pytest

from baselines.tabular.gmf_q import GMFQConfig
from baselines.tabular.independent_q import IndependentQConfig, MFQConfig
from benchmarks.reproduce import gmf_q, gmf_q_study
from benchmarks.reproduce.gmf_q_learners import ALGORITHMS, episodes_worth, learner, policy_for
from benchmarks.reproduce.gmf_q_orders import claims, comparisons, interval, order, table_of_claims
from benchmarks.reproduce.gmf_q_study import ROWS, STUDY, Row, StudyProtocol, cell
from mfenvs import make

TINY = StudyProtocol(
    size=3, n_agents=6, outer_iterations=2, sweeps=50, measured_at=(1,), evaluated_rounds=4, n_joint_states=2,
    n_worlds=2, rows=("base", "equal transitions", "MF-Q: 1 bin", "c = 16"),
)  # fmt: skip


def small(**constants):
    return make("Auction-v0", **({"n_agents": 6, "n_budgets": 3, "n_bids": 3, "horizon": 5} | constants))


def test_experience_is_equal_in_rounds_or_in_transitions() -> None:
    """200 sweeps of 3 x 3 entries: 1800 rounds of 5 make 360 episodes, or 60 if all six agents' rounds count."""
    game = small()
    assert episodes_worth(game, 200, "rounds") == 360
    assert episodes_worth(game, 200, "transitions") == 60
    assert episodes_worth(game, 1, "transitions") == 1


@pytest.mark.slow
def test_the_learners_take_their_share() -> None:
    game = small()
    for budget, agents in (("rounds", 6), ("transitions", 1)):
        for algorithm in ("MF-Q", "IL"):
            trainer = learner(game, algorithm, 0, sweeps=200, budget=budget)
            assert trainer.timesteps_per_iteration == 1800 * agents
        assert learner(game, "GMF-Q", 0, sweeps=200, budget=budget).timesteps_per_iteration == 1800
    on_a_path = learner(game, "GMF-Q", 0, sweeps=200, budget="rounds", asynchronous=True)
    assert on_a_path.timesteps_per_iteration == 1800


@pytest.mark.slow
def test_what_is_judged() -> None:
    game = small()
    gmf_q_learner, il = (learner(game, a, 1, sweeps=20, budget="rounds").learn(1) for a in ("GMF-Q", "IL"))
    for trainer, q in ((gmf_q_learner, gmf_q_learner.q), (il, il.q)):
        found = policy_for(trainer, "greedy").probabilities
        assert np.array_equal(found > 0, q == q.max(axis=-1, keepdims=True))
        cold = np.exp(16 * (q - q.max(axis=-1, keepdims=True)))
        expected = cold / cold.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(policy_for(trainer, "c = 16").probabilities, expected, atol=1e-9)
        np.testing.assert_array_equal(policy_for(trainer, "own").probabilities, trainer.policy.probabilities)
    with pytest.raises(ValueError, match="evaluation 'own, usual' is for MF-Q, got IndependentQ"):
        policy_for(il, "own, usual")


def test_rows_share_the_cells_that_do_not_differ() -> None:
    base, transitions = ([cell(TINY, name, a) for a in ALGORITHMS] for name in ("base", "equal transitions"))
    assert base[0] == transitions[0]
    assert base[1] != transitions[1]
    assert base[2] != transitions[2]
    assert cell(TINY, "MF-Q: 1 bin", "IL") == base[2]
    assert cell(TINY, "MF-Q: 1 bin", "MF-Q")["options"] == {"mean_action": "others", "n_bins": 1}
    assert cell(TINY, "MF-Q: mean bid of those met", "MF-Q")["options"] == {"mean_action": "met"}
    assert cell(TINY, "a tenth of T_k", "IL")["sweeps"] == 5
    # Every row differs from the base for some algorithm, and every choice is one that game and learners take.
    base = [cell(STUDY, "base", a) for a in ALGORITHMS]
    configs = dict(zip(ALGORITHMS, (GMFQConfig, MFQConfig, IndependentQConfig), strict=True))
    for name in ROWS:
        found = [cell(STUDY, name, a) for a in ALGORITHMS]
        assert (found != base) == (name != "base")
        for described in found:
            make("Auction-v0", **described["game"])
            configs[described["algorithm"]](**described["options"])


@pytest.mark.slow
def test_the_study_goes_on_where_it_was(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(gmf_q_study, "SMALL", {"n_agents": 3, "n_budgets": 3, "n_bids": 3, "n_bidders": 2})
    monkeypatch.setitem(ROWS, "exact", Row(game=gmf_q_study.SMALL, exact=True))
    protocol = StudyProtocol(**{**TINY.__dict__, "rows": (*TINY.rows, "exact")})
    words = ["--study", "--seeds", "2", "--jobs", "1", "--out", str(tmp_path)]
    run, calls = gmf_q_study.run_cell, []

    def interrupted(*arguments):
        if len(calls) == 11:
            raise KeyboardInterrupt
        calls.append(arguments)
        return run(*arguments)

    monkeypatch.setattr(gmf_q_study, "run_cell", interrupted)
    assert gmf_q.main(words, study_protocol=protocol) == 130
    assert not json.loads((tmp_path / "study.json").read_text())["complete"]
    calls.clear()
    monkeypatch.setattr(gmf_q_study, "run_cell", lambda *a: calls.append(a) or run(*a))
    assert gmf_q.main(words, study_protocol=protocol) == 0
    # Twelve cells a seed: GMF-Q in base, c = 16 and exact, MF-Q in all five rows, IL in four.
    assert len(calls) == 24 - 11
    first = (tmp_path / "study.json").read_text()
    assert gmf_q.main(words, study_protocol=protocol) == 0
    assert len(calls) == 24 - 11
    found, again = json.loads(first), json.loads((tmp_path / "study.json").read_text())
    assert found["complete"]
    assert found["rows"] == again["rows"]
    assert "numba" in found["versions"]
    assert found["rows"]["base"]["seeds"] == [0, 1]
    assert "own, usual" not in str(found["rows"]["base"]["compared"].keys())
    assert {"own, stationary after 1", "greedy, population", "own, influence"} <= set(
        found["rows"]["base"]["values"]["IL"][0]
    )
    exact = found["rows"]["exact"]["compared"]["own, exact"]
    assert all(exact[a]["relative"][0] > 0 for a in ALGORITHMS)
    assert (tmp_path / "study.png").stat().st_size > 10_000
    assert "| GMF-Q < MF-Q < IL |" in capsys.readouterr().out


def runs(**by_algorithm):
    names = {"gmf_q": "GMF-Q", "mf_q": "MF-Q", "il": "IL"}
    return {
        names[key]: [{"own, time": {"relative": x, "absolute": 2 * x}} for x in values]
        for key, values in by_algorithm.items()
    }


def test_intervals_by_hand() -> None:
    mean, low, high = interval(np.array([1.0, 3.0]))
    # Of the four equally likely samples of two, one has the mean 1, two have 2 and one has 3.
    assert (mean, low, high) == (2.0, 1.0, 3.0)
    assert interval(np.array([2.0] * 5)) == [2.0, 2.0, 2.0]
    rng = np.random.default_rng(1)
    mean, low, high = interval(rng.normal(size=2000))
    # The normal interval of a mean of 2000: 1.645 / sqrt(2000) = .0368 on either side.
    assert high - low == pytest.approx(2 * 0.0368, rel=0.1)
    assert low < mean < high


def test_seeds_are_compared_in_pairs() -> None:
    """All vary by 4 from seed to seed, and IL is .2 below GMF-Q in each: the difference is certain."""
    compared = comparisons(runs(gmf_q=[1.0, 3.0, 5.0], mf_q=[0.95, 3.1, 4.9], il=[0.8, 2.8, 4.8]))["own, time"]
    assert compared["GMF-Q"]["relative"][0] == pytest.approx(3.0)
    assert compared["GMF-Q"]["absolute"][0] == pytest.approx(6.0)
    assert compared["differences"]["GMF-Q - IL"] == pytest.approx([0.2] * 3)
    assert order(compared) == "IL < MF-Q ~ GMF-Q"


def test_claims_hold_fail_or_are_open() -> None:
    as_published = runs(gmf_q=[1.0, 1.1], mf_q=[2.0, 2.1], il=[3.0, 3.1])
    reversed_ = runs(gmf_q=[3.0, 3.1], mf_q=[2.0, 2.1], il=[1.0, 1.1])
    unclear = runs(gmf_q=[1.0, 1.1], mf_q=[2.0, 2.1], il=[2.5, 1.7])
    rows = {
        name: {"compared": comparisons(values)}
        for name, values in (("a", as_published), ("b", reversed_), ("c", unclear))
    }
    found = claims(rows)
    at = {name: f"{name}; own, time" for name in "abc"}
    assert found["GMF-Q < MF-Q"] == {"holds": [at["a"], at["c"]], "fails": [at["b"]], "open": []}
    assert found["MF-Q < IL"] == {"holds": [at["a"]], "fails": [at["b"]], "open": [at["c"]]}
    assert found["GMF-Q < MF-Q < IL"] == {"holds": [at["a"]], "fails": [at["b"]], "open": [at["c"]]}
    assert "| MF-Q < IL | 1 | 1 | 1 |" in table_of_claims(found)
