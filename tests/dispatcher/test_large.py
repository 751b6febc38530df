"""Turns so large that their frames are made in slices: the loop goes on, and nothing is torn."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from journal.logged import died, replayed

from trajectory import (
    BufferFullError,
    JournalError,
    LoggerClosedError,
    LoggerSettings,
    SchemaError,
    TrajectoryLogger,
    Turn,
    TurnQuery,
    WriteFailedError,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.journal import LARGE_BYTES, Journaled, frames
from trajectory.testing import FailingBackend, GatedBackend

LARGE = "r" * 10 * LARGE_BYTES
ID = UUID(int=9)


def turn(number: int, response: str = "r") -> Turn:
    return Turn(trajectory_id=ID, turn_number=number, prompt="p", response=response)


def large(number: int) -> Turn:
    return turn(number, LARGE)


def settings(folder: Path, **fields: Any) -> LoggerSettings:
    return LoggerSettings(durability="journaled", journal_dir=folder / "j", **fields)


def numbered(value: Journaled) -> int:
    assert isinstance(value, Turn)
    return value.turn_number


async def stored(logger: TrajectoryLogger) -> list[int]:
    return [each.turn_number async for each in logger.backend.read_turns(TurnQuery())]


async def begun(logger: TrajectoryLogger, value: Turn) -> asyncio.Task[object]:
    """Begin to log a large turn, and return between two of its slices."""
    logging = asyncio.create_task(logger.log_turn(value))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not logging.done()
    return logging


def reserved(logger: TrajectoryLogger) -> tuple[int, int]:
    dispatcher = logger._life._dispatcher
    assert dispatcher is not None
    return dispatcher._buffer.turns, dispatcher._buffer.bytes


async def test_others_are_accepted_meanwhile_and_come_first(tmp_path: Path) -> None:
    async with TrajectoryLogger("memory://", settings(tmp_path)) as logger:
        logging = await begun(logger, large(1))
        await logger.log_turn(turn(2))
        assert not logging.done()
        assert await logging
        journal = logger._life._journal
        assert journal is not None
        assert [numbered(value) for value, _size in journal.read(0, 9, 2**30)] == [2, 1]
        await logger.flush()
        assert sorted(await stored(logger)) == [1, 2]


async def test_large_turns_are_accepted_in_the_order_of_their_calls(tmp_path: Path) -> None:
    async with TrajectoryLogger("memory://", settings(tmp_path, buffer_size=100)) as logger:
        await asyncio.gather(*(logger.log_turn(large(number)) for number in range(4)))
        journal = logger._life._journal
        assert journal is not None
        found = [numbered(value) for value, _size in journal.read(0, 9, 2**30)]
        assert found == [0, 1, 2, 3]


async def test_cancelled_between_two_slices_it_leaves_nothing_behind(tmp_path: Path) -> None:
    async with TrajectoryLogger("memory://", settings(tmp_path)) as logger:
        logging = await begun(logger, large(1))
        waiting = await begun(logger, large(2))
        logging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await logging
        assert reserved(logger) == (0, 0)
        assert await waiting  # the next has its turn
        await logger.flush()
        assert await stored(logger) == [2]
        assert logger.statistics().accepted == 1
        assert reserved(logger) == (0, 0)


async def test_closed_meanwhile_it_is_refused(tmp_path: Path) -> None:
    logger = await TrajectoryLogger("memory://", settings(tmp_path)).open()
    logging = await begun(logger, large(1))
    assert await logger.aclose() == (0, 0, 0)
    with pytest.raises(LoggerClosedError, match="nothing was accepted"):
        await logging
    assert replayed(tmp_path / "j")[0] == []


async def test_a_number_that_was_refused_is_given_out_again(tmp_path: Path) -> None:
    async with TrajectoryLogger("memory://", settings(tmp_path)) as logger:
        run = await logger.start_trajectory()
        logging = asyncio.create_task(run.log_turn("p", LARGE))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        logging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await logging
        assert (await run.log_turn("p", LARGE)).turn_number == 1


async def test_it_survives_the_end_of_its_process(tmp_path: Path) -> None:
    logger = await TrajectoryLogger("memory://", settings(tmp_path, buffer_size=100)).open()
    value = large(1)
    await logger.log_turn(value)
    journal = logger._life._journal
    assert journal is not None
    died(journal)
    assert replayed(tmp_path / "j")[0] == [value]
    await logger.aclose()


async def test_a_buffer_that_filled_meanwhile_refuses_it(tmp_path: Path) -> None:
    chosen = settings(tmp_path, overflow="raise", channel_capacity=1, buffer_size=1)
    async with TrajectoryLogger("memory://", chosen) as logger:
        logging = await begun(logger, large(1))
        dispatcher = logger._life._dispatcher
        assert dispatcher is not None
        assert dispatcher._buffer.reserve(is_turn=True, size=1)
        with pytest.raises(BufferFullError):
            await logging
        dispatcher._buffer.release(is_turn=True, size=1)
        assert await logger.log_turn(large(1))


async def test_what_spilled_meanwhile_stays_before_it(tmp_path: Path) -> None:
    backend = GatedBackend(MemoryBackend())
    chosen = settings(tmp_path, overflow="spill", channel_capacity=1, buffer_size=1)
    async with TrajectoryLogger(backend, chosen) as logger:
        logging = await begun(logger, large(1))
        await logger.log_turn(turn(2))
        await logger.log_turn(turn(3))  # finds the buffer full
        assert logger.statistics().spilled == 1
        assert await logging
        assert logger.statistics().spilled == 2
        journal = logger._life._journal
        assert journal is not None
        assert [numbered(value) for value, _size in journal.read(0, 9, 2**30)] == [2, 3, 1]
        backend.open_gate()
        await logger.flush()
        assert sorted(await stored(logger)) == [1, 2, 3]


async def test_failed_for_good_meanwhile_it_is_refused(tmp_path: Path) -> None:
    backend = FailingBackend(SchemaError("another schema"))
    logger = await TrajectoryLogger(backend, settings(tmp_path)).open()
    await logger.log_turn(turn(1))
    logging = await begun(logger, large(2))
    with pytest.raises(WriteFailedError):
        await logger.flush()
    with pytest.raises(WriteFailedError):
        await logging
    with pytest.raises(WriteFailedError):
        await logger.aclose()
    assert [numbered(value) for value in replayed(tmp_path / "j")[0]] == [1]


async def test_a_full_disk_refuses_it_and_gives_the_room_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TrajectoryLogger("memory://", settings(tmp_path)) as logger:
        journal = logger._life._journal
        assert journal is not None
        with monkeypatch.context() as patched:
            patched.setattr(journal._segments[-1], "_write", lambda _fd, _frame: 7)
            with pytest.raises(JournalError, match="nothing was accepted"):
                await logger.log_turn(large(1))
        assert reserved(logger) == (0, 0)
        assert await logger.log_turn(large(2))
        await logger.flush()
        assert await stored(logger) == [2]


async def test_one_that_no_frame_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TrajectoryLogger("memory://", settings(tmp_path)) as logger:
        monkeypatch.setattr(frames, "MAX_PAYLOAD", 2 * LARGE_BYTES)
        with pytest.raises(JournalError, match=r"can't journal a Turn: .* over the limit"):
            await logger.log_turn(large(1))
        assert reserved(logger) == (0, 0)


async def test_without_waiting_it_is_accepted_within_the_call(tmp_path: Path) -> None:
    async with TrajectoryLogger("memory://", settings(tmp_path)) as logger:
        assert logger.log_turn_nowait(large(1))
        logger.offer(large(2))
        assert logger.statistics().accepted == 2
