"""What reaches the database: statements compiled once, one transaction and one INSERT a table."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from trajectory import (
    Batch,
    ConflictError,
    Message,
    Question,
    Trajectory,
    TrajectoryEnd,
    Turn,
)
from trajectory.backends.sql import SqlBackend
from trajectory.backends.sql.schema import Base
from trajectory.backends.sql.transports import COPY_ROWS
from trajectory.ids import uuid7
from trajectory.testing.samples import a_turn, full_turn, turns_of


def batch(id_: Any, start: int) -> Batch:
    return Batch(
        turns=tuple(
            a_turn(
                id_,
                start + n,
                token_count=1,
                messages=[Message(role="user", content="m")],
                questions=[Question(question_text="q", effort_level="low")],
            )
            for n in range(10)
        )
    )


async def test_a_shape_is_compiled_once(backend: SqlBackend) -> None:
    id_ = uuid7()
    await backend.write(batch(id_, 0))
    compiled = backend._statements.compiled
    for start in range(10, 510, 10):
        await backend.write(batch(id_, start))
    assert backend._statements.compiled == compiled
    assert len(await turns_of(backend)) == 510


async def test_starts_and_ends_are_compiled_once(backend: SqlBackend) -> None:
    """However many there are, and however often they come."""

    async def runs(number: int) -> None:
        starts = tuple(Trajectory(spec_id="s") for _ in range(number))
        turns = tuple(a_turn(start.id) for start in starts)
        ends = tuple(TrajectoryEnd(trajectory_id=each.id, status="completed") for each in starts)
        await backend.write(Batch(starts=starts, turns=turns))
        await backend.write(Batch(turns=turns))  # compared with what is stored
        await backend.write(Batch(ends=ends))
        assert await backend.delete_trajectories([each.id for each in starts]) == number

    for number in (1, 2, 4, 8):
        await runs(number)
    compiled = backend._statements.compiled
    for number in range(1, 9):
        await runs(number)
    assert backend._statements.compiled == compiled


async def test_a_batch_is_one_transaction_and_one_insert_a_table(tmp_path: Path) -> None:
    backend = SqlBackend(str(tmp_path / "t.db"))
    await backend.open()
    id_ = uuid7()
    await backend.write(batch(id_, 0))
    seen: list[str] = []
    raw: Any = (await backend._transport._connection.get_raw_connection()).driver_connection  # type: ignore[union-attr]
    await raw.set_trace_callback(seen.append)
    await backend.write(batch(id_, 10))
    await raw.set_trace_callback(None)
    await backend.close()
    words = [" ".join(statement.split()[:3]) for statement in seen]
    assert words == [
        "BEGIN IMMEDIATE",
        *["INSERT INTO trajectory_turns"] * 10,
        *["INSERT INTO trajectory_messages"] * 10,
        *["INSERT INTO trajectory_questions"] * 10,
        "COMMIT",
    ]


async def test_a_batch_is_as_few_statements_on_postgres(postgres_url: str) -> None:
    backend = SqlBackend(postgres_url)
    await backend.open()
    id_ = uuid7()
    await backend.write(batch(id_, 0))
    seen: list[Any] = []
    async with backend._transport._writers.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        raw.add_query_logger(seen.append)
    seen.clear()
    await backend.write(batch(id_, 10))
    raw.remove_query_logger(seen.append)
    await backend.close()
    words = [" ".join(each.query.rstrip(";").split()[:3]) for each in seen]
    assert words[0].startswith("BEGIN")
    assert words[1:5] == [
        "INSERT INTO trajectory_turns",
        "INSERT INTO trajectory_messages",
        "INSERT INTO trajectory_questions",
        "COMMIT",
    ]
    assert words[5:] in ([], ["ROLLBACK"])  # of the pool, when the connection comes back


@pytest.mark.parametrize("count", [COPY_ROWS - 1, COPY_ROWS])
async def test_large_and_small_batches_store_the_same(backend: SqlBackend, count: int) -> None:
    """From a certain size on Postgres gets its rows another way, with codecs of its own."""
    id_ = uuid7()
    extra = [a_turn(id_, n, metadata={"n": [1e300, None]}, reward=-0.5) for n in range(1, count)]
    turns = [*extra, full_turn(id_)]
    await backend.write(Batch(turns=tuple(turns)))
    await backend.write(Batch(turns=tuple(turns)))
    assert await turns_of(backend) == turns
    other = a_turn(id_, 1, response="another")
    with pytest.raises(ConflictError) as caught:
        await backend.write(Batch(turns=(other, *turns[1:])))
    assert caught.value.keys == (other.key,)


async def test_an_insert_names_only_what_the_batch_uses(backend: SqlBackend) -> None:
    await backend.write(Batch(turns=(a_turn(),)))
    await backend.write(Batch(turns=(a_turn(latency_ms=1), a_turn(model_name="m"))))
    columns = {key[1] for key in backend._statements._inserts if key[0] == "trajectory_turns"}
    always = {"trajectory_id", "turn_number", "prompt", "response", "created_at"}
    assert columns == {frozenset(always), frozenset(always | {"latency_ms", "model_name"})}


async def test_rows_are_plain_to_read_with_sql(backend: SqlBackend, url: str) -> None:
    sent = a_turn(metadata={"k": "Ü", "n": 1.5})
    await backend.write(Batch(turns=(sent,)))
    async with backend._transport.readers.connect() as connection:
        table = Base.metadata.tables["trajectory_turns"]
        key = table.c.metadata["k"].as_string()
        found = (await connection.execute(sa.select(key))).scalar_one()
    assert found == "Ü"
    if "://" not in url:
        plain = sqlite3.connect(url)
        [(id_, created_at)] = plain.execute(
            "SELECT trajectory_id, created_at FROM trajectory_turns"
        ).fetchall()
        plain.close()
        assert id_ == sent.trajectory_id.hex
        assert created_at == "2026-01-02 12:00:00.123456"


async def test_json_on_sqlite_is_text_that_sql_can_read(tmp_path: Path) -> None:
    """Of any other declared type, SQLite makes the text `1.0` a number, and of it 1."""
    backend = SqlBackend(str(tmp_path / "t.db"))
    await backend.open()
    message = Message(role="user", usage=1.0, token_ids=[7, 8], logprobs={"a": -0.5})
    await backend.write(Batch(turns=(a_turn(metadata={"k": "v"}, messages=[message]),)))
    await backend.close()
    plain = sqlite3.connect(tmp_path / "t.db")
    asked = plain.execute(
        "SELECT typeof(usage), usage, token_ids ->> 1, json_extract(logprobs, '$.a'),"
        " json_extract(t.metadata, '$.k') FROM trajectory_messages"
        " JOIN trajectory_turns t USING (trajectory_id, turn_number)"
    ).fetchall()
    declared = {
        row[0]
        for table in Base.metadata.sorted_tables
        for row in plain.execute(
            "SELECT type FROM pragma_table_info(?) WHERE name IN"
            " ('tools', 'tags', 'metadata', 'content_parts', 'usage', 'token_ids', 'logprobs')",
            [table.name],
        )
    }
    plain.close()
    assert asked == [("text", "1.0", 8, -0.5, "v")]
    assert declared == {"TEXT"}


async def test_unused_fields_come_back_as_none(backend: SqlBackend) -> None:
    await backend.write(Batch(turns=(a_turn(),)))
    [read] = await turns_of(backend)
    optional = {"token_count", "cost_usd", "error", "is_copied_context"}
    assert {name for name in Turn.model_fields if getattr(read, name) is None} >= optional
