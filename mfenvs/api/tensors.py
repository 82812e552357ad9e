"""A population that is also seen as tensors of torch: on a CUDA device without a copy."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mfenvs.api.population import Population
from mfenvs.engine.tensors import after_and_before_torch, as_torch
from mfenvs.wrappers.observations import MeanField, Write


class TensorPopulation(Population):
    """A population whose actions, observations, rewards and masks can be tensors.

    On a CUDA device these tensors stay there, and nothing is copied to the host in a step. Observation blocks that
    are computed by NumPy are the exception: all but those that never change and ``"mean-field"``. On the CPU
    tensors share the memory of the engine's arrays.

    An action that is out of range is found on the device. No world moves any more, and the error is raised by the
    next method that looks: :meth:`reset` and every method that gives arrays of NumPy.

    Parameters and errors are those of :class:`mfenvs.api.population.Population`.
    """

    _engine_on_device: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        engine = self._engine_on_device
        self.is_on_cpu = engine.device == "cpu"
        """Whether the worlds are simulated on the CPU."""
        self.tensor_device = torch.device(getattr(engine, "tensor_device", engine.device))
        """The device of the tensors: that of the engine; in numba's simulator of a GPU, the CPU."""
        # What a step needs is copied to the device once.
        self._places_of_regions = None if self._regions is None else self._on_device(self._regions[1])
        own = self.game.observation_space
        self._lowest, self._highest = self._on_device(own.low), self._on_device(own.high)
        self._fixed = {
            place.start: self._computed_by_numpy(place, write)
            for block, place, write in self.observer.parts()
            if block.is_fixed and not self.is_on_cpu
        }
        """Features that never change, shape (n_worlds, n_agents, width), by their first place."""

    def step_tensors(self, actions: torch.Tensor, rewards: torch.Tensor | None = None) -> torch.Tensor:
        """Take one step in all worlds.

        Parameters
        ----------
        actions:
            Integers of shape (n_rows,); for a Box, floating-point numbers of shape (n_rows, *shape of the Box).
            They must not be changed before the step is done.
        rewards:
            Tensor on the device to which the rewards are written, float32 of shape (n_rows,); by default a new
            one.

        Returns
        -------
        The rewards, shape (n_rows,).

        Raises
        ------
        RuntimeError, TypeError, ValueError
            As in :meth:`mfenvs.api.population.Population.step`; on a CUDA device, wrong actions by a later call.
        """
        if self.is_on_cpu and rewards is None:
            return torch.from_numpy(self.step(actions.detach().cpu().numpy()))
        if rewards is None:
            rewards = torch.empty(self.n_rows, device=self.tensor_device)
        by_world = rewards.view(self._world_actions_shape[:2])
        if self.is_on_cpu:
            self.step(actions.detach().cpu().numpy(), by_world.numpy())
            return rewards
        self._check_step(tuple(actions.shape))
        chosen = actions.detach().reshape(self._world_actions_shape).contiguous()
        with after_and_before_torch(self.tensor_device):
            self._engine_on_device.step(chosen, by_world)
        self._record()
        return rewards

    def observe_tensors(self, out: torch.Tensor | None = None) -> torch.Tensor:
        """Every agent's observation now, shape (n_rows, n_features); written to ``out`` on the device if given."""
        if self.is_on_cpu:
            return torch.from_numpy(self.observe(None if out is None else out.numpy()))
        if out is None:
            out = torch.empty(self._rows_shape, device=self.tensor_device)
        by_world = out.view(self._observations_shape)
        own = by_world if not self.observer.blocks else by_world[..., : self.game.n_features]
        with after_and_before_torch(self.tensor_device):
            self._engine_on_device.observe(own)
        for block, place, write in self.observer.parts():
            if place.start in self._fixed:
                by_world[..., place] = self._fixed[place.start]
            elif type(block) is MeanField:
                by_world[..., place] = self._occupancy()[:, None]
            else:
                by_world[..., place] = self._computed_by_numpy(place, write)
        return out

    def mask_tensors(self) -> torch.Tensor:
        """Action masks of all agents now, shape (n_worlds, n_agents, n_actions), of bools."""
        if self.is_on_cpu:
            return torch.from_numpy(self.engine.action_masks())
        shape = *self._world_actions_shape[:2], int(self.game.action_space.n)  # type: ignore[attr-defined]
        masks = torch.empty(shape, dtype=torch.bool, device=self.tensor_device)
        with after_and_before_torch(self.tensor_device):
            self._engine_on_device.action_masks(masks)
        return masks

    def report_tensors(self) -> dict[str, torch.Tensor]:
        """The infos of every world, as of :meth:`reports`: float32, shape (n_worlds,) each."""
        if self.is_on_cpu:
            return {name: torch.from_numpy(told.astype(np.float32)) for name, told in self.reports().items()}
        told: dict[str, torch.Tensor] = {}
        if self._regions is not None and self._places_of_regions is not None:
            counts = (self._occupancy().double() * self.game.n_agents).round()
            shares = (counts @ self._places_of_regions).T / self.game.n_agents
            told = dict(zip(self._regions[0], shares.float(), strict=True))
        if self._reported:
            signal = as_torch(self._engine_on_device.signal, self.tensor_device)
            # Copies: the engine writes to its signal in the next step.
            told |= {name: signal[:, entry].clone() for name, entry in self._reported.items()}
        return told

    def state_tensors(self) -> torch.Tensor:
        """The population of every world as one vector, as of :meth:`state`: (n_worlds, width of the space)."""
        if self.is_on_cpu:
            return torch.from_numpy(self.state())
        if self.game.rules.place is not None:
            population = self._occupancy()
        else:
            seen = torch.empty((*self._observations_shape[:2], self.game.n_features), device=self.tensor_device)
            with after_and_before_torch(self.tensor_device):
                self._engine_on_device.observe(seen)
            mean = seen.double().mean(dim=1)
            population = torch.minimum(torch.maximum(mean, self._lowest), self._highest).float()
        elapsed = torch.full_like(population[:, :1], self.engine.time / self.game.horizon)
        return torch.cat([population, elapsed], dim=1)

    def _on_device(self, array: NDArray[Any]) -> torch.Tensor:
        """A copy of an array as a tensor where the worlds are simulated."""
        return torch.tensor(array, device=self.tensor_device)

    def _occupancy(self) -> torch.Tensor:
        """The share of agents in each place now, (n_worlds, n_places)."""
        shares = torch.empty((self.engine.n_worlds, self.game.n_places), device=self.tensor_device)
        with after_and_before_torch(self.tensor_device):
            self._engine_on_device.occupancy(shares)
        return shares

    def _computed_by_numpy(self, place: slice, write: Write) -> torch.Tensor:
        """Features of an observation block now, (n_worlds, n_agents, width), copied to the device."""
        features = np.empty((*self._observations_shape[:2], place.stop - place.start), np.float32)
        write(features, self.engine)
        return torch.from_numpy(features).to(self.tensor_device)
