"""Between models and rows: which values a row has, and the model that rows make."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import sqlalchemy as sa

from trajectory.backends.sql.statements import (
    MESSAGES,
    QUESTIONS,
    TOOL_CALLS,
    TRAJECTORIES,
    TURNS,
    VIOLATIONS,
    Row,
    Statement,
    Statements,
)
from trajectory.errors import TurnKey
from trajectory.models import (
    Fact,
    Message,
    Question,
    ToolCall,
    Trajectory,
    Turn,
    Violation,
    in_order,
    numbered,
)

CHILD_TABLES: Mapping[str, sa.Table] = {
    "messages": MESSAGES,
    "tool_calls": TOOL_CALLS,
    "questions": QUESTIONS,
    "violations": VIOLATIONS,
}
"""The tables of what belongs to a turn, by the field of `Turn`."""

_CHILDREN = frozenset(CHILD_TABLES)
_ALWAYS = frozenset({"trajectory_id", "turn_number", "prompt", "response", "created_at"})
_OF_TURN = ("trajectory_id", "turn_number")
_MODELS: Mapping[str, Any] = {
    "messages": Message,
    "tool_calls": ToolCall,
    "questions": Question,
    "violations": Violation,
}


class Rows(NamedTuple):
    """Rows for one INSERT."""

    insert: Statement
    rows: list[Row]


def turn_rows(statements: Statements, turns: Sequence[Turn]) -> Iterator[Rows]:
    """Give the rows of turns, table by table, parents first."""
    if not turns:
        return
    # What was never given is None; only fields that some turn was given are named.
    given = frozenset().union(*(turn.__pydantic_fields_set__ for turn in turns))
    insert = statements.insert(TURNS, (given | _ALWAYS) - _CHILDREN)
    yield Rows(insert, insert.bind_all([turn.__dict__ for turn in turns]))
    for name in CHILD_TABLES:
        if name in given:
            rows = [
                {**turn_key(turn.key), **row}
                for turn in turns
                for row in child_rows(name, getattr(turn, name))
            ]
            if rows:
                yield bound(statements, CHILD_TABLES[name], rows)


def child_rows(name: str, children: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Give the rows of a turn's children, without the turn's key."""
    if name in ("questions", "violations"):
        for position, finding in numbered(children):
            yield {**fields(finding), "position": position}
    else:
        for position, child in enumerate(children):
            yield {**fields(child), "position": position}


def fact_row(fact: Fact) -> dict[str, Any]:
    """Give the row of a fact."""
    return {**turn_key(fact.key), **fields(fact.finding), "position": fact.position}


def fact_table(fact: Fact) -> sa.Table:
    """Give the table of a fact."""
    return QUESTIONS if isinstance(fact.finding, Question) else VIOLATIONS


def turn_key(key: TurnKey) -> dict[str, Any]:
    """Give a turn's key as columns."""
    return dict(zip(_OF_TURN, key, strict=True))


def fields(value: Any) -> dict[str, Any]:
    """Give the columns of a model that hold something."""
    row = {
        name: field.value if isinstance(field, Enum) else field
        for name, field in value.__dict__.items()
        if field is not None
    }
    if isinstance(value, Message) and not isinstance(value.content, str | None):
        row["content_parts"] = row.pop("content")
    return row


def bound(statements: Statements, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> Rows:
    """Bind rows for one INSERT that names the columns used by any of them."""
    insert = statements.insert(table, frozenset().union(*rows))
    return Rows(
        insert,
        [insert.bind([row.get(name) for name in insert.columns]) for row in rows],
    )


def trajectory_rows(statements: Statements, trajectories: Sequence[Trajectory]) -> Rows:
    """Give the rows of new trajectories."""
    return bound(statements, TRAJECTORIES, [fields(each) for each in trajectories])


def as_trajectory(row: Any) -> Trajectory:
    """Make a trajectory of its row."""
    return Trajectory(**{**_known(row), "status": row["status"]})


def as_turns(rows: Iterable[Any], children: Mapping[str, Iterable[Any]]) -> list[Turn]:
    """Make turns of their rows, with the rows of their children by field."""
    by_turn: dict[TurnKey, dict[str, list[Any]]] = defaultdict(dict)
    for name, child_rows_ in children.items():
        for row in child_rows_:
            key = (row["trajectory_id"], row["turn_number"])
            by_turn[key].setdefault(name, []).append(_as_child(name, row))
    turns = []
    for row in rows:
        fields_ = _known(row)
        for name, found in by_turn[row["trajectory_id"], row["turn_number"]].items():
            if name in ("questions", "violations"):
                fields_[name] = in_order((finding.position, finding) for finding in found)
            else:
                fields_[name] = tuple(found)
        turns.append(Turn(**fields_))
    return turns


def _as_child(name: str, row: Any) -> Any:
    values = {key: value for key, value in _known(row).items() if key not in _OF_TURN}
    if name in ("messages", "tool_calls"):
        del values["position"]  # the place in the tuple tells it
    if "content_parts" in values:
        values["content"] = values.pop("content_parts")
    return _MODELS[name](**values)


def _known(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}
