"""Scenario files: a market, its members, tariffs and series in one TOML file.

.. code-block:: toml

    game = "EnergyMarket-v1"              # optional; any version

    [market]                              # fields of the game
    step_minutes = 15
    imbalance = "pooled"

    [members]
    file = "members.csv"                  # beside the scenario; or columns: type = ["pv", "storage"]

    [tariffs]                             # in any form that mfenvs.energy.tariffs.schedule reads
    feed_in = 0.08
    retail = {kind = "day-ahead", markup = 0.06}
    network_charge = {kind = "time-of-use", otherwise = 0.10, periods = [{price = 0.18, hours = "17-21"}]}

    [law]                                 # fields of ProsumerLaw
    c_rate = 0.5

    [series]                              # or: source = "synthetic", or: file = "days.npz"
    load = {file = "load.csv", unit = "kW"}
    pv = {file = "pv.csv", unit = "kW", timezone = "UTC", columns = ["roof"]}
    price = {file = "prices.csv", unit = "EUR/MWh"}
    co2 = 0.35

Paths are relative to the scenario's folder. Instead of tables of one's own, ``[series.entsoe]`` holds arguments of
:meth:`~mfenvs.energy.series.MarketSeries.from_entsoe`, the paths of files among them.
"""

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mfenvs import checks
from mfenvs.energy.profiles import Profiles, read_profiles
from mfenvs.energy.series import MarketSeries
from mfenvs.files import replacing
from mfenvs.games.energy.description import plain_term
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.registry import game_class_of, name_of

DEFAULT_GAME = "EnergyMarket-v1"

TARIFFS = ("feed_in", "retail", "network_charge", "dynamic_tariffs", "peak_charge", "peak_of")
"""Fields of the game that belong to ``[tariffs]``."""

OWN_TABLES = ("market", "members", "tariffs", "law", "series")

PROFILE_KEYS = ("file", "unit", "columns", "timezone", "missing", "max_gap")
"""What a part of a series says: the file, the columns that are wanted, and arguments of ``read_profiles``."""

PROFILE_PARTS = ("load", "pv", "wind", "price", "co2")

ENTSOE_FILES = ("load", "solar", "wind", "price")

ENTSOE_OPTIONS = (
    "profiles",
    "solar_capacity_mw",
    "wind_capacity_mw",
    "annual_load_kwh",
    "co2_kg_per_kwh",
    "timezone",
)
"""Other arguments of ``from_entsoe``; its step is the market's."""

MOST_BYTES = 2**26
"""Most bytes of a scenario, 64 MiB."""

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class ScenarioError(ValueError):
    """A scenario that is not as it should be; the text names the file, the table and the key."""


def read_scenario(path: str | os.PathLike[str]) -> EnergyMarket:
    """Make the market of a scenario file, whose form the module describes.

    Raises
    ------
    ScenarioError
        If the file is no TOML, or a key is unknown (the error names the nearest known one), missing, or not
        allowed.
    TableError, EntsoeFormatError
        If a table that it names is not as it should be.
    OSError
        If a file cannot be read.
    """
    scenario = _Scenario(Path(path))
    tables = scenario.tables()
    game_class = scenario.game_class(tables.pop("game", DEFAULT_GAME))
    fields = {field.name for field in dataclasses.fields(game_class) if field.init}
    market = scenario.table("market", tables, fields - {*TARIFFS, "members", "law", "series"})
    terms = {**market, **scenario.table("tariffs", tables, [name for name in TARIFFS if name in fields])}
    if "law" in tables:
        terms["law"] = scenario.table("law", tables, None)
    if "members" in tables:
        terms["members"] = scenario.members(tables)
    if "series" in tables:
        terms["series"] = scenario.series(tables, market.get("step_minutes", game_class.step_minutes))
    try:
        return game_class(**terms)
    except (TypeError, ValueError) as error:
        raise ScenarioError(f"{path}: {error}") from error


def write_scenario(game: EnergyMarket, path: str | os.PathLike[str]) -> None:
    """Write a market as a scenario file, from which :func:`read_scenario` makes an equal one.

    All fields are written, also those that have their defaults. Members become columns in the file. A series in
    memory is written beside it, to a file of its name with the ending ``.npz``.

    Parameters
    ----------
    game:
        A market of a registered class.
    path:
        The file; it is replaced if it exists.

    Raises
    ------
    ValueError
        If the game's class is not registered.
    OSError
        If a file cannot be written.
    """
    path = Path(path)
    name = name_of(game)
    if name is None:
        raise ValueError(f"game must be of a registered class, got {type(game).__name__}")
    terms = {field.name: getattr(game, field.name) for field in dataclasses.fields(game) if field.init}
    series = terms.pop("series")
    if isinstance(series, MarketSeries):
        source: dict[str, Any] = {"file": path.with_suffix(".npz").name}
    elif series in ("embedded", "synthetic"):
        source = {"source": series}
    else:
        source = {"file": str(Path(series).resolve())}
    written: dict[str, dict[str, Any]] = {"market": {}, "tariffs": {}}
    for field, value in terms.items():
        if value is None:
            continue
        if field in ("members", "law"):
            written[field] = plain_term(value)
        else:
            written["tariffs" if field in TARIFFS else "market"][field] = plain_term(value)
    written["series"] = source
    lines = [f"game = {_toml(name)}"]
    for table, entries in written.items():
        lines += ["", f"[{table}]", *(f"{_key(key)} = {_toml(value)}" for key, value in entries.items())]
    with replacing(path) as file:
        file.write(("\n".join(lines) + "\n").encode())
        if isinstance(series, MarketSeries):
            series.save(path.with_suffix(".npz"))  # Within the block: a scenario without its series is not left.


class _Scenario:
    """A scenario that is read; its errors name the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def error(self, problem: str) -> ScenarioError:
        return ScenarioError(f"{self.path}: {problem}")

    def tables(self) -> dict[str, Any]:
        """The content of the file, whose tables are all known."""
        with self.path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise self.error(f"holds more than {MOST_BYTES} bytes")
        try:
            found = tomllib.loads(content.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self.error(f"is no TOML: {error}") from error
        self.known("", found, ("game", *OWN_TABLES))
        for name in OWN_TABLES:
            if not isinstance(found.get(name, {}), dict):
                raise self.error(f"{name} must be a table, got {checks.shown(found[name])}")
        return found

    def game_class(self, name: Any) -> type[EnergyMarket]:
        if not isinstance(name, str):
            raise self.error(f"game must be the name of a game, got {checks.shown(name)}")
        try:
            found = game_class_of(name)
        except ValueError as error:
            raise self.error(f"game: {error}") from error
        if not issubclass(found, EnergyMarket):
            raise self.error(f"game must be an energy market such as {DEFAULT_GAME}, got {name!r}")
        return found

    def table(self, name: str, tables: Mapping[str, Any], allowed: Iterable[str] | None) -> dict[str, Any]:
        """A table with known keys; {} if there is none."""
        found = dict(tables.get(name, {}))
        if allowed is not None:
            self.known(f"[{name}]: ", found, tuple(allowed))
        return found

    def known(self, where: str, found: Mapping[str, Any], allowed: Iterable[str]) -> None:
        """Refuse unknown keys."""
        if unknown := checks.unknown_name(found, sorted(allowed)):
            raise self.error(f"{where}the key {unknown}")

    def members(self, tables: Mapping[str, Any]) -> Any:
        """The path of the members' table, or its columns."""
        found = tables["members"]
        if "file" not in found:
            return found
        self.known("[members]: ", found, ("file",))
        return self.file("[members]: ", found["file"])

    def file(self, where: str, name: Any) -> Path:
        """The path of a file beside the scenario."""
        if not isinstance(name, str) or not name or "\0" in name:
            raise self.error(f"{where}file must be the path of a file, got {checks.shown(name)}")
        path = self.path.parent / name
        if not path.is_file():
            raise self.error(f"{where}there is no file {path}")
        return path

    def series(self, tables: Mapping[str, Any], step_minutes: Any) -> str | Path | MarketSeries:
        """The series: by name, by file, or made of tables of one's own or of ENTSO-E's files."""
        found = tables["series"]
        kinds = [kind for kind in ("source", "file", "load", "entsoe") if kind in found]
        if len(kinds) != 1:
            raise self.error(
                f"[series]: must have one of source, file, load and entsoe, got {', '.join(kinds) or 'none'}"
            )
        if kinds[0] == "source":
            self.known("[series]: ", found, ("source",))
            if found["source"] not in ("embedded", "synthetic"):
                raise self.error(
                    f"[series]: source must be 'embedded' or 'synthetic', got {checks.shown(found['source'])}"
                )
            return str(found["source"])
        if kinds[0] == "file":
            self.known("[series]: ", found, ("file",))
            return self.file("[series]: ", found["file"])
        if kinds[0] == "entsoe":
            self.known("[series]: ", found, ("entsoe",))
            return self._entsoe(found["entsoe"], step_minutes)
        self.known("[series]: ", found, PROFILE_PARTS)
        parts: dict[str, Any] = {name: self._profiles(name, part) for name, part in found.items()}
        try:
            return MarketSeries.from_profiles(**parts, step_minutes=step_minutes)
        except (TypeError, ValueError) as error:
            raise self.error(f"[series]: {error}") from error

    def _profiles(self, name: str, part: Any) -> Profiles | float:
        where = f"[series.{name}]: "
        if not isinstance(part, dict):
            if name in ("price", "co2"):
                return part  # type: ignore[no-any-return]  # checked where it is used
            raise self.error(f"{where}must be a table with file and unit, got {checks.shown(part)}")
        self.known(where, part, PROFILE_KEYS)
        for key in ("file", "unit"):
            if key not in part:
                raise self.error(f"{where}{key} is missing")
        options = {key: value for key, value in part.items() if key not in ("file", "columns")}
        file = self.file(where, part["file"])
        try:
            found = read_profiles(file, **options)
            columns = checks.sequence("columns", part.get("columns", found.names), "hold names of columns")
            return found.chosen(*columns)
        except (TypeError, ValueError) as error:
            raise self.error(f"{where}{error}") from error

    def _entsoe(self, part: Any, step_minutes: Any) -> MarketSeries:
        where = "[series.entsoe]: "
        if not isinstance(part, dict):
            raise self.error(f"{where}must be a table, got {checks.shown(part)}")
        options = dict(part)
        for name in ENTSOE_FILES:
            if name not in options:
                raise self.error(f"{where}{name} is missing")
            files = options[name] if isinstance(options[name], list) else [options[name]]
            options[name] = [self.file(f"{where}{name}: ", file) for file in files]
        self.known(where, options, (*ENTSOE_FILES, *ENTSOE_OPTIONS))
        try:
            return MarketSeries.from_entsoe(**options, step_minutes=step_minutes)
        except (TypeError, ValueError) as error:
            raise self.error(f"{where}{error}") from error


def _key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else _toml(key)


def _toml(value: Any) -> str:
    """A number, text, list or dict in TOML. It has no None: a dict's are left out, a list's become empty texts."""
    value = checks.scalar(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        entries = (f"{_key(key)} = {_toml(each)}" for key, each in value.items() if each is not None)
        return f"{{{', '.join(entries)}}}"
    if isinstance(value, list | tuple | np.ndarray):
        return f"[{', '.join(_toml('' if each is None else each) for each in value)}]"
    raise TypeError(f"a scenario cannot hold {checks.shown(value)}")
