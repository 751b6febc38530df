"""The session store: entries come back exactly, once, in one order, and read as trajectories."""

from __future__ import annotations

import asyncio
import json
import logging
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from claude_agent_sdk import (
    MirrorErrorMessage,
    delete_session_via_store,
    get_session_messages_from_store,
    import_session_to_store,
    list_sessions_from_store,
    project_key_for_directory,
)
from claude_agent_sdk.types import SessionKey
from integrations.claude_agent_sdk.stored import rows
from recorded import TESTS, real

from benchmarks.scripted.claude_agent_sdk import SESSION, ScriptedCli, options, session, text
from trajectory import (
    BackendUnavailableError,
    Batch,
    StorageBackend,
    TrajectoryLogger,
    TrajectoryStatus,
    open_backend,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.integrations.claude_agent_sdk import (
    RecordedClient,
    TrajectorySessionStore,
    session_store,
)
from trajectory.integrations.claude_agent_sdk.mirror import Place
from trajectory.testing import WrappedBackend

KEY: SessionKey = {"project_key": "proj", "session_id": "sess"}
FIXTURES = TESTS / "fixtures" / "claude-code"


def line(kind: str, content: Any, **fields: Any) -> Any:
    message = {"role": kind, "content": content, **fields.pop("message", {})}
    named = {"uuid": str(uuid4()), "timestamp": "2026-01-02T03:04:05.678Z"}
    return {"type": kind, "sessionId": "sess", **named, "message": message, **fields}


def exchange(prompt: str, answer: str) -> list[Any]:
    usage = {"input_tokens": 3, "output_tokens": 2}
    said = {"id": f"msg_{uuid4()}", "model": "claude-x", "usage": usage}
    return [line("user", prompt), line("assistant", [text(answer)], message=said)]


def marks(count: int) -> list[Any]:
    """Entries without a uuid: what is appended twice is there twice."""
    return [{"type": "tag", "tag": f"tag {number}"} for number in range(count)]


ODD: list[Any] = [
    {"type": "x", "text": "NUL \x00, half a pair \ud800, \u202e bidi, \x1b[2J", "uuid": "odd-1"},
    {"type": "x", "\x00": {"\ud800": 1, "": 2}, "huge": 2**80, "deep": None, "uuid": "odd-2"},
    {"type": "x", "numbers": [1, 1.0, -0.0, 1e308, True, None], "uuid": ""},
    {"type": "user", "message": 5, "uuid": 7},
    {"type": "assistant", "message": {"content": [{"type": "text", "text": 3}, None, "x"]}},
    {"type": ["user"], "message": {"content": {"a": 1}}},
    *("text", None, 5, [], {}),
    {"type": "user", "message": {"content": "\ud83d\ude00 \U0001f600"}, "timestamp": "99999-01-01"},
]
ODD[1]["deep"] = json.loads("[" * 300 + "]" * 300)


async def test_entries_come_back_exactly(backend: StorageBackend) -> None:
    store = TrajectorySessionStore(backend)
    await store.append(KEY, ODD)
    await store.append(KEY, marks(2))
    found = await TrajectorySessionStore(backend).load(KEY)
    assert json.dumps(found) == json.dumps([*ODD, *marks(2)])


@pytest.mark.parametrize("name", ["\x00", "\ud800", "a" * 5000, "sha256:x", "../..", "\u202e", " "])
async def test_any_text_may_name_a_session(backend: StorageBackend, name: str) -> None:
    store = TrajectorySessionStore(backend)
    key: SessionKey = {"project_key": name, "session_id": name}
    below: SessionKey = {**key, "subpath": name}
    await store.append(key, marks(1))
    await store.append(below, marks(2))
    assert await store.load(key) == marks(1)
    assert await store.load(below) == marks(2)
    assert [each["session_id"] for each in await store.list_sessions(name)] == [name]
    assert await store.list_subkeys(key) == [name]
    await store.delete(key)
    assert await store.load(below) is None


async def test_an_entry_with_a_uuid_is_stored_once(backend: StorageBackend) -> None:
    one, two = exchange("Hi", "Hello"), exchange("Bye", "See you")
    first, second = TrajectorySessionStore(backend), TrajectorySessionStore(backend)
    await first.append(KEY, [*one, *one])
    await second.append(KEY, [*one, *two])
    await first.append(KEY, [*two, *marks(1)])
    await second.append(KEY, marks(1))
    assert await first.load(KEY) == [*one, *two, *marks(1), *marks(1)]


async def test_many_writers_lose_nothing_and_keep_each_others_order(
    backend: StorageBackend,
) -> None:
    stores = [TrajectorySessionStore(backend) for _ in range(5)]
    given: dict[int, list[list[Any]]] = {
        number: [[{"type": "x", "writer": number, "step": step}] for step in range(8)]
        for number in range(len(stores))
    }

    async def writes(number: int) -> None:
        for entries in given[number]:
            await stores[number].append(KEY, entries)

    await asyncio.gather(*map(writes, given))
    found: Any = await stores[0].load(KEY)
    assert len(found) == 40
    for number, steps in given.items():
        assert [each for each in found if each["writer"] == number] == list(chain(*steps))
    assert [await store.load(KEY) for store in stores] == [found] * 5


async def test_appends_at_once_keep_the_order_of_the_calls(memory: TrajectoryLogger) -> None:
    store = TrajectorySessionStore(memory)
    await asyncio.gather(*(store.append(KEY, [mark]) for mark in marks(20)))
    assert await store.load(KEY) == marks(20)


async def test_a_session_that_another_deleted_begins_anew(backend: StorageBackend) -> None:
    first, second = TrajectorySessionStore(backend), TrajectorySessionStore(backend)
    one = exchange("Hi", "Hello")
    await first.append(KEY, one)
    await second.delete(KEY)
    assert await first.load(KEY) is None
    await first.append(KEY, one)
    assert await first.load(KEY) == one
    await second.delete(KEY)
    await second.append(KEY, one[:1])
    await first.append(KEY, one)
    assert await second.load(KEY) == one


async def test_many_sessions_are_open_without_all_being_remembered(
    memory: TrajectoryLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_store, "_OPEN_SESSIONS", 3)
    store = TrajectorySessionStore(memory)
    keys: list[SessionKey] = [{**KEY, "session_id": f"s{number}"} for number in range(10)]
    for _ in range(2):
        for key in keys:
            await store.append(key, [{"type": "x", "uuid": "one"}])
            assert len(store._opened) <= 3
    for key in keys:
        assert await store.load(key) == [{"type": "x", "uuid": "one"}]


class LosesAnswers(WrappedBackend):
    """Writes, and says that the server went away."""

    def __init__(self, inner: StorageBackend) -> None:
        super().__init__(inner)
        self.loses = 0

    async def write(self, batch: Batch, /) -> None:
        await super().write(batch)
        if self.loses:
            self.loses -= 1
            raise BackendUnavailableError("the answer was lost")


async def test_an_append_whose_answer_was_lost_may_be_made_again(backend: StorageBackend) -> None:
    loses = LosesAnswers(backend)
    store = TrajectorySessionStore(loses)
    await store.append(KEY, marks(1))
    loses.loses = 1
    with pytest.raises(BackendUnavailableError):
        await store.append(KEY, marks(2))
    await store.append(KEY, marks(2))  # as the SDK does
    assert await store.load(KEY) == [*marks(1), *marks(2)]
    await store.append(KEY, marks(2))  # and this is another one
    assert await store.load(KEY) == [*marks(1), *marks(2), *marks(2)]


async def test_a_cancelled_append_is_made_or_not(memory: TrajectoryLogger) -> None:
    class Slow(WrappedBackend):
        at_gate, gate = asyncio.Event(), asyncio.Event()

        async def write(self, batch: Batch, /) -> None:
            self.at_gate.set()
            await self.gate.wait()
            await super().write(batch)

    slow = Slow(memory.backend)
    store = TrajectorySessionStore(slow)
    task = asyncio.create_task(store.append(KEY, marks(1)))
    await slow.at_gate.wait()
    task.cancel()
    slow.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.load(KEY) == marks(1)


async def test_a_database_that_is_away_is_told(memory: TrajectoryLogger) -> None:
    class Away(WrappedBackend):
        async def write(self, _batch: Batch, /) -> None:
            raise BackendUnavailableError("away")

    with pytest.raises(BackendUnavailableError):
        await TrajectorySessionStore(Away(memory.backend)).append(KEY, marks(1))


async def test_a_session_reads_as_a_trajectory(backend: StorageBackend) -> None:
    store = TrajectorySessionStore(backend)
    call = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "words"}
    first = [line("user", "Read a."), line("assistant", [call], message={"id": "m1"})]
    first += [line("user", [result]), line("assistant", [text("It has words.")])]
    below: SessionKey = {**KEY, "subpath": "subagents/agent-7"}
    first.insert(0, {"type": "summary", "summary": "s"})
    await store.append(KEY, first)
    await store.append(below, exchange("Look.", "I looked."))
    await store.append(KEY, [*exchange("Thanks.", "Welcome."), *exchange("Bye.", "Bye!")])
    await store.append(KEY, marks(1))
    (main, turns), (child, inner) = await rows(backend)
    assert (main.id, child.id) == (Place.of(KEY).id, Place.of(below).id)
    assert (main.session_id, main.agent_name) == ("sess", "claude-code")
    assert main.source_format == child.source_format == "claude-agent-sdk-session"
    assert child.parent_trajectory_id == child.root_trajectory_id == main.id
    said = [(turn.turn_number, turn.prompt, turn.response) for turn in turns]
    assert said == [
        (1, "Read a.", "It has words."),
        (2, "Thanks.", "Welcome."),
        (3, "Bye.", "Bye!"),
        (4, "", ""),
    ]
    (made,) = turns[0].tool_calls
    assert (made.tool_name, made.result, made.is_error) == ("Read", "words", None)
    assert [turn.prompt for turn in inner] == ["Look."]
    assert turns[1].model_name == "claude-x"
    assert (turns[1].input_tokens, turns[1].output_tokens) == (3, 2)
    assert main.ended_at is not None
    assert main.ended_at >= turns[0].created_at


def once(lines: list[Any]) -> list[Any]:
    """Leave out what has the uuid of a line before it."""
    seen: set[str] = set()
    kept = []
    for each in lines:
        name = each.get("uuid")
        if not isinstance(name, str) or name not in seen:
            kept.append(each)
        if isinstance(name, str) and name:
            seen.add(name)
    return kept


async def comes_back(store: TrajectorySessionStore, file: Path, number: int, step: int) -> int:
    """Append a file's lines, so many at a time, and look whether they come back."""
    texts = file.read_text(encoding="utf-8").splitlines()
    parsed = [json.loads(each) for each in texts if each.strip()]
    lines: list[Any] = [each for each in parsed if isinstance(each, dict)]
    key: SessionKey = {"project_key": "p", "session_id": str(number)}
    for start in range(0, len(lines), step):
        await store.append(key, lines[start : start + step])
    assert await store.load(key) == (once(lines) or None)
    return len(lines)


async def test_sessions_of_our_own_come_back_exactly(memory: TrajectoryLogger) -> None:
    store = TrajectorySessionStore(memory)
    files = sorted(FIXTURES.rglob("*.jsonl"))
    lines = [await comes_back(store, file, number, 7) for number, file in enumerate(files)]
    assert sum(lines) > 20
    assert [turns for _, turns in await rows(memory.backend) if turns]


async def test_real_sessions_come_back_exactly(memory: TrajectoryLogger) -> None:
    folder = real("claude-code")
    store = TrajectorySessionStore(memory)
    files = sorted(folder.rglob("*.jsonl"))
    lines = [await comes_back(store, file, number, 50) for number, file in enumerate(files)]
    assert sum(lines) > 100


class Mirrors(ScriptedCli):
    """Says, before each result, what it has written into the session's file."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.file = folder / "projects" / project_key_for_directory() / f"{self.session}.jsonl"
        self.lines: list[Any] = []

    def result(self, subtype: str, **fields: Any) -> None:
        prompt = [each["message"]["content"] for each in self.wrote if "message" in each][-1]
        entries = exchange(prompt, fields["answer"]) + marks(1)
        self.lines += entries
        self.frame({"type": "transcript_mirror", "filePath": str(self.file), "entries": entries})
        super().result(subtype, **fields)


@pytest.fixture
async def mirrored(
    backend: StorageBackend, tmp_path: Path
) -> tuple[TrajectorySessionStore, Mirrors]:
    store, cli = TrajectorySessionStore(backend), Mirrors(tmp_path)
    environment = {"CLAUDE_CONFIG_DIR": str(tmp_path)}
    given = options(hooks=None, session_store=store, env=environment)
    async with TrajectoryLogger("memory://") as logger:
        client = RecordedClient(given, cli, logger=logger)
        await session(client, ("Hi", "Bye"))
    return store, cli


async def hears(cli: ScriptedCli, prompt: str) -> None:
    cli.say(text(f"You said {prompt}."))
    cli.result("success", answer=f"You said {prompt}.")


async def test_the_sdk_mirrors_a_session_and_reads_it_again(
    mirrored: tuple[TrajectorySessionStore, Mirrors],
) -> None:
    store, cli = mirrored
    key: SessionKey = {"project_key": project_key_for_directory(), "session_id": cli.session}
    assert await store.load(key) == cli.lines
    (listed,) = await list_sessions_from_store(store)
    assert (listed.session_id, listed.first_prompt) == (cli.session, "Hi")
    assert await store.list_session_summaries(key["project_key"])
    said = await get_session_messages_from_store(store, cli.session)
    assert [each.type for each in said][-1:] == ["assistant"]
    await delete_session_via_store(store, cli.session)
    assert await list_sessions_from_store(store) == []


async def test_a_session_that_lies_on_disk_is_taken_over(
    memory: TrajectoryLogger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path))
    folder = tmp_path / "projects" / "proj"
    name = str(SESSION)
    (folder / name / "subagents").mkdir(parents=True)
    lines = list(chain.from_iterable(exchange(f"q{n}", f"a{n}") for n in range(30)))
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    inner = exchange("Look.", "I looked.")
    below = folder / name / "subagents" / "agent-7.jsonl"
    below.write_text("".join(json.dumps(each) + "\n" for each in inner))
    store = TrajectorySessionStore(memory)
    for _ in range(2):  # a second time adds nothing
        await import_session_to_store(name, store, batch_size=7)
    key: SessionKey = {"project_key": "proj", "session_id": name}
    assert await store.load(key) == lines
    assert await store.list_subkeys(key) == ["subagents/agent-7"]
    assert await store.load({**key, "subpath": "subagents/agent-7"}) == inner
    (_, turns), _ = await rows(memory.backend)
    assert [turn.prompt for turn in turns if turn.prompt] == [f"q{n}" for n in range(30)]


async def test_the_program_goes_on_where_the_mirror_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claude_agent_sdk._internal import transcript_mirror_batcher

    monkeypatch.setattr(transcript_mirror_batcher, "MIRROR_APPEND_BACKOFF_S", (0, 0))

    class Away(MemoryBackend):
        async def write(self, _batch: Batch, /) -> None:
            raise BackendUnavailableError("away")

    cli = Mirrors(tmp_path)
    cli._script = hears
    given = options(
        hooks=None,
        session_store=TrajectorySessionStore(Away()),
        env={"CLAUDE_CONFIG_DIR": str(tmp_path)},
    )
    errors = []
    async with TrajectoryLogger("memory://") as logger:
        async with RecordedClient(given, cli, logger=logger) as client:
            await client.query("Hi")
            async for message in client.receive_response():
                errors += [message] if isinstance(message, MirrorErrorMessage) else []
        await logger.flush()
        ((header, turns),) = await rows(logger.backend)
    assert header.status is TrajectoryStatus.COMPLETED
    assert [turn.response for turn in turns] == ["You said Hi."]
    assert [each.error for each in errors] == ["away"]
    told = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert all("Hi" not in each.getMessage() for each in told)


async def test_it_says_where_it_stores(tmp_path: Path) -> None:
    assert "t.db" in repr(TrajectorySessionStore(open_backend(tmp_path / "t.db")))
