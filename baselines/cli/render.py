"""``mfenvs render``: print and draw an episode played by a run's policy."""

import dataclasses

import tyro
from matplotlib.image import imsave

from mfenvs import checks
from mfenvs.engine.engine import Engine
from mfenvs.files import replacing
from mfenvs.play import Player
from mfenvs.rendering import make_recorder

from ..runs import read_run
from .saved_run import READS_ONLY_DATA, SavedRunFlags, folder_and_flags, register_game_of_run


@dataclasses.dataclass(kw_only=True)
class RenderFlags(SavedRunFlags):
    """Which episode to show."""

    seed: int = 0
    """Random seed of the episode."""


def run(words: list[str]) -> int:
    """Play one episode by a run's policy, print it, and draw it to ``episode.png`` in the run folder."""
    folder, rest = folder_and_flags("render", words)
    flags = tyro.cli(
        RenderFlags,
        args=rest,
        prog="mfenvs render RUN",
        description="Play one episode by a run's policy, print it, and draw it to episode.png in the run folder."
        f" {READS_ONLY_DATA}",
    )
    checks.integer("seed", flags.seed, 0, 2**63 - 1)
    register_game_of_run(folder, flags.module)
    game, policy, _ = read_run(folder)
    recorder, engine, player = make_recorder(game), Engine(game), Player(game, policy, name="policy")
    engine.reset(flags.seed)
    recorder.record(engine)
    while engine.is_playing:
        engine.step(player.actions(engine))
        recorder.record(engine)
    print(recorder.ansi())
    with replacing(folder / "episode.png") as file:
        imsave(file, recorder.rgb_array(), format="png")
    print(f"drawn to {folder / 'episode.png'}")
    return 0
