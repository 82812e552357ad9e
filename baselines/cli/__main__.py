"""``python -m mfenvs.baselines.cli``, and ``python -m baselines.cli`` in a clone: the command line."""

import sys

from .main import main

sys.exit(main())
