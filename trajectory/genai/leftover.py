"""What of a trajectory is in no span, counted by the names of its fields."""

from __future__ import annotations

from collections import Counter
from typing import Any

from trajectory.genai import usage
from trajectory.models import Role, Trajectory, Turn

CONTENT = {
    "trajectory": ("error", "system_prompt", "tools", "tags", "metadata"),
    "turn": ("prompt", "response", "error", "metadata"),
    "message": ("content", "reasoning"),
    "tool_call": ("arguments", "result"),
    "question": ("question_text",),
    "violation": ("expected", "actual", "reason"),
}
"""What is told only when content is asked for."""

_NO_PLACE = ("token_ids", "logprobs")
_EMPTY: tuple[object, ...] = (None, "", (), {}, [])


def of_trajectory(trajectory: Trajectory, *, content: bool, left_out: Counter[str]) -> None:
    """Count what is not told of a trajectory itself."""
    if not content:
        _count(trajectory, "trajectory", CONTENT["trajectory"], left_out)


def of_turn(turn: Turn, *, content: bool, left_out: Counter[str]) -> None:
    """Count what is not told of a turn and what belongs to it."""
    for message in turn.messages:
        _count(message, "message", _NO_PLACE, left_out)
        is_read = message.role is Role.ASSISTANT and usage.of_usage(message.usage) is not None
        if message.usage is not None and not is_read:
            left_out["message.usage"] += 1
    if content:
        last = max(
            (at for at, m in enumerate(turn.messages) if m.role is Role.ASSISTANT), default=-1
        )
        behind = turn.messages[last + 1 :] if last >= 0 else ()
        if unheard := sum(each.role is not Role.TOOL for each in behind):
            left_out["message behind the last answer"] += unheard
        return
    _count(turn, "turn", CONTENT["turn"], left_out)
    children = (
        ("message", turn.messages),
        ("tool_call", turn.tool_calls),
        ("question", turn.questions),
        ("violation", turn.violations),
    )
    for what, found in children:
        for each in found:
            _count(each, what, CONTENT[what], left_out)


def _count(value: Any, what: str, fields: tuple[str, ...], left_out: Counter[str]) -> None:
    for name in fields:
        if getattr(value, name) not in _EMPTY:
            left_out[f"{what}.{name}"] += 1
