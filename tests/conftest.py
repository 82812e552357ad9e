"""One thread for everything, and hypothesis without clocks or chance: set before numba and torch load."""

import gc
import os
import signal
import sys
import threading

for variable in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numba  # noqa: E402
from hypothesis import settings  # noqa: E402

# pytest resolves `filterwarnings` before this file, and with it numba: the variable alone comes too late.
numba.config.NUMBA_NUM_THREADS = 1
if "torch" in sys.modules:
    sys.modules["torch"].set_num_threads(1)

# In the background a shell ignores Ctrl-C, and so would all processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("mfenvs", deadline=None, derandomize=True)
settings.load_profile("mfenvs")

# The search for garbage goes through all that numba, torch and the tests hold: a tenth of a run, with Python's own
# thresholds.
gc.set_threshold(20_000, 10, 50)


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later search for garbage."""
    gc.collect()
    gc.freeze()
