import io
import re
import subprocess
import sys
import types
from unittest.mock import MagicMock, patch

import gymnasium
import numpy as np
import pytest
from line import Line
from pettingzoo.test import render_test
from recordings import record

import mfenvs
from mfenvs.api.terminal import Display
from mfenvs.games.epidemic import Epidemic
from mfenvs.rendering import ShareRecorder

SMALL = {"n_agents": 4, "horizon": 2}


@pytest.fixture
def recorder():
    game = mfenvs.make("Epidemic-v0", **SMALL)
    return record(ShareRecorder(game), game, [0, 0, 0, 1], [0, 1, 1, 1])


def engine_in(game, states):
    """An engine whose agents are in these states."""
    engine = mfenvs.Engine(game)
    engine.reset(seed=0)
    engine.states[0] = states
    return engine


def test_text(recorder):
    assert recorder.ansi().splitlines() == [
        "Epidemic-v0, 4 agents, time 1 of 2",
        "infected |███████▌                      |  25.0%  ▇▃",
        "healthy  |██████████████████████▌       |  75.0%  ▃▇",
    ]


def test_image_shows_each_state_where_it_is(recorder):
    image = recorder.rgb_array()
    assert image.dtype == np.uint8
    assert image.shape == (440, 720, 3)
    infected, healthy = (fill(image, row) for row in (-1, 0))
    assert infected != healthy
    # Of the time before now a quarter is healthy, then a quarter infected; the rest of the episode is blank.
    inside = plot_area(image)
    first, second, third = (inside[:, inside.shape[1] * k // 12] for k in (2, 6, 10))
    for column, share in ((first, 0.75), (second, 0.25)):
        assert abs((column == infected).all(axis=1).mean() - share) < 0.02
        assert abs((column == healthy).all(axis=1).mean() - 1 + share) < 0.02
    assert (third == 255).all()


def plot_area(image):
    """The image within the axes' frame: black lines that cross most of it."""
    black = (image == 0).all(axis=2)
    rows, columns = (np.flatnonzero(black.mean(axis=axis) > 0.5) for axis in (1, 0))
    return image[rows[0] + 2 : rows[-1] - 1, columns[0] + 2 : columns[-1] - 1]


def fill(image, row):
    return tuple(plot_area(image)[row, 5])


def test_many_states_are_grouped():
    class Wide(Epidemic):
        n_states = 15
        state_names = ()
        initial_distribution = np.full(15, 1 / 15)

        @staticmethod
        @mfenvs.rule
        def transition(next_state, state, action, agent, world):
            return 1.0 if next_state == state else 0.0

    game = Wide(**SMALL)
    recorder = ShareRecorder(game)
    recorder.record(engine_in(game, [14, 14, 3, 0]))
    lines = recorder.ansi().splitlines()[1:]
    shown = [line.split()[0] for line in lines]
    assert len(lines) == 10
    assert {"0", "3", "14"} <= set(shown)
    assert lines[-1].startswith("6 others")
    assert " 50.0%" in lines[shown.index("14")]
    assert recorder.rgb_array().shape == (440, 720, 3)


def play(api, render_mode):
    """An environment after one step, and what its render() makes of world 0."""
    if api == "pettingzoo":
        env = mfenvs.parallel_env("Epidemic-v0", render_mode=render_mode, **SMALL)
        env.reset(seed=0)
        env.step(dict.fromkeys(env.agents, 0))
        return env, env.render()
    if api == "single":
        env = gymnasium.make("mfenvs/Epidemic-v0", render_mode=render_mode, **SMALL)
        env.reset(seed=0)
        env.step(0)
        return env.unwrapped, env.render()
    if api == "vector":
        env = gymnasium.make_vec("mfenvs/Epidemic-v0", n_worlds=2, render_mode=render_mode, **SMALL)
        env.reset(seed=0)
        env.step(np.zeros(8, int))
        frames = env.render()
        assert len(frames) == 8
        assert all(frame is frames[0] for frame in frames)
        return env, frames[0]
    env = mfenvs.vec_env("Epidemic-v0", 2, render_mode=render_mode, **SMALL)
    env.seed(0)
    env.reset()
    env.step(np.zeros(8, int))
    return env, env.render()


@pytest.mark.filterwarnings("ignore:.*not in the possible render_modes")
@pytest.mark.parametrize("api", ["pettingzoo", "single", "vector", "sb3"])
def test_every_api_renders(api):
    env, text = play(api, "ansi")
    infected = np.mean(env.engine.states[0] == 0)
    assert text.startswith("Epidemic-v0, 4 agents, time 1 of 2\ninfected |")
    assert f"{infected:6.1%}" in text.splitlines()[1]
    env.reset()
    again = env.render()
    assert "time 0 of 2" in (again[0] if api == "vector" else again)
    image = play(api, "rgb_array")[1]
    assert image.shape == (440, 720, 3)
    assert image.dtype == np.uint8
    with pytest.raises(
        ValueError, match="render_mode must be one of None, 'ansi', 'rgb_array', 'human', got 'svg'"
    ):
        play(api, "svg")


def test_nothing_without_a_render_mode():
    parallel = mfenvs.parallel_env("Epidemic-v0", **SMALL)
    parallel.reset()
    with pytest.warns(
        UserWarning, match="shows nothing without a render_mode: choose one of ansi, rgb_array, human"
    ):
        assert parallel.render() is None
    vector = mfenvs.vector_env("Epidemic-v0", **SMALL)
    with pytest.warns(UserWarning, match="shows nothing"):
        assert vector.render() is None


class Hidden(Line):
    """A game without a rule place."""


@pytest.mark.parametrize(
    ("game", "modes"), [(mfenvs.make("Epidemic-v0", **SMALL), ["ansi", "rgb_array", "human"]), (Hidden(), [])]
)
def test_metadata_names_the_modes_that_a_game_has(game, modes):
    apis = mfenvs.parallel_env(game), mfenvs.vector_env(game), mfenvs.api.gymnasium.RepresentativeAgentEnv(game)
    for env in apis:
        assert env.metadata["render_modes"] == modes
        env.reset()
        with pytest.warns(UserWarning, match="choose one of" if modes else "this game has none"):
            env.render()
        for mode in ("ansi", "rgb_array", "human"):
            if not modes:
                with pytest.raises(TypeError, match="rendering needs a game with a rule place, got Hidden"):
                    type(env)(game, render_mode=mode)


@pytest.mark.parametrize("api", ["pettingzoo", "single", "vector", "sb3"])
def test_human_rendering_prints_every_step(api, capsys):
    env, returned = play(api, "human") if api != "vector" else (None, None)
    if api == "vector":
        env = gymnasium.make_vec("mfenvs/Epidemic-v0", n_worlds=2, render_mode="human", **SMALL)
        env.reset(seed=0)
        env.step(np.zeros(8, int))
        returned = env.render()
    assert returned is None
    printed = capsys.readouterr().out
    assert re.findall("time . of 2", printed) == ["time 0 of 2", "time 1 of 2"]
    assert printed.endswith(play("pettingzoo", "ansi")[1] + "\n")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_in_a_terminal_a_text_takes_the_place_of_the_last(monkeypatch):
    waited, screen = [], Terminal()
    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr("sys.stdout", screen)
    display = Display()
    display.show("a\nb", anew=True)
    display.show("c", anew=False)
    display.show("d", anew=False)
    display.show("e", anew=True)
    assert screen.getvalue() == "a\nb\n" + "\x1b[2F\x1b[Jc\n" + "\x1b[1F\x1b[Jd\n" + "e\n"
    assert waited == [0.25] * 4


def test_pettingzoos_render_test(capsys):
    for env_fn in (
        lambda render_mode: mfenvs.api.pettingzoo.env("Epidemic-v0", render_mode=render_mode, **SMALL),
        lambda render_mode: mfenvs.api.pettingzoo.env("Taxi-v0", render_mode=render_mode, n_agents=2, horizon=4),
    ):
        render_test(env_fn)
    assert "time 1 of 2" in capsys.readouterr().out


@pytest.mark.parametrize("first_only", [False, True])
def test_gymnasium_records_videos_of_slots(first_only, tmp_path, monkeypatch):
    """Without moviepy, which only writes the file."""
    written = []
    clip = types.ModuleType("moviepy.video.io.ImageSequenceClip")
    clip.ImageSequenceClip = lambda frames, fps: types.SimpleNamespace(
        write_videofile=lambda path, logger: written.append((frames, fps, path))
    )
    for name in ("moviepy", "moviepy.video", "moviepy.video.io"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, clip.__name__, clip)
    vector = mfenvs.vector_env("Epidemic-v0", render_mode="rgb_array", **SMALL)
    record = gymnasium.wrappers.vector.RecordVideo(
        vector, str(tmp_path), episode_trigger=lambda episode: True, record_first_only=first_only
    )
    record.reset(seed=0)
    for _ in range(2):
        record.step(np.zeros(4, int))
    record.close()
    ((frames, fps, _),) = written
    assert len(frames) == 3
    assert fps == 4
    assert {frame.shape for frame in frames} == {(440, 720, 3) if first_only else (880, 1440, 3)}


def test_gymnasium_shows_slots():
    """Up to what it needs pygame for: it takes a frame for each slot."""
    vector = mfenvs.vector_env("Epidemic-v0", render_mode="rgb_array", **SMALL)
    pygame, cv2 = MagicMock(), types.SimpleNamespace(resize=lambda image, size: image[: size[1], : size[0]])
    with patch.dict(sys.modules, {"pygame": pygame, "cv2": cv2}):
        shown = gymnasium.wrappers.vector.HumanRendering(vector)
        shown.reset(seed=0)
        shown.step(np.zeros(4, int))
        shown.close()
    assert pygame.display.flip.call_count == 2


def test_nothing_before_reset():
    vector = mfenvs.vector_env("Epidemic-v0", render_mode="ansi", **SMALL)
    with pytest.raises(RuntimeError, match=r"render\(\) was called before reset\(\)"):
        vector.render()


def test_gymnasium_records_episodes():
    single = gymnasium.make("mfenvs/Epidemic-v0", render_mode="rgb_array", **SMALL)
    single = gymnasium.wrappers.RenderCollection(single)
    single.reset(seed=0)
    for _ in range(2):
        single.step(0)
    frames = single.render()
    assert len(frames) == 3
    assert len({frame.tobytes() for frame in frames}) == 3


def test_missing_packages_are_named(monkeypatch):
    for module in ("matplotlib.backends.backend_agg", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"needs matplotlib: pip install 'mfenvs\[render\]'"):
        mfenvs.parallel_env("Epidemic-v0", render_mode="rgb_array")
    mfenvs.parallel_env("Epidemic-v0", render_mode="ansi")
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.vec_env", None)
    monkeypatch.delitem(sys.modules, "mfenvs.api.sb3", raising=False)
    with pytest.raises(ImportError, match=r"needs stable-baselines3: pip install 'mfenvs\[baselines\]'"):
        mfenvs.vec_env("Epidemic-v0")


def test_importing_mfenvs_imports_no_optional_package():
    program = (
        "import sys, gymnasium, mfenvs\n"
        "gymnasium.spec('mfenvs/Epidemic-v0')\n"
        "print([m for m in ('torch', 'stable_baselines3', 'matplotlib', 'supersuit') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
