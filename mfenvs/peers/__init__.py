"""Finite games handed over to other libraries for mean-field games, to compare solvers on the same game.

The libraries are imported when a function is called, and need not be installed otherwise.
"""

from mfenvs.peers.mfglib import to_mfglib
from mfenvs.peers.open_spiel import open_spiel_policy, to_open_spiel

__all__ = ["open_spiel_policy", "to_mfglib", "to_open_spiel"]
