"""``python -m mfenvs``: the command line."""

import sys

from mfenvs.baselines.cli.main import main  # type: ignore[import-not-found]

sys.exit(main())
