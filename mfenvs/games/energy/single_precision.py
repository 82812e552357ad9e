"""Numbers in single precision: with Python's literals the rules would compute in double precision."""

import numpy as np

ZERO, HALF, ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
