"""The page: what was found, put into figures, tables and words."""

from pathlib import Path

from rich import box
from rich.table import Table as ConsoleTable

from benchmarks.reproduce.energy import (
    gain_sections,
    game_sections,
    grid_sections,
    member_sections,
    service_sections,
)
from benchmarks.reproduce.energy.figures.style import policy_styles
from benchmarks.reproduce.energy.players import POLICIES
from benchmarks.reproduce.energy.protocol import Protocol, date_in_words, test_days
from benchmarks.reproduce.energy.report import Summary, provenance, write_report
from benchmarks.reproduce.energy.summary import OPTIMUM, Content, Found
from mfenvs.files import replacing


def write(path: Path, protocol: Protocol, found: Found, content: Content) -> None:
    """Write the page.

    Parameters
    ----------
    path:
        Where to.
    protocol:
        Sizes.
    found:
        What the tasks returned, by their keys.
    content:
        What the JSON holds.
    """
    styles = policy_styles(["no market", *POLICIES, OPTIMUM])
    days = [found["day", day] for day in test_days(protocol)]
    sections = [
        *gain_sections.sections(protocol, content, styles),
        *grid_sections.sections(protocol, days, found, content, styles),
        *member_sections.sections(protocol, days, found, content, styles),
        *game_sections.sections(protocol, content),
        *service_sections.sections(protocol, found, content),
    ]
    more = {
        "days": f"{len(days)} of the series, from {date_in_words(days[0]['date'])} on, spread evenly over a year",
        "members": f"{protocol.n_agents:,}",
        "seconds, without what earlier runs kept": f"{content['seconds']:.0f}",
    }
    title = f"What a local energy market of {protocol.n_agents:,} members gains"
    summary = Summary(gain_sections.answer(protocol, content), gain_sections.key_table(content))
    write_report(path, title, summary, sections, provenance(content["seeds"], **more))


def console_table(content: Content) -> ConsoleTable:
    """The key figures, for the terminal."""
    given = gain_sections.key_table(content)
    table = ConsoleTable(title="What each policy earns", caption=given.note, box=box.SIMPLE)
    for i, column in enumerate(given.columns):
        table.add_column(f"{column.name}\n{column.unit}", justify="right" if i else "left")
    for row in given.rows:
        table.add_row(*row)
    return table


def write_tables(path: Path, content: Content) -> None:
    """Write the tables of the page as Markdown."""
    tables = {
        "What each policy earns": gain_sections.key_table(content),
        "Where the gain comes from": gain_sections.step_table(content),
        "What is earned of what can be earned": gain_sections.efficiency_table(content),
        "Figures of merit of the grid": grid_sections.grid_table(content),
        "Prices": grid_sections.price_table(content),
        "Bills by type": member_sections.bill_table(content),
        "Who takes part, and fairness": member_sections.participation_table(content),
        "What single members would gain by deviating": game_sections.deviation_table(content),
        "What is left to gain where each member has its own policy": game_sections.equilibrium_table(content),
    }
    parts = [f"## {title}\n\n{table.markdown()}\n\n{table.note}\n" for title, table in tables.items()]
    with replacing(path) as file:
        file.write(("# Tables of the page\n\n" + "\n".join(parts)).encode())
