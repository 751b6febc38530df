"""The rules that let one schema run on SQLite, on Postgres and on engines that shard it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from trajectory.backends.sql.schema import Base

TABLES = list(Base.metadata.sorted_tables)
CHILDREN = [table for table in TABLES if table.name != "trajectories"]


def test_the_tables_are_the_six() -> None:
    assert {table.name for table in TABLES} == {
        "trajectories",
        "trajectory_turns",
        "trajectory_messages",
        "trajectory_tool_calls",
        "trajectory_questions",
        "trajectory_violations",
    }


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_trajectory_leads_every_key(table: sa.Table) -> None:
    leading = "id" if table.name == "trajectories" else "trajectory_id"
    keys: list[list[str]] = [[column.name for column in table.primary_key]]
    keys += [
        [column.name for column in constraint.columns]
        for constraint in table.constraints
        if isinstance(constraint, sa.UniqueConstraint)
    ]
    keys += [[c.name for c in index.columns] for index in table.indexes if index.unique]
    assert all(leading in key for key in keys)
    assert keys[0][0] == leading
    assert isinstance(table.c[leading].type, sa.Uuid)


@pytest.mark.parametrize("table", CHILDREN, ids=lambda table: table.name)
def test_foreign_keys_pair_the_trajectory_and_cascade(table: sa.Table) -> None:
    assert table.foreign_key_constraints
    for constraint in table.foreign_key_constraints:
        pairs = {(e.parent.name, e.column.name) for e in constraint.elements}
        assert ("trajectory_id", "trajectory_id") in pairs or ("trajectory_id", "id") in pairs
        assert constraint.ondelete == "CASCADE"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_database_makes_no_key(table: sa.Table) -> None:
    for column in table.columns:
        assert column.server_default is None
        assert column.identity is None
        assert not isinstance(column.default, sa.Sequence)
        if column.primary_key:
            assert column.default is None
            assert column is not table.autoincrement_column


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_everything_has_a_short_name(table: sa.Table) -> None:
    names = [table.name, *(column.name for column in table.columns)]
    named: list[sa.Constraint | sa.Index] = [*table.constraints, *table.indexes]
    for each in named:
        assert each.name is not None
        names.append(str(each.name))
    assert max(map(len, names)) <= 50


def test_parents_and_roots_are_plain_indexed_columns() -> None:
    table = Base.metadata.tables["trajectories"]
    assert not table.foreign_keys
    leading = {index.columns[0].name for index in table.indexes}
    assert {"parent_trajectory_id", "root_trajectory_id"} <= leading
