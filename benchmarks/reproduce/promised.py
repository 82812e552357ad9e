"""What Theorem 1 of Yardim & He (arXiv 2408.15173) promises for an equilibrium of a game."""

from mfenvs import FiniteGame, InducedGame
from mfenvs.meanfield.bounds import ExploitabilityBound, GameConstants, theorem_1
from mfenvs.meanfield.lipschitz import lipschitz_constants
from mfenvs.meanfield.symmetry import ApproximateSymmetry


def promised(game: FiniteGame, equilibrium_error: float, symmetry: ApproximateSymmetry) -> ExploitabilityBound:
    """Theorem 1's bound, as proved, on the exploitability of an equilibrium among the game's agents.

    Parameters
    ----------
    game:
        A finite game with a finite horizon.
    equilibrium_error:
        Exploitability of the policy in the induced game.
    symmetry:
        The game's alpha and beta.
    """
    found = lipschitz_constants(InducedGame(game))
    constants = GameConstants.of(game, found, alpha=symmetry.alpha, beta=symmetry.beta)
    return theorem_1(constants, equilibrium_error=equilibrium_error)
