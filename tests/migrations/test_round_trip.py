"""Up, down and up again with data in the tables: nothing is lost."""

import contextlib
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from trajectory import migrations
from trajectory.backends.sql import deploy_lock, environment
from trajectory.backends.sql.schema import Base
from trajectory.backends.sql.standing import TABLES, VERSION_TABLE
from trajectory.errors import SchemaError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUNS, TURNS = 5, 20

REBUILD = """
with op.batch_alter_table("trajectory_turns", recreate="auto") as turns:
    turns.add_column(sa.Column("mood", sa.Text))
    turns.alter_column("created_at", existing_type=sa.DateTime(timezone=True), nullable=True)
with op.batch_alter_table("trajectories") as trajectories:
    trajectories.alter_column("status", existing_type=sa.String(16), type_=sa.Text)
"""
BACK = """
with op.batch_alter_table("trajectories") as trajectories:
    trajectories.alter_column("status", existing_type=sa.Text, type_=sa.String(16))
with op.batch_alter_table("trajectory_turns") as turns:
    turns.drop_column("mood")
    turns.alter_column("created_at", existing_type=sa.DateTime(timezone=True), nullable=False)
"""


def fill(connection: sa.Connection) -> None:
    """Put rows into every table, children of each turn included."""
    insert = {name: sa.insert(table) for name, table in Base.metadata.tables.items()}
    runs = [uuid.UUID(int=n) for n in range(1, RUNS + 1)]
    turns = [{"trajectory_id": run, "turn_number": n} for run in runs for n in range(TURNS)]
    told = {"prompt": "p", "response": "r", "created_at": NOW, "metadata": {"a": 1}}
    connection.execute(insert["trajectories"], [{"id": run, "created_at": NOW} for run in runs])
    connection.execute(insert["trajectory_turns"], [{**turn, **told} for turn in turns])
    for name, own in {
        "trajectory_messages": {"position": 0, "role": "user", "content": "p"},
        "trajectory_tool_calls": {"position": 0, "tool_name": "t"},
        "trajectory_questions": {
            "position": 0,
            "source": "agent",
            "question_text": "?",
            "effort_level": "low",
        },
        "trajectory_violations": {
            "position": 0,
            "source": "agent",
            "preference_name": "n",
            "severity": "minor",
        },
    }.items():
        connection.execute(insert[name], [{**turn, **own} for turn in turns])


def rows(connection: sa.Connection) -> dict[str, int]:
    return {
        name: connection.execute(
            sa.select(sa.func.count()).select_from(sa.table(name))
        ).scalar_one()
        for name in TABLES
    }


def violations(connection: sa.Connection) -> list[Any]:
    if connection.dialect.name != "sqlite":
        return []
    return list(connection.exec_driver_sql("PRAGMA foreign_key_check"))


def enforced(connection: sa.Connection, work: Any) -> None:
    """Do some work as an application does: with foreign keys enforced."""
    if connection.dialect.name == "sqlite":
        deploy_lock.pragma(connection, "PRAGMA foreign_keys=ON")
    work(connection)
    if connection.dialect.name == "sqlite":
        assert deploy_lock.pragma(connection, "PRAGMA foreign_keys") == 1


def downgrade(connection: sa.Connection, goal: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(environment.scripts()))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    goes = EnvironmentContext(
        config,
        script,
        fn=lambda revision, _context: script._downgrade_revs(goal, revision),
        destination_rev=goal,
    )
    environment.run_online(goes, connection)


def test_rebuilt_tables_keep_their_rows_children_and_constraints(
    empty_url: str, on: Any, future: Any, schema_of: Any
) -> None:
    migrations.upgrade(empty_url)
    before = schema_of(empty_url)
    on(empty_url, fill)
    expected = on(empty_url, rows)
    assert expected == {name: RUNS if name == "trajectories" else RUNS * TURNS for name in TABLES}

    future.add(REBUILD, BACK)
    for step in (
        migrations.upgrade_sync,
        lambda connection: downgrade(connection, "0001"),
        migrations.upgrade_sync,
        lambda connection: downgrade(connection, "0001"),
    ):
        on(empty_url, lambda connection, step=step: enforced(connection, step))
        assert on(empty_url, rows) == expected
        assert on(empty_url, violations) == []
    assert schema_of(empty_url) == before


def test_without_the_care_children_would_vanish(
    tmp_path: Any, on: Any, future: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above: it can fail."""
    url = str(tmp_path / "control.db")
    migrations.upgrade(url)
    on(url, fill)
    future.add(REBUILD, BACK)
    monkeypatch.setattr(environment, "alone", lambda _connection: contextlib.nullcontext())
    on(url, lambda connection: enforced(connection, migrations.upgrade_sync))
    assert on(url, rows)["trajectory_messages"] == 0


def test_a_migration_that_orphans_rows_is_rolled_back(tmp_path: Any, on: Any, future: Any) -> None:
    url = str(tmp_path / "orphans.db")
    migrations.upgrade(url)
    on(url, fill)
    expected = on(url, rows)
    future.add('op.execute("DELETE FROM trajectories")')
    with pytest.raises(SchemaError, match="without their parents"):
        migrations.upgrade(url)
    assert on(url, rows) == expected
    assert migrations.current(url).revision == "0001"


def test_down_to_nothing_and_up_again(empty_url: str, on: Any, schema_of: Any) -> None:
    migrations.upgrade(empty_url)
    before = schema_of(empty_url)
    on(empty_url, lambda connection: downgrade(connection, "base"))
    assert schema_of(empty_url).keys() == {VERSION_TABLE}
    assert migrations.current(empty_url).standing is migrations.Standing.MISSING
    migrations.upgrade(empty_url)
    assert schema_of(empty_url) == before
