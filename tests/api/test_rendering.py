import subprocess
import sys

import gymnasium
import numpy as np
import pytest

import mfenvs
from mfenvs.games.epidemic import Epidemic
from mfenvs.rendering import ShareRecorder

SMALL = {"n_agents": 4, "horizon": 2}


@pytest.fixture
def recorder():
    game = mfenvs.make("Epidemic-v0", **SMALL)
    recorder = ShareRecorder(game)
    for states in ([0, 0, 0, 1], [0, 1, 1, 1]):
        recorder.record(engine_in(game, states))
    return recorder


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
        (frame,) = env.render()
        return env, frame
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
    with pytest.raises(ValueError, match="render_mode must be one of None, 'ansi', 'rgb_array', got 'svg'"):
        play(api, "svg")


def test_nothing_without_a_render_mode():
    parallel = mfenvs.parallel_env("Epidemic-v0", **SMALL)
    parallel.reset()
    with pytest.warns(UserWarning, match="shows nothing without a render_mode: choose one of ansi, rgb_array"):
        assert parallel.render() is None
    vector = mfenvs.vector_env("Epidemic-v0", **SMALL)
    with pytest.warns(UserWarning, match="shows nothing"):
        assert vector.render() is None


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
