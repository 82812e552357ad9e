"""The linear-quadratic game of typed agents: its rules, the steps of its dynamics and its pictures."""

from mfenvs.games.linear_quadratic.game import LinearQuadratic
from mfenvs.games.linear_quadratic.rendering import LawRecorder

__all__ = ["LawRecorder", "LinearQuadratic"]
