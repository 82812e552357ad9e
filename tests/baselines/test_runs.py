"""Run folders: what is read of one is checked before it is used."""

import json

import pytest

from baselines.runs import ALGORITHMS, RunConfig, load_trainer, read_config, read_run, save_results, write_config
from baselines.tabular.mirror_descent import SymmPMD
from mfenvs import make
from mfenvs.files import FileError

GAME = make("Epidemic-v0", n_agents=20, horizon=3)
KEYS = [*RunConfig.__annotations__]


@pytest.fixture
def folder(tmp_path):
    trainer = SymmPMD(GAME, seed=3)
    write_config(tmp_path, trainer, 1000)
    save_results(tmp_path, trainer)
    return tmp_path


def changed(folder, **changes):
    """The folder, with other values of keys; None takes the key away."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))
    return folder


def test_a_configuration_is_read_as_it_was_written(folder) -> None:
    config = read_config(folder)
    assert [*config] == KEYS
    assert (config["algorithm"], config["game"], config["module"]) == ("symm-pmd", "Epidemic-v0", None)
    assert (config["seed"], config["total_timesteps"]) == (3, 1000)
    game, policy, _ = read_run(folder)
    assert game == GAME
    assert policy.probabilities.shape == (3, 2, 2)
    assert load_trainer(folder, "symm-pmd", game, SymmPMD(GAME, seed=3).config).config.seed == 3


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(key, folder) -> None:
    with pytest.raises(FileError, match=rf"config.json: it must have the key '{key}'"):
        read_config(changed(folder, **{key: ...}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"note": 1}, "it must have no key 'note'; allowed: algorithm, game, module"),
        ({"algorithm": 5}, "algorithm must be a string, got 5"),
        ({"game": None}, "game must be a string, got None"),
        ({"module": ["beach"]}, r"module must be a string, got \['beach'\]"),
        ({"constants": []}, r"constants must be an object, got \[\]"),
        ({"hyper_parameters": "x"}, "hyper_parameters must be an object, got 'x'"),
        ({"versions": {"numpy": 2}}, "versions: numpy must be a string, got 2"),
        ({"seed": -1}, r"seed must be an integer in \[0,"),
        ({"seed": True}, r"seed must be an integer in \[0,"),
        ({"seed": "1"}, r"seed must be an integer in \[0,"),
        ({"total_timesteps": 0}, r"total_timesteps must be an integer in \[1,"),
        ({"total_timesteps": 1e6}, r"total_timesteps must be an integer in \[1,"),
        ({"algorithm": "nothing"}, "unknown algorithm 'nothing'"),
        ({"game": "Epidemik-v0"}, "unknown game 'Epidemik-v0'"),
        (
            {"game": "Beach-v0", "module": "beach"},
            "'Beach-v0' is not registered: import beach, which registers it",
        ),
    ],
)
def test_a_wrong_value_is_named(changes, message, folder) -> None:
    with pytest.raises(FileError, match=rf"config.json: .*{message}"):
        read_run(changed(folder, **changes))


@pytest.mark.parametrize(
    ("of", "changes", "message"),
    [
        ("constants", {"horizon": ...}, "constants must have the constant 'horizon'"),
        ("constants", {"color": 1}, "constants must have no constant 'color'"),
        ("constants", {"horizon": 0}, "horizon must be an integer >= 1, got 0"),
        ("constants", {"recovery": {}}, "recovery must be a finite number"),
        ("hyper_parameters", {"episodes": ...}, "hyper_parameters must have the hyper-parameter 'episodes'"),
        ("hyper_parameters", {"color": 1}, "hyper_parameters must have no hyper-parameter 'color'"),
        ("hyper_parameters", {"episodes": [1]}, "episodes must be an integer"),
    ],
)
def test_wrong_constants_and_hyper_parameters_are_named(of, changes, message, folder) -> None:
    values = json.loads((folder / "config.json").read_text())[of] | changes
    with pytest.raises(FileError, match=rf"config.json: {message}"):
        read_run(changed(folder, **{of: {key: value for key, value in values.items() if value is not ...}}))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, "\0", '{"seed": ' + "1" * 5000 + "}"])
def test_what_is_no_configuration_is_refused(text, folder) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(FileError, match=r"config\.json"):
        read_config(folder)


def test_a_checkpoint_of_another_run_is_refused(folder) -> None:
    other = SymmPMD(make("Epidemic-v0", n_agents=21, horizon=3), seed=3)
    save_results(folder, other)
    config = SymmPMD(GAME, seed=3).config
    with pytest.raises(FileError, match=r"checkpoint.npz is of another run: its game: n_agents = 21, got 2\d*$"):
        load_trainer(folder, "symm-pmd", GAME, config)
    save_results(folder, SymmPMD(GAME, seed=4))
    with pytest.raises(
        FileError, match=r"checkpoint.npz is of another run: its hyper-parameters: seed = 4, got 3$"
    ):
        load_trainer(folder, "symm-pmd", GAME, config)


def test_every_algorithm_has_the_name_that_it_is_known_by() -> None:
    assert all(trainer.name == name for name, trainer in ALGORITHMS.items())
