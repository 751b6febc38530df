import asyncio
import contextlib
import sqlite3
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from trajectory import migrations
from trajectory.backends.sql import standing


def feed(url: str, script: str) -> None:
    """Run a script as a DBA would, with the database's own client."""
    if "://" not in url:
        with contextlib.closing(sqlite3.connect(url, isolation_level=None)) as file:
            file.executescript(script)
        return

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(script)
        finally:
            await connection.close()

    asyncio.run(run())


def test_the_script_makes_what_the_migration_makes(empty_url: str, schema_of: Any, on: Any) -> None:
    feed(empty_url, migrations.script(empty_url))
    by_hand = schema_of(empty_url)
    assert migrations.check(empty_url).standing is migrations.Standing.CURRENT
    assert migrations.upgrade(empty_url).usable

    def drop(connection: Any) -> None:
        for table in ("trajectory_alembic_version", "trajectory_schema"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        for table in reversed(standing.TABLES):
            connection.exec_driver_sql(f"DROP TABLE {table}")

    on(empty_url, drop)
    migrations.upgrade(empty_url)
    assert schema_of(empty_url) == by_hand


def test_the_script_is_all_or_nothing(empty_url: str, on: Any) -> None:
    on(empty_url, lambda c: c.exec_driver_sql("CREATE TABLE trajectory_violations (a INTEGER)"))
    with pytest.raises((sqlite3.OperationalError, asyncpg.PostgresError)):
        feed(empty_url, migrations.script(empty_url))
    assert migrations.current(empty_url).standing is migrations.Standing.FOREIGN
    tables = on(empty_url, lambda connection: sa.inspect(connection).get_table_names())
    assert tables == ["trajectory_violations"]


@pytest.mark.parametrize("url", ["nowhere.db", "postgresql://u:canary@nowhere.invalid/d"])
def test_it_needs_no_database(url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = migrations.script(url)
    assert script.lstrip().startswith("BEGIN")
    assert script.rstrip().endswith("COMMIT;")
    assert "canary" not in script
    assert list(tmp_path.iterdir()) == []
