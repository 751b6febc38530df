"""Strategies for whole trajectories: any value that the door lets through, at every field."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from trajectory.models import (
    EffortLevel,
    Message,
    Question,
    Role,
    Severity,
    ToolCall,
    Trajectory,
    TrajectoryStatus,
    Turn,
    Violation,
)
from trajectory.values import INT64_MAX, INT64_MIN

_ODD = (
    *("", "\0", "a\0b", "\ud800", "\ufeff", "\ufffd", "\u2028", "\u202e", "\x1b[31m", "\r\n"),
    *("=1+1", "-1", "@SUM(1)", "\t=1", " =1", "'", '"', ",", "null", "1e3", "\U0001f30d", "Ärger"),
)
texts = st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(_ODD)
labels = st.none() | texts
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0])
amounts = st.none() | st.floats(0, 1e300) | st.sampled_from([1e-7, 5e-324, 0.1])
counts = st.none() | st.integers(0, INT64_MAX)
_zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])
instants = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=_zones)  # noqa: DTZ001
maybe_instants = st.none() | instants
ids = st.integers(0, 2**128 - 1).map(lambda n: UUID(int=n))
maybe_ids = st.none() | ids
flags = st.none() | st.booleans()

_leaves: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(INT64_MIN, INT64_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1, 1.0, True, -0.0, 1e16, 1e22])
    | texts
)


def _keys(members: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    # Two keys that differ in what is cleaned alone are refused, so none of them has any.
    clean = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
    return st.dictionaries(clean, members, max_size=3)


json_values = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | _keys(inner), max_leaves=6
)
objects = _keys(json_values)
_sources = st.sampled_from(["agent", "heuristic/1", "judge:x", "human:\u202e"])

messages = st.builds(
    Message,
    role=st.sampled_from(Role),
    content=labels | st.lists(json_values, max_size=3),
    call_id=labels,
    reasoning=labels,
    model_name=labels,
    stop_reason=labels,
    usage=json_values,
    token_ids=json_values,
    logprobs=json_values,
    created_at=maybe_instants,
)
tool_calls = st.builds(
    ToolCall,
    tool_name=texts,
    arguments=labels,
    result=labels,
    call_id=labels,
    message_position=counts,
    is_error=flags,
    latency_ms=amounts,
    started_at=maybe_instants,
)


def _distinct(findings: list[Any]) -> list[Any]:
    taken = set()
    kept = []
    for finding in findings:
        key = finding.source, finding.position
        if finding.position is None or key not in taken:
            kept.append(finding)
        taken.add(key)
    return kept


questions = st.builds(
    Question,
    question_text=texts,
    effort_level=st.sampled_from(EffortLevel),
    confidence=st.none() | st.floats(0, 1),
    source=_sources,
    position=st.none() | st.integers(0, 2**63 - 1),
    created_at=maybe_instants,
)
violations = st.builds(
    Violation,
    preference_name=texts,
    expected=labels,
    actual=labels,
    severity=st.sampled_from(Severity),
    reason=labels,
    source=_sources,
    position=st.none() | st.integers(0, 2**63 - 1),
    created_at=maybe_instants,
)


def turns(
    trajectory_id: st.SearchStrategy[UUID], number: st.SearchStrategy[int]
) -> st.SearchStrategy[Turn]:
    """Draw turns with any values."""
    return st.builds(
        Turn,
        trajectory_id=trajectory_id,
        turn_number=number,
        prompt=texts,
        response=texts,
        token_count=counts,
        latency_ms=amounts,
        created_at=instants,
        model_name=labels,
        input_tokens=counts,
        output_tokens=counts,
        cache_read_tokens=counts,
        cache_write_tokens=counts,
        reasoning_tokens=counts,
        cost_usd=amounts,
        stop_reason=labels,
        error=labels,
        reward=numbers,
        is_copied_context=flags,
        metadata=objects,
        questions=st.lists(questions, max_size=2).map(_distinct),
        violations=st.lists(violations, max_size=2).map(_distinct),
        messages=st.lists(messages, max_size=2),
        tool_calls=st.lists(tool_calls, max_size=2),
    )


trajectories = st.builds(
    Trajectory,
    id=ids,
    spec_id=labels,
    agent_name=labels,
    agent_version=labels,
    run_id=labels,
    session_id=labels,
    user_id=labels,
    parent_trajectory_id=maybe_ids,
    root_trajectory_id=maybe_ids,
    status=st.none() | st.sampled_from(TrajectoryStatus),
    error=labels,
    reward=numbers,
    system_prompt=labels,
    tools=json_values,
    tags=json_values,
    source_format=labels,
    created_at=instants,
    ended_at=maybe_instants,
    metadata=objects,
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Trajectory, tuple[Turn, ...]]:
    """Draw a trajectory with some turns, in the order of their numbers."""
    trajectory = draw(trajectories)
    numbers_ = draw(st.lists(st.integers(0, 2**31 - 1), max_size=3, unique=True))
    return trajectory, tuple(
        draw(turns(st.just(trajectory.id), st.just(number))) for number in sorted(numbers_)
    )
