"""Bring the schema of a database to where this version needs it, and say where it is.

A migration is one transaction: after an error or a kill the database is as it was. With it go the
revision and the oldest revision whose programs may still write (`backends/sql/standing.py`).
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from trajectory.backends.sql import deploy_lock, standing
from trajectory.backends.sql.deploy_lock import refuse_transaction
from trajectory.backends.sql.engine import BUSY_TIMEOUT_S, prepare_file
from trajectory.backends.sql.journal_mode import set_wal
from trajectory.backends.sql.standing import (
    HEAD,
    Schema,
    Standing,
    check_sync,
    look,
    place,
    problem,
)
from trajectory.backends.sql.translate import translated
from trajectory.backends.sql.turnstile import MIGRATIONS
from trajectory.backends.sql.urls import connect_arguments, normalise, require_driver
from trajectory.errors import ConfigurationError, SchemaError

if TYPE_CHECKING:
    from trajectory.backends.sql.environment import Environment

__all__ = [
    "HEAD",
    "Schema",
    "Standing",
    "check",
    "check_async",
    "check_sync",
    "current",
    "current_async",
    "look",
    "masked",
    "run_at",
    "script",
    "upgrade",
    "upgrade_async",
    "upgrade_sync",
]

T = TypeVar("T")


def upgrade(url: str, *, wal: bool | None = None) -> Schema:
    """Create or upgrade the schema of a database, and say where it is then.

    Safe to repeat, and to run in many processes at once: one migrates, the others wait for it, up
    to ten minutes. A schema that is newer by additions only stays as it is. `wal` sets the journal
    mode of a SQLite file as the last step: True for the write-ahead log, False for the rollback
    journal, None to leave it.

    Raises `SchemaError` for a schema that can't be brought to head, `ConfigurationError` for a URL
    or path that can't be used. Not for use on a running event loop: that has `upgrade_async`.
    """
    return _run(upgrade_async(url, wal=wal), "upgrade_async")


async def upgrade_async(url: str, *, wal: bool | None = None) -> Schema:
    """Do what `upgrade` does, on the running event loop."""
    target = normalise(url)
    if wal is not None:
        _refuse_wal_elsewhere(target)

    def work(connection: sa.Connection) -> Schema:
        upgrade_sync(connection)
        return check_sync(connection)

    found = await _connected(target, work, create=True)
    if wal is not None:
        await set_wal(str(target.database), on=wal)
    return found


def current(url: str, *, writing: bool = False) -> Schema:
    """Say where a database's schema is. Changes nothing, and creates no file.

    With `writing`, a schema that can be used is `Standing.READ_ONLY` where the role of the URL may
    not write to the tables, or the server takes no writes.
    """
    return _run(current_async(url, writing=writing), "current_async")


async def current_async(url: str, *, writing: bool = False) -> Schema:
    """Do what `current` does, on the running event loop."""
    target = normalise(url)
    if _is_absent(target):
        return _absent()
    return await _connected(target, partial(look, writing=writing))


def check(url: str) -> Schema:
    """Raise `SchemaError` unless this version and this role may write to the database.

    Changes nothing.

    The message names the revision found, the one needed and the command to run.
    """
    return _run(check_async(url), "check_async")


async def check_async(url: str) -> Schema:
    """Do what `check` does, on the running event loop."""
    found = await current_async(url, writing=True)
    if not found.usable:
        raise SchemaError(problem(found, masked(url)))
    return found


def masked(url: str) -> str:
    """Name a database the way it is given to `--db`, with the password masked."""
    return place(normalise(url))


def script(url: str) -> str:
    """Give the SQL that creates the schema in an empty database of the URL's kind. No connection.

    It is one transaction: feed it to `psql -v ON_ERROR_STOP=1` or `sqlite3 -bail`.
    """
    from trajectory.backends.sql.environment import run_offline, to_head

    output = io.StringIO()
    run_offline(to_head(output=output), normalise(url).get_backend_name())
    return output.getvalue()


def upgrade_sync(connection: sa.Connection) -> None:
    """Bring the database of a connection to head, in a committed transaction of its own.

    The promises of `upgrade`. The connection must not be in a transaction; it may be one within
    `run_sync` of an asynchronous connection.
    """
    refuse_transaction(connection)
    if not look(connection).usable:  # with nothing to do, Alembic is not even loaded
        from trajectory.backends.sql.environment import run_online, to_head

        run_online(to_head(), connection)
        check_sync(connection)


def run_at(environment: Environment, url: str, *, wal: bool | None, stamps: bool) -> None:
    """Run an Alembic command on the database of a URL, and then set its journal mode."""
    from trajectory.backends.sql.environment import goal_of, run_online

    target = normalise(url)
    goal = goal_of(environment)
    if wal is not None:
        _refuse_wal_elsewhere(target)
    if goal is None and _is_absent(target):
        raise SchemaError(problem(_absent(), place(target)))

    async def run() -> None:
        work = partial(run_online, environment, stamps=stamps)
        await _connected(target, work, create=goal is not None)
        if wal is not None:
            await set_wal(str(target.database), on=wal)

    asyncio.run(run())


def _refuse_wal_elsewhere(url: sa.URL) -> None:
    if not _is_file(url):
        raise ConfigurationError(
            f"{place(url)} is no SQLite file, so it has no journal mode to set; leave the wal "
            f"option out"
        )


def _run(work: Coroutine[Any, Any, T], name: str) -> T:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    work.close()
    raise RuntimeError(f"an event loop is running here, and would stand still; await {name}()")


def _is_absent(target: sa.URL) -> bool:
    return _is_file(target) and not Path(target.database or "").exists()


def _absent() -> Schema:
    return Schema(None, standing.HEAD, Standing.MISSING)


def _is_file(target: sa.URL) -> bool:
    return target.get_backend_name() == "sqlite" and target.database not in (None, "", ":memory:")


async def _connected(
    target: sa.URL, work: Callable[[sa.Connection], T], *, create: bool = False
) -> T:
    """Do some work on a connection of its own, and translate what goes wrong with the database."""
    require_driver(target)
    where = place(target)
    if _is_file(target):
        if create:
            prepare_file(Path(target.database or ""), wal=False)
        # A deploy waits as long as on Postgres: SQLite's lock is taken by the wait for it.
        arguments: dict[str, Any] = {"timeout": deploy_lock.WAIT_S if create else BUSY_TIMEOUT_S}
    elif target.get_backend_name() == "postgresql":
        target, arguments = connect_arguments(target)
    else:
        arguments = {}
    with translated(where):
        engine = create_async_engine(
            target,
            poolclass=NullPool,
            hide_parameters=True,
            connect_args=arguments,
            execution_options={standing.PLACE: where},
        )
        try:
            async with MIGRATIONS.one_at_a_time(), engine.connect() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()
