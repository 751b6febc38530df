"""The part of the suite about writing turns and facts."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from trajectory.backend import Atomicity, Batch, Capabilities, StorageBackend, Survives
from trajectory.errors import BatchRejectedError, ConflictError
from trajectory.ids import uuid7
from trajectory.models import (
    Fact,
    Message,
    Question,
    ToolCall,
    Trajectory,
    TrajectoryEnd,
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


_QUESTION = Question(question_text="q", effort_level="low")
_VIOLATION = Violation(preference_name="tone", expected="formal", severity="minor")
_MESSAGES = (Message(role="user", content="x"), Message(role="tool", content=[{"n": 1}]))
_CALL = ToolCall(tool_name="search", arguments="{}", message_position=0)
_FULL: dict[str, Any] = {
    "token_count": 5,
    "metadata": {"n": 1},
    "questions": [_QUESTION],
    "violations": [_VIOLATION],
    "messages": _MESSAGES,
    "tool_calls": [_CALL],
}
_CHANGED: dict[str, dict[str, Any]] = {
    "a field": {"token_count": 6},
    "a field gone": {"token_count": None},
    "a number's type": {"metadata": {"n": 1.0}},
    "a boolean": {"metadata": {"n": True}},
    "a question": {"questions": [_QUESTION.replace(effort_level="high")]},
    "a question's position": {"questions": [_QUESTION.replace(position=1)]},
    "a question gone": {"questions": ()},
    "a violation": {"violations": [_VIOLATION.replace(expected="casual")]},
    "the order of messages": {"messages": _MESSAGES[::-1]},
    "a part of a message": {"messages": [_MESSAGES[0], _MESSAGES[1].replace(content=[{"n": 2}])]},
    "a message more": {"messages": [*_MESSAGES, _MESSAGES[0]]},
    "a message less": {"messages": _MESSAGES[:1]},
    "a tool call": {"tool_calls": [_CALL.replace(arguments="{ }")]},
}


class WritingConformance(Suite):
    """Turns and facts: whole, once, and never two contents under one key."""

    async def test_it_is_a_backend_that_says_what_it_can(self) -> None:
        async with self.new_backend() as backend:
            assert isinstance(backend, StorageBackend)
            said = backend.capabilities
            assert isinstance(said, Capabilities)
            await backend.write(Batch(turns=(a_turn(),)))
            assert backend.capabilities == said

    async def test_it_opens_and_closes_any_number_of_times(self) -> None:
        async with self.new_backend() as backend:
            await backend.open()
            sent = a_turn()
            await backend.write(Batch(turns=(sent,)))
            await backend.close()
            await backend.close()
            await backend.open()
            if backend.capabilities.survives is not Survives.NOTHING:
                assert await turns_of(backend) == [sent]
            await backend.write(Batch(turns=(sent,)))
            assert await turns_of(backend) == [sent]

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

    async def test_a_batch_may_come_again_cut_differently(self) -> None:
        async with self.new_backend() as backend:
            start = Trajectory(run_id="r", created_at=NOON)
            turns = (full_turn(start.id), a_turn(start.id), a_turn(start.id, 2))
            facts = (a_fact(turns[0]), a_fact(turns[2], source="judge:x"))
            end = TrajectoryEnd(trajectory_id=start.id, status="completed", ended_at=NOON)
            whole = Batch((start,), turns, facts, (end,))
            await backend.write(whole)
            before = await turns_of(backend), await trajectories_of(backend)
            for again in (
                Batch(ends=(end,)),
                Batch(facts=facts),
                Batch(turns=turns[1:], facts=facts[1:], ends=(end,)),
                Batch(starts=(start,), turns=turns[:1]),
                whole,
            ):
                await backend.write(again)
                assert (await turns_of(backend), await trajectories_of(backend)) == before

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
            id_ = uuid7()
            stored, sent, new = (a_turn(id_, number) for number in range(3))
            await backend.write(Batch(turns=(stored, sent)))
            batch = Batch(turns=(stored.replace(**other), new, sent.replace(**other)))
            with pytest.raises(ConflictError) as caught:
                await backend.write(batch)
            assert caught.value.keys == tuple(sorted([stored.key, sent.key]))
            assert await turns_of(backend) == [stored, sent]
            await backend.write(Batch(turns=(new,)))
            assert await turns_of(backend) == [stored, sent, new]

    @pytest.mark.parametrize("changed", _CHANGED.values(), ids=_CHANGED)
    async def test_any_change_is_a_conflict(self, changed: dict[str, Any]) -> None:
        async with self.new_backend() as backend:
            stored = a_turn(**_FULL)
            await backend.write(Batch(turns=(stored,)))
            with pytest.raises(ConflictError) as caught:
                await backend.write(Batch(turns=(stored.replace(**changed),)))
            assert caught.value.keys == (stored.key,)
            await backend.write(Batch(turns=(stored,)))
            assert await turns_of(backend) == [stored]

    async def test_a_conflict_names_all_keys(self) -> None:
        async with self.new_backend() as backend:
            id_ = uuid7()
            turns = [a_turn(id_, number) for number in range(60)]
            await backend.write(Batch(turns=tuple(turns[:40])))
            taken = [turn.replace(response="other") for turn in turns[10:40:3]]
            with pytest.raises(ConflictError) as caught:
                await backend.write(Batch(turns=(*turns[40:], *turns[:9], *taken[::-1])))
            assert caught.value.keys == tuple(turn.key for turn in taken)
            assert await turns_of(backend) == turns[:40]
            await backend.write(Batch(turns=tuple(turns)))
            assert await turns_of(backend) == turns

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

    async def test_a_late_fact_with_a_position_of_its_own_is_no_difference(self) -> None:
        """Invariant: whatever position a late fact is given, its turn may come again."""
        async with self.new_backend() as backend:
            own = Question(question_text="own", effort_level="low")
            for sent in (a_turn(), a_turn(questions=[own]), a_turn(questions=[own, own])):
                late = [a_fact(sent, position=n, question_text=f"late {n}") for n in range(2)]
                await backend.write(Batch(turns=(sent,)))
                await backend.write(Batch(facts=(late[1],)))
                [before] = await turns_of(backend, ids=(sent.trajectory_id,))
                await backend.write(Batch(turns=(sent,)))
                await backend.write(Batch(turns=(sent,), facts=(late[1],)))
                assert await turns_of(backend, ids=(sent.trajectory_id,)) == [before]
                await backend.write(Batch(turns=(sent,), facts=tuple(late)))
                [read] = await turns_of(backend, ids=(sent.trajectory_id,))
                texts = [*["own"] * len(sent.questions), "late 0", "late 1"]
                assert [question.question_text for question in read.questions] == texts
                other = a_fact(sent, position=1, question_text="other")
                with pytest.raises(ConflictError):
                    await backend.write(Batch(facts=(other,)))

    async def test_a_late_fact_is_the_same_at_the_position_it_was_read_at(self) -> None:
        async with self.new_backend() as backend:
            sent = a_turn()
            await backend.write(Batch(turns=(sent,), facts=(a_fact(sent, position=3),)))
            [read] = await turns_of(backend)
            [question] = read.questions
            await backend.write(Batch(facts=(a_fact(sent, position=question.position),)))
            assert await turns_of(backend) == [read]

    async def test_findings_without_a_position_take_the_free_ones(self) -> None:
        async with self.new_backend() as backend:
            own = [
                Question(question_text=str(n), effort_level="low", position=position)
                for n, position in enumerate([1, None, 0, None, 5, None])
            ]
            broken = [
                Violation(preference_name=str(n), severity="minor", position=position)
                for n, position in enumerate([None, 0])
            ]
            sent = a_turn(questions=own, violations=broken)
            for _ in range(2):
                await backend.write(Batch(turns=(sent,)))
                [read] = await turns_of(backend)
                assert [question.question_text for question in read.questions] == [*"201354"]
                assert [violation.preference_name for violation in read.violations] == ["1", "0"]
            await backend.write(Batch(turns=(read,)))
            assert await turns_of(backend) == [read]

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

    async def test_a_large_batch(self) -> None:
        async with self.new_backend() as backend:
            turns = [a_turn(uuid7(), n, **_FULL) for n in range(1000)]
            await backend.write(Batch(turns=tuple(turns)))
            assert await turns_of(backend) == turns
            await backend.write(Batch(turns=tuple(turns)))
            assert await turns_of(backend) == turns
