"""Where subjects write: a fresh SQLite file in either journal mode, or a Postgres database."""

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

from trajectory import migrations

COUNT = "SELECT count(*) FROM trajectory_turns"
TESTS_POSTGRES = Path(__file__).parents[1] / "tests" / "postgres.py"


class Place(Protocol):
    """Somewhere to write, empty at the start of each measurement."""

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Give the path or URL of an empty database with the library's schema."""
        ...

    def turns(self, target: str) -> int:
        """Count the turns that are really there."""
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
            yield shutil.copy(self._template, folder)

    def turns(self, target: str) -> int:
        """Count the turns that are really there."""
        connection = sqlite3.connect(target)
        try:
            found: int = connection.execute(COUNT).fetchone()[0]
        finally:
            connection.close()
        return found


class PostgresDatabase:
    """One database, emptied before each measurement."""

    def __init__(self, url: str) -> None:
        self._url = url
        migrations.upgrade(url)

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Give the URL of the database, emptied."""
        _execute(self._url, "TRUNCATE trajectories CASCADE")
        yield self._url

    def turns(self, target: str) -> int:
        """Count the turns that are really there."""
        found: int = _execute(target, COUNT)
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
def places(url: str | None, *, postgres: bool, folder: Path | None) -> Iterator[dict[str, Place]]:
    """Make the places by name: `wal`, `rollback`, and `postgres` if wanted and possible.

    Postgres is the server of `url`, else that of TRAJECTORY_TEST_POSTGRES_URL, else one that the
    tests' wheel brings; a database is made there and dropped at the end.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(dir=folder)))
        made: dict[str, Place] = {
            "wal": SqliteFiles(scratch, wal=True),
            "rollback": SqliteFiles(scratch, wal=False),
        }
        if postgres:
            try:
                database = stack.enter_context(_postgres(url))
            except (ImportError, FileNotFoundError, RuntimeError) as error:
                sys.stderr.write(f"Postgres is left out: {error}\n")
            except OSError as error:  # a server that was named, and so is wanted
                raise SystemExit(f"the Postgres server can't be reached: {error}") from error
            else:
                made["postgres"] = PostgresDatabase(database)
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
