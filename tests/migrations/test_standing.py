"""What `check` says of every kind of schema, and what writers may do with it."""

import contextlib
import sqlite3
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from trajectory import migrations
from trajectory.backends.sql import standing
from trajectory.backends.sql.schema import Base, TrajectoryRow
from trajectory.errors import SchemaError
from trajectory.migrations import Standing

ADD_COLUMN = 'op.add_column("trajectories", sa.Column("mood", sa.Text))'


def refused(url: str, kind: Standing, *words: str) -> None:
    """Make sure that `current` tells the kind, and `check` refuses it with these words."""
    assert migrations.current(url).standing is kind
    with pytest.raises(SchemaError) as caught:
        migrations.check(url)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_schema(empty_url: str, on: Any) -> None:
    on(empty_url, lambda connection: connection.exec_driver_sql("SELECT 1"))  # a file, but empty
    refused(
        empty_url,
        Standing.MISSING,
        "is at revision none, this version needs 0001",
        f"`trajectory db upgrade --db {empty_url}`",
    )


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "missing.db"
    refused(str(path), Standing.MISSING, "revision none", f"--db {path}")
    assert not path.exists()


def test_an_older_schema(empty_url: str, future: Any) -> None:
    migrations.upgrade(empty_url)
    future.add(ADD_COLUMN)
    refused(empty_url, Standing.OLDER, "at revision 0001, this version needs 0002", "db upgrade")
    assert migrations.upgrade(empty_url).revision == "0002"


def test_a_newer_schema_that_only_adds_is_accepted(empty_url: str, on: Any, future: Any) -> None:
    future.add(ADD_COLUMN)
    migrations.upgrade(empty_url)
    future.need("0001")

    assert migrations.check(empty_url) == ("0002", "0001", Standing.NEWER)
    assert migrations.upgrade(empty_url).revision == "0002"  # left as it is
    row = {"id": uuid.uuid4(), "created_at": datetime.now(UTC)}
    on(empty_url, lambda connection: connection.execute(sa.insert(TrajectoryRow), [row]))


def test_a_newer_schema_that_is_not_for_old_writers_is_refused(
    empty_url: str, future: Any, schema_of: Any
) -> None:
    future.add(ADD_COLUMN)
    future.add('op.drop_column("trajectories", "mood")', oldest_writer="0003")
    migrations.upgrade(empty_url)
    before = schema_of(empty_url)

    future.need("0001")
    words = ("at revision 0003, this version needs 0001", "pip install --upgrade trajectory-log")
    refused(empty_url, Standing.INCOMPATIBLE, *words)
    with pytest.raises(SchemaError, match="newer"):
        migrations.upgrade(empty_url)
    assert schema_of(empty_url) == before


def test_an_addition_after_a_break_does_not_readmit_old_writers(
    empty_url: str, future: Any
) -> None:
    future.add(ADD_COLUMN, oldest_writer="0002")
    future.add('op.add_column("trajectories", sa.Column("more", sa.Text))', oldest_writer="0002")
    migrations.upgrade(empty_url)
    future.need("0001")
    refused(empty_url, Standing.INCOMPATIBLE, "0003")
    future.need("0002")
    assert migrations.check(empty_url).standing is Standing.NEWER


def test_a_newer_schema_that_says_nothing_of_old_writers_is_refused(
    empty_url: str, on: Any, future: Any
) -> None:
    future.add(ADD_COLUMN)
    migrations.upgrade(empty_url)
    future.need("0001")
    on(empty_url, lambda connection: connection.execute(sa.delete(standing.WRITERS)))
    refused(empty_url, Standing.INCOMPATIBLE)


def test_tables_that_something_else_made(empty_url: str, on: Any, schema_of: Any) -> None:
    on(empty_url, Base.metadata.create_all)
    before = schema_of(empty_url)
    refused(empty_url, Standing.FOREIGN, "revision none", "needs 0001", "rename or drop them")
    with pytest.raises(SchemaError, match="made by something else"):
        migrations.upgrade(empty_url)
    assert schema_of(empty_url) == before


def test_a_revision_that_is_none_of_ours(empty_url: str, on: Any) -> None:
    migrations.upgrade(empty_url)
    stray = sa.update(standing.VERSION).values(version_num="ae1027a6acf")
    on(empty_url, lambda connection: connection.execute(stray))
    refused(empty_url, Standing.UNKNOWN, "ae1027a6acf", "needs 0001")
    with pytest.raises(SchemaError, match="ae1027a6acf"):
        migrations.upgrade(empty_url)


def test_no_password_is_shown(empty_postgres_url: str) -> None:
    head, _, tail = empty_postgres_url.partition("@")
    scheme, _, user = head.rpartition("/")
    url = f"{scheme}/{user.partition(':')[0]}:canary@{tail}"
    assert "canary" not in migrations.masked(url)
    with pytest.raises(SchemaError) as caught:
        migrations.check(url)
    assert "canary" not in str(caught.value)
    assert ":***@" in str(caught.value)


def test_a_path_with_spaces_can_be_pasted(tmp_path: Path) -> None:
    path = tmp_path / "my runs.db"
    with pytest.raises(SchemaError, match=f"--db '{path}'"):
        migrations.check(str(path))


def test_a_look_leaves_no_transaction_and_ends_none(tmp_path: Path, on: Any) -> None:
    url = str(tmp_path / "a.db")
    migrations.upgrade(url)

    def work(connection: sa.Connection) -> None:
        migrations.check_sync(connection)
        assert not connection.in_transaction()
        row = {"id": uuid.uuid4(), "created_at": datetime.now(UTC)}
        connection.execute(sa.insert(TrajectoryRow), [row])
        migrations.check_sync(connection)
        assert connection.in_transaction()

    on(url, work)
    with contextlib.closing(sqlite3.connect(url)) as file:
        assert file.execute("SELECT count(*) FROM trajectories").fetchone() == (1,)
