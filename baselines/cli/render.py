"""``mfenvs render``: print and draw an episode played by a run's policy."""

from matplotlib.image import imsave

from mfenvs.engine.engine import Engine
from mfenvs.files import replacing
from mfenvs.play import Player
from mfenvs.rendering import make_recorder

from ..runs import read_run
from .saved_run import SavedRunFlags, read_command_line


def run(words: list[str]) -> int:
    """Play one episode by a run's policy, print it, and draw it to ``episode.png`` in the run folder."""
    folder, flags = read_command_line(
        "render",
        words,
        SavedRunFlags,
        "Play one episode by a run's policy, print it, and draw it to episode.png in the run folder.",
    )
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
