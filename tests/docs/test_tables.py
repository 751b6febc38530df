"""The tables of the pages are those of the code: names, order, types and defaults."""

from __future__ import annotations

import re
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints
from uuid import UUID

import pytest
from pydantic import Field

import trajectory
from trajectory import LoggerSettings, TrajectoryError, door

DOCS = Path(__file__).parents[2] / "docs"

TYPES: list[tuple[Any, str]] = [
    (str, "text"),
    (door.Label, "label"),
    (door.IndexedLabel, "indexed label"),
    (door.Source, "source"),
    (UUID, "id"),
    (door.Instant, "time"),
    (door.Count, "count"),
    (door.Amount, "amount"),
    (door.Number, "number"),
    (Annotated[float, Field(ge=0, le=1)], "fraction"),
    (door.TurnNumber, "turn number"),
    (door.Position, "position"),
    (bool, "yes or no"),
    (door.Object, "object"),
    (Any, "JSON"),
    (str | door.Parts, "text or parts"),
]


def table(name: str) -> list[list[str]]:
    """Give the cells of the one table that is marked with a name, without its head."""
    found = [
        rows
        for page in sorted(DOCS.glob("*.md"))
        for rows in re.findall(
            rf"^<!-- table: {name} -->\n\n((?:\|.*\n)+)", page.read_text(), re.MULTILINE
        )
    ]
    assert len(found) == 1, f"there must be one table {name}"
    rows = [row.strip("|").split("|") for row in found[0].splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows]


def code(text: object) -> str:
    return f"`{text}`"


def worded(type_: Any) -> str:
    """Say what the page must call a type."""
    options = [option for option in get_args(type_) if option is not type(None)]
    if type(None) in get_args(type_):
        type_ = options[0] if len(options) == 1 else str | door.Parts
    if isinstance(type_, type) and issubclass(type_, StrEnum):
        return type_.__name__
    if get_origin(type_) is tuple:
        return f"list of {get_args(type_)[0].__name__}"
    words = [word for known, word in TYPES if known == type_]
    # Pydantic's constraints are equal only if they are the same object.
    words = words or [word for known, word in TYPES if str(known) == str(type_)]
    if not words and get_origin(type_) is Annotated:
        return worded(get_args(type_)[0])  # a check of the whole list
    [word] = words
    return word


def test_the_words_for_types_are_all_explained() -> None:
    assert [row[0] for row in table("types")] == [word for _type, word in TYPES]


@pytest.mark.parametrize(
    "name", ["Trajectory", "Turn", "Message", "ToolCall", "Question", "Violation"]
)
def test_fields_have_their_names_types_and_order(name: str) -> None:
    model = getattr(trajectory, name)
    hints = get_type_hints(model, include_extras=True)
    expected = [
        [code(field), worded(hints[field]) + (", required" if known.is_required() else "")]
        for field, known in model.model_fields.items()
    ]
    assert [row[:2] for row in table(name)] == expected
    assert all(meaning for _field, _type, meaning in table(name))


@pytest.mark.parametrize(
    "name",
    ["TrajectoryStatus", "EffortLevel", "Severity", "Role", "Durability", "Overflow", "OnFailure"],
)
def test_enums_have_their_values(name: str) -> None:
    assert [row[0] for row in table(name)] == [
        code(each.value) for each in getattr(trajectory, name)
    ]


def shown(default: Any) -> str:
    if default is None:
        return "none"
    return code(f"{default:g}" if isinstance(default, float) else default)


def test_settings_have_their_names_variables_and_defaults() -> None:
    defaults = LoggerSettings()
    assert [row[:3] for row in table("settings")] == [
        [code(name), code(f"TRAJECTORY_{name.upper()}"), shown(getattr(defaults, name))]
        for name in LoggerSettings.model_fields
    ]


def test_the_toml_table_is_whole_and_holds_the_defaults() -> None:
    text = (DOCS / "settings.md").read_text()
    [block] = re.findall(r"^```toml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    set_ = tomllib.loads(block)["ppp"]["trajectory"]
    defaults = LoggerSettings()
    assert {name: getattr(defaults, name) for name in set_} == set_
    # A setting without a default is shown as a comment.
    named = re.findall(r"^(?:# )?(\w+) = ", block, re.MULTILINE)
    assert named == list(LoggerSettings.model_fields)
    unset = {name for name in LoggerSettings.model_fields if getattr(defaults, name) is None}
    assert set(named) - set_.keys() == unset


def test_presets_have_their_values() -> None:
    for name, size, interval, _for in table("presets"):
        preset = re.fullmatch(r"`LoggerSettings\.(\w+)\(\)`", name)
        assert preset is not None
        made = getattr(LoggerSettings, preset[1])()
        assert (size, interval) == (code(made.buffer_size), code(f"{made.flush_interval_ms:g}"))


def test_statistics_are_all_explained() -> None:
    assert [row[0] for row in table("Statistics")] == [
        code(name) for name in trajectory.Statistics._fields
    ]


def test_errors_are_all_explained() -> None:
    errors = {
        name
        for name in trajectory.__all__
        if isinstance(found := getattr(trajectory, name), type)
        and issubclass(found, TrajectoryError)
        and found is not TrajectoryError
    }
    assert {row[0] for row in table("errors")} == {code(name) for name in errors}


def test_the_tables_of_the_database_are_named() -> None:
    from trajectory.backends.sql.schema import Base

    text = (DOCS / "data.md").read_text()
    [sentence] = re.findall(r"^Six tables: (.*?)\.", text, re.MULTILINE)
    ours = {name for name in Base.metadata.tables if name.startswith("trajector")}
    assert set(re.findall(r"`(\w+)`", sentence)) == ours - {"trajectory_schema"}


@pytest.mark.parametrize("query", [trajectory.TurnQuery, trajectory.TrajectoryQuery])
def test_queries_have_their_fields_and_defaults(query: Any) -> None:
    defaults = query()
    rows = table("queries") + table(query.__name__)
    assert [row[:2] for row in rows] == [
        [code(name), shown(getattr(defaults, name))] for name in query.model_fields
    ]
    assert all(meaning for _field, _default, meaning in rows)
