"""`SqlBackend`: turns in SQLite or Postgres."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import sqlalchemy as sa

from trajectory import migrations
from trajectory.backend import Batch, Capabilities, Survives
from trajectory.backends.sql.engine import APPLICATION_ID, is_memory
from trajectory.backends.sql.filters import PUSHED
from trajectory.backends.sql.read_only import only_reading
from trajectory.backends.sql.reading import Reader
from trajectory.backends.sql.silence import delete_silent_steps
from trajectory.backends.sql.standing import check_sync, place
from trajectory.backends.sql.statements import Statements
from trajectory.backends.sql.translate import (
    is_foreign_key_violation,
    is_unique_violation,
    translated,
)
from trajectory.backends.sql.transports import SqliteTransport, Transport, transport
from trajectory.backends.sql.turnstile import MIGRATIONS
from trajectory.backends.sql.urls import identity, normalise, require_driver
from trajectory.backends.sql.writing import CHUNK, KnownIds, Steps, Written, is_large, write_steps
from trajectory.counts import StoreStatistics, Totals
from trajectory.errors import BackendError
from trajectory.merge import warn_of_differing
from trajectory.models import Trajectory, Turn
from trajectory.query import TrajectoryQuery, TurnQuery
from trajectory.scoring.score import Counts
from trajectory.threads import to_its_end

_TRIES = 5
"""How often a batch is written again when others take its keys between a look and an insert."""


_of_parents: list[Transport] = []
"""Held for ever: to collect a connection would close it, under the parent that uses it."""


class SqlBackend:
    """Stores turns in SQLite or Postgres; the contract is in `trajectory.backend`.

    `url` is a SQLAlchemy URL, a path or `":memory:"`. A SQLite file is made when it isn't there,
    private and in WAL mode, and a new one is brought to the newest schema. A server's schema is
    checked and never changed.

    `merge_conflicts` counts fields for which a start or end brought a second, different value.
    """

    def __init__(self, url: str) -> None:
        self._url = normalise(url)
        require_driver(self._url)
        self._where = place(self._url)
        self._make = transport
        self._transport = self._make(self._url)
        self._statements = Statements(self._transport.dialect)
        self._reader = Reader(self._transport, self._where)
        self._known = KnownIds()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_open = False
        self._take_locks()
        self._wal = False
        self._syncs_commits = False
        self.merge_conflicts = 0

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Make the backend of a URL; no I/O."""
        return cls(url)

    def __repr__(self) -> str:
        return f"<SqlBackend {self._where}>"

    @property
    def capabilities(self) -> Capabilities:
        """What this database can do."""
        if not isinstance(self._transport, SqliteTransport):
            where = place(identity(self._url))
            return Capabilities(survives=Survives.POWER_LOSS, filters=PUSHED, identity=where)
        if self._transport.path is None:
            return Capabilities(survives=Survives.NOTHING, filters=PUSHED)
        lazy = self._wal and not self._syncs_commits
        survives = Survives.PROCESS_CRASH if lazy else Survives.POWER_LOSS
        where = os.path.realpath(self._transport.path)
        return Capabilities(survives=survives, filters=PUSHED, identity=where)

    def only_read(self) -> None:
        """From `open` on, read alone: nothing is made or changed, no right to write is needed.

        Call it before `open`. A database in memory has nothing to read, and is made as ever.
        """
        if is_memory(self._url):
            return
        self._make = only_reading
        self._transport = self._make(self._url)
        self._reader = Reader(self._transport, self._where)

    async def open(self) -> None:
        """Connect, and check the schema; a new SQLite file gets it."""
        self._join_loop()
        async with self._opening:
            if self._is_open:
                return
            if self._transport.on_loop:
                await self._connect()
            else:
                # Cancelled half-way, a connection to a file would stay open until it is collected.
                await to_its_end(asyncio.ensure_future(self._connect()))

    async def _connect(self) -> None:
        self._syncs_commits = False
        try:
            with translated(self._where):
                await self._transport.connect()
                async with MIGRATIONS.one_at_a_time():
                    await self._transport.migrate(self._prepare)
        except BaseException:
            await self._transport.close()
            raise
        self._is_open = True

    async def survive_power_loss(self) -> None:
        """From now on, a batch outlives a power loss once `write` has returned. Call it while open.

        In WAL mode SQLite leaves the sync for later, which makes a commit several times cheaper.
        """
        self._require_open()
        if isinstance(self._transport, SqliteTransport):
            with translated(self._where):
                await self._transport.sync_commits()
            self._syncs_commits = True

    def _prepare(self, connection: sa.Connection) -> None:
        if isinstance(self._transport, SqliteTransport):
            writes = self._make is transport
            if writes and (self._transport.is_new or _is_unfinished(connection)):
                migrations.upgrade_sync(connection)
            mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
            self._wal = mode == "wal"
            connection.rollback()
        check_sync(connection)

    async def write(self, batch: Batch, /) -> None:
        """Store a batch: all or nothing, idempotent by key."""
        self._require_open()
        async with self._writing:
            self._require_open()  # it may have been closed meanwhile
            with translated(self._where):
                written = await self._write(batch)
        self._known.add(written.trajectories)
        for id_, names in written.differing:
            self.merge_conflicts += len(names)
            warn_of_differing(id_, names)

    async def _write(self, batch: Batch) -> Written:
        careful = False
        large = self._transport.on_loop and is_large(batch)
        for _try in range(_TRIES):

            def steps(careful: bool = careful) -> Steps[Written]:  # noqa: FBT001
                return write_steps(self._statements, batch, self._known, careful=careful)

            try:
                return await self._transport.transact(steps, large=large)
            except Exception as error:
                if is_foreign_key_violation(error):
                    self._known.forget()  # somebody deleted a trajectory; write it again
                elif not is_unique_violation(error):
                    raise
                careful = True
                last = error
        raise last

    def read_trajectories(self, query: TrajectoryQuery, /) -> AsyncIterator[Trajectory]:
        """Stream trajectories in the query's order."""
        self._require_open()
        return self._reader.trajectories(query)

    def read_turns(self, query: TurnQuery, /) -> AsyncIterator[Turn]:
        """Stream turns, each with its children and all its facts, in the query's order."""
        self._require_open()
        return self._reader.turns(query)

    async def count(self) -> StoreStatistics:
        """Count what is stored, in one state of the database."""
        self._require_open()
        return await self._reader.count()

    async def count_turns(self, ids: Sequence[UUID], /) -> Mapping[UUID, Totals]:
        """Count what each of some trajectories has."""
        self._require_open()
        return await self._reader.count_turns(ids)

    async def count_findings(self, ids: Sequence[UUID], source: str, /) -> Mapping[UUID, Counts]:
        """Count the findings of one source in each of some trajectories."""
        self._require_open()
        return await self._reader.count_findings(ids, source)

    async def delete_trajectories(self, ids: Sequence[UUID], /) -> int:
        """Delete trajectories with all that belongs to them; say how many there were."""
        self._require_open()
        deleted = 0
        unique = list(dict.fromkeys(ids))
        for start in range(0, len(unique), CHUNK):
            chunk = unique[start : start + CHUNK]

            def steps(chunk: list[UUID] = chunk) -> Steps[int]:
                rows: list[Any] = yield self._statements.delete(chunk)
                return len(rows)

            async with self._writing:
                self._require_open()
                with translated(self._where):
                    deleted += await self._transport.transact(steps)
            self._known.forget()
        return deleted

    async def delete_silent(self, ids: Sequence[UUID], before: datetime, /) -> Sequence[UUID]:
        """Delete those trajectories of which nothing is as new as an instant; say which."""
        self._require_open()
        dialect = self._transport.dialect.name

        def steps() -> Steps[list[UUID]]:
            return delete_silent_steps(self._statements, ids, before, dialect)

        async with self._writing:
            self._require_open()
            with translated(self._where):
                gone = await self._transport.transact(steps)
        self._known.forget()
        return gone

    async def give_back_space(self) -> int:
        """Give free pages of a SQLite file back to the file system; say how many bytes.

        What was deleted leaves them behind. A server keeps its space for what comes next.
        """
        self._require_open()
        freed, some = 0, 1
        while some:
            async with self._writing:  # for each step anew: batches go in between
                self._require_open()
                with translated(self._where):
                    some = await self._transport.give_back_space()
            freed += some
        return freed

    async def close(self) -> None:
        """Let go of all connections, once what is being written is done.

        Safe twice, and while another task opens or writes; `open` may follow, in another event loop
        too.
        """
        if self._is_open and self._loop_is_over():
            self._transport.leave_loop()
            self._is_open = False
        self._join_loop()
        async with self._opening:
            self._is_open = False
            self._known.forget()
            async with self._writing:
                await self._transport.close()

    def forget(self) -> None:
        """In a forked child: leave the parent's connections alone; `open` makes others."""
        _of_parents.append(self._transport)
        self._transport = self._make(self._url)
        self._reader = Reader(self._transport, self._where)
        self._known.forget()
        self._take_locks()
        self._is_open = False

    def _require_open(self) -> None:
        if not self._is_open:
            raise BackendError(f"{self._where}: not open; call open() first")
        self._join_loop()

    def _join_loop(self) -> None:
        """Make sure that the running event loop is the one that this backend belongs to."""
        running = asyncio._get_running_loop()  # noqa: SLF001 - None where there is none
        if running is None or running is self._loop:
            return
        if self._is_open and not (self._loop_is_over() and self._transport.leave_loop()):
            raise BackendError(
                f"{self._where}: a backend belongs to the event loop in which it was opened, and "
                f"this is another; close() it there and open() it here, or make one for each"
            )
        self._loop = running
        self._take_locks()

    def _loop_is_over(self) -> bool:
        return self._loop is None or self._loop.is_closed()

    def _take_locks(self) -> None:
        # A lock belongs to the event loop in which it was first waited for.
        self._opening, self._writing = asyncio.Lock(), asyncio.Lock()


def _is_unfinished(connection: sa.Connection) -> bool:
    """Say whether a file was just made for us, and has no schema yet.

    Its maker is another process, which is at work on it or was killed.
    """
    mark = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    connection.rollback()
    missing = migrations.Standing.MISSING
    return mark == APPLICATION_ID and migrations.look(connection).standing is missing
