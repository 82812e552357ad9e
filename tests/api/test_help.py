"""What help() says of the APIs."""

import contextlib
import importlib
import inspect
import itertools

import pytest

import mfenvs
from mfenvs.api.gymnasium import PopulationVectorEnv, RepresentativeAgentEnv
from mfenvs.api.parameters import COMMON_PARAMETERS, COMMON_PASSAGES, with_common_parameters
from mfenvs.api.pettingzoo import PopulationParallelEnv
from mfenvs.api.sb3 import PopulationVecEnv, RepresentativeVecEnv

APIS = [PopulationVectorEnv, RepresentativeAgentEnv, PopulationParallelEnv, PopulationVecEnv, RepresentativeVecEnv]
for module, name in (
    ("torchrl", "PopulationTorchRLEnv"),
    ("tianshou", "PopulationTianshouEnv"),
    ("pufferlib", "PopulationPufferEnv"),
):
    with contextlib.suppress(ImportError):
        APIS.append(getattr(importlib.import_module(f"mfenvs.api.{module}"), name))


@pytest.mark.parametrize("api", APIS)
def test_every_parameter_is_described_in_the_order_in_which_it_is_taken(api):
    lines = inspect.getdoc(api).splitlines()
    section = lines[lines.index("Parameters") + 2 : lines.index("Raises") - 1]
    named = [line.removesuffix(":") for line in section if not line.startswith(" ")]
    assert set(named) == set(inspect.signature(api.__init__).parameters) - {"self"}
    for line, following in itertools.pairwise(section):
        assert line.startswith(" ") or (line.endswith(":") and following.startswith("    "))
    assert max(map(len, lines)) <= 115
    assert "{" not in "".join(lines)


@pytest.mark.parametrize("api", APIS)
def test_help_of_methods_is_complete(api):
    for name, method in inspect.getmembers(api, inspect.isfunction):
        if method.__module__.startswith("mfenvs.") and not name.startswith("_"):
            assert not any(line.strip().startswith("{") for line in inspect.getdoc(method).splitlines()), name
    assert "No world has moved then." in inspect.getdoc(PopulationVectorEnv.step)


def test_an_unknown_parameter_is_not_left_undescribed():
    class Api:
        """An API.

        {nothing}
        """

        def step(self):
            """Take a step.

            {no method}
            """

    with pytest.raises(KeyError, match="nothing"):
        with_common_parameters(Api)
    Api.__doc__ = None
    with pytest.raises(KeyError, match="no method"):
        with_common_parameters(Api)
    Api.step.__doc__ = None
    assert with_common_parameters(Api).__doc__ is None


def test_common_parameters_are_all_used():
    docs = "\n".join(inspect.getdoc(api) for api in [*APIS, PopulationVectorEnv.step])
    assert all(f"{name}:" in docs for name in COMMON_PARAMETERS)
    assert all(inspect.cleandoc(passage) in docs for passage in COMMON_PASSAGES.values())
    assert mfenvs.parallel_env.__doc__.endswith("PopulationParallelEnv`.")
