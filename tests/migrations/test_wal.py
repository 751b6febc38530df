import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from trajectory import migrations
from trajectory.backends.sql import journal_mode
from trajectory.errors import BackendUnavailableError, ConfigurationError


def mode(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as file:
        return str(file.execute("PRAGMA journal_mode").fetchone()[0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


def test_a_migration_alone_leaves_the_journal_mode(path: Path) -> None:
    migrations.upgrade(str(path))
    assert mode(path) == "delete"
    migrations.upgrade(str(path), wal=True)
    migrations.upgrade(str(path))
    assert mode(path) == "wal"


@pytest.mark.parametrize("new", [True, False])
def test_on_and_off(path: Path, new: bool) -> None:
    if not new:
        migrations.upgrade(str(path))
    migrations.upgrade(str(path), wal=True)
    assert mode(path) == "wal"
    migrations.upgrade(str(path), wal=True)
    assert mode(path) == "wal"
    migrations.upgrade(str(path), wal=False)
    assert mode(path) == "delete"
    assert migrations.check(str(path)).usable


def test_a_file_in_use_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrations.upgrade(str(path), wal=True)
    monkeypatch.setattr(journal_mode, "WAIT_S", 0.05)
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("SELECT * FROM trajectories").fetchall()
        with pytest.raises(BackendUnavailableError, match=r"still not delete .* close them"):
            migrations.upgrade(str(path), wal=False)
    assert mode(path) == "wal"


DEPLOY = """
import sys
from trajectory import migrations
print("ready", flush=True)
sys.stdin.readline()
migrations.upgrade(sys.argv[1], wal=sys.argv[2] == "on")
"""


def test_eight_deploys_at_once(path: Path) -> None:
    for wish, expected in (("on", "wal"), ("off", "delete")):
        deploys = [
            subprocess.Popen(
                [sys.executable, "-c", DEPLOY, str(path), wish],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
            )
            for _ in range(8)
        ]
        for deploy in deploys:
            assert deploy.stdout is not None
            assert deploy.stdout.readline() == "ready\n"
        ends = [deploy.communicate("\n", timeout=60) for deploy in deploys]
        assert [deploy.returncode for deploy in deploys] == [0] * 8, ends
        assert mode(path) == expected


def test_only_files_have_it(empty_postgres_url: str) -> None:
    for url in (empty_postgres_url, ":memory:"):
        with pytest.raises(ConfigurationError, match="no SQLite file"):
            migrations.upgrade(url, wal=True)
    assert migrations.current(empty_postgres_url).standing is migrations.Standing.MISSING
