"""How trajectories and turns are read: page by page, each page one snapshot, in a total order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from trajectory.backends.sql.filters import (
    Conditions,
    among_turns,
    trajectory_conditions,
    turn_conditions,
)
from trajectory.backends.sql.grouping import finding_counts, turn_totals
from trajectory.backends.sql.rows import CHILD_TABLES, as_trajectory, as_turns
from trajectory.backends.sql.statements import QUESTIONS, TRAJECTORIES, TURNS, VIOLATIONS
from trajectory.backends.sql.translate import translated
from trajectory.backends.sql.transports import Transport
from trajectory.counts import StoreStatistics, Totals
from trajectory.models import Trajectory, Turn
from trajectory.query import TrajectoryQuery, TurnQuery
from trajectory.scoring.score import Counts, FindingCounter

PAGE = 500
"""Rows in a page, at most."""

_FIRST_PAGE = 64
_PAGE_BYTES = 8 * 1024 * 1024
"""About what a page may take in memory; the next one is made shorter or longer accordingly."""

_ROW_BYTES = 512
"""What a row takes beside its text and JSON."""

_SLICE = 200
"""Rows that are taken from a driver before others on the event loop have their turn."""

_AGAIN_S = 0.05
"""So soon a reading that was given up is interrupted again, if it had been between statements."""

_T = TypeVar("_T")
_Children = dict[str, list[Any]]
"""By the field of `Turn` the rows of a page's children."""


class Reader:
    """Reads from one database."""

    def __init__(self, transport: Transport, where: str) -> None:
        self._transport = transport
        self._where = where
        self._dialect: str = transport.dialect.name
        self._running: dict[asyncio.Task[Any] | None, AsyncConnection] = {}

    async def trajectories(self, query: TrajectoryQuery) -> AsyncIterator[Trajectory]:
        """Stream trajectories in the query's order."""
        table = TRAJECTORIES
        conditions = trajectory_conditions(query, self._dialect)
        pages = _Pages(table, (table.c.created_at, table.c.id), conditions, query)
        while (statement := pages.statement()) is not None:
            rows = await self._whole(self._read(statement))
            # In a thread: a page may take long to make.
            made, size = await asyncio.to_thread(_as_trajectories, rows)
            pages.read(rows, size)
            for each in made:
                yield each

    async def turns(self, query: TurnQuery) -> AsyncIterator[Turn]:
        """Stream turns, each with its children and all its facts, in the query's order."""
        table = TURNS
        conditions = turn_conditions(query, self._dialect)
        order = (table.c.trajectory_id, table.c.turn_number)
        pages = _Pages(table, order, conditions, query)
        while (statement := pages.statement()) is not None:
            # A page of few among many is looked up key by key, not by the range that it spans.
            rows, children = await self._whole(
                self._read_turns(statement, None if query.filters else conditions)
            )
            made, size = await asyncio.to_thread(_as_turns, rows, children)
            pages.read(rows, size)
            for each in made:
                yield each

    async def count(self) -> StoreStatistics:
        """Count what is stored, in one state of the database."""
        rows = await self._whole(self._read(_COUNT))
        return StoreStatistics(**rows[0])

    async def count_turns(self, ids: Sequence[UUID]) -> dict[UUID, Totals]:
        """Count what each of some trajectories has."""
        statement = turn_totals(ids, self._dialect)
        rows = await self._whole(self._read(statement))
        return {row["trajectory_id"]: _totals(row) for row in rows}

    async def count_findings(self, ids: Sequence[UUID], source: str) -> dict[UUID, Counts]:
        """Count the findings of one source in each of some trajectories."""
        rows = await self._whole(self._read(finding_counts(ids, source, self._dialect)))
        counters: dict[UUID, FindingCounter] = {}
        for row in rows:
            counter = counters.setdefault(row["trajectory_id"], FindingCounter(source))
            if row["preference_name"] is None:
                counter.add_questions(row["level"], row["number"])
            else:
                counter.add_violations(row["level"], row["preference_name"], row["number"])
        return {id_: counter.counts() for id_, counter in counters.items()}

    async def _whole(self, reading: Coroutine[Any, Any, _T]) -> _T:
        if self._transport.on_loop:
            return await reading
        # A statement that is cancelled takes its connection with it: of a file that leaves it
        # open, in memory it would be the database. So a cancelled caller waits for the page; SQLite
        # is told to break off, since it may look for a rare text for minutes.
        task = asyncio.ensure_future(reading)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            while not task.done():
                await self._interrupt(task)
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({task}, timeout=_AGAIN_S)
            if not task.cancelled():
                task.exception()  # heard: who was cancelled has no use for it
            raise

    async def _interrupt(self, task: asyncio.Future[Any]) -> None:
        """Break a statement off, unless its connection is the writer's too."""
        connection = self._running.get(task)  # type: ignore[call-overload]
        if connection is not None and self._transport.read_lock is None:
            raw = connection.sync_connection
            if raw is not None and not raw.invalidated:
                await raw.connection.driver_connection.interrupt()  # at once: no hop

    async def _read(self, statement: sa.Executable) -> list[dict[str, Any]]:
        async with self._snapshot() as connection:
            return await _rows(connection, statement)

    async def _read_turns(
        self, page: sa.Select[Any], conditions: Conditions | None
    ) -> tuple[list[Any], _Children]:
        async with self._snapshot() as connection:
            rows = await _rows(connection, page)
            return rows, await _children(connection, rows, conditions) if rows else {}

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction that sees one state of the database."""
        lock = self._transport.read_lock
        if lock is not None:
            await lock.acquire()
        try:
            with translated(self._where):
                async with self._transport.readers.connect() as connection:
                    if connection.dialect.name == "postgresql":
                        await connection.execution_options(
                            isolation_level="REPEATABLE READ", postgresql_readonly=True
                        )
                    task = asyncio.current_task()
                    self._running[task] = connection
                    try:
                        yield connection
                    finally:
                        # Before the rollback, which is not to be broken off.
                        del self._running[task]
        finally:
            if lock is not None:
                lock.release()


class _Pages:
    """Cuts what a query reads into pages, none of which takes too much memory."""

    def __init__(
        self,
        table: sa.Table,
        order: tuple[sa.Column[Any], ...],
        conditions: Conditions,
        query: TurnQuery | TrajectoryQuery,
    ) -> None:
        self._select = sa.select(table).where(*conditions)
        self._order = order
        self._descending = query.descending
        self._after: tuple[Any, ...] | None = query.after
        self._left = query.limit
        self._size = _FIRST_PAGE
        self._asked = 0
        self._done = query.limit == 0

    def statement(self) -> sa.Select[Any] | None:
        """Give the SELECT of the next page; None after the last."""
        if self._done:
            return None
        self._asked = self._size if self._left is None else min(self._size, self._left)
        return _page(
            self._select, self._order, self._after, self._asked, descending=self._descending
        )

    def read(self, rows: Sequence[Any], size: int) -> None:
        """Note the rows of a page, and how many bytes it took with all that belongs to it."""
        if self._left is not None:
            self._left -= len(rows)
        self._done = len(rows) < self._asked or self._left == 0
        if not self._done:
            self._after = tuple(rows[-1][column.name] for column in self._order)
            fitting = len(rows) * _PAGE_BYTES // size
            self._size = max(1, min(PAGE, 4 * self._size, fitting))


def _totals(row: dict[str, Any]) -> Totals:
    tokens = None
    if row["tokens_low"] is not None:
        tokens = (int(row["tokens_high"]) << 32) + int(row["tokens_low"])
    return Totals(row["turns"], tokens, row["last_turn_at"])


def _as_trajectories(rows: list[Any]) -> tuple[list[Trajectory], int]:
    return [as_trajectory(row) for row in rows], _bytes(rows)


def _as_turns(rows: list[Any], children: _Children) -> tuple[list[Turn], int]:
    return as_turns(rows, children), sum(map(_bytes, children.values()), _bytes(rows))


def _bytes(rows: list[dict[str, Any]]) -> int:
    """Estimate what rows take in memory."""
    size = _ROW_BYTES * len(rows)
    for row in rows:
        for value in row.values():
            kind = type(value)
            if kind is str:
                size += len(value)
            elif kind is dict or kind is list:
                size += _json_bytes(value)
    return size


def _json_bytes(value: Any) -> int:
    """Estimate what JSON takes; the first member of a list stands for the others."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return 16 * len(value) + sum(map(_json_bytes, value.values()))
    if isinstance(value, list) and value:
        return len(value) * (16 + _json_bytes(value[0]))
    return 0


async def _rows(connection: AsyncConnection, statement: sa.Executable) -> list[dict[str, Any]]:
    """Execute a statement, and take its rows slice by slice."""
    result = await connection.execute(statement)
    names = tuple(result.keys())
    rows: list[dict[str, Any]] = []
    while part := result.fetchmany(_SLICE):
        # Plain dicts: SQLAlchemy's mappings take longer to make and to read.
        rows += [dict(zip(names, row, strict=True)) for row in part]
        await asyncio.sleep(0)
    return rows


async def _children(
    connection: AsyncConnection, rows: list[Any], conditions: Conditions | None
) -> _Children:
    """Read what belongs to a page of turns.

    By the range of its keys and the query's conditions; without conditions, by its keys alone.
    """
    keys = [(row["trajectory_id"], row["turn_number"]) for row in rows]
    first, last = sorted((keys[0], keys[-1]))
    children = {}
    for name, table in CHILD_TABLES.items():
        key = sa.tuple_(table.c.trajectory_id, table.c.turn_number)
        statement = sa.select(table).order_by(*table.primary_key)
        if conditions is None:
            statement = statement.where(among_turns(table, keys, connection.dialect.name))
        else:
            turn = sa.and_(
                table.c.trajectory_id == TURNS.c.trajectory_id,
                table.c.turn_number == TURNS.c.turn_number,
            )
            statement = statement.join(TURNS, turn).where(
                key >= _literal(first), key <= _literal(last), *conditions
            )
        children[name] = await _rows(connection, statement)
    return children


def _literal(key: tuple[Any, ...]) -> Any:
    types = (TURNS.c.trajectory_id.type, TURNS.c.turn_number.type)
    return sa.tuple_(*map(sa.literal, key, types))


def _page(
    statement: sa.Select[Any],
    order: tuple[sa.ColumnElement[Any], ...],
    after: tuple[Any, ...] | None,
    size: int,
    *,
    descending: bool,
) -> sa.Select[Any]:
    """Order a statement and cut a page out: so many rows behind a place, without counting them."""
    if after is not None:
        place = sa.tuple_(
            *(sa.literal(value, column.type) for value, column in zip(after, order, strict=True))
        )
        key = sa.tuple_(*order)
        statement = statement.where(key < place if descending else key > place)
    columns = [column.desc() for column in order] if descending else list(order)
    return statement.order_by(*columns).limit(size)


_COUNT = sa.select(
    *(
        sa.select(sa.func.count()).select_from(table).scalar_subquery().label(name)
        for name, table in zip(
            StoreStatistics._fields, (TRAJECTORIES, TURNS, QUESTIONS, VIOLATIONS), strict=True
        )
    )
)
