"""The laws of all types at some times, as the functions of a game see them."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class MeanField:
    """Laws of all types at n_times times, on the cells of a grid.

    Its arrays are read-only, and broadcast with the times (n_times, 1) and states (n_cells,) that a function gets.
    """

    def __init__(
        self,
        x: Array,
        width: float,
        names: tuple[str, ...],
        weights: Array,
        densities: Array,
        own: int = 0,
        means: Array | None = None,
    ) -> None:
        self.x = x
        """Centres of the cells, shape (n_cells,)."""
        self.width = width
        """Width of a cell."""
        self.names = names
        """Names of the types."""
        self.weights = weights
        """Proportions lambda of the types, shape (n_types,)."""
        self.densities = _read_only(densities)
        """Densities of the types' states, each with integral 1, shape (n_types, n_times, n_cells)."""
        self.own = own
        """Index of the type whose function is called."""
        self.means = _read_only(self.expectations(x) if means is None else means)
        """Mean states of the types, shape (n_types, n_times, 1)."""

    @property
    def mean(self) -> Array:
        """Mean state of the population, sum over types of lambda times mean, shape (n_times, 1)."""
        return self._weighted(self.means)

    @property
    def density(self) -> Array:
        """Density of the population's states, sum over types of lambda times density, (n_times, n_cells)."""
        return self._weighted(self.densities)

    @property
    def own_density(self) -> Array:
        """Density of the states of the type whose function is called, shape (n_times, n_cells)."""
        own: Array = self.densities[self.own]
        return own

    @property
    def own_mean(self) -> Array:
        """Mean state of the type whose function is called, shape (n_times, 1)."""
        own: Array = self.means[self.own]
        return own

    def density_of(self, name: str) -> Array:
        """Density of the named type's states, shape (n_times, n_cells); ValueError if there is no such type."""
        if name not in self.names:
            raise ValueError(f"name must be one of {', '.join(map(repr, self.names))}, got {name!r}")
        found: Array = self.densities[self.names.index(name)]
        return found

    def expectations(self, values: Array) -> Array:
        """Expectation by type of a function of the state, given by its values at the cells.

        Parameters
        ----------
        values:
            Shape (n_cells,), or (n_times, n_cells) if the function changes with time.

        Returns
        -------
        Expectations, shape (n_types, n_times, 1).
        """
        total: Array = (self.densities * values).sum(axis=-1, keepdims=True) * self.width
        return total

    def expectation(self, values: Array) -> Array:
        """Expectation over the whole population, as :meth:`expectations`; shape (n_times, 1)."""
        return self._weighted(self.expectations(values))

    def at(self, first: int, last: int, own: int) -> "MeanField":
        """The mean field at the times ``first`` to ``last`` - 1, for functions of the type ``own``."""
        densities, means = self.densities[:, first:last], self.means[:, first:last]
        return MeanField(self.x, self.width, self.names, self.weights, densities, own, means)

    def _weighted(self, by_type: Array) -> Array:
        total: Array = np.tensordot(self.weights, by_type, axes=1)
        return total


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
