import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool, StaticPool

from trajectory import migrations
from trajectory.backends.sql import environment
from trajectory.backends.sql.standing import VERSION
from trajectory.errors import BackendError, ConfigurationError, SchemaError

ROOT = Path(__file__).parents[2]


def stored_revision(connection: sa.Connection) -> list[str]:
    return list(connection.execute(sa.select(VERSION.c.version_num)).scalars())


def tables(connection: sa.Connection) -> set[str]:
    return set(sa.inspect(connection).get_table_names())


def test_an_empty_database_is_brought_to_head(empty_url: str, on: Any) -> None:
    found = migrations.upgrade(empty_url)
    assert found == (migrations.HEAD, migrations.HEAD, migrations.Standing.CURRENT)
    assert on(empty_url, stored_revision) == [migrations.HEAD]


def test_twice_is_once(empty_url: str, schema_of: Any) -> None:
    migrations.upgrade(empty_url)
    once = schema_of(empty_url)
    assert migrations.upgrade(empty_url).usable
    assert schema_of(empty_url) == once


def test_the_asynchronous_functions_do_the_same(empty_url: str) -> None:
    async def all_three() -> None:
        assert not (await migrations.current_async(empty_url)).usable
        upgraded = await migrations.upgrade_async(empty_url)
        assert await migrations.current_async(empty_url) == upgraded
        assert await migrations.check_async(empty_url) == upgraded

    asyncio.run(all_three())


def test_a_new_file_is_private_and_made_to_shrink(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    migrations.upgrade(str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    with contextlib.closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert file.execute("PRAGMA application_id").fetchone() != (0,)


def test_at_head_nothing_is_locked_or_written(empty_url: str, on: Any) -> None:
    migrations.upgrade(empty_url)
    sent: list[str] = []

    def watched(connection: sa.Connection) -> None:
        @sa.event.listens_for(connection, "before_cursor_execute")
        def note(_c: Any, _cursor: Any, statement: str, *_others: Any) -> None:
            sent.append(statement)

        migrations.upgrade_sync(connection)

    on(empty_url, watched)
    assert 1 <= len(sent) <= 4  # cheap enough for every open
    assert not [s for s in sent if "lock" in s or not s.lstrip().startswith(("SELECT", "PRAGMA"))]


def test_a_connection_in_a_transaction_is_refused(empty_url: str, on: Any) -> None:
    def work(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SELECT 1")
        with pytest.raises(ConfigurationError, match="in a transaction"):
            migrations.upgrade_sync(connection)

    on(empty_url, work)
    assert not migrations.current(empty_url).usable


def test_a_silent_no_op_is_no_success(
    empty_url: str, on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alembic leaves the commit to a caller who is in a transaction, and reports success."""
    for module in (migrations, environment):
        monkeypatch.setattr(module, "refuse_transaction", lambda _connection: None)
    monkeypatch.setattr(environment, "alone", lambda _connection: contextlib.nullcontext())

    def work(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN" if connection.dialect.name == "sqlite" else "SELECT 1")
        migrations.upgrade_sync(connection)

    with pytest.raises(SchemaError, match=r"reported success, but .* is at revision none"):
        on(empty_url, work)


def test_a_migration_that_fails_half_way_leaves_nothing(
    empty_url: str, on: Any, future: Any, schema_of: Any
) -> None:
    migrations.upgrade(empty_url)
    before = schema_of(empty_url)
    revision = future.add(
        """
        op.create_table("half", sa.Column("a", sa.Integer))
        op.execute("INSERT INTO nowhere VALUES (1)")
        """
    )
    with pytest.raises(BackendError):
        migrations.upgrade(empty_url)
    assert schema_of(empty_url) == before
    assert on(empty_url, stored_revision) == ["0001"]

    script = future.folder / "versions" / f"{revision}_later.py"
    script.write_text(script.read_text().replace("nowhere VALUES (1)", "half VALUES (1)"))
    assert migrations.upgrade(empty_url).revision == revision
    assert on(empty_url, lambda c: c.exec_driver_sql("SELECT a FROM half").scalar()) == 1


PARKED = """
import sys
from pathlib import Path
from trajectory import migrations
from trajectory.backends.sql import environment, standing
folder, standing.HEAD, url = sys.argv[1:]
environment.scripts = lambda: Path(folder)
migrations.upgrade(url)
"""


def test_a_deploy_that_is_killed_half_way_leaves_nothing(
    empty_url: str, on: Any, future: Any
) -> None:
    migrations.upgrade(empty_url)
    revision = future.add(
        """
        op.create_table("half", sa.Column("a", sa.Integer))
        import sys
        print("half way", flush=True)
        sys.stdin.readline()
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", PARKED, str(future.folder), revision, empty_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as deploy:
        assert deploy.stdout is not None
        assert deploy.stdout.readline() == "half way\n"
        deploy.kill()

    script = future.folder / "versions" / f"{revision}_later.py"
    script.write_text(script.read_text().replace("sys.stdin.readline()", "pass"))
    assert migrations.current(empty_url).revision == "0001"
    assert migrations.upgrade(empty_url).revision == revision
    assert "half" in on(empty_url, tables)


@pytest.mark.parametrize("enforced", [0, 1])
def test_it_works_within_an_engine_that_begins_by_itself(enforced: int) -> None:
    """The engine of the backend: no transactions by the driver, BEGIN IMMEDIATE, `:memory:`."""
    engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA foreign_keys={enforced}")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    async def work() -> None:
        async with engine.connect() as connection:
            await connection.run_sync(migrations.upgrade_sync)
            found = await connection.run_sync(migrations.check_sync)
            assert found.standing is migrations.Standing.CURRENT
            pragma = await connection.exec_driver_sql("PRAGMA foreign_keys")
            assert pragma.scalar() == enforced
        await engine.dispose()

    asyncio.run(work())


def test_a_synchronous_engine_will_do(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'plain.db'}", poolclass=NullPool)
    with engine.connect() as connection:
        migrations.upgrade_sync(connection)
        assert migrations.check_sync(connection).usable


def test_a_running_loop_is_told_which_function_to_use(tmp_path: Path) -> None:
    async def wrong() -> None:
        migrations.upgrade(str(tmp_path / "a.db"))

    with pytest.raises(RuntimeError, match="upgrade_async"):
        asyncio.run(wrong())
