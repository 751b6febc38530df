"""Whoever is cancelled, wherever: nothing accepted is lost, nothing refused is stored."""

from __future__ import annotations

import asyncio
import gc
import random
from uuid import uuid4

import pytest
from clock import run_virtual

from trajectory import (
    BackendError,
    BackendUnavailableError,
    LoggerClosedError,
    LoggerSettings,
    TrajectoryError,
    TrajectoryLogger,
    Turn,
    TurnQuery,
    WriteFailedError,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.testing import (
    CommitThenDisconnectBackend,
    FailingBackend,
    GatedBackend,
    SlowBackend,
)


def turn(number: int = 1) -> Turn:
    return Turn(trajectory_id=uuid4(), turn_number=number, prompt="p", response="r")


async def keys(backend: MemoryBackend) -> set[object]:
    return {t.key async for t in backend.read_turns(TurnQuery())}


async def fill(logger: TrajectoryLogger, count: int) -> set[object]:
    turns = [turn(number) for number in range(count)]
    for each in turns:
        await logger.log_turn(each)
    return {each.key for each in turns}


@run_virtual
async def test_a_log_turn_cancelled_while_it_waits_was_not_accepted() -> None:
    inner = MemoryBackend()
    backend = GatedBackend(inner)
    async with TrajectoryLogger(backend) as logger:
        accepted = await fill(logger, 100)
        waiting = asyncio.create_task(logger.log_turn(turn()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        backend.open_gate()
    assert await keys(inner) == accepted
    assert logger.statistics().accepted == 100


@run_virtual
async def test_a_log_turn_cancelled_between_grant_and_add_gives_its_room_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Invariant: room that was reserved for a cancelled caller is not lost."""
    inner = MemoryBackend()
    backend = GatedBackend(inner)
    settings = LoggerSettings(channel_capacity=1, buffer_size=1)
    async with TrajectoryLogger(backend, settings) as logger:
        accepted = await fill(logger, 1)
        await backend.parked(1)
        first = asyncio.create_task(logger.log_turn(turn(1)))
        last = turn(2)
        second = asyncio.create_task(logger.log_turn(last))
        await asyncio.sleep(0)
        dispatcher = logger._life._dispatcher
        assert dispatcher is not None
        drop = dispatcher._buffer.drop

        def drop_and_cancel(count: int) -> int:
            """Grant room to the first, and cancel it before it runs again."""
            turns = drop(count)
            first.cancel()
            return turns

        monkeypatch.setattr(dispatcher._buffer, "drop", drop_and_cancel)
        backend.open_gate()
        assert await second
        with pytest.raises(asyncio.CancelledError):
            await first
    assert await keys(inner) == {*accepted, last.key}


@run_virtual
@pytest.mark.parametrize("caller", ["flush", "aclose"])
async def test_a_cancelled_flush_or_aclose_tears_nothing(caller: str) -> None:
    """Invariant: the write that the caller waited for commits as if nothing had happened."""
    inner = MemoryBackend()
    backend = GatedBackend(inner)
    logger = await TrajectoryLogger(backend).open()
    accepted = await fill(logger, 15)
    call = asyncio.create_task(getattr(logger, caller)())
    await backend.parked(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    backend.open_gate()
    report = await logger.aclose()
    assert report == (15, 0, 0)
    assert await keys(inner) == accepted
    assert backend.cancelled == 0


@run_virtual
async def test_a_stored_call_that_is_cancelled_leaves_its_turn_accepted() -> None:
    inner = MemoryBackend()
    backend = GatedBackend(inner)
    settings = LoggerSettings(durability="stored")
    backend.open_gate()
    async with TrajectoryLogger(backend, settings) as logger, logger.trajectory() as run:
        backend.close_gate()
        call = asyncio.create_task(run.log_turn("p", "r"))
        await backend.parked(2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        backend.open_gate()
        # Its number is taken: giving it out again would be a conflict.
        assert (await run.log_turn("p", "other")).turn_number == 2
    assert len(await keys(inner)) == 2


@pytest.mark.parametrize("seed", range(10))
def test_random_cancellations_lose_and_double_nothing(seed: int) -> None:
    """Invariant: a call that returned is stored once; one that was cancelled may be, or not."""
    chance = random.Random(seed)
    inner = MemoryBackend()

    @run_virtual
    async def body() -> None:
        returned: set[object] = set()
        tried: set[object] = set()
        settings = LoggerSettings(channel_capacity=5, buffer_size=3)
        async with TrajectoryLogger(SlowBackend(0.01, inner), settings) as logger:

            async def log(number: int) -> None:
                sent = turn(number)
                tried.add(sent.key)
                await logger.log_turn(sent)
                returned.add(sent.key)
                if number % 5 == 0:
                    await logger.flush()

            tasks = [asyncio.create_task(log(number)) for number in range(100)]
            for task in tasks:
                asyncio.get_running_loop().call_later(chance.uniform(0, 0.3), task.cancel)
            await asyncio.gather(*tasks, return_exceptions=True)
        stored = await keys(inner)
        assert returned <= stored <= tried
        assert logger.statistics().stored == len(stored)
        assert logger.statistics().buffered == 0

    body()


def test_a_loop_that_ends_without_aclose_stores_what_was_accepted() -> None:
    inner = MemoryBackend()
    closed = []

    class Closes(SlowBackend):
        async def close(self) -> None:
            closed.append(True)

    async def main() -> TrajectoryLogger:
        logger = await TrajectoryLogger(Closes(0.001, inner)).open()
        await fill(logger, 57)
        return logger

    logger = asyncio.run(main())
    got = logger.statistics()
    assert (got.accepted, got.stored, got.buffered) == (57, 57, 0)
    assert len(inner._turns) == 57
    assert not closed  # it was handed to the logger
    assert asyncio.run(logger.aclose()) == (57, 0, 0)


def test_a_logger_left_open_warns_and_says_what_to_do() -> None:
    async def main() -> None:
        logger = await TrajectoryLogger(MemoryBackend()).open()
        await fill(logger, 3)
        await logger.flush()

    with pytest.warns(ResourceWarning, match="0 turns not stored; use `async with`"):
        asyncio.run(main())
        gc.collect()


@run_virtual
async def test_a_forgotten_logger_stores_what_it_accepted() -> None:
    """Invariant: the writer lives on while the loop does, though nobody holds the logger."""
    inner = MemoryBackend()
    logger = await TrajectoryLogger(inner).open()
    accepted = await fill(logger, 3)
    with pytest.warns(ResourceWarning, match="3 turns not stored"):
        del logger
        gc.collect()
    await asyncio.sleep(0.6)
    assert await keys(inner) == accepted
    [writer] = asyncio.all_tasks() - {asyncio.current_task()}
    writer.cancel()  # as the end of the loop does; nobody is left who could close it


def test_a_batch_that_the_end_of_the_loop_interrupts_is_repeated_by_key() -> None:
    """Invariant: an unknown outcome (here: committed) is written again and stored once."""
    inner = MemoryBackend()

    class CommitsThenHangs(GatedBackend):
        async def write(self, batch: object, /) -> None:
            await inner.write(batch)  # type: ignore[arg-type]
            await super().write(batch)  # type: ignore[arg-type]

    async def main() -> TrajectoryLogger:
        backend = CommitsThenHangs(inner)
        logger = await TrajectoryLogger(backend).open()
        await fill(logger, 12)
        await backend.parked(1)
        asyncio.get_running_loop().call_soon(backend.open_gate)
        return logger

    logger = asyncio.run(main())
    assert logger.statistics().stored == 12
    assert len(inner._turns) == 12
    assert asyncio.run(logger.aclose()) == (12, 0, 0)


@run_virtual
async def test_a_commit_whose_answer_is_lost_is_repeated_and_stored_once() -> None:
    inner = MemoryBackend()
    async with TrajectoryLogger(CommitThenDisconnectBackend(inner)) as logger:
        accepted = await fill(logger, 25)
        assert (await logger.flush()).stored == 25
        assert logger.statistics().retries > 0
    assert await keys(inner) == accepted


@run_virtual
async def test_those_who_wait_for_room_when_it_closes_are_told() -> None:
    backend = GatedBackend()
    logger = await TrajectoryLogger(backend).open()
    await fill(logger, 100)
    waiting = asyncio.create_task(logger.log_turn(turn()))
    await asyncio.sleep(0)
    closing = asyncio.create_task(logger.aclose())
    with pytest.raises(LoggerClosedError):
        await waiting
    backend.open_gate()
    assert await closing == (100, 0, 0)


def test_a_second_cancellation_at_the_end_of_the_loop_changes_nothing() -> None:
    """Invariant: a second Ctrl-C, which cancels the writer's last write, loses no turn."""
    inner = MemoryBackend()

    class Parks(GatedBackend):
        async def write(self, batch: object, /) -> None:
            if self.cancelled == 1:
                writer = asyncio.current_task()
                assert writer is not None
                asyncio.get_running_loop().call_soon(writer.cancel)
            if self.cancelled == 2:
                self.open_gate()
            await super().write(batch)  # type: ignore[arg-type]

    async def main() -> TrajectoryLogger:
        backend = Parks(inner)
        logger = await TrajectoryLogger(backend).open()
        await fill(logger, 12)
        await backend.parked(1)
        return logger

    logger = asyncio.run(main())
    assert len(inner._turns) == 12
    assert asyncio.run(logger.aclose()) == (12, 0, 0)


@run_virtual
async def test_two_opens_at_once_make_one_writer() -> None:
    class Slow(MemoryBackend):
        async def open(self) -> None:
            await asyncio.sleep(1)

    logger = TrajectoryLogger(Slow())
    outcomes = await asyncio.gather(logger.open(), logger.open(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [TrajectoryLogger, TrajectoryError]
    await logger.aclose()


@run_virtual
async def test_an_open_that_failed_may_be_tried_again() -> None:
    class AwayOnce(MemoryBackend):
        tries = 0

        async def open(self) -> None:
            self.tries += 1
            if self.tries == 1:
                raise BackendUnavailableError("refused")

    logger = TrajectoryLogger(AwayOnce())
    with pytest.raises(BackendUnavailableError):
        await logger.open()
    async with logger:
        await logger.log_turn(turn())


@run_virtual
async def test_a_second_aclose_keeps_a_timeout_of_its_own() -> None:
    backend = GatedBackend()
    logger = await TrajectoryLogger(backend).open()
    await fill(logger, 3)
    first = asyncio.create_task(logger.aclose(timeout=60))
    await backend.parked(1)
    began = asyncio.get_running_loop().time()
    assert await logger.aclose(timeout=1) == (0, 0, 3)
    assert asyncio.get_running_loop().time() - began < 5
    backend.open_gate()
    assert await first == (3, 0, 0)


@run_virtual
async def test_a_failure_is_told_although_the_first_aclose_was_cancelled() -> None:
    logger = await TrajectoryLogger(FailingBackend(BackendError("broken"))).open()
    await fill(logger, 1)
    first = asyncio.create_task(logger.aclose())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(WriteFailedError):
        await logger.aclose()
    assert (await logger.aclose()).pending == 1  # once is enough


@run_virtual
async def test_stored_calls_have_a_true_answer_when_the_end_comes_first() -> None:
    backend = GatedBackend()
    logger = await TrajectoryLogger(backend, LoggerSettings(durability="stored")).open()
    waiting = asyncio.create_task(logger.log_turn(turn()))
    await backend.parked(1)
    assert await logger.aclose(timeout=1) == (0, 0, 1)
    with pytest.raises(LoggerClosedError, match="closed before it was stored"):
        await waiting


@run_virtual
async def test_a_stored_call_waits_no_longer_than_its_timeout_in_all() -> None:
    """Invariant: the wait for room and the wait for the commit share one timeout."""
    loop = asyncio.get_running_loop()
    backend = GatedBackend()
    settings = LoggerSettings(
        durability="stored", channel_capacity=1, buffer_size=1, log_timeout_ms=10_000
    )
    async with TrajectoryLogger(backend, settings) as logger:
        first = asyncio.create_task(logger.log_turn(turn()))
        await backend.parked(1)
        began = loop.time()
        second = asyncio.create_task(logger.log_turn(turn()))
        await asyncio.sleep(8)
        backend.let_through(1)
        await first
        with pytest.raises(BackendUnavailableError, match="accepted but not stored"):
            await second
        assert loop.time() - began == pytest.approx(10)
        backend.open_gate()


@run_virtual
async def test_warn_lets_a_stored_call_go_on_with_a_true_answer() -> None:
    settings = LoggerSettings(durability="stored", on_failure="warn")
    async with TrajectoryLogger(FailingBackend(BackendError("broken")), settings) as logger:
        assert not await logger.log_turn(turn())
        assert not await logger.log_turn(turn())
        got = logger.statistics()
        assert (got.stored, got.buffered, got.dropped) == (0, 1, 1)
