"""Databases without a schema, and revisions of a future version of the library."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from trajectory import migrations
from trajectory.backends.sql import environment, standing
from trajectory.backends.sql.urls import normalise

T = TypeVar("T")


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name a database that has nothing in it."""
    if request.param == "sqlite":
        return str(tmp_path / "empty.db")
    return str(request.getfixturevalue("empty_postgres_url"))


@pytest.fixture
def on() -> Callable[[str, Callable[[sa.Connection], T]], T]:
    """Do some work on a connection to a URL, and commit."""

    def run(url: str, work: Callable[[sa.Connection], T]) -> T:
        def committed(connection: sa.Connection) -> T:
            result = work(connection)
            connection.commit()
            return result

        return asyncio.run(migrations._connected(normalise(url), committed, create=True))

    return run


class Future:
    """Revisions after the real ones, in a folder of their own."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._patch = patch
        self._head = int(migrations.HEAD)
        shutil.copytree(
            environment.scripts() / "versions",
            folder / "versions",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        patch.setattr(environment, "scripts", lambda: folder)

    def add(self, upgrade: str, downgrade: str = "pass", *, oldest_writer: str = "0001") -> str:
        """Add a revision, and be the version of the library that needs it."""
        before, self._head = f"{self._head:04}", self._head + 1
        revision = f"{self._head:04}"
        text = (
            f"import sqlalchemy as sa\nfrom alembic import op\n"
            f"revision = {revision!r}\ndown_revision = {before!r}\n"
            f"oldest_writer = {oldest_writer!r}\n"
            f"def upgrade():\n{indent(dedent(upgrade).strip(), '    ')}\n"
            f"def downgrade():\n{indent(dedent(downgrade).strip(), '    ')}\n"
        )
        (self.folder / "versions" / f"{revision}_later.py").write_text(text)
        self.need(revision)
        return revision

    def need(self, revision: str) -> None:
        """Be the version of the library that needs a revision."""
        self._patch.setattr(standing, "HEAD", revision)


@pytest.fixture
def future(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Future:
    return Future(tmp_path / "scripts", monkeypatch)


@pytest.fixture
def schema_of(on: Any) -> Callable[[str], dict[str, Any]]:
    """Describe the tables of a database as the database itself tells it."""

    def describe(connection: sa.Connection) -> dict[str, Any]:
        inspector = sa.inspect(connection)
        return {
            table: {
                "columns": [
                    (c["name"], repr(c["type"]), c["nullable"], c["default"], c.get("identity"))
                    for c in inspector.get_columns(table)
                ],
                "key": inspector.get_pk_constraint(table),
                "foreign keys": sorted(inspector.get_foreign_keys(table), key=repr),
                "indexes": sorted(inspector.get_indexes(table), key=repr),
                "unique": sorted(inspector.get_unique_constraints(table), key=repr),
                "checks": sorted(inspector.get_check_constraints(table), key=repr),
            }
            for table in inspector.get_table_names()
        }

    return lambda url: on(url, describe)
