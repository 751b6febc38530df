"""A trajectory as the messages of a chat: what the exporters of chat formats share.

A turn that has messages is told by them, else by its prompt, tool calls and response. Chat formats
want each result right behind the message that made the call, so results that came later, also in a
later turn, move up to it, and calls of one answer that the source told one by one are put together.
A call whose message is not known stands before the answer if it has a result, else in the answer.
A result that only its call knows becomes a message. Nothing is made up but ids.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from trajectory.formats.chat_values import count_fields, text_of
from trajectory.models import Message, Role, ToolCall, Turn

LOST_RESULT = "tool result without its call"
NO_ANSWER = "trajectory without an answer of the assistant"


class Use(NamedTuple):
    """A tool call in a message. `id` is never empty, and its place among the message's `uses`."""

    id: str
    tool_name: str
    arguments: str | None
    place: int


@dataclass(frozen=True, slots=True)
class Said:
    """One message of the chat. `content` is text, a list of parts, or None, as it was logged.

    `uses` are the calls of an assistant's message, `answers` is the call that a tool's one answers.
    """

    role: Role
    content: str | Sequence[Any] | None
    reasoning: str | None = None
    stop_reason: str | None = None
    uses: tuple[Use, ...] = ()
    answers: Use | None = None


def exchanges(
    turns: Sequence[Turn], left_out: Counter[str], *, told: frozenset[str] = frozenset()
) -> list[list[Said]]:
    """Give the messages of a trajectory, a list for each turn.

    Counts in `left_out` the results whose call is not known, and the fields that are in no message;
    `told` names those that the format has a place for, as in `message.reasoning`.
    """
    for turn in turns:
        count_fields(turn, "turn", left_out, told)
        for message in turn.messages:
            count_fields(message, "message", left_out, told)
        for call in turn.tool_calls:
            count_fields(call, "tool_call", left_out, told)
    calls = _Calls(turns)
    calls.find_answers(turns, left_out)
    return [list(_Telling(turn, calls.by_turn[at]).said()) for at, turn in enumerate(turns)]


@dataclass(slots=True, eq=False)
class _Made:
    """A call while its message and its answer are looked for."""

    call: ToolCall
    id: str
    turn: int
    position: int | None
    answer: Message | None = None
    order: int = 0
    """Which answer of the trajectory it is."""
    is_late: bool = False
    """Another message of the assistant stands between the call and its answer."""

    @property
    def has_result(self) -> bool:
        return self.answer is not None or self.call.result is not None


class _Calls:
    """The calls of a trajectory, and the messages that answer them."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self.by_turn: list[list[_Made]] = [[] for _ in turns]
        self._by_id: dict[str, list[deque[_Made]]] = {}
        self._by_result: dict[str, deque[_Made]] = {}
        ids = {call.call_id for turn in turns for call in turn.tool_calls}
        number = 0
        for at, turn in enumerate(turns):
            for call in turn.tool_calls:
                number += 1
                made_up = f"call_{number}"
                while made_up in ids:
                    made_up += "_"
                position = call.message_position
                if position is not None and not _is_assistant(turn.messages, position):
                    position = None
                made = _Made(call, call.call_id or made_up, at, position)
                self.by_turn[at].append(made)

    def find_answers(self, turns: Sequence[Turn], left_out: Counter[str]) -> None:
        """Look for the call of each message with a result; it may stand in an earlier turn."""
        order = 0
        for at, turn in enumerate(turns):
            own = self.by_turn[at]
            placed: dict[int | None, list[_Made]] = {}
            for made in own:
                placed.setdefault(made.position, []).append(made)
            silent: deque[_Made] = deque()
            self._expect(placed.get(None, []), silent)
            assistant = None
            for position, message in enumerate(turn.messages):
                if message.role is Role.ASSISTANT:
                    assistant = position
                    self._expect(placed.get(position, []), silent)
                elif message.role is Role.TOOL:
                    answered = self._answered(message, silent)
                    if answered is None:
                        left_out[LOST_RESULT] += 1
                        continue
                    answered.answer = message
                    if answered.turn == at and answered.position is None:
                        answered.position = assistant
                    answered.is_late = answered.turn == at and answered.position != assistant
                    answered.order = order = order + 1

    def _expect(self, calls: Iterable[_Made], silent: deque[_Made]) -> None:
        for made in calls:
            if made.call.call_id is not None:
                of_id = self._by_id.setdefault(made.call.call_id, [])
                last = of_id[-1][-1] if of_id else None
                if last is None or (last.turn, last.position) != (made.turn, made.position):
                    of_id.append(deque())
                of_id[-1].append(made)
            if made.call.result is None:
                silent.append(made)
            else:
                self._by_result.setdefault(made.call.result, deque()).append(made)

    def _answered(self, message: Message, silent: deque[_Made]) -> _Made | None:
        """Find the call: by its id, the newest message first; else by its result, or in order."""
        of_id = self._by_id.get(message.call_id, []) if message.call_id is not None else []
        while of_id:
            made = of_id[-1].popleft()
            if not of_id[-1]:
                of_id.pop()
            if made.answer is None:
                return made
        for waiting in (self._by_result.get(text_of(message.content), deque()), silent):
            while waiting and waiting[0].answer is not None:
                waiting.popleft()
            if waiting and (message.call_id is None or waiting[0].call.call_id is None):
                made = waiting.popleft()
                if made.call.call_id is None and message.call_id:
                    made.id = message.call_id
                return made
        return None


def _is_assistant(messages: Sequence[Message], position: int) -> bool:
    return position < len(messages) and messages[position].role is Role.ASSISTANT


class _Telling:
    """One turn, told message by message."""

    def __init__(self, turn: Turn, own: list[_Made]) -> None:
        self._turn = turn
        self._made: dict[int | None, list[_Made]] = {}
        for made in own:
            self._made.setdefault(made.position, []).append(made)

    def said(self) -> Iterator[Said]:
        """Give the messages."""
        turn, messages = self._turn, self._turn.messages
        unplaced = self._made.pop(None, [])
        said = {at for at, message in enumerate(messages) if message.role is Role.ASSISTANT}
        has_text = any(text_of(messages[at].content) for at in said)
        last = max(said, default=None)
        if unplaced and last is not None and not any(made.has_result for made in unplaced):
            self._made.setdefault(last, []).extend(unplaced)
            unplaced = []
        if turn.prompt and not any(message.role is Role.USER for message in messages):
            yield Said(Role.USER, turn.prompt)
        skip = -1
        for at, message in enumerate(messages):
            if at == last and unplaced:
                yield from self._with_calls(Said(Role.ASSISTANT, None), unplaced)
                unplaced = []
            if message.role is Role.TOOL or at <= skip:
                continue
            made = self._made.get(at, [])
            reasoning = [message.reasoning] if message.reasoning else []
            skip = at
            while made and self._goes_on(skip):
                skip += 1
                made = made + self._made[skip]
                reasoning += [thought] if (thought := messages[skip].reasoning) else []
            plain = Said(
                message.role, message.content, "\n\n".join(reasoning) or None, message.stop_reason
            )
            yield from self._with_calls(plain, made)
        response = None if has_text else turn.response or None
        if unplaced and any(made.has_result for made in unplaced):
            yield from self._with_calls(Said(Role.ASSISTANT, None), unplaced)
            unplaced = []
        if response or unplaced:
            yield from self._with_calls(Said(Role.ASSISTANT, response), unplaced)

    def _goes_on(self, at: int) -> bool:
        """Say whether the next message only adds calls to this one, before any is answered."""
        following = self._turn.messages[at + 1 : at + 2]
        return (
            any(made.is_late for made in self._made[at])
            and at + 1 in self._made
            and not following[0].content
        )

    def _with_calls(self, said: Said, made: list[_Made]) -> Iterator[Said]:
        """Give a message with its calls, and behind it the results that are known."""
        if not made:
            yield said
            return
        uses = [
            Use(each.id, each.call.tool_name, each.call.arguments, place)
            for place, each in enumerate(made)
        ]
        yield Said(said.role, said.content, said.reasoning, said.stop_reason, tuple(uses))
        answered = list(zip(made, uses, strict=True))
        if all(each.answer is not None for each in made):
            answered.sort(key=lambda pair: pair[0].order)
        for each, use in answered:
            content: str | Sequence[Any] | None = each.call.result
            if each.answer is not None:
                content = content or "" if each.answer.content is None else each.answer.content
            if content is not None:
                yield Said(Role.TOOL, content, answers=use)
