"""What a process left in its journal is stored by the next one, once, and before all else."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from trajectory import (
    BackendError,
    BackendUnavailableError,
    Batch,
    Capabilities,
    LoggerSettings,
    Question,
    TrajectoryEnd,
    TrajectoryLogger,
    TrajectoryQuery,
    Turn,
    TurnQuery,
    WriteFailedError,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.journal import Journal
from trajectory.models import Fact, Logged, Trajectory


class Place(MemoryBackend):
    """In memory, at a place that has a name: the journal finds it again."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.capabilities = Capabilities(identity=str(path))
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.batches: list[Batch] = []

    async def write(self, batch: Batch, /) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        await super().write(batch)
        self.batches.append(batch)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "t.db")


def leave(tmp_path: Path, *values: Logged, marked: int = 0) -> None:
    """Leave a journal behind, as a process that died does."""
    journal = Journal(tmp_path / "t.db.turns")
    journal.open()
    for value in values:
        journal.append(value)
    journal.mark(marked)
    journal.close()


def turn(number: int, id_: UUID, **fields: Any) -> Turn:
    return Turn(trajectory_id=id_, turn_number=number, prompt="p", response="r", **fields)


def segments(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "t.db.turns").glob("*.journal"))


async def numbers(backend: Place) -> list[int]:
    return [each.turn_number async for each in backend.read_turns(TurnQuery())]


async def test_all_that_was_left_is_stored_and_counted(tmp_path: Path, place: Place) -> None:
    start = Trajectory(run_id="r")
    question = Question(question_text="q", effort_level="low", position=2**50)
    leave(
        tmp_path,
        start,
        *(turn(number, start.id) for number in range(1, 251)),
        Fact(trajectory_id=start.id, turn_number=1, finding=question),
        TrajectoryEnd(trajectory_id=start.id, status="completed"),
    )
    async with TrajectoryLogger(place) as logger:
        assert await logger.flush() == (250, 0, 0)
        got = logger.statistics()
    assert (got.accepted, got.replayed, got.stored, got.buffered) == (0, 250, 250, 0)
    assert max(len(batch) for batch in place.batches) <= 100
    assert await numbers(place) == list(range(1, 251))
    [read] = [each async for each in place.read_trajectories(TrajectoryQuery())]
    assert (read.run_id, read.status) == ("r", "completed")
    assert not segments(tmp_path)


async def test_what_was_marked_is_left_out(tmp_path: Path, place: Place) -> None:
    id_ = uuid4()
    leave(tmp_path, *(turn(number, id_) for number in range(1, 11)), marked=7)
    async with TrajectoryLogger(place) as logger:
        assert await logger.flush() == (3, 0, 0)
    assert await numbers(place) == [8, 9, 10]


async def test_segments_of_several_dead_processes_are_stored(tmp_path: Path, place: Place) -> None:
    ids = [uuid4() for _ in range(4)]
    for id_ in ids:
        leave(tmp_path, turn(1, id_), turn(2, id_))
    async with TrajectoryLogger(place) as logger:
        assert await logger.flush() == (8, 0, 0)
    assert not segments(tmp_path)


async def test_it_comes_before_what_is_logged_now(tmp_path: Path, place: Place) -> None:
    """Invariant: a fact of a turn that waits for its replay finds the turn stored."""
    id_ = uuid4()
    leave(tmp_path, turn(1, id_))
    place.gate = asyncio.Event()
    async with TrajectoryLogger(place) as logger:
        await logger.log_question(id_, 1, Question(question_text="q", effort_level="low"))
        flushing = asyncio.create_task(logger.flush())
        await asyncio.sleep(0)
        assert (await logger.flush(timeout=0.01)) == (0, 0, 1)
        place.gate.set()
        assert await flushing == (1, 0, 0)
    [read] = [each async for each in place.read_turns(TurnQuery())]
    assert len(read.questions) == 1


async def test_resume_goes_on_after_what_was_left(tmp_path: Path, place: Place) -> None:
    id_ = uuid4()
    leave(tmp_path, *(turn(number, id_) for number in range(1, 6)))
    async with TrajectoryLogger(place) as logger:
        run = await logger.resume_trajectory(id_)
        assert (await run.log_turn("p", "r")).turn_number == 6


async def test_a_replay_that_is_cut_short_is_taken_up_again(tmp_path: Path, place: Place) -> None:
    id_ = uuid4()
    leave(tmp_path, *(turn(number, id_) for number in range(1, 301)))
    write = place.write

    async def twice_then_away(batch: Batch, /) -> None:
        if len(place.batches) == 2:
            raise BackendUnavailableError("refused")
        await write(batch)

    place.write = twice_then_away  # type: ignore[method-assign]
    logger = await TrajectoryLogger(place).open()
    assert await logger.flush(timeout=0.2) == (200, 0, 100)
    assert await logger.aclose(timeout=0.1) == (200, 0, 100)
    assert len(segments(tmp_path)) == 1
    place.write = write  # type: ignore[method-assign]
    async with TrajectoryLogger(place) as logger:
        assert (await logger.flush()).pending == 0
    assert await numbers(place) == list(range(1, 301))
    assert not segments(tmp_path)


async def test_a_bad_turn_in_it_becomes_a_dead_letter(tmp_path: Path, place: Place) -> None:
    id_ = uuid4()
    async with TrajectoryLogger(place) as logger:
        await logger.log_turn(turn(2, id_))
    leave(tmp_path, *(turn(n, id_, token_count=5 if n == 2 else None) for n in (1, 2, 3)))
    async with TrajectoryLogger(place) as logger:
        assert await logger.flush() == (2, 1, 0)
        got = logger.statistics()
        assert (got.replayed, got.stored, got.dead_lettered, got.conflicts) == (3, 2, 1, 1)
    assert not segments(tmp_path)


async def test_what_can_t_be_stored_at_close_stays_in_the_journal(
    tmp_path: Path, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.failure = BackendUnavailableError("refused")
    logger = await TrajectoryLogger(place).open()
    async with logger.trajectory() as run:
        for _ in range(5):
            await run.log_turn("p", "r")
    assert await logger.aclose(timeout=0.1) == (0, 0, 5)
    assert "closed with 5 turns not stored; the next logger that opens this database" in caplog.text
    assert f"from the journal in {tmp_path}" in caplog.text
    place.failure = None
    async with TrajectoryLogger(place) as logger:
        assert await logger.flush() == (5, 0, 0)
    [read] = [each async for each in place.read_trajectories(TrajectoryQuery())]
    assert (read.id, read.status) == (run.id, "completed")


async def test_a_failure_for_good_leaves_all_in_the_journal(tmp_path: Path, place: Place) -> None:
    leave(tmp_path, turn(1, UUID(int=1)))
    place.failure = BackendError("disk image is malformed")
    logger = await TrajectoryLogger(place).open()
    with pytest.raises(WriteFailedError, match="from the journal in"):
        await logger.flush()
    with pytest.raises(WriteFailedError):
        await logger.log_turn(turn(1, UUID(int=2)))
    with pytest.raises(WriteFailedError):
        await logger.aclose()
    place.failure = None
    async with TrajectoryLogger(place) as logger:
        assert await logger.flush() == (1, 0, 0)


async def test_a_torn_tail_is_cut_and_said(
    tmp_path: Path, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    id_ = uuid4()
    leave(tmp_path, turn(1, id_), turn(2, id_))
    [segment] = segments(tmp_path)
    segment.write_bytes(segment.read_bytes()[:-10])
    with caplog.at_level(logging.WARNING):
        async with TrajectoryLogger(place) as logger:
            assert await logger.flush() == (1, 0, 0)
    assert "could not be read" in caplog.text
    assert not segments(tmp_path)


async def test_two_loggers_of_one_process_leave_each_other_s_journals_alone(
    tmp_path: Path, place: Place
) -> None:
    place.gate = asyncio.Event()
    settings = LoggerSettings(close_timeout_ms=60_000)
    async with TrajectoryLogger(place, settings) as one:
        await one.log_turn(turn(1, UUID(int=1)))
        async with TrajectoryLogger(place, settings) as two:
            assert two.statistics().replayed == 0
            await two.log_turn(turn(1, UUID(int=2)))
            place.gate.set()
    assert len(place._turns) == 2
