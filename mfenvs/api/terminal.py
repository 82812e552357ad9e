"""The render mode "human": texts printed to the standard output, in a terminal each over the last one."""

import sys
import time

SECONDS_A_TEXT = 0.25
"""Time that each text stays in a terminal, in seconds."""


class Display:
    """A printer of texts, in a terminal each over the last one."""

    def __init__(self) -> None:
        self._height = 0

    def show(self, text: str, *, anew: bool) -> None:
        """Print a text: in a terminal over the last one, unless it begins ``anew``."""
        out = sys.stdout
        is_terminal = out.isatty()
        if is_terminal and not anew and self._height:
            out.write(f"\x1b[{self._height}F\x1b[J")  # to the first line of the last text; clear from there on
        out.write(f"{text}\n")
        out.flush()
        self._height = text.count("\n") + 1
        if is_terminal:
            time.sleep(SECONDS_A_TEXT)
