"""What spans that this library made tell besides: numbers of turns, rewards, findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from trajectory.errors import InvalidTurnError
from trajectory.genai import conventions as names
from trajectory.genai.lenient import amount, count, instant, label, members, number, structure, text
from trajectory.genai.spans import Event
from trajectory.genai.steps import Step
from trajectory.models import Question, Trajectory, TrajectoryStatus, Violation
from trajectory.values import MAX_DEPTH

_LAST_NUMBER = 2**31 - 1


def trajectory_id(step: Step) -> UUID | None:
    """Give the id of the trajectory that a span says it belongs to."""
    return None if step.own is None else _uuid(step.own.get(names.TRAJECTORY_ID))


def turn_number(step: Step) -> int | None:
    """Give the number of the turn that a span says it belongs to."""
    found = None if step.own is None else count(step.own.get(names.TURN_NUMBER))
    return found if found is None or found <= _LAST_NUMBER else None


def message_position(step: Step) -> int | None:
    """Give the position of the message that a span is of, or of the one that made the call."""
    return None if step.own is None else count(step.own.get(names.MESSAGE_POSITION))


def call_position(step: Step) -> int | None:
    """Give the position of the tool call that a span is of."""
    return None if step.own is None else count(step.own.get(names.CALL_POSITION))


def trajectory_of(id_: UUID, run: Step | None, parts: Sequence[Step], tools: Any) -> Trajectory:
    """Give the trajectory that spans of this library tell of; with less while its own isn't here.

    It is what was told, and no more: nothing is put in that the trajectory didn't have.
    """
    steps = [run] if run is not None else parts
    fields: dict[str, Any] = {
        "id": id_,
        "status": None,
        "agent_name": steps[0].agent_name,
        "session_id": steps[0].session_id,
        "created_at": instant(min(step.span.start_ns for step in steps)),
    }
    if run is None or run.own is None:
        return Trajectory(**fields)
    told = run.own
    status = told.get(names.STATUS)
    if isinstance(status, str) and status in set(TrajectoryStatus):
        fields["status"] = TrajectoryStatus(status)
    if fields["status"] not in (None, TrajectoryStatus.RUNNING):
        fields["ended_at"] = instant(run.span.end_ns)
    return Trajectory(
        **fields,
        user_id=run.user_id,
        spec_id=label(told.get(names.SPEC_ID)),
        run_id=label(told.get(names.RUN_ID)),
        agent_version=label(told.get(names.OWN_AGENT_VERSION)),
        parent_trajectory_id=_uuid(told.get(names.PARENT_ID)),
        root_trajectory_id=_uuid(told.get(names.ROOT_ID)),
        error=text(told.get(names.ERROR)) or run.error,
        reward=number(told.get(names.REWARD)),
        system_prompt=run.heard.instructions,
        tools=tools,
        tags=structure(told.get(names.TAGS), MAX_DEPTH),
        source_format=label(told.get(names.SOURCE_FORMAT)),
        metadata=members(told.get(names.METADATA), MAX_DEPTH),
    )


def turn_fields(steps: Iterable[Step]) -> dict[str, Any]:
    """Give the fields of a turn that its last model call tells under names of our own."""
    told = [step.own for step in steps if step.own is not None]
    if not told:
        return {}
    last = told[-1]
    is_copied = last.get(names.TURN_IS_COPIED)
    fields = {
        "reward": number(last.get(names.TURN_REWARD)),
        "cost_usd": amount(last.get(names.TURN_COST_USD)),
        "token_count": count(last.get(names.TURN_TOKENS)),
        "is_copied_context": is_copied if isinstance(is_copied, bool) else None,
        "metadata": members(last.get(names.TURN_METADATA), MAX_DEPTH),
    }
    known: dict[str, Any] = {k: v for k, v in fields.items() if v not in (None, {})}
    known["latency_ms"] = amount(last.get(names.TURN_LATENCY_MS))
    if error := text(last.get(names.TURN_ERROR)):
        known["error"] = error
    events = last.get("findings", ())
    known["questions"] = tuple(_questions(events))
    known["violations"] = tuple(_violations(events))
    return known


def _questions(events: Iterable[Event]) -> Iterator[Question]:
    for event in events:
        if event.name == names.QUESTION_EVENT and names.QUESTION_TEXT in event.attributes:
            told = event.attributes
            try:
                yield Question(
                    question_text=told[names.QUESTION_TEXT],
                    effort_level=told.get(names.EFFORT_LEVEL),
                    confidence=number(told.get(names.CONFIDENCE)),
                    source=_source(told),
                    created_at=instant(event.time_ns),
                )
            except InvalidTurnError:
                continue


def _violations(events: Iterable[Event]) -> Iterator[Violation]:
    for event in events:
        if event.name == names.VIOLATION_EVENT:
            told = event.attributes
            try:
                yield Violation(
                    preference_name=told.get(names.PREFERENCE_NAME),
                    severity=told.get(names.SEVERITY),
                    expected=text(told.get(names.EXPECTED)),
                    actual=text(told.get(names.ACTUAL)),
                    reason=text(told.get(names.REASON)),
                    source=_source(told),
                    created_at=instant(event.time_ns),
                )
            except InvalidTurnError:
                continue


def _source(told: Mapping[str, Any]) -> Any:
    return told.get(names.SOURCE) or "agent"


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
