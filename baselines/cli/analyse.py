"""``mfenvs analyse``: one report on a game, printed and written as JSON."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from mfenvs.files import write_json
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game
from mfenvs.meanfield.lipschitz import Constant
from mfenvs.populations import PopulationGame
from mfenvs.registry import registered_games

from ..analysis import Analysis, AnalysisSettings, analyse, check_is_finite
from ..named_games import game_class_and_module, plain_name

CAPTION = "= exact; >= a lower estimate: the largest value that a search found. Yardim & He, arXiv 2408.15173."


@dataclasses.dataclass(kw_only=True)
class OutputFlags:
    """Where the report goes."""

    output: Path | None = None
    """JSON file for the report; by default analysis-<game>.json in the working directory."""


def run(words: list[str]) -> int:
    """Print the report on a game, and write it as JSON; return the exit status."""
    asks_for_help = bool({"--help", "-h"} & set(words))
    if not words or words[0].startswith("-"):
        print(_usage(), file=sys.stdout if asks_for_help else sys.stderr)
        return 0 if asks_for_help else 2
    game_class, _ = game_class_and_module(words[0])
    flags: Any = tyro.cli(
        dataclasses.make_dataclass(
            "Analyse",
            [
                (
                    "output",
                    Annotated[OutputFlags, tyro.conf.arg(name="")],
                    dataclasses.field(default_factory=OutputFlags),
                ),
                (
                    "settings",
                    Annotated[AnalysisSettings, tyro.conf.arg(name="")],
                    dataclasses.field(default_factory=AnalysisSettings),
                ),
                ("game", game_class, dataclasses.field(default_factory=game_class)),
            ],
        ),
        args=words[1:],
        prog=f"mfenvs analyse {words[0]}",
        description=f"Constants, bounds and measured exploitability of {words[0]}."
        " Constants of the game are --game.* flags.",
    )
    check_is_finite(flags.game)
    flags.settings.check()
    name = plain_name(words[0])
    output = flags.output.output or Path(f"analysis-{name}.json")
    if not output.parent.is_dir():
        raise ValueError(f"output must be in a folder that exists, got {output}")
    if output.is_dir():
        raise ValueError(f"output must be a file, got the folder {output}")
    found = analyse(flags.game, flags.settings)
    Console().print(report(found, name))
    write_json(output, {"settings": dataclasses.asdict(flags.settings), **found.summary()})
    for line in found.missing:
        print(f"not in the report: {line}")
    print(f"written to {output} ({found.seconds:.0f} s)")
    return 0


def _usage() -> str:
    finite = (name for name, kind in registered_games().items() if _can_be_analysed(kind))
    return (
        "usage: mfenvs analyse GAME [FLAGS]\n"
        f"games: {', '.join(finite)}, or MODULE:GAME for a finite game that a module of yours registers\n"
        "flags: mfenvs analyse GAME --help"
    )


def _can_be_analysed(kind: type[Game]) -> bool:
    """Whether a game of this class is finite, with one population and without common noise."""
    if not issubclass(kind, FiniteGame) or issubclass(kind, PopulationGame):
        return False
    return kind.public_chain is FiniteGame.public_chain


def report(found: Analysis, name: str) -> Table:
    """The report as a table of constants, promises and measurements."""
    game = found.game
    table = Table(
        *("quantity", "value", "meaning"),
        title=f"{name}: N = {game.n_agents}, H = {game.horizon}, |S| = {game.n_states}, |A| = {game.n_actions}",
        caption=CAPTION,
    )
    for row in _constants(found):
        table.add_row(*row)
    table.add_section()
    for row in _verdicts(found):
        table.add_row(*row)
    table.add_section()
    for row in _exploitability(found):
        table.add_row(*row)
    return table


def _constants(found: Analysis) -> list[tuple[str, str, str]]:
    constants, one_agent, symmetry = found.constants, found.dominance, found.symmetry
    rows = [
        ("K_mu", str(constants.k_mu), "Lipschitz modulus (l1) of transitions in the population"),
        ("L_mu", str(constants.l_mu), "of rewards in the population"),
        (
            "K_s, K_a",
            f"{constants.k_s}, {constants.k_a}",
            "largest distance of transition rows of two states, actions",
        ),
        ("L_s, L_a", f"{constants.l_s}, {constants.l_a}", "largest difference of rewards of two states, actions"),
        ("L_pop,mu", str(constants.l_pop), f"modulus of the population update: {constants.regime}"),
        ("Lemma 9", str(constants.lemma_9), "(K_s + K_a) / 2 + K_mu, an upper bound on L_pop,mu"),
    ]
    if one_agent is not None:
        rows += [
            (
                "C_1, C_2",
                f"{one_agent.c_1}, {one_agent.c_2}",
                "what one other agent changes: transitions, rewards",
            ),
            ("kappa", str(one_agent.sparsity), "number of cells (s, a) of others that a rule reads"),
        ]
    if symmetry is not None:
        parts = (
            Constant(value, kind == "exact")
            for value, kind in ((symmetry.alpha, symmetry.alpha_kind), (symmetry.beta, symmetry.beta_kind))
        )
        rows.append(("alpha, beta", ", ".join(map(str, parts)), "asymmetry of transitions, of rewards"))
    return rows


def _verdicts(found: Analysis) -> list[tuple[str, str, str]]:
    words = {True: "yes", False: "no", None: "not certain"}
    return [
        (f"monotone, {where}", words[one.is_monotone], str(one))
        for where, one in (("all populations", found.free), ("along flows", found.flows))
    ] + [
        (
            f"potential, {where}",
            "not certain" if one.is_potential and one.method != "certificate" else words[one.is_potential],
            "rewards are the gradient of a function of the population"
            + (", where tried" if one.is_potential and one.method != "certificate" else ""),
        )
        for where, one in (("all populations", found.free), ("along flows", found.flows))
    ]


def _exploitability(found: Analysis) -> list[tuple[str, str, str]]:
    equilibrium, measured = found.equilibrium, found.measured
    rows = [
        (
            "mean-field exploitability",
            f"{equilibrium.exploitability:.4g}",
            f"of the policy found by {equilibrium.solver}, {equilibrium.n_iterations} iterations; exact",
        )
    ]
    if found.bound is not None:
        parts = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in vars(found.bound).items())
        kind = "max_i E_i <= this" if found.bound_is_certain else "an estimate: some constants are lower estimates"
        rows.append(("Theorem 1", f"{found.bound.total:.4g}", f"{kind}; parts: {parts}"))
    if found.printed_bound is not None:
        rows.append(
            ("Theorem 1 as printed", f"{found.printed_bound.total:.4g}", "with L_a for the span of rewards")
        )
    if measured is None:
        return rows
    n, of_all = len(measured.agents), found.game.n_agents
    kinds = len({agent.tobytes() for agent in found.game.agents})
    who = "all agents" if n == kinds else f"{n} of {of_all} agents"
    low, high = measured.max_lower_bound.interval
    mean_low, mean_high = measured.mean_lower_bound.interval
    return [
        *rows,
        ("max_i E_i, estimate", f"{measured.max:.4g}", f"among N agents, over {who}; {measured.n_worlds} worlds"),
        ("max_i E_i >=", f"{measured.max_lower_bound.value:.4g}", f"95 % interval [{low:.4g}, {high:.4g}]"),
        (
            "mean_i E_i >=",
            f"{measured.mean_lower_bound.value:.4g}",
            f"95 % interval [{mean_low:.4g}, {mean_high:.4g}]",
        ),
    ]
