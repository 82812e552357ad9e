"""Texts shown on the standard output, in a terminal each in the place of the last: the render mode "human"."""

import sys
import time

SECONDS_A_TEXT = 0.25
"""In a terminal each text stays so long, to be seen."""


class Display:
    """Prints one text after the other."""

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
