"""The limit law of a Markov chain by elimination of states, compiled."""

from typing import Any

from mfenvs.rules import rule

IMPOSSIBLE = 1e-15
"""Largest probability of a transition that counts as impossible: rules may return rounding errors for 0."""


@rule
def go_to_limit(law: Any, moves: Any, share: Any, left: Any, owner: Any) -> None:
    """Move a law to the limit that a Markov chain reaches from it, however slowly (on average, if it is periodic).

    States are eliminated one after the other: mass and transitions that lead into an eliminated state lead on to
    where it goes next. Nothing is subtracted, so that rare transitions lose no accuracy. A state that leads to no
    other state that is left stands for a recurrent class of the chain, and gathers the mass that ends there. The
    shares of the other states of its class follow in reverse order.

    Parameters
    ----------
    law:
        The law (S,), which is replaced by its limit.
    moves:
        The transition matrix (S, S), which is destroyed.
    share, left, owner:
        Scratch, (S,) each.

    References
    ----------
    Grassmann, Taksar & Heyman, "Regenerative analysis and steady state distributions for Markov chains",
    Operations Research 33 (1985), for chains with one recurrent class.
    """
    n_states = len(law)
    for s in range(n_states):
        for t in range(n_states):
            if moves[s, t] <= IMPOSSIBLE:
                moves[s, t] = 0.0
    # The first n_classes entries of `owner` are, for now, the states that stand for a class.
    n_classes = 0
    for n in range(n_states):
        left[n] = 0.0
        for t in range(n + 1, n_states):
            left[n] += moves[n, t]
        for k in range(n_classes):
            left[n] += moves[n, int(owner[k])]
        if left[n] == 0.0:
            owner[n_classes] = n
            n_classes += 1
            continue
        for t in range(n + 1, n_states):
            law[t] += law[n] / left[n] * moves[n, t]
        for k in range(n_classes):
            law[int(owner[k])] += law[n] / left[n] * moves[n, int(owner[k])]
        law[n] = 0.0
        for s in range(n + 1, n_states):
            if moves[s, n] > 0.0:
                factor = moves[s, n] / left[n]
                for t in range(n + 1, n_states):
                    moves[s, t] += factor * moves[n, t]
                for k in range(n_classes):
                    moves[s, int(owner[k])] += factor * moves[n, int(owner[k])]
    # Shares of the states of a class relative to the state that stands for it.
    for back in range(n_states):
        n = n_states - 1 - back
        if left[n] == 0.0:
            share[n], owner[n] = 1.0, n
            continue
        share[n], owner[n] = 0.0, -1.0
        for s in range(n + 1, n_states):
            if share[s] > 0.0 and moves[s, n] > 0.0:
                share[n] += share[s] * moves[s, n] / left[n]
                owner[n] = owner[s]
    for n in range(n_states):
        left[n] = 0.0
    for n in range(n_states):
        if owner[n] >= 0.0:
            left[int(owner[n])] += share[n]
    for n in range(n_states):
        share[n] = law[int(owner[n])] * share[n] / left[int(owner[n])] if owner[n] >= 0.0 else 0.0
    for n in range(n_states):
        law[n] = share[n]
