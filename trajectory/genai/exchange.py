"""The parts of one turn in their order: who said what, and which call is whose."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from trajectory.genai import usage
from trajectory.genai.content import answer, has_text, heard, spoken, text, written
from trajectory.genai.usage import Tokens
from trajectory.models import Message, Role, ToolCall, Turn


class Exchange:
    """One turn, taken apart. A turn without a message of the assistant has one answer, at None."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self.said = [at for at, each in enumerate(turn.messages) if each.role is Role.ASSISTANT]
        """The positions of the assistant's messages."""
        self._calls: dict[int | None, list[tuple[int, ToolCall]]] = {}
        said = frozenset(self.said)
        for position, call in enumerate(turn.tool_calls):
            at = call.message_position if call.message_position in said else None
            self._calls.setdefault(at, []).append((position, call))
        self._answers: dict[str, Message] = {}
        for message in turn.messages:
            if message.role is Role.TOOL and message.call_id is not None:
                self._answers.setdefault(message.call_id, message)
        figures = [usage.of_usage(turn.messages[at].usage) for at in self.said]
        told = {at: each for at, each in zip(self.said, figures, strict=True) if each is not None}
        self._tokens = told if len(told) == len(figures) else {}

    def calls(self, at: int | None) -> list[tuple[int, ToolCall]]:
        """Give the calls that a message made, with their positions; at None those of no message."""
        return self._calls.get(at, [])

    def answer_to(self, call: ToolCall) -> Message | None:
        """Give the message that answers a call, by its id."""
        return None if call.call_id is None else self._answers.get(call.call_id)

    def is_last(self, at: int | None) -> bool:
        """Say whether this is the turn's last answer."""
        return at is None or at == self.said[-1]

    def tokens(self, at: int | None) -> Tokens | None:
        """Give the figures of an answer: its own where all have some, else the turn's at the last.

        So their sum is never more than was counted.
        """
        if at is not None and self._tokens:
            return self._tokens[at]
        return usage.of_turn(self._turn) if self.is_last(at) else None

    def input(self, at: int | None) -> list[dict[str, Any]]:
        """Give what was new for the model at an answer: what came since the one before."""
        turn = self._turn
        place = 0 if at is None else bisect_left(self.said, at)
        before = self.said[place - 1] if place else None
        new = turn.messages[0 if before is None else before + 1 : at]
        told = [heard(each) for each in new]
        if before is None:
            if turn.prompt and not any(each.role is Role.USER for each in new):
                told.append(spoken(Role.USER, [text(turn.prompt)]))
            return told
        if not any(each.role is Role.TOOL and each.call_id is None for each in new):
            told += [
                answer(call.call_id, call.result)
                for _, call in self.calls(before)
                if call.result is not None and self.answer_to(call) is None
            ]
        return told

    def output(self, at: int | None) -> dict[str, Any]:
        """Give what the model wrote."""
        turn = self._turn
        message = None if at is None else turn.messages[at]
        calls = [call for _, call in self.calls(at)]
        response = None
        if self.is_last(at):
            calls += [call for _, call in self.calls(None)] if at is not None else []
            if not any(has_text(turn.messages[said]) for said in self.said):
                response = turn.response
        return written(message, response, calls)
