"""Connections: how each database is opened, and what is set on every connection."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from trajectory.backends.sql.standing import PLACE, place
from trajectory.backends.sql.types import dump_json
from trajectory.backends.sql.urls import MEMORY, connect_arguments
from trajectory.errors import ConfigurationError

BUSY_TIMEOUT_S: Final = 2
"""How long a write waits for another process's before it counts as unavailable and is tried again.

Short, since a connection that waits for a lock can't be closed.
"""

COMMAND_TIMEOUT_S: Final = 30
"""Without it, a server that is frozen would hold the writer for ever."""

APPLICATION_ID: Final = 0x54524A59
"""Says in the header of a SQLite file whose it is: "TRJY"."""

_FILE_PRAGMAS: Final = (
    # Kept in the file. The first is only possible while the file is empty, which it no longer is
    # after the second.
    "PRAGMA auto_vacuum=INCREMENTAL",  # so that pruning can give space back later
    f"PRAGMA application_id={APPLICATION_ID}",
)
_FILE_IN_WAL: Final = (
    "PRAGMA journal_mode=WAL",  # readers and the writer don't wait for each other
)
_CONNECTION_PRAGMAS: Final = (
    "PRAGMA foreign_keys=ON",  # off by default, for each connection anew
)
_READER_PRAGMAS: Final = ("PRAGMA query_only=ON",)


def sqlite_writer(url: sa.URL) -> AsyncEngine:
    """Make the engine of the one connection that writes.

    Its transactions begin with BEGIN IMMEDIATE: a transaction that reads first and then wants to
    write fails at once beside another writer, whatever the busy timeout is.
    """
    engine = _sqlite(url, 1, _CONNECTION_PRAGMAS)
    sa.event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def sqlite_readers(url: sa.URL) -> AsyncEngine:
    """Make the engine of connections that only read, each transaction one snapshot."""
    engine = _sqlite(url, 4, _CONNECTION_PRAGMAS + _READER_PRAGMAS)
    sa.event.listen(engine.sync_engine, "begin", _begin)
    return engine


def sqlite_onlookers(url: sa.URL, *, immutable: bool = False) -> AsyncEngine:
    """Make the engine of connections to a file that SQLite itself opens read-only.

    With `immutable`, SQLite makes no file beside it and takes no locks, for as long as no writer's
    log is there.
    """
    path = Path(url.database or "").absolute()
    engine = _sqlite(
        url.set(database=path.as_uri(), query={"mode": "ro", "uri": "true"}),
        4,
        _CONNECTION_PRAGMAS + _READER_PRAGMAS,
        # What is kept open would not notice a writer.
        {"poolclass": NullPool} if immutable else None,
        execution_options={PLACE: place(url)},
    )
    sa.event.listen(engine.sync_engine, "begin", _begin)
    if immutable:

        def unless_written(_dialect: Any, _record: Any, arguments: list[Any], _named: Any) -> None:
            if not log_of(path).exists():
                arguments[0] += "&immutable=1"

        sa.event.listen(engine.sync_engine, "do_connect", unless_written)
    return engine


def log_of(path: Path) -> Path:
    """Name the write-ahead log of a file: SQLite keeps it beside the file that a link names."""
    file = path.resolve()
    return file.with_name(f"{file.name}-wal")


def _sqlite(
    url: sa.URL,
    size: int,
    pragmas: tuple[str, ...],
    pool: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncEngine:
    # Not StaticPool: two users of one connection roll each other's transactions back.
    queue = {"poolclass": AsyncAdaptedQueuePool, "pool_size": size, "max_overflow": 0}
    engine = create_async_engine(
        url,
        hide_parameters=True,
        json_serializer=dump_json,
        connect_args={"timeout": BUSY_TIMEOUT_S},
        **(pool or queue),
        **options,
    )

    def prepare(connection: Any, _record: Any) -> None:
        # The driver would begin transactions by itself, but not before reads, savepoints or DDL.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        # What the file's journal mode needs to keep its promise: in WAL a commit outlives the
        # process without a sync of its own; the rollback journal is only sound with them.
        cursor.execute("PRAGMA journal_mode")
        wal = cursor.fetchone()[0] == "wal"
        cursor.execute(f"PRAGMA synchronous={'NORMAL' if wal else 'FULL'}")
        cursor.close()

    sa.event.listen(engine.sync_engine, "connect", prepare)
    return engine


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def postgresql(url: sa.URL, connections: int) -> AsyncEngine:
    """Make an engine for a Postgres server, of so many connections at most."""
    plain, arguments = connect_arguments(url)
    engine = create_async_engine(
        plain,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        json_serializer=dump_json,
        connect_args={"command_timeout": COMMAND_TIMEOUT_S, "timeout": 10, **arguments},
        execution_options={PLACE: place(url)},
    )
    sa.event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def _refuse_closed(connection: Any, _record: Any, _proxy: Any) -> None:
    """Renew the pool when the server has closed a connection in it: a look, no round trip.

    Else each connection of before a restart would cost a failed batch.
    """
    if connection.driver_connection.is_closed():
        raise sa.exc.InvalidatePoolError


def is_memory(url: sa.URL) -> bool:
    """Say whether the URL names a SQLite database in memory."""
    return url.get_backend_name() == "sqlite" and url.database == MEMORY


def prepare_file(path: Path, *, wal: bool = True) -> bool:
    """Make sure that a SQLite file can be written; say whether it is new (made here, or empty).

    A new one is private (0600, and so are the files that SQLite makes beside it) and in WAL mode,
    unless `wal` is false.
    Raises `ConfigurationError` with what to do.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigurationError(f"the folder {folder} does not exist; make it, or change the path")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        _refuse_unusable(path)
        if path.stat().st_size:
            return False
    except OSError as error:
        raise ConfigurationError(
            f"can't make the file {path}: {error.strerror}; change its folder's permissions or the "
            f"path"
        ) from error
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        for pragma in _FILE_PRAGMAS + (_FILE_IN_WAL if wal else ()):
            with suppress(sqlite3.OperationalError):  # another process makes the file as well
                connection.execute(pragma)
    finally:
        connection.close()
    return True


def _refuse_unusable(path: Path) -> None:
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder; name a file in it")
    # The file is not opened here: to close it would drop every lock that SQLite holds on it in this
    # process, and another one could take the WAL away under our writer.
    if not os.access(path, os.R_OK | os.W_OK):
        raise ConfigurationError(
            f"can't write to the file {path}; change its permissions or the path"
        )
    if not os.access(path.absolute().parent, os.W_OK):
        raise ConfigurationError(
            f"can't write in the folder of {path}, where SQLite keeps its journal; change its "
            f"permissions or the path"
        )
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            connection.execute("PRAGMA schema_version")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname == "SQLITE_NOTADB":
                raise ConfigurationError(
                    f"{path} is not a SQLite file; nothing was changed; name another"
                ) from None
            # Else it is one, and whoever opens it next says what is wrong with it.
