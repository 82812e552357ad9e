"""Perceptrons on one CPU core with gradients that are added up, without autograd.

With small networks most of PPO's time goes into passing activations through memory: autograd keeps those of a
whole minibatch. Here a minibatch is processed in blocks of rows whose activations stay in the core's cache; matrix
products add up the weights' gradients over the blocks, and the loops between the products are compiled. Parameters
are those of torch.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from .distinct_observations import Numbers, Part
from .grouping_kernels import add_to_parts, sum_of_parts
from .ppo_kernels import ONE, ZERO, Floats, add_bias_and_leaky_relu, leaky_relu_backward, tanh_backward

BLOCK_ROWS = 1024
"""Number of rows in a block: their activations (two layers of 128: 1 MB) stay in the second-level cache. Blocks of
512 rows are as fast."""

NARROW = 16
"""Number of outputs below which a product with a view of the transposed weights is faster than with a copy."""


def slope_below_zero(module: nn.Module) -> np.float32 | None:
    """The slope below zero of an activation; None for tanh.

    Raises
    ------
    ValueError
        If the activation is none of tanh, ReLU and leaky ReLU.
    """
    if type(module) is nn.LeakyReLU and module.negative_slope >= 0:
        return np.float32(module.negative_slope)
    if type(module) is nn.ReLU:
        return ZERO
    if type(module) is nn.Tanh:
        return None
    raise ValueError(f"unsupported activation {module!r}")


@dataclasses.dataclass(frozen=True)
class Block:
    """The layers' outputs and their gradients for a number of rows: views of buffers, as tensors and arrays."""

    outputs: list[torch.Tensor]
    output_arrays: list[Floats]
    gradients: list[torch.Tensor]
    gradient_arrays: list[Floats]
    transposed_gradients: list[torch.Tensor]
    """Transposed views of the gradients."""


class Network:
    """A perceptron: linear layers with activations between them, and gradients that are accumulated.

    Parameters
    ----------
    hidden:
        Linear layers and activations in turns.
    head:
        The last linear layer.

    Raises
    ------
    ValueError
        If a layer or an activation is of another kind.
    """

    def __init__(self, hidden: nn.Sequential, head: nn.Module) -> None:
        modules = list(hidden)
        layers = [*modules[0::2], head]
        self._leaks = [slope_below_zero(activation) for activation in modules[1::2]]
        self._weights, self._biases = [], []
        self._weight_gradients, self._bias_gradient_tensors = [], []
        for layer in layers:
            if not isinstance(layer, nn.Linear) or layer.bias is None:
                raise ValueError(f"unsupported layer {layer!r}")
            self._weights.append(layer.weight.detach())
            self._biases.append(layer.bias.detach().numpy())
            self._weight_gradients.append(_gradient(layer.weight))
            self._bias_gradient_tensors.append(_gradient(layer.bias))
        self._bias_gradients: list[Floats] = [gradient.numpy() for gradient in self._bias_gradient_tensors]
        self._transposed = [_transposed_of(weight) for weight in self._weights]
        self._first_gradient = torch.zeros_like(self._transposed[0])
        self._outputs = [torch.empty(BLOCK_ROWS, len(weight)) for weight in self._weights]
        self._gradients = [torch.empty(BLOCK_ROWS, len(weight)) for weight in self._weights]
        self._blocks: dict[int, Block] = {}
        self._parts: Sequence[Part] = ()
        self._table = self._table_gradient = torch.empty(0, len(self._weights[0]))
        self._table_array = self._table_gradient_array = self._table.numpy()
        self.refresh()

    def refresh(self) -> None:
        """Read the parameters again, after they have changed."""
        for transposed, weight in zip(self._transposed, self._weights, strict=True):
            if transposed.data_ptr() != weight.data_ptr():
                transposed.copy_(weight.t())

    def clear_gradients(self) -> None:
        """Set all gradients to zero."""
        gradients = [*self._weight_gradients, *self._bias_gradient_tensors, self._first_gradient]
        torch._foreach_zero_([*gradients, self._table_gradient[: _length(self._parts)]])

    def finish_gradients(self) -> None:
        """Write the first layer's gradient, which is accumulated transposed or for parts, to its parameter."""
        gradient = self._weight_gradients[0]
        if not self._parts:
            gradient.copy_(self._first_gradient.t())
        for part, rows in _places(self._parts):
            of_rows = self._table_gradient[rows].t()
            if part.table is None:
                gradient[:, part.columns] = of_rows
            elif isinstance(part.columns, slice):
                torch.mm(of_rows, part.table, out=gradient[:, part.columns])
            else:
                gradient[:, part.columns] = of_rows @ part.table

    def set_parts(self, parts: Sequence[Part]) -> None:
        """Apply the first layer, without its bias, to the parts of the observations that are to come.

        The parts' tables follow each other in one table of outputs, whose rows observations refer to. Without
        parts, observations are given as they are.
        """
        self._parts = parts
        n_rows = _length(parts)
        if n_rows > len(self._table):
            self._table, self._table_gradient = (torch.empty(n_rows, self._table.shape[1]) for _ in range(2))
            self._table_array, self._table_gradient_array = self._table.numpy(), self._table_gradient.numpy()
        for part, rows in _places(parts):
            weights = self._transposed[0][part.columns]
            if part.table is None:
                self._table[rows] = weights
            else:
                torch.mm(part.table, weights, out=self._table[rows])

    @property
    def n_inputs(self) -> int:
        """Number of features of an observation."""
        return int(self._weights[0].shape[1])

    @property
    def head_bias(self) -> Floats:
        """The bias of the last layer, which :meth:`forward` leaves out."""
        return self._biases[-1]

    @property
    def head_bias_gradient(self) -> Floats:
        """The gradient of the last layer's bias, which :meth:`backward` leaves to the caller."""
        return self._bias_gradients[-1]

    def forward(self, x: torch.Tensor | Numbers) -> Floats:
        """The last layer's product with its weights, without its bias, (rows, n_outputs); overwritten by the next.

        ``x`` has at most ``BLOCK_ROWS`` rows: observations, or their places in the table of parts, shape (n_rows,
        n_parts).
        """
        block = self.block(len(x))
        last = len(self._weights) - 1
        for k in range(last):
            h, leak = block.outputs[k], self._leaks[k]
            if isinstance(x, torch.Tensor):
                torch.mm(x, self._transposed[k], out=h)
                if leak is None:
                    h.add_(torch.from_numpy(self._biases[k])).tanh_()
                else:
                    add_bias_and_leaky_relu(block.output_arrays[k], self._biases[k], leak)
            else:
                slope = ONE if leak is None else leak
                sum_of_parts(x, self._table_array, self._biases[k], slope, block.output_arrays[k])
                if leak is None:
                    h.tanh_()
            x = h
        torch.mm(block.outputs[last - 1], self._transposed[last], out=block.outputs[last])
        return block.output_arrays[last]

    def backward(self, x: torch.Tensor | Numbers) -> None:
        """Add the parameters' gradients to those so far; the output's gradient must be in ``block(len(x))``."""
        block = self.block(len(x))
        for k in range(len(self._weights) - 1, 0, -1):
            self._weight_gradients[k].addmm_(block.transposed_gradients[k], block.outputs[k - 1])
            torch.mm(block.gradients[k], self._weights[k], out=block.gradients[k - 1])
            leak = self._leaks[k - 1]
            back = tanh_backward if leak is None else leaky_relu_backward
            slope = ZERO if leak is None else leak
            back(block.gradient_arrays[k - 1], block.output_arrays[k - 1], slope, self._bias_gradients[k - 1])
        if isinstance(x, torch.Tensor):
            # With fewer inputs than outputs this product is faster than its transpose.
            self._first_gradient.addmm_(x.t(), block.gradients[0])
        else:
            add_to_parts(x, block.gradient_arrays[0], self._table_gradient_array)

    def block(self, n_rows: int) -> Block:
        """The buffers for ``n_rows`` rows."""
        if n_rows not in self._blocks:
            outputs = [buffer[:n_rows] for buffer in self._outputs]
            gradients = [buffer[:n_rows] for buffer in self._gradients]
            self._blocks[n_rows] = Block(
                outputs,
                [h.numpy() for h in outputs],
                gradients,
                [g.numpy() for g in gradients],
                [g.t() for g in gradients],
            )
        return self._blocks[n_rows]


def _transposed_of(weight: torch.Tensor) -> torch.Tensor:
    """A view of the transposed weights if there are few outputs, or else a tensor to which they can be copied."""
    # Whichever is faster: for wide layers a copy, by some per cent, for narrow ones a view, two to three times.
    n_outputs, n_inputs = weight.shape
    return weight.t() if n_outputs < NARROW else torch.empty(n_inputs, n_outputs)


def _gradient(parameter: torch.Tensor) -> torch.Tensor:
    """The tensor in which a parameter's gradient is accumulated."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _places(parts: Sequence[Part]) -> Iterator[tuple[Part, slice]]:
    """Parts, and where their rows are in a table in which they follow each other."""
    first = 0
    for part in parts:
        yield part, slice(first, first + part.n_rows)
        first += part.n_rows


def _length(parts: Sequence[Part]) -> int:
    """Number of rows of the tables of all parts."""
    return sum(part.n_rows for part in parts)
