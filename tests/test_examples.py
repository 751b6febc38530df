"""What `make demo` shows is what happened, and the example can be logged by the command as well."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

from trajectory import Turn

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples/conversation.jsonl"


def ran(*command: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "120", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def count(database: Path, table: str) -> int:
    with closing(sqlite3.connect(database)) as connection:
        [(number,)] = connection.execute(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608
    assert isinstance(number, int)
    return number


def test_the_example_holds_what_the_demo_is_meant_to_show() -> None:
    turns = [Turn(**json.loads(line)) for line in EXAMPLE.read_text(encoding="utf-8").splitlines()]
    assert Counter(str(turn.trajectory_id)[-4:] for turn in turns) == {"a001": 7, "b002": 5}
    levels = {question.effort_level for turn in turns for question in turn.questions}
    assert levels == {"low", "medium", "high"}
    assert sum(len(turn.violations) for turn in turns) == 1
    assert sum(len(turn.tool_calls) for turn in turns) == 3


def test_the_demo_logs_reads_back_and_counts(tmp_path: Path) -> None:
    database = tmp_path / "demo.db"
    for times in (1, 2):
        out = ran(str(ROOT / "examples/demo.py"), folder=tmp_path)
        assert re.search(r"turns stored +│ 12 ", out)
        # The tenth turn starts a flush, and the rest goes with the next.
        assert re.search(r"batches, one transaction each +│ 2 ", out)
        assert re.search(r"log_turn, median +│ \d+ microseconds", out)
        assert "breaks short_answers (minor)" in out
        assert "calls search_trains" in out
        assert "trajectory log examples/conversation.jsonl --db demo.db\n" in out
        assert count(database, "trajectory_turns") == 12 * times
        assert count(database, "trajectories") == 2 * times
    assert database.stat().st_mode & 0o777 == 0o600


def test_the_example_is_logged_by_the_command_and_twice_changes_nothing(tmp_path: Path) -> None:
    program = "from trajectory.cli import main; main()"
    for _time in range(2):
        out = ran("-c", program, "log", str(EXAMPLE), "--db", "t.db", "--json", folder=tmp_path)
        assert json.loads(out)["stored"] == 12
    tables = {
        "trajectories": 2,
        "trajectory_turns": 12,
        "trajectory_questions": 6,
        "trajectory_violations": 1,
        "trajectory_tool_calls": 3,
        "trajectory_messages": 10,
    }
    assert {table: count(tmp_path / "t.db", table) for table in tables} == tables
