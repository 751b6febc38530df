"""The tool calls of one turn: what a model wrote, what ran it, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from trajectory.genai.lenient import instant
from trajectory.genai.said import Call
from trajectory.genai.steps import Step
from trajectory.models import ToolCall


@dataclass(slots=True)
class Called:
    """A tool call; what ran it, and its answer, may still come."""

    call: Call
    at: int | None
    """The position of the message that made it."""
    run: Step | None = None
    answer: str | None = None

    def ran(self, step: Step) -> None:
        """Take up the span of the tool."""
        self.run = step
        if step.arguments is not None and _is_same(self.call.arguments, step.arguments):
            # Where the model's arguments came as an object, the tool may have had them as text.
            self.call = self.call._replace(arguments=step.arguments)
        elif self.call.arguments is None:
            self.call = self.call._replace(arguments=step.arguments)

    def tool_call(self) -> ToolCall:
        """Give it as it is recorded."""
        step, result = self.run, self.answer
        if step is not None:
            failure = step.error if result is None else None
            result = step.result if step.result is not None else result
            result = failure if result is None else result
        lasted = None if step is None else max(step.span.end_ns - step.span.start_ns, 0)
        return ToolCall(
            tool_name=self.call.name,
            arguments=self.call.arguments,
            result=result,
            call_id=self.call.call_id,
            message_position=self.at,
            is_error=None if step is None else step.error is not None,
            latency_ms=None if lasted is None else lasted / 1e6,
            started_at=None if step is None else instant(step.span.start_ns),
        )


def call_of(step: Step, here: Iterable[Called], everywhere: Iterable[Called]) -> Called | None:
    """Find the call that a tool's span ran: by its id in any turn, else by its name in this one.

    Of several of one name it is the first with the same arguments, or the first.
    """
    waiting = [called for called in here if called.run is None]
    if step.call_id is not None:
        for called in everywhere:
            if called.call.call_id == step.call_id and called.run is None:
                return called
        waiting = [called for called in waiting if called.call.call_id is None]
    named = [called for called in waiting if called.call.name == step.tool_name]
    same = (called for called in named if _is_same(called.call.arguments, step.arguments))
    return next(same, named[0] if named else None)


def _is_same(one: str | None, other: str | None) -> bool:
    """Say whether two texts of arguments mean the same."""
    if one is None or other is None:
        return one is other
    try:
        return one == other or bool(json.loads(one) == json.loads(other))
    except (ValueError, RecursionError):
        return False
