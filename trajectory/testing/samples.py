"""Values for the suite: simple ones, one with every field, and ways to read all back."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from trajectory.backend import StorageBackend
from trajectory.ids import uuid7
from trajectory.models import (
    Fact,
    Message,
    Question,
    ToolCall,
    Trajectory,
    Turn,
    Violation,
)
from trajectory.query import TrajectoryQuery, TurnQuery
from trajectory.values import INT64_MAX, INT64_MIN, MAX_DEPTH

NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)


class Suite:
    """What the parts of the suite share."""

    @abstractmethod
    def new_backend(self) -> AbstractAsyncContextManager[StorageBackend]:
        """Give an empty, open backend, and close it afterwards."""
        raise NotImplementedError


def a_turn(trajectory_id: UUID | None = None, number: int = 1, **fields: Any) -> Turn:
    """Make a small turn."""
    given = {"prompt": f"prompt {number}", "response": "r", "created_at": NOON, **fields}
    return Turn(trajectory_id=trajectory_id or uuid7(), turn_number=number, **given)


def a_fact(turn: Turn, **fields: Any) -> Fact:
    """Make a question that was found after its turn."""
    given = {"question_text": "late?", "effort_level": "low", "position": 2**41, **fields}
    return Fact(
        trajectory_id=turn.trajectory_id,
        turn_number=turn.turn_number,
        finding=Question(**given),
    )


def full_turn(trajectory_id: UUID) -> Turn:
    """Make a turn with every field and every kind of child."""
    return Turn(
        trajectory_id=trajectory_id,
        turn_number=2**31 - 1,
        prompt="Grüße, 世界 \U0001f30d\n\t'quoted' \"twice\"",
        response="",
        token_count=2**63 - 1,
        latency_ms=0.1,
        created_at=datetime(2026, 3, 29, 2, 30, 0, 1, timezone(timedelta(hours=5, minutes=30))),
        model_name="m",
        input_tokens=0,
        output_tokens=1,
        cache_read_tokens=2,
        cache_write_tokens=3,
        reasoning_tokens=4,
        cost_usd=1e-9,
        stop_reason="stop",
        error="e",
        reward=-1.5,
        is_copied_context=False,
        metadata=json_values(),
        questions=[
            Question(
                question_text="q",
                effort_level="high",
                confidence=0.25,
                created_at=NOON,
            ),
            Question(question_text="q", effort_level="low", source="judge:x"),
            Question(question_text="q", effort_level="low", position=7),
        ],
        violations=[
            Violation(
                preference_name="tone",
                expected="formal",
                actual="casual",
                severity="critical",
                reason="said hi",
                created_at=NOON,
            ),
            Violation(preference_name="length", severity="minor"),
        ],
        messages=[
            Message(role="user", content="hi", created_at=NOON),
            Message(
                role="assistant",
                content=[{"type": "text", "text": "parts"}, {"type": "image", "size": [1, 2]}],
                reasoning="hm",
                model_name="m",
                stop_reason="tool_calls",
                usage={"input": 3},
                token_ids=[1, 2, 3],
                logprobs=[-0.5, None],
            ),
            Message(role="tool", content="", call_id="c1"),
            Message(role="assistant"),
        ],
        tool_calls=[
            ToolCall(
                tool_name="search",
                arguments='{ "q":\t1.0 }',
                result="r",
                call_id="c1",
                message_position=1,
                is_error=True,
                latency_ms=12,
                started_at=NOON,
            ),
            ToolCall(tool_name="noop"),
        ],
    )


def json_values() -> dict[str, Any]:
    """Give JSON that databases are known to disagree about."""
    deep: Any = "bottom"
    for _ in range(MAX_DEPTH - 1):  # the object that holds it is a level as well
        deep = [deep]
    return {
        "": None,
        "$.a['b']": [True, False, None, [], {}],
        'quotes " and \\ backslash': "e+ \u2028",
        "floats": [0.0, 1.0, -1e16, 1e22, 1e300, -1.5e-300, 5e-324, 1.7976931348623157e308, 0.1],
        "integers": [0, -1, 2**53 + 1, INT64_MAX, INT64_MIN],
        "deep": deep,
        "\U0001f511": "ключ",
    }


def full_trajectory() -> Trajectory:
    """Make a trajectory with every field."""
    return Trajectory(
        spec_id="S",
        agent_name="a",
        agent_version="1",
        run_id="r",
        session_id="s",
        user_id="u",
        parent_trajectory_id=uuid7(),
        root_trajectory_id=uuid7(),
        status="failed",
        error="e",
        reward=0.5,
        system_prompt="be kind",
        tools=[{"name": "search", "strict": True}],
        tags=["x", "y"],
        source_format="test",
        created_at=NOON,
        ended_at=NOON + timedelta(seconds=1),
        metadata=json_values(),
    )


async def turns_of(backend: StorageBackend, **query: Any) -> list[Turn]:
    """Read turns."""
    return [turn async for turn in backend.read_turns(TurnQuery(**query))]


async def trajectories_of(backend: StorageBackend, **query: Any) -> list[Trajectory]:
    """Read trajectories."""
    return [t async for t in backend.read_trajectories(TrajectoryQuery(**query))]
