"""The filters of a query as conditions: exactly what `matches` says, and every value bound."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from trajectory.backends.sql.statements import (
    QUESTIONS,
    TOOL_CALLS,
    TRAJECTORIES,
    TURNS,
    VIOLATIONS,
)
from trajectory.errors import InvalidQueryError, TurnKey
from trajectory.query import CROSS_FILTERS, FILTERS, LABELS, TrajectoryQuery, TurnQuery

PUSHED = (FILTERS | CROSS_FILTERS) - {"metadata"}
"""What becomes a condition. JSON is not compared here: to Postgres, `1` and `1.0` are equal."""

Conditions = list[sa.ColumnElement[bool]]


def trajectory_conditions(query: TrajectoryQuery, dialect: str) -> Conditions:
    """Give the conditions of a query, on the table of trajectories."""
    columns = TRAJECTORIES.c
    conditions = _common(query, columns.id, columns.created_at, dialect)
    conditions += (
        columns[name] == (value if isinstance(value, UUID) else str(value))
        for name in LABELS
        if (value := getattr(query, name)) is not None
    )
    if query.turn is not None:
        found = sa.exists().where(
            TURNS.c.trajectory_id == columns.id, *turn_conditions(query.turn, dialect)
        )
        conditions.append(found.correlate(TRAJECTORIES))
    return conditions


def turn_conditions(query: TurnQuery, dialect: str) -> Conditions:
    """Give the conditions of a query, on the table of turns."""
    columns = TURNS.c
    conditions = _common(query, columns.trajectory_id, columns.created_at, dialect)
    if query.text is not None:
        # Not LIKE: it has wildcards, and its own idea of letters on SQLite.
        place = sa.func.strpos if dialect == "postgresql" else sa.func.instr
        text = sa.literal(query.text, sa.Text)
        conditions.append(
            sa.or_(place(columns.prompt, text) > 0, place(columns.response, text) > 0)
        )
    if query.tool is not None:
        conditions.append(_has(TOOL_CALLS, tool_name=query.tool))
    if query.effort is not None:
        conditions.append(_has(QUESTIONS, effort_level=query.effort, source=query.source))
    if query.severity is not None or query.preference is not None:
        conditions.append(
            _has(
                VIOLATIONS,
                severity=query.severity,
                preference_name=query.preference,
                source=query.source,
            )
        )
    if query.source is not None and query.filters.isdisjoint({"effort", "severity", "preference"}):
        conditions.append(
            sa.or_(_has(QUESTIONS, source=query.source), _has(VIOLATIONS, source=query.source))
        )
    if query.trajectory is not None:
        passing = sa.select(TRAJECTORIES.c.id).where(
            *trajectory_conditions(query.trajectory, dialect)
        )
        conditions.append(columns.trajectory_id.in_(passing))
    return conditions


def _has(table: sa.Table, **wanted: str | None) -> sa.ColumnElement[bool]:
    """Say that a turn has a row with these values in a table."""
    each = table.alias()  # the table itself may be read in the statement around
    return (
        sa.exists()
        .where(
            each.c.trajectory_id == TURNS.c.trajectory_id,
            each.c.turn_number == TURNS.c.turn_number,
            *(each.c[name] == str(value) for name, value in wanted.items() if value is not None),
        )
        .correlate(TURNS)
    )


def _common(
    query: TurnQuery | TrajectoryQuery,
    id_: sa.Column[Any],
    created_at: sa.Column[Any],
    dialect: str,
) -> Conditions:
    if missing := query.filters - PUSHED:
        raise InvalidQueryError(
            f"a database doesn't filter by {', '.join(sorted(missing))}; read with a "
            f"TrajectoryStore, which does"
        )
    conditions: Conditions = []
    if query.ids is not None:
        conditions.append(among(id_, query.ids, dialect))
    if query.since is not None:
        conditions.append(created_at >= query.since)
    if query.until is not None:
        conditions.append(created_at < query.until)
    return conditions


def among(id_: sa.ColumnElement[Any], ids: Sequence[UUID], dialect: str) -> Any:
    """Say that an id is one of many, in one parameter: statements take only so many."""
    if dialect == "postgresql":
        return id_ == sa.any_(sa.literal(list(ids), sa.ARRAY(sa.Uuid)))
    listed = sa.func.json_each(json.dumps([each.hex for each in ids])).table_valued("value")
    return id_.in_(sa.select(sa.cast(listed.c.value, sa.Text)))


def among_turns(table: sa.Table, keys: Sequence[TurnKey], dialect: str) -> sa.ColumnElement[bool]:
    """Say that a row belongs to one of many turns, in one or two parameters.

    A list of parameters would take longer to write out than the rows take to be found.
    """
    key = sa.tuple_(table.c.trajectory_id, table.c.turn_number)
    if dialect == "postgresql":
        ids, numbers = map(list, zip(*keys, strict=True))
        listed = sa.func.unnest(
            sa.literal(ids, sa.ARRAY(sa.Uuid)), sa.literal(numbers, sa.ARRAY(sa.Integer))
        )
        pairs = listed.table_valued("id", "number").render_derived()
        return key.in_(sa.select(pairs.c.id, pairs.c.number))
    given = json.dumps([(id_.hex, number) for id_, number in keys])
    each = sa.func.json_each(given).table_valued("value").c.value
    return key.in_(
        sa.select(
            sa.cast(sa.func.json_extract(each, "$[0]"), sa.Text),
            sa.cast(sa.func.json_extract(each, "$[1]"), sa.Integer),
        )
    )
