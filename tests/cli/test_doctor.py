"""`trajectory doctor`: each trouble is found, named, and comes with what to do."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from journal.logged import turn, turns, written
from recovery.killed import leave
from typer.testing import CliRunner

from trajectory import Capabilities, TrajectoryLogger, checkup, migrations
from trajectory.backend import Survives
from trajectory.cli import app
from trajectory.journal import Journal
from trajectory.journal.frames import HEADER, encode_note
from trajectory.placement import folder_of

CANARY = "canary-4c77"


def run(db: object, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["doctor", "--db", str(db), *arguments])


def findings(db: object, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    result = run(db, *arguments, "--json")
    told = json.loads(result.stdout)
    order = ["ok", "warning", "problem"]
    worst = max((each["verdict"] for each in told["findings"]), key=order.index)
    assert told["verdict"] == worst
    assert result.exit_code == (worst == "problem")
    assert CANARY not in result.output
    return result.exit_code, {each.pop("check"): each for each in told["findings"]}


def verdicts(db: object, *arguments: str) -> dict[str, str]:
    """Give what is not ok. The library of this machine is judged in a test of its own."""
    _code, found = findings(db, *arguments)
    return {
        check: each["verdict"]
        for check, each in found.items()
        if each["verdict"] != "ok" and check != "library"
    }


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A database with a turn in it, as a logger makes it."""

    async def main() -> None:
        async with TrajectoryLogger(tmp_path / "t.db") as logger:
            await logger.log_turn(turn(1).replace(prompt=CANARY))

    asyncio.run(main())
    return tmp_path / "t.db"


@pytest.fixture
def folder(db: Path) -> Path:
    made = Path(f"{db}.turns")
    made.mkdir(mode=0o700, exist_ok=True)
    return made


def test_all_is_well(db: Path) -> None:
    code, found = findings(db)
    assert code == 0
    assert verdicts(db) == {}
    assert list(found) == [
        *("database", "schema", "journal mode", "write-ahead log", "file system", "library"),
        *("journals", "dead letters", "damaged journals", "disk space", "permissions"),
    ]
    assert found["schema"]["found"] == "revision 0001 (current), this version needs 0001"
    assert found["journal mode"]["found"] == "WAL"
    shown = run(db)
    assert shown.exit_code == 0
    assert "ok       database: answers\n" in shown.stdout


def test_all_is_well_on_postgres(postgres_url: str, tmp_path: Path) -> None:
    code, found = findings(postgres_url, "--journal-dir", str(tmp_path))
    assert (code, {each["verdict"] for each in found.values()}) == (0, {"ok"})
    assert list(found) == [
        *("database", "schema", "journals", "dead letters", "damaged journals", "disk space"),
        "permissions",
    ]


def test_it_changes_nothing(db: Path, folder: Path) -> None:
    written(folder, *turns(3))
    (folder / "1-1-a-000001.journal.new").touch()

    def everything() -> dict[Path, bytes]:
        skip = ("-wal", "-shm")
        return {
            path: path.read_bytes()
            for path in db.parent.rglob("*")
            if path.is_file() and not path.name.endswith(skip)
        }

    before = everything()
    run(db)
    assert everything() == before


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_killed_processes_left(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    url = str(tmp_path / "k.db")
    if kind == "postgres":
        url = str(request.getfixturevalue("postgres_url"))
    leave(url, 4, prompt=CANARY, journals=tmp_path / "j")
    options = ("--journal-dir", str(tmp_path / "j"))
    code, found = findings(url, *options)
    assert (code, verdicts(url, *options)) == (0, {"journals": "warning"})
    assert found["journals"]["found"].startswith("4 turns in 1 segment (")
    assert "trajectory recover" in found["journals"]["advice"]
    assert CliRunner().invoke(app, ["recover", "--db", url, *options]).exit_code == 0
    assert verdicts(url, *options) == {}


def test_journals_of_processes_that_run_are_no_trouble(db: Path, folder: Path) -> None:
    journal = Journal(folder)
    journal.open()
    try:
        _code, found = findings(db)
        assert found["journals in use"]["found"].startswith("1 segment (")
        assert found["journals in use"]["found"].endswith("of processes that run")
        assert verdicts(db) == {}
    finally:
        journal.close()


def test_what_can_not_be_read_is_a_problem(db: Path, folder: Path) -> None:
    header = encode_note(HEADER, {"magic": "trajectory journal", "format": 99})
    (folder / "1-1-a-000001.journal").write_bytes(header)
    (folder / "2-1-a-000001.journal").mkdir()
    assert verdicts(db) == {
        "newer journals": "problem",
        "unreadable journal": "problem",
        "permissions": "warning",
    }


def test_dead_letters_and_damage(db: Path, folder: Path) -> None:
    async def refuse() -> None:
        async with TrajectoryLogger(db) as logger:
            await logger.log_turn(turn(1).replace(prompt=f"another {CANARY}"))

    asyncio.run(refuse())
    bad = folder / "1-1-a-000001.journal.bad"
    bad.write_text(CANARY)
    bad.chmod(0o600)
    _code, found = findings(db)
    assert verdicts(db) == {"dead letters": "warning", "damaged journals": "warning"}
    assert found["dead letters"]["found"].startswith("1 in ")
    assert "--dead-letters" in found["dead letters"]["advice"]
    assert str(bad) in found["damaged journals"]["found"]


def test_a_schema_that_is_not_ours_names_the_command(
    db: Path, empty_postgres_url: str, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(db)) as database:
        database.execute("UPDATE trajectory_alembic_version SET version_num = '0000'")
        database.commit()
    for url in (str(db), empty_postgres_url):
        code, found = findings(url, "--journal-dir", str(tmp_path / "j"))
        assert (code, found["database"]["verdict"]) == (1, "ok")
        assert found["schema"]["verdict"] == "problem"
        assert "this version needs 0001" in found["schema"]["found"]
        assert found["schema"]["advice"].startswith("run `trajectory db upgrade --db ")


def test_a_database_that_is_away(tmp_path: Path) -> None:
    url = f"postgresql://u:{CANARY}@127.0.0.1:1/d"
    folder = folder_of("postgresql://u@127.0.0.1:1/d", tmp_path)
    assert folder is not None
    written(folder, *turns(3))
    options = ("--journal-dir", str(tmp_path))
    code, found = findings(url, *options)
    assert code == 1
    assert verdicts(url, *options) == {"database": "problem", "journals": "warning"}
    assert "can't reach" in found["database"]["found"]
    assert found["journals"]["found"].startswith("3 turns in 1 segment (")


def test_a_server_that_is_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "PATIENCE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://u:{CANARY}@127.0.0.1:{server.getsockname()[1]}/d"
        _code, found = findings(url, "--journal-dir", str(tmp_path))
    assert found["database"]["verdict"] == "problem"
    assert "no answer within 0.3 s" in found["database"]["found"]


def test_a_file_that_is_locked(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "_LOCK_S", 0.05)
    migrations.upgrade(str(db), wal=False)
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        _code, found = findings(db)
    assert found["database"]["verdict"] == "problem"
    assert "another program keeps" in found["database"]["found"]


def test_a_file_that_was_never_made_is_not_made(tmp_path: Path) -> None:
    assert verdicts(tmp_path / "t.db") == {"database": "warning"}
    assert verdicts(tmp_path / "no" / "t.db") == {"database": "problem"}
    assert list(tmp_path.iterdir()) == []
    assert verdicts(tmp_path) == {"database": "problem"}  # a folder


def test_what_is_no_database(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text(f"{CANARY} is no database at all " * 200)
    notes.chmod(0o600)
    assert verdicts(notes) == {"database": "problem"}
    assert "database" in verdicts(tmp_path / ("x" * 300))  # not even a name


def test_memory_and_wrong_use() -> None:
    for db in (":memory:", "memory://"):
        code, found = findings(db)
        assert (code, list(found)) == (0, ["database"])
    result = run(f"oracle://u:{CANARY}@h/d")
    assert (result.exit_code, result.stdout) == (2, "")
    assert CANARY not in result.output


def test_the_rollback_journal_is_no_trouble(db: Path) -> None:
    migrations.upgrade(str(db), wal=False)
    _code, found = findings(db)
    assert found["journal mode"]["verdict"] == "ok"
    assert "--wal on" in found["journal mode"]["advice"]
    assert found["library"]["verdict"] == "ok"  # the bug is one of WAL alone


def test_a_write_ahead_log_that_grew(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "LARGE_WAL", 1000)
    with closing(sqlite3.connect(db)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM trajectory_turns").fetchone()
        with closing(sqlite3.connect(db)) as writer:
            writer.execute("UPDATE trajectory_turns SET latency_ms = 1")
            writer.commit()
        _code, found = findings(db)
    assert found["write-ahead log"]["verdict"] == "warning"
    assert "a read open" in found["write-ahead log"]["advice"]


def test_what_others_may_read(db: Path, folder: Path) -> None:
    written(folder, turn(1))
    [segment] = folder.glob("*.journal")
    for path, mode in ((db, 0o640), (folder, 0o750), (segment, 0o604)):
        private = path.stat().st_mode & 0o777
        path.chmod(mode)
        _code, found = findings(db)
        assert found["permissions"]["verdict"] == "warning"
        assert str(path) in found["permissions"]["found"]
        assert f"chmod {private:o} {path}" in found["permissions"]["advice"]
        path.chmod(private)
    assert "permissions" not in verdicts(db)


def test_too_little_disk_space(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAJECTORY_JOURNAL_MAX_BYTES", str(2**60))
    _code, found = findings(db)
    assert found["disk space"]["verdict"] == "warning"
    assert "less than journal_max_bytes" in found["disk space"]["found"]


def test_a_backend_of_another_kind_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in's database has no schema that we know of."""
    opened = []

    class Other:
        def __init__(self, url: str) -> None:
            self.capabilities = Capabilities(survives=Survives.POWER_LOSS)

        async def open(self) -> None:
            opened.append("open")

        async def close(self) -> None:
            opened.append("close")

    monkeypatch.setattr(checkup, "open_backend", Other)
    _code, found = findings("other://place")
    assert (opened, list(found)) == (["open", "close"], ["database", "permissions"])


def test_a_database_that_the_server_does_not_know(postgres_url: str, tmp_path: Path) -> None:
    parts = urlsplit(postgres_url)
    place = parts.netloc.rpartition("@")[2]
    wrong = parts._replace(netloc=f"postgres:{CANARY}@{place}", path="/nowhere").geturl()
    options = ("--journal-dir", str(tmp_path))
    assert verdicts(wrong, *options) == {"database": "problem"}
