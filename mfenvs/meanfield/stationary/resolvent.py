"""The resolvent (I - gamma P)^-1 of a Markov chain, kept up to date while its rows change one by one.

A change of one row changes the inverse by a matrix of rank one (Sherman & Morrison), which costs S^2 operations
and not S^3. From the resolvent follow the values of a policy, and the law that its chain reaches from the initial
law.
"""

from typing import Any

from mfenvs.engine.compile import kernel


@kernel
def change_row(resolvent: Any, state: Any, change: Any, discount: Any, row: Any) -> None:
    """Update the resolvent (S, S) in place after ``change`` (S,) was added to a row of P; ``row`` (S,) is scratch.

    The divisor is positive: it is the ratio of the determinants of two diagonally dominant matrices.
    """
    n_states = len(change)
    row[:] = 0.0
    for t in range(n_states):
        if change[t] != 0.0:
            for u in range(n_states):
                row[u] += change[t] * resolvent[t, u]
    factor = discount / (1.0 - discount * row[state])
    for s in range(n_states):
        here = factor * resolvent[s, state]
        if here != 0.0:
            for u in range(n_states):
                resolvent[s, u] += here * row[u]


@kernel
def reached_law(
    resolvent: Any, discount: Any, initial: Any, tolerance: Any, most_steps: Any, law: Any, ahead: Any
) -> Any:
    """Write the law that the chain reaches from ``initial`` (S,) to ``law`` (S,); ``ahead`` (S,) is scratch.

    The chain (1 - gamma) (I - gamma P)^-1 takes a geometrically distributed number of steps of P at a time. It has
    the same limits, is never periodic, and settles sooner. Returns the l1 distance of its last step.
    """
    n_states = len(initial)
    for s in range(n_states):
        law[s] = initial[s]
    distance = 2.0
    for _ in range(most_steps):
        ahead[:] = 0.0
        for s in range(n_states):
            mass = (1.0 - discount) * law[s]
            if mass != 0.0:
                for t in range(n_states):
                    ahead[t] += mass * resolvent[s, t]
        distance = 0.0
        for s in range(n_states):
            distance += abs(ahead[s] - law[s])
            law[s] = ahead[s]
        if distance <= tolerance:
            break
    return distance
