"""Ends, forks and cancellations in the middle of something: a replay, a dead letter, a spill."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from trajectory import (
    BackendUnavailableError,
    Batch,
    BatchRejectedError,
    Capabilities,
    LoggerClosedError,
    LoggerSettings,
    Question,
    SyncTrajectoryLogger,
    TrajectoryLogger,
    TrajectoryQuery,
    Turn,
    TurnQuery,
    buffer,
    delivery,
    lifecycle,
    open_backend,
    spill,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.dead_letters import DeadLetter, DeadLetterError, DeadLetterFile
from trajectory.journal import Journal, JournalError
from trajectory.journal.frames import TURN, encode_note

ID = UUID(int=5)


class Place(MemoryBackend):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.capabilities = Capabilities(identity=str(path))
        self.away = False
        self.batches: list[Batch] = []

    async def write(self, batch: Batch, /) -> None:
        if self.away:
            raise BackendUnavailableError("refused")
        await asyncio.sleep(0)
        if any(each.prompt == "bad" for each in batch.turns):
            raise BatchRejectedError("a value is refused")
        await super().write(batch)
        self.batches.append(batch)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "t.db")


def turn(number: int, prompt: str = "p", id_: UUID = ID) -> Turn:
    return Turn(trajectory_id=id_, turn_number=number, prompt=prompt, response="r")


def leave(tmp_path: Path, *values: Turn) -> None:
    journal = Journal(tmp_path / "t.db.turns")
    journal.open()
    for value in values:
        journal.append(value)
    journal.close()


@contextlib.contextmanager
def a_child(is_right: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Fork a child that lives as long as the block, with all that this process has open."""
    release, hold = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hold)
        os._exit(0 if is_right() and os.read(release, 1) == b"" else 9)
    os.close(release)
    try:
        yield
    finally:
        os.close(hold)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def slow_to_find(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Hold an open once it has found what was left; give what says so, and what lets it go on."""
    found, entered, gate = lifecycle._find_left, threading.Event(), threading.Event()

    def slow(*arguments: Any) -> None:
        found(*arguments)
        entered.set()
        gate.wait(10)

    monkeypatch.setattr(lifecycle, "_find_left", slow)
    return entered, gate


@pytest.mark.parametrize("level", ["queued", "journaled"])
def test_a_task_that_cleans_up_as_the_loop_ends_may_log(tmp_path: Path, level: str) -> None:
    """Invariant: what is accepted then is stored, with the end of its trajectory."""
    path = tmp_path / "t.db"

    async def agent(logger: TrajectoryLogger) -> None:
        async with logger.trajectory() as run:
            await run.log_turn("p", "r")
            try:
                await asyncio.sleep(60)
            finally:
                for _ in range(3):
                    await asyncio.sleep(0.02)
                await run.log_turn("p", "the interrupted answer")

    async def main() -> asyncio.Task[None]:
        logger = await TrajectoryLogger(path, LoggerSettings(durability=level)).open()
        logger._life.closed = True  # left open on purpose: no warning is wanted
        task = asyncio.create_task(agent(logger))
        await asyncio.sleep(0.02)
        return task

    asyncio.run(main())

    async def look() -> tuple[list[int], list[Any]]:
        backend = open_backend(path)
        await backend.open()
        turns = [each.turn_number async for each in backend.read_turns(TurnQuery())]
        states = [each.status async for each in backend.read_trajectories(TrajectoryQuery())]
        await backend.close()
        return turns, states

    assert asyncio.run(look()) == ([1, 2], ["cancelled"])
    assert not (tmp_path / "t.db.turns").exists()


@pytest.mark.parametrize("loggers", [1, 2])
def test_tasks_that_close_their_loggers_as_the_loop_ends_wait_for_nobody(loggers: int) -> None:
    """Invariant: a writer waits for who cleans up, who may be waiting for the writer."""
    backend = MemoryBackend()
    times: list[float] = []

    async def agent(id_: UUID) -> None:
        async with TrajectoryLogger(backend) as logger:
            await logger.log_turn(turn(1, id_=id_))
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.01)
                await logger.log_turn(turn(2, id_=id_))
                await logger.flush()

    async def main() -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(agent(UUID(int=number))) for number in range(loggers)]
        await asyncio.sleep(0.05)
        times.append(asyncio.get_running_loop().time())
        return tasks

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        runner.run(main())
    began = times[0]
    assert loop.is_closed()
    assert time.monotonic() - began < 4  # of the five seconds that closing may take
    assert len(backend._turns) == 2 * loggers


def test_a_logger_whose_loop_has_ended_accepts_nothing() -> None:
    async def main() -> TrajectoryLogger:
        logger = await TrajectoryLogger(MemoryBackend()).open()
        logger._life.closed = True
        return logger

    logger = asyncio.run(main())
    with pytest.raises(LoggerClosedError, match="with its event loop"):
        logger._life.dispatcher(other_thread=True).intake.accept_nowait(turn(1), 100)


LEFT_OPEN = """
import sys
from uuid import uuid4
from trajectory import LoggerSettings, SyncTrajectoryLogger, Turn
settings = LoggerSettings(durability=sys.argv[2], flush_interval_ms=60_000, buffer_size=100)
logger = SyncTrajectoryLogger(sys.argv[1], settings).open()
first = Turn(trajectory_id=uuid4(), turn_number=1, prompt="p", response="r")
logger.log_turn(first)
logger.log_turn(first.replace(response="other"))
for number in (2, 3):
    logger.log_turn(first.replace(turn_number=number))
"""


@pytest.mark.parametrize("level", ["queued", "journaled", "synced"])
async def test_a_refusal_while_the_interpreter_ends_costs_one_turn(
    tmp_path: Path, level: str
) -> None:
    """Invariant: what needs a thread is done although none can be scheduled any more."""
    path = tmp_path / "t.db"
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", LEFT_OPEN, str(path), level],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "Traceback" not in done.stderr
    backend = open_backend(path)
    await backend.open()
    assert [each.turn_number async for each in backend.read_turns(TurnQuery())] == [1, 2, 3]
    await backend.close()
    assert len(list(DeadLetterFile(tmp_path / "t.db.turns").read())) == 1


async def test_a_cancelled_open_leaves_what_was_left_to_the_next(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path, *(turn(number) for number in range(1, 6)))
    entered, gate = slow_to_find(monkeypatch)
    logger = TrajectoryLogger(place)
    opening = asyncio.create_task(logger.open())
    assert await asyncio.to_thread(entered.wait, 10)
    opening.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    monkeypatch.undo()
    async with logger:
        assert await logger.flush() == (5, 0, 0)


def test_a_fact_waits_for_its_turn_though_the_loop_ends_during_the_replay(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant: what was logged behind a replay is not stored before it, but left beside it."""
    leave(tmp_path, turn(1))
    gate, entered = threading.Event(), threading.Event()
    take = buffer.next_batch

    def slow(values: Any) -> Any:
        entered.set()
        gate.wait(10)
        return take(values)

    monkeypatch.setattr(delivery, "next_batch", slow)

    async def interrupted() -> None:
        logger = await TrajectoryLogger(place).open()
        logger._life.closed = True
        await logger.log_question(ID, 1, Question(question_text="q", effort_level="low"))
        await asyncio.to_thread(entered.wait, 10)
        gate.set()

    asyncio.run(interrupted())
    monkeypatch.undo()

    async def again() -> None:
        async with TrajectoryLogger(place) as logger:
            assert (await logger.flush()).pending == 0
            assert logger.statistics().others_dead_lettered == 0

    asyncio.run(again())
    [read] = place._turns.values()
    assert len(read.questions) == 1


async def test_a_child_keeps_no_lock_of_what_its_parent_replays(
    tmp_path: Path, place: Place
) -> None:
    leave(tmp_path, *(turn(number) for number in range(1, 21)))
    place.away = True
    logger = await TrajectoryLogger(place).open()
    with a_child():
        assert (await logger.aclose(timeout=0.05)).pending == 20
        place.away = False
        async with TrajectoryLogger(place) as again:
            assert await again.flush() == (20, 0, 0)


async def test_a_child_keeps_no_lock_of_the_journal(tmp_path: Path, place: Place) -> None:
    place.away = True
    logger = await TrajectoryLogger(place).open()
    await logger.log_turn(turn(1))
    with a_child():
        assert (await logger.aclose(timeout=0.05)).pending == 1
        place.away = False
        async with TrajectoryLogger(place) as again:
            assert await again.flush() == (1, 0, 0)


async def test_a_fork_while_a_letter_is_written_holds_nobody_back(tmp_path: Path) -> None:
    file = DeadLetterFile(tmp_path)
    with contextlib.ExitStack() as child:
        with file._locked(os.O_RDWR | os.O_CREAT):
            child.enter_context(a_child())
        with file._locked(os.O_RDWR):
            pass  # raises BlockingIOError after two seconds where the child has the lock


async def test_spill_and_a_bad_turn_together_lose_nothing(tmp_path: Path, place: Place) -> None:
    """Invariant: what is logged while a batch is cut follows what was spilled before it."""
    settings = LoggerSettings(
        overflow="spill", channel_capacity=10, buffer_size=5, retry_initial_ms=1, retry_max_ms=5
    )
    async with TrajectoryLogger(place, settings) as logger:
        place.away = True
        for number in range(1, 31):
            await logger.log_turn(turn(number, "bad" if number in (4, 17) else "p"))
        place.away = False
        for number in range(31, 71):
            await logger.log_turn(turn(number))
            await asyncio.sleep(0)
        assert await logger.flush() == (68, 2, 0)
    sent = [each.turn_number for batch in place.batches for each in batch.turns]
    assert sent == [number for number in range(1, 71) if number not in (4, 17)]
    assert {number for _id, number in place._turns} == set(sent)


async def test_a_report_counts_the_letters_of_what_came_before(place: Place) -> None:
    async with TrajectoryLogger(place) as logger:
        await logger.log_turn(turn(1))
        await logger.log_turn(turn(2, "bad"))
        assert await logger.flush() == (1, 1, 0)
        dispatcher = logger._life.dispatcher()
        await logger.log_turn(turn(3, "bad"))
        await logger.flush()
        assert dispatcher._ledger.report(2) == (1, 1, 0)
        assert dispatcher._ledger.report(1) == (1, 0, 0)


async def test_turns_that_cant_be_read_are_waited_for_by_nobody(
    tmp_path: Path, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    leave(tmp_path, turn(1), turn(2), turn(3))
    [segment] = (tmp_path / "t.db.turns").glob("*.journal")
    content = bytearray(segment.read_bytes())
    middle = content.index(b'"turn_number":2')
    content[middle] ^= 1
    segment.write_bytes(content)
    async with TrajectoryLogger(place) as logger:
        assert await logger.flush() == (2, 0, 0)
        assert logger.statistics().buffered == 0
    assert "1 damaged stretches" in caplog.text


async def test_turns_that_are_none_of_ours_are_waited_for_by_nobody(
    tmp_path: Path, place: Place
) -> None:
    """Invariant: the count of what is replayed holds what could be read, and no more."""
    leave(tmp_path, turn(1), turn(2))
    [segment] = (tmp_path / "t.db.turns").glob("*.journal")
    with segment.open("ab") as file:
        file.write(encode_note(TURN, {"of": "another version"}))
    async with TrajectoryLogger(place) as logger:
        assert await logger.flush() == (2, 0, 0)
        got = logger.statistics()
        assert (got.replayed, got.buffered) == (2, 0)


@pytest.mark.parametrize("size", [1, 6_000], ids=["by number", "by size"])
async def test_what_was_spilled_catches_up_at_once(tmp_path: Path, place: Place, size: int) -> None:
    """Invariant: nobody has to flush, and no timer has to pass."""
    settings = LoggerSettings(
        overflow="spill",
        channel_capacity=5,
        buffer_size=5,
        retry_initial_ms=1,
        retry_max_ms=2,
        flush_interval_ms=60_000,
        channel_bytes=10_000,  # of the large ones, one at a time comes back
    )
    async with TrajectoryLogger(place, settings) as logger:
        place.away = True
        for number in range(1, 26):
            await logger.log_turn(turn(number, "x" * size))
        place.away = False
        async with asyncio.timeout(10):
            while logger.statistics().stored < 23:  # the last two wait for others
                await asyncio.sleep(0.01)


async def test_a_segment_that_fails_to_be_read_holds_nobody_back(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    leave(tmp_path, turn(1), turn(2))

    def broken(_values: Any) -> Any:
        raise JournalError("can't read the journal: Input/output error")

    monkeypatch.setattr(delivery, "next_batch", broken)
    async with TrajectoryLogger(place) as logger:
        assert await logger.flush() == (0, 0, 0)
        assert (await logger.resume_trajectory(ID)).last_turn_number == 0
    assert "2 turns in it are not stored" in caplog.text
    monkeypatch.undo()
    async with TrajectoryLogger(place) as logger:
        assert await logger.flush() == (2, 0, 0)


async def test_a_letter_whose_writer_is_interrupted_is_written_once(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, entered, gate = DeadLetterFile._append, threading.Event(), threading.Event()

    def slow(self: DeadLetterFile, letter: DeadLetter) -> None:
        append(self, letter)
        entered.set()
        gate.wait(10)

    monkeypatch.setattr(DeadLetterFile, "_append", slow)

    async def interrupted() -> None:
        logger = await TrajectoryLogger(place).open()
        logger._life.closed = True
        await logger.log_turn(turn(1, "bad"))
        logger._life.dispatcher()._writer.write_now()
        await asyncio.to_thread(entered.wait, 10)
        asyncio.get_running_loop().call_later(0.05, gate.set)

    await asyncio.to_thread(asyncio.run, interrupted())
    lines = (tmp_path / "t.db.turns" / "dead-letters.jsonl").read_text().splitlines()
    assert len(lines) == 1


async def test_a_letter_that_is_there_twice_is_read_once(tmp_path: Path) -> None:
    file = DeadLetterFile(tmp_path)
    sent = turn(1)
    for reason in ("first", "second"):
        await file.add(DeadLetter.of(sent, BatchRejectedError(reason)))
    await file.add(DeadLetter.of(turn(2), BatchRejectedError("other")))
    first, other = file.read()
    assert ("first" in first.reason, other.key) == (True, f"{ID}/2")
    file.remove([first])
    assert [letter.key for letter in file.read()] == [f"{ID}/2"]


async def test_a_letter_after_a_torn_line_or_a_failed_write_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = DeadLetterFile(tmp_path)
    letter = DeadLetter.of(turn(1), BatchRejectedError("no"))
    file.path.write_bytes(b'{"reason": "torn by a power lo')
    await file.add(letter)
    assert [each.key for each in file.read()] == [letter.key]
    before = file.path.read_bytes()

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DeadLetterError, match="No space left"):
        await file.add(DeadLetter.of(turn(2), BatchRejectedError("no")))
    assert file.path.read_bytes() == before


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_hook_that_ends_the_program_holds_no_sync_caller(raised: BaseException) -> None:
    """Invariant: the caller hears of it, and the thread goes on for the others."""

    def hook(sent: Turn) -> Turn:
        if sent.turn_number == 1:
            raise raised
        return sent

    backend = MemoryBackend()
    with SyncTrajectoryLogger(backend, redact=hook) as logger:
        with pytest.raises(type(raised)):
            logger.log_turn(turn(1))
        logger.log_turn(turn(2))
    assert [number for _id, number in backend._turns] == [2]


async def test_large_turns_come_back_without_holding_the_loop(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant: what takes long to decode is decoded in a thread."""
    decoders: set[int] = set()
    decoded = spill.decoded  # type: ignore[attr-defined]

    def noted(frames: Any) -> Any:
        decoders.add(threading.get_ident())
        return decoded(frames)

    monkeypatch.setattr(spill, "decoded", noted)
    settings = LoggerSettings(
        overflow="spill", channel_capacity=4, buffer_size=4, retry_initial_ms=1
    )
    async with TrajectoryLogger(place, settings) as logger:
        place.away = True
        for number in range(1, 13):
            await logger.log_turn(turn(number, "x" * 20_000))
        place.away = False
        assert await logger.flush() == (12, 0, 0)
    assert decoders
    assert threading.get_ident() not in decoders


async def test_who_waits_for_the_journal_goes_on_as_soon_as_there_is_room(
    tmp_path: Path, place: Place
) -> None:
    settings = LoggerSettings(
        overflow="spill",
        channel_capacity=2,
        buffer_size=1,
        journal_max_bytes=1,
        retry_initial_ms=1,
        retry_max_ms=2,
        flush_interval_ms=60_000,
    )
    async with TrajectoryLogger(place, settings) as logger:
        place.away = True
        for number in (1, 2):
            await logger.log_turn(turn(number))
        waiting = asyncio.create_task(logger.log_turn(turn(3)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.02)
        place.away = False
        await asyncio.wait_for(waiting, 5)  # of the thirty seconds that it may wait
    assert len(place._turns) == 3


async def test_a_fork_while_a_logger_opens_takes_nothing_along(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant: the child begins anew, and holds no lock of what its parent was finding."""
    leave(tmp_path, turn(1))
    entered, gate = slow_to_find(monkeypatch)
    logger = TrajectoryLogger(place)
    opening = asyncio.create_task(logger.open())
    assert await asyncio.to_thread(entered.wait, 10)
    with a_child(lambda: logger._life.forked):
        gate.set()
        await opening
        place.away = True
        await logger.log_turn(turn(2))
        await logger.aclose(timeout=0.05)
        place.away = False
        monkeypatch.undo()
        async with TrajectoryLogger(place) as again:
            assert await again.flush() == (2, 0, 0)
