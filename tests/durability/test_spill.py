"""A database that is away: turns wait in the journal on disk, and come back in order."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from trajectory import (
    BackendUnavailableError,
    Batch,
    BufferFullError,
    Capabilities,
    LoggerClosedError,
    LoggerSettings,
    Question,
    SchemaError,
    TrajectoryLogger,
    TrajectoryQuery,
    Turn,
    TurnQuery,
    WriteFailedError,
)
from trajectory.backends.memory import MemoryBackend

ID = UUID(int=3)


class Server(MemoryBackend):
    """A server's backend: away, present, or with a schema that doesn't fit."""

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = Capabilities(identity="server://h/db")
        self.away = False
        self.schema: SchemaError | None = None
        self.batches: list[Batch] = []
        self.opened = 0

    async def open(self) -> None:
        if self.away:
            raise BackendUnavailableError("server://h/db: connection refused")
        if self.schema is not None:
            raise self.schema
        self.opened += 1

    async def write(self, batch: Batch, /) -> None:
        assert self.opened
        if self.away:
            raise BackendUnavailableError("server://h/db: connection refused")
        await asyncio.sleep(0)
        await super().write(batch)
        self.batches.append(batch)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def quick(tmp_path: Path) -> dict[str, Any]:
    return {
        "journal_dir": tmp_path,
        "channel_capacity": 20,
        "retry_initial_ms": 1,
        "retry_max_ms": 5,
    }


def turn(number: int, prompt: str = "p") -> Turn:
    return Turn(trajectory_id=ID, turn_number=number, prompt=prompt, response="r")


async def numbers(backend: MemoryBackend) -> list[int]:
    return [each.turn_number async for each in backend.read_turns(TurnQuery())]


async def test_the_agent_goes_on_and_all_is_stored_in_order(
    server: Server, quick: dict[str, Any]
) -> None:
    async with TrajectoryLogger(server, LoggerSettings(**quick)) as logger:
        run = await logger.start_trajectory()
        server.away = True
        for _ in range(500):
            await asyncio.wait_for(run.log_turn("p", "r"), 1)
        got = logger.statistics()
        assert (got.buffered, got.spilled, got.stored) == (500, 480, 0)
        server.away = False
        await run.end()
        assert await logger.flush() == (500, 0, 0)
    assert list(server._turns) == [(run.id, number) for number in range(1, 501)]
    assert max(len(batch.turns) for batch in server.batches) <= 20
    [read] = [each async for each in server.read_trajectories(TrajectoryQuery())]
    assert read.status == "completed"
    got = logger.statistics()
    assert got.accepted == got.stored == 500
    assert not list(quick["journal_dir"].rglob("*.journal"))


async def test_new_turns_go_on_while_it_catches_up_and_keep_their_order(
    server: Server, quick: dict[str, Any]
) -> None:
    async with TrajectoryLogger(server, LoggerSettings(**quick)) as logger:
        server.away = True
        for number in range(300):
            await logger.log_turn(turn(number))
        server.away = False
        for number in range(300, 900):
            await asyncio.wait_for(logger.log_turn(turn(number)), 1)
            await asyncio.sleep(0)
        await logger.log_question(ID, 899, Question(question_text="q", effort_level="low"))
        assert await logger.flush() == (900, 0, 0)
    assert [number for _id, number in server._turns] == list(range(900))
    sent = [each.turn_number for batch in server.batches for each in batch.turns]
    assert sent == list(range(900))


async def test_memory_stays_flat_while_it_spills(server: Server, quick: dict[str, Any]) -> None:
    import tracemalloc

    async with TrajectoryLogger(server, LoggerSettings(**quick)) as logger:
        server.away = True
        for number in range(200):
            await logger.log_turn(turn(number, "x" * 2000))
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(200, 1200):
                await logger.log_turn(turn(number, "x" * 2000))
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < 200_000  # of two million bytes of text
        server.away = False
        assert (await logger.flush()).stored == 1200


async def test_the_journal_s_limit_is_backpressure(server: Server, quick: dict[str, Any]) -> None:
    settings = LoggerSettings(**quick, journal_max_bytes=20_000, log_timeout_ms=100)
    async with TrajectoryLogger(server, settings) as logger:
        server.away = True
        accepted = 0
        with pytest.raises(BufferFullError, match="journal_max_bytes = 20000"):
            for number in range(1000):
                await logger.log_turn(turn(number, "x" * 500))
                accepted += 1
        assert 20 < accepted < 60
        with pytest.raises(BufferFullError):
            logger.log_turn_nowait(turn(999, "x" * 500))
        assert logger.statistics().journal_bytes <= 22_000
        waiting = asyncio.create_task(logger.log_turn(turn(accepted, "y")))
        await asyncio.sleep(0)
        server.away = False
        assert await waiting
        assert (await logger.flush()).stored == accepted + 1
    assert [number for _id, number in server._turns] == list(range(accepted + 1))


async def test_those_who_wait_for_the_journal_are_told_when_it_closes(
    server: Server, quick: dict[str, Any]
) -> None:
    settings = LoggerSettings(**quick, journal_max_bytes=1)
    logger = await TrajectoryLogger(server, settings).open()
    server.away = True
    for number in range(20):
        await logger.log_turn(turn(number))
    waiting = [asyncio.create_task(logger.log_turn(turn(99))) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    closing = asyncio.create_task(logger.aclose(timeout=5))
    async with asyncio.timeout(2):  # at once, and not when its time is over
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert not closing.done()
    assert (await closing).pending == 20
    assert [type(each) for each in outcomes] == [
        asyncio.CancelledError,
        LoggerClosedError,
        LoggerClosedError,
    ]


async def test_what_was_spilled_and_not_stored_is_there_at_the_next_start(
    server: Server, quick: dict[str, Any]
) -> None:
    settings = LoggerSettings(**quick)
    logger = await TrajectoryLogger(server, settings).open()
    server.away = True
    for number in range(100):
        await logger.log_turn(turn(number))
    assert await logger.aclose(timeout=0.05) == (0, 0, 100)
    server.away = False
    async with TrajectoryLogger(server, settings) as again:
        assert await again.flush() == (100, 0, 0)
        assert again.statistics().replayed == 100
    assert await numbers(server) == list(range(100))


async def test_a_server_that_is_away_at_the_start_is_only_a_warning(
    server: Server, quick: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    server.away = True
    async with TrajectoryLogger(server, LoggerSettings(**quick)) as logger:
        assert "waits in the journal" in caplog.text
        for number in range(50):
            await logger.log_turn(turn(number))
        assert (await logger.flush(timeout=0.05)).pending == 50
        server.away = False
        assert await logger.flush() == (50, 0, 0)
    assert server.opened == 1


async def test_the_schema_is_checked_at_the_first_contact(
    server: Server, quick: dict[str, Any]
) -> None:
    """Invariant: a wrong schema stops the writer loudly, and the journal keeps what came."""
    server.away = True
    logger = await TrajectoryLogger(server, LoggerSettings(**quick)).open()
    await logger.log_turn(turn(1))
    server.schema = SchemaError("revision 1 found, 2 needed; run `trajectory db upgrade`")
    server.away = False
    with pytest.raises(WriteFailedError, match="trajectory db upgrade"):
        await logger.flush()
    with pytest.raises(WriteFailedError):
        await logger.aclose()
    server.schema = None
    async with TrajectoryLogger(server, LoggerSettings(**quick)) as again:
        assert await again.flush() == (1, 0, 0)


@pytest.mark.parametrize("given", [{"overflow": "wait"}, {"durability": "queued"}])
async def test_without_spill_a_server_that_is_away_is_an_error(
    server: Server, quick: dict[str, Any], given: dict[str, Any]
) -> None:
    server.away = True
    with pytest.raises(BackendUnavailableError):
        await TrajectoryLogger(server, LoggerSettings(**quick, **given)).open()
    assert not list(quick["journal_dir"].rglob("*.journal"))


async def test_stored_calls_wait_for_what_was_spilled(
    server: Server, quick: dict[str, Any]
) -> None:
    settings = LoggerSettings(**quick, durability="stored", overflow="spill")
    async with TrajectoryLogger(server, settings) as logger:
        server.away = True
        waiting = [asyncio.create_task(logger.log_turn(turn(number))) for number in range(60)]
        await asyncio.sleep(0.02)
        assert not any(each.done() for each in waiting)
        server.away = False
        assert all(await asyncio.gather(*waiting))
        assert logger.statistics().stored == 60
