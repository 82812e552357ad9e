"""Finite games as environments of MFGLib."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mfenvs import checks
from mfenvs.finite_game import FiniteGame
from mfenvs.peers.handed_over import HandedOver

if TYPE_CHECKING:
    from mfglib.env import Environment


def to_mfglib(game: FiniteGame, r_max: float | None = None) -> "Environment":
    """Hand a finite game that ends over to MFGLib.

    Its policies are tensors of our shape (T, S, A). Arithmetic is in torch's default dtype:
    ``torch.set_default_dtype(torch.float64)`` compares in double precision. Rewards and transitions are not
    differentiable for torch, so that MFGLib's MF-OMO cannot solve the game.

    Parameters
    ----------
    game:
        A finite game without discount.
    r_max:
        Bound on the size of rewards, which some of MFGLib's algorithms read; by default the largest size against
        the population of the uniform policy.

    Returns
    -------
    An ``mfglib.env.Environment`` with times 0, ..., T = horizon - 1.

    Raises
    ------
    ImportError
        If mfglib is not installed.
    TypeError, ValueError
        If the game is not finite, or has a discount.
    """
    import torch
    from mfglib.env import Environment

    handed = HandedOver(game, "MFGLib")
    induced = handed.induced
    if r_max is None:
        r_max = float(np.abs(induced.flow(induced.uniform_policy()).rewards).max())
    r_max = checks.real("r_max", r_max, 0.0)

    # MFGLib calls them with these names.
    def rewards(env: Any, t: int, L_t: Any) -> Any:  # noqa: N803
        return torch.as_tensor(handed.arrays(t, L_t.detach().numpy())[1], dtype=L_t.dtype)

    def transitions(env: Any, t: int, L_t: Any) -> Any:  # noqa: N803
        """P as MFGLib has it, with the next state first."""
        rows = np.moveaxis(handed.arrays(t, L_t.detach().numpy())[0], -1, 0)
        return torch.as_tensor(np.ascontiguousarray(rows), dtype=L_t.dtype)

    return Environment(
        T=game.horizon - 1,
        S=(game.n_states,),
        A=(game.n_actions,),
        mu0=torch.as_tensor(induced.initial, dtype=torch.get_default_dtype()),
        r_max=r_max,
        reward_fn=rewards,
        transition_fn=transitions,
    )
