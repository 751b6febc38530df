"""A session keeps items exactly, in order, for any number of writers."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, Runner, Session, SessionSettings, SQLiteSession
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.scripted.openai_agents import (
    ANSWERS,
    PROMPTS,
    Reply,
    Wire,
    detached,
    model_on,
    team,
)
from trajectory import (
    BackendUnavailableError,
    Batch,
    StorageBackend,
    TrajectoryLogger,
    TrajectoryQuery,
    TrajectoryStore,
    TurnQuery,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.integrations.openai_agents import TrajectorySession
from trajectory.integrations.openai_agents import session as module
from trajectory.testing import CommitThenDisconnectBackend, FailingBackend


def user(text: Any) -> Any:
    return {"role": "user", "content": text}


def assistant(text: str) -> Any:
    return {
        "type": "message",
        "role": "assistant",
        "id": "m",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }


ODD: list[Any] = [
    user("Grüße, 世界 \U0001f600 \x1b[31m \u202e"),
    user("NUL \0 and half a pair \ud800"),
    {"z": 1, "a": 2.0, "n": None, "big": 10**40, "small": 1e-300, "t": True, "role": 7},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{ "x":1.50 }'},
    {
        "type": "function_call_output",
        "call_id": "c",
        "output": [{"type": "input_text", "text": ""}],
    },
    {},
]


@pytest.fixture
def session(logger: TrajectoryLogger) -> TrajectorySession:
    return TrajectorySession("s", logger)


async def test_items_come_back_exactly_and_in_order(logger: TrajectoryLogger) -> None:
    session = TrajectorySession("s", logger)
    await session.add_items(ODD[:2])
    await session.add_items([])
    await session.add_items(ODD[2:])
    for each in (session, TrajectorySession("s", logger)):
        found: list[Any] = list(await each.get_items())
        assert [json.dumps(item) for item in found] == [json.dumps(item) for item in ODD]
        found[0]["content"] = "changed"
    assert await session.get_items() == ODD


async def test_the_protocol_of_the_sdk(session: TrajectorySession) -> None:
    assert isinstance(session, Session)
    assert session.session_id == "s"
    assert "TrajectorySession" in repr(session)


async def test_a_new_session_is_empty(session: TrajectorySession) -> None:
    assert await session.get_items() == []
    assert await session.get_items(limit=3) == []
    assert await session.pop_item() is None
    await session.clear_session()
    assert await session.get_items() == []


async def test_the_limit_counts_from_the_end(logger: TrajectoryLogger) -> None:
    items = [user(str(number)) for number in range(6)]
    session = TrajectorySession("s", logger)
    await session.add_items(items)
    for limit in (0, 1, 3, 6, 10):
        assert await session.get_items(limit) == items[6 - min(limit, 6) :]
    assert await session.get_items(-1) == items
    limited = TrajectorySession("s", logger, session_settings=SessionSettings(limit=2))
    assert await limited.get_items() == items[4:]
    assert await limited.get_items(limit=4) == items[2:]


async def test_popped_items_are_gone_in_every_session(logger: TrajectoryLogger) -> None:
    one, two = TrajectorySession("s", logger), TrajectorySession("s", logger)
    await one.add_items([user("1"), user("2")])
    await two.add_items([user("3")])
    assert await one.pop_item() == user("3")
    assert await two.pop_item() == user("2")
    await two.add_items([user("4")])
    assert await one.get_items() == [user("1"), user("4")]
    assert await one.pop_item() == user("4")
    assert await one.pop_item() == user("1")
    assert await two.pop_item() is None


async def test_a_cleared_session_begins_anew_and_keeps_what_was(logger: TrajectoryLogger) -> None:
    one, two = TrajectorySession("s", logger), TrajectorySession("s", logger)
    await one.add_items([user("1")])
    assert await two.get_items() == [user("1")]
    await one.clear_session()
    await one.clear_session()
    assert await two.get_items() == []
    await two.add_items([user("2")])
    for each in (one, two, TrajectorySession("s", logger)):
        assert await each.get_items() == [user("2")]
    for _ in range(3):
        await two.clear_session()
        await one.add_items([user("3")])
    assert await TrajectorySession("s", logger).get_items() == [user("3")]
    async with TrajectoryStore(logger.backend) as store:
        query = TrajectoryQuery(session_id="s")
        found = [each async for each in store.trajectories(query)]
        assert [each.status for each in found] == [*4 * ["completed"], None]
        turns = [t async for t in store.turns(TurnQuery(ids=(found[0].id,)))]
    assert [turn.prompt for turn in turns] == ["1", ""]


async def test_sessions_are_apart(logger: TrajectoryLogger) -> None:
    ids = ["a", "A", "a ", "", "\0", "\ud800", "x" * 5000, "x" * 5001, "é" * 400]
    for number, id_ in enumerate(ids):
        await TrajectorySession(id_, logger).add_items([user(str(number))])
    for number, id_ in enumerate(ids):
        assert await TrajectorySession(id_, logger).get_items() == [user(str(number))]


async def test_many_writers_lose_nothing(logger: TrajectoryLogger) -> None:
    sessions = [TrajectorySession("s", logger) for _ in range(8)]

    async def write(number: int) -> None:
        for step in range(5):
            await sessions[number].add_items([user(f"{number}.{step}"), user("same")])

    await asyncio.gather(*map(write, range(8)))
    found = await sessions[0].get_items()
    assert len(found) == 80
    for number in range(8):  # each one's own in its order, none torn apart
        own = [at for at, item in enumerate(found) if str(_content(item)).startswith(f"{number}.")]
        assert [_content(found[at]) for at in own] == [f"{number}.{step}" for step in range(5)]
        assert all(_content(found[at + 1]) == "same" for at in own)


def _content(item: Any) -> Any:
    return item["content"]


async def test_what_many_pop_is_popped_once(logger: TrajectoryLogger) -> None:
    sessions = [TrajectorySession("s", logger) for _ in range(4)]
    await sessions[0].add_items([user(str(number)) for number in range(20)])
    popped = await asyncio.gather(*(sessions[n % 4].pop_item() for n in range(24)))
    texts = [_content(item) for item in popped if item is not None]
    assert sorted(texts, key=int) == [str(number) for number in range(20)]


async def test_one_session_may_be_used_by_many_tasks(session: TrajectorySession) -> None:
    await asyncio.gather(*(session.add_items([user(str(number))]) for number in range(20)))
    assert sorted(map(_content, await session.get_items()), key=int) == [*map(str, range(20))]


def _child(url: str, name: str) -> None:
    async def work() -> None:
        async with TrajectoryLogger(url) as logger:
            session = TrajectorySession("s", logger)
            for step in range(10):
                await session.add_items([user(f"{name}.{step}")])

    asyncio.run(work())


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_many_processes_write_to_one_session(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    is_server = database == "postgres"
    url = request.getfixturevalue("postgres_url") if is_server else str(tmp_path / "t.db")
    async with TrajectoryLogger(url) as logger:
        await TrajectorySession("s", logger).add_items([user("first")])
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_child, args=(url, name)) for name in "abc"]
    for child in children:
        child.start()
    for child in children:
        await asyncio.to_thread(child.join)
        assert child.exitcode == 0
    async with TrajectoryLogger(url) as logger:
        found = [_content(item) for item in await TrajectorySession("s", logger).get_items()]
    assert found[0] == "first"
    for name in "abc":
        own = [text for text in found if text.startswith(name)]
        assert own == [f"{name}.{step}" for step in range(10)]


@pytest.mark.parametrize("wire", list(Wire))
async def test_runs_remember(logger: TrajectoryLogger, wire: Wire) -> None:
    """Run after run, the same as over the SDK's own session."""
    agent = team(model_on(wire))
    kept: list[Any] = []
    for session in (TrajectorySession("s", logger), SQLiteSession("s")):
        with detached():
            answers = [
                (await Runner.run(agent, prompt, session=session)).final_output
                for prompt in PROMPTS
            ]
        assert answers == list(ANSWERS)
        kept.append(await session.get_items())
        if isinstance(session, SQLiteSession):
            session.close()
    assert kept[0] == kept[1]
    assert len(kept[0]) >= 12


async def test_a_conversation_goes_on_in_another_session_object(logger: TrajectoryLogger) -> None:
    seen: list[int] = []

    def script(_instructions: str, said: Any) -> Reply:
        seen.append(len(said))
        return Reply("ok")

    for number in range(3):
        agent = Agent(name="a", model=model_on(Wire.RESPONSES, script))
        with detached():
            await Runner.run(agent, str(number), session=TrajectorySession("s", logger))
    assert seen == [1, 3, 5]
    async with TrajectoryStore(logger.backend) as store:
        turns = [turn async for turn in store.turns()]
    assert [turn.prompt or turn.response for turn in turns] == ["0", "ok", "1", "ok", "2", "ok"]


steps = st.lists(
    st.one_of(
        st.lists(st.sampled_from(ODD), max_size=3),
        st.sampled_from(["pop", "clear", "reopen"]),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps)
async def test_it_does_what_the_sdk_s_own_does(steps: list[Any]) -> None:
    async with TrajectoryLogger("memory://") as logger:
        ours, theirs = TrajectorySession("s", logger), SQLiteSession("s")
        for step in steps:
            if step == "pop":
                assert await ours.pop_item() == await theirs.pop_item()
            elif step == "clear":
                await ours.clear_session()
                await theirs.clear_session()
            elif step == "reopen":
                ours = TrajectorySession("s", logger)
            else:
                await ours.add_items(step)
                await theirs.add_items(step)
            assert await ours.get_items() == await theirs.get_items()
        theirs.close()


async def test_an_answer_that_was_lost_doubles_nothing() -> None:
    backend = CommitThenDisconnectBackend()
    await backend.open()
    session = TrajectorySession("s", backend)
    await session.add_items([user("1"), user("2")])
    await session.add_items([user("3")])
    assert await session.pop_item() == user("3")
    assert await session.pop_item() == user("2")
    assert await session.get_items() == [user("1")]
    await session.clear_session()
    await session.add_items([user("4")])
    assert await TrajectorySession("s", backend).get_items() == [user("4")]


async def test_a_database_that_is_away_for_a_while_is_waited_for() -> None:
    backend = FailingBackend(BackendUnavailableError("away"), times=3)
    await backend.open()
    session = TrajectorySession("s", backend)
    await session.add_items([user("1")])
    assert await session.get_items() == [user("1")]


async def test_a_database_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", 0.05)
    backend = FailingBackend(BackendUnavailableError("away"))
    await backend.open()
    session = TrajectorySession("s", backend)
    with pytest.raises(BackendUnavailableError, match="away"):
        await session.add_items([user("1")])
    assert await session.get_items() == []


class Gate(MemoryBackend):
    """Holds a write until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.came, self.go = asyncio.Event(), asyncio.Event()

    async def write(self, batch: Batch, /) -> None:
        self.came.set()
        await self.go.wait()
        await super().write(batch)


async def test_a_cancelled_writer_waits_for_its_write() -> None:
    backend: StorageBackend = Gate()
    assert isinstance(backend, Gate)
    await backend.open()
    session = TrajectorySession("s", backend)
    task = asyncio.create_task(session.add_items([user("1")]))
    await backend.came.wait()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=0.01)
    assert not done
    backend.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await session.get_items() == [user("1")]


async def test_items_that_json_has_no_form_for_are_refused_whole(
    session: TrajectorySession,
) -> None:
    with pytest.raises(TypeError):
        await session.add_items([user("1"), user(object())])
    assert await session.get_items() == []
