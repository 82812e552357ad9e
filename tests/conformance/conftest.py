"""The table of games that all conformance tests run over: every registered game, made small."""

import dataclasses
from typing import Any

import pytest

import mfenvs

SMALL = {"n_agents": 6, "horizon": 4}
"""The constants with which every registered game is run, a new one without a line here."""

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "Auction-v0": [{"n_budgets": 4, "n_bids": 3, "discount": 1.0}],
    "Congestion-v0": [{"n_sites": 2, "n_routes": 3, "heterogeneity": 0.0, "discount": 0.9}],
    "EnergyMarket-v0": [{"actions": "discrete", "n_agents": 9, "n_days": 1, "weather_sd": 0.0}],
    "Epidemic-v0": [{"heterogeneity": 0.0, "n_agents": 2}, {"horizon": 1, "initial_infected": 0.75}],
    "Investment-v0": [
        {"states": "grid", "n_levels": 3, "benefits": (0.3, 0.4), "crowding_costs": (0.2, 0.1)}
        | {"investment_costs": (0.2, 0.25)},
    ],
    "LinearQuadratic-v0": [{"n_agents": 2, "horizon": 1, "proportions": (1.0, 0.0)}],
    "Malware-v0": [{"n_levels": 4, "discount": 1.0, "n_agents": 2}, {"states": "continuous"}],
    "Taxi-v0": [{"horizon": 1, "heterogeneity": 0.0}],
}
"""Further constants to run games with."""

MORE: dict[str, list[dict[str, Any]]] = {
    "Auction-v0": [{"n_budgets": 3, "n_bids": 4, "n_bidders": 2, "heterogeneity": 0.3}],
    "BinnedEnergyMarket-v0": [{"n_bins": 3, "orders": "step"}],
    "Congestion-v0": [
        {"n_sites": 3, "n_routes": 2, "slip": 0.3, "slip_width": 0.3, "exponent": 1.0, "exponent_width": 0.0},
    ],
    "EnergyMarket-v0": [
        {"orders": "step", "step_minutes": 15, "dynamic_tariffs": True, "first_day": 200},
        {"orders": "linear", "proportions": (0.0, 0.0, 1.0, 0.0, 0.0)},
    ],
    "EnergyMarket-v1": [
        {"shift_hours": 2.0, "ev_share": 0.5, "peak_charge": 0.3, "import_limit_kw": 0.5, "first_day": 200},
        {"actions": "discrete", "ev_share": 0.5, "imbalance": "ex-post", "peak_charge": 0.3, "peak_of": "member"},
    ],
    "Epidemic-v0": [{"discount": 0.9}],
    "Investment-v0": [
        {"benefits": (0.3,), "crowding_costs": (0.2,), "investment_costs": (0.2,), "discount": 1.0},
    ],
    "LinearQuadratic-v0": [
        {"transition": "exact", "common_volatility": 0.3, "duration": 1.0, "control_bound": 2.0},
    ],
    "Malware-v0": [{"n_levels": 6, "spread": 0.7}],
    "RockPaperScissors-v0": [{"orientation": "cui-koeppl", "n_agents": 11}],
    "Taxi-v0": [
        {"city": ("1S2", "1H2", "333", "3S3"), "base_rewards": (1.0, 0.5, 2.0), "n_agents": 2, "arrival": 0.9},
    ],
}
"""And more, for ``make test-slow``: each of its kind has a variant above."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A game and its constants."""

    name: str
    constants: dict[str, Any]

    @property
    def id(self):
        return f"mfenvs/{self.name}"

    def game(self):
        return mfenvs.make(self.name, **self.constants)

    def __str__(self):
        return "-".join([self.name, *(f"{k}={v}" for k, v in self.constants.items() if SMALL.get(k) != v)])


CASES = [
    Case(name, SMALL | variant)
    for name in mfenvs.registered_games("")
    for variant in ({}, *VARIANTS.get(name, []))
]
SLOW = [Case(name, SMALL | variant) for name in mfenvs.registered_games("") for variant in MORE.get(name, [])]
CLASSIC = [
    Case("CrowdModelling2D-v0", SMALL | {"layout": ("S #", "   ")}),
    Case("DiscountedEpidemic-v0", SMALL),
    Case("EquilibriumPrice-v0", SMALL),
    Case("TreasureHunting-v0", SMALL),
    Case("ClosingBeachBar-v0", SMALL | {"n_places": 7, "bar": 3, "closing_time": 2}),
]
"""Games of every kind: with masks, discounted, with a reported signal, with a signal that rules read, with a
public chain. The APIs know no more kinds; tests/games/classic runs each game through the main ones."""


def parameters(quick: list[Case], slow: list[Case]) -> list[Any]:
    """Cases as the parameters of a fixture; the second ones are marked as slow."""
    return [*quick, *(pytest.param(case, marks=pytest.mark.slow) for case in slow)]


def has_a_law_to_test(case: Case) -> bool:
    """Whether a game's own ``step`` must follow its ``transition`` and ``reward``; so must the default one."""
    game = case.game()
    return isinstance(game, mfenvs.FiniteGame) and (hasattr(game, "step") or case.name == "Epidemic-v0")


@pytest.fixture(
    params=parameters(*([c for c in cases if has_a_law_to_test(c)] for cases in (CASES, SLOW))), ids=str
)
def finite_case(request):
    """A finite game that declares its own ``step``, and one that does not."""
    return request.param


@pytest.fixture(params=parameters(CASES, [*SLOW, *CLASSIC]), ids=str)
def case(request):
    """A game with constants, for every test of this directory."""
    return request.param


@pytest.fixture(params=[(), ("mean-field",), ("one-hot-identity", "mean-field")], ids=["own", "mean-field", "two"])
def observe(request):
    """What agents see beside their own observation."""
    return request.param
