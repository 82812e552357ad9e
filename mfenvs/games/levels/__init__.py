"""Games whose local state is one or more levels in [0, 1], on a grid or continuous.

``rules``
    How levels move and are counted: the same rules for both forms.
``two_forms``
    Games that are finite or not, by the constant ``states``.
``level_game``
    What these games have in common.
``rendering``
    Pictures of the law of the levels over time.
"""

from mfenvs.games.levels.level_game import LevelGame
from mfenvs.games.levels.rendering import LevelRecorder

__all__ = ["LevelGame", "LevelRecorder"]
