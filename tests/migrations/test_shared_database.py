"""A database, and a process, that other users of Alembic share."""

import logging
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from trajectory import migrations
from trajectory.backends.sql import environment
from trajectory.backends.sql.schema import Base

THEIRS = ("alembic_version", "customers", "orders")


def theirs(connection: sa.Connection) -> None:
    for statement in (
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('ae1027a6acf')",
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)",
        "CREATE TABLE orders (id INTEGER, customer INTEGER REFERENCES customers (id))",
        "INSERT INTO customers VALUES (1, 'a')",
        "INSERT INTO orders VALUES (1, 1)",
    ):
        connection.exec_driver_sql(statement)


def test_what_others_have_stays_as_it_is(empty_url: str, on: Any, schema_of: Any) -> None:
    on(empty_url, theirs)
    before = schema_of(empty_url)
    assert migrations.current(empty_url).standing is migrations.Standing.MISSING
    migrations.upgrade(empty_url)
    after = schema_of(empty_url)
    assert {name: after[name] for name in THEIRS} == before

    def rows(connection: sa.Connection) -> list[Any]:
        return [
            list(connection.execute(sa.select(sa.text("*")).select_from(sa.table(name))).all())
            for name in THEIRS
        ]

    assert on(empty_url, rows) == [[("ae1027a6acf",)], [(1, "a")], [(1, 1)]]


def test_autogenerate_does_not_want_to_drop_what_others_have(empty_url: str, on: Any) -> None:
    on(empty_url, theirs)
    migrations.upgrade(empty_url)

    def differences(connection: sa.Connection) -> list[Any]:
        opts = {"include_name": environment._is_ours}
        context = MigrationContext.configure(connection, opts=opts)
        return list(compare_metadata(context, Base.metadata))

    assert on(empty_url, differences) == []


HOST_ENV = """
from alembic import context
import sqlalchemy as sa
from trajectory import migrations

connection = context.config.attributes["connection"]
migrations.upgrade_sync(connection)  # ours first, within their env.py
context.configure(connection=connection)
with context.begin_transaction():
    context.run_migrations()
"""
HOST_REVISION = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "ae1027a6acf", None
def upgrade():
    op.create_table("customers", sa.Column("id", sa.Integer))
"""


def test_it_runs_within_the_environment_of_a_host(
    empty_url: str, on: Any, tmp_path: Path, schema_of: Any
) -> None:
    (tmp_path / "host" / "versions").mkdir(parents=True)
    (tmp_path / "host" / "env.py").write_text(HOST_ENV)
    (tmp_path / "host" / "versions" / "one.py").write_text(HOST_REVISION)
    config = Config()
    config.set_main_option("script_location", str(tmp_path / "host"))
    config.set_main_option("path_separator", "os")

    def work(connection: sa.Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    on(empty_url, work)
    assert {"customers", "alembic_version"} <= schema_of(empty_url).keys()
    assert migrations.check(empty_url).standing is migrations.Standing.CURRENT


def test_the_hosts_logging_stays_as_it_is(tmp_path: Path) -> None:
    ours = logging.getLogger("a.logger.of.the.host")
    root = logging.getLogger()
    before = (root.level, list(root.handlers), ours.disabled, logging.getLogger("alembic").level)
    migrations.upgrade(str(tmp_path / "a.db"))
    after = (root.level, list(root.handlers), ours.disabled, logging.getLogger("alembic").level)
    assert after == before
    assert not logging.getLogger("alembic.runtime.migration").handlers
