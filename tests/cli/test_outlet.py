"""Commands whose standard output is full, closed or read by nobody: one line, and exit code 1."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = "from trajectory.cli import main; main()"
FULL = Path("/dev/full")

COMMANDS = [
    ("log", "turns.jsonl"),
    ("log", "turns.jsonl", "--json"),
    ("db", "upgrade", "--sql"),
    ("--version",),
    ("--help",),
]


def ran(folder: Path, redirection: str, *arguments: str) -> tuple[int, str]:
    """Run a command in a shell, redirected; give its exit code and stderr."""
    (folder / "turns.jsonl").write_text('{"prompt": "p", "response": "r"}', encoding="utf-8")
    clean = {name: text for name, text in os.environ.items() if not name.startswith("TRAJECTORY_")}
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, err = ran(tmp_path, f">{FULL}", *arguments)
    assert (code, err) == (
        1,
        "error: the answer could not be written: No space left on device\n",
    )


@pytest.mark.parametrize("arguments", COMMANDS[:2], ids=" ".join)
def test_a_closed_output_is_one_line_and_the_turns_are_stored(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    code, err = ran(tmp_path, ">&-", *arguments)
    assert (code, err) == (1, "error: standard output is closed, so the answer is lost\n")
    with closing(sqlite3.connect(tmp_path / "trajectories.db")) as database:
        assert database.execute("SELECT prompt FROM trajectory_turns").fetchall() == [("p",)]


def test_without_any_output_the_exit_code_tells(tmp_path: Path) -> None:
    assert ran(tmp_path, ">&- 2>&-", "log", "turns.jsonl") == (1, "")
