"""A CUDA engine for callers that want arrays of NumPy: results are copied to the host."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class EngineOnHost:
    """A CUDA engine whose methods take and return arrays of NumPy: :attr:`mfenvs.Engine.on_host`.

    The worlds stay on the device, and every array that a method returns is copied from there. Methods wait for the
    device, and raise the errors of a step themselves. Everything else is the engine's.

    Parameters
    ----------
    engine:
        The engine (:class:`mfenvs.engine.cuda.engine.CudaEngine`).
    """

    def __init__(self, engine: Any) -> None:
        self.on_device = engine
        """The engine, whose methods return arrays on the device."""

    def __getattr__(self, name: str) -> Any:
        if name == "on_device":  # While it is copied or unpickled, it has no engine.
            raise AttributeError(name)
        return getattr(self.on_device, name)

    @property
    def states(self) -> NDArray[Any]:
        """Current local states, shape (n_worlds, n_agents): a copy."""
        return self._copied(self.on_device.states)

    @property
    def counts(self) -> NDArray[np.float32]:
        """Weight of all agents in each cell in the last step, shape (n_worlds, n_cells): a copy."""
        return self._copied(self.on_device.counts)

    @property
    def signal(self) -> NDArray[np.float32]:
        """The public signal now, shape (n_worlds, n_signals): a copy."""
        return self._copied(self.on_device.signal)

    @property
    def returns(self) -> NDArray[np.float64]:
        """Discounted reward of every agent so far, shape (n_worlds, n_agents): a copy."""
        return self._copied(self.on_device.returns)

    def reset(self, seed: int | None = None) -> NDArray[Any]:
        """Begin an episode; as :meth:`mfenvs.Engine.reset`."""
        return self._copied(self.on_device.reset(seed))

    def step(self, actions: ArrayLike, rewards: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Take one step; as :meth:`mfenvs.Engine.step`, errors included."""
        engine = self.on_device
        shape = engine.n_worlds, engine.game.n_agents
        return self._copied(engine.step(actions, engine.kept_array("rewards", shape, np.float32)), rewards)

    def observe(self, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Every agent's observation now; as :meth:`mfenvs.Engine.observe`."""
        engine = self.on_device
        shape = engine.n_worlds, engine.game.n_agents, engine.game.n_features
        return self._copied(engine.observe(engine.kept_array("observations", shape, np.float32)), out)

    def action_masks(self) -> NDArray[np.bool_]:
        """Action masks of all agents now; as :meth:`mfenvs.Engine.action_masks`."""
        return self._copied(self.on_device.action_masks())

    def occupancy(self, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Share of agents in each place now; as :meth:`mfenvs.Engine.occupancy`."""
        return self._copied(self.on_device.occupancy(), out)

    def draw_actions(self, probabilities: ArrayLike) -> NDArray[np.int32]:
        """Draw every agent's action from given probabilities; as :meth:`mfenvs.Engine.draw_actions`."""
        return self._copied(self.on_device.draw_actions(probabilities))

    def random_actions(self) -> NDArray[Any]:
        """Draw every agent's action uniformly; as :meth:`mfenvs.Engine.random_actions`."""
        return self._copied(self.on_device.random_actions())

    def sample_actions(self, policy: ArrayLike) -> NDArray[np.int32]:
        """Draw every agent's action from a cumulated table; as :meth:`mfenvs.Engine.sample_actions`."""
        return self._copied(self.on_device.sample_actions(policy))

    def _copied(self, array: Any, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """A copy of an array on the device, written to ``out`` if given; what was wrong with a step is raised."""
        self.on_device.raise_error()
        found: NDArray[Any] = self.on_device.copied_to_host(array)
        if out is None:
            return found
        out[...] = found
        return out
