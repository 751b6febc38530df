"""One bad turn costs one turn: it is kept aside with its reason, and its neighbours are stored."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from clock import run_virtual

from trajectory import (
    BackendUnavailableError,
    Batch,
    BatchRejectedError,
    ConflictError,
    Fact,
    LoggerSettings,
    PartialWriteError,
    Question,
    Trajectory,
    TrajectoryEnd,
    TrajectoryLogger,
    Turn,
    TurnQuery,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.dead_letters import DeadLetter, DeadLetterError, DeadLettersInMemory
from trajectory.testing import GatedBackend

CANARY = "canary-77c1"
ID = UUID(int=7)


def turn(number: int, prompt: str = "p") -> Turn:
    return Turn(trajectory_id=ID, turn_number=number, prompt=prompt, response="r")


def letters(logger: TrajectoryLogger) -> list[DeadLetter]:
    kept = logger._life.dispatcher(other_thread=True)._delivery._dead_letters
    assert isinstance(kept, DeadLettersInMemory)
    return list(kept.letters)


class RefusesBad(MemoryBackend):
    """Refuses any batch with a turn whose prompt is bad, as a database does: without a name."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    async def write(self, batch: Batch, /) -> None:
        if any(each.prompt.startswith("bad") for each in batch.turns):
            raise BatchRejectedError("the database refuses a value of the batch")
        await super().write(batch)
        self.batches.append(len(batch))


async def stored(backend: MemoryBackend) -> list[int]:
    return [each.turn_number async for each in backend.read_turns(TurnQuery())]


@run_virtual
@pytest.mark.parametrize("bad", [[0], [9], [4], [3, 4], [0, 9], list(range(10)), []], ids=str)
async def test_the_others_are_stored_in_order(bad: list[int]) -> None:
    backend = RefusesBad()

    async with TrajectoryLogger(backend) as logger:
        for number in range(10):
            await logger.log_turn(turn(number, f"bad {CANARY}" if number in bad else "p"))
        assert await logger.flush() == (10 - len(bad), len(bad), 0)
        await logger.log_turn(turn(10))
    assert await stored(backend) == [number for number in range(11) if number not in bad]
    assert list(backend._turns) == [(ID, number) for number in range(11) if number not in bad]
    assert [letter.key for letter in letters(logger)] == [f"{ID}/{number}" for number in bad]
    got = logger.statistics()
    assert (got.stored, got.dead_lettered, got.conflicts) == (11 - len(bad), len(bad), 0)
    assert got.accepted + got.replayed == got.stored + got.dead_lettered


@run_virtual
async def test_a_bad_one_in_ten_takes_few_writes() -> None:
    """Invariant: the cost is that of a search, not of a transaction for each turn."""
    backend = RefusesBad()
    async with TrajectoryLogger(backend) as logger:
        for number in range(100):
            logger.log_turn_nowait(turn(number, "bad" if number == 42 else "p"))
        await logger.flush()
    assert sum(backend.batches) == 99
    assert len(backend.batches) <= 7


@run_virtual
async def test_a_conflict_is_one_kind_of_it_and_its_neighbours_share_a_batch() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger:
        await logger.log_turn(turn(3))
    gate = GatedBackend(backend)
    gate.open_gate()
    async with TrajectoryLogger(gate) as logger:
        for number in range(10):
            await logger.log_turn(turn(number, "other" if number == 3 else "p"))
        assert await logger.flush() == (9, 1, 0)
        assert logger.statistics().conflicts == 1
    assert await stored(backend) == list(range(10))
    assert [len(batch) for batch in gate.batches] == [10, 3, 1, 6]
    [letter] = letters(logger)
    assert (letter.error, letter.key) == ("ConflictError", f"{ID}/3")
    assert "stored already with other content" in letter.reason


@run_virtual
async def test_two_contents_in_one_batch_keep_the_first() -> None:
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger:
        for response in ("first", "second"):
            await logger.log_turn(turn(1).replace(response=response))
        assert await logger.flush() == (1, 1, 0)
    [read] = [each async for each in backend.read_turns(TurnQuery())]
    assert read.response == "first"


@run_virtual
async def test_facts_without_their_turn_are_set_aside_too() -> None:
    question = Question(question_text=CANARY, effort_level="low")
    backend = MemoryBackend()
    async with TrajectoryLogger(backend) as logger:
        await logger.log_question(ID, 99, question)
        await logger.log_turn(turn(1))
        assert await logger.flush() == (1, 0, 0)
        assert logger.statistics().others_dead_lettered == 1
    [letter] = letters(logger)
    assert letter.kind == "fact"
    assert CANARY not in letter.reason


@run_virtual
async def test_a_stored_call_hears_that_its_turn_was_refused() -> None:
    settings = LoggerSettings(durability="stored")
    async with TrajectoryLogger(RefusesBad(), settings) as logger:
        await logger.log_turn(turn(1))
        with pytest.raises(BatchRejectedError):
            await logger.log_turn(turn(2, "bad"))
        await logger.log_turn(turn(3))
        with pytest.raises(ConflictError):
            await logger.log_turn(turn(3, "other"))
        assert await logger.flush() == (2, 2, 0)


@run_virtual
async def test_no_content_is_logged_of_what_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with TrajectoryLogger(RefusesBad()) as logger:
        await logger.log_turn(turn(1, f"bad {CANARY}"))
    assert f"{ID}/1 is refused, and kept as a dead letter" in caplog.text
    assert CANARY not in caplog.text


@run_virtual
async def test_a_turn_is_settled_only_once_its_letter_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Invariant: where the letter can't be kept, the turn is held and it is tried again."""
    tries = 0
    add = DeadLettersInMemory.add

    async def full(self: DeadLettersInMemory, kept: DeadLetter, /) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise DeadLetterError("no space left on device")
        await add(self, kept)

    monkeypatch.setattr(DeadLettersInMemory, "add", full)
    async with TrajectoryLogger(RefusesBad()) as logger:
        await logger.log_turn(turn(1, "bad"))
        assert await logger.flush(timeout=0.01) == (0, 0, 1)
        assert await logger.flush() == (0, 1, 0)
    assert tries == 4


@run_virtual
async def test_a_partial_write_with_a_refusal_isolates_it() -> None:
    class PerTrajectory(RefusesBad):
        async def write(self, batch: Batch, /) -> None:
            done = []
            refusal: Exception | None = None
            for id_ in dict.fromkeys(each.trajectory_id for each in batch.turns):
                part = Batch(turns=tuple(t for t in batch.turns if t.trajectory_id == id_))
                try:
                    await super().write(part)
                    done.append(id_)
                except BatchRejectedError as error:
                    refusal = error
            if refusal is not None:
                raise PartialWriteError(done) from refusal

    backend = PerTrajectory()
    async with TrajectoryLogger(backend) as logger:
        for number in range(6):
            sent = Turn(
                trajectory_id=uuid4(),
                turn_number=number,
                prompt="bad" if number == 2 else "p",
                response="r",
            )
            await logger.log_turn(sent)
        assert await logger.flush() == (5, 1, 0)
    assert sorted(each.turn_number for each in backend._turns.values()) == [0, 1, 3, 4, 5]


@run_virtual
async def test_an_outage_while_isolating_is_ridden_over() -> None:
    class AwayAtTimes(RefusesBad):
        calls = 0

        async def write(self, batch: Batch, /) -> None:
            self.calls += 1
            if self.calls % 2:
                raise BackendUnavailableError("refused")
            await super().write(batch)

    backend = AwayAtTimes()
    async with TrajectoryLogger(backend) as logger:
        for number in range(10):
            await logger.log_turn(turn(number, "bad" if number in (2, 7) else "p"))
        assert await logger.flush() == (8, 2, 0)
    assert await stored(backend) == [0, 1, 3, 4, 5, 6, 8, 9]


@pytest.mark.parametrize(
    "value",
    [
        turn(1, "ü\u2028").replace(metadata={"k": [None, 1.0, 1, True, 1e300]}, token_count=3),
        Fact(
            trajectory_id=ID,
            turn_number=1,
            finding=Question(question_text="q", effort_level="low", position=2**50),
        ),
        Trajectory(id=ID, spec_id="S", tools=[{"name": "t"}]),
        TrajectoryEnd(trajectory_id=ID, status="failed", error="e"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_letter_comes_back_from_its_line(value: Turn) -> None:
    letter = DeadLetter.of(value, BatchRejectedError("why"))
    line = letter.to_json()
    assert "\n" not in line
    read = DeadLetter.from_json(line)
    assert read == letter
    assert read.value.model_dump_json() == value.model_dump_json()
    assert read.value.model_fields_set <= {
        *value.model_fields_set,
        "created_at",
        "ended_at",
        "metadata",
        "id",
    }


def test_no_content_is_in_the_repr_of_what_we_make() -> None:
    sent = turn(1, CANARY)
    letter = DeadLetter.of(sent, BatchRejectedError("why"))
    assert CANARY not in repr(letter) + repr(Batch(turns=(sent,))) + repr(MemoryBackend())
