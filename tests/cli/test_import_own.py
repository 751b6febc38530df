"""`trajectory import` of many files: a person's own sessions, folders, patterns, bad files."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from recorded import OWN_CHATS, TESTS
from typer.testing import CliRunner, Result

from trajectory.backend import Capabilities, Survives
from trajectory.backends.memory import MemoryBackend
from trajectory.cli import app, imports, intake, progress
from trajectory.cli.input import Input, ReadError
from trajectory.cli.sources import Source
from trajectory.cli.tally import Tally
from trajectory.formats import importer
from trajectory.models import Trajectory, Turn
from trajectory.query import TrajectoryQuery, TurnQuery

HOME = TESTS / "fixtures/claude-code"
MAIN = next(HOME.glob("projects/*/5b1f0c3e*.jsonl"))


class Lasting(MemoryBackend):
    """As a database whose turns outlive the command."""

    capabilities = Capabilities(survives=Survives.PROCESS_CRASH)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> MemoryBackend:
    memory = Lasting()
    monkeypatch.setattr(intake, "open_backend", lambda _url: memory)
    return memory


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A made-up home with sessions of two tools."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(HOME, tmp_path / ".claude")
    day = tmp_path / ".codex/sessions/2026/03/04"
    day.mkdir(parents=True)
    shutil.copy(TESTS / "fixtures/codex.jsonl", day / "rollout-2026-03-04-x.jsonl")
    return tmp_path


def run(*arguments: str, answer: str | None = None) -> Result:
    ran = CliRunner().invoke(app, ["import", *arguments], input=answer)
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
    return ran


def rows(backend: MemoryBackend) -> tuple[list[Trajectory], list[Turn]]:
    async def read() -> tuple[list[Trajectory], list[Turn]]:
        return (
            [each async for each in backend.read_trajectories(TrajectoryQuery())],
            [turn async for turn in backend.read_turns(TurnQuery())],
        )

    return asyncio.run(read())


def chat(path: Path, *texts: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    said = [{"messages": [{"role": "user", "content": text}]} for text in texts]
    path.write_text("\n".join(map(json.dumps, said)), encoding="utf-8")
    return path


def prompts(backend: MemoryBackend) -> list[str]:
    return sorted(turn.prompt for turn in rows(backend)[1])


# A person's own sessions.


def test_ones_own_sessions_are_imported_when_told_so_beforehand(
    backend: MemoryBackend, home: Path
) -> None:
    ran = run("claude-code", "--yes")
    assert ran.exit_code == 0
    assert ran.stdout.startswith("2 trajectories stored: 5 turns, ")
    assert ran.stderr.startswith("nothing to store in 1 of 3 files\nnot kept: line of the type ")
    parent, child = sorted(rows(backend)[0], key=lambda each: each.parent_trajectory_id is not None)
    assert child.parent_trajectory_id == parent.id
    again = run("claude-code", "--yes", "--json")
    told = json.loads(again.stdout)
    assert (again.exit_code, told["new"], told["files"], told["empty_files"]) == (0, 0, 3, 1)
    assert told["merge_conflicts"] == 0


def test_sessions_of_codex_are_found_too(backend: MemoryBackend, home: Path) -> None:
    ran = run("codex", "--yes")
    assert ran.exit_code == 0
    assert rows(backend)[0][0].agent_name == "codex"


def test_nothing_is_read_unasked_where_nobody_can_be_asked(
    backend: MemoryBackend, home: Path
) -> None:
    ran = run("claude-code")
    assert ran.exit_code == 2
    assert ran.stderr.startswith("error: found 3 files of yours, 0.0 MB, in ")
    assert ran.stderr.endswith("say --yes to read them all, or name files\n")
    assert str(home / ".claude/projects/-srv-shop") in ran.stderr
    assert rows(backend) == ([], [])


@pytest.mark.parametrize("given", [("y\n", 0, 5), ("\n", 0, 5), ("n\n", 1, 0)])
def test_a_person_is_asked(
    backend: MemoryBackend, home: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, int, int]
) -> None:
    answer, code, turns = given
    monkeypatch.setattr(progress, "can_be_asked", lambda: True)
    ran = run("claude-code", answer=answer)
    assert ran.exit_code == code
    assert "found 3 files of yours" in ran.stderr
    assert "import them?" in ran.stderr
    assert len(rows(backend)[1]) == turns


def test_a_question_needs_a_terminal_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert progress.can_be_asked()
    monkeypatch.setattr(sys, "stdin", None)
    assert not progress.can_be_asked()


@pytest.mark.parametrize("format_", ["claude-code", "codex"])
def test_a_home_without_sessions_is_told(
    backend: MemoryBackend, home: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    monkeypatch.setenv("HOME", str(home / "nobody"))
    ran = run(format_, "--yes", "--json")
    assert ran.exit_code == 2
    assert f"there are no files of yours in the format {format_!r}" in ran.stderr
    assert "name them: trajectory import" in json.loads(ran.stdout)["error"]


def test_a_session_that_grew_brings_its_new_turns(backend: MemoryBackend, tmp_path: Path) -> None:
    whole = MAIN.read_bytes().splitlines(keepends=True)
    file = tmp_path / "session.jsonl"
    at = next(number for number, line in enumerate(whole) if b'"uuid": "u2"' in line)
    file.write_bytes(b"".join(whole[:at]))
    run("claude-code", str(file))
    file.write_bytes(b"".join(whole))
    ran = run("claude-code", str(file), "--json")
    told = json.loads(ran.stdout)
    assert (told["new"], told["turns"], told["refused"]) == (3, 4, 0)
    # The title came later, and the metadata that are stored stay.
    assert (ran.exit_code, told["merge_conflicts"]) == (0, 1)
    [trajectory], turns = rows(backend)
    assert len(turns) == 4
    assert trajectory.ended_at == turns[-1].messages[-1].created_at


def test_a_turn_that_was_imported_unfinished_and_went_on_is_told(
    backend: MemoryBackend, tmp_path: Path
) -> None:
    whole = MAIN.read_bytes().splitlines(keepends=True)
    file = tmp_path / "session.jsonl"
    file.write_bytes(b"".join(whole[:8]))
    run("claude-code", str(file))
    [before] = rows(backend)[1]
    file.write_bytes(b"".join(whole))
    ran = run("claude-code", str(file))
    assert ran.exit_code == 1
    assert "line 2: turn 1 of its trajectory is stored with other content" in ran.stderr
    assert "1 line refused: 2" in ran.stderr
    after = rows(backend)[1]
    assert len(after) == 4
    assert after[0] == before


# Folders and patterns.


def test_a_folder_stands_for_the_files_of_the_format_below_it(
    backend: MemoryBackend, tmp_path: Path
) -> None:
    chat(tmp_path / "b/c/1.jsonl", "one")
    chat(tmp_path / "a/2.json", "two")
    chat(tmp_path / "a/note.txt", "no")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    ran = run("openai-chat", str(tmp_path), "--json")
    assert json.loads(ran.stdout)["files"] == 2
    assert prompts(backend) == ["one", "two"]


def test_a_folder_holds_only_what_the_format_says(backend: MemoryBackend, tmp_path: Path) -> None:
    shutil.copy(MAIN, tmp_path / "a.jsonl")
    shutil.copy(MAIN, tmp_path / "a.json")
    assert json.loads(run("claude-code", str(tmp_path), "--json").stdout)["files"] == 1


@pytest.mark.parametrize("pattern", ["**/*.jsonl", "*/*.json?", "{0}/**/*.jsonl", "~/**/*.jsonl"])
def test_a_pattern_in_quotes_is_expanded(
    backend: MemoryBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    chat(tmp_path / "b/1.jsonl", "one")
    chat(tmp_path / "a/2.jsonl", "two")
    chat(tmp_path / "a/3.txt", "three")
    (tmp_path / "a/folder.jsonl").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    ran = run("openai-chat", pattern.format(tmp_path), "--json")
    assert json.loads(ran.stdout)["files"] == 2
    assert prompts(backend) == ["one", "two"]


def test_a_file_that_is_named_twice_is_read_once(backend: MemoryBackend, tmp_path: Path) -> None:
    file = chat(tmp_path / "1.jsonl", "one")
    ran = run("openai-chat", str(file), str(tmp_path), str(tmp_path / "*.jsonl"), "--json")
    assert json.loads(ran.stdout)["files"] == 1


def test_a_file_whose_name_is_a_pattern_is_that_file(
    backend: MemoryBackend, tmp_path: Path
) -> None:
    chat(tmp_path / "1.jsonl", "other")
    run("openai-chat", str(chat(tmp_path / "[1].jsonl", "named")))
    assert prompts(backend) == ["named"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing*.jsonl", "no file matches nothing*.jsonl"),
        ("**.jsonl", "the pattern **.jsonl can't be used"),
        ("empty", "the folder empty has no file that ends with .jsonl or .json"),
        ("a\0b", "no file has such a name"),
        ("gone", "can't read gone: No such file or directory"),
    ],
)
def test_what_names_no_file_is_told_before_anything_is_stored(
    backend: MemoryBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    ran = run("openai-chat", str(OWN_CHATS), name)
    assert ran.exit_code == 2
    assert reason in ran.stderr
    assert rows(backend) == ([], [])


# Files that are bad, or many.


def test_a_file_that_is_gone_or_breaks_off_is_told_and_the_next_one_is_read(
    backend: MemoryBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = chat(tmp_path / "good.jsonl", "good")
    broken = chat(tmp_path / "broken.jsonl", "half", "lost")
    gone = Source(str(tmp_path / "gone.jsonl"), 10)
    chosen = [gone, Source(str(broken), 10), Source(str(good), 10)]
    monkeypatch.setattr(imports, "sources", lambda *_: chosen)
    read = Input.readinto

    def failing(self: Input, buffer: Any, /) -> int:
        if self.label == str(broken) and self.position:
            raise ReadError(f"reading {self.label} failed: Input/output error")
        return read(self, buffer)

    monkeypatch.setattr(Input, "readinto", failing)
    ran = run("openai-chat", "any", "--json")
    told = json.loads(ran.stdout)
    assert ran.exit_code == 1
    assert prompts(backend) == ["good", "half"]
    assert told["files"] == 2
    assert told["refused_lines"] == [
        {"source": gone.path, "line": None},
        {"source": str(broken), "line": None},
    ]
    assert f"reading {broken} failed: Input/output error" in ran.stderr
    shown = run("openai-chat", "any").stderr
    assert f"2 refused: {gone.path}; {broken}" in shown


def test_strict_stops_at_a_bad_file(
    backend: MemoryBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Source(str(chat(tmp_path / "good.jsonl", "good")), 10)
    monkeypatch.setattr(imports, "sources", lambda *_: [Source("gone", 1), good])
    assert run("openai-chat", "any", "--strict").exit_code == 1
    assert prompts(backend) == []


def test_names_of_files_are_shown_and_not_obeyed(backend: MemoryBackend, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    for name in (b"\xff\xfe.jsonl", b"\x1b]52;c;aGk=\x07.jsonl", "\u202egpj.jsonl".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/f/" + name)).write_bytes(b"no json")
    ran = run("openai-chat", str(tmp_path / "f"))
    assert ran.exit_code == 1
    assert r"\udcff\udcfe.jsonl, line 1: is not JSON" in ran.stderr
    assert r"\x1b]52;c;aGk=\x07.jsonl, line 1" in ran.stderr
    assert r"\u202egpj.jsonl, line 1" in ran.stderr
    assert not {"\x1b", "\x07", "\u202e"} & set(ran.stderr)


def test_many_bad_files_are_listed_shortly(backend: MemoryBackend, tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}.jsonl").write_text("no json")
    ran = run("openai-chat", str(tmp_path))
    last = ran.stderr.splitlines()[-1]
    assert last.startswith(f"30 lines refused: {tmp_path}/00.jsonl: 1; ")
    assert last.endswith(f"{tmp_path}/19.jsonl: 1; and in 10 more files")


def test_made_up_kinds_of_what_is_not_kept_are_counted(
    backend: MemoryBackend, tmp_path: Path
) -> None:
    made_up = [json.dumps({"type": f"type {number}"}) for number in range(100)]
    (tmp_path / "a.jsonl").write_text("\n".join([*made_up * 2, MAIN.read_text()]))
    ran = run("claude-code", str(tmp_path / "a.jsonl"))
    *shown, last = ran.stderr.splitlines()
    assert len(shown) == 40
    assert "not kept: line of the type 'type 1' (2 times)" in shown
    assert last == "not kept: 66 more kinds (127 times)"


def test_more_files_than_may_be_open_are_read_one_by_one(tmp_path: Path) -> None:
    for number in range(150):
        chat(tmp_path / f"chats/{number}.jsonl", f"number {number}")
    command = (
        f'ulimit -n 48; exec "{sys.executable}" -c "from trajectory.cli import main; main()" '
        f'import openai-chat "{tmp_path}/chats" --db "{tmp_path}/many.db" --json'
    )
    ran = subprocess.run(
        ["sh", "-c", command], check=False, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert (told["files"], told["trajectories"], told["new"]) == (150, 150, 150)


def test_a_stopped_reading_ends_at_once_and_leaves_nothing_open(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    sources = [Source(str(pipe), None), Source(str(OWN_CHATS), 10)]
    tally = Tally()
    files = imports._Files(importer("openai-chat"), sources, tally)
    taken: list[Any] = []
    thread = threading.Thread(target=lambda: taken.append(files.batch()))
    thread.start()
    files.stop()  # before, while or after the pipe is opened: nobody ever writes to it
    files.stop()
    thread.join(30)
    assert not thread.is_alive()
    files.close()
    assert taken == [[]]
    assert tally.empty_files == 0
    assert files._open is None


def test_a_pipe_beside_files_is_read_as_it_comes(backend: MemoryBackend, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = json.dumps({"messages": [{"role": "user", "content": "piped"}]})
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    ran = run("openai-chat", str(pipe), str(chat(tmp_path / "1.jsonl", "one")))
    writer.join(30)
    assert ran.exit_code == 0
    assert prompts(backend) == ["one", "piped"]


@pytest.mark.parametrize("which", [".", "a"])
def test_a_folder_that_can_t_be_read_is_told_before_anything_is_stored(
    backend: MemoryBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    chat(tmp_path / "a/one.jsonl", "1")
    closed = tmp_path / which
    scan = os.scandir

    def refuse(path: str) -> Any:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    ran = run("openai-chat", str(tmp_path))
    assert ran.exit_code == 2
    assert f"can't look into the folder {closed}: Permission denied" in ran.stderr
    assert rows(backend) == ([], [])
