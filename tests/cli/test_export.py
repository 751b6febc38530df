"""`trajectory export`: files that are whole, the same each time, and a stream that stays quiet."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from exporting.samples import fill, run
from recorded import OWN_CHATS, real
from typer.testing import CliRunner, Result

from trajectory import Trajectory, TrajectoryQuery, Turn, TurnQuery, open_backend
from trajectory.cli import app
from trajectory.testing.samples import full_trajectory, full_turn

ROOT = Path(__file__).parents[2]
FORMATS = ("jsonl", "csv", "parquet")
PLAIN = ["trajectory_id", "turn_number", "prompt", "response", "created_at", "tool_calls"]
"""Columns without JSON, whose objects have their keys in an order of Postgres' own there."""
OURS = {"trajectories": 5, "turns": 10, "messages": 27, "tool_calls": 5}
REAL = {"trajectories": 72, "turns": 575, "messages": 1932, "tool_calls": 427}

Rows = tuple[list[Trajectory], list[Turn]]


def trajectory(*arguments: str) -> Result:
    ran = CliRunner().invoke(app, [*arguments])
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
    return ran


def done(*arguments: str) -> Result:
    ran = trajectory(*arguments)
    assert ran.exit_code == 0, ran.output
    return ran


async def _rows(url: str) -> Rows:
    backend = open_backend(url)
    await backend.open()
    try:
        return (
            [found async for found in backend.read_trajectories(TrajectoryQuery())],
            [turn async for turn in backend.read_turns(TurnQuery())],
        )
    finally:
        await backend.close()


def dumped(url: str) -> Rows:
    return asyncio.run(_rows(url))


async def _filled(path: Path, *conversations: Any) -> str:
    backend = open_backend(path)
    await backend.open()
    await fill(backend, conversations)
    await backend.close()
    return str(path)


def parsed(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def db(tmp_path: Path) -> str:
    full = full_trajectory()
    conversations = [run(1), run(2, 0), run(3, 1), (full, [full_turn(full.id)])]
    return asyncio.run(_filled(tmp_path / "t.db", *conversations))


@pytest.mark.parametrize("which", ["own", "real"])
def test_what_was_imported_comes_out_alike_of_both_databases(
    tmp_path: Path, postgres_url: str, which: str
) -> None:
    file = OWN_CHATS if which == "own" else real("openai-chat/tau-airline.jsonl")
    exports: list[list[Any]] = []
    for name, url in (("sqlite", str(tmp_path / "t.db")), ("postgres", postgres_url)):
        done("import", "openai-chat", str(file), "--db", url)
        folder = tmp_path / name
        folder.mkdir()
        for format_ in FORMATS:
            ran = done("export", format_, "-o", str(folder), "--db", url, "--json")
            manifest = json.loads(ran.stdout)
            assert {key: manifest["counts"][key] for key in OURS} == (
                OURS if which == "own" else REAL
            )
            assert manifest["files"][0]["turns"] == manifest["counts"]["turns"]
        assert len(list(folder.iterdir())) == 2 * len(FORMATS)
        exports.append(
            [
                (folder / "trajectories.csv").read_bytes(),
                parsed(folder / "trajectories.jsonl"),
                pq.read_table(folder / "trajectories.parquet", columns=PLAIN).to_pylist(),
            ]
        )
    assert exports[0] == exports[1]


def test_an_exported_file_is_imported_the_same_once(
    tmp_path: Path, db: str, postgres_url: str
) -> None:
    done("export", "jsonl", "-o", str(tmp_path / "out.jsonl"), "--db", db)
    before = dumped(db)
    for url in (str(tmp_path / "new.db"), postgres_url):
        for new in (4, 0):
            ran = done("import", "jsonl", str(tmp_path / "out.jsonl"), "--db", url, "--json")
            told = json.loads(ran.stdout)
            assert (told["trajectories"], told["turns"], told["new"]) == (4, 4, new)
            assert dumped(url) == before
        out = tmp_path / "again.jsonl"
        done("export", "jsonl", "-o", str(out), "--db", url, "--force")
        # Postgres has an order of its own for the keys of objects.
        assert parsed(out) == parsed(tmp_path / "out.jsonl")
        same = out.read_bytes() == (tmp_path / "out.jsonl").read_bytes()
        assert same == ("://" not in url)


def test_a_long_trajectory_is_counted_once(tmp_path: Path) -> None:
    db = asyncio.run(_filled(tmp_path / "t.db", run(1, 2500)))
    done("export", "jsonl", "-o", str(tmp_path / "out.jsonl"), "--db", db)
    new = str(tmp_path / "new.db")
    ran = done("import", "jsonl", str(tmp_path / "out.jsonl"), "--db", new, "--json")
    told = json.loads(ran.stdout)
    assert (told["trajectories"], told["turns"]) == (1, 2500)
    assert dumped(new) == dumped(db)


def test_the_summary_for_a_person(tmp_path: Path, db: str) -> None:
    ran = done("export", "csv", "-o", str(tmp_path / "x.csv"), "--db", db)
    size = (tmp_path / "x.csv").stat().st_size
    assert ran.stdout.splitlines() == [
        f"3 trajectories exported: 4 turns, 4 messages, 2 tool calls, {size:,} bytes",
        "x.csv: 3 trajectories, 4 turns",
    ]
    assert "not carried over: content of a message (4 times)\n" in ran.stderr
    assert "not carried over: trajectory without turns, so without a row (1 time)\n" in ran.stderr
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("x.csv*")}
    assert modes == {0o600}


def test_a_stream_has_the_same_bytes_and_its_summary_on_stderr(tmp_path: Path, db: str) -> None:
    done("export", "jsonl", "-o", str(tmp_path / "x.jsonl"), "--db", db)
    manifest = tmp_path / "m.json"
    ran = done("export", "jsonl", "--db", db, "--manifest", str(manifest))
    assert ran.stdout_bytes == (tmp_path / "x.jsonl").read_bytes()
    assert ran.stderr.startswith("4 trajectories exported: 4 turns, ")
    told = json.loads(manifest.read_text())
    beside = json.loads((tmp_path / "x.jsonl.manifest.json").read_text())
    assert told["files"][0]["sha256"] == beside["files"][0]["sha256"]


def test_a_split_is_the_same_for_a_part_of_the_trajectories(tmp_path: Path) -> None:
    users = [run(number, user_id=f"user-{number % 15}") for number in range(60)]
    whole = asyncio.run(_filled(tmp_path / "whole.db", *users))
    part = asyncio.run(_filled(tmp_path / "part.db", *users[::4]))
    starts: dict[str, dict[str, set[str]]] = {}
    for db in (whole, part):
        folder = tmp_path / Path(db).stem
        folder.mkdir()
        more = ("--split", "user", "--parts", "train=0.5,test=0.5")
        done("export", "jsonl", "-o", str(folder), "--db", db, *more)
        starts[db] = {
            name: {
                line
                for line in (folder / f"trajectories.{name}.jsonl").read_text().splitlines()
                if line.startswith('{"trajectory":')
            }
            for name in ("train", "test")
        }
    for name in ("train", "test"):
        assert starts[part][name] < starts[whole][name]
        assert starts[part][name]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), ["1-1", "1-2", "3-1", "4-1", "4-2"]),
        (("--newest-first", "--limit", "2"), ["4-1", "4-2", "3-1"]),
        (("--agent", "a"), ["3-1"]),
        (("--text", "1-2"), ["1-1", "1-2"]),
        (("--id", str(run(1)[0].id), "--id", str(run(2)[0].id)), ["1-1", "1-2"]),
        (("--since", "2026-01-02T12:00:03Z", "--until", "2026-01-02T12:00:04Z"), ["3-1"]),
        (("--agent", "nobody"), []),
    ],
    ids=" ".join,
)
def test_filters_choose_whole_trajectories(
    tmp_path: Path, arguments: tuple[str, ...], expected: list[str]
) -> None:
    runs = (run(1), run(2, 0), run(3, 1, agent_name="a"), run(4))
    db = asyncio.run(_filled(tmp_path / "t.db", *runs))
    out = tmp_path / "x.jsonl"
    done("export", "jsonl", "-o", str(out), "--db", db, *arguments)
    prompts = [line["prompt"] for line in parsed(out) if "trajectory" not in line]
    assert prompts == expected


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("jsnl",), "no exporter for the format 'jsnl'; known formats: "),
        (("openai-chats", "-o", "x"), "no exporter for the format 'openai-chats'"),
        (("jsonl", "-o", "no/such/folder"), "there is no folder no/such to write to"),
        (("jsonl", "-o", "t.db"), "t.db is the database that is read"),
        (("jsonl", "-o", "there"), "there is there already"),
        (("jsonl", "--json"), "standard output can't take the export and --json"),
        (("jsonl", "--split", "user"), "a split needs files"),
        (("jsonl", "-o", "x", "--parts", "a=0.5,b=0.5"), "--parts needs --split"),
        (("jsonl", "-o", "x", "--split", "user", "--parts", "a=1"), "add up to 1"),
        (("jsonl", "-o", "x", "--split", "colour"), "Invalid value for '--split'"),
        (("jsonl", "-o", "x", "--db", "no.db"), "there is no file "),
    ],
)
def test_wrong_use_is_told_and_nothing_is_written(
    tmp_path: Path,
    db: str,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").touch()
    before = {path.name for path in tmp_path.iterdir()}
    ran = trajectory("export", "--db", db, *arguments)
    assert ran.exit_code == 2
    assert reason in ran.stderr
    assert {path.name for path in tmp_path.iterdir()} == before


def test_without_pyarrow_the_extra_is_named_and_nothing_is_written(
    tmp_path: Path, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ran = trajectory("export", "parquet", "-o", str(tmp_path / "x.parquet"), "--db", db)
    assert ran.exit_code == 1
    assert 'pip install "trajectory-log[parquet]"' in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["t.db"]


PROGRAM = "from trajectory.cli import main; main()"
WAITING = f"""
import asyncio
from pathlib import Path
from trajectory.store import TrajectoryStore

async def turns(self, query):
    Path("ready").touch()
    await asyncio.Event().wait()
    yield

TrajectoryStore.turns = turns
{PROGRAM}
"""


def started(folder: Path, program: str, *arguments: str, out: int) -> subprocess.Popen[bytes]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("TRAJECTORY_")}
    return subprocess.Popen(
        [sys.executable, "-c", program, "export", *arguments],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.PIPE,
    )


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        assert process.poll() is None
        os.sched_yield()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_no_file_is_left(tmp_path: Path, db: str, number: int) -> None:
    with started(tmp_path, WAITING, "jsonl", "-o", "x", "--db", db, out=subprocess.PIPE) as process:
        wait_for(tmp_path / "ready", process)
        assert len(list(tmp_path.glob(".trajectory-export-*"))) == 2
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (128 + number, b"")
    assert err == b"interrupted: no file was written\n"
    assert {path.name for path in tmp_path.iterdir()} == {"t.db", "ready"}


def test_a_stream_is_ended_at_once(tmp_path: Path, db: str) -> None:
    with started(tmp_path, WAITING, "jsonl", "--db", db, out=subprocess.PIPE) as process:
        wait_for(tmp_path / "ready", process)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == -signal.SIGINT


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    db = asyncio.run(_filled(tmp_path / "t.db", run(1, 5000)))
    with started(tmp_path, PROGRAM, "jsonl", "--db", db, out=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b'{"trajectory":')
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(60) == 141  # as of a program that the broken pipe ended


def test_a_terminal_gets_no_export(tmp_path: Path, db: str) -> None:
    ours, theirs = pty.openpty()
    try:
        with started(tmp_path, PROGRAM, "jsonl", "--db", db, out=theirs) as process:
            _, err = process.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 2
    assert b"an export isn't written to a terminal; name a file" in err


@pytest.mark.parametrize("url", ["{}", "sqlite:///{}"])
def test_the_database_that_is_read_is_not_replaced(tmp_path: Path, db: str, url: str) -> None:
    before = Path(db).read_bytes()
    ran = trajectory("export", "jsonl", "-o", db, "--force", "--db", url.format(db))
    assert ran.exit_code == 2
    assert f"{db} is the database that is read; choose another name" in ran.stderr
    assert Path(db).read_bytes() == before


COMPLETING = f"""
import time
from pathlib import Path
from trajectory.exporting import Target

complete = Target.complete

def slowly(self, manifest):
    Path("ready").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    complete(self, manifest)

Target.complete = slowly
{PROGRAM}
"""


def test_a_signal_that_comes_too_late_is_no_interruption(tmp_path: Path, db: str) -> None:
    out = subprocess.PIPE
    with started(tmp_path, COMPLETING, "jsonl", "-o", "x", "--db", db, out=out) as process:
        wait_for(tmp_path / "ready", process)
        process.send_signal(signal.SIGINT)
        (tmp_path / "go").touch()
        told, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert told.startswith(b"4 trajectories exported: ")
    assert (tmp_path / "x").exists()
    assert (tmp_path / "x.manifest.json").exists()
