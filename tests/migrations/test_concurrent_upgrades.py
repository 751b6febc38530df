"""Deploys that run at once: one migrates, the others wait, all succeed."""

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import sqlalchemy as sa

from trajectory import migrations
from trajectory.backends.sql import deploy_lock
from trajectory.errors import BackendUnavailableError

ROOT = Path(__file__).parents[2]
DEPLOYS = 8

DEPLOY = """
import contextlib, sys
from alembic.runtime.migration import MigrationContext
from trajectory import migrations
from trajectory.backends.sql import environment

def say_and_wait(word):
    print(word, flush=True)
    sys.stdin.readline()

seen = MigrationContext.get_current_heads
def parked(self):
    # Called when the deploy has found that it is its turn, and is about to migrate.
    heads = seen(self)
    say_and_wait("migrating")
    return heads
MigrationContext.get_current_heads = parked

if sys.argv[2] == "unlocked":
    environment.alone = lambda connection: contextlib.nullcontext()
    environment.begin = lambda connection: None
say_and_wait("ready")
migrations.upgrade(sys.argv[1])
print("done", flush=True)
"""


class Deploys:
    """Processes that upgrade one database, each step of them let through by the test."""

    def __init__(self, url: str, lock: str, count: int) -> None:
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", DEPLOY, url, lock],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            for _ in range(count)
        ]

    def hear(self, index: int) -> str:
        out = self.processes[index].stdout
        assert out is not None
        return out.readline().strip()

    def let_through(self, index: int) -> None:
        into = self.processes[index].stdin
        assert into is not None
        into.write("\n")
        into.flush()

    def finish(self) -> list[tuple[int, str, str]]:
        """Let all go on to their end; give exit code, output and errors of each."""
        for process in self.processes:
            if process.stdin is not None:
                process.stdin.close()  # a read at the gate ends at once
                process.stdin = None
        ends = []
        for process in self.processes:
            out, errors = process.communicate(timeout=60)
            ends.append((process.returncode, out, errors))
        return ends

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


def test_eight_at_once_all_succeed(empty_url: str, schema_of: Any, on: Any) -> None:
    with Deploys(empty_url, "locked", DEPLOYS) as deploys:
        for index in range(DEPLOYS):
            assert deploys.hear(index) == "ready"
        for index in range(DEPLOYS):
            deploys.let_through(index)
        ends = deploys.finish()
    assert [code for code, _, _ in ends] == [0] * DEPLOYS, ends
    assert sum("migrating" in out for _, out, _ in ends) == 1
    assert migrations.check(empty_url).revision == migrations.HEAD


def test_without_the_lock_some_fail(empty_url: str) -> None:
    """The control: both have seen an empty database before either migrates."""
    with Deploys(empty_url, "unlocked", 2) as deploys:
        for index in (0, 1):
            assert deploys.hear(index) == "ready"
            deploys.let_through(index)
        for index in (0, 1):
            assert deploys.hear(index) == "migrating"
        ends = deploys.finish()
    assert sorted(code for code, _, _ in ends) == [0, 1]
    [errors] = [errors for code, _, errors in ends if code]
    assert "UniqueViolation" in errors or "DuplicateTable" in errors or "SQLITE_ERROR" in errors


def test_one_that_comes_meanwhile_waits_and_finds_it_done(empty_url: str) -> None:
    with Deploys(empty_url, "locked", 2) as deploys:
        assert deploys.hear(0) == "ready"
        deploys.let_through(0)
        assert deploys.hear(0) == "migrating"
        assert deploys.hear(1) == "ready"
        deploys.let_through(1)
        deploys.let_through(0)
        assert deploys.hear(0) == "done"
        ends = deploys.finish()
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert "migrating" not in ends[1][1]


@contextlib.contextmanager
def held(url: str, on: Any) -> Iterator[None]:
    """Hold the lock that deploys take, on a connection of its own."""
    if "://" not in url:
        with contextlib.closing(sqlite3.connect(url, isolation_level=None)) as file:
            file.execute("BEGIN IMMEDIATE")
            yield
            file.execute("ROLLBACK")
        return
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        holder.communicate("\n")


HOLDER = """
import asyncio, sys
from trajectory import migrations
from trajectory.backends.sql import deploy_lock
def hold(connection):
    with deploy_lock.alone(connection):
        print("held", flush=True)
        sys.stdin.readline()
asyncio.run(migrations._connected(migrations.normalise(sys.argv[1]), hold))
"""


def test_at_head_nobody_waits_for_a_lock(empty_url: str, on: Any) -> None:
    migrations.upgrade(empty_url)
    with held(empty_url, on):
        assert migrations.upgrade(empty_url).usable
        assert migrations.check(empty_url).usable


def test_a_deploy_does_not_wait_for_ever(
    empty_url: str, on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(empty_url, lambda c: c.exec_driver_sql("CREATE TABLE other (a INTEGER)"))
    monkeypatch.setattr(deploy_lock, "WAIT_S", 0.1)
    with (
        held(empty_url, on),
        pytest.raises(BackendUnavailableError, match="another deploy or writer has held the lock"),
    ):
        migrations.upgrade(empty_url)
    assert migrations.upgrade(empty_url).usable


def test_the_lock_is_given_back(empty_postgres_url: str, on: Any) -> None:
    def locks(connection: sa.Connection) -> Any:
        connection.rollback()
        migrations.upgrade_sync(connection)
        held = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        return connection.execute(held).scalar()

    assert on(empty_postgres_url, locks) == 0
