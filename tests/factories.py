"""Factories of all models. Plain calls give the smallest sensible value; traits give the rest.

`TurnFactory()` has a prompt and a response, `TurnFactory(full=True)` every field and child.
"""

# factory-boy says it is typed, and isn't: a factory call is Any to the type checker.
# mypy: disable-error-code="no-untyped-call, attr-defined, name-defined, misc"

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import factory

from trajectory import (
    Batch,
    EffortLevel,
    Fact,
    Message,
    Question,
    Role,
    Severity,
    ToolCall,
    Trajectory,
    TrajectoryEnd,
    TrajectoryStatus,
    Turn,
    Violation,
)
from trajectory.models import LATE_POSITION

# A declaration stands where the made value has text or a number.
LazyFunction: Any = factory.LazyFunction
Sequence: Any = factory.Sequence
SubFactory: Any = factory.SubFactory
Trait: Any = factory.Trait

EPOCH = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)


def instant(step: int) -> datetime:
    """Give an instant a few seconds after the others, with microseconds."""
    return EPOCH + timedelta(seconds=step, microseconds=step)


def _each(*values: Any) -> Any:
    """Go through the values again and again."""
    return factory.Iterator(values)


class MessageFactory(factory.Factory[Message]):
    class Meta:
        model = Message

    class Params:
        full = Trait(
            reasoning="The user wants OAuth; ask first.",
            call_id="call-1",
            model_name="model-1",
            stop_reason="end_turn",
            usage=LazyFunction(lambda: {"input": 12, "output": 3}),
            token_ids=LazyFunction(lambda: [1, 2, 3]),
            logprobs=LazyFunction(lambda: [-0.5, -1e-9, 0.0]),
            created_at=Sequence(instant),
        )
        parts = Trait(
            content=LazyFunction(
                lambda: [{"type": "text", "text": "Look:"}, {"type": "image", "id": 7}]
            )
        )

    role = _each(Role.USER, Role.ASSISTANT, Role.TOOL)
    content = Sequence(lambda n: f"message {n}")


class ToolCallFactory(factory.Factory[ToolCall]):
    class Meta:
        model = ToolCall

    class Params:
        full = Trait(
            result='{"ok": true}',
            call_id=Sequence(lambda n: f"call_{n}"),
            message_position=0,
            is_error=False,
            latency_ms=12.25,
            started_at=Sequence(instant),
        )

    tool_name = "search"
    arguments = Sequence(lambda n: f'{{ "q" : {n}.50,"é":"\\u00e9" }}')


class QuestionFactory(factory.Factory[Question]):
    class Meta:
        model = Question

    class Params:
        judged = Trait(source="judge:model-1", confidence=0.875)
        full = Trait(confidence=0.5, created_at=Sequence(instant))
        late = Trait(position=Sequence(lambda n: LATE_POSITION + n))

    question_text = Sequence(lambda n: f"Which provider, number {n}?")
    effort_level = _each(*EffortLevel)


class ViolationFactory(factory.Factory[Violation]):
    class Meta:
        model = Violation

    class Params:
        judged = Trait(source="human:ada")
        full = Trait(
            expected="British spelling",
            actual="American spelling",
            reason="color in line 3",
            created_at=Sequence(instant),
        )
        late = Trait(position=Sequence(lambda n: LATE_POSITION + n))

    preference_name = Sequence(lambda n: f"preference-{n}")
    severity = _each(*Severity)


def _children(of: Any) -> Any:
    """Two of a kind: a plain one and one with every field."""
    return LazyFunction(lambda: (of(), of(full=True)))


class TurnFactory(factory.Factory[Turn]):
    class Meta:
        model = Turn

    class Params:
        measured = Trait(
            token_count=50,
            latency_ms=500.5,
            model_name="model-1",
            input_tokens=40,
            output_tokens=10,
            cache_read_tokens=30,
            cache_write_tokens=0,
            reasoning_tokens=2**40,
            cost_usd=0.00125,
            stop_reason="end_turn",
            error="a tool timed out",
            reward=-0.5,
            is_copied_context=False,
            metadata=LazyFunction(lambda: {"branch": "main", "tries": [1, 2.5, None]}),
        )
        with_facts = Trait(
            questions=_children(QuestionFactory), violations=_children(ViolationFactory)
        )
        with_messages = Trait(
            messages=_children(MessageFactory), tool_calls=_children(ToolCallFactory)
        )
        full = Trait(measured=True, with_facts=True, with_messages=True)

    trajectory_id = LazyFunction(uuid4)
    turn_number = Sequence(lambda n: n + 1)
    prompt = Sequence(lambda n: f"Implement OAuth, part {n}")
    response = Sequence(lambda n: f"Which provider for part {n}?")
    created_at = Sequence(instant)


class TrajectoryFactory(factory.Factory[Trajectory]):
    class Meta:
        model = Trajectory

    class Params:
        full = Trait(
            agent_version="1.2.3",
            session_id="session-1",
            user_id="ada",
            parent_trajectory_id=LazyFunction(uuid4),
            root_trajectory_id=LazyFunction(uuid4),
            system_prompt="You are helpful.",
            tools=LazyFunction(lambda: [{"name": "search", "strict": True}]),
            tags=LazyFunction(lambda: ["nightly", "ünï"]),
            source_format="openai-chat",
            metadata=LazyFunction(lambda: {"seed": 7, "nested": {"a": [1.5, "x"]}}),
        )
        ended = Trait(
            status=TrajectoryStatus.FAILED,
            error="the tool broke",
            reward=0.25,
            ended_at=Sequence(lambda n: instant(1000 + n)),
        )

    id = LazyFunction(uuid4)
    spec_id = "SPEC-KIT-001"
    agent_name = "gemini-flash"
    run_id = Sequence(lambda n: f"run-{n}")
    created_at = Sequence(instant)


class TrajectoryEndFactory(factory.Factory[TrajectoryEnd]):
    class Meta:
        model = TrajectoryEnd

    class Params:
        failed = Trait(status=TrajectoryStatus.FAILED, error="the tool broke", reward=-1.0)

    trajectory_id = LazyFunction(uuid4)
    status = TrajectoryStatus.COMPLETED
    ended_at = Sequence(lambda n: instant(2000 + n))


class FactFactory(factory.Factory[Fact]):
    class Meta:
        model = Fact

    class Params:
        violation = Trait(finding=SubFactory(ViolationFactory, late=True))

    trajectory_id = LazyFunction(uuid4)
    turn_number = 1
    finding = SubFactory(QuestionFactory, late=True)


class BatchFactory(factory.Factory[Batch]):
    class Meta:
        model = Batch

    turns = LazyFunction(lambda: (TurnFactory(),))


def run(turns: int = 3, trajectory_id: UUID | None = None, **fields: Any) -> Batch:
    """Make the batch of a whole run: start, turns numbered from 1, a late fact, end."""
    id_ = trajectory_id or uuid4()
    made = tuple(
        TurnFactory(trajectory_id=id_, turn_number=number, **fields)
        for number in range(1, turns + 1)
    )
    return cast(
        "Batch",
        BatchFactory(
            starts=(TrajectoryFactory(id=id_),),
            turns=made,
            facts=(FactFactory(trajectory_id=id_, turn_number=1),) if made else (),
            ends=(TrajectoryEndFactory(trajectory_id=id_),),
        ),
    )
