"""The energy market's figures show what they were given."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import StepPatch
from numpy.testing import assert_allclose

from benchmarks.reproduce.energy.figures import equilibrium, forecasts, grid, market, policies, style
from mfenvs.energy.forecast_scores import hac_standard_error
from mfenvs.games.energy.prosumer_types import TYPES

STYLES = style.policy_styles(["no market", "ours", "theirs", "perfect foresight"])


def lines(ax):
    return {line.get_label(): line.get_xydata() for line in ax.lines}


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def merit_order():
    curves = np.array([0.1, 0.2, 0.2, 0.3]), np.array([3.0, 3, 1, 1]), np.array([0.0, 2, 2, 4])
    return market.merit_order(*curves, 0.08, 0.32, 0.2, 2.0)


def test_the_merit_order():
    (ax,) = merit_order().axes
    drawn = lines(ax)
    assert_allclose(drawn["demand"], [[3, 0.1], [3, 0.2], [1, 0.2], [1, 0.3]])
    assert_allclose(drawn["supply of the community"], [[0, 0.1], [2, 0.2], [2, 0.2], [4, 0.3]])
    cleared = "cleared: 0.200 EUR/kWh, 2.000 kWh per member traded locally"
    assert_allclose(drawn[cleared], [[2, 0.2]])
    assert {0.08, 0.32} <= {line.get_ydata()[0] for line in ax.lines}


ELEVEN_DAYS = np.arange(11.0)[:, None] ** 2 / 500 + np.array([0.1, 0.12])


def price_of_day():
    return market.price_of_day(
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


def settlement():
    return market.settlement(np.arange(1.0, 101.0), np.arange(1.0, 13.0), np.arange(12) % 4 != 0)


def test_the_settlement():
    left, right = settlement().axes
    assert left.get_title(loc="left") == "p50: 50 ms, p95: 95 ms, p99: 99 ms"
    assert_allclose([line.get_xdata()[0] for line in left.lines], [50.5, 95.05, 99.01])
    assert sum(bar.get_height() for bar in left.patches) == pytest.approx(1.0)
    assert [bar.get_height() for bar in right.patches] == [0.5, 1, 0.5, 1, 0.5, 1]
    assert [label.get_text() for label in right.get_xticklabels()] == ["2", "4", "6", "8", "10", "12"]
    with pytest.raises(ValueError, match="amounts_eur must be > 0, got 0"):
        market.settlement([1.0], [0.0], [True])


def test_means_and_intervals():
    assert_allclose(style.mean_interval([1, 2, 3]), [2, 4.302652729911275 / np.sqrt(3)])
    assert_allclose(style.mean_interval([1, 2, 3], 0.9), [2, 2.919985580355516 / np.sqrt(3)])
    mean, half = style.mean_interval([5.0])
    assert mean == 5
    assert np.isnan(half)


def efficiency_of_policies():
    return policies.efficiency_of_policies({"ours": [0.4, np.nan, 0.6, 0.8], "theirs": [-9.0, 0.0, 0.3]}, STYLES)


def test_efficiencies():
    figure = efficiency_of_policies()
    (ax,) = figure.axes
    dots = [line for line in ax.lines if line.get_alpha()]
    assert_allclose(dots[0].get_xdata(), [0.4, 0.6, 0.8])
    assert np.abs(dots[0].get_ydata()).max() < 0.5
    assert_allclose(dots[1].get_xdata(), [0.0, 0.3])
    # A day of -9 would leave no room for the rest: it is at the edge, and counted.
    assert (dots[2].get_xdata(), dots[2].get_marker()) == ([-0.25], "<")
    ((caps, mean, half),) = [
        (line, line.get_xdata()[0], container.lines[2][0].get_segments()[0])
        for container in ax.containers
        for line in container.lines[:1]
    ]
    assert (mean, caps.get_ydata()[0]) == (pytest.approx(0.6), 0)
    assert_allclose(
        half[:, 0], [0.6 - 0.2 * 4.302652729911275 / np.sqrt(3), 0.6 + 0.2 * 4.302652729911275 / np.sqrt(3)]
    )
    assert {"0.60 ± 0.50", "−2.90 ± 13.13\n(1 of 3 days off the left)", "no market", "perfect foresight"} <= set(
        texts(figure)
    )
    assert {0.0, 1.0} <= {line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ours", "theirs"]
    (ax,) = policies.efficiency_of_policies({"ours": [-0.2, 0.5]}, STYLES).axes
    assert_allclose([line.get_xdata() for line in ax.lines if line.get_alpha()], [[-0.2, 0.5]])


def forecast_calibration():
    rng = np.random.default_rng(0)
    return forecasts.forecast_calibration(
        {name: {"naive": rng.random(24 * 30), "linear": rng.random(24 * 30) ** 2} for name in ("price", "load")},
        dict.fromkeys(("price", "load"), np.repeat(np.arange(30), 24)),
    )


def test_calibration():
    flat = np.tile((np.arange(24) + 0.5) / 24, 9)
    density, half = forecasts.pit_density(flat, np.repeat(np.arange(9), 24), 4)
    assert_allclose(density, 1)
    assert_allclose(half, 0, atol=1e-12)
    density, _ = forecasts.pit_density(np.repeat([0.0, 1.0], 120), np.repeat(np.arange(10), 24), 10)
    assert_allclose(density, [5, 0, 0, 0, 0, 0, 0, 0, 0, 5])
    ax = forecast_calibration().axes[1]
    values = np.random.default_rng(0)
    values.random(24 * 30)
    squares = values.random(24 * 30) ** 2
    assert_allclose([bar.get_height() for bar in ax.patches], np.histogram(squares, 10, (0, 1))[0] / 72)
    assert ax.get_title(loc="left") == "price: linear"
    # An interval of independent values, but for chance: of 30 x 24 the binomial one.
    _, half = forecasts.pit_density(squares, np.repeat(np.arange(30), 24))
    share = np.histogram(squares, 10, (0, 1))[0] / 720
    assert_allclose(half, 19.6 * np.sqrt(share * (1 - share) / 720), rtol=0.75)


def test_intervals_of_calibration_allow_for_dependent_days():
    """If every week is one value, there are a seventh as many: the interval is up to sqrt(7) times as wide."""
    rng = np.random.default_rng(0)
    weekly, days = np.repeat(rng.random(100), 7 * 24), np.repeat(np.arange(700), 24)
    _, dependent = forecasts.pit_density(weekly, days, 2)
    _, independent = forecasts.pit_density(np.repeat(rng.random(700), 24), days, 2)
    assert 1.6 < (dependent / independent).mean() < 3.2


def test_days_of_different_lengths_count_by_their_hours():
    """Ten days, of which each second one has a single hour: 5 x 3 hours below one half, 5 above."""
    days = np.repeat(np.arange(10), [3, 1] * 5)
    density, half = forecasts.pit_density(np.where(days % 2, 0.9, 0.1), days, 2)
    assert_allclose(density, [1.5, 0.5])
    # Residuals 2 x 3 - 1.5 x 3 and -1.5 of the first bin, over 2 hours a day: +-0.75 in turns, which cancel out.
    turns = 0.75 * (-1.0) ** np.arange(10)
    assert_allclose(half, 1.959964 * hac_standard_error(turns, 7))


@pytest.mark.parametrize(
    ("wrong", "days"),
    [
        (np.zeros(24 * 7), np.repeat(np.arange(7), 24)),
        (np.full(240, 1.1), np.repeat(np.arange(10), 24)),
        (np.full(240, -0.1), np.repeat(np.arange(10), 24)),
        (np.zeros(240), np.repeat(np.arange(10)[::-1], 24)),
    ],
)
def test_no_probabilities(wrong, days):
    with pytest.raises(ValueError, match="pits must be in"):
        forecasts.pit_density(wrong, days)


STEPS = {
    "ours": {"netting": (5.0, 1.0), "flexible": (-1.0, 0.5), "storage": (2.0, 1.0), "imbalance": (-3.0, 0.5),
             "total": (3.0, 2.0)},
    "perfect foresight": {"netting": (5.0, 1.0), "flexible": (1.0, 0.5), "storage": (4.0, 1.0),
                          "imbalance": (0.0, 0.0), "total": (10.0, np.nan)},
}  # fmt: skip


def gain_steps():
    return policies.gain_steps(STEPS)


def test_steps_of_gains():
    """What is gained is stacked to the right of zero, what costs to the left."""
    figure = gain_steps()
    (ax,) = figure.axes
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert_allclose(bars[:4], [(0, 5), (0, -1), (5, 2), (-1, -3)])
    assert_allclose(bars[4:], [(0, 5), (5, 1), (6, 4), (10, 0)])
    colours = [to_hex(bar.get_facecolor()) for bar in ax.patches[:4]]
    assert colours == [colour.lower() for colour in policies.STEP_COLOURS.values()]
    sums = [container.lines[0].get_xydata()[0] for container in ax.containers if hasattr(container, "lines")]
    assert_allclose(sums, [[3, 0], [10, 1]])
    half = (
        next(container for container in ax.containers if hasattr(container, "lines")).lines[2][0].get_segments()[0]
    )
    assert_allclose(half[:, 0], [1, 5])
    assert {"3 ± 2", "10"} <= set(texts(figure))
    with pytest.raises(ValueError, match="steps must have at least one policy"):
        policies.gain_steps({})
    with pytest.raises(ValueError, match=r"steps\['ours'\]\['netting'\]"):
        policies.gain_steps({"ours": STEPS["ours"] | {"netting": (np.inf, 1.0)}})


def gain_by_type():
    gains = {"consumers": (1.0, 0.5), "businesses": (-2.0, 0.25)}
    return policies.gain_by_type({"ours": gains, "theirs": gains}, STYLES, "gain (EUR)")


def test_gains():
    for ax, title, mean, half in zip(
        gain_by_type().axes, ("consumers", "businesses"), (1, -2), (0.5, 0.25), strict=True
    ):
        assert ax.get_title(loc="left") == title
        points = [container.lines[0].get_xydata()[0] for container in ax.containers]
        assert_allclose(points, [[0, mean], [1, mean]])
        bar = ax.containers[0].lines[2][0].get_segments()[0]
        assert_allclose(np.ptp(bar[:, 1]), 2 * half)
    with pytest.raises(ValueError, match=r"gains\['theirs'\] must be of the types \['a'\], got \['b'\]"):
        policies.gain_by_type({"ours": {"a": (1, 1)}, "theirs": {"b": (1, 1)}}, STYLES, "")


FRONT = np.array([[10.0, 2.0], [8.0, 4.0]])


def pareto_fronts():
    points = {"ours": (14, 5), "perfect foresight": (8.1, 3.9)}
    return policies.pareto_fronts({"peak": FRONT, "co2": FRONT}, {"peak": points, "co2": points}, STYLES)


def test_the_fronts():
    """All policies are at the left, those near the front at the right too."""
    everything, enlarged, *_ = pareto_fronts().axes
    for ax in (everything, enlarged):
        assert_allclose(lines(ax)["front"], [[2, 10], [4, 8]])
    points = [
        [container.lines[0].get_xydata()[0].tolist() for container in ax.containers]
        for ax in (everything, enlarged)
    ]
    assert points == [[[5, 14], [3.9, 8.1]], [[3.9, 8.1]]]
    assert_allclose(enlarged.get_xlim(), [1.7, 4.3])
    assert_allclose(enlarged.get_ylim(), [7.7, 10.3])
    with pytest.raises(ValueError, match="fronts must be one of"):
        policies.pareto_fronts({"time": FRONT}, {"time": {}}, STYLES)


LOAD, GENERATION = np.arange(20.0).reshape(5, 4), np.ones((5, 4)) * [[0], [1], [1], [0], [0]]


def typical_days():
    exchange = {"no market": LOAD.sum(0) - 5, "ours": [1.0, -2, 3, 4], "perfect foresight": np.zeros(4)}
    day = grid.DayOfGrid(LOAD, GENERATION, exchange, {"ours": [0.5, 1, 0, 0.25, 0.5]})
    return grid.typical_days({"summer": day, "winter": day}, STYLES, 0.25)


def test_typical_days():
    """A kWh in a quarter of an hour is 4 kW; a type without load and generation is not in the legend."""
    figure = typical_days()
    load, other, generation, _, exchange, _, charge, _ = figure.axes
    assert load.get_title(loc="left") == "summer: load by type"
    assert other.get_title(loc="left") == "winter: load by type"
    for ax, energy in ((load, LOAD), (generation, GENERATION)):
        areas = [patch for patch in ax.patches if isinstance(patch, StepPatch)]
        for k, area in enumerate(areas):
            assert_allclose(area.get_data().values, 4 * energy[: k + 1].sum(axis=0))
            assert_allclose(area.get_data().baseline, 4 * energy[:k].sum(axis=0))
            assert_allclose(area.get_data().edges, [0, 0.25, 0.5, 0.75, 1])
            assert to_hex(area.get_facecolor()) == style.TYPE_COLOURS[TYPES[k]].lower()
    assert_allclose(lines(exchange)["ours"], [[0.125, 4], [0.375, -8], [0.625, 12], [0.875, 16]])
    assert_allclose(charge.lines[0].get_xydata()[:, 1], [0.5, 1, 0, 0.25, 0.5])
    without = grid.DayOfGrid(
        LOAD * [[1], [1], [1], [1], [0]], GENERATION, {"ours": np.zeros(4)}, {"ours": [0] * 5}
    )
    named = [text.get_text() for text in grid.typical_days({"x": without}, STYLES).legends[0].get_texts()]
    assert named == ["consumers", "PV owners", "battery owners", "businesses", "ours"]
    with pytest.raises(ValueError, match="days must have at least one"):
        grid.typical_days({}, STYLES)


def load_duration():
    return grid.load_duration({"ours": np.arange(20.0) - 5, "theirs": np.arange(20.0)[::-1]}, STYLES)


def test_the_load_duration_curve():
    whole, peak = load_duration().axes
    share = (np.arange(20) + 0.5) / 20
    assert_allclose(lines(whole)["ours"], np.column_stack([share, 14 - np.arange(20.0)]))
    assert_allclose(lines(whole)["theirs"], np.column_stack([share, 19 - np.arange(20.0)]))
    assert_allclose(lines(peak)["ours"], np.column_stack([share, 14 - np.arange(20.0)])[:2])
    with pytest.raises(ValueError, match="exchange must have as many steps for all policies"):
        grid.load_duration({"ours": [1.0], "theirs": [1.0, 2.0]}, STYLES)


def long_hours():
    months = ("January", "February", "March")
    return grid.long_hours([4.0, np.nan, 9.0], {"ours": [3.0, 2.0, np.nan]}, STYLES, months)


def test_hours_long_by_month():
    """A month without days has no bar and no point."""
    (ax,) = long_hours().axes
    assert [bar.get_height() for bar in ax.patches] == [4, 0, 9]
    points = [container.lines[0].get_xydata()[0] for container in ax.containers if hasattr(container, "lines")]
    assert_allclose(points, [[0, 3], [1, 2]])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["Jan", "Feb", "Mar"]
    with pytest.raises(ValueError, match=r"expected must have shape \(3\)"):
        grid.long_hours([1.0], {}, STYLES, ("a", "b", "c"))


CHARGE = np.random.default_rng(0).random((11, 5))
POWER = np.random.default_rng(1).random((11, 4)) - 0.5


def storage():
    return grid.storage({"ours": CHARGE, "theirs": CHARGE / 2}, {"ours": POWER, "theirs": 2 * POWER}, STYLES, 0.5)


def test_storage():
    ours, theirs, power = storage().axes
    for ax, name, factor in ((ours, "ours", 1), (theirs, "theirs", 0.5)):
        values = factor * CHARGE
        assert_allclose(lines(ax)[name], np.column_stack([[0, 0.5, 1, 1.5, 2], values.mean(axis=0)]))
        band = ax.collections[0].get_paths()[0].vertices
        ordered = np.sort(values, axis=0)
        assert_allclose([band[:, 1].min(), band[:, 1].max()], [ordered[1].min(), ordered[9].max()])
    for name, factor in (("ours", 1), ("theirs", 2)):
        # kWh in half an hour are twice as many kW.
        expected = np.column_stack([[0.25, 0.75, 1.25, 1.75], 2 * factor * POWER.mean(axis=0)])
        assert_allclose(lines(power)[name], expected)
    with pytest.raises(ValueError, match=r"power\['ours'\] must have shape \(n >= 1, 4\), got \(11, 5\)"):
        grid.storage({"ours": CHARGE}, {"ours": CHARGE}, STYLES)
    with pytest.raises(ValueError, match="power must have the policies of charge"):
        grid.storage({"ours": CHARGE}, {"theirs": POWER}, STYLES)


def exploitability_of_days():
    return equilibrium.exploitability_of_days(["1 May", "2 May"], [0.0, 3.0], 0.5)


def test_exploitability():
    """What is 0 cannot be on a log scale: it is drawn at a tenth of what was asked for."""
    (ax,) = exploitability_of_days().axes
    assert ax.get_yscale() == "log"
    assert_allclose(lines(ax)["of each day"], [[0, 0.05], [1, 3]])
    assert set(lines(ax)["asked for"][:, 1]) == {0.5}
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1 May", "2 May"]
    with pytest.raises(ValueError, match="exploitability must be >= 0, got -1"):
        equilibrium.exploitability_of_days(["1 May"], [-1.0], 0.5)
    with pytest.raises(ValueError, match=r"exploitability must have shape \(1\)"):
        equilibrium.exploitability_of_days(["1 May"], [1.0, 2.0], 0.5)


# Every figure: how it is drawn.

LABELS = {
    merit_order: {"energy (kWh per member)", "price (EUR/kWh)"},
    price_of_day: {"hour of the day", "price (EUR/kWh)"},
    settlement: {
        "configured latency of a routed payment (ms, log scale)",
        "share of payments",
        "sixths of the payments: up to (EUR)",
        "share settled as it should",
    },
    gain_steps: {"gain over no market (EUR per member and year)"},
    efficiency_of_policies: {"efficiency (W - W₀) / (W* - W₀), a point a day"},
    gain_by_type: {"gain (EUR)"},
    pareto_fronts: {
        "largest exchange with the grid (kW per member)",
        "cost of the day (EUR per member)",
        "CO₂ of the import (kg per member)",
    },
    typical_days: {
        "hour of the day",
        "power\n(kW per member)",
        "import + / export -\n(kW per member)",
        "state of charge",
    },
    load_duration: {"share of hours", "import + / export -\n(kW per member)"},
    long_hours: {"hours a day\nwith more than is needed"},
    storage: {"hour of the day", "state of charge", "charging + / discharging -\n(kW per battery)"},
    forecast_calibration: {"density"},
    exploitability_of_days: {"exploitability\n(EUR per member and year)"},
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
    styles = style.policy_styles(names)
    figure = policies.gain_by_type({name: {"all": (i, i)} for i, name in enumerate(names)}, styles, "x")
    figure.canvas.draw()
    (legend,) = figure.legends
    assert legend.get_window_extent().x0 >= 0
    assert [text.get_text() for text in legend.get_texts()] == names


def test_styles_are_told_apart_and_those_of_references_stay():
    names = [*map(str, range(12)), "perfect foresight", "no market"]
    styles = style.policy_styles(names)
    assert list(styles) == names
    assert len({(style.colour, style.line) for style in styles.values()}) == 14
    assert styles["perfect foresight"] == style.policy_styles(["x", "perfect foresight"])["perfect foresight"]
    assert style.policy_styles(["perfect foresight", "x"])["x"] == style.policy_styles(["x"])["x"]
    for wrong in (list(map(str, range(15))), ["a", "a"]):
        with pytest.raises(ValueError, match="names must be at most 14 different ones"):
            style.policy_styles(wrong)


def test_wrong_arrays_are_refused():
    day = np.full((3, 24), 0.2)
    for prices, message in (
        ({}, "prices must have at least one entry"),
        (
            {"nobody": day},
            "prices must have entries with a style, no market, ours, theirs, perfect foresight, got 'nobody'",
        ),
        ({"ours": day[0]}, r"prices\['ours'\] must have shape \(n >= 1, n >= 1\), got \(24,\)"),
        ({"ours": day, "theirs": day[:, :5]}, r"prices must have as many steps for all policies, got \[5, 24\]"),
        ({"ours": np.where(day, np.nan, 0)}, r"prices\['ours'\] must be finite"),
        ({"ours": day[:0]}, r"got \(0, 24\)"),
    ):
        with pytest.raises(ValueError, match=message):
            market.price_of_day(prices, 0.08, 0.32, STYLES)
    with pytest.raises(TypeError, match="array of numbers"):
        market.price_of_day({"ours": [["a"]]}, 0.08, 0.32, STYLES)
    with pytest.raises(ValueError, match=r"retail must have shape \(24\), got \(23,\)"):
        market.price_of_day({"ours": day}, 0.08, np.ones(23), STYLES)
    with pytest.raises(ValueError, match="step_hours"):
        market.price_of_day({"ours": day}, 0.08, 0.32, STYLES, 0.0)
    for wrong, message in (({}, "pits must have a series"), ({"price": {}}, "pits must have a series")):
        with pytest.raises(ValueError, match=message):
            forecasts.forecast_calibration(wrong, {})
    pits, days = np.full(240, 0.5), dict.fromkeys("ab", np.repeat(np.arange(10), 24))
    with pytest.raises(ValueError, match=r"pits\['b'\] must have the forecasters \['x'\], got \['y'\]"):
        forecasts.forecast_calibration({"a": {"x": pits}, "b": {"y": pits}}, days)
    with pytest.raises(ValueError, match="demand must have shape"):
        market.merit_order([0.1, 0.2], [1.0], [1.0, 2.0], 0.0, 1.0, 0.1, 1.0)
