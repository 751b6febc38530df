"""Databases that are only read: no connection that could write is ever opened."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import sqlalchemy as sa

from trajectory.backends.sql import engine as engines
from trajectory.backends.sql.transports import PostgresTransport, SqliteTransport, Transport
from trajectory.backends.sql.urls import check_files
from trajectory.backends.sql.writing import Steps
from trajectory.errors import BackendError, ConfigurationError

_T = TypeVar("_T")

_NEEDS_FOLDER: Final = ("SQLITE_READONLY_DIRECTORY", "SQLITE_CANTOPEN", "SQLITE_READONLY_CANTINIT")
"""What SQLite says of a file in WAL mode whose log it can't make."""


def only_reading(url: sa.URL) -> Transport:
    """Make the transport of a URL, of no database in memory, that only reads."""
    return SqliteReading(url) if url.get_backend_name() == "sqlite" else PostgresReading(url)


def _refuse(where: object) -> NoReturn:
    raise BackendError(f"{where}: opened to be read alone; open it without read_only to write")


class SqliteReading(SqliteTransport):
    """A SQLite file that SQLite itself opens read-only; neither it nor its folder need be writable.

    Opening and closing it changes no byte of the file. Where the folder is writable, SQLite leaves
    the empty log of a file in WAL mode beside it.
    """

    def __init__(self, url: sa.URL) -> None:
        super().__init__(url)
        self._url = url
        self.readers = engines.sqlite_onlookers(url)
        self.is_new = False

    async def connect(self) -> None:
        """Look whether the file can be read, and how it has to be opened for that."""
        if self.path is not None and await asyncio.to_thread(_needs_folder, self.path):
            await self.readers.dispose()
            self.readers = engines.sqlite_onlookers(self._url, immutable=True)

    async def migrate(self, work: Callable[[sa.Connection], Any]) -> None:
        """Run a look at the schema."""
        async with self.readers.connect() as connection:
            await connection.run_sync(work)

    async def transact(self, make: Callable[[], Steps[_T]], *, large: bool = False) -> _T:  # noqa: ARG002
        """Refuse to write."""
        _refuse(self.path)


class PostgresReading(PostgresTransport):
    """A Postgres server by a role that may only SELECT, or a standby."""

    async def connect(self) -> None:
        """Reach the server once, so that a wrong URL is found at `open`."""
        await asyncio.to_thread(check_files, self._url)
        async with self.readers.connect():
            pass

    async def migrate(self, work: Callable[[sa.Connection], Any]) -> None:
        """Run a look at the schema."""
        async with self.readers.connect() as connection:
            await connection.run_sync(work)

    async def transact(self, make: Callable[[], Steps[_T]], *, large: bool = False) -> _T:  # noqa: ARG002
        """Refuse to write."""
        _refuse("the server")


def _needs_folder(path: Path) -> bool:
    """Say whether SQLite would have to make a file beside this one to read it, and can't.

    Raises `ConfigurationError` for what can't be read.
    """
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder; name a file in it")
    if not os.access(path, os.R_OK):
        raise ConfigurationError(f"can't read the file {path}; change its permissions or the path")
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        try:
            connection.execute("PRAGMA schema_version")
        except sqlite3.OperationalError as error:
            return error.sqlite_errorname in _NEEDS_FOLDER and not engines.log_of(path).exists()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname == "SQLITE_NOTADB":
                raise ConfigurationError(f"{path} is not a SQLite file; name another") from None
            # Else it is one, and whoever opens it next says what is wrong with it.
    return False
