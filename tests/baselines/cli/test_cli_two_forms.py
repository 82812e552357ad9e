"""The command line on games that are finite or not, by a constant."""

import json
from pathlib import Path

import numpy as np
import pytest

from baselines.cli.main import main
from baselines.runs import read_run
from baselines.solvers.fixed_point import FictitiousPlay
from mfenvs import FiniteGame, make
from mfenvs.games.malware import Malware

SMALL = ["--game.n-agents", "5", "--game.horizon", "4", "--no-progress"]
TWO_PRODUCTS = [
    *("--game.benefits", ".3", ".4", "--game.crowding-costs", ".1", ".2"),
    *("--game.investment-costs", ".2", ".2"),
]
PPO = ["--batch-size", "10", "--n-epochs", "1", "--total-timesteps", "20"]


@pytest.mark.slow
def test_a_solver_trains_on_the_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "fictitious-play", "Malware-v0", "--folder", str(tmp_path / "run")]
    assert main([*words, *SMALL, "--game.n-levels", "4", "--total-timesteps", "2"]) == 0
    assert main([*words, "--resume", "--total-timesteps", "1", "--no-progress"]) == 0
    assert "3 iterations" in capsys.readouterr().out
    constants = json.loads((tmp_path / "run" / "config.json").read_text())["constants"]
    assert (constants["states"], constants["n_levels"], constants["cost"]) == ("grid", 4, None)
    game, policy, _ = read_run(tmp_path / "run")
    assert game == Malware(n_agents=5, horizon=4, n_levels=4)
    # What agents of the game see is what the policy that was saved acts on.
    assert np.array_equal(policy.state_levels, game.state_levels)
    trainer = FictitiousPlay.load(tmp_path / "run" / "checkpoint.npz")
    assert trainer.game == game
    assert isinstance(trainer.game, FiniteGame)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("Malware-v0", ["--game.states", "continuous"]),
        pytest.param("Investment-v0", TWO_PRODUCTS, marks=pytest.mark.slow),
    ],
)
def test_a_network_trains_on_continuous_states(name: str, flags: list[str], tmp_path: Path) -> None:
    words = ["train", "ppo", name, "--folder", str(tmp_path / "run")]
    assert main([*words, *SMALL, *PPO, *flags]) == 0
    assert main([*words, "--resume", "--total-timesteps", "20", "--no-progress"]) == 0
    game, _, config = read_run(tmp_path / "run")
    assert not isinstance(game, FiniteGame)
    assert config["game"] == name
    assert main(["render", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "episode.png").exists()


def test_help_shows_all_constants_and_leaves_the_rule_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "ppo", "Malware-v0", "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"--game.{name}" in shown for name in ("states", "n-levels", "spread", "repair-cost"))
    assert "--game.cost {fixed}" in shown


def test_a_solver_refuses_continuous_states(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "fictitious-play", "Malware-v0", "--folder", str(tmp_path / "run")]
    assert main([*words, "--game.states", "continuous"]) == 2
    assert "needs a finite game, got Malware with states='continuous'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_trainer_of_a_game_with_a_rule_is_loaded_with_the_game(tmp_path: Path) -> None:
    """A file holds no code: it says that the game must be given."""
    from mfenvs import rule

    @rule
    def free(level, action, mean, constants):  # type: ignore[no-untyped-def]
        return -level

    game = make("Malware-v0", n_agents=5, n_levels=4, cost=free)
    FictitiousPlay(game).save(tmp_path / "trainer.npz")
    with pytest.raises(ValueError, match=r"does not hold the constants of its game, Malware-v0: pass the game as"):
        FictitiousPlay.load(tmp_path / "trainer.npz")
    assert FictitiousPlay.load(tmp_path / "trainer.npz", game).game is game
