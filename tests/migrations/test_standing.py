"""What `check` says of every kind of schema, and what writers may do with it."""

import asyncio
import contextlib
import json
import sqlite3
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import postgres
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from trajectory import Batch, migrations
from trajectory.backends.sql import SqlBackend, standing
from trajectory.backends.sql.schema import Base, TrajectoryRow
from trajectory.cli import app as cli
from trajectory.errors import BackendError, SchemaError
from trajectory.migrations import Standing
from trajectory.testing.samples import a_turn, turns_of

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


def test_a_command_that_would_need_the_password_says_so(empty_postgres_url: str) -> None:
    url = empty_postgres_url.replace("//postgres@", "//postgres:canary@")
    with pytest.raises(SchemaError) as caught:
        migrations.check(url)
    assert "`trajectory db upgrade --db URL` with your URL" in str(caught.value)


async def test_the_command_keeps_the_search_path(empty_postgres_url: str) -> None:
    """Else it would make the schema in another place."""
    url = f"{empty_postgres_url}?search_path=elsewhere"
    command = f"`trajectory db upgrade --db '{url}'`"
    for work in (SqlBackend(url).open, lambda: migrations.check_async(url)):
        with pytest.raises(SchemaError) as caught:
            await work()
        assert command in str(caught.value)


async def test_an_upgrade_that_is_refused_keeps_the_search_path(
    empty_postgres_url: str, on: Any
) -> None:
    url = f"{empty_postgres_url}?search_path=public"
    await asyncio.to_thread(on, empty_postgres_url, Base.metadata.create_all)
    with pytest.raises(SchemaError, match="search_path=public is at revision none"):
        await migrations.upgrade_async(url)


@pytest.fixture
def role(empty_postgres_url: str) -> Iterator[str]:
    """The URL of a migrated database for a role that may read, and no more."""
    migrations.upgrade(empty_postgres_url)
    name = f"Reader {uuid.uuid4().hex[:8]}"
    postgres.execute(empty_postgres_url, f'CREATE ROLE "{name}" LOGIN')
    try:
        grant = f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{name}"'
        postgres.execute(empty_postgres_url, grant)
        yield empty_postgres_url.replace("//postgres@", f"//{quote(name)}@")
    finally:
        postgres.execute(empty_postgres_url, f'DROP OWNED BY "{name}"')
        postgres.execute(empty_postgres_url, f'DROP ROLE "{name}"')


def test_a_role_that_may_not_write_is_told_what_it_lacks(
    role: str, empty_postgres_url: str
) -> None:
    name = unquote(urlsplit(role).username or "")
    assert migrations.current(role).standing is Standing.CURRENT
    for right in ("INSERT", "UPDATE"):
        assert migrations.current(role, writing=True).standing is Standing.READ_ONLY
        with pytest.raises(SchemaError) as caught:
            migrations.check(role)
        assert "GRANT SELECT, INSERT, UPDATE, DELETE ON trajectories, " in str(caught.value)
        assert "trajectory_violations TO the role of the URL" in str(caught.value)
        tables = ", ".join(standing.TABLES)
        postgres.execute(empty_postgres_url, f'GRANT {right} ON {tables} TO "{name}"')
    assert migrations.check(role).standing is Standing.CURRENT
    postgres.execute(empty_postgres_url, f'REVOKE INSERT ON trajectory_questions FROM "{name}"')
    with pytest.raises(SchemaError, match="nothing may be written"):
        migrations.check(role)


def test_a_server_that_takes_no_writes_is_told(empty_postgres_url: str) -> None:
    migrations.upgrade(empty_postgres_url)
    url = f"{empty_postgres_url}?options=-c%20default_transaction_read_only%3Don"
    assert migrations.current(url).standing is Standing.CURRENT
    with pytest.raises(SchemaError, match="name the primary"):
        migrations.check(url)


async def test_a_role_that_may_not_write_can_read_and_its_write_says_why(role: str) -> None:
    backend = SqlBackend(role)
    await backend.open()
    assert await turns_of(backend) == []
    with pytest.raises(BackendError) as caught:
        await backend.write(Batch(turns=(a_turn(),)))
    await backend.close()
    assert "GRANT its role SELECT on all of them, and INSERT" in str(caught.value)
    assert "db check" not in str(caught.value)  # it would send whoever runs it here again


def test_the_command_checks_whether_the_role_may_write(role: str) -> None:
    for option in ([], ["--json"]):
        answer = CliRunner().invoke(cli, ["db", "check", "--db", role, *option])
        assert answer.exit_code == 1
    assert json.loads(answer.stdout)["standing"] == "read-only"


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
