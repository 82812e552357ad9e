"""An actor-critic policy with separate networks for each population of a game."""

from collections.abc import Sequence
from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import MlpExtractor
from torch import nn

from mfenvs import checks
from mfenvs.game import Game
from mfenvs.populations import PopulationGame

from .hyper_parameters import TABLE_2


class PopulationPolicy(ActorCriticPolicy):
    """SB3's policy with networks of its own for each population: one policy for each, and no shared parameter.

    All populations are trained together. It is for games with several populations without a rule ``observe``,
    whose agents see the state of the union one-hot, and without ``VecNormalize``: the feature that is 1 says whose
    network acts. :func:`population_policy` makes the arguments of PPO.

    Parameters
    ----------
    n_states:
        Number of states of each population.
    args, kwargs:
        As of SB3's ``ActorCriticPolicy``; ``net_arch`` is that of each population.

    Raises
    ------
    TypeError, ValueError
        If ``n_states`` is not a list of numbers of states, or observations have fewer features than all states
        together; later, if they do not begin with a state one-hot.
    """

    def __init__(self, *args: Any, n_states: Sequence[int], **kwargs: Any) -> None:
        given = checks.sequence("n_states", n_states, "list the number of states of each population")
        self.n_states = [checks.integer(f"n_states[{k}]", size, 1) for k, size in enumerate(given)]
        super().__init__(*args, **kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "n_states": self.n_states}

    def _build_mlp_extractor(self) -> None:
        if self.features_dim < sum(self.n_states):
            raise ValueError(
                f"observations must begin with the {sum(self.n_states)} states of all populations, one-hot, got"
                f" {self.features_dim} features"
            )
        extractors = [
            MlpExtractor(self.features_dim, self.net_arch, self.activation_fn, self.device) for _ in self.n_states
        ]
        self.mlp_extractor = SeparateExtractors(extractors, self.n_states)  # type: ignore[assignment]

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        for head in (self.action_net, self.value_net):
            # The constant feature of each population is its bias.
            head.bias.requires_grad_(False).zero_()  # type: ignore[operator]


class SeparateExtractors(nn.Module):
    """Hidden layers of each population, whose outputs have separate places among the features of the last layer.

    A constant 1 follows the outputs of each population. In the places of other populations there are zeros, so
    that the columns of the last layer are separate networks too.

    Parameters
    ----------
    extractors:
        The hidden layers of each population.
    n_states:
        Number of states of each population, with which observations begin, one-hot.
    """

    def __init__(self, extractors: Sequence[MlpExtractor], n_states: Sequence[int]) -> None:
        super().__init__()
        self.extractors = nn.ModuleList(extractors)
        self.n_states = list(n_states)
        self.latent_dim_pi = sum(each.latent_dim_pi + 1 for each in extractors)
        self.latent_dim_vf = sum(each.latent_dim_vf + 1 for each in extractors)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of the last layers of the policy and of the value, (n_rows, latent_dim) each."""
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: torch.Tensor) -> torch.Tensor:
        """Features of the policy's last layer, shape (n_rows, latent_dim_pi)."""
        return self._placed(features, [each.forward_actor for each in self.extractors], self.latent_dim_pi)

    def forward_critic(self, features: torch.Tensor) -> torch.Tensor:
        """Features of the value's last layer, shape (n_rows, latent_dim_vf)."""
        return self._placed(features, [each.forward_critic for each in self.extractors], self.latent_dim_vf)

    def _placed(self, features: torch.Tensor, layers: Sequence[Any], width: int) -> torch.Tensor:
        placed = features.new_zeros(len(features), width)
        seen = torch.split(features[:, : sum(self.n_states)], self.n_states, dim=1)
        belongs = torch.stack([states.sum(dim=1) for states in seen], dim=1)
        if not bool(((belongs == 0.0) | (belongs == 1.0)).all() and (belongs.sum(dim=1) == 1.0).all()):
            raise ValueError("observations must begin with the state of the union, one-hot, and not be normalised")
        begin, each = 0, width // len(layers)
        for layer, members in zip(layers, belongs.T, strict=True):
            rows = members == 1.0
            placed[rows, begin : begin + each - 1] = layer(features[rows])
            placed[rows, begin + each - 1] = 1.0
            begin += each
        return placed


def population_policy(game: Game, policy_kwargs: dict[str, Any] | None = None) -> dict[str, Any]:
    """Arguments ``policy`` and ``policy_kwargs`` with which PPO trains a policy for each population of a game.

    ``PPO(env=game, **population_policy(game))``. With one population, or a rule ``observe`` of the game's own, the
    policy is ``"MlpPolicy"``.

    Parameters
    ----------
    game:
        The game.
    policy_kwargs:
        Other arguments of the policy; None for those of ``baselines.neural.hyper_parameters.TABLE_2``.
    """
    own = {} if policy_kwargs is None else {"policy_kwargs": policy_kwargs}
    if not isinstance(game, PopulationGame) or game.n_populations == 1 or hasattr(game, "observe"):
        return {"policy": "MlpPolicy", **own}
    n_states = game.tables.n_states.tolist()
    return {
        "policy": PopulationPolicy,
        "policy_kwargs": {**(own or TABLE_2)["policy_kwargs"], "n_states": n_states},
    }
