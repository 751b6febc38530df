"""`trajectory import`: whole conversations or none, and twice the same file changes nothing."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from exporting.samples import Conversation
from exporting.samples import run as made
from recorded import OWN_CHATS, real
from typer.testing import CliRunner, Result

from trajectory.backend import Capabilities, StorageBackend, Survives
from trajectory.backends import open_backend
from trajectory.backends.memory import MemoryBackend
from trajectory.cli import app, imports, intake
from trajectory.formats import exporter, importer
from trajectory.models import Role, Trajectory, Turn
from trajectory.query import TrajectoryQuery, TurnQuery

CANARY = "CANARY-7f3a"
OURS = {"trajectories": 5, "turns": 10, "assistant": 13, "tool_calls": 5}
REAL = {"trajectories": 72, "turns": 575, "assistant": 930, "tool_calls": 427}

Rows = tuple[list[Trajectory], list[Turn]]


class Lasting(MemoryBackend):
    """As a database whose turns outlive the command."""

    capabilities = Capabilities(survives=Survives.PROCESS_CRASH)


def run(*arguments: str) -> Result:
    ran = CliRunner().invoke(app, ["import", *arguments])
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
    return ran


async def rows(backend: StorageBackend) -> Rows:
    await backend.open()
    try:
        return (
            [found async for found in backend.read_trajectories(TrajectoryQuery())],
            [turn async for turn in backend.read_turns(TurnQuery())],
        )
    finally:
        await backend.close()


def dumped(url: str) -> Rows:
    return asyncio.run(rows(open_backend(url)))


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> MemoryBackend:
    memory = Lasting()
    monkeypatch.setattr(intake, "open_backend", lambda _url: memory)
    return memory


def written(path: Path, *documents: Any) -> str:
    path.write_text("\n".join(json.dumps(document) for document in documents), encoding="utf-8")
    return str(path)


def chat(*texts: str, **others: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text} for text in texts], **others}


def test_a_file_becomes_the_same_rows_in_sqlite_and_postgres_once(
    tmp_path: Path, postgres_url: str
) -> None:
    becomes_the_same_rows_once(OWN_CHATS, OURS, [str(tmp_path / "imported.db"), postgres_url])


def test_real_conversations_become_the_same_rows_in_sqlite_and_postgres_once(
    tmp_path: Path, postgres_url: str
) -> None:
    file = real("openai-chat/tau-airline.jsonl")
    becomes_the_same_rows_once(file, REAL, [str(tmp_path / "imported.db"), postgres_url])


def becomes_the_same_rows_once(file: Path, expected: dict[str, int], urls: list[str]) -> None:
    dumps = []
    for url in urls:
        for new in (expected["turns"], 0):
            ran = run("openai-chat", str(file), "--db", url, "--json")
            summary = json.loads(ran.stdout)
            assert (ran.exit_code, ran.stderr) == (0, "")
            assert summary["new"] == new
            assert {name: summary[name] for name in ("trajectories", "turns", "tool_calls")} == {
                name: expected[name] for name in ("trajectories", "turns", "tool_calls")
            }
            dumps.append(dumped(url))
    trajectories, turns = dumps[0]
    assert dumps.count(dumps[0]) == 4
    assert len(trajectories) == expected["trajectories"]
    assert len(turns) == expected["turns"]
    assert sum(len(turn.tool_calls) for turn in turns) == expected["tool_calls"]
    assert (
        sum(message.role is Role.ASSISTANT for turn in turns for message in turn.messages)
        == expected["assistant"]
    )


def test_the_summary_for_a_person(backend: MemoryBackend) -> None:
    ran = run("openai-chat", str(OWN_CHATS))
    assert ran.exit_code == 0
    assert ran.stdout.startswith("5 trajectories stored: 10 turns, 27 messages, 5 tool calls (")
    assert ran.stderr == ""
    again = run("openai-chat", str(OWN_CHATS))
    assert again.stdout.startswith(
        "5 trajectories stored: 10 turns, all of them there already, 27 messages, "
    )


def test_what_is_new_is_told_beside_what_was_there(backend: MemoryBackend, tmp_path: Path) -> None:
    run("openai-chat", written(tmp_path / "a.jsonl", chat("1", "2", "3")))
    ran = run("openai-chat", written(tmp_path / "b.jsonl", chat("1", "2", "3"), chat("4")))
    assert ran.stdout.startswith("2 trajectories stored: 4 turns, 1 of them new, ")


def test_several_files_are_one_account_and_share_conversations(
    backend: MemoryBackend, tmp_path: Path
) -> None:
    first = written(tmp_path / "a.jsonl", chat("1", "2"), {"messages": CANARY})
    second = written(tmp_path / "b.jsonl", [CANARY], chat("1", "2"), chat("3", n=1))
    ran = run("openai-chat", first, second, "--json")
    summary = json.loads(ran.stdout)
    assert ran.exit_code == 1
    assert (len(asyncio.run(rows(backend))[0]), summary["trajectories"]) == (2, 3)
    assert summary["refused_lines"] == [
        {"source": first, "line": 2},
        {"source": second, "line": 1},
    ]
    assert summary["left_out"] == {"key 'n'": 1}
    assert CANARY not in ran.stdout + ran.stderr
    shown = run("openai-chat", first, second)
    assert shown.stderr.splitlines() == [
        f"{first}, line 2: has no list of `messages`",
        f"{second}, line 1: is an array; one JSON object a line is expected",
        "not kept: key 'n' (1 time)",
        f"2 lines refused: {first}: 2; {second}: 1",
    ]


def test_a_packed_file_is_told_once(backend: MemoryBackend, tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(os.urandom(4000)))
    ran = run("openai-chat", str(tmp_path / "a.gz"))
    assert ran.exit_code == 1
    assert ran.stderr.splitlines() == [
        "line 1: is gzip, not UTF-8 text; convert the input first",
        "1 line refused: 1",
    ]


def test_strict_stops_at_the_first_problem(backend: MemoryBackend, tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", chat("1"), 7, chat("2"))
    ran = run("openai-chat", file, "--strict", "--json")
    assert ran.exit_code == 1
    assert json.loads(ran.stdout)["trajectories"] == 1
    assert [turn.prompt for turn in asyncio.run(rows(backend))[1]] == ["1"]


def test_a_conversation_with_one_turn_too_large_is_left_out_whole(
    backend: MemoryBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAJECTORY_MAX_TURN_BYTES", "2000")
    file = written(tmp_path / "a.jsonl", chat("1", "x" * 2000), chat("2"))
    ran = run("openai-chat", file)
    assert ran.exit_code == 1
    assert ran.stderr.startswith("line 1: turn 2 takes ")
    assert [turn.prompt for turn in asyncio.run(rows(backend))[1]] == ["2"]


def test_a_file_is_dated_by_its_last_change(backend: MemoryBackend, tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", chat("1"))
    os.utime(file, (1_700_000_000, 1_700_000_000))
    run("openai-chat", file)
    [trajectory], [turn] = asyncio.run(rows(backend))
    assert trajectory.created_at.timestamp() == turn.created_at.timestamp() == 1_700_000_000
    assert trajectory.ended_at is None  # not known, and a guess would change with each import


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ("opnai", str(OWN_CHATS)),
            "no importer for the format 'opnai'; known formats: ",
        ),
        (("openai-chat", "no-such-file"), "can't read no-such-file"),
        (("openai-chat", str(OWN_CHATS), "no-such-file"), "can't read no-such-file"),
        (("openai-chat",), "name the files (trajectory import openai-chat FILE)"),
    ],
)
def test_wrong_use_is_told_before_anything_is_stored(
    backend: MemoryBackend, arguments: tuple[str, ...], reason: str
) -> None:
    ran = run(*arguments)
    assert ran.exit_code == 2
    assert reason in ran.stderr
    assert asyncio.run(rows(backend)) == ([], [])


def lines_of(conversation: Conversation, **changes: Any) -> list[dict[str, Any]]:
    """Give a trajectory as the lines of our own form, with other fields."""
    trajectory, turns = conversation
    out = io.BytesIO()
    writing = exporter("jsonl").begin(out)
    writing.start(trajectory.replace(**changes))
    for turn in turns:
        writing.turn(turn)
    writing.end()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_one_turn_too_large_of_our_own_form_is_the_only_one_refused(
    backend: MemoryBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAJECTORY_MAX_TURN_BYTES", "2000")
    lines = lines_of(made(1, 900))
    lines[500]["prompt"] = "x" * 2000
    ran = run("jsonl", written(tmp_path / "a.jsonl", *lines), "--json")
    told = json.loads(ran.stdout)
    assert (ran.exit_code, told["turns"], told["refused_lines"]) == (1, 899, [501])
    assert told["problems"][0]["reason"].startswith("turn 500 takes ")
    strict = run("jsonl", str(tmp_path / "a.jsonl"), "--strict", "--json")
    assert json.loads(strict.stdout)["turns"] == 499
    [trajectory], turns = asyncio.run(rows(backend))
    assert len(turns) == 899
    assert trajectory == made(1)[0]


def test_a_description_too_large_of_our_own_form_leaves_its_turns(
    backend: MemoryBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAJECTORY_MAX_TURN_BYTES", "2000")
    lines = lines_of(made(1, 3), system_prompt="x" * 2000)
    ran = run("jsonl", written(tmp_path / "a.jsonl", *lines), "--json")
    told = json.loads(ran.stdout)
    assert (ran.exit_code, told["turns"], told["refused_lines"]) == (1, 3, [1])
    assert told["problems"][0]["reason"].startswith("what describes the trajectory takes ")


def test_a_conflict_in_our_own_form_names_its_line(backend: MemoryBackend, tmp_path: Path) -> None:
    lines = lines_of(made(1, 40))
    run("jsonl", written(tmp_path / "a.jsonl", *lines))
    for number in (7, 31):
        lines[number]["response"] = "other"
    ran = run("jsonl", written(tmp_path / "b.jsonl", *lines), "--json")
    told = json.loads(ran.stdout)
    assert (ran.exit_code, told["refused_lines"]) == (1, [7 + 1, 31 + 1])
    assert told["problems"][0] == {
        "line": 8,
        "reason": "turn 7 of its trajectory is stored with other content",
    }


def test_other_values_of_a_trajectory_are_told(tmp_path: Path, postgres_url: str) -> None:
    one = written(tmp_path / "a.jsonl", *lines_of(made(1), spec_id="s1", agent_name="a"))
    two = written(tmp_path / "b.jsonl", *lines_of(made(1), spec_id="s2", agent_name="b"))
    for url in (str(tmp_path / "t.db"), postgres_url):
        assert run("jsonl", one, "--db", url).exit_code == 0
        ran = run("jsonl", two, "--db", url, "--json")
        assert (ran.exit_code, json.loads(ran.stdout)["merge_conflicts"]) == (0, 2)
        shown = run("jsonl", two, "--db", url)
        assert shown.stderr.endswith(
            "\nnot stored: 2 fields of trajectories whose stored value is another, and stays\n"
        )
        assert dumped(url)[0][0].spec_id == "s1"


def test_far_numbers_are_looked_up_without_what_lies_between(
    backend: MemoryBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = lines_of(made(1, 3000))
    run("jsonl", written(tmp_path / "a.jsonl", *lines))
    read = 0
    read_turns = backend.read_turns

    async def counting(query: TurnQuery) -> AsyncIterator[Turn]:
        nonlocal read
        async for turn in read_turns(query):
            read += 1
            yield turn

    monkeypatch.setattr(backend, "read_turns", counting)
    few = [lines[number] for number in (1, 2, 30, 1500, 2999)]
    ran = run("jsonl", written(tmp_path / "b.jsonl", *few), "--json")
    told = json.loads(ran.stdout)
    assert (ran.exit_code, told["turns"], told["new"]) == (0, 5, 0)
    assert read == 30 + 1 + 1


def test_a_folder_is_searched_for_what_the_format_writes(
    backend: MemoryBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Both:
        name, version, suffix = "both", "1", ".both"

        def begin(self, _out: object) -> None:
            raise AssertionError

        def read(self, stream: BinaryIO, *, as_of: datetime) -> Iterator[Any]:
            return importer("jsonl").read(stream, as_of=as_of)

    monkeypatch.setattr(imports, "importer", lambda _name: Both())
    lines = lines_of(made(1))
    written(tmp_path / "a.both", *lines)
    written(tmp_path / "b.jsonl", {"no": "turn"})
    ran = run("both", str(tmp_path), "--json")
    assert (ran.exit_code, json.loads(ran.stdout)["turns"]) == (0, len(lines) - 1)
