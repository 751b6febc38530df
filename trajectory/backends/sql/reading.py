"""How trajectories and turns are read: page by page, each page one snapshot, in a total order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from trajectory.backends.sql.rows import CHILD_TABLES, as_trajectory, as_turns
from trajectory.backends.sql.statements import TRAJECTORIES, TURNS
from trajectory.backends.sql.translate import translated
from trajectory.backends.sql.transports import Transport
from trajectory.models import Trajectory, Turn
from trajectory.query import TrajectoryQuery, TurnQuery

PAGE = 500
"""Rows in memory at a time."""

_Conditions = list[sa.ColumnElement[bool]]
_Page = tuple[Sequence[Any], dict[str, Any]]
"""Rows, and by the field of `Turn` the rows of their children."""


class Reader:
    """Reads from one database."""

    def __init__(self, transport: Transport, where: str) -> None:
        self._transport = transport
        self._where = where
        self._dialect: str = transport.dialect.name

    async def trajectories(self, query: TrajectoryQuery) -> AsyncIterator[Trajectory]:
        """Stream trajectories in the query's order."""
        table = TRAJECTORIES
        order = (table.c.created_at, table.c.id)
        conditions = _conditions(query, table.c.id, table.c.created_at, self._dialect)
        left = query.limit
        after: Any = query.after
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            statement = sa.select(table).where(*conditions)
            statement = _page(statement, order, after, size, descending=query.descending)
            rows, _ = await self._fetch(statement)
            for row in rows:
                yield as_trajectory(row)
            if len(rows) < size:
                return
            left = None if left is None else left - size
            after = (rows[-1]["created_at"], rows[-1]["id"])

    async def turns(self, query: TurnQuery) -> AsyncIterator[Turn]:
        """Stream turns, each with its children and all its facts, in the query's order."""
        order = (TURNS.c.trajectory_id, TURNS.c.turn_number)
        conditions = _conditions(query, TURNS.c.trajectory_id, TURNS.c.created_at, self._dialect)
        left = query.limit
        after: Any = query.after
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            statement = sa.select(TURNS).where(*conditions)
            statement = _page(statement, order, after, size, descending=query.descending)
            rows, children = await self._fetch(statement, conditions)
            turns = as_turns(rows, children)
            for turn in turns:
                yield turn
            if len(rows) < size:
                return
            left = None if left is None else left - size
            after = turns[-1].key

    async def _fetch(self, page: sa.Select[Any], conditions: _Conditions | None = None) -> _Page:
        """Fetch a page, and what belongs to its turns where the query's filters are given."""
        if self._transport.read_lock is None:
            return await self._read(page, conditions)
        # A statement that is cancelled takes its connection with it. In memory that would be the
        # database, so a cancelled caller waits for the page, which takes milliseconds.
        reading = asyncio.ensure_future(self._read(page, conditions))
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            while not reading.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({reading})
            raise

    async def _read(self, page: sa.Select[Any], conditions: _Conditions | None) -> _Page:
        async with self._snapshot() as connection:
            rows = (await connection.execute(page)).mappings().all()
            if not rows or conditions is None:
                return rows, {}
            return rows, await _children(connection, rows, conditions)

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
                    yield connection
        finally:
            if lock is not None:
                lock.release()


async def _children(
    connection: AsyncConnection, rows: Any, conditions: _Conditions
) -> dict[str, Any]:
    """Read what belongs to a page of turns: by the range of its keys, and the query's filters."""
    keys = sorted((row["trajectory_id"], row["turn_number"]) for row in (rows[0], rows[-1]))
    children = {}
    for name, table in CHILD_TABLES.items():
        key = sa.tuple_(table.c.trajectory_id, table.c.turn_number)
        turn = sa.and_(
            table.c.trajectory_id == TURNS.c.trajectory_id,
            table.c.turn_number == TURNS.c.turn_number,
        )
        statement = (
            sa.select(table)
            .join(TURNS, turn)
            .where(key >= _literal(keys[0]), key <= _literal(keys[-1]), *conditions)
            .order_by(*table.primary_key)
        )
        children[name] = (await connection.execute(statement)).mappings().all()
    return children


def _literal(key: tuple[Any, ...]) -> Any:
    types = (TURNS.c.trajectory_id.type, TURNS.c.turn_number.type)
    return sa.tuple_(*map(sa.literal, key, types))


def _conditions(
    query: TurnQuery | TrajectoryQuery,
    id_: sa.ColumnElement[Any],
    created_at: sa.Column[Any],
    dialect: str,
) -> _Conditions:
    conditions: _Conditions = []
    if query.ids is not None:
        conditions.append(_among(id_, query.ids, dialect))
    if query.since is not None:
        conditions.append(created_at >= query.since)
    if query.until is not None:
        conditions.append(created_at < query.until)
    return conditions


def _among(id_: sa.ColumnElement[Any], ids: Sequence[UUID], dialect: str) -> Any:
    """Say that an id is one of many, in one parameter: statements take only so many."""
    if dialect == "postgresql":
        return id_ == sa.any_(sa.literal(list(ids), sa.ARRAY(sa.Uuid)))
    listed = sa.func.json_each(json.dumps([each.hex for each in ids])).table_valued("value")
    return id_.in_(sa.select(sa.cast(listed.c.value, sa.Text)))


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
