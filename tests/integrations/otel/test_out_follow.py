"""Trajectories are sent when they have ended: each once, and again until it has arrived."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from exporting.samples import fill, run
from integrations.otel.outlets import RESOURCE, Taking
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from trajectory import (
    BackendUnavailableError,
    ConfigurationError,
    StorageBackend,
    Trajectory,
    TrajectoryEnd,
    TrajectoryLogger,
    TrajectoryQuery,
    TrajectoryStore,
    TurnQuery,
)
from trajectory.backend import Batch
from trajectory.backends.memory import MemoryBackend
from trajectory.integrations.otel import Follower, SendFailedError, Sent
from trajectory.integrations.otel import live as module
from trajectory.testing import WrappedBackend
from trajectory.testing.samples import NOON

SECOND = timedelta(seconds=1)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


class Following:
    """A follower of a backend, with what it has sent."""

    def __init__(self, backend: StorageBackend, store: TrajectoryStore, **fields: Any) -> None:
        self.backend, self.clock, self.exporter = backend, Clock(), Taking()
        self.follower = Follower(
            store, self.exporter, resource=RESOURCE, clock=self.clock, **fields
        )

    async def start(self, number: int, **fields: Any) -> UUID:
        """Store a trajectory with its turns, which runs unless said."""
        given = {"agent_name": f"a{number}", "status": "running", **fields}
        trajectory, turns = run(number, **given)
        await fill(self.backend, [(trajectory, turns)])
        return trajectory.id

    async def end(self, id_: UUID, **fields: Any) -> None:
        """Store the end of one."""
        end = TrajectoryEnd(
            trajectory_id=id_, **{"status": "completed", "ended_at": self.clock.now, **fields}
        )
        await self.backend.write(Batch(ends=(end,)))

    async def look(self) -> list[str]:
        """Look, and give the agents whose trajectories were sent by it."""
        before = len(self.exporter.agents)
        await self.follower.look()
        return self.exporter.agents[before:]


@asynccontextmanager
async def following(backend: StorageBackend, **fields: Any) -> AsyncIterator[Following]:
    async with TrajectoryStore(backend) as store:
        yield Following(backend, store, **fields)


async def test_what_ends_is_sent_once_with_all_its_turns(backend: StorageBackend) -> None:
    async with following(backend) as it:
        one = await it.start(1)
        await it.start(2)
        assert await it.look() == []
        await it.end(one, status="failed", error="ValueError: x")
        assert await it.follower.look() == Sent(trajectories=1, spans=3, running=1)
        assert it.exporter.agents == ["a1"]
        assert await it.look() == []
        # One that begins and ends between two looks.
        three = await it.start(3)
        await it.end(three)
        assert await it.look() == ["a3"]
        assert await it.look() == []


async def test_what_a_logger_of_another_task_ends_is_sent() -> None:
    backend = MemoryBackend()
    exporter = Taking()
    async with TrajectoryStore(backend) as store, TrajectoryLogger(backend) as logger:
        follower = Follower(store, exporter)
        async with logger.trajectory(agent_name="live") as run_:
            await run_.log_turn("p", "r")
            await logger.flush()
            await follower.look()
            assert exporter.agents == []
        await logger.flush()
        await follower.look()
    assert [span.name for span in exporter.spans] == ["chat", "invoke_agent live"]


async def test_what_ended_before_is_not_sent(backend: StorageBackend) -> None:
    ended = {"status": "completed", "ended_at": NOON - SECOND}
    async with following(backend) as it:
        await it.start(1, **ended)
        await it.start(2, status="completed", ended_at=NOON + SECOND)
        assert await it.look() == ["a2"]
    async with following(backend, since=NOON - SECOND) as it:
        assert sorted(await it.look()) == ["a1", "a2"]


async def test_one_that_began_long_ago_is_sent_when_it_ends(backend: StorageBackend) -> None:
    async with following(backend) as it:
        old = await it.start(1, created_at=NOON - timedelta(days=30))
        it.clock.now += timedelta(days=1)
        assert await it.look() == []
        it.clock.now += timedelta(days=1)
        await it.end(old)
        assert await it.look() == ["a1"]


async def test_a_trajectory_that_is_stored_late_is_found(backend: StorageBackend) -> None:
    """Batches of different processes are not committed in the order of their times."""
    async with following(backend) as it:
        await it.look()
        it.clock.now += timedelta(minutes=50)
        await it.start(5, status="completed", ended_at=it.clock.now)
        assert await it.look() == ["a5"]
        await it.start(1, created_at=NOON, status="completed", ended_at=NOON + SECOND)
        await it.start(2, created_at=it.clock.now - SECOND, status="failed", ended_at=it.clock.now)
        assert await it.look() == ["a2"]  # what is more than a minute late is looked for ...
        it.clock.now += module.LATE
        assert await it.look() == ["a1"]  # ... once in a minute


async def test_filters_choose(backend: StorageBackend) -> None:
    query = TrajectoryQuery(agent_name="mine", status="failed")
    async with following(backend, query=query) as it:
        for number, name, status in (
            *((1, "mine", "failed"), (2, "other", "failed"), (3, "mine", "completed")),
        ):
            id_ = await it.start(number, agent_name=name)
            await it.end(id_, status=status)
        assert await it.look() == ["mine"]
        assert await it.follower.look() == Sent(0, 0, 0)
        assert len(it.exporter.spans) == 3
    query = TrajectoryQuery(turn=TurnQuery(text="7-2"))
    async with following(backend, query=query) as it:
        for number in (7, 8):
            await it.end(await it.start(number))
        assert await it.look() == ["a7"]
        assert await it.look() == []


async def test_what_is_deleted_is_forgotten(backend: StorageBackend) -> None:
    async with following(backend) as it:
        one = await it.start(1)
        assert await it.follower.look() == Sent(0, 0, 1)
        await backend.delete_trajectories([one])
        assert await it.follower.look() == Sent(0, 0, 0)


async def test_what_did_not_arrive_is_sent_again() -> None:
    async with following(MemoryBackend()) as it:
        it.clock.now += timedelta(minutes=1)
        for number in (1, 2, 3):
            await it.end(await it.start(number))
        it.exporter.fails, it.exporter.at = True, 1
        with pytest.raises(SendFailedError):
            await it.follower.look()
        assert it.exporter.agents == []
        assert await it.look() == ["a1", "a2", "a3"]
        assert len(it.exporter.batches) == 3
        assert await it.look() == []


async def test_one_that_is_never_taken_keeps_no_other_back() -> None:
    class Picky(Taking):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            if any(span.name == "invoke_agent a2" for span in spans):
                return SpanExportResult.FAILURE
            return super().export(spans)

    async with following(MemoryBackend()) as it:
        it.exporter = Picky()
        it.follower._exporter = it.exporter
        it.clock.now += timedelta(minutes=1)
        for number in (1, 2, 3):
            await it.end(await it.start(number))
        for _ in range(3):
            await it.end(await it.start(len(it.follower._settled) + 4))
            with pytest.raises(SendFailedError):
                await it.follower.look()
        assert {"a1", "a3"} <= set(it.exporter.agents)
        assert "a2" not in it.exporter.agents
        assert len(it.follower._open) == 1
        assert len(it.exporter.agents) == len(set(it.exporter.agents))


async def test_half_a_trajectory_is_sent_again_whole() -> None:
    async with following(MemoryBackend()) as it:
        trajectory, turns = run(1, turns=600, status="completed", ended_at=NOON)
        await fill(it.backend, [(trajectory, turns)])
        it.exporter.fails, it.exporter.at = True, 2
        with pytest.raises(SendFailedError):
            await it.follower.look()
        assert len(it.exporter.spans) == 512
        await it.look()
        ids = [span.context.span_id for span in it.exporter.spans if span.context]
        assert len(ids) == 512 + 601
        assert len(set(ids)) == 601


async def test_the_position_is_where_the_next_one_goes_on() -> None:
    backend = MemoryBackend()
    async with following(backend) as it:
        assert it.follower.position == NOON
        long = await it.start(1)
        done = await it.start(2)
        await it.end(done)
        await it.look()
        assert it.follower.position == NOON
        it.clock.now += timedelta(hours=3)
        await it.look()
        assert it.follower.position == it.clock.now - module.LATE
        # Ends, and is not sent yet: the position stays before it.
        await it.end(long, ended_at=it.clock.now - timedelta(minutes=30))
        it.exporter.fails = True
        with pytest.raises(SendFailedError):
            await it.follower.look()
        kept = it.follower.position
    async with following(backend, since=kept - timedelta(hours=3)) as again:
        again.clock.now = NOON + timedelta(hours=4)
        assert sorted(await again.look()) == ["a1", "a2"]
        assert again.follower.position == again.clock.now - module.LATE


async def test_a_position_never_passes_what_is_not_sent() -> None:
    async with following(MemoryBackend()) as it:
        ids = [await it.start(number) for number in (1, 2)]
        await it.look()
        it.clock.now += timedelta(minutes=10)
        for id_ in ids:
            await it.end(id_, ended_at=NOON + timedelta(minutes=5))
        it.exporter.fails = True
        with pytest.raises(SendFailedError):
            await it.follower.look()
        assert it.follower.position <= NOON + timedelta(minutes=5)
        it.exporter.fails = False
        await it.look()
        assert it.follower.position == it.clock.now - module.LATE


async def test_so_many_are_watched_and_looked_at_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCHED", 5)
    monkeypatch.setattr(module, "ROUND", 2)
    async with following(MemoryBackend()) as it:
        ids = [await it.start(number) for number in range(7)]
        await it.look()
        assert len(it.follower._running) == 5
        for id_ in ids[2:]:
            await it.end(id_)
        sent = [agent for _ in range(4) for agent in await it.look()]
        assert sorted(set(sent)) == ["a2", "a3", "a4", "a5", "a6"]


async def test_what_has_ended_is_never_forgotten_for_more(
    backend: StorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WATCHED", 5)
    monkeypatch.setattr(module, "ROUND", 2)
    long_ago = NOON - timedelta(hours=5)
    async with following(backend, since=long_ago) as it:
        for number in range(12):
            at = long_ago + number * SECOND
            await it.start(number, created_at=at, status="completed", ended_at=at + SECOND)
        await it.start(12, created_at=NOON - SECOND)
        assert await it.look() == ["a0", "a1"]
        assert it.follower.position == long_ago  # seven of them were not even looked for
        sent = [agent for _ in range(10) for agent in await it.look()]
        assert sent == [f"a{number}" for number in range(2, 12)]
        assert it.follower.position == NOON - module.LATE
        assert len(it.follower._running) == 1


async def test_a_position_never_passes_what_was_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ROUND", 2)
    backend = MemoryBackend()
    long_ago = NOON - timedelta(hours=3)
    async with following(backend) as it:
        ids = [await it.start(n, created_at=long_ago + n * SECOND) for n in range(5)]
        await it.look()
        await it.end(ids[4], ended_at=NOON + SECOND)
        it.clock.now += timedelta(seconds=90)
        assert await it.look() == []
        kept = it.follower.position
    async with following(backend, since=kept) as again:
        again.clock.now = NOON + timedelta(minutes=3)
        sent = [agent for _ in range(3) for agent in await again.look()]
        assert sent == ["a4"]


async def test_what_was_sent_is_forgotten_when_it_can_not_be_found_again() -> None:
    async with following(MemoryBackend()) as it:
        for number in range(20):
            await it.end(await it.start(number, created_at=it.clock.now))
            await it.look()
            it.clock.now += timedelta(minutes=30)
        assert len(it.follower._settled) <= 3
        assert it.exporter.agents == [f"a{number}" for number in range(20)]


class _Away(WrappedBackend):
    """Its reads fail while it is away."""

    is_away = False

    def read_trajectories(self, query: TrajectoryQuery, /) -> AsyncIterator[Trajectory]:
        if self.is_away:
            raise BackendUnavailableError("the server is away")
        return super().read_trajectories(query)


async def test_it_runs_until_cancelled_through_troubles_that_it_tells_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = _Away()
    pauses: list[float] = []
    steps = asyncio.Queue[None]()
    looked = asyncio.Queue[None]()

    at_once = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if not seconds:
            return await at_once(0)
        pauses.append(seconds)
        looked.put_nowait(None)
        return await steps.get()

    async with following(backend) as it:
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setattr("trajectory.integrations.otel.live.asyncio.sleep", sleep)
            task = asyncio.create_task(it.follower.run(interval=2.0))
            await looked.get()
            await it.end(await it.start(1))
            it.exporter.fails = True
            for change in ("fails", "fails", "away", "well", "well"):
                backend.is_away = change == "away"
                it.exporter.fails = change == "fails"
                steps.put_nowait(None)
                await looked.get()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert it.exporter.agents == ["a1"]
    assert pauses == [2.0, 4.0, 8.0, 16.0, 2.0, 2.0]
    told = [each.getMessage() for each in caplog.records if each.name == module.__name__]
    assert len(told) == 2
    assert "trying again" in told[0]
    assert "works again" in told[1]


async def test_an_error_of_ours_ends_it() -> None:
    class Broken(WrappedBackend):
        def read_trajectories(self, query: TrajectoryQuery, /) -> AsyncIterator[Trajectory]:
            raise ZeroDivisionError

    async with following(Broken()) as it:
        with pytest.raises(ZeroDivisionError):
            await it.follower.run()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"query": TrajectoryQuery(limit=1)}, "filters alone"),
        ({"query": TrajectoryQuery(descending=True)}, "filters alone"),
        ({"since": NOON.replace(tzinfo=None)}, "no timezone"),
    ],
)
async def test_wrong_use_is_told(fields: dict[str, Any], words: str) -> None:
    async with TrajectoryStore(MemoryBackend()) as store:
        with pytest.raises(ConfigurationError, match=words):
            Follower(store, Taking(), **fields)
