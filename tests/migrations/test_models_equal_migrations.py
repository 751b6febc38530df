import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from trajectory import migrations
from trajectory.backends.sql import environment, standing
from trajectory.backends.sql.schema import Base


def revisions() -> list[Any]:
    config = Config()
    config.set_main_option("script_location", str(environment.scripts()))
    config.set_main_option("path_separator", "os")
    return list(ScriptDirectory.from_config(config).walk_revisions())


def test_autogenerate_finds_no_difference(empty_url: str, on: Any) -> None:
    migrations.upgrade(empty_url)

    def differences(connection: sa.Connection) -> list[Any]:
        context = MigrationContext.configure(
            connection,
            opts={"include_name": environment._is_ours, "version_table": standing.VERSION_TABLE},
        )
        return list(compare_metadata(context, Base.metadata))

    assert on(empty_url, differences) == []


def test_autogenerate_would_find_a_missing_column(empty_url: str, on: Any) -> None:
    migrations.upgrade(empty_url)
    on(empty_url, lambda c: c.exec_driver_sql("ALTER TABLE trajectory_turns DROP COLUMN reward"))

    def differences(connection: sa.Connection) -> list[Any]:
        opts = {"include_name": environment._is_ours}
        return list(
            compare_metadata(MigrationContext.configure(connection, opts=opts), Base.metadata)
        )

    [(kind, _, table, column)] = on(empty_url, differences)
    assert (kind, table, column.name) == ("add_column", "trajectory_turns", "reward")


def test_the_database_describes_both_alike(empty_url: str, on: Any, schema_of: Any) -> None:
    migrations.upgrade(empty_url)
    migrated = schema_of(empty_url)
    assert migrated.keys() == {*standing.TABLES, standing.VERSION_TABLE, standing.WRITERS.name}

    on(
        empty_url,
        lambda c: [c.exec_driver_sql(f"DROP TABLE {t}") for t in reversed(standing.TABLES)],
    )
    on(empty_url, Base.metadata.create_all)
    assert schema_of(empty_url) == migrated


def test_the_names_of_tables_are_those_of_the_models() -> None:
    assert set(standing.TABLES) == set(Base.metadata.tables)
    order = [table.name for table in Base.metadata.sorted_tables]
    assert sorted(standing.TABLES, key=standing.TABLES.index)[:2] == order[:2]


def test_the_small_table_is_described_alike_where_it_is_stamped(
    empty_url: str, on: Any, schema_of: Any
) -> None:
    migrations.upgrade(empty_url)
    migrated = schema_of(empty_url)[standing.WRITERS.name]
    on(empty_url, standing.WRITERS.drop)
    on(empty_url, standing.WRITERS.create)
    assert schema_of(empty_url)[standing.WRITERS.name] == migrated


def test_revisions_are_one_line_of_growing_numbers() -> None:
    line = revisions()
    assert line[0].revision == migrations.HEAD
    assert [r.down_revision for r in line] == [*(r.revision for r in line[1:]), None]
    for revision in line:
        assert re.fullmatch(r"\d{4}", revision.revision)
        assert Path(revision.path).name.startswith(revision.revision)
        assert "0001" <= revision.module.oldest_writer <= revision.revision
    writers = [revision.module.oldest_writer for revision in line]
    assert writers == sorted(writers, reverse=True)  # who was shut out once stays so


@pytest.mark.parametrize("name", ["__init__.py", "versions/__init__.py"])
def test_the_scripts_are_no_package(name: str) -> None:
    # With an __init__.py, this folder would hide the installed alembic from a checkout.
    assert not (environment.scripts() / name).exists()
