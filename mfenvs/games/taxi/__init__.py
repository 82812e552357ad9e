"""The game A-Taxi: its map, its rules and its pictures."""

from mfenvs.games.taxi.rendering import CityRecorder
from mfenvs.games.taxi.taxi import Taxi

__all__ = ["CityRecorder", "Taxi"]
