"""Finite games as mean-field games of OpenSpiel."""

from typing import Any

from mfenvs.finite_game import FiniteGame


def to_open_spiel(game: FiniteGame) -> Any:
    """Hand a finite game that ends over to OpenSpiel.

    Every step has four nodes: the player acts; the law of (state, action) is announced; the player takes the only
    action of a node at which the step's reward is paid; chance draws the next state. Actions that the game's rule
    ``allowed`` masks are not legal. A game with several populations is handed over as the game on the union of
    their states, with one player: OpenSpiel's exploitability is then the mean of theirs, weighted by their sizes.

    Parameters
    ----------
    game:
        A finite game without discount.

    Returns
    -------
    A ``pyspiel.Game`` whose dynamics are ``MEAN_FIELD``, for the algorithms of ``open_spiel.python.mfg``.
    :func:`open_spiel_policy` takes our policies there.

    Raises
    ------
    ImportError
        If open_spiel is not installed.
    TypeError, ValueError
        If the game is not finite, or has a discount.
    """
    from mfenvs.peers.open_spiel_game import HandedOverGame

    return HandedOverGame(game)


def open_spiel_policy(spiel_game: Any, policy: Any) -> Any:
    """A policy as OpenSpiel's algorithms take it.

    Parameters
    ----------
    spiel_game:
        A game that :func:`to_open_spiel` returned.
    policy:
        Probabilities, shape (T, S, A), or an object with these as its attribute ``probabilities``.

    Returns
    -------
    An ``open_spiel.python.policy.Policy``.

    Raises
    ------
    ValueError
        If the policy is not one of the game, or plays actions that are not legal.
    """
    from mfenvs.peers.open_spiel_game import HandedOverPolicy

    return HandedOverPolicy(spiel_game, policy)
