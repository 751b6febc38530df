"""Commands whose standard output is full, closed or read by nobody: one line, or none."""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from trajectory.cli.screen import Page

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


def test_following_ends_where_the_output_is_closed(tmp_path: Path) -> None:
    ran(tmp_path, "", "log", "turns.jsonl")
    code, err = ran(tmp_path, ">&-", "tail", "-f", "--db", "trajectories.db")
    assert (code, err) == (1, "error: standard output is closed, so the answer is lost\n")


@pytest.mark.parametrize("command", ["list", "stats", "score", "tail", "show"])
def test_lines_that_wait_for_their_block_are_not_lost_in_silence(
    tmp_path: Path, command: str
) -> None:
    ran(tmp_path, "", "log", "turns.jsonl")
    with closing(sqlite3.connect(tmp_path / "trajectories.db")) as database:
        [(id_,)] = database.execute("SELECT id FROM trajectories").fetchall()
    named = [str(UUID(bytes=id_) if isinstance(id_, bytes) else UUID(id_))]
    arguments = [command, *(named if command == "show" else []), "--db", "trajectories.db"]
    assert ran(tmp_path, f">{FULL}", *arguments) == (
        1,
        "error: the answer could not be written: No space left on device\n",
    )


@pytest.mark.parametrize("command", ["list", "stats", "score", "tail", "show", "log"])
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["lines", "json"])
def test_a_reader_that_leaves_ends_it_without_a_word(
    tmp_path: Path, command: str, options: tuple[str, ...]
) -> None:
    ran(tmp_path, "", "log", "turns.jsonl")
    with closing(sqlite3.connect(tmp_path / "trajectories.db")) as database:
        [(id_,)] = database.execute("SELECT id FROM trajectories").fetchall()
    named = [str(UUID(bytes=id_) if isinstance(id_, bytes) else UUID(id_))]
    more = {"show": named, "log": ["turns.jsonl"]}.get(command, [])
    reading, writing = os.pipe()
    os.close(reading)  # has left before the first line
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, command, *more, "--db", "trajectories.db", *options],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(("at_once", "flushes"), [(True, 3), (False, 0)])
def test_where_nobody_watches_lines_are_written_by_blocks(
    monkeypatch: pytest.MonkeyPatch, *, at_once: bool, flushes: int
) -> None:
    out = _Flushed()
    monkeypatch.setattr(sys, "stdout", out)
    page = Page(at_once=at_once)
    for _ in range(3):
        page.line("\x1b[31m[red]é", "bold")
    assert out.getvalue() == "\\x1b[31m[red]é\n" * 3
    assert out.flushes == flushes


class _Flushed(io.StringIO):
    flushes = 0

    def flush(self) -> None:
        self.flushes += 1
