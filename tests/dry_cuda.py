"""A CUDA device without a GPU: its arrays are the host's, and launched kernels are compiled and not run."""

import types

import numba
import numpy as np
from numba.cuda import compile_ptx, compiler, dispatcher

from mfenvs.engine.cuda.device import CudaDevice


class DryDevice(CudaDevice):
    """A device of a compute capability, that keeps the PTX of all kernels launched on it."""

    def __init__(self, capability):
        self.capability = capability
        self.ptx = {}

    def empty(self, shape, dtype):
        return np.zeros(tuple(max(1, n) for n in shape), dtype)

    def upload(self, array):
        found = np.array(array, order="C")
        return found if found.size else self.empty(found.shape, found.dtype)

    def download(self, array):
        return np.array(array)

    def copy(self, array, onto):
        onto[...] = array

    def view(self, name, array, shape, kinds):
        return np.ascontiguousarray(array)

    def launch(self, kernel, n_worlds, n_items, *arguments):
        signature = tuple(numba.typeof(argument) for argument in arguments)
        if (kernel.__name__, signature) not in self.ptx:
            # The compiler asks the device that is there for its capability, and there is none.
            device = types.SimpleNamespace(compute_capability=self.capability)
            kept = [(module, module.get_current_device) for module in (compiler, dispatcher)]
            try:
                for module, _ in kept:
                    module.get_current_device = lambda: device
                self.ptx[kernel.__name__, signature], _ = compile_ptx(kernel, signature, cc=self.capability)
            finally:
                for module, function in kept:
                    module.get_current_device = function

    def code(self, name):
        """The PTX of all kernels of this name."""
        return "\n".join(ptx for (kernel, _), ptx in self.ptx.items() if kernel == name)
