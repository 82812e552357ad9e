"""A CUDA device: its memory, and the launch of kernels on it."""

import functools
import importlib.util
import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import config
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks

DEVICE_NAME = re.compile(r"cuda(?::(\d+))?")
THREADS_IN_BLOCK = 256
"""Largest number of threads of a block."""
THREADS_IN_BLOCK_OF_WORLD = 512
"""Largest number of threads of a block that steps a whole world."""
WARP = 32
"""Number of threads that a device runs together."""
MOST_BLOCKS = 8192
"""Number of blocks beyond which threads go through several agents each: enough for every present device."""
MOST_BLOCKS_OF_WORLDS = 65535
"""Largest number of blocks along the axis of the worlds."""


def device_index(device: Any) -> int | None:
    """The number of a CUDA device, 0 for ``"cuda"``; None for ``"cpu"``.

    Raises
    ------
    TypeError, ValueError
        If ``device`` names neither.
    """
    name = device if isinstance(device, str) else str(device)  # A torch.device is one too.
    if name == "cpu":
        return None
    found = DEVICE_NAME.fullmatch(name)
    if found is None:
        raise ValueError(f'device must be "cpu", "cuda" or "cuda:<number>", got {checks.shown(device)}')
    return int(found[1] or 0)


def is_available() -> bool:
    """Whether numba-cuda is installed and finds a GPU."""
    if importlib.util.find_spec("numba_cuda") is None:
        return False
    from numba import cuda

    return bool(cuda.is_available())


def open_device(index: int) -> "CudaDevice":
    """Open a CUDA device.

    Raises
    ------
    ImportError
        If numba-cuda is not installed.
    RuntimeError
        If there is no such device, or its driver or compiler is missing.
    """
    if (
        importlib.util.find_spec("numba_cuda") is None
    ):  # numba.cuda alone may be numba's own, which is no longer kept.
        raise ImportError('device="cuda" needs numba-cuda: pip install "mfenvs[cuda]"')
    from numba import cuda

    if not cuda.is_available():
        raise RuntimeError(
            'device="cuda" needs a GPU of NVIDIA with its driver and the compiler of the extra "cuda", of which'
            " numba-cuda finds none (python -m numba -s says what it finds)"
        )
    if index >= len(cuda.gpus):
        raise RuntimeError(f'device="cuda:{index}" does not exist: there are {len(cuda.gpus)} CUDA devices')
    return _opened(index)


@functools.cache
def _opened(index: int) -> "CudaDevice":
    """A device, opened once: it keeps the kernels that were compiled for it, for all engines."""
    from numba import cuda

    return CudaDevice(cuda, index)


class CudaDevice:
    """A CUDA device, or numba's simulator of one.

    Parameters
    ----------
    cuda:
        The module ``numba.cuda``.
    index:
        Number of the device.
    """

    is_simulated = bool(config.ENABLE_CUDASIM)  # type: ignore[attr-defined]
    """Whether the device is numba's simulator, whose arrays are in the memory of the host."""

    def __init__(self, cuda: Any, index: int = 0) -> None:
        self._cuda, self.index = cuda, index
        self._compiled: dict[tuple[Callable[..., None], int], Any] = {}
        self._grids: dict[tuple[Any, ...], Any] = {}

    @property
    def name(self) -> str:
        """The device's name, ``"cuda:<number>"``."""
        return f"cuda:{self.index}"

    @property
    def tensor_device(self) -> str:
        """Name of torch's device whose tensors share memory with arrays here; of the simulator, the CPU."""
        return "cpu" if self.is_simulated else self.name

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array of zeros on the device, with at least one entry along every axis."""
        return self.upload(np.zeros(shape, dtype))

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array on the device whose numbers are not set, with at least one entry along every axis."""
        with self._cuda.gpus[self.index]:
            return self._cuda.device_array(tuple(max(1, n) for n in shape), np.dtype(dtype))

    def upload(self, array: ArrayLike) -> Any:
        """Copy an array to the device; an axis without entries gets one zero there."""
        found = np.ascontiguousarray(array)
        if not found.size:
            found = np.zeros(tuple(max(1, n) for n in found.shape), found.dtype)
        with self._cuda.gpus[self.index]:
            return self._cuda.to_device(found)

    def constants(self, constants: Any) -> Any:
        """Copy the arrays among a game's constants to the device: a (named) tuple like the given one."""
        if isinstance(constants, tuple):
            copied = [self.constants(value) for value in constants]
            return type(constants)(*copied) if hasattr(constants, "_fields") else tuple(copied)
        return self.upload(constants) if isinstance(constants, np.ndarray) else constants

    def download(self, array: Any) -> NDArray[Any]:
        """Copy an array from the device, when all kernels before have ended."""
        with self._cuda.gpus[self.index]:
            return np.asarray(array.copy_to_host())

    def copy(self, array: Any, onto: Any) -> None:
        """Copy a host's array onto one on the device."""
        with self._cuda.gpus[self.index]:
            onto.copy_to_device(np.ascontiguousarray(array))

    def borrow(self, name: str, array: Any) -> Any | None:
        """An array that is on the device already, as one of numba's and without a copy; None for one of the host.

        Parameters
        ----------
        name:
            What error messages call it.
        array:
            Any object. On the device are arrays with ``__cuda_array_interface__``: of torch, CuPy, numba.

        Raises
        ------
        ValueError
            If it is on another CUDA device.
        """
        is_tensor, is_of_numba = hasattr(array, "detach"), getattr(array, "__cuda_ndarray__", False)
        if is_tensor:  # Its interface refuses to be asked if it has a gradient.
            array = array.detach()
        if self.is_simulated and (is_tensor or is_of_numba):
            return array if is_of_numba else simulated_array(array.numpy())
        if not hasattr(array, "__cuda_array_interface__"):
            return None
        with self._cuda.gpus[self.index]:
            number = array.device.index if is_tensor else number_of_memory(array)
            if number not in (self.index, None):
                raise ValueError(f"{name} must be on {self.name}, got an array on cuda:{number}")
            return array if is_of_numba else self._cuda.as_cuda_array(array)

    def view(self, name: str, array: Any, shape: tuple[int, ...], kinds: str) -> Any:
        """An array on the device without a copy, or a copy of a host's array.

        Parameters
        ----------
        name:
            What error messages call it.
        array:
            An array that is on the device (:meth:`borrow`), or array-like.
        shape:
            The shape that it must have.
        kinds:
            The kinds of dtypes that it may have, such as ``"iu"``.

        Raises
        ------
        TypeError, ValueError
            If it has another shape or kind, or is on another device.
        """
        borrowed = self.borrow(name, array)
        if borrowed is not None:
            return self.checked(name, borrowed, shape, kinds)
        return self.upload(self.checked(name, checks.array(name, array), shape, kinds))

    @staticmethod
    def checked(name: str, array: Any, shape: tuple[int, ...], kinds: str) -> Any:
        """The given array, of the device or of the host; an error as of :meth:`view` if it is of another kind."""
        if tuple(array.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(array.shape)}")
        if np.dtype(array.dtype).kind not in kinds:
            raise TypeError(f"{name} must be {'integers' if 'i' in kinds else 'numbers'}, got dtype {array.dtype}")
        return array

    def launch(self, kernel: Callable[..., None], n_worlds: int, n_items: int, *arguments: Any) -> None:
        """Launch a kernel on a grid for ``n_worlds`` (along y) times ``n_items`` (along x) pieces of work."""
        threads = _threads(n_items, THREADS_IN_BLOCK)
        blocks_of_worlds = min(max(1, n_worlds), MOST_BLOCKS_OF_WORLDS)
        most = max(1, MOST_BLOCKS // blocks_of_worlds)
        blocks = min(math.ceil(max(1, n_items) / threads), most)
        with self._cuda.gpus[self.index]:
            self._configured(kernel, (blocks, blocks_of_worlds), threads)(*arguments)

    def launch_by_world(self, kernel: Callable[..., None], n_worlds: int, n_items: int, *arguments: Any) -> None:
        """Launch a kernel with one block for each of ``n_worlds``, which does ``n_items`` pieces of work."""
        blocks = 1, min(max(1, n_worlds), MOST_BLOCKS_OF_WORLDS)
        threads, most = _threads(n_items, THREADS_IN_BLOCK_OF_WORLD), THREADS_IN_BLOCK_OF_WORLD
        with self._cuda.gpus[self.index]:
            self._configured(kernel, blocks, threads, most)(*arguments)

    def _configured(
        self,
        kernel: Callable[..., None],
        blocks: tuple[int, int],
        threads: int,
        most_threads: int = THREADS_IN_BLOCK,
    ) -> Any:
        """A kernel for a grid, compiled for blocks of up to ``most_threads`` threads."""
        if (kernel, most_threads) not in self._compiled:
            # Unless it is told, the compiler gives threads so many registers that a block of 256 has enough.
            is_told = most_threads > THREADS_IN_BLOCK and not self.is_simulated
            options = {"launch_bounds": most_threads} if is_told else {}
            self._compiled[kernel, most_threads] = self._cuda.jit(kernel, **options)
        # The simulator's kernels hold one grid only.
        grid = kernel, most_threads, blocks, threads
        if self.is_simulated or grid not in self._grids:
            with warnings.catch_warnings():
                # numba warns of grids that do not fill a device. Small games have such, whatever anybody does. The
                # message may begin with the terminal's code of bold letters.
                warnings.filterwarnings("ignore", message=".*Grid size")
                self._grids[grid] = self._compiled[kernel, most_threads][blocks, threads]
        return self._grids[grid]


def number_of_memory(array: Any) -> int | None:
    """The number of the CUDA device whose memory an array is in; None if the array is empty.

    The driver knows, whatever library made the array.
    """
    pointer, _ = array.__cuda_array_interface__["data"]
    if not pointer:
        return None
    from numba.cuda.cudadrv.driver import binding, driver

    attribute = binding.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    return int(driver.cuPointerGetAttribute(attribute, binding.CUdeviceptr(pointer)))


def _threads(n_items: int, most: int) -> int:
    """Number of threads of a block for some pieces of work: whole warps."""
    return min(most, WARP * math.ceil(max(1, n_items) / WARP))


def simulated_array(array: NDArray[Any]) -> Any:
    """An array of the host as one of the simulator's, which shares its memory."""
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    return FakeCUDAArray(array)
