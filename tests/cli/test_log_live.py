"""`trajectory log` as a process: live from a pipe, ended by signals, quiet when nobody reads."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from trajectory.cli import main; main()"]
PATIENCE_S = 30


def environment() -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TRAJECTORY_")}
    return {**ours, "PYTHONPATH": str(ROOT)}


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def send(process: subprocess.Popen[bytes], *lines: dict[str, Any]) -> None:
    assert process.stdin is not None
    for line in lines:
        process.stdin.write(json.dumps(line).encode() + b"\n")
    process.stdin.flush()


def ended(process: subprocess.Popen[bytes], *, close: bool = True) -> tuple[int, str, str]:
    """Wait for the end; without `close`, standard input stays open meanwhile."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    if close:
        process.stdin.close()
    code = process.wait(PATIENCE_S)
    return code, process.stdout.read().decode(), process.stderr.read().decode()


def query(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """Look into a database from outside; nothing is there until its schema is."""
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        return []
    with contextlib.closing(connection):
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return []


def turns(database: Path) -> list[str]:
    sql = "SELECT prompt FROM trajectory_turns ORDER BY trajectory_id, turn_number"
    return [prompt for (prompt,) in query(database, sql)]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def line(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"prompt": prompt, "response": "r", **fields}


def test_the_turns_of_a_slow_producer_are_stored_while_it_runs(tmp_path: Path) -> None:
    database = tmp_path / "t.db"
    with started("log", "--db", str(database), "--json") as process:
        send(process, line("first"))
        until(lambda: turns(database) == ["first"])
        send(process, line("second"), line("third"))
        until(lambda: turns(database) == ["first", "second", "third"])
        assert process.poll() is None
        code, out, err = ended(process)
    assert (code, err) == (0, "")
    assert json.loads(out)["stored"] == 3
    assert query(database, "SELECT status FROM trajectories") == [("completed",)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_reading_and_keeps_what_came_before(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Invariant: what the summary calls stored is stored, though the producer still runs."""
    database = tmp_path / "t.db"
    with started("log", "--db", str(database), "--json") as process:
        send(process, *[line(str(n)) for n in range(25)])
        until(lambda: len(turns(database)) == 25)
        process.send_signal(number)
        code, out, err = ended(process, close=False)
    assert (code, err) == (128 + number, "")
    summary = json.loads(out)
    assert summary["interrupted"] is True
    assert (summary["stored"], summary["not_stored"]) == (25, 0)
    assert turns(database) == [str(n) for n in range(25)]
    assert query(database, "SELECT status FROM trajectories") == [("cancelled",)]


def test_a_signal_under_load_tears_nothing(tmp_path: Path) -> None:
    database = tmp_path / "t.db"
    source = tmp_path / "turns.jsonl"
    count = 60_000
    id_ = str(uuid4())
    with source.open("w", encoding="utf-8") as stream:
        for number in range(count):
            json.dump(line(str(number), trajectory_id=id_, turn_number=number), stream)
            stream.write("\n")
    with started("log", str(source), "--db", str(database), "--json") as process:
        until(lambda: len(query(database, "SELECT 1 FROM trajectory_turns LIMIT 1")) == 1)
        process.send_signal(signal.SIGINT)
        code, out, _err = ended(process)
    summary = json.loads(out)
    assert code == 130
    assert summary["not_stored"] == 0
    assert 0 < summary["stored"] < count
    assert turns(database) == [str(number) for number in range(summary["stored"])]


def test_a_signal_while_the_database_is_locked_says_what_is_not_stored(tmp_path: Path) -> None:
    database = tmp_path / "t.db"
    with started("log", "--db", str(database), "--json") as process:
        send(process, line("stored"))
        until(lambda: turns(database) == ["stored"])
        with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            send(process, line("waits"))
            send(process, *[line("waits")] * 4)
            # A refused line is shown as soon as it is read: so is all that came before it.
            send(process, {"prompt": 1})
            assert process.stderr is not None
            assert process.stderr.readline().startswith(b"line 7: ")
            process.send_signal(signal.SIGINT)
            code, out, err = ended(process, close=False)
            blocker.execute("ROLLBACK")
    summary = json.loads(out)
    assert code == 130
    assert (summary["stored"], summary["not_stored"]) == (1, 5)
    assert "Traceback" not in err
    assert turns(database) == ["stored"]


def test_nobody_reads_the_summary(tmp_path: Path) -> None:
    database = tmp_path / "t.db"
    with started("log", "--db", str(database)) as process:
        assert process.stdout is not None
        process.stdout.close()
        send(process, line("kept"))
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.close()
        process.wait(PATIENCE_S)
        assert process.stderr.read() == b""
    assert turns(database) == ["kept"]


def test_standard_input_that_is_closed_is_told(tmp_path: Path) -> None:
    program = f"import os, sys; os.close(0); sys.stdin = None; {COMMAND[2]}"
    ran = subprocess.run(
        [sys.executable, "-c", program, "log", "--db", str(tmp_path / "t.db")],
        capture_output=True,
        env=environment(),
        timeout=PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 2
    assert b"can't read standard input" in ran.stderr
    assert b"Traceback" not in ran.stderr


def test_an_import_reads_a_pipe_too(tmp_path: Path) -> None:
    database = tmp_path / "t.db"
    with started("import", "openai-chat", "-", "--db", str(database), "--json") as process:
        send(process, {"messages": [{"role": "user", "content": "first"}]})
        until(lambda: turns(database) == ["first"])
        send(process, {"messages": [{"role": "user", "content": "second"}]})
        until(lambda: sorted(turns(database)) == ["first", "second"])
        process.send_signal(signal.SIGINT)
        code, out, err = ended(process, close=False)
    assert (code, err) == (130, "")
    assert json.loads(out)["trajectories"] == 2


def test_help_loads_no_database_library(tmp_path: Path) -> None:
    program = (
        "import sys; from trajectory.cli import app; app(['log', '--help'], standalone_mode=False);"
        "sys.exit(bool({'sqlalchemy', 'alembic', 'rich.progress'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        env=environment(),
        cwd=tmp_path,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert b"Exit codes" in ran.stdout
