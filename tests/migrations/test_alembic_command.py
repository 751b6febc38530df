"""`alembic` from a checkout."""

import contextlib
import io
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from trajectory import migrations
from trajectory.backends.sql.schema import Base

ROOT = Path(__file__).parents[2]


class Ran(NamedTuple):
    code: int
    out: str
    errors: str


@pytest.fixture
def alembic(tmp_path: Path) -> Callable[..., Ran]:
    def run(*arguments: str, cwd: Path = tmp_path, **variables: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "alembic", "-c", str(ROOT / "alembic.ini"), *arguments],
            cwd=cwd,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


def test_upgrade_head(alembic: Any, empty_url: str, schema_of: Any) -> None:
    ran = alembic("-x", f"url={empty_url}", "upgrade", "head")
    assert ran.code == 0, ran
    assert "Running upgrade  -> 0001" in ran.errors
    assert migrations.check(empty_url).standing is migrations.Standing.CURRENT
    again = alembic("-x", f"url={empty_url}", "upgrade", "head")
    assert (again.code, again.errors) == (0, "")
    assert "0001 (head)" in alembic("-x", f"url={empty_url}", "current").out
    check = alembic("-x", f"url={empty_url}", "check")
    assert check.code == 0, check
    assert "No new upgrade operations detected" in check.out


def test_it_makes_private_files(alembic: Any, tmp_path: Path) -> None:
    assert alembic("-x", "url=new.db", "upgrade", "head").code == 0
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600


def test_down_and_up(alembic: Any, empty_url: str) -> None:
    for goal in (("upgrade", "head"), ("downgrade", "base"), ("upgrade", "0001")):
        ran = alembic("-x", f"url={empty_url}", *goal)
        assert ran.code == 0, ran
    assert migrations.check(empty_url).usable


def test_the_argument_goes_before_the_variable_before_the_file(
    alembic: Any, tmp_path: Path
) -> None:
    def made() -> list[str]:
        names = sorted(path.name for path in tmp_path.iterdir())
        for name in names:
            (tmp_path / name).unlink()
        return names

    upgrade = ("upgrade", "head")
    assert alembic("-x", "url=argument.db", *upgrade, TRAJECTORY_URL="variable.db").code == 0
    assert made() == ["argument.db"]
    assert alembic(*upgrade, TRAJECTORY_URL="sqlite:///variable.db").code == 0
    assert made() == ["variable.db"]
    assert alembic(*upgrade).code == 0
    assert made() == ["trajectories.db"]


def test_the_wal_phase(alembic: Any, tmp_path: Path, empty_postgres_url: str) -> None:
    def mode() -> str:
        with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as file:
            return str(file.execute("PRAGMA journal_mode").fetchone()[0])

    seen = []
    for wish in ((), ("-x", "wal=on"), ("-x", "wal=off")):
        ran = alembic("-x", "url=a.db", *wish, "upgrade", "head")
        assert ran.code == 0, ran
        seen.append(mode())
    assert seen == ["delete", "wal", "delete"]

    wrong = alembic("-x", f"url={empty_postgres_url}", "-x", "wal=on", "upgrade", "head")
    assert wrong.code != 0
    assert "no SQLite file" in wrong.out + wrong.errors
    assert migrations.current(empty_postgres_url).standing is migrations.Standing.MISSING


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-x", "wal=maybe", "upgrade", "head"), "takes on or off"),
        (("-x", "wall=on", "upgrade", "head"), "-x wall= is unknown"),
        (("-x", "wal=on", "upgrade", "head", "--sql"), "leave -x wal= out"),
        (("-x", "url=missing.db", "current"), "the schema is missing"),
        (("-x", "url=oracle://a/b", "upgrade", "head"), "oracle"),
        (("-x", "url=no/such/folder/a.db", "upgrade", "head"), "does not exist"),
    ],
)
def test_wrong_use_is_one_line(
    alembic: Any, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    ran = alembic(*arguments)
    assert ran.code != 0
    assert message in ran.out + ran.errors
    assert "Traceback" not in ran.errors
    assert list(tmp_path.iterdir()) == []


def test_offline_it_writes_what_trajectory_db_writes(alembic: Any, empty_url: str) -> None:
    ran = alembic("-x", f"url={empty_url}", "upgrade", "head", "--sql")
    assert ran.code == 0, ran
    assert ran.out.strip() == migrations.script(empty_url).strip()


def test_tables_made_by_something_else_can_be_stamped_on_purpose(
    alembic: Any, empty_url: str, on: Any
) -> None:
    on(empty_url, Base.metadata.create_all)
    refused = alembic("-x", f"url={empty_url}", "upgrade", "head")
    assert refused.code != 0
    assert "made by something else" in refused.out + refused.errors
    stamped = alembic("-x", f"url={empty_url}", "stamp", "0001")
    assert stamped.code == 0, stamped
    assert migrations.check(empty_url).standing is migrations.Standing.CURRENT


def test_a_program_can_hand_its_connection_over(empty_url: str, on: Any) -> None:
    from alembic import command
    from alembic.config import Config

    def work(connection: Any) -> None:
        config = Config(str(ROOT / "alembic.ini"), stdout=io.StringIO())
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    on(empty_url, work)
    assert migrations.check(empty_url).usable
