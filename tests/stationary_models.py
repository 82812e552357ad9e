"""Induced games of the tests of stationary equilibria.

They are made when a test first asks for one: collecting the tests need not wait for them to be compiled.
"""

import functools

from tabulated import Tabulated

from mfenvs import InducedGame, make

BUSY = Tabulated(discount=0.8, pull=0.7, crowding=0.6)


@functools.cache
def busy() -> InducedGame:
    """Three states, with rewards and transitions that depend on the population."""
    return InducedGame(BUSY)


@functools.cache
def malware() -> InducedGame:
    """The game of malware with 101 levels."""
    return InducedGame(make("Malware-v0"))
