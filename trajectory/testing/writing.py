"""The part of the suite about writing turns and facts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from trajectory.backend import Atomicity, Batch, Survives
from trajectory.errors import BatchRejectedError, ConflictError
from trajectory.ids import uuid7
from trajectory.models import (
    Fact,
    Message,
    Question,
    ToolCall,
    Trajectory,
    TrajectoryEnd,
    Turn,
    Violation,
)
from trajectory.testing.samples import (
    NOON,
    Suite,
    a_fact,
    a_turn,
    full_turn,
    trajectories_of,
    turns_of,
)

_OTHER: list[dict[str, Any]] = [
    {"response": "other"},
    {"token_count": 1},
    {"metadata": {"a": 1}},
    {"messages": [Message(role="user", content="x")]},
    {"tool_calls": [ToolCall(tool_name="x")]},
    {"questions": [Question(question_text="x", effort_level="low")]},
    {"violations": [Violation(preference_name="x", severity="minor")]},
]


class WritingConformance(Suite):
    """Turns and facts: whole, once, and never two contents under one key."""

    async def test_it_opens_and_closes_any_number_of_times(self) -> None:
        async with self.new_backend() as backend:
            await backend.open()
            sent = a_turn()
            await backend.write(Batch(turns=(sent,)))
            await backend.close()
            await backend.close()
            await backend.open()
            survives = backend.capabilities.survives is not Survives.NOTHING
            if survives:
                assert await turns_of(backend) == [sent]

    async def test_every_field_comes_back(self) -> None:
        async with self.new_backend() as backend:
            sent = full_turn(uuid7())
            await backend.write(Batch(turns=(sent,)))
            [read] = await turns_of(backend)
            # Findings come ordered by position, then source; the rest as it was sent.
            assert read.replace(questions=()) == sent.replace(questions=())
            assert sorted(map(repr, read.questions)) == sorted(map(repr, sent.questions))
            assert repr(read.metadata["floats"]) == repr(sent.metadata["floats"])
            assert repr(read.metadata["integers"]) == repr(sent.metadata["integers"])

    @pytest.mark.parametrize(
        "instant",
        [
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
        ],
    )
    async def test_instants_come_back_aware_and_equal(self, instant: datetime) -> None:
        async with self.new_backend() as backend:
            await backend.write(Batch(turns=(a_turn(created_at=instant),)))
            [read] = await turns_of(backend)
            assert read.created_at == instant
            assert read.created_at.utcoffset() == timedelta(0)

    async def test_an_empty_batch_is_no_change(self) -> None:
        async with self.new_backend() as backend:
            await backend.write(Batch())
            assert await turns_of(backend) == []
            assert await trajectories_of(backend) == []

    async def test_the_same_batch_again_is_no_change(self) -> None:
        async with self.new_backend() as backend:
            sent = full_turn(uuid7())
            batch = Batch(turns=(sent, a_turn()), facts=(a_fact(sent),))
            await backend.write(batch)
            before = await turns_of(backend)
            await backend.write(batch)
            assert await turns_of(backend) == before

    async def test_batches_may_overlap_and_repeat_a_turn(self) -> None:
        async with self.new_backend() as backend:
            id_ = uuid7()
            turns = [a_turn(id_, number) for number in range(6)]
            await backend.write(Batch(turns=tuple(turns[:4])))
            await backend.write(Batch(turns=(*turns[2:], turns[5], turns[5])))
            assert await turns_of(backend) == turns

    @pytest.mark.parametrize("other", _OTHER, ids=lambda other: next(iter(other)))
    async def test_other_content_under_a_key_is_a_conflict(self, other: dict[str, Any]) -> None:
        async with self.new_backend() as backend:
            stored, sent = a_turn(), a_turn()
            await backend.write(Batch(turns=(stored, sent)))
            new = a_turn(uuid7())
            batch = Batch(turns=(stored.replace(**other), new, sent.replace(**other)))
            with pytest.raises(ConflictError) as caught:
                await backend.write(batch)
            assert caught.value.keys == tuple(sorted([stored.key, sent.key]))
            assert await turns_of(backend) == [stored, sent]
            await backend.write(Batch(turns=(new,)))
            assert await turns_of(backend) == [stored, sent, new]

    async def test_a_turn_with_fewer_children_is_a_conflict(self) -> None:
        async with self.new_backend() as backend:
            questions = [Question(question_text=text, effort_level="low") for text in "ab"]
            stored = a_turn(questions=questions)
            await backend.write(Batch(turns=(stored,)))
            with pytest.raises(ConflictError):
                await backend.write(Batch(turns=(stored.replace(questions=questions[:1]),)))

    async def test_two_contents_in_one_batch_are_a_conflict(self) -> None:
        async with self.new_backend() as backend:
            sent = a_turn()
            with pytest.raises(ConflictError) as caught:
                await backend.write(Batch(turns=(sent, sent.replace(response="other"))))
            assert caught.value.keys == (sent.key,)
            assert await turns_of(backend) == []

    async def test_times_of_creation_are_no_difference(self) -> None:
        async with self.new_backend() as backend:
            sent = a_turn(messages=[Message(role="user", content="x", created_at=NOON)])
            await backend.write(Batch(turns=(sent,)))
            later = sent.replace(
                created_at=NOON + timedelta(days=1), messages=[Message(role="user", content="x")]
            )
            await backend.write(Batch(turns=(later,)))
            assert await turns_of(backend) == [sent]

    async def test_late_facts_are_no_difference(self) -> None:
        async with self.new_backend() as backend:
            sent = a_turn(questions=[Question(question_text="q", effort_level="low")])
            judged = a_fact(sent, source="judge:x", position=0)
            await backend.write(Batch(turns=(sent,), facts=(a_fact(sent), judged)))
            await backend.write(Batch(turns=(sent,)))
            [read] = await turns_of(backend)
            assert len(read.questions) == 3

    async def test_facts_join_their_turn_in_order(self) -> None:
        async with self.new_backend() as backend:
            sent = a_turn(questions=[Question(question_text="own", effort_level="low")])
            await backend.write(Batch(turns=(sent,)))
            late = a_fact(sent, position=2**41 + 1, question_text="second")
            await backend.write(Batch(facts=(late, a_fact(sent, question_text="first"))))
            [read] = await turns_of(backend)
            assert [q.question_text for q in read.questions] == ["own", "first", "second"]
            assert [q.position for q in read.questions] == [None, 2**41, 2**41 + 1]

    async def test_a_fact_again_is_no_change_and_another_is_a_conflict(self) -> None:
        async with self.new_backend() as backend:
            sent = a_turn()
            fact = a_fact(sent)
            await backend.write(Batch(turns=(sent,), facts=(fact, fact)))
            await backend.write(Batch(facts=(fact,)))
            [read] = await turns_of(backend)
            assert len(read.questions) == 1
            with pytest.raises(ConflictError) as caught:
                await backend.write(Batch(facts=(a_fact(sent, question_text="other"),)))
            assert caught.value.keys == (sent.key,)
            assert await turns_of(backend) == [read]

    async def test_a_fact_without_its_turn_is_rejected_with_all_of_its_batch(self) -> None:
        async with self.new_backend() as backend:
            if backend.capabilities.atomic is not Atomicity.BATCH:
                pytest.skip("atomic per trajectory only")
            with pytest.raises(BatchRejectedError, match="not stored"):
                await backend.write(Batch(turns=(a_turn(),), facts=(a_fact(a_turn()),)))
            assert await turns_of(backend) == []
            assert await trajectories_of(backend) == []
            sent = a_turn()
            await backend.write(Batch(turns=(sent,)))
            assert await turns_of(backend) == [sent]

    async def test_violations_are_facts_as_well(self) -> None:
        async with self.new_backend() as backend:
            own = Violation(preference_name="own", severity="minor")
            sent = a_turn(violations=[own])
            late = Violation(
                preference_name="late", severity="major", source="human:x", position=0, reason="r"
            )
            fact = Fact(trajectory_id=sent.trajectory_id, turn_number=1, finding=late)
            await backend.write(Batch(turns=(sent,), facts=(fact,)))
            await backend.write(Batch(turns=(sent,), facts=(fact,)))
            [read] = await turns_of(backend)
            assert read.violations == (own, late.replace(position=None))
            other = fact.replace(finding=late.replace(severity="critical"))
            with pytest.raises(ConflictError) as caught:
                await backend.write(Batch(facts=(other,)))
            assert caught.value.keys == (sent.key,)

    async def test_a_refused_batch_leaves_nothing_of_any_part(self) -> None:
        async with self.new_backend() as backend:
            if backend.capabilities.atomic is not Atomicity.BATCH:
                pytest.skip("atomic per trajectory only")
            stored, judged = a_turn(), a_turn()
            await backend.write(Batch(turns=(stored, judged), facts=(a_fact(judged),)))
            before = await turns_of(backend), await trajectories_of(backend)
            start, new = Trajectory(run_id="r", created_at=NOON), a_turn()
            other = {"trajectory_id": stored.trajectory_id, "ended_at": NOON, "status": "failed"}
            with pytest.raises(ConflictError) as caught:
                await backend.write(
                    Batch(
                        starts=(start,),
                        turns=(new, stored.replace(response="other")),
                        facts=(a_fact(stored), a_fact(new), a_fact(judged, question_text="other")),
                        ends=(TrajectoryEnd(**other),),
                    )
                )
            assert caught.value.keys == tuple(sorted([stored.key, judged.key]))
            assert (await turns_of(backend), await trajectories_of(backend)) == before

    @pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21])
    async def test_a_cancelled_write_leaves_the_backend_usable(self, steps: int) -> None:
        """Invariant: stored whole or not at all; the repeat stores it once."""
        async with self.new_backend() as backend:
            sent = Batch(turns=tuple(a_turn(uuid7(), n) for n in range(20)))
            writing = asyncio.ensure_future(backend.write(sent))
            for _ in range(steps):
                await asyncio.sleep(0)
            writing.cancel()
            await asyncio.wait({writing})
            assert len(await turns_of(backend)) in {0, 20}
            async with asyncio.timeout(20):
                await backend.write(sent)
            assert await turns_of(backend) == list(sent.turns)

    async def test_text_of_megabytes_comes_back(self) -> None:
        async with self.new_backend() as backend:
            sent = a_turn(prompt="ü" * 1_500_000, metadata={"k": "x" * 3_000_000})
            await backend.write(Batch(turns=(sent,)))
            [read] = await turns_of(backend)
            assert (read.prompt, read.metadata) == (sent.prompt, sent.metadata)

    async def test_a_large_batch(self) -> None:
        async with self.new_backend() as backend:
            id_ = uuid7()
            turns = [full_turn(id_).replace(turn_number=number) for number in range(1000)]
            await backend.write(Batch(turns=tuple(turns)))
            read = await turns_of(backend)
            assert [turn.turn_number for turn in read] == list(range(1000))
            assert all(_counts(turn) == _counts(turns[0]) for turn in read)
            await backend.write(Batch(turns=tuple(turns)))
            assert await turns_of(backend) == read


def _counts(turn: Turn) -> tuple[int, ...]:
    return (
        len(turn.messages),
        len(turn.tool_calls),
        len(turn.questions),
        len(turn.violations),
    )
