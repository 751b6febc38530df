"""Rows in bulk are the rows one by one: the fast ways put nothing else into the database."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from trajectory import Batch, Message, Turn, Violation
from trajectory.backends.sql import SqlBackend
from trajectory.backends.sql.schema import Base
from trajectory.backends.sql.statements import MANY, TURNS, Statements
from trajectory.backends.sql.types import _sqlite_text
from trajectory.testing.samples import NOON, full_turn

ID = UUID(int=7)


def turns() -> list[Turn]:
    """Turns of many shapes, more than are inserted with one statement, and no multiple of it."""
    return [
        full_turn(ID),
        *(
            Turn(
                trajectory_id=UUID(int=number % 5),
                turn_number=number,
                prompt=f"p{number}",
                response="r" * number,
                created_at=NOON + timedelta(seconds=number % 7, microseconds=number * 997),
                is_copied_context=number % 2 == 0 if number % 3 else None,
                metadata={"n": number} if number % 4 else {},
                messages=[Message(role="user", content=str(n)) for n in range(number % 4)],
                violations=[Violation(preference_name="p", severity="minor")] * (number % 2),
            )
            for number in range(10, 2 * MANY + 20)
        ),
    ]


async def rows_of(path: Path, batches: list[list[Turn]]) -> dict[str, list[tuple[object, ...]]]:
    backend = SqlBackend(str(path))
    await backend.open()
    for batch in batches:
        await backend.write(Batch(turns=tuple(batch)))
    await backend.close()
    connection = sqlite3.connect(path)
    try:
        return {
            table.name: connection.execute(
                f"SELECT * FROM {table.name} ORDER BY 1, 2, 3"  # noqa: S608 - our own names
            ).fetchall()
            for table in Base.metadata.sorted_tables
            if table.name != "trajectory_schema"
        }
    finally:
        connection.close()


async def test_a_batch_makes_the_rows_of_its_turns(tmp_path: Path) -> None:
    alone = await rows_of(tmp_path / "alone.db", [[turn] for turn in turns()])
    together = await rows_of(tmp_path / "together.db", [turns()])
    assert alone == together
    assert len(together["trajectory_turns"]) > 2 * MANY
    assert len(together["trajectory_messages"]) > MANY


@pytest.mark.parametrize("url", ["sqlite://", "postgresql+asyncpg://"])
def test_binding_by_column_is_binding_by_row(url: str) -> None:
    dialect = sa.engine.make_url(url).get_dialect()()
    statement = Statements(dialect).insert(
        TURNS, frozenset(Turn.model_fields).intersection(TURNS.c.keys())
    )
    values = [{**turn.__dict__} for turn in turns()]
    assert [list(row) for row in statement.bind_all(values)] == [
        list(statement.bind([row[name] for name in statement.columns])) for row in values
    ]


instants = st.datetimes(
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone.max])
)


@given(st.lists(instants.filter(lambda each: 1 < each.year < 9999), max_size=5))
@example([NOON, NOON + timedelta(days=1), NOON, NOON + timedelta(microseconds=999_999)])
@example([datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)])
def test_the_text_of_an_instant_is_sqlalchemys_own(instants: list[datetime]) -> None:
    dialect = sqlite.dialect()
    process = sa.DateTime().dialect_impl(dialect).bind_processor(dialect)
    for instant in instants:
        assert process is not None
        assert _sqlite_text(instant) == process(instant.astimezone(UTC))
