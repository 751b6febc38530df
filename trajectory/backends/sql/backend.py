"""`SqlBackend`: turns in SQLite or Postgres."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any, Self
from uuid import UUID

import sqlalchemy as sa

from trajectory import migrations
from trajectory.backend import Batch, Capabilities, Survives
from trajectory.backends.sql.engine import APPLICATION_ID
from trajectory.backends.sql.reading import Reader
from trajectory.backends.sql.standing import check_sync, place
from trajectory.backends.sql.statements import Statements
from trajectory.backends.sql.translate import (
    is_foreign_key_violation,
    is_unique_violation,
    translated,
)
from trajectory.backends.sql.transports import SqliteTransport, transport
from trajectory.backends.sql.urls import identity, normalise, require_driver
from trajectory.backends.sql.writing import CHUNK, KnownIds, Steps, Written, write_steps
from trajectory.errors import BackendError
from trajectory.models import Trajectory, Turn
from trajectory.query import TrajectoryQuery, TurnQuery

_log = logging.getLogger(__name__)

_TRIES = 5
"""How often a batch is written again when others take its keys between a look and an insert."""


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
        self._transport = transport(self._url)
        self._statements = Statements(self._transport.dialect)
        self._reader = Reader(self._transport, self._where)
        self._known = KnownIds()
        self._opening = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._is_open = False
        self._wal = False
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
            return Capabilities(survives=Survives.POWER_LOSS, identity=where)
        if self._transport.path is None:
            return Capabilities(survives=Survives.NOTHING)
        survives = Survives.PROCESS_CRASH if self._wal else Survives.POWER_LOSS
        return Capabilities(survives=survives, identity=os.path.realpath(self._transport.path))

    async def open(self) -> None:
        """Connect, and check the schema; a new SQLite file gets it."""
        async with self._opening:
            if self._is_open:
                return
            try:
                with translated(self._where):
                    await self._transport.connect()
                    await self._transport.migrate(self._prepare)
            except BaseException:
                await self._transport.close()
                raise
            self._is_open = True

    def _prepare(self, connection: sa.Connection) -> None:
        if isinstance(self._transport, SqliteTransport):
            if self._transport.is_new or _is_unfinished(connection):
                migrations.upgrade_sync(connection)
            mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
            self._wal = mode == "wal"
            connection.rollback()
        check_sync(connection)

    async def write(self, batch: Batch, /) -> None:
        """Store a batch: all or nothing, idempotent by key."""
        self._require_open()
        async with self._writing:
            with translated(self._where):
                written = await self._write(batch)
        self._known.add(written.trajectories)
        for id_, names in written.differing:
            self.merge_conflicts += len(names)
            _log.warning(
                "trajectory %s: a second, different value for %s was not stored",
                id_,
                ", ".join(names),
            )

    async def _write(self, batch: Batch) -> Written:
        careful = False
        for _try in range(_TRIES):

            def steps(careful: bool = careful) -> Steps[Written]:  # noqa: FBT001
                return write_steps(self._statements, batch, self._known, careful=careful)

            try:
                return await self._transport.transact(steps)
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
                with translated(self._where):
                    deleted += await self._transport.transact(steps)
            self._known.forget()
        return deleted

    async def close(self) -> None:
        """Let go of all connections. Safe twice; `open` may follow, in another event loop too."""
        self._is_open = False
        self._known.forget()
        # A lock belongs to the event loop in which it was first waited for.
        self._opening, self._writing = asyncio.Lock(), asyncio.Lock()
        await self._transport.close()

    def _require_open(self) -> None:
        if not self._is_open:
            raise BackendError(f"{self._where}: not open; call open() first")


def _is_unfinished(connection: sa.Connection) -> bool:
    """Say whether a file was just made for us, and has no schema yet.

    Its maker is another process, which is at work on it or was killed.
    """
    mark = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    connection.rollback()
    missing = migrations.Standing.MISSING
    return mark == APPLICATION_ID and migrations.look(connection).standing is missing
