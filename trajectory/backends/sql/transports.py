"""How steps reach a database: SQLite in one hop to its thread, Postgres with awaits.

Both run the steps in one transaction, and have committed when they return.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from trajectory.backends.sql import engine as engines
from trajectory.backends.sql.space import shrink
from trajectory.backends.sql.statements import MANY, Row, Statement
from trajectory.backends.sql.urls import check_files
from trajectory.backends.sql.writing import Do, Step, Steps
from trajectory.errors import BackendError, TrajectoryError

COPY_ROWS = 20
"""From so many rows on Postgres gets them by COPY: 1.5 times faster at 100, no faster at 10."""

_SLICE_BYTES = 256 * 1024
_SLICE_ROWS = 200
"""How much of a large batch the driver encodes before others on the event loop have their turn."""

_T = TypeVar("_T")


class SqliteTransport:
    """A SQLite file, or one in memory.

    One connection writes. Readers of a file have connections of their own; in memory, where each
    connection would be another database, they share the writer's, one transaction at a time.
    """

    on_loop = False

    def __init__(self, url: sa.URL) -> None:
        # Absolute, as it is to the engines: the program may change its folder later.
        self.path = None if engines.is_memory(url) else Path(url.database or "").absolute()
        self._writers = engines.sqlite_writer(url)
        self.readers = self._writers if self.path is None else engines.sqlite_readers(url)
        self.read_lock: asyncio.Lock | None = None
        self.dialect = self._writers.dialect
        self._connection: AsyncConnection | None = None
        self._raw: Any = None  # the driver's, since asking for it takes a third of a hop
        self._file: _File | None = None
        self.is_new = True

    async def connect(self) -> None:
        """Open the file, making it if need be."""
        if self.path is None:
            self.read_lock = asyncio.Lock()  # made here, since a lock belongs to its event loop
        else:
            self.is_new = await asyncio.to_thread(engines.prepare_file, self.path)
            self._connection = await self._writers.connect()
            self._raw = (await self._connection.get_raw_connection()).driver_connection
            self._file = _File(self.path)

    async def sync_commits(self) -> None:
        """Make each commit wait for the disk, where WAL mode would leave that for later."""
        if self._raw is not None:
            await (await self._raw.execute("PRAGMA synchronous = FULL")).close()

    async def give_back_space(self) -> int:
        """Give some free pages back to the file system; say how many bytes, 0 after the last."""
        if self._raw is None:
            return 0
        freed: int = await self._raw._execute(shrink, self._raw._conn)  # noqa: SLF001
        return freed

    def leave_loop(self) -> bool:
        """Say whether this can go on after its event loop: each connection has a thread, so yes."""
        if self.read_lock is not None:
            self.read_lock = asyncio.Lock()
        return True

    async def migrate(self, work: Callable[[sa.Connection], Any]) -> None:
        """Run work on the schema, on the connection that writes."""
        if self._connection is not None:
            await self._connection.run_sync(work)
        else:
            async with self._writers.connect() as connection:
                await connection.run_sync(work)

    async def transact(self, make: Callable[[], Steps[_T]], *, large: bool = False) -> _T:  # noqa: ARG002
        """Run steps in one hop: BEGIN IMMEDIATE, all statements, COMMIT.

        Nothing can interrupt a hop, so a cancelled caller leaves no open transaction, and a hop
        costs as much as several statements.
        """
        if self.read_lock is None:
            return await self._hop(self._raw, make)
        async with self.read_lock, self._writers.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            return await self._hop(raw, make)

    async def _hop(self, raw: Any, make: Callable[[], Steps[_T]]) -> _T:
        # aiosqlite has no public call that runs a function on its thread; each of its statements
        # is a hop of its own, three times as dear for a batch of ten.
        done: _T = await raw._execute(_transaction, raw._conn, make, self._file)  # noqa: SLF001
        return done

    async def close(self) -> None:
        """Close all connections."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = self._raw = None
        await self._writers.dispose()
        if self.readers is not self._writers:
            await self.readers.dispose()


class _File:
    """The file that was opened, to notice when another or none is in its place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = self._look()

    def check(self) -> None:
        """Raise `BackendError` if the file was deleted or replaced.

        In WAL mode SQLite says nothing: a commit into a deleted file succeeds, and is gone.
        """
        if self._look() != self._inode:
            raise BackendError(
                f"{self._path}: the file was deleted or replaced while it was open, so what is "
                f"written to it is lost; put it back or leave a new one to be made, and start again"
            )

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - for each batch, and at half the price
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _transaction(
    connection: sqlite3.Connection, make: Callable[[], Steps[_T]], file: _File | None
) -> _T:
    # An error keeps this frame alive, and an open cursor would keep the file open.
    cursor = connection.cursor()
    try:
        cursor.execute("BEGIN IMMEDIATE")
        steps, answer = make(), None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as finished:
                result: _T = finished.value
                break
            if isinstance(step, Do):
                _do(cursor, step.statement, step.rows)
                answer = None
            else:
                answer = cursor.execute(step.text, step.parameters).fetchall()
        cursor.execute("COMMIT")
        if file is not None:
            file.check()  # after the commit: it may be deleted up to the very moment we answer
    except BaseException:
        if connection.in_transaction:
            cursor.execute("ROLLBACK")
        raise
    finally:
        cursor.close()
    return result


def _do(cursor: sqlite3.Cursor, statement: Statement, rows: Sequence[Row]) -> None:
    # Each call lets go of Python's lock and wants it back, which another thread may hold; and
    # each row alone costs a quarter more. So rows go in by `MANY`, and what is left by one.
    whole = len(rows) - len(rows) % MANY if statement.of_many else 0
    for start in range(0, whole, MANY):
        cursor.execute(statement.of_many, [*chain.from_iterable(rows[start : start + MANY])])
    if whole < len(rows):
        cursor.executemany(statement.text, rows[whole:])


class PostgresTransport:
    """A Postgres server, through asyncpg. Readers never take the connection that writes."""

    read_lock = None
    on_loop = True

    def __init__(self, url: sa.URL) -> None:
        self._url = url
        self._writers = engines.postgresql(url, 1)
        self.readers = engines.postgresql(url, 4)
        self.dialect = self._writers.dialect

    async def connect(self) -> None:
        """Reach the server once, so that a wrong URL is found at `open`."""
        await asyncio.to_thread(check_files, self._url)
        async with self._writers.connect():
            pass

    async def give_back_space(self) -> int:
        """Nothing to do: the server keeps what was freed for what comes next."""
        return 0

    def leave_loop(self) -> bool:
        """Say whether this can go on after its event loop: connections belong to it, so no."""
        for engine in (self._writers, self.readers):
            engine.sync_engine.dispose(close=False)  # to close them would need the loop
        return False

    async def migrate(self, work: Callable[[sa.Connection], Any]) -> None:
        """Run work on the schema."""
        async with self._writers.connect() as connection:
            await connection.run_sync(work)

    async def transact(self, make: Callable[[], Steps[_T]], *, large: bool = False) -> _T:
        """Run steps in a transaction. A connection whose state is unknown is thrown away.

        Steps that handle much data (`large`) make it in a thread, and it is sent bit by bit.
        """
        async with self._writers.connect() as connection:
            raw: Any = (await connection.get_raw_connection()).driver_connection
            try:
                async with raw.transaction():
                    return await (_run_large if large else _run)(raw, make())
            except BaseException as error:
                if not _still_sound(raw, error):
                    raw.terminate()
                    await connection.invalidate()
                raise

    async def close(self) -> None:
        """Close all connections."""
        await self._writers.dispose()
        await self.readers.dispose()


async def _run(raw: Any, steps: Steps[_T]) -> _T:
    answer: Any = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as finished:
            result: _T = finished.value
            return result
        if not isinstance(step, Do):
            answer = await raw.fetch(step.text, *step.parameters)
            continue
        if step.statement.table is not None and len(step.rows) >= COPY_ROWS:
            await raw.copy_records_to_table(
                step.statement.table, columns=step.statement.columns, records=step.rows
            )
        else:
            await raw.executemany(step.statement.text, step.rows)
        answer = None


async def _run_large(raw: Any, steps: Steps[_T]) -> _T:
    """Do what `_run` does, without holding the event loop up."""
    answer: Any = None
    while True:
        step = await asyncio.to_thread(_advance, steps, answer)
        if isinstance(step, _Finished):
            result: _T = step.value
            return result
        if not isinstance(step, Do):
            answer = await raw.fetch(step.text, *step.parameters)
            continue
        if step.statement.table is not None:
            await raw.copy_records_to_table(
                step.statement.table, columns=step.statement.columns, records=_slowly(step.rows)
            )
        else:
            for row in step.rows:
                await raw.execute(step.statement.text, *row)
        answer = None


class _Finished(NamedTuple):
    """What steps returned. A StopIteration can't leave a thread."""

    value: Any


def _advance(steps: Steps[Any], answer: Any) -> Step | _Finished:
    try:
        return steps.send(answer)
    except StopIteration as finished:
        return _Finished(finished.value)


async def _slowly(rows: Sequence[Row]) -> AsyncIterator[Row]:
    """Give rows; the driver, which encodes them at once, pauses between slices."""
    size = count = 0
    for row in rows:
        yield row
        count += 1
        size += sum(len(value) for value in row if isinstance(value, str))
        if size >= _SLICE_BYTES or count >= _SLICE_ROWS:
            size = count = 0
            await asyncio.sleep(0)


def _still_sound(raw: Any, error: BaseException) -> bool:
    """Say whether a connection is usable: the server answered, or we did, and it rolled back."""
    answered = getattr(error, "sqlstate", None) is not None or isinstance(error, TrajectoryError)
    return answered and not raw.is_closed() and not raw.is_in_transaction()


Transport = SqliteTransport | PostgresTransport
"""One database: `connect`, `leave_loop`, `migrate`, `transact`, `close`, and an engine for readers.

`on_loop` says that `transact` makes rows on the event loop, but for those of a large batch.
`read_lock` is held for each transaction of a reader where readers share the writer's connection.
"""


def transport(url: sa.URL) -> Transport:
    """Make the transport of a URL."""
    return SqliteTransport(url) if url.get_backend_name() == "sqlite" else PostgresTransport(url)
