"""Arrays of an engine as tensors of torch, without a copy, on the device on which they are."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


@contextlib.contextmanager
def after_and_before_torch(device: "torch.device") -> Iterator[None]:
    """Let what the engine launches within this context follow torch's work, and torch's later work follow it.

    Both are on the device's default stream, unless the caller has chosen another one
    (``torch.cuda.stream(...)``). Nothing waits on the host.
    """
    import torch

    if device.type != "cuda":
        yield
        return
    default, current = torch.cuda.default_stream(device), torch.cuda.current_stream(device)
    if current == default:
        yield
        return
    default.wait_stream(current)
    try:
        yield
    finally:
        current.wait_stream(default)


def as_torch(array: Any, device: Any = "cuda") -> "torch.Tensor":
    """A tensor that shares the memory of an array: what is written to the one is seen in the other.

    Parameters
    ----------
    array:
        An array that a method of :class:`mfenvs.Engine` returned: of NumPy, or on a CUDA device
        (``__cuda_array_interface__``). Not one of records, which torch does not know.
    device:
        The CUDA device on which the array is, :attr:`mfenvs.Engine.device`; of no meaning for arrays of NumPy.

    Returns
    -------
    A tensor with the array's shape and dtype, on the array's device.

    Raises
    ------
    ImportError
        If torch is not installed.
    TypeError
        If torch has no such dtype.

    Notes
    -----
    The engine works on CUDA's default stream, as torch does unless it is told otherwise: its results are complete
    for operations of torch that follow. Within ``torch.cuda.stream(...)`` call methods of the engine within
    :func:`after_and_before_torch`.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ImportError('as_torch needs torch: pip install "mfenvs[baselines]"') from error
    if array.dtype.names is not None:
        raise TypeError(f"array must hold numbers, got records with the fields {', '.join(array.dtype.names)}")
    if isinstance(array, np.ndarray):
        return torch.from_numpy(array)
    if hasattr(array, "__cuda_array_interface__"):
        return torch.as_tensor(array, device=device)
    return torch.as_tensor(array)  # Of numba's simulator, whose arrays are in the memory of the host.
