"""The games with common noise by their registered names."""

from mfenvs.games.classic.classic_game import ClassicGame
from mfenvs.games.common_noise.closing_beach_bar import ClosingBeachBar
from mfenvs.games.common_noise.systemic_risk import SystemicRisk

COMMON_NOISE_GAMES: dict[str, type[ClassicGame]] = {
    "ClosingBeachBar-v0": ClosingBeachBar,
    "SystemicRisk-v0": SystemicRisk,
}
"""The games with common noise, in the order of their sources."""
