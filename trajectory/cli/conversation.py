"""A turn as a person reads it: what was said, what was called, what was asked and broken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from trajectory.cli import lines
from trajectory.counts import tokens_of
from trajectory.models import Message, Question, Role, ToolCall, Turn, Violation
from trajectory.words import counted

_FOLD = 100
"""Columns that something folded takes."""

_MARGIN = "  "
_DEEPER = "      "
_SEVERE = {"minor": "yellow", "major": "red", "critical": "bold red"}


class Line(NamedTuple):
    """A line to print, and how."""

    text: str
    style: str = ""


def told(turn: Turn, *, full: bool) -> Iterator[Line]:
    """Give the lines of a turn. What is between prompt and response is folded unless `full`."""
    yield Line(_head(turn), "bold")
    yield from _block("user:", turn.prompt, "cyan")
    by_message: dict[int | None, list[ToolCall]] = {}
    for call in turn.tool_calls:
        place = call.message_position
        known = place is not None and place < len(turn.messages)
        by_message.setdefault(place if known else None, []).append(call)
    for position, message in enumerate(turn.messages):
        yield from _message(turn, message, full=full)
        for call in by_message.get(position, ()):
            yield from _call(call, full=full)
    for call in by_message.get(None, ()):
        yield from _call(call, full=full)
    yield from _block("agent:", turn.response, "green")
    if turn.error is not None:
        yield from _block("error:", turn.error, "bold red")
    for question in turn.questions:
        yield _question(question)
    for violation in turn.violations:
        yield _violation(violation)


def _head(turn: Turn) -> str:
    parts = [f"turn {turn.turn_number}", lines.second(turn.created_at)]
    if turn.latency_ms is not None:
        parts.append(lines.milliseconds(turn.latency_ms))
    tokens = tokens_of(turn)
    if tokens is not None:
        parts.append(counted(tokens, "token"))
    if turn.model_name is not None:
        parts.append(lines.label(turn.model_name, 40))
    if turn.stop_reason is not None:
        parts.append(f"stopped: {lines.label(turn.stop_reason)}")
    if turn.reward is not None:
        parts.append(f"reward {turn.reward:g}")
    if turn.is_copied_context:
        parts.append("repeats another trajectory")
    return " · ".join(parts)


def _block(who: str, text: str, style: str) -> Iterator[Line]:
    yield Line(f"{_MARGIN}{who}", style)
    for line in lines.indented(text, _MARGIN * 2):
        yield Line(line)


def _message(turn: Turn, message: Message, *, full: bool) -> Iterator[Line]:
    if message.reasoning:
        if full:
            yield from _unfolded("reasoning:", message.reasoning)
        else:
            size = counted(len(message.reasoning), "character")
            yield Line(f"{_MARGIN}(reasoning, {size})", "dim")
    text = _content(message)
    if not text or text in (turn.prompt, turn.response):  # which are told anyway
        return
    answers = message.role is Role.TOOL and message.call_id is not None
    if full:
        yield from _unfolded(f"{message.role}:", text)
    elif not answers:  # a result is told with its call
        yield Line(f"{_MARGIN}{message.role}: {lines.folded(text, _FOLD)}", "dim")


def _content(message: Message) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    found = []
    for part in message.content:
        text = part.get("text") if isinstance(part, dict) else part
        kind = part.get("type") if isinstance(part, dict) else None
        shown = kind if isinstance(kind, str) else "part"
        found.append(text if isinstance(text, str) else f"({lines.label(shown)})")
    return "\n".join(found)


def _call(call: ToolCall, *, full: bool) -> Iterator[Line]:
    parts = []
    if call.result is not None:
        parts.append(counted(len(call.result), "character"))
    if call.latency_ms is not None:
        parts.append(lines.milliseconds(call.latency_ms))
    if call.is_error:
        parts.append("error")
    end = f" → {', '.join(parts)}" if parts else ""
    style = "red" if call.is_error else "magenta"
    name = lines.label(call.tool_name, 60)
    if not full:
        arguments = lines.folded(call.arguments or "", _FOLD)
        yield Line(f"{_MARGIN}→ {name}({arguments}){end}", style)
        return
    yield Line(f"{_MARGIN}→ {name}{end}", style)
    if call.arguments is not None:
        yield from _unfolded("arguments:", call.arguments)
    if call.result is not None:
        yield from _unfolded("result:", call.result)


def _unfolded(what: str, text: str) -> Iterator[Line]:
    yield Line(f"{_MARGIN * 2}{what}", "dim")
    for line in lines.indented(text, _DEEPER):
        yield Line(line, "dim")


def _question(question: Question) -> Line:
    text = lines.folded(question.question_text, _FOLD)
    return Line(
        f"{_MARGIN}? {question.effort_level} effort ({lines.label(question.source)}): {text}",
        "yellow",
    )


def _violation(violation: Violation) -> Line:
    parts = [
        f"{what} {lines.folded(text)}"
        for what, text in (
            ("expected", violation.expected),
            ("was", violation.actual),
            ("because", violation.reason),
        )
        if text
    ]
    name = lines.label(violation.preference_name, 60)
    why = f": {', '.join(parts)}" if parts else ""
    return Line(
        f"{_MARGIN}! {violation.severity} ({lines.label(violation.source)}): {name}{why}",
        _SEVERE[violation.severity],
    )
