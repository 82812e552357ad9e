"""What a recorder of an episode shows, of states that a test gives."""

from typing import Any

from mfenvs import Engine, Game


def record(recorder: Any, game: Game, *times: Any) -> Any:
    """Let a recorder see these states of one engine, which overwrites its states as it always does; return it."""
    engine = Engine(game)
    engine.reset(seed=0)
    for states in times:
        engine.states[0] = states
        recorder.record(engine)
    return recorder
