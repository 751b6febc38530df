"""Databases that go away, refuse and hang, callers that are cancelled: the next write works."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import sqlite3
import ssl
import time
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import postgres
import pytest
import sqlalchemy as sa

from trajectory import (
    BackendError,
    BackendUnavailableError,
    Batch,
    BatchRejectedError,
    Message,
    Question,
    Trajectory,
    TrajectoryLogger,
    Turn,
)
from trajectory.backends.sql import SqlBackend, engine, translate
from trajectory.backends.sql.transports import COPY_ROWS
from trajectory.ids import uuid7
from trajectory.testing.samples import a_turn, trajectories_of, turns_of

CANARY = "canary-93ab"


async def test_a_cancelled_write_is_whole_or_not_there_and_the_next_one_works(
    backend: SqlBackend, url: str
) -> None:
    """Invariant: whenever the caller is cancelled, no half batch, no lock, no lost connection."""
    chance = random.Random(7)
    question = Question(question_text="q", effort_level="low")
    outcomes = set()
    took = 0.01
    for _ in range(100):
        id_ = uuid7()
        batch = Batch(turns=tuple(a_turn(id_, n, questions=[question]) for n in range(10)))
        writing = asyncio.create_task(backend.write(batch))
        if chance.random() < 0.5:
            for _ in range(chance.choice([0, 1, 2, 3, 5, 8, 13, 21])):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(chance.uniform(0, 1.2 * took))
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
        if "://" not in url:
            _probe_lock(url)
        if chance.random() < 0.2:
            await backend.write(Batch(turns=(a_turn(),)))
        stored = await turns_of(backend, ids=(id_,))
        outcomes.add(len(stored))
        await backend.write(batch)  # again by key, after an unknown outcome
        began = time.monotonic()
        await backend.write(Batch(turns=tuple(a_turn(number=n) for n in range(10))))
        took = time.monotonic() - began
        stored = await turns_of(backend, ids=(id_,))
        assert [turn.questions for turn in stored] == [(question,)] * 10
    assert outcomes == {0, 10}
    assert backend._transport.readers.pool.checkedout() == 0  # type: ignore[attr-defined]


def _probe_lock(path: str) -> None:
    outside = sqlite3.connect(path, timeout=0.1, isolation_level=None)
    outside.execute("BEGIN IMMEDIATE")
    outside.execute("ROLLBACK")
    outside.close()


async def test_a_busy_file_counts_as_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.1)
    backend = SqlBackend(str(tmp_path / "t.db"))
    await backend.open()
    locker = sqlite3.connect(tmp_path / "t.db", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    with pytest.raises(BackendUnavailableError, match="SQLITE_BUSY"):
        await backend.write(Batch(turns=(a_turn(),)))
    locker.execute("ROLLBACK")
    locker.close()
    await backend.write(Batch(turns=(a_turn(),)))
    await backend.close()


async def test_a_full_disk_counts_as_unavailable_and_loses_nothing(tmp_path: Path) -> None:
    backend = SqlBackend(str(tmp_path / "t.db"))
    await backend.open()
    await backend.write(Batch(turns=(a_turn(),)))
    raw = (await backend._transport._connection.get_raw_connection()).driver_connection  # type: ignore[union-attr]

    def limit(connection: sqlite3.Connection, pages: int) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    await raw._execute(limit, raw._conn, 1)  # type: ignore[union-attr]
    id_ = uuid7()
    large = Batch(turns=tuple(a_turn(id_, n, prompt="x" * 5000) for n in range(10)))
    with pytest.raises(BackendUnavailableError, match="SQLITE_FULL"):
        await backend.write(large)
    assert len(await turns_of(backend)) == 1
    await raw._execute(limit, raw._conn, 10**6)  # type: ignore[union-attr]
    await backend.write(large)
    assert len(await turns_of(backend)) == 11
    await backend.close()


async def test_connections_that_the_server_closed_cost_no_batch(postgres_url: str) -> None:
    """Invariant: after a restart a full pool is renewed at the first use, not one failure each."""
    backend = SqlBackend(postgres_url)
    await backend.open()
    idle: list[Any] = []
    async with contextlib.AsyncExitStack() as stack:
        engines = [backend._transport._writers, *[backend._transport.readers] * 4]
        for engine in engines:
            connection = await stack.enter_async_context(engine.connect())
            idle.append((await connection.get_raw_connection()).driver_connection)
    await asyncio.to_thread(
        postgres.execute,
        postgres_url,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    async with asyncio.timeout(10):
        while not all(raw.is_closed() for raw in idle):
            await asyncio.sleep(0.01)
    await backend.write(Batch(turns=(a_turn(),)))
    assert len(await turns_of(backend)) == 1
    await backend.close()


async def test_a_label_that_no_index_takes_is_refused_alone(postgres_url: str) -> None:
    """Postgres takes less in an index than in a column; that is no reason to stop."""
    chance = random.Random(7)
    label = "".join(chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(1024))
    # Past the door, which refuses it.
    start = Trajectory.model_construct(**{**Trajectory().__dict__, "run_id": label})
    backend = SqlBackend(postgres_url)
    await backend.open()
    with pytest.raises(BatchRejectedError, match="54000"):
        await backend.write(Batch(starts=(start,)))
    await backend.write(Batch(turns=(a_turn(),)))
    await backend.close()


async def test_a_connection_that_ends_within_a_batch_leaves_nothing_of_it(
    postgres_url: str,
) -> None:
    backend = SqlBackend(postgres_url + "?application_name=ours")
    await backend.open()
    id_ = uuid7()
    batch = Batch(turns=(a_turn(id_, messages=[Message(role="user", content="m")]),))
    outside = await asyncpg.connect(postgres_url)
    async with outside.transaction():
        await outside.execute("LOCK TABLE trajectory_messages IN ACCESS EXCLUSIVE MODE")
        writing = asyncio.create_task(backend.write(batch))
        waiting = (
            "FROM pg_stat_activity WHERE application_name = 'ours' AND wait_event = 'relation'"
        )
        async with asyncio.timeout(10):
            while not await outside.fetch(f"SELECT {waiting}"):
                await asyncio.sleep(0.01)
        await outside.execute(f"SELECT pg_terminate_backend(pid) {waiting}")
        with pytest.raises(BackendUnavailableError):
            await writing
    await outside.close()
    assert await turns_of(backend) == []
    await backend.write(batch)
    assert await turns_of(backend) == list(batch.turns)
    await backend.close()


async def test_the_dispatcher_rides_over_a_terminated_connection(postgres_url: str) -> None:
    async with TrajectoryLogger(postgres_url) as logger:
        run = await logger.start_trajectory()
        for _ in range(5):
            await run.log_turn("p", "r")
            await logger.flush()
            await asyncio.to_thread(
                postgres.execute,
                postgres_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
        await run.log_turn("p", "r")
        assert await logger.flush() == (6, 0, 0)


async def test_a_frozen_server_fails_within_the_command_timeout(postgres_url: str) -> None:
    backend = SqlBackend(postgres_url + "?command_timeout=0.5")
    await backend.open()
    sent = a_turn()
    await backend.write(Batch(turns=(sent,)))
    async with backend._transport.readers.connect() as locker:
        await locker.exec_driver_sql("LOCK TABLE trajectory_turns IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        with pytest.raises(BackendUnavailableError):
            await backend.write(Batch(turns=(a_turn(),)))
        assert time.monotonic() - began < 5
    await backend.write(Batch(turns=(a_turn(),)))
    assert len(await turns_of(backend)) == 2
    await backend.close()


async def test_two_writers_of_the_same_new_turns_both_succeed(url: str) -> None:
    backends = [SqlBackend(url), SqlBackend(url)]
    for backend in backends:
        await backend.open()
    for _ in range(20):
        start = Trajectory(run_id="r")
        batch = Batch(starts=(start,), turns=tuple(a_turn(start.id, n) for n in range(5)))
        await asyncio.gather(*(backend.write(batch) for backend in backends))
    assert len(await turns_of(backends[0])) == 100
    assert len(await trajectories_of(backends[0])) == 20
    for backend in backends:
        await backend.close()


async def test_two_that_merge_the_same_trajectory_lose_nothing(postgres_url: str) -> None:
    """Invariant: what is merged is what the other has committed, not what was there before."""
    backend = SqlBackend(postgres_url + "?application_name=ours")
    await backend.open()
    start = Trajectory()
    await backend.write(Batch(starts=(start,)))
    outside = await asyncpg.connect(postgres_url)
    async with outside.transaction():
        await outside.execute("UPDATE trajectories SET user_id = 'first', run_id = 'r'")
        second = start.replace(user_id="second", session_id="s")
        writing = asyncio.create_task(backend.write(Batch(starts=(second,))))
        waiting = (
            "SELECT FROM pg_stat_activity "
            "WHERE application_name = 'ours' AND wait_event_type = 'Lock'"
        )
        async with asyncio.timeout(10):
            while not await outside.fetch(waiting):
                await asyncio.sleep(0.01)
    await writing
    await outside.close()
    [read] = await trajectories_of(backend)
    await backend.close()
    assert (read.user_id, read.run_id, read.session_id) == ("first", "r", "s")
    assert backend.merge_conflicts == 1


async def test_a_parent_that_others_deleted_is_written_again(backend: SqlBackend, url: str) -> None:
    first = a_turn()
    await backend.write(Batch(turns=(first,)))
    other = SqlBackend(url)
    await other.open()
    assert await other.delete_trajectories([first.trajectory_id]) == 1
    await other.close()
    second = a_turn(first.trajectory_id, 2)
    await backend.write(Batch(turns=(second,)))
    assert await turns_of(backend) == [second]


@pytest.mark.parametrize("rows", [2, COPY_ROWS])
@pytest.mark.parametrize(
    ("field", "value"),
    [("response", f"{CANARY}\ud800"), ("token_count", 2**63), ("response", None)],
)
async def test_a_refused_value_is_rejected_and_its_content_is_nowhere(
    backend: SqlBackend, caplog: pytest.LogCaptureFixture, field: str, value: object, rows: int
) -> None:
    """Invariant: no message, representation or traceback of ours shows what was refused."""
    caplog.set_level(logging.DEBUG)
    bad = a_turn(prompt=CANARY, token_count=1)
    bad.__dict__[field] = value  # past the door, as a bug of ours might be
    with pytest.raises(BatchRejectedError) as caught:
        await backend.write(Batch(turns=(*(a_turn() for _ in range(rows - 1)), bad)))
    shown = ["".join(traceback.format_exception(caught.value)), caplog.text]
    error: BaseException | None = caught.value
    while error is not None:  # what a reporter finds that walks along the chain
        shown.append(f"{error} {error!r} {error.args}")
        error = error.__cause__ or error.__context__
    assert CANARY not in "".join(shown)
    assert await turns_of(backend) == []
    await backend.write(Batch(turns=(a_turn(),)))


async def test_a_prompt_is_in_no_log_whatever_happens(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with TrajectoryLogger(url) as logger, logger.trajectory() as run:
        for _ in range(12):
            await run.log_turn(CANARY, CANARY)
        await logger.flush()
        with pytest.raises(Exception, match="stored already"):
            await logger.backend.write(
                Batch(turns=(a_turn(run.id, 1, prompt=CANARY, response="x"),))
            )
    assert caplog.records
    assert CANARY not in caplog.text


async def test_a_column_that_is_gone_stops(backend: SqlBackend) -> None:
    async with backend._transport.readers.connect() as connection:
        if connection.dialect.name == "sqlite":
            await connection.exec_driver_sql("PRAGMA query_only=OFF")
        await connection.exec_driver_sql("ALTER TABLE trajectory_turns DROP COLUMN reward")
        await connection.commit()
    with pytest.raises(BackendError) as caught:
        await backend.write(Batch(turns=(a_turn(reward=1.0),)))
    assert not isinstance(caught.value, BackendUnavailableError | BatchRejectedError)
    assert "trajectory db check" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (ConnectionRefusedError(), BackendUnavailableError),
        (TimeoutError(), BackendUnavailableError),
        (socket.gaierror(-2, CANARY), BackendUnavailableError),
        (ConnectionError(CANARY), BackendUnavailableError),
        (ssl.SSLError(1, CANARY), BackendUnavailableError),
        (ssl.SSLCertVerificationError(1, CANARY), BackendError),
        (asyncpg.TargetServerAttributeNotMatched(CANARY), BackendUnavailableError),
        (asyncpg.InterfaceError(CANARY), BackendUnavailableError),
        (asyncpg.ClientConfigurationError(CANARY), BackendError),
        (asyncpg.DataError(CANARY), BatchRejectedError),
        (asyncpg.DeadlockDetectedError(CANARY), BackendUnavailableError),
        (asyncpg.SerializationError(CANARY), BackendUnavailableError),
        (asyncpg.DiskFullError(CANARY), BackendUnavailableError),
        (asyncpg.ReadOnlySQLTransactionError(CANARY), BackendUnavailableError),
        (asyncpg.InvalidPasswordError(CANARY), BackendError),
        (asyncpg.UndefinedColumnError(CANARY), BackendError),
        (asyncpg.StringDataRightTruncationError(CANARY), BatchRejectedError),
        (asyncpg.NotNullViolationError(CANARY), BatchRejectedError),
        (OSError(28, CANARY), BackendUnavailableError),
        (sa.exc.TimeoutError(CANARY), BackendUnavailableError),
        (OverflowError(CANARY), BatchRejectedError),
        (UnicodeEncodeError("utf-8", CANARY, 0, 1, "surrogates"), BatchRejectedError),
        (RecursionError(), BatchRejectedError),
        (RuntimeError(CANARY), BackendError),
        (sqlite3.OperationalError(CANARY), BackendError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_bare_exceptions_have_their_class(error: Exception, ours: type[BackendError]) -> None:
    made = translate.translate(error, "the database")
    assert type(made) is ours
    assert CANARY not in "".join(traceback.format_exception(made))
    assert made.__cause__ is not None


class CuttingProxy:
    """Passes everything on to a server, and cuts the connection once COMMIT has been sent."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self.cuts = 0
        self.cutting = False

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}{self._target.path}"
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._target.hostname
        up_reader, up_writer = await asyncio.open_connection(
            self._target.hostname, self._target.port
        )
        committed = asyncio.Event()

        async def down() -> None:
            while data := await up_reader.read(65536):
                if committed.is_set():
                    return  # the answer to COMMIT is lost
                writer.write(data)

        async def up() -> None:
            while data := await reader.read(65536):
                if self.cutting and b"COMMIT" in data:
                    self.cuts += 1
                    committed.set()
                up_writer.write(data)

        tasks = [asyncio.create_task(down()), asyncio.create_task(up())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for end in (writer, up_writer):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()


async def test_a_commit_that_is_cut_from_its_answer_is_stored_once(postgres_url: str) -> None:
    """Invariant: the outcome is unknown, the batch is written again by key, nothing is doubled."""
    proxy = CuttingProxy(postgres_url)
    async with proxy.serving() as url:
        backend = SqlBackend(url)
        await backend.open()
        id_ = uuid7()
        for number in range(10):
            batch = Batch(turns=(a_turn(id_, number),))
            proxy.cutting = True
            with pytest.raises(BackendUnavailableError):
                await backend.write(batch)
            proxy.cutting = False
            await backend.write(batch)
        numbers = [turn.turn_number for turn in await turns_of(backend)]
        await backend.close()
    assert proxy.cuts == 10
    assert numbers == list(range(10))
    assert isinstance(batch.turns[0], Turn)


def test_a_timeout_that_cancelled_something_is_a_database_that_is_away() -> None:
    """Invariant: a connection that a frozen server keeps waiting is tried again."""
    error = TimeoutError()
    error.__cause__ = asyncio.CancelledError()
    assert isinstance(translate.translate(error, "postgresql://h/db"), BackendUnavailableError)
