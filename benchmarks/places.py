"""Where subjects write or read: fresh SQLite files, a filled one, a Postgres near or far away."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Protocol

from benchmarks.filling import fill
from benchmarks.proxy import far
from trajectory import migrations

FAR_MS = 5.0
"""What a round trip to the server that is far away takes longer."""

COUNT = "SELECT count(*) FROM trajectory_turns"
TESTS_POSTGRES = Path(__file__).parents[1] / "tests" / "postgres.py"


class Place(Protocol):
    """Somewhere to write, empty at the start of each measurement."""

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Give the path or URL of an empty database with the library's schema."""
        ...

    def turns(self, target: str) -> int | None:
        """Count the turns that are really there; None where the subject does it by itself."""
        ...


class SqliteFiles:
    """Copies of a database file that was migrated once: no subject pays for the migrations."""

    def __init__(self, folder: Path, *, wal: bool) -> None:
        self._folder = folder
        self._template = folder / ("wal.db" if wal else "rollback.db")
        migrations.upgrade(str(self._template), wal=wal)

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Give the path of a new copy, and delete it afterwards."""
        with TemporaryDirectory(dir=self._folder) as folder:
            yield str(shutil.copy(self._template, folder))

    def turns(self, target: str) -> int:
        """Count the turns that are really there."""
        connection = sqlite3.connect(target)
        try:
            found: int = connection.execute(COUNT).fetchone()[0]
        finally:
            connection.close()
        return found


class FilledFile:
    """One file with many turns, which subjects only read: it is not made anew for each."""

    def __init__(self, files: SqliteFiles, turns: int) -> None:
        self._files = files
        self._turns = turns
        self._stack = ExitStack()
        self._path: str | None = None

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Give the path of the file, which is filled when it is wanted first."""
        if self._path is None:
            self._path = self._stack.enter_context(self._files.empty())
            fill(Path(self._path), self._turns)
        yield str(self._path)

    def turns(self, target: str) -> int:
        """Count the turns that are really there."""
        return self._files.turns(target)

    def close(self) -> None:
        """Delete the file."""
        self._stack.close()


class Folders:
    """An empty folder, for who brings a schema of its own and counts what is in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Give the path of a new folder, and delete it afterwards."""
        with TemporaryDirectory(dir=self._folder) as folder:
            yield folder

    def turns(self, target: str) -> None:
        """Nothing is known here of what others store, or how."""


class PostgresDatabase:
    """One database, emptied before each measurement; `url` may lead there through a proxy."""

    def __init__(self, url: str, direct: str) -> None:
        self._url = url
        self._direct = direct

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Give the URL of the database, emptied."""
        _execute(self._direct, "TRUNCATE trajectories CASCADE")
        yield self._url

    def turns(self, target: str) -> int:
        """Count the turns that are really there."""
        del target
        found: int = _execute(self._direct, COUNT)
        return found


def _execute(url: str, statement: str) -> Any:
    import asyncpg

    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(run())


@contextmanager
def places(
    url: str | None, *, postgres: bool, folder: Path | None, filled: int
) -> Iterator[dict[str, Place]]:
    """Make the places by name; `postgres` and `far` if wanted and possible.

    Postgres is the server of `url`, else that of TRAJECTORY_TEST_POSTGRES_URL, else one that the
    tests' wheel brings; a database is made there and dropped at the end.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(dir=folder)))
        wal = SqliteFiles(scratch, wal=True)
        full = FilledFile(wal, filled)
        stack.callback(full.close)
        made: dict[str, Place] = {
            "wal": wal,
            "rollback": SqliteFiles(scratch, wal=False),
            "filled": full,
            "folder": Folders(scratch),
        }
        if postgres:
            try:
                database = stack.enter_context(_postgres(url))
            except (ImportError, FileNotFoundError, RuntimeError) as error:
                sys.stderr.write(f"Postgres is left out: {error}\n")
            except OSError as error:  # a server that was named, and so is wanted
                raise SystemExit(f"the Postgres server can't be reached: {error}") from error
            else:
                migrations.upgrade(database)
                made["postgres"] = PostgresDatabase(database, database)
                away = stack.enter_context(far(database, FAR_MS))
                made["far"] = PostgresDatabase(away, database)
        yield made


@contextmanager
def _postgres(url: str | None) -> Iterator[str]:
    tests = _tests_postgres()
    if url:
        os.environ[tests.URL_VARIABLE] = url
    with tests.server() as server, tests.database(server) as database:
        yield database


def _tests_postgres() -> ModuleType:
    """Load the tests' server by its path: tests are no package, and a wheel has none."""
    spec = importlib.util.spec_from_file_location("benchmarks_postgres", TESTS_POSTGRES)
    if spec is None or spec.loader is None:
        raise ImportError(f"{TESTS_POSTGRES.name} can't be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def file_system(folder: Path) -> str | None:
    """Name the kind of file system a folder is on, where the system tells: what a sync costs."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return None
    device = folder.resolve().stat().st_dev
    kind = None
    for line in mounts.read_text(encoding="utf-8").splitlines():
        _source, mounted, name, *_rest = line.split()
        try:
            if Path(mounted).stat().st_dev == device:
                kind = name
        except OSError:
            continue
    return kind
