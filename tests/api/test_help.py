"""What help() says of the APIs."""

import inspect
import itertools

import pytest

import mfenvs
from mfenvs.api.gymnasium import PopulationVectorEnv, RepresentativeAgentEnv
from mfenvs.api.parameters import COMMON_PARAMETERS, with_common_parameters
from mfenvs.api.pettingzoo import PopulationParallelEnv
from mfenvs.api.sb3 import PopulationVecEnv, RepresentativeVecEnv

APIS = PopulationVectorEnv, RepresentativeAgentEnv, PopulationParallelEnv, PopulationVecEnv, RepresentativeVecEnv


@pytest.mark.parametrize("api", APIS)
def test_every_parameter_is_described_in_the_order_in_which_it_is_taken(api):
    lines = inspect.getdoc(api).splitlines()
    section = lines[lines.index("Parameters") + 2 : lines.index("Raises") - 1]
    named = [line.removesuffix(":") for line in section if not line.startswith(" ")]
    assert set(named) == set(inspect.signature(api).parameters)
    for line, following in itertools.pairwise(section):
        assert line.startswith(" ") or (line.endswith(":") and following.startswith("    "))
    assert max(map(len, lines)) <= 115
    assert "{" not in "".join(lines)


def test_an_unknown_parameter_is_not_left_undescribed():
    class Api:
        """An API.

        {nothing}
        """

    with pytest.raises(KeyError, match="nothing"):
        with_common_parameters(Api)
    Api.__doc__ = None
    assert with_common_parameters(Api).__doc__ is None


def test_common_parameters_are_all_used():
    docs = " ".join(inspect.getdoc(api) for api in APIS)
    assert all(f"{name}:" in docs for name in COMMON_PARAMETERS)
    assert mfenvs.parallel_env.__doc__.endswith("PopulationParallelEnv`.")
