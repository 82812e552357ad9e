"""What help() says of the APIs."""

import contextlib
import importlib
import inspect
import itertools

import pytest

import mfenvs
from mfenvs.api.gymnasium import PopulationVectorEnv, RepresentativeAgentEnv, vector_env
from mfenvs.api.parameters import COMMON_PARAMETERS, COMMON_PASSAGES, with_common_parameters
from mfenvs.api.pettingzoo import PopulationParallelEnv, env, parallel_env
from mfenvs.api.sb3 import PopulationVecEnv, RepresentativeVecEnv, vec_env

APIS = [PopulationVectorEnv, RepresentativeAgentEnv, PopulationParallelEnv, PopulationVecEnv, RepresentativeVecEnv]
FUNCTIONS = [vector_env, parallel_env, env, vec_env, mfenvs.vec_env]
for module, name, function in (
    ("torchrl", "PopulationTorchRLEnv", "torchrl_env"),
    ("tianshou", "PopulationTianshouEnv", "tianshou_env"),
    ("pufferlib", "PopulationPufferEnv", "puffer_env"),
):
    with contextlib.suppress(ImportError):
        APIS.append(getattr(importlib.import_module(f"mfenvs.api.{module}"), name))
        FUNCTIONS.append(getattr(importlib.import_module(f"mfenvs.api.{module}"), function))


@pytest.mark.parametrize("api", [*APIS, *FUNCTIONS])
def test_every_parameter_is_described_in_the_order_in_which_it_is_taken(api):
    lines = inspect.getdoc(api).splitlines()
    section = lines[lines.index("Parameters") + 2 : lines.index("Raises") - 1]
    named = [line.removesuffix(":") for line in section if not line.startswith(" ")]
    made = api.__init__ if inspect.isclass(api) else api
    assert set(named) == set(inspect.signature(made).parameters) - {"self"}
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
