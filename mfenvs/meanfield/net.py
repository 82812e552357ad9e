"""The eps-net of GMF-Q, a grid of populations: projection to it, and the largest distance from it.

Some states have a mass that no policy changes: those of one of several populations, or of a node in a tree of
public histories. There the law within each block of such states is projected, and the block keeps its mass [O].
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.public_tree_game import PublicTreeGame
from mfenvs.rules import rule

ON_THE_NET = 1e-9
"""Tolerance for multiples of 1/m, as a share of 1/m: rounding may have moved them."""


@rule
def round_to_net(law: Any, m: Any, remainders: Any) -> None:
    """Replace a law (n,) by the nearest multiples of 1/m by largest remainders, kept in ``remainders`` (n,)."""
    missing, total = m, 0.0
    for p in law:
        total += p
    for i in range(len(law)):
        share = law[i] / total * m
        whole = int(share + ON_THE_NET)
        remainders[i] = share - whole
        law[i] = whole
        missing -= whole
    for _ in range(missing):
        largest = 0
        for i in range(len(law)):
            if remainders[i] > remainders[largest]:
                largest = i
        law[largest] += 1.0
        remainders[largest] = -1.0
    for i in range(len(law)):
        law[i] /= m


class FixedMasses(NamedTuple):
    """Blocks of pairs of a state and an action whose mass no policy changes, as compiled projections need them."""

    firsts: Any
    """The first pair of each block, and at the end the number of pairs, shape (number of blocks + 1,)."""
    remainders: Any
    """Scratch, (number of pairs,)."""


def fixed_masses(game: FiniteGame) -> FixedMasses:
    """The blocks of a game: its populations, the nodes of its tree of public histories, or all pairs."""
    blocks = np.asarray(game.population_of_state)
    if isinstance(game, PublicTreeGame):
        blocks = np.arange(game.n_states) // game.game.n_states
    inner = np.flatnonzero(np.diff(blocks)) + 1
    firsts = np.concatenate([[0], inner, [game.n_states]]) * game.n_actions
    return FixedMasses(firsts, np.empty(game.n_states * game.n_actions))


@rule
def round_within_blocks(law: Any, m: Any, fixed: Any) -> None:
    """Project a law (n,) to the net: within each block to multiples of 1/m of the block's mass."""
    firsts, remainders = fixed.firsts, fixed.remainders
    if len(firsts) == 2:
        round_to_net(law, m, remainders)
        return
    for k in range(len(firsts) - 1):
        block, mass = law[firsts[k] : firsts[k + 1]], 0.0
        for p in block:
            mass += p
        if mass > 0.0:
            round_to_net(block, m, remainders)
            for i in range(len(block)):
                block[i] *= mass


round_kernel = kernel(round_to_net.py_func)  # type: ignore[attr-defined]


def project_to_net(law: ArrayLike, m: int) -> NDArray[np.float64]:
    """Proj_{S_eps}: the nearest law whose probabilities are multiples of 1/m.

    This is the projection of GMF-Q (Guo et al., arXiv 1901.09585) [O on the net]. By largest-remainder rounding,
    all entries are rounded down, then those that lost most are rounded up until the sum is one (ties go to the
    first). No other law on the net is nearer in l1; the error is at most :func:`net_radius`.

    Parameters
    ----------
    law:
        Probabilities of any shape; all entries together sum to one.
    m:
        Resolution of the net, at least 1.

    Returns
    -------
    The projection, with the shape of ``law``.

    Raises
    ------
    TypeError, ValueError
        If ``law`` does not hold probabilities or ``m`` is not allowed.
    """
    array = np.asarray(law)
    m = checks.integer("m", m, 1, 2**31)
    projected = checks.whole_law("law", array)
    round_kernel(projected, m, np.empty(array.size))
    return projected.reshape(array.shape)


def net_radius(n: int, m: int) -> float:
    """Largest l1 distance of a law over n outcomes from its projection to multiples of 1/m.

    With k outcomes rounded up, as much as the others were rounded down by, the error is largest where all n
    remainders are k / n: 2 k (n - k) / (n m), and that where k = n / 2, or m if that is less. So at most n / (2
    m).
    """
    n, m = checks.integer("n", n, 1), checks.integer("m", m, 1)
    rounded_up = min(n // 2, m)
    return 2.0 * rounded_up * (n - rounded_up) / (n * m)
