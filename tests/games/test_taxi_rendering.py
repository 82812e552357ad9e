import numpy as np
import pytest
from recordings import record

import mfenvs
from mfenvs.games.taxi.taxi import NOBODY
from mfenvs.rendering import make_recorder

SMALL = {"city": ("1S", "H2"), "n_agents": 4, "horizon": 3}
ONE, START, TWO = 0, 1, 3  # the places of the small city

AT_START = [(START, NOBODY, ())] * 4
# Place, target and customers of each taxi: the second and the third deliver at time 2, the first at time 3.
EPISODE = (
    AT_START,
    [(ONE, NOBODY, (ONE, TWO)), (ONE, ONE, ()), (TWO, TWO, (ONE,)), (START, NOBODY, (TWO,))],
    [(ONE, ONE, (TWO,)), (ONE, NOBODY, (ONE,)), (TWO, NOBODY, (ONE,)), (START, NOBODY, (TWO,))],
    [(ONE, NOBODY, (TWO,)), (ONE, ONE, (TWO,)), (TWO, NOBODY, (ONE, TWO)), (TWO, NOBODY, (TWO,))],
)

DARKEST = (63, 0, 125)  # the last of matplotlib's Purples
BARRIER = (64, 64, 64)
CUSTOMERS = (23, 190, 207)
ZONE_1, ZONE_2 = (31, 119, 180), (255, 127, 14)


def recorded(*times, **constants):
    """A recorder that has seen these taxis, time after time."""
    game = mfenvs.make("Taxi-v0", **SMALL | constants)
    return record(make_recorder(game), game, *map(as_states, times))


def as_states(taxis):
    """The states of taxis: their place, their target, and the places of their customers as bits."""
    return [(cell, target, sum(1 << place for place in places)) for cell, target, places in taxis]


def test_text():
    assert recorded(*EPISODE).ansi().splitlines() == [
        "Taxi-v0, 4 agents, time 3 of 3",
        "1 ███████│S",
        "50.0% .25│0.0%",
        "▒▒▒▒▒▒▒▒▒│2 ███████",
        "▒▒▒▒▒▒▒▒▒│50.0% 1.0",
        "",
        "Share of taxis (full bar: 50%) and customers per taxi in each place; ▒ barrier.",
        "",
        "        taxis  over time                  carrying  delivered  per taxi    now",
        "zone 1  50.0%  ▁▅▅▅                              1          2      0.50      1",
        "zone 2  50.0%  ▁▃▃▅                              0          1      0.25      0",
    ]


def test_text_of_the_start():
    lines = recorded(AT_START).ansi().splitlines()
    assert lines[:5] == [
        "Taxi-v0, 4 agents, time 0 of 3",
        "1        │S ███████",
        "0.0%  .00│100%",
        "▒▒▒▒▒▒▒▒▒│2",
        "▒▒▒▒▒▒▒▒▒│0.0%  .00",
    ]
    assert lines[-2] == "zone 1   0.0%  ▁                                 0          0      0.00      0"


def test_bars_are_full_at_a_round_share():
    taxis = [(1, NOBODY, ())] * 6 + [(2 + k % 6, NOBODY, ()) for k in range(44)]
    lines = recorded(taxis, city="S1111111", base_rewards=(1.0,), n_agents=50).ansi().splitlines()
    # 16 % are in the fullest place, so that a bar is full at 20 %, and 12 % are 4.2 of its 7 characters.
    assert "full bar: 20%" in lines[4]
    assert lines[1].split("│")[1] == "1 ████▎  "
    assert lines[2].split("│")[1] == "12.0% .00"


@pytest.mark.parametrize("city", [("11", "S2", "22"), ("12S", "12H")])
def test_deliveries_over_an_episode(city):
    # Without heterogeneity the reward tells who delivered where. The recorder must not see world 1.
    game = mfenvs.make(
        "Taxi-v0", city=city, base_rewards=(1.0, 2.0), heterogeneity=0.0, n_agents=30, horizon=40, jam=0.5
    )
    engine = mfenvs.Engine(game, 2)
    recorder = make_recorder(game)
    rng = np.random.default_rng(0)
    engine.reset(seed=0)
    recorder.record(engine)
    total = np.zeros(2, int)
    for time in range(1, game.horizon + 1):
        rewards = engine.step(rng.choice(5, (2, 30), p=[0.125] * 4 + [0.5]))[0]
        recorder.record(engine)
        now = [sum(reward == zone for reward in rewards) for zone in (1.0, 2.0)]
        total += now
        carrying = [0, 0]
        for state in engine.states[0]:
            symbol = "".join(city)[state["cell"]]
            if state["target"] != 64:
                carrying[int(symbol) - 1] += 1
        text = recorder.ansi()
        assert text.startswith(f"Taxi-v0, 30 agents, time {time} of 40\n")
        for zone, line in enumerate(text.splitlines()[-2:]):
            expected = [carrying[zone], total[zone], round(total[zone] / 30, 2), now[zone]]
            assert [float(number) for number in line.split()[-4:]] == expected
    assert (total > 10).all()


def test_clear_forgets():
    # The second taxi has a passenger when the episode ends: that it has none later is no delivery.
    recorder = recorded(*EPISODE)
    recorder.clear()
    with pytest.raises(RuntimeError, match=r"render\(\) was called before reset\(\)"):
        recorder.ansi()
    empty = [(ONE, NOBODY, ())] * 4
    record(recorder, mfenvs.make("Taxi-v0", **SMALL), as_states(empty))
    assert recorder.ansi() == recorded(empty).ansi()
    assert (recorder.rgb_array() == recorded(empty).rgb_array()).all()


def test_nothing_before_reset():
    recorder = make_recorder(mfenvs.make("Taxi-v0", **SMALL))
    for show in (recorder.ansi, recorder.rgb_array):
        with pytest.raises(RuntimeError, match=r"render\(\) was called before reset\(\): call reset\(\) first"):
            show()


@pytest.mark.filterwarnings("error")
def test_image():
    image = recorded(*EPISODE).rgb_array()
    assert image.dtype == np.uint8
    assert image.shape == (440, 720, 3)
    blank = recorded(AT_START).rgb_array()
    assert (image != blank).any(axis=2).sum() > 1000


def in_colour(image, colour):
    """Rows and columns of the pixels of a colour in the map: left of the plots, above the colour bar."""
    rows, columns = np.nonzero((image[:370, :350] == colour).all(axis=2))
    return rows, columns


@pytest.mark.parametrize("crowded", [ONE, START, TWO])
def test_image_shows_the_crowd(crowded):
    image = recorded([(crowded, NOBODY, ())] * 4).rgb_array()
    rows, columns = in_colour(image, DARKEST)
    assert len(rows) > 10_000
    # The map is about 300 pixels high and 320 wide, and each of its four places a quarter.
    place = 2 * (rows > 215) + (columns > 170)
    assert (place == crowded).mean() > 0.97


def test_image_shows_barriers():
    rows, columns = in_colour(recorded(AT_START).rgb_array(), BARRIER)
    assert len(rows) > 5_000
    assert np.median(rows) > 215
    assert np.median(columns) < 170
    assert len(in_colour(recorded(AT_START, city=("1S", "12")).rgb_array(), BARRIER)[0]) < 50


def test_image_shows_customers():
    def waiting(*taxis):
        return len(in_colour(recorded([(START, NOBODY, places) for places in taxis]).rgb_array(), CUSTOMERS)[0])

    both = (ONE, TWO)
    none, half, full = waiting(*[()] * 4), waiting(both, both, (), ()), waiting(*[both] * 4)
    assert none < 0.05 * full
    assert 0.4 * full < half < 0.6 * full


def test_image_shows_zones_over_time():
    # Three quarters of the taxis are in zone 2 and deliver once; in zone 1 one delivers twice.
    nobody = [(ONE, NOBODY, ())] + [(TWO, NOBODY, ())] * 3
    one = [(ONE, ONE, ()), *nobody[1:]]
    both = [one[0], (TWO, TWO, ()), *nobody[2:]]
    image = recorded(AT_START, both, nobody, one, nobody, horizon=4).rgb_array()
    taxis, deliveries = image[60:225, 420:], image[225:390, 420:]
    assert top(taxis, ZONE_2) < top(taxis, ZONE_1)
    assert top(deliveries, ZONE_1) < top(deliveries, ZONE_2)


def top(plot, colour):
    return np.nonzero((plot == colour).all(axis=2))[0].min()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("city", "width"),
    [
        (("111", "111", "111", "HSH", "222", "222", "222"), 80),
        (("S1111111",) + ("11112222",) * 7, 80),
        (("S12", "345", "678", "999"), 80),
        pytest.param(("S" + "1" * 63,), 640, marks=pytest.mark.slow),
        pytest.param(("S", *"1" * 63), 80, marks=pytest.mark.slow),
    ],
)
def test_other_cities(city, width):
    zones = len(set("".join(city)) - set("SH"))
    env = mfenvs.parallel_env(
        "Taxi-v0", city=city, base_rewards=(1.0,) * zones, n_agents=100, horizon=5, render_mode="ansi"
    )
    env.reset(seed=0)
    env.step(dict.fromkeys(env.agents, 3))
    lines = env.render().splitlines()
    assert max(map(len, lines)) <= width
    assert [row.split("│")[0][0] for row in lines[1 : 2 * len(city) : 2]] == [
        row[0].replace("H", "▒") for row in city
    ]
    assert [line[:6] for line in lines[-zones:]] == [f"zone {zone + 1}" for zone in range(zones)]
    recorder = make_recorder(env.game)
    recorder.record(env.engine)
    assert recorder.rgb_array().shape == (440, 720, 3)
