"""The finite-difference scheme: a Markov chain on the cells, its Hamiltonian, and its equations in time.

In cell i the state jumps up with rate D / w^2 + b / (2 w) and down with rate D / w^2 - b / (2 w), where w is the
cells' width. The numerical diffusion D keeps both rates >= 0, so that the scheme is monotone:

- ``upwind``: D = sigma^2 / 2 + |b| w / 2, of first order in w;
- ``hybrid``: D = max(sigma^2 / 2, |b| w / 2): central differences, of second order, where |b| w <= sigma^2, and
  upwind differences elsewhere.

No jump leaves the grid. With A the chain's generator, a step is implicit: (I - dt A) V_n = V_(n+1) + dt f_n
backward, and forward (I - dt A)^T m_(n+1) = m_n, its exact adjoint. I - dt A is an M-matrix for every dt, whose
rows sum to 1: values obey the comparison principle, densities stay >= 0, and mass is conserved. Arrays have shape
(n_steps, n_cells) unless said otherwise, and time is of first order.
"""

from typing import Any

from mfenvs.engine.compile import kernel
from mfenvs.rules import rule


@rule
def jump_rates(drift: Any, half_variance: Any, width: Any, is_upwind: Any) -> Any:
    """Rates of the jumps to the next cell above and below; both are >= 0, in rounded arithmetic too."""
    slant = 0.5 * width * drift
    diffusion = half_variance + abs(slant) if is_upwind else max(half_variance, abs(slant))
    scale = 1.0 / (width * width)
    return (diffusion + slant) * scale, (diffusion - slant) * scale


@rule
def hamiltonian(drift: Any, cost: Any, half_variance: Any, value: Any, i: Any, width: Any, is_upwind: Any) -> Any:
    """Running cost plus generator applied to ``value`` (n_cells,) in cell i, for a control's drift and cost."""
    up, down = jump_rates(drift, half_variance, width, is_upwind)
    total = cost
    if i + 1 < len(value):
        total += up * (value[i + 1] - value[i])
    if i > 0:
        total += down * (value[i - 1] - value[i])
    return total


@kernel
def solve_backward(
    drift: Any,
    cost: Any,
    half_variance: Any,
    width: Any,
    dt: Any,
    is_upwind: Any,
    value: Any,
    scratch: Any,
) -> None:
    """Fill ``value`` (n_steps + 1, n_cells), whose last row is given, by the linear equation of one policy.

    ``scratch`` has shape (n_cells,).
    """
    n_steps, n_cells = drift.shape
    for step in range(n_steps):
        n = n_steps - 1 - step
        # Elimination without row exchanges, which M-matrices do not need. ``stay`` is the pivot less dt * up:
        # a sum of positive numbers, because the rows sum to 1, so that nothing is lost by cancellation.
        stay = leave = 1.0
        for i in range(n_cells):
            up, down = jump_rates(drift[n, i], half_variance[n, i], width, is_upwind)
            if i == 0:
                down = 0.0
            if i == n_cells - 1:
                up = 0.0
            right = value[n + 1, i] + dt * cost[n, i]
            if i > 0:
                stay = 1.0 + dt * down * leave
                right += dt * down * value[n, i - 1]
            pivot = stay + dt * up
            scratch[i], leave = dt * up / pivot, stay / pivot
            value[n, i] = right / pivot
        for back in range(n_cells - 1):
            i = n_cells - 2 - back
            value[n, i] += scratch[i] * value[n, i + 1]


@kernel
def solve_forward(
    drift: Any, half_variance: Any, width: Any, dt: Any, is_upwind: Any, density: Any, scratch: Any
) -> None:
    """Fill ``density`` (n_steps + 1, n_cells), whose first row is given; ``scratch`` has shape (n_cells,)."""
    n_steps, n_cells = drift.shape
    for n in range(n_steps):
        stay, leave, from_below = 1.0, 1.0, 0.0
        for i in range(n_cells):
            up, down = jump_rates(drift[n, i], half_variance[n, i], width, is_upwind)
            if i == 0:
                down = 0.0
            if i == n_cells - 1:
                up = 0.0
            right = density[n, i]
            if i > 0:
                stay = 1.0 + dt * down * leave
                right += from_below * density[n + 1, i - 1]
            from_below = dt * up
            pivot = stay + from_below
            scratch[i], leave = 1.0 / pivot, stay / pivot
            density[n + 1, i] = right * scratch[i]
        for back in range(n_cells - 1):
            i = n_cells - 2 - back
            _, down = jump_rates(drift[n, i + 1], half_variance[n, i + 1], width, is_upwind)
            density[n + 1, i] += dt * down * scratch[i] * density[n + 1, i + 1]


@kernel
def hamiltonians(
    drifts: Any, costs: Any, half_variance: Any, value: Any, width: Any, is_upwind: Any, out: Any
) -> None:
    """Hamiltonians of controls' drifts and costs, all of shape (n_controls, n_steps, n_cells)."""
    n_controls, n_steps, n_cells = drifts.shape
    for k in range(n_controls):
        for n in range(n_steps):
            for i in range(n_cells):
                out[k, n, i] = hamiltonian(
                    drifts[k, n, i], costs[k, n, i], half_variance[n, i], value[n], i, width, is_upwind
                )


@kernel
def take_best(
    controls: Any,
    drifts: Any,
    costs: Any,
    half_variance: Any,
    value: Any,
    width: Any,
    is_upwind: Any,
    control: Any,
    drift: Any,
    cost: Any,
) -> Any:
    """Replace ``control``, ``drift`` and ``cost`` in place by those of the best candidate, where it is better.

    ``controls``, ``drifts`` and ``costs`` have shape (n_candidates, n_steps, n_cells). Returns the largest
    decrease of the Hamiltonian.
    """
    n_candidates, n_steps, n_cells = drifts.shape
    largest = 0.0
    for n in range(n_steps):
        for i in range(n_cells):
            half = half_variance[n, i]
            before = hamiltonian(drift[n, i], cost[n, i], half, value[n], i, width, is_upwind)
            least, best = before, -1
            for k in range(n_candidates):
                found = hamiltonian(drifts[k, n, i], costs[k, n, i], half, value[n], i, width, is_upwind)
                if found < least:
                    least, best = found, k
            if best >= 0:
                control[n, i], drift[n, i] = controls[best, n, i], drifts[best, n, i]
                cost[n, i] = costs[best, n, i]
                largest = max(largest, before - least)
    return largest
