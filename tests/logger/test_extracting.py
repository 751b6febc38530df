"""Questions found on the way in: facts of stored turns, and no turn lost, late or changed by it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from factories import TurnFactory

from trajectory import (
    BufferFullError,
    ConfigurationError,
    EffortLevel,
    LoggerSettings,
    Question,
    SyncTrajectoryLogger,
    TrajectoryLogger,
    Turn,
    TurnQuery,
)
from trajectory.backend import Batch, StorageBackend
from trajectory.backends import open_backend
from trajectory.backends.memory import MemoryBackend
from trajectory.errors import BackendError, WriteFailedError
from trajectory.extracting import Extracting
from trajectory.ids import uuid7
from trajectory.report import Statistics
from trajectory.scoring import HeuristicClassifier, HeuristicExtractor
from trajectory.testing.fakes import GatedBackend, WrappedBackend

CANARY = "CANARY-5b1e"
ASKS = f"Done, {CANARY}. Which port: 80 or 81? How should it behave when both are taken?"
FOUND = [
    ("heuristic/1", 0, "low", "Which port: 80 or 81?"),
    ("heuristic/1", 1, "medium", "How should it behave when both are taken?"),
]
ON = LoggerSettings(extract_questions=True, durability="queued")


def asking(number: int = 1, trajectory_id: UUID | None = None, response: str = ASKS) -> Turn:
    return TurnFactory(
        trajectory_id=trajectory_id or uuid7(),
        turn_number=number,
        response=response,
        questions=(),
        violations=(),
    )


async def found(backend: StorageBackend) -> list[tuple[str, int, str, str]]:
    return [
        (asked.source, place, asked.effort_level.value, asked.question_text)
        async for turn in backend.read_turns(TurnQuery())
        for place, asked in enumerate(turn.questions)
    ]


def adds_up(counts: Statistics) -> bool:
    looked = counts.extracted + counts.extracting + counts.not_extracted
    turns = counts.stored + counts.dead_lettered + counts.dropped + counts.buffered
    return looked == counts.stored and counts.accepted + counts.replayed == turns


class Gated:
    """An extractor that waits until it is let go; it asks the user's one question."""

    source = "judge:gated"

    def __init__(self) -> None:
        self.began, self.gate = asyncio.Event(), asyncio.Event()
        self.seen: list[int] = []

    async def extract(self, turn: Turn) -> tuple[Question, ...]:
        self.began.set()
        await self.gate.wait()
        self.seen.append(turn.turn_number)
        return (Question(question_text="And?", effort_level="high"),)


class OneOnly:
    """An extractor that asks about the first turn, and thinks about the next one for ever."""

    source = "judge:one"

    def __init__(self) -> None:
        self.stuck, self.noticed = asyncio.Event(), asyncio.Event()

    async def extract(self, turn: Turn) -> tuple[Question, ...]:
        if turn.turn_number > 1:
            self.stuck.set()
            await self.think()
        return (Question(question_text="And?", effort_level="high"),)

    async def think(self) -> None:
        await asyncio.Event().wait()


class Stubborn(OneOnly):
    """Takes no notice of being cancelled."""

    async def think(self) -> None:
        try:
            await super().think()
        except asyncio.CancelledError:
            self.noticed.set()


class Broken:
    source = "judge:broken"

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer

    async def extract(self, turn: Turn) -> Any:
        if self.answer is None:
            raise RuntimeError(turn.response)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


async def test_off_unless_asked_for() -> None:
    async with TrajectoryLogger("memory://") as logger:
        await logger.log_turn(asking())
        await logger.flush()
        assert await found(logger.backend) == []
        counts = logger.statistics()
    assert (counts.extracted, counts.extracting, counts.not_extracted) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
async def test_questions_become_facts_and_a_flush_waits_for_them(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = {"memory": "memory://", "sqlite": str(tmp_path / "t.db")}.get(kind)
    backend = open_backend(url or request.getfixturevalue("postgres_url"))
    async with TrajectoryLogger(backend, ON) as logger:
        turn = asking()
        await logger.log_turn(turn)
        await logger.log_turn(turn)  # twice: no change
        report = await logger.flush()
        counts = logger.statistics()
        assert await found(backend) == FOUND
    assert (report.stored, report.pending) == (2, 0)
    assert counts.extracted == 2
    assert counts.others_accepted == counts.others_stored == 4
    assert counts.others_dead_lettered == 0
    assert adds_up(counts)
    await backend.close()


async def test_closing_waits_for_them() -> None:
    backend = MemoryBackend()
    logger = await TrajectoryLogger(backend, ON).open()
    for number in range(1, 251):  # more facts than the buffer has places
        await logger.log_turn(asking(number))
    await logger.aclose()
    counts = logger.statistics()
    assert len(await found(backend)) == 500
    assert (counts.extracted, counts.not_extracted) == (250, 0)
    assert adds_up(counts)


def test_a_program_without_a_loop_has_them_too() -> None:
    backend = MemoryBackend()
    with SyncTrajectoryLogger(backend, ON) as logger:
        logger.log_turn(asking())
        logger.flush()
        assert logger.statistics().others_stored == 2
    assert asyncio.run(found(backend)) == FOUND


def test_a_program_without_a_loop_may_bring_its_extractor() -> None:
    backend = MemoryBackend()
    with SyncTrajectoryLogger(backend, extractor=Broken([])) as logger:
        logger.log_turn(asking())
        logger.flush()
        assert logger.statistics().extracted == 1


async def test_what_was_redacted_is_not_looked_at() -> None:
    def redact(turn: Turn) -> Turn:
        return turn.replace(response="Which one: A or B?")

    async with TrajectoryLogger("memory://", ON, redact=redact) as logger:
        await logger.log_turn(asking())
        await logger.flush()
        assert [text for *_, text in await found(logger.backend)] == ["Which one: A or B?"]


async def test_the_places_are_those_of_a_later_extraction() -> None:
    async with TrajectoryLogger("memory://", ON) as logger:
        turn = asking()
        await logger.log_turn(turn)
        await logger.flush()
        for question in await HeuristicExtractor().extract(turn):
            await logger.log_question(*turn.key, question)
        await logger.flush()
        assert await found(logger.backend) == FOUND
        assert logger.statistics().others_dead_lettered == 0


async def test_a_turn_that_brings_them_along_is_left_as_it_is() -> None:
    own = Question(question_text="Which?", effort_level="high", source="heuristic/1")
    async with TrajectoryLogger("memory://", ON) as logger:
        await logger.log_turn(asking().replace(questions=(own,)))
        await logger.flush()
        assert await found(logger.backend) == [("heuristic/1", 0, "high", "Which?")]
        assert logger.statistics().extracted == 1


async def test_a_refused_turn_has_no_facts() -> None:
    async with TrajectoryLogger("memory://", ON) as logger:
        turn = asking(response="Nothing to ask.")
        await logger.log_turn(turn)
        await logger.flush()
        await logger.log_turn(turn.replace(response=ASKS))
        report = await logger.flush()
        assert report.dead_lettered == 1
        assert await found(logger.backend) == []
        assert adds_up(logger.statistics())


async def test_an_extractor_of_ones_own_gives_its_source_and_is_waited_for() -> None:
    judge = Gated()
    async with TrajectoryLogger("memory://", extractor=judge) as logger:
        await logger.log_turn(asking(7))
        flushing = asyncio.create_task(logger.flush())
        await judge.began.wait()
        # It thinks; the turn is stored, and the next one is not kept waiting.
        await logger.log_turn(asking(8))
        assert logger.statistics().stored == 1
        assert logger.statistics().extracting == 1
        assert not flushing.done()
        judge.gate.set()
        await flushing
        await logger.flush()
        assert judge.seen == [7, 8]
        assert await found(logger.backend) == [("judge:gated", 0, "high", "And?")] * 2


async def test_the_level_stored_does_not_wait_for_an_extractor() -> None:
    judge = Gated()
    settings = LoggerSettings(durability="stored")
    async with TrajectoryLogger(WrappedBackend(), settings, extractor=judge) as logger:
        await logger.log_turn(asking())
        await judge.began.wait()
        assert logger.statistics().extracting == 1
        judge.gate.set()


async def test_an_extractor_that_hangs_costs_facts_and_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    judge, backend = Gated(), MemoryBackend()
    logger = await TrajectoryLogger(backend, extractor=judge).open()
    for number in (1, 2, 3):
        await logger.log_turn(asking(number))
    await logger.flush(0.01)
    report = await logger.aclose(0.05)
    counts = logger.statistics()
    assert (report.stored, report.pending) == (3, 0)
    assert (counts.extracted, counts.extracting, counts.not_extracted) == (0, 0, 3)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "2 turns more; `trajectory score --extract`" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize("durability", ["queued", "journaled"])
async def test_what_a_slow_extractor_found_is_stored_before_the_logger_closes(
    durability: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Late(OneOnly):
        gate = asyncio.Event()

        async def extract(self, turn: Turn) -> tuple[Question, ...]:
            await self.gate.wait()
            return await super().extract(turn)

    async def finish(extracting: Extracting, deadline: float) -> bool:
        Late.gate.set()  # closing has begun, and all else is stored
        return await really_finish(extracting, deadline)

    really_finish = Extracting.finish
    monkeypatch.setattr(Extracting, "finish", finish)

    class Unhurried(WrappedBackend):
        async def write(self, batch: Batch, /) -> None:
            for _ in range(20):  # as if it went over a network
                await asyncio.sleep(0)
            await super().write(batch)

    judge, backend = Late(), Unhurried()
    settings = LoggerSettings(
        durability=durability,
        journal_dir=tmp_path / "turns",
        flush_interval_ms=60_000,
    )
    logger = await TrajectoryLogger(backend, settings, extractor=judge).open()
    for number in (1, 2):
        await logger.log_turn(asking(number))
    assert bool(list(tmp_path.rglob("*.journal"))) is (durability == "journaled")
    await logger.aclose(1)
    assert judge.stuck.is_set()
    counts = logger.statistics()
    assert await found(backend) == [("judge:one", 0, "high", "And?")]
    assert (counts.extracted, counts.not_extracted) == (1, 1)
    assert counts.others_accepted == counts.others_stored == 1
    assert "not stored" not in caplog.text
    assert not list(tmp_path.rglob("*.journal"))


async def test_an_extractor_that_does_not_notice_the_end_is_not_heard() -> None:
    judge, backend = Stubborn(), MemoryBackend()
    logger = await TrajectoryLogger(backend, extractor=judge).open()
    for number in (1, 2, 3):
        await logger.log_turn(asking(number))
    await logger.flush(0.001)
    await judge.stuck.wait()
    await logger.aclose(0.1)
    counts = logger.statistics()
    assert judge.noticed.is_set()
    assert (counts.extracted, counts.not_extracted) == (1, 2)
    assert len(await found(backend)) == 1
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "trajectory-extracting"]


async def test_what_was_found_and_could_not_be_stored_is_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = GatedBackend()
    logger = await TrajectoryLogger(backend, ON).open()
    await logger.log_turn(asking())
    backend.let_through()
    await logger.flush(0.001)
    closing = asyncio.create_task(logger.aclose(0.1))
    await backend.parked(2)  # the facts
    assert (await closing).pending == 0
    assert "closed with 2 other values (facts, starts and ends) not stored" in caplog.text


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
async def test_what_was_found_in_a_turn_that_is_gone_is_not_kept(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = {"memory": "memory://", "sqlite": str(tmp_path / "t.db")}.get(kind)
    database = open_backend(url or request.getfixturevalue("postgres_url"))
    judge, folder = Gated(), tmp_path / "turns"
    settings = LoggerSettings(durability="queued", journal_dir=folder)
    async with TrajectoryLogger(database, settings, extractor=judge) as logger:
        gone, stays = asking(), asking()
        await logger.log_turn(gone)
        await logger.log_turn(stays)
        await logger.flush(0.001)
        await judge.began.wait()
        await database.delete_trajectories([gone.trajectory_id])
        judge.gate.set()
        await logger.flush()
        counts = logger.statistics()
        assert await found(database) == [("judge:gated", 0, "high", "And?")]
    assert (counts.extracted, counts.extracting, counts.not_extracted) == (1, 0, 1)
    assert (counts.others_stored, counts.others_dropped) == (1, 1)
    assert counts.others_dead_lettered == 0
    assert adds_up(counts)
    assert not list(tmp_path.rglob("dead-letters*"))
    assert "as it does for a deleted turn" in caplog.text
    assert str(gone.trajectory_id) in caplog.text
    await database.close()


async def test_a_turn_that_is_gone_counts_once_however_many_questions_it_had(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend, settings = GatedBackend(), LoggerSettings(extract_questions=True, buffer_size=1)
    async with TrajectoryLogger(backend, settings) as logger:
        turn = asking()
        await logger.log_turn(turn)
        backend.let_through()
        flushing = asyncio.create_task(logger.flush())
        await backend.parked(2)
        assert logger.statistics().extracted == 1  # its questions are accepted
        await backend.delete_trajectories([turn.trajectory_id])
        backend.open_gate()
        await flushing
        counts = logger.statistics()
    assert (counts.extracted, counts.not_extracted) == (0, 1)
    assert (counts.others_dropped, counts.others_dead_lettered) == (2, 0)
    assert adds_up(counts)
    assert len(caplog.records) == 1


async def test_a_question_that_was_logged_by_hand_is_kept_where_its_turn_is_gone(
    tmp_path: Path,
) -> None:
    settings = LoggerSettings(extract_questions=True, journal_dir=tmp_path / "turns")
    async with TrajectoryLogger("memory://", settings) as logger:
        turn = asking(response="Nothing to ask.")
        await logger.log_turn(turn)
        await logger.flush()
        await logger.backend.delete_trajectories([turn.trajectory_id])
        own = Question(question_text="Which?", effort_level="high", source="heuristic/1")
        await logger.log_question(*turn.key, own)
        await logger.flush()
        counts = logger.statistics()
    assert (counts.others_dead_lettered, counts.others_dropped) == (1, 0)
    assert counts.extracted == 1


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (None, "RuntimeError"),
        (asyncio.CancelledError(), "CancelledError"),
        (5, "TypeError"),
        ([CANARY], "TypeError"),
        ("text", "TypeError"),
    ],
    ids=["raises", "cancels itself", "a number", "a list of texts", "a text"],
)
async def test_an_extractor_that_fails_costs_no_turn(
    answer: Any, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with TrajectoryLogger("memory://", extractor=Broken(answer)) as logger:
        for number in range(1, 21):
            await logger.log_turn(asking(number))
        report = await logger.flush()
        counts = logger.statistics()
        assert len(caplog.records) == 1
    assert (report.stored, report.pending) == (20, 0)
    assert counts.not_extracted == 20
    assert adds_up(counts)
    first, last = caplog.records
    assert named in first.getMessage()
    assert first.levelno == last.levelno == logging.WARNING
    assert "19 turns more" in last.getMessage()
    assert CANARY not in caplog.text


async def test_one_turn_may_fail_and_the_next_is_looked_at() -> None:
    class Moody(HeuristicExtractor):
        async def extract(self, turn: Turn) -> tuple[Question, ...]:
            if turn.turn_number % 2:
                raise ValueError(turn.response)
            return await super().extract(turn)

    async with TrajectoryLogger("memory://", extractor=Moody()) as logger:
        for number in range(1, 5):
            await logger.log_turn(asking(number))
        await logger.flush()
        counts = logger.statistics()
        assert (counts.extracted, counts.not_extracted) == (2, 2)
        assert len(await found(logger.backend)) == 4


async def test_what_waits_for_a_slow_extractor_is_bounded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    judge = Gated()
    settings = LoggerSettings(channel_bytes=20_000)
    async with TrajectoryLogger("memory://", settings, extractor=judge) as logger:
        for number in range(1, 101):
            await logger.log_turn(asking(number, response="x" * 2_000))
        await logger.flush(0.01)
        counts = logger.statistics()
        assert counts.stored == 100
        assert 1 <= counts.extracting <= 9
        assert adds_up(counts)
        judge.gate.set()
        await logger.flush()
        assert logger.statistics().extracted == counts.extracting
    assert "channel_bytes = 20000" in caplog.text


async def test_facts_find_room_where_the_buffer_is_full() -> None:
    backend = GatedBackend()
    settings = LoggerSettings(
        extract_questions=True, buffer_size=1, channel_capacity=1, overflow="raise"
    )
    async with TrajectoryLogger(backend, settings) as logger:
        await logger.log_turn(asking(1, response="Which? " * 30))
        await backend.parked(1)
        with pytest.raises(BufferFullError):
            await logger.log_turn(asking(2))
        backend.open_gate()
        await logger.flush()
        assert len(await found(backend.inner)) == 30
        assert adds_up(logger.statistics())


async def test_a_writer_that_failed_ends_the_looking() -> None:
    class Refuses(WrappedBackend):
        async def write(self, batch: Batch, /) -> None:
            if batch.facts:
                raise BackendError("no more")
            await super().write(batch)

    logger = await TrajectoryLogger(Refuses(), ON).open()
    await logger.log_turn(asking())
    with pytest.raises(WriteFailedError, match="no more"):
        await logger.flush()
    with pytest.raises(WriteFailedError):
        await logger.aclose()
    counts = logger.statistics()
    assert counts.stored == 1
    assert counts.extracting == 0


def test_a_loop_that_ends_leaves_turns_stored_and_says_what_is_missing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = MemoryBackend()
    loggers = []

    async def forget_to_close() -> None:
        logger = await TrajectoryLogger(backend, ON).open()
        loggers.append(logger)
        for number in range(1, 4):
            await logger.log_turn(asking(number))

    asyncio.run(forget_to_close())
    counts = loggers[0].statistics()
    assert counts.stored == 3
    assert counts.not_extracted == 3
    assert adds_up(counts)
    assert "the logger was ending" in caplog.text
    with pytest.warns(ResourceWarning, match="unclosed"):
        loggers.clear()


async def test_what_a_dead_process_left_is_looked_at_when_it_is_replayed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Away(WrappedBackend):
        async def write(self, batch: Batch, /) -> None:
            raise BackendError("broken for good")

    database = open_backend(tmp_path / "t.db")
    first = await TrajectoryLogger(Away(database), LoggerSettings()).open()
    await first.log_turn(asking())
    with pytest.raises(WriteFailedError):
        await first.aclose()
    async with TrajectoryLogger(database, LoggerSettings(extract_questions=True)) as logger:
        await logger.flush()
        counts = logger.statistics()
        assert counts.replayed == counts.extracted == 1
        assert adds_up(counts)
        assert await found(database) == FOUND
    hints = [text for text in caplog.messages if "ended early left a journal" in text]
    assert [text.endswith("`trajectory score --extract` does it later") for text in hints] == [True]
    await database.close()


async def test_a_long_response_does_not_stop_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from trajectory.scoring import extraction

    threads = []

    def watched(response: str) -> Any:
        threads.append(threading.current_thread())
        return find(response)

    find = extraction.find_questions
    monkeypatch.setattr(extraction, "find_questions", watched)
    extractor = HeuristicExtractor()
    await extractor.extract(asking())  # makes the rules, which takes a while
    await extractor.extract(asking())
    long = await extractor.extract(asking(response="And then it went on. " * 5_000 + ASKS))
    assert [asked.effort_level for asked in long] == [EffortLevel.LOW, EffortLevel.MEDIUM]
    here = threading.current_thread()
    assert [thread is here for thread in threads] == [False, True, False]


async def test_a_classifier_of_ones_own_may_be_slow() -> None:
    class Judge(HeuristicClassifier):
        @property
        def source(self) -> str:
            return "judge:slow"

        async def classify(self, question: str, options: Any = ()) -> EffortLevel:
            await asyncio.sleep(0)
            return EffortLevel.HIGH

    asked = await HeuristicExtractor(Judge()).extract(asking())
    assert {(one.source, one.effort_level.value) for one in asked} == {("judge:slow", "high")}


@pytest.mark.parametrize(
    "extractor",
    [
        "heuristic/1",
        HeuristicExtractor,
        lambda _turn: (),
        type("Unnamed", (), {"extract": Broken.extract})(),
        type("Plain", (), {"source": "x", "extract": lambda _self, _turn: ()})(),
        type("Empty", (Broken,), {"source": ""})(),
        type("Long", (Broken,), {"source": "x" * 256})(),
        type("Number", (Broken,), {"source": 5})(),
    ],
    ids=["text", "class", "function", "no source", "not awaited", "empty", "long", "number"],
)
def test_what_is_no_extractor_is_refused_at_once(extractor: Any) -> None:
    with pytest.raises(ConfigurationError, match="extractor"):
        TrajectoryLogger("memory://", extractor=extractor)


class Fickle(OneOnly):
    """Names its source so many times, and then raises."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    @property
    def source(self) -> str:  # type: ignore[override]
        if self.times == 0:
            raise RuntimeError(CANARY)
        self.times -= 1
        return "judge:fickle"


async def test_the_source_is_read_once() -> None:
    async with TrajectoryLogger("memory://", extractor=Fickle(1)) as logger:
        for _ in range(3):
            await logger.log_turn(asking())
        await logger.flush(5)
        assert logger.statistics().extracted == 3
        assert {source for source, *_ in await found(logger.backend)} == {"judge:fickle"}


def test_a_source_that_can_t_be_read_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="can't be read: it raised RuntimeError") as caught:
        TrajectoryLogger("memory://", extractor=Fickle(0))
    assert CANARY not in str(caught.value)


def test_the_setting_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LoggerSettings().extract_questions is False
    monkeypatch.setenv("TRAJECTORY_EXTRACT_QUESTIONS", "true")
    assert LoggerSettings().extract_questions is True
    with pytest.raises(ConfigurationError, match="extract_questions"):
        LoggerSettings(extract_questions="perhaps")
