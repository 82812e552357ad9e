"""One thread for everything, and hypothesis without clocks or chance: set before numba and torch load."""

import os
import sys

for variable in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numba  # noqa: E402
from hypothesis import settings  # noqa: E402

# pytest resolves `filterwarnings` before this file, and with it numba: the variable alone comes too late.
numba.config.NUMBA_NUM_THREADS = 1
if "torch" in sys.modules:
    sys.modules["torch"].set_num_threads(1)

settings.register_profile("mfenvs", deadline=None, derandomize=True)
settings.load_profile("mfenvs")
