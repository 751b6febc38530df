"""How what is stored becomes rows of an answer, none longer than it may be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel

from trajectory.counts import tokens_of
from trajectory.door import Value
from trajectory.integrations.mcp.answers import (
    CallRow,
    CallShown,
    CutText,
    Excerpt,
    MessageShown,
    QuestionShown,
    ScoreRow,
    ScoreShown,
    TrajectoryRow,
    TrajectoryShown,
    TurnShown,
    ViolationShown,
)
from trajectory.integrations.mcp.bounds import Scissors
from trajectory.models import Message, ToolCall, Turn
from trajectory.scoring import Score
from trajectory.store import TrajectoryScore
from trajectory.summary import Summary

FEW = 10
"""So many tool calls, questions and violations of a turn are told beside it."""

_Row = TypeVar("_Row", bound=BaseModel)


def trajectory_row(summary: Summary, now: datetime, scissors: Scissors) -> TrajectoryRow:
    """Tell of a trajectory in a list."""
    return TrajectoryRow(**_trajectory(summary, now, TrajectoryRow, scissors), cut=_told(scissors))


def trajectory_shown(summary: Summary, now: datetime, scissors: Scissors) -> TrajectoryShown:
    """Tell all of a trajectory but its turns."""
    return TrajectoryShown(
        **_trajectory(summary, now, TrajectoryShown, scissors), cut=_told(scissors)
    )


def _trajectory(
    summary: Summary, now: datetime, shape: type[BaseModel], scissors: Scissors
) -> dict[str, Any]:
    each, totals = summary.trajectory, summary.totals
    return {
        **_fields(each, shape, scissors),
        "status": summary.standing(now),
        "turns": totals.turns,
        "tokens": totals.tokens,
        "last_turn_at": totals.last_turn_at,
        "score": score_shown(summary.score),
    }


def score_shown(score: Score) -> ScoreShown:
    """Tell a score shortly."""
    return ScoreShown(total=score.total, r_proact=score.r_proact, r_pers=score.r_pers)


def turn_shown(turn: Turn, scissors: Scissors) -> TurnShown:
    """Tell of a turn among others."""
    return TurnShown(
        **_fields(turn, TurnShown, scissors),
        tokens=tokens_of(turn),
        message_count=len(turn.messages),
        tool_call_count=len(turn.tool_calls),
        question_count=len(turn.questions),
        violation_count=len(turn.violations),
        tool_calls=_rows("tool_calls", turn.tool_calls, CallRow, scissors),
        questions=_rows("questions", turn.questions, QuestionShown, scissors),
        violations=_rows("violations", turn.violations, ViolationShown, scissors),
        cut=_told(scissors),
    )


def message_shown(position: int, message: Message, scissors: Scissors) -> MessageShown:
    """Tell of a message."""
    return MessageShown(
        **_fields(message, MessageShown, scissors, f"messages/{position}/"),
        position=position,
        cut=_told(scissors),
    )


def call_shown(position: int, call: ToolCall, scissors: Scissors) -> CallShown:
    """Tell of a tool call."""
    return CallShown(
        **_fields(call, CallShown, scissors, f"tool_calls/{position}/"),
        position=position,
        cut=_told(scissors),
    )


def _rows(name: str, values: Sequence[Value], shape: type[_Row], scissors: Scissors) -> list[_Row]:
    return [
        shape(**_fields(each, shape, scissors, f"{name}/{position}/"))
        for position, each in enumerate(values[:FEW])
    ]


def _fields(
    value: Value, shape: type[BaseModel], scissors: Scissors, place: str = ""
) -> dict[str, Any]:
    """Give the fields of a value that a shape has too, none of them longer than a text may be."""
    given = {}
    for name in shape.model_fields:
        if name not in type(value).model_fields:
            continue
        field = getattr(value, name)
        if isinstance(field, str):
            given[name] = scissors.trimmed(f"{place}{name}", str(field))
        elif isinstance(field, dict | list):
            given[name] = scissors.json(f"{place}{name}", field)
        elif not isinstance(field, tuple):  # what belongs to a turn is told apart
            given[name] = field
    return given


def score_row(scored: TrajectoryScore) -> ScoreRow:
    """Tell a score with its counts."""
    score = scored.score
    counts = ("low", "medium", "high", "minor", "major", "critical")
    return ScoreRow(
        id=scored.trajectory_id,
        **{name: getattr(score.counts, name) for name in counts},
        r_proact=score.r_proact,
        r_pers=score.r_pers,
        total=score.total,
    )


def excerpt(text: str, wanted: str | None, length: int) -> Excerpt:
    """Cut out what is around the text that was looked for, or the beginning."""
    found = text.find(wanted) if wanted else -1
    offset = max(0, found - length // 3) if found >= 0 else 0
    return Excerpt(text=text[offset : offset + length], offset=offset, characters=len(text))


def _told(scissors: Scissors) -> list[CutText]:
    return [CutText(path=each.path, characters=each.characters) for each in scissors.cut]
