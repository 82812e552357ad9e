"""A policy of the form of the linear-quadratic game's equilibrium: affine in the state and the types' means."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from mfenvs import checks
from mfenvs.games.linear_quadratic.game import LinearQuadratic

from ...neural.unit_box import UnitBoxPolicy


class AffineFeatures(nn.Module):
    """Features of observations in the linear-quadratic game, in which its equilibrium is linear.

    With the state x, the types' means m_k if they are observed, and Legendre polynomials L_j of the elapsed time:
    for the actor 1{type = tau} L_j times each of (x, m_1, ..., 1), for the critic 1{type = tau} L_j times each
    product of two of them. There are no parameters.

    Parameters
    ----------
    n_types:
        Number of types.
    n_means:
        Number of means that are observed.
    scale:
        The game's ``scale``, with which means are mapped into [0, 1].
    degree:
        Highest degree of the polynomials of time.
    """

    def __init__(self, n_types: int, n_means: int, scale: float, degree: int) -> None:
        super().__init__()
        self.n_types, self.scale, self.degree = n_types, scale, degree
        n_moments = 2 + n_means
        self.latent_dim_pi = n_types * (degree + 1) * n_moments
        self.latent_dim_vf = n_types * (degree + 1) * (n_moments * (n_moments + 1) // 2)

    def forward(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of the actor and of the critic."""
        return self.forward_actor(observations), self.forward_critic(observations)

    def forward_actor(self, observations: torch.Tensor) -> torch.Tensor:
        """Features of the actor, shape (n_rows, latent_dim_pi)."""
        return self._with_type_and_time(observations, self._moments(observations))

    def forward_critic(self, observations: torch.Tensor) -> torch.Tensor:
        """Features of the critic, shape (n_rows, latent_dim_vf)."""
        moments = self._moments(observations)
        first, second = torch.triu_indices(moments.shape[1], moments.shape[1], device=moments.device)
        return self._with_type_and_time(observations, moments[:, first] * moments[:, second])

    def _moments(self, observations: torch.Tensor) -> torch.Tensor:
        """State, means and 1."""
        turned = 2.0 * observations[:, self.n_types + 2 :] - 1.0
        means = self.scale * turned / (1.0 - turned.abs()).clamp(min=1e-6)
        return torch.cat([observations[:, :1], means, torch.ones_like(observations[:, :1])], dim=1)

    def _with_type_and_time(self, observations: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        kinds = observations[:, 1 : self.n_types + 1]
        time = 2.0 * observations[:, self.n_types + 1] - 1.0
        powers = [torch.ones_like(time), time]
        for j in range(1, self.degree):
            powers.append(((2 * j + 1) * time * powers[j] - j * powers[j - 1]) / (j + 1))
        by_time = torch.stack(powers[: self.degree + 1], dim=1)
        return torch.einsum("nk,nj,nf->nkjf", kinds, by_time, factors).flatten(1)


class AffinePolicy(UnitBoxPolicy):
    """A Gaussian policy for the linear-quadratic game whose mean is affine in the state and the types' means.

    The coefficients of each type are polynomials of time, and so are those of the value, which is quadratic:
    :class:`AffineFeatures`. With polynomials of a high enough degree, the equilibrium is of this form.

    Parameters
    ----------
    n_types, scale, degree:
        As in :class:`AffineFeatures`; :meth:`arguments` makes the first two from a game.
    learns_exploration:
        Whether the standard deviation of actions is learned. In a linear-quadratic game the best mean action does
        not depend on it; if it is learned it shrinks, and with it what is learned from a rollout.
    args, kwargs:
        Those of SB3's ``ActorCriticPolicy``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or the observations are not those of such a game.
    """

    def __init__(
        self,
        *args: Any,
        n_types: int,
        scale: float,
        degree: int = 3,
        learns_exploration: bool = False,
        **kwargs: Any,
    ) -> None:
        self.n_types = checks.integer("n_types", n_types, 1)
        self.scale = checks.real("scale", scale, 0.0, exclude_low=True)
        self.degree = checks.integer("degree", degree, 0, 32)
        self.learns_exploration = checks.boolean("learns_exploration", learns_exploration)
        super().__init__(*args, **kwargs)
        self.log_std.requires_grad_(self.learns_exploration)

    @staticmethod
    def arguments(game: LinearQuadratic) -> dict[str, Any]:
        """``policy_kwargs`` for a game; TypeError if it is another game."""
        if not isinstance(game, LinearQuadratic):
            raise TypeError(f"AffinePolicy needs a LinearQuadratic game, got {checks.shown(game)}")
        return {"n_types": len(game.types), "scale": game.scale}

    def _build_mlp_extractor(self) -> None:
        n_means = self.features_dim - self.n_types - 2
        if n_means not in (0, self.n_types):
            raise ValueError(
                f"observations must be a state, {self.n_types} types, the time and possibly the types' means"
                f" (observe='type-means'), got {self.features_dim} features"
            )
        made = AffineFeatures(self.n_types, n_means, self.scale, self.degree)
        self.mlp_extractor = made.to(self.device)  # type: ignore[assignment]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        found = super()._get_constructor_parameters()
        names = ("n_types", "scale", "degree", "learns_exploration")
        return found | {name: getattr(self, name) for name in names}

    def coefficients(self, elapsed: float) -> NDArray[np.float64]:
        """Coefficients f of the mean control u = f . (x, m_1, ..., m_n, 1), before it is clipped at the bounds.

        Parameters
        ----------
        elapsed:
            Elapsed share of the episode, in [0, 1].

        Returns
        -------
        Coefficients of each type, shape (n_types, n_types + 2); those of means that are not observed are 0.
        """
        elapsed = checks.real("elapsed", elapsed, 0.0, 1.0)
        by_time = np.polynomial.legendre.legvander(np.array([2.0 * elapsed - 1.0]), self.degree)[0]
        assert isinstance(self.action_net, nn.Linear)
        weights = self.action_net.weight.detach().cpu().numpy().astype(np.float64)
        found = np.einsum("j,kjf->kf", by_time, weights.reshape(self.n_types, self.degree + 1, -1))
        found[:, -1] += float(self.action_net.bias.item())
        padded = np.zeros((self.n_types, self.n_types + 2))
        padded[:, 0], padded[:, -1] = found[:, 0], found[:, -1]
        if found.shape[1] > 2:
            padded[:, 1:-1] = found[:, 1:-1]
        assert isinstance(self.action_space, spaces.Box)
        bounded: NDArray[np.float64] = padded * float(self.action_space.high[0])
        return bounded
