"""The energy market's figures show what they were given; the page is whole, safe and self-contained."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import StepPatch
from numpy.testing import assert_allclose

from benchmarks.reproduce import energy_figures as figures
from benchmarks.reproduce import energy_report as report
from benchmarks.reproduce.energy_report import Column, Section, Summary, Table, write_report
from mfenvs import Engine, make
from mfenvs.energy.forecast_scores import Evaluation
from mfenvs.energy.settlement import Ledger, summary
from mfenvs.games.energy.conditions import FEED_IN, RETAIL
from mfenvs.games.energy.prosumer_types import TYPES
from mfenvs.games.energy.version_0 import EnergyMarketV0

STYLES = figures.policy_styles(["no trade", "ours", "theirs", "planner"])


def lines(ax):
    return {line.get_label(): line.get_xydata() for line in ax.lines}


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


# The order book.


def played(n_steps=1, actions=None, **constants):
    game = EnergyMarketV0(**({"n_agents": 20, "first_day": 150, "n_days": 1} | constants))
    engine, rng = Engine(game), np.random.default_rng(0)
    engine.reset(0)
    space = game.action_space
    before = None
    for _ in range(n_steps):
        before = engine.signal[0].copy()
        engine.step(rng.uniform(space.low, space.high, (1, game.n_agents, 3)).astype(np.float32))
    return engine, before


def test_the_book_of_step_orders_by_hand():
    engine, _ = played(orders="step", n_ticks=4)
    engine.counts[0] = 20 * np.array([0, 0, 0, 2, 1, 3, 0, 1, 0, 0])
    book = figures.order_book(engine)
    assert_allclose(book.prices, np.repeat([0.08, 0.14, 0.20, 0.26, 0.32], 2), rtol=1e-6)
    assert_allclose(book.demand, [3, 3, 3, 3, 3, 3, 3, 1, 1, 0])
    assert_allclose(book.supply, [0, 3, 3, 3, 3, 4, 4, 4, 4, 4])


def test_the_book_of_interpolated_orders_by_hand():
    # Levels 0 to 4 of two ticks that are filled over two: a buy at level 4 always, one at level 2 half at price 1.
    engine, _ = played(orders="interpolated", n_ticks=2, width=0.24)
    engine.counts[0] = 20 * np.array([5, 0, 2, 0, 1, 3, 0, 4, 0, 7])
    book = figures.order_book(engine)
    assert_allclose(book.prices, [0.08, 0.20, 0.32], rtol=1e-6)
    assert_allclose(book.demand, [1 + 2, 1 + 1, 1])
    assert_allclose(book.supply, [3, 3 + 2, 3 + 4])


def test_the_book_of_linear_orders_by_hand():
    engine, _ = played(orders="linear")
    engine.counts[0] = 40, 20
    book = figures.order_book(engine)
    assert_allclose([book.prices, book.demand, book.supply], [[0.08, 0.32], [2, 2], [1, 1]], rtol=1e-6)


@pytest.mark.parametrize("orders", ["interpolated", "step"])
def test_what_is_traded_is_the_most_that_both_sides_agree_on(orders):
    """The classical definition, on prices between which curves are straight or constant."""
    inside = 0
    for hour in (3, 9, 11, 13, 15):
        engine, before = played(hour, orders=orders)
        book = figures.order_book(engine)
        assert (book.feed_in, book.retail) == (before[FEED_IN], before[RETAIL])
        if orders == "step":
            agreed = np.minimum(book.demand[::2], book.supply[1::2]).max()
        else:
            fine = np.linspace(book.feed_in, book.retail, 100_001)
            curves = (np.interp(fine, book.prices, side) for side in (book.demand, book.supply))
            agreed = np.minimum(*curves).max()
        assert book.volume == pytest.approx(agreed, abs=1e-4)
        if book.feed_in < book.price < book.retail:
            inside += 1
            if orders == "interpolated":
                for side in (book.demand, book.supply):
                    assert np.interp(book.price, book.prices, side) == pytest.approx(book.volume, abs=1e-4)
    assert inside


def test_the_book_has_the_tariffs_of_its_own_step():
    engine, before = played(6, dynamic_tariffs=True)
    assert engine.signal[0, FEED_IN] != before[FEED_IN]
    book = figures.order_book(engine)
    assert (book.feed_in, book.retail) == (before[FEED_IN], before[RETAIL])


def test_books_there_are_not():
    engine, _ = played()
    with pytest.raises(ValueError, match="world must be"):
        figures.order_book(engine, 1)
    engine.reset()
    with pytest.raises(RuntimeError, match="before the first step"):
        figures.order_book(engine)
    with pytest.raises(TypeError, match="EnergyMarket"):
        figures.order_book(Engine(make("Epidemic-v0", n_agents=2)))


# Every figure: what is drawn.


def merit_order():
    curves = np.array([0.1, 0.2, 0.2, 0.3]), np.array([3.0, 3, 1, 1]), np.array([0.0, 2, 2, 4])
    return figures.merit_order(*curves, 0.08, 0.32, 0.2, 2.0)


def test_the_merit_order():
    (ax,) = merit_order().axes
    drawn = lines(ax)
    assert_allclose(drawn["demand"], [[3, 0.1], [3, 0.2], [1, 0.2], [1, 0.3]])
    assert_allclose(drawn["supply of the community"], [[0, 0.1], [2, 0.2], [2, 0.2], [4, 0.3]])
    cleared = "cleared: 0.200 EUR/kWh, 2.000 kWh per agent traded locally"
    assert_allclose(drawn[cleared], [[2, 0.2]])
    assert {0.08, 0.32} <= {line.get_ydata()[0] for line in ax.lines}


ELEVEN_DAYS = np.arange(11.0)[:, None] ** 2 / 500 + np.array([0.1, 0.12])


def price_of_day():
    return figures.price_of_day(
        {"ours": ELEVEN_DAYS, "theirs": 0.3 - ELEVEN_DAYS / 2}, [0.08, 0.09], 0.32, STYLES, 6
    )


def test_prices_of_the_day():
    figure = price_of_day()
    for ax, name, values in zip(
        figure.axes, ("ours", "theirs"), (ELEVEN_DAYS, 0.3 - ELEVEN_DAYS / 2), strict=True
    ):
        ordered = np.sort(values, axis=0)
        assert ax.get_title(loc="left") == name
        assert_allclose(lines(ax)[name], np.column_stack([[3, 9], ordered[5]]))
        band = ax.collections[0].get_paths()[0].vertices
        assert_allclose([band[:, 1].min(), band[:, 1].max()], [ordered[1].min(), ordered[9].max()])
        assert to_hex(ax.collections[0].get_facecolor()[0]) == STYLES[name].colour.lower()
        own, other = ax.lines[1], ax.lines[0]
        assert to_hex(own.get_color()) == STYLES[name].colour.lower()
        assert_allclose(
            other.get_ydata(), np.sort((0.3 - ELEVEN_DAYS / 2 if name == "ours" else ELEVEN_DAYS), 0)[5]
        )
        assert_allclose([line.get_ydata() for line in ax.lines[2:]], [[0.08, 0.09], [0.32, 0.32]])


def price_distribution():
    prices = {"ours": [0.0, 0.1, 0.35, 0.35, 0.9, 1.0, 1.0, 1.0], "theirs": [0.0, 0.5]}
    return figures.price_distribution(prices, 0.0, 1.0, STYLES, n_bins=4)


def test_the_distribution_of_prices():
    ours, theirs = price_distribution().axes
    assert [bar.get_height() for bar in ours.patches] == [1 / 8, 2 / 8, 0, 1 / 8]
    assert [bar.get_x() for bar in ours.patches] == [0, 0.25, 0.5, 0.75]
    assert [bar.get_height() for bar in theirs.patches] == [0, 0, 1 / 2, 0]
    assert ours.get_title(loc="left") == "ours: 12 % of steps at the feed-in tariff, 38 % at the retail tariff"
    with pytest.raises(ValueError, match=r"prices\['ours'\] must be within the tariffs \[0, 1\], got -0.1 to 0.5"):
        figures.price_distribution({"ours": [-0.1, 0.5]}, 0.0, 1.0, STYLES)


def settlement():
    return figures.settlement(np.arange(1.0, 101.0), np.arange(1.0, 13.0), np.arange(12) % 4 != 0)


def test_the_settlement():
    left, right = settlement().axes
    assert left.get_title(loc="left") == "p50: 50 ms, p95: 95 ms, p99: 99 ms"
    assert_allclose([line.get_xdata()[0] for line in left.lines], [50.5, 95.05, 99.01])
    assert sum(bar.get_height() for bar in left.patches) == pytest.approx(1.0)
    assert [bar.get_height() for bar in right.patches] == [0.5, 1, 0.5, 1, 0.5, 1]
    assert [label.get_text() for label in right.get_xticklabels()] == ["2", "4", "6", "8", "10", "12"]
    with pytest.raises(ValueError, match="amounts_eur must be > 0, got 0"):
        figures.settlement([1.0], [0.0], [True])


CHARGE = np.random.default_rng(0).random((3, 5, 4))
POWER = np.random.default_rng(1).random((3, 4, 4)) - 0.5


def storage_by_type():
    given = {"ours": CHARGE, "theirs": CHARGE / 2}, {"ours": POWER, "theirs": 2 * POWER}
    return figures.storage_by_type(*given, [2, 2, 2, 4], STYLES, 0.5)


def test_storage():
    ours, theirs, power = storage_by_type().axes
    for ax, factor in ((ours, 1), (theirs, 0.5)):
        for k, name, owners in ((0, "storage", slice(3)), (1, "wind", slice(3, 4))):
            values = factor * CHARGE[:, :, owners].transpose(1, 0, 2).reshape(5, -1)
            assert_allclose(lines(ax)[name], np.column_stack([[0, 0.5, 1, 1.5, 2], values.mean(axis=1)]))
            band = ax.collections[k].get_paths()[0].vertices
            low, high = np.quantile(values, (0.1, 0.9), axis=1)
            assert_allclose([band[:, 1].min(), band[:, 1].max()], [low.min(), high.max()])
    for name, factor in (("ours", 1), ("theirs", 2)):
        expected = np.column_stack([[0.25, 0.75, 1.25, 1.75], factor * POWER.mean(axis=(0, 2))])
        assert_allclose(lines(power)[name], expected)
    with pytest.raises(ValueError, match=r"power\['ours'\] must have shape \(n >= 1, 4, 4\), got \(3, 5, 4\)"):
        figures.storage_by_type({"ours": CHARGE}, {"ours": CHARGE}, [2, 2, 2, 2], STYLES)
    with pytest.raises(ValueError, match="power must have the policies of charge"):
        figures.storage_by_type({"ours": CHARGE}, {"theirs": POWER}, [2, 2, 2, 2], STYLES)


LOAD, GENERATION = np.arange(20.0).reshape(5, 4), np.ones((5, 4))


def grid_exchange(scale=1.0):
    exchange = {"no trade": LOAD.sum(0) - 5, "ours": [1.0, -2, 3, 4], "planner": np.zeros(4)}
    return figures.grid_exchange(LOAD * scale, GENERATION * scale, exchange, STYLES, 0.25)


def test_the_exchange_with_the_grid():
    """A kWh in a quarter of an hour is 4 kW."""
    load, generation, exchange = grid_exchange().axes
    for ax, energy in ((load, LOAD), (generation, GENERATION)):
        areas = [patch for patch in ax.patches if isinstance(patch, StepPatch)]
        for k, area in enumerate(areas):
            assert_allclose(area.get_data().values, 4 * energy[: k + 1].sum(axis=0))
            assert_allclose(area.get_data().baseline, 4 * energy[:k].sum(axis=0))
            assert_allclose(area.get_data().edges, [0, 0.25, 0.5, 0.75, 1])
            assert to_hex(area.get_facecolor()) == figures.TYPE_COLOURS[TYPES[k]].lower()
    assert_allclose(lines(exchange)["ours"], [[0.125, 4], [0.375, -8], [0.625, 12], [0.875, 16]])
    assert exchange.get_ylabel() == "import + / export - (kW)"
    load, _, exchange = grid_exchange(100.0).axes
    assert load.get_ylabel() == "mean power (MW)"
    assert_allclose(lines(exchange)["ours"][:, 1], [0.004, -0.008, 0.012, 0.016])
    assert load.patches[0].get_data().values[3] == pytest.approx(1.2)


def test_means_and_intervals():
    assert_allclose(figures.mean_interval([1, 2, 3]), [2, 4.302652729911275 / np.sqrt(3)])
    assert_allclose(figures.mean_interval([1, 2, 3], 0.9), [2, 2.919985580355516 / np.sqrt(3)])
    mean, half = figures.mean_interval([5.0])
    assert mean == 5
    assert np.isnan(half)


def efficiency_of_policies():
    return figures.efficiency_of_policies({"ours": [0.4, np.nan, 0.6, 0.8], "theirs": [-9.0, 0.0, 0.3]}, STYLES)


def test_efficiencies():
    figure = efficiency_of_policies()
    (ax,) = figure.axes
    dots = [line for line in ax.lines if line.get_alpha()]
    assert_allclose(dots[0].get_xdata(), [0.4, 0.6, 0.8])
    assert np.abs(dots[0].get_ydata()).max() < 0.5
    assert_allclose(dots[1].get_xdata(), [0.0, 0.3])
    # A day of -9 would leave no room for the rest: it is at the edge, and counted.
    assert (dots[2].get_xdata(), dots[2].get_marker()) == ([-1.0], "<")
    ((caps, mean, half),) = [
        (line, line.get_xdata()[0], container.lines[2][0].get_segments()[0])
        for container in ax.containers
        for line in container.lines[:1]
    ]
    assert (mean, caps.get_ydata()[0]) == (pytest.approx(0.6), 0)
    assert_allclose(
        half[:, 0], [0.6 - 0.2 * 4.302652729911275 / np.sqrt(3), 0.6 + 0.2 * 4.302652729911275 / np.sqrt(3)]
    )
    assert {"0.60 ± 0.50", "−2.90 ± 13.13\n(1 of 3 days off the left)", "no trade", "planner"} <= set(
        texts(figure)
    )
    assert {0.0, 1.0} <= {line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ours", "theirs"]
    (ax,) = figures.efficiency_of_policies({"ours": [-0.5, 0.5]}, STYLES).axes
    assert_allclose([line.get_xdata() for line in ax.lines if line.get_alpha()], [[-0.5, 0.5]])


def gain_by_type():
    days = np.array([[1.0], [2.0], [3.0]]) * np.arange(5)
    return figures.gain_by_type({"ours": days, "theirs": -days}, STYLES)


def test_gains():
    for kind, ax in enumerate(gain_by_type().axes):
        assert ax.get_title(loc="left") == TYPES[kind]
        points = [container.lines[0].get_xydata()[0] for container in ax.containers]
        assert_allclose(points, [[0, 2 * kind], [1, -2 * kind]])
        bar = ax.containers[0].lines[2][0].get_segments()[0]
        assert_allclose(np.ptp(bar[:, 1]), 2 * kind * 4.302652729911275 / np.sqrt(3))


FRONT = np.array([[10.0, 5.0, 2.0], [12.0, 3.0, 4.0]])


def pareto_front():
    return figures.pareto_front(
        ("cost", "co2", "peak"), FRONT, {"ours": [14, 6, 5], "planner": [10, 5, 2]}, STYLES
    )


def test_the_front():
    ax = pareto_front().axes[0]
    assert_allclose(ax.collections[0].get_offsets(), [[2, 10], [4, 12]])
    assert_allclose(ax.collections[0].get_array(), [5, 3])
    points = [container.lines[0].get_xydata()[0] for container in ax.containers]
    assert_allclose(points, [[5, 14], [2, 10]])
    plain = figures.pareto_front(("peak", "cost"), [[4, 12], [2, 10]], {"ours": [5, 14]}, STYLES).axes[0]
    assert_allclose(lines(plain)["front"], [[2, 10], [4, 12]])
    for wrong in (("cost", "co2"), ("cost", "peak", "peak"), ("cost", "peak", "time")):
        with pytest.raises(ValueError, match="objectives must be"):
            figures.pareto_front(wrong, FRONT, {}, STYLES)


EXPECTED = {"ours": (1.0, 0.5, 2.0), "theirs": (2.0, 2.5, 3.0)}
TAIL = {"ours": (3.0, 1.0, 4.0), "theirs": (-4.0, -5.0, -3.5)}


def risk():
    return figures.risk(EXPECTED, TAIL, STYLES, alpha=0.5)


def test_risk():
    """The bars reach from end to end, even where the point is not between them."""
    (ax,) = risk().axes
    points = [container.lines[0].get_xydata()[0] for container in ax.containers]
    assert_allclose(points, [[1, 3], [2, -4]])
    for k, colour in enumerate((figures.BLUE, figures.VERMILION)):
        across, along = [line for line in ax.lines if len(line.get_xdata()) == 2][2 * k : 2 * k + 2]
        assert {to_hex(bar.get_color()) for bar in (across, along)} == {colour.lower()}
        name = ("ours", "theirs")[k]
        assert_allclose(across.get_xydata(), [[x, TAIL[name][0]] for x in EXPECTED[name][1:]])
        assert_allclose(along.get_xydata(), [[EXPECTED[name][0], y] for y in TAIL[name][1:]])
    with pytest.raises(ValueError, match=r"expected\['ours'\] must have shape \(3\), got \(2,\)"):
        figures.risk({"ours": [1, 2]}, {"ours": [1, 2, 3]}, STYLES)
    with pytest.raises(ValueError, match="tail must have the policies of expected"):
        figures.risk({"ours": [1, 2, 3]}, {"theirs": [1, 2, 3]}, STYLES)


def forecast_calibration():
    rng = np.random.default_rng(0)
    return figures.forecast_calibration(
        {name: {"naive": rng.random(24 * 30), "linear": rng.random(24 * 30) ** 2} for name in ("price", "load")}
    )


def test_calibration():
    flat = np.tile((np.arange(24) + 0.5) / 24, 9)
    density, half = figures.pit_density(flat, 4)
    assert_allclose(density, 1)
    assert_allclose(half, 0, atol=1e-12)
    density, _ = figures.pit_density(np.concatenate([np.zeros(120), np.ones(120)]), 10)
    assert_allclose(density, [5, 0, 0, 0, 0, 0, 0, 0, 0, 5])
    ax = forecast_calibration().axes[1]
    values = np.random.default_rng(0)
    values.random(24 * 30)
    squares = values.random(24 * 30) ** 2
    assert_allclose([bar.get_height() for bar in ax.patches], np.histogram(squares, 10, (0, 1))[0] / 72)
    assert ax.get_title(loc="left") == "price: linear"
    # An interval of independent values, but for chance: of 30 x 24 the binomial one.
    _, half = figures.pit_density(squares)
    share = np.histogram(squares, 10, (0, 1))[0] / 720
    assert_allclose(half, 19.6 * np.sqrt(share * (1 - share) / 720), rtol=0.75)


def test_intervals_of_calibration_allow_for_dependent_days():
    """If every week is one value, there are a seventh as many: the interval is up to sqrt(7) times as wide."""
    rng = np.random.default_rng(0)
    weekly = np.repeat(rng.random(100), 7 * 24)
    _, dependent = figures.pit_density(weekly, 2)
    _, independent = figures.pit_density(np.repeat(rng.random(700), 24), 2)
    assert 1.6 < (dependent / independent).mean() < 3.2


@pytest.mark.parametrize("wrong", [np.zeros(24 * 7), np.zeros(24 * 9 + 1), np.full(240, 1.1), np.full(240, -0.1)])
def test_no_probabilities(wrong):
    with pytest.raises(ValueError, match="pits must be in"):
        figures.pit_density(wrong)


def exploitability_curve():
    curves = {"ours": [[1.0, 0.5, 0.0]], "theirs": [[2.0, 1.0, 0.5], [4.0, 3.0, 0.5], [9.0, 5.0, 2.0]]}
    return figures.exploitability_curve([1, 2, 3], curves, STYLES)


def test_exploitability():
    (ax,) = exploitability_curve().axes
    assert ax.get_yscale() == "log"
    assert_allclose(lines(ax)["ours"], [[1, 1], [2, 0.5], [3, np.nan]])
    assert_allclose(lines(ax)["theirs (3 runs)"], [[1, 5], [2, 3], [3, 1]])
    assert_allclose(
        [line.get_ydata() for line in ax.lines if line.get_alpha()], [[2, 1, 0.5], [4, 3, 0.5], [9, 5, 2]]
    )
    with pytest.raises(ValueError, match="exploitability must be >= 0, got -1"):
        figures.exploitability_curve([1], {"ours": [[-1]]}, STYLES)


def learning_curves():
    curves = {"ours": ([0, 1e6], [[1.0, 2.0], [3.0, 6.0]]), "theirs": ([0, 2000], [[0.0, 1.0]])}
    return figures.learning_curves(curves, STYLES, {"planner": 7.0})


def test_learning():
    (ax,) = learning_curves().axes
    assert_allclose(lines(ax)["ours (2 runs)"], [[0, 2], [1e6, 4]])
    assert_allclose(lines(ax)["theirs"], [[0, 0], [2000, 1]])
    assert set(lines(ax)["planner"][:, 1]) == {7.0}
    assert [ax.xaxis.get_major_formatter()(x, None) for x in (0, 500, 5e5, 2.5e6)] == [
        "0",
        "500",
        "500 k",
        "2.5 M",
    ]


# Every figure: how it is drawn.

LABELS = {
    merit_order: {"energy (kWh per agent and step)", "price (EUR/kWh)"},
    price_of_day: {"hour of the day", "price (EUR/kWh)"},
    price_distribution: {"price (EUR/kWh), tariffs dashed; bars: shares of all steps", "steps"},
    settlement: {
        "configured latency of a routed payment (ms, log scale)",
        "share of payments",
        "sixths of the payments: up to (EUR)",
        "share settled as it should",
    },
    storage_by_type: {
        "hour of the day",
        "state of charge",
        "charging + / discharging -\n(kWh per owner and step)",
    },
    grid_exchange: {"hour of the day", "mean power (kW)", "import + / export - (kW)"},
    efficiency_of_policies: {"efficiency (W - W₀) / (W* - W₀), a point a day"},
    gain_by_type: {"gain over no trade\n(EUR per agent and day)"},
    pareto_front: {
        "largest exchange with the grid (kWh per step)",
        "cost of the day (EUR)",
        "front: CO₂ of the import (kg)",
    },
    risk: {"expected loss E[c] (EUR per agent and day)", "CVaR, worst 50 %\n(EUR per agent and day)"},
    forecast_calibration: {"density"},
    exploitability_curve: {"iteration", "exploitability\n(EUR per agent and day, log scale)"},
    learning_curves: {"agent-steps", "mean return\n(EUR per agent and day)"},
}


@pytest.fixture(scope="module")
def drawn():
    made = {function: function() for function in LABELS}
    for figure in made.values():
        figure.canvas.draw()
    return made


@pytest.mark.parametrize("function", LABELS, ids=lambda function: function.__name__)
def test_axes_have_labels_with_units_and_nothing_covers_or_leaves_the_figure(drawn, function):
    figure = drawn[function]
    labels = {label for ax in figure.axes for label in (ax.get_xlabel(), ax.get_ylabel()) if label}
    assert labels == LABELS[function]
    assert figure.get_size_inches()[0] == 9.0
    panels = [ax.bbox for ax in figure.axes]
    for legend in (*figure.legends, *(legend for ax in figure.axes if (legend := ax.get_legend()))):
        box = legend.get_window_extent()
        assert not any(box.overlaps(panel) for panel in panels)
    everything = figure.get_tightbbox()
    assert everything.min.min() >= -0.01
    assert (everything.max <= figure.get_size_inches() + 0.01).all()


def test_legends_of_many_policies_fit():
    names = [f"a policy with quite a long name, {i}" for i in range(9)]
    styles = figures.policy_styles(names)
    figure = figures.risk(*[{name: (i, i, i + 1) for i, name in enumerate(names)}] * 2, styles)
    figure.canvas.draw()
    (legend,) = figure.legends
    assert legend.get_window_extent().x0 >= 0
    assert [text.get_text() for text in legend.get_texts()] == names


def test_styles_are_told_apart_and_those_of_references_stay():
    names = [*map(str, range(12)), "planner", "no trade"]
    styles = figures.policy_styles(names)
    assert list(styles) == names
    assert len({(style.colour, style.line) for style in styles.values()}) == 14
    assert styles["planner"] == figures.policy_styles(["x", "planner"])["planner"]
    assert figures.policy_styles(["planner", "x"])["x"] == figures.policy_styles(["x"])["x"]
    for wrong in (list(map(str, range(15))), ["a", "a"]):
        with pytest.raises(ValueError, match="names must be at most 14 different ones"):
            figures.policy_styles(wrong)


def test_wrong_arrays_are_refused():
    day = np.full((3, 24), 0.2)
    for prices, message in (
        ({}, "prices must have at least one entry"),
        ({"nobody": day}, "prices must have entries with a style, no trade, ours, theirs, planner, got 'nobody'"),
        ({"ours": day[0]}, r"prices\['ours'\] must have shape \(n >= 1, n >= 1\), got \(24,\)"),
        ({"ours": day, "theirs": day[:, :5]}, r"prices must have as many steps for all policies, got \[5, 24\]"),
        ({"ours": np.where(day, np.nan, 0)}, r"prices\['ours'\] must be finite"),
        ({"ours": day[:0]}, r"got \(0, 24\)"),
    ):
        with pytest.raises(ValueError, match=message):
            figures.price_of_day(prices, 0.08, 0.32, STYLES)
    with pytest.raises(TypeError, match="array of numbers"):
        figures.price_of_day({"ours": [["a"]]}, 0.08, 0.32, STYLES)
    with pytest.raises(ValueError, match=r"retail must have shape \(24\), got \(23,\)"):
        figures.price_of_day({"ours": day}, 0.08, np.ones(23), STYLES)
    with pytest.raises(ValueError, match="step_hours"):
        figures.price_of_day({"ours": day}, 0.08, 0.32, STYLES, 0.0)
    for wrong, message in (({}, "pits must have a series"), ({"price": {}}, "pits must have a series")):
        with pytest.raises(ValueError, match=message):
            figures.forecast_calibration(wrong)
    pits = np.full(240, 0.5)
    with pytest.raises(ValueError, match=r"pits\['b'\] must have the forecasters \['x'\], got \['y'\]"):
        figures.forecast_calibration({"a": {"x": pits}, "b": {"y": pits}})
    with pytest.raises(ValueError, match=r"gains\['ours'\] must have shape \(n >= 1, 5\), got \(3, 4\)"):
        figures.gain_by_type({"ours": np.zeros((3, 4))}, STYLES)
    with pytest.raises(ValueError, match="demand must have shape"):
        figures.merit_order([0.1, 0.2], [1.0], [1.0, 2.0], 0.0, 1.0, 0.1, 1.0)


# Tables.


def test_the_table_of_efficiencies():
    table = report.efficiency_table({"ours": [0.4, 0.6, np.nan, 0.8], "theirs": [-1.0]})
    assert table.rows == (("ours", "0.600 ± 0.497", "0.400", "0.800", "3"), ("theirs", *["−1.000"] * 3, "1"))


def test_the_table_of_risks():
    table = report.risk_table(EXPECTED, TAIL, 0.5)
    assert table.rows == (
        ("ours", "1.00 [0.50, 2.00]", "3.00 [1.00, 4.00]"),
        ("theirs", "2.00 [2.50, 3.00]", "−4.00 [−5.00, −3.50]"),
    )
    assert table.columns[2] == Column("CVaR, worst 50 %", "EUR per agent and day")
    with pytest.raises(ValueError, match="tail must have the policies of expected"):
        report.risk_table(EXPECTED, {})


EVALUATION = Evaluation(
    names=("naive", "linear"),
    n_days=91,
    crps=np.array([10.0, 8.0]),
    crps_standard_error=np.array([1.0, 0.5]),
    log_score=np.array([-3.0, 2.5]),
    coverage=np.array([[0.5, 0.9], [0.45, 0.874]]),
    statistic=np.zeros((2, 2)),
    p_value=np.array([[1.0, 0.0004], [0.0004, 1.0]]),
)


def test_the_table_of_forecasts():
    table = report.forecast_table({"price": EVALUATION}, {"price": "EUR/MWh"}, "naive")
    assert table.rows == (
        ("price (EUR/MWh): naive", "10.0 ± 2.0", "", "", "−3.00", "50.0 %", "90.0 %"),
        ("price (EUR/MWh): linear", "8.00 ± 0.98", "−20.0 %", "< 0.001", "2.50", "45.0 %", "87.4 %"),
    )
    assert "91 days" in table.note
    other = report.forecast_table({"price": EVALUATION}, {"price": "EUR/MWh"}, "linear")
    assert other.rows[0][2:4] == ("+25.0 %", "< 0.001")
    with pytest.raises(ValueError, match="units must name 'price'"):
        report.forecast_table({"price": EVALUATION}, {}, "naive")
    with pytest.raises(ValueError, match="against must be one of 'naive', 'linear', got 'nobody'"):
        report.forecast_table({"price": EVALUATION}, {"price": "EUR/MWh"}, "nobody")


def test_digits():
    assert [report.three_digits(x) for x in (123.4, 12.0, -1.0, 0.05, 0.0)] == [".0f", ".1f", ".2f", ".4f", ".2f"]


def test_the_table_of_a_settlement():
    settled = Ledger(fee_per_payment=0.5).settle([3.0, -1.0, -2.0])
    table = dict(report.settlement_table(summary(settled)).rows)
    assert table["transfers"] == "2"
    assert table["settled as they should, of their value"] == "100.0 %"
    assert table["fees (EUR)"] == "1.00"
    assert table["fees per EUR settled (EUR)"] == "0.3333"
    assert table["penalties of failed transfers (EUR)"] == "0.00"


# The page.

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Checks that tags are closed in order, and collects ids, references, texts and attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.attributes, self.texts, self.cells = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.note(tag, attrs)

    def handle_startendtag(self, tag, attrs):
        assert "svg" in self.open
        self.note(tag, attrs)

    def note(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append((self.open[-1], data))


TABLE = Table(
    (Column("policy"), Column("gain", "EUR")), (("ours <b>", "1.5 ± 0.2"), ("no trade", "0")), "n = 3 & more"
)


def sections():
    return [
        Section(
            "Clearing", "First.\n\nSecond <script>alert(1)</script>.", merit_order(), caption="The & caption."
        ),
        Section("Prices", figure=price_of_day(), caption="By day.", alt='Lines of a "day".'),
        Section("Numbers", table=TABLE, caption="All numbers"),
        Section("Both", figure=learning_curves(), table=TABLE, caption="Learning."),
    ]


def written(path, **changes):
    given = {
        "title": "Market <1>",
        "summary": Summary("All is well.", TABLE),
        "sections": sections(),
        "provenance": {"seeds": "0, 1", "versions": {"numpy": "2", "evil": "<i>"}},
    }
    write_report(path, **(given | changes))
    return path.read_text()


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return written(tmp_path_factory.mktemp("report") / "page.html")


def test_the_page_is_well_formed_and_complete(text):
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert len(page.ids) == len(set(page.ids))
    references = {value for _, name, value in page.attributes if name == "href"}
    references |= set(re.findall(r"url\(([^)]*)\)", text))
    assert references
    assert {reference[1:] for reference in references} <= set(page.ids)
    assert {"#s1", "#s2", "#s3", "#s4"} <= references
    words = [word for word in map(str.strip, page.texts) if word]
    for word in (
        "1. Clearing",
        "4. Both",
        "First.",
        "The & caption.",
        "Key figures",
        "All numbers",
        "n = 3 & more",
    ):
        assert word in words
    assert words.count("Clearing") == 1
    assert page.cells.count(("td", "1.5 ± 0.2")) == 3
    assert page.cells.count(("th", "ours <b>")) == 3
    assert {"EUR", "numpy 2, evil <i>", "0, 1"} <= set(words)


def test_nothing_of_the_page_comes_from_elsewhere_or_runs(text):
    page = Page(text)
    assert "://" not in text
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _, _ in page.attributes}
    assert not any(name.startswith("on") or name == "src" for _, name, _ in page.attributes)
    assert "<script" not in text
    assert "@import" not in text


def test_figures_are_text_that_screen_readers_and_searches_find(text):
    page = Page(text)
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert labels == ["Clearing. The & caption.", 'Lines of a "day".', "Both. Learning."]
    roles = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "role")]
    assert roles == ["img"] * 3
    assert "supply of the community" in page.texts
    assert "energy (kWh per agent and step)" in page.texts
    # The reader's fonts, not this machine's.
    assert not re.search(r"style=\"[^\"]*font-family|style=\"[^\"]*font:", text)
    assert "font-size: 10px" in text


def test_names_in_figures_are_escaped_too(tmp_path):
    name = '<script>"&'
    styles = figures.policy_styles([name])
    figure = figures.risk({name: (1, 0, 2)}, {name: (1, 0, 2)}, styles)
    text = written(tmp_path / "page.html", sections=[Section(name, figure=figure, caption=name)])
    assert name in Page(text).texts
    assert "<script" not in text


def test_what_a_figure_draws_survives_its_way_to_the_page():
    """The vertices of a line in the SVG, in the picture's points, are those that the axes give."""
    figure = merit_order()
    svg = report.inline_svg(figure, "x", "alt")
    ax = figure.axes[0]
    height = figure.bbox.height * 72 / figure.dpi
    vertices = ax.transData.transform(lines(ax)["demand"]) * 72 / figure.dpi
    paths = [np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", d), float) for d in re.findall(r' d="([^"]*)"', svg)]
    expected = np.column_stack([vertices[:, 0], height - vertices[:, 1]])
    assert any(path.shape == expected.shape and np.allclose(path, expected, atol=0.01) for path in paths)


def test_the_same_page_again(text, tmp_path):
    assert written(tmp_path / "again.html") == text


def test_a_page_that_fails_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("before")
    for wrong in ([], [Section("a"), Section("a")]):
        with pytest.raises(ValueError, match="sections must be at least one, with different titles"):
            written(path, sections=wrong)
    monkeypatch.setattr(report, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="a page of at most 1000 bytes"):
        written(path, sections=[Section("a")])
    monkeypatch.undo()

    def interrupted(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        written(path, sections=[Section("a")])
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_sections_and_tables_are_checked():
    with pytest.raises(ValueError, match=r"rows\[1\] must have 2 cells, got 1"):
        dataclasses.replace(TABLE, rows=(("a", "1"), ("b",)))
    with pytest.raises(ValueError, match="title must not be empty"):
        Section(" ")
    with pytest.raises(ValueError, match="caption or alt must say what the figure of 'x' shows"):
        Section("x", figure=merit_order())


def test_provenance(monkeypatch):
    found = report.provenance([3, 4], machine="a laptop")
    assert list(found) == ["date", "git commit", "seeds", "machine", "versions"]
    assert found["seeds"] == "3, 4"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", found["date"])
    assert re.fullmatch(r"[0-9a-f]{40}(, with changes)?|unknown", found["git commit"])
    assert found["versions"]["numpy"] == np.__version__
    monkeypatch.setenv("PATH", "")
    assert report.git_commit() == "unknown"
