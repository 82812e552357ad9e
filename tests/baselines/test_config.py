import dataclasses
import json
import math
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pytest
import torch

from baselines.config import TrainerConfig
from baselines.runs import ALGORITHMS
from baselines.tabular.temporal_difference import TDConfig
from mfenvs import make


@dataclasses.dataclass(frozen=True, kw_only=True)
class Every(TrainerConfig):
    """A field of every kind."""

    whole: int = 1
    number: float = 1.0
    maybe: float | None = None
    switch: bool = False
    word: Literal["a", "b"] = "a"
    text: str = "x"
    layers: tuple[int, ...] = (1, 2)


def test_numbers_of_numpy_become_pythons() -> None:
    config = Every(
        seed=np.int64(3),
        whole=np.uint8(200),
        number=np.float32(0.1),
        maybe=np.int16(2),
        switch=np.bool_(True),
        word=np.str_("b"),
        layers=[np.int32(4), 5],
    )
    values = dataclasses.asdict(config)
    assert values == {
        "seed": 3,
        "whole": 200,
        "number": float(np.float32(0.1)),
        "maybe": 2.0,
        "switch": True,
        "word": "b",
        "text": "x",
        "layers": (4, 5),
    }
    kinds = {"seed": int, "whole": int, "number": float, "maybe": float, "switch": bool, "layers": tuple}
    assert {name: type(values[name]) for name in kinds} == kinds
    assert type(values["layers"][0]) is int
    assert json.loads(json.dumps(values))["whole"] == 200
    assert Every(number=Fraction(1, 4)).number == 0.25
    assert Every(number=2).number == 2.0
    assert Every(number=math.inf).number == math.inf  # for the class to refuse
    assert Every(maybe=None).maybe is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *(
            (name, value, f"{name} must be {kind}, got ")
            for name, kind in (("whole", "an integer"), ("number", "a number"), ("maybe", "a number"))
            for value in (np.array(3), np.array([3.0]), torch.tensor(3), True, np.bool_(True), "3", [3], 1j)
        ),
        ("maybe", "None", "maybe must be a number, got 'None'"),
        ("whole", 1.0, r"whole must be an integer, got 1\.0"),
        ("whole", np.float64(1.0), r"whole must be an integer, got np\.float64\(1\.0\)"),
        ("whole", None, "whole must be an integer, got None"),
        ("number", None, "number must be a number, got None"),
        ("number", 10**400, "number must be a number that a float can hold, got 1000"),
        ("switch", 1, "switch must be True or False, got 1"),
        ("switch", "no", "switch must be True or False, got 'no'"),
        ("switch", np.array(True), "switch must be True or False"),
        ("word", "c", "word must be one of 'a', 'b', got 'c'"),
        ("word", np.array(["a", "b"]), "word must be one of 'a', 'b', got array"),
        ("word", [], r"word must be one of 'a', 'b', got \[\]"),
        ("text", 3, "text must be a string, got 3"),
        ("layers", [1, 2.0], r"layers\[1\] must be an integer, got 2\.0"),
        ("layers", [np.array(3)], r"layers\[0\] must be an integer, got array"),
        ("seed", -1, r"seed must be an integer in \[0, 9223372036854775807\], got -1"),
        ("seed", 2**63, r"seed must be an integer in \[0, 9223372036854775807\]"),
        ("seed", np.array(3), "seed must be an integer, got array"),
    ],
)
def test_values_of_another_type_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Every(**{name: value})


@pytest.mark.parametrize("trainer", ALGORITHMS.values(), ids=ALGORITHMS)
def test_no_trainer_keeps_an_array_or_a_number_of_numpy(trainer: Any) -> None:
    defaults = trainer.config_class()
    for field in dataclasses.fields(defaults):
        value = getattr(defaults, field.name)
        if isinstance(value, bool | int | float):
            as_numpy = {bool: np.bool_, int: np.int64, float: np.float64}[type(value)](value)
            kept = getattr(trainer.config_class(**{field.name: as_numpy}), field.name)
            assert type(kept) is type(value)
            assert kept == value
            with pytest.raises((TypeError, ValueError), match=f"{field.name} must be"):
                trainer.config_class(**{field.name: np.array(value)})
            with pytest.raises((TypeError, ValueError), match=f"{field.name} must be"):
                trainer.config_class(**{field.name: torch.tensor(value)})


def test_a_trainer_with_numpys_numbers_can_be_saved(tmp_path) -> None:
    symm_pmd = ALGORITHMS["symm-pmd"]
    game = make("Epidemic-v0", n_agents=np.int64(20), horizon=3, initial_infected=np.float64(0.25))
    trainer = symm_pmd(game, temperature=np.float32(0.02), seed=np.int64(3), delta=np.float32(0.5)).learn(1)
    trainer.save(tmp_path / "run.npz")
    loaded = symm_pmd.load(tmp_path / "run.npz")
    assert loaded.config == trainer.config
    assert loaded.game == trainer.game


def test_ranges_are_checked_after_the_types() -> None:
    with pytest.raises(ValueError, match=r"delta must be a finite number in \(0, 1\], got nan"):
        TDConfig(delta=np.float32(np.nan))
    with pytest.raises(ValueError, match=r"episodes must be an integer in \[1, 4194304\], got 0"):
        TDConfig(episodes=np.int8(0))
