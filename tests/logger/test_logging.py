"""What people hold to write: turns, facts, sizes, redaction, levels."""

from __future__ import annotations

import asyncio
import logging
from uuid import UUID, uuid4

import pytest

from trajectory import (
    Accepted,
    BackendUnavailableError,
    BufferFullError,
    ConfigurationError,
    InvalidTurnError,
    LoggerClosedError,
    LoggerSettings,
    Question,
    TrajectoryError,
    TrajectoryLogger,
    TrajectoryQuery,
    Turn,
    TurnQuery,
    Violation,
)
from trajectory.backend import Batch
from trajectory.backends.memory import MemoryBackend

CANARY = "canary-7c1e"


def turn(trajectory_id: UUID | None = None, number: int = 1, **fields: object) -> Turn:
    return Turn(
        trajectory_id=trajectory_id or uuid4(),
        turn_number=number,
        **{"prompt": "p", "response": "r", **fields},
    )


async def stored(backend: MemoryBackend) -> list[Turn]:
    return [turn async for turn in backend.read_turns(TurnQuery())]


async def test_a_turn_comes_back_as_it_was_logged() -> None:
    backend = MemoryBackend()
    sent = turn(questions=[Question(question_text="Which?", effort_level="high")])
    async with TrajectoryLogger(backend) as logger:
        outcome = await logger.log_turn(sent)
    assert isinstance(outcome, Accepted)
    assert outcome
    assert await stored(backend) == [sent]


async def test_the_return_of_log_turn_at_level_stored_means_committed() -> None:
    backend = MemoryBackend()
    settings = LoggerSettings(durability="stored")
    async with TrajectoryLogger(backend, settings) as logger:
        await logger.log_turn(turn())
        assert len(await stored(backend)) == 1
        assert logger.statistics().batches == 1


async def test_waiting_callers_at_level_stored_share_a_flush() -> None:
    backend = MemoryBackend()
    settings = LoggerSettings(durability="stored")
    async with TrajectoryLogger(backend, settings) as logger:
        await asyncio.gather(*(logger.log_turn(turn()) for _ in range(50)))
        assert logger.statistics().batches < 50
    assert len(await stored(backend)) == 50


async def test_a_turn_without_a_start_gets_a_parent() -> None:
    backend = MemoryBackend()
    sent = turn()
    async with TrajectoryLogger(backend) as logger:
        await logger.log_turn(sent)
    [parent] = [t async for t in backend.read_trajectories(TrajectoryQuery())]
    assert (parent.id, parent.status) == (sent.trajectory_id, None)


async def test_late_facts_join_their_turn_behind_its_own() -> None:
    backend = MemoryBackend()
    sent = turn(questions=[Question(question_text="first", effort_level="low")])
    async with TrajectoryLogger(backend) as logger:
        await logger.log_turn(sent)
        for text in ("second", "third"):
            late = Question(question_text=text, effort_level="low")
            await logger.log_question(*sent.key, late)
        broken = Violation(preference_name="tone", severity="minor", source="human:ann")
        await logger.log_violation(*sent.key, broken)
        statistics = logger.statistics()
    assert (statistics.accepted, statistics.others_accepted) == (1, 3)
    [read] = await stored(backend)
    assert [q.question_text for q in read.questions] == ["first", "second", "third"]
    assert [(v.preference_name, v.source) for v in read.violations] == [("tone", "human:ann")]


async def test_a_fact_with_a_position_may_be_logged_again() -> None:
    backend = MemoryBackend()
    sent = turn()
    fact = Question(question_text="q", effort_level="low", source="heuristic/1", position=0)
    async with TrajectoryLogger(backend) as logger:
        await logger.log_turn(sent)
        await logger.log_question(*sent.key, fact)
        await logger.log_question(*sent.key, fact)
    [read] = await stored(backend)
    assert len(read.questions) == 1


@pytest.mark.parametrize("level", ["queued", "stored"])
async def test_too_large_a_turn_is_refused_by_name_and_number(level: str) -> None:
    settings = LoggerSettings(max_turn_bytes=1000, durability=level)
    async with TrajectoryLogger(MemoryBackend(), settings) as logger:
        with pytest.raises(InvalidTurnError, match="max_turn_bytes = 1000") as caught:
            await logger.log_turn(turn(prompt=CANARY * 100))
        assert logger.statistics().accepted == 0
    assert CANARY not in str(caught.value)


async def test_log_turn_takes_turns_only() -> None:
    async with TrajectoryLogger(MemoryBackend()) as logger:
        with pytest.raises(InvalidTurnError, match="dict is no Turn"):
            await logger.log_turn({"prompt": CANARY})  # type: ignore[arg-type]


async def test_redaction_runs_before_anything_keeps_the_turn() -> None:
    backend = MemoryBackend()
    hook = lambda turn: turn.replace(prompt="[redacted]")  # noqa: E731
    async with TrajectoryLogger(backend, redact=hook) as logger:
        await logger.log_turn(turn(prompt=CANARY))
    assert [t.prompt for t in await stored(backend)] == ["[redacted]"]


@pytest.mark.parametrize("answer", [None, turn(), ValueError(CANARY)])
async def test_a_failing_redaction_stores_a_placeholder(
    answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    def hook(_turn: Turn) -> Turn:
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]

    backend = MemoryBackend()
    async with TrajectoryLogger(backend, redact=hook) as logger:
        await logger.log_turn(turn(prompt=CANARY, response=CANARY))
    [read] = await stored(backend)
    assert CANARY not in read.model_dump_json()
    assert read.error == "the redaction hook failed"
    assert CANARY not in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_nowait_accepts_or_raises_at_once() -> None:
    settings = LoggerSettings(channel_capacity=2, buffer_size=2)
    async with TrajectoryLogger(MemoryBackend(), settings) as logger:
        assert logger.log_turn_nowait(turn())
        assert logger.log_turn_nowait(turn())
        with pytest.raises(BufferFullError, match="channel_capacity = 2"):
            logger.log_turn_nowait(turn())
        assert logger.statistics().accepted == 2


async def test_another_thread_logs_through_a_future() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger:

        def work() -> list[bool]:
            futures = [logger.log_turn_threadsafe(turn()) for _ in range(20)]
            return [bool(future.result(10)) for future in futures]

        assert await asyncio.to_thread(work) == [True] * 20
    assert len(await stored(backend)) == 20


async def test_the_numbers_add_up_at_rest() -> None:
    settings = LoggerSettings(overflow="drop_newest", channel_capacity=10)
    async with TrajectoryLogger(MemoryBackend(), settings) as logger:
        outcomes = [await logger.log_turn(turn()) for _ in range(15)]
        await logger.flush()
        got = logger.statistics()
    assert [bool(outcome) for outcome in outcomes] == [True] * 10 + [False] * 5
    assert got.accepted + got.replayed == (
        got.stored + got.dead_lettered + got.dropped + got.buffered
    )
    assert (got.accepted, got.stored, got.dropped, got.buffered) == (15, 10, 5, 0)
    assert (got.buffered_bytes, got.oldest_age) == (0, 0.0)
    assert got.last_stored_at is not None


class _Paced(MemoryBackend):
    """Each write takes so long by a clock of its own; the first one finds the database away."""

    def __init__(self, clock: list[float]) -> None:
        super().__init__()
        self._clock = clock
        self._tries = 0

    async def write(self, batch: Batch, /) -> None:
        self._tries += 1
        self._clock[0] += 2.0
        if self._tries == 1:
            raise BackendUnavailableError("away")
        await super().write(batch)


async def test_the_time_of_writes_that_committed_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("trajectory.retry.perf_counter", lambda: clock[0])
    settings = LoggerSettings(retry_initial_ms=1, retry_max_ms=1)
    async with TrajectoryLogger(_Paced(clock), settings) as logger:
        assert logger.statistics().writing_seconds == 0.0
        for _ in range(2):
            await logger.log_turn(turn())
            await logger.flush()
        got = logger.statistics()
    assert (got.batches, got.retries, got.writing_seconds) == (2, 1, 4.0)


async def test_not_open_and_closed_are_clear_errors() -> None:
    logger = TrajectoryLogger(MemoryBackend())
    with pytest.raises(LoggerClosedError, match="not open"):
        await logger.log_turn(turn())
    with pytest.raises(LoggerClosedError, match="not open"):
        logger.statistics()
    assert await logger.aclose() == (0, 0, 0)
    await logger.open()
    with pytest.raises(TrajectoryError, match="opened already"):
        await logger.open()
    await logger.aclose()
    for call in (logger.log_turn(turn()), logger.start_trajectory()):
        with pytest.raises(LoggerClosedError, match="closed"):
            await call
    with pytest.raises(LoggerClosedError):
        logger.log_turn_nowait(turn())
    assert (await logger.flush()).pending == 0


def test_a_logger_belongs_to_its_loop() -> None:
    async def open_one() -> TrajectoryLogger:
        return await TrajectoryLogger(MemoryBackend()).open()

    with asyncio.Runner() as first, asyncio.Runner() as second:
        logger = first.run(open_one())
        for call in (logger.log_turn(turn()), logger.aclose()):
            with pytest.raises(TrajectoryError, match="another event loop"):
                second.run(call)
        first.run(logger.aclose())


def test_a_backend_is_named_by_url_object_too() -> None:
    from sqlalchemy import URL

    url = URL.create("sqlite", database="runs.db")
    assert repr(TrajectoryLogger(url).backend) == "<SqlBackend runs.db>"  # type: ignore[arg-type]


def test_a_backend_must_be_one() -> None:
    with pytest.raises(ConfigurationError, match="a int names no database"):
        TrajectoryLogger(42)  # type: ignore[arg-type]


async def test_what_the_logger_is_handed_stays_open() -> None:
    class Watched(MemoryBackend):
        closed = 0

        async def close(self) -> None:
            self.closed += 1

    backend = Watched()
    async with TrajectoryLogger(backend) as logger:
        assert logger.backend is backend
    assert backend.closed == 0


async def test_a_failing_open_leaves_nothing() -> None:
    class Refuses(MemoryBackend):
        async def open(self) -> None:
            raise ConfigurationError("no such folder")

    logger = TrajectoryLogger(Refuses())
    with pytest.raises(ConfigurationError):
        await logger.open()
    assert (await logger.aclose()).pending == 0


async def test_a_hook_that_can_t_be_called_is_refused_at_once() -> None:
    async def hook(turn: Turn) -> Turn:
        return turn

    for wrong in ("x", hook):
        with pytest.raises(ConfigurationError, match="plain function"):
            TrajectoryLogger(MemoryBackend(), redact=wrong)  # type: ignore[arg-type]
