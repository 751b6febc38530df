"""`trajectory import`: whole conversations or none, and twice the same file changes nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from recorded import OWN_CHATS, real
from typer.testing import CliRunner, Result

from trajectory.backend import Capabilities, StorageBackend, Survives
from trajectory.backends import open_backend
from trajectory.backends.memory import MemoryBackend
from trajectory.cli import app, intake
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
