"""Writes the conversational forms that TRL trains on, as JSON Lines.

`trl` is a row a trajectory: `{"messages": [...], "tools": ...}`. `trl-prompt-completion` is a row a
turn, `{"prompt": [...], "completion": [...], "tools": ...}`: the prompt is all that was said
before the first answer of the turn, the completion is the rest of the turn, results of its tools
too. So a trajectory of n turns takes the room of n * n / 2 turns.

A content is always text. Arguments of calls are objects, `tools` is the text of a JSON list, or
null: the two have other members in each row, and a column that had one type for all would give each
object the members of all others, as null. Reasoning is `thinking`. A developer's message becomes
one of the system. Calls have no ids, so results come in the order of their calls.

Arguments that are no JSON object, as of tools that take plain text, become the object
`{"input": "..."}`, and are counted: a broken call of a model looks like this too. Left out, and
counted by name: a trajectory without an answer of the assistant, a turn without one or with nothing
before it, parts that are no text, messages that say nothing, results without their call, tools that
are no function, and every field of ours that the form has no place for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from trajectory.formats.base import Gathered
from trajectory.formats.chat_values import count_fields, functions, text_of
from trajectory.formats.conversation import NO_ANSWER, Said, Use, exchanges
from trajectory.formats.jsonlines import BadLineError, Line, parse_object
from trajectory.formats.openai_chat_write import SAYS_NOTHING
from trajectory.models import Role, Trajectory, Turn
from trajectory.values import RefusedValueError, freeze_json

VERSION = "1"

_PLAIN_ARGUMENTS = "tool call whose arguments are no JSON object (written as its `input`)"
_REASONING = frozenset({"message.reasoning"})

Chat = list[dict[str, Any]]


class TRL:
    """Writes a row of `messages` for each trajectory."""

    name = "trl"
    version = VERSION
    suffix = ".jsonl"
    for_training = True

    def begin(self, out: BinaryIO) -> MessagesWriting:
        """Begin a file."""
        return MessagesWriting(out)


class TRLPromptCompletion:
    """Writes a row of `prompt` and `completion` for each turn."""

    name = "trl-prompt-completion"
    version = VERSION
    suffix = ".jsonl"
    for_training = True

    def begin(self, out: BinaryIO) -> PromptCompletionWriting:
        """Begin a file."""
        return PromptCompletionWriting(out)


class MessagesWriting(Gathered):
    """A file while it is written; what is held is one trajectory."""

    def write(self, trajectory: Trajectory, turns: tuple[Turn, ...]) -> bool:
        """Write the rows of a trajectory."""
        left_out: Counter[str] = Counter()
        chats = [_chat(said, left_out) for said in exchanges(turns, left_out, told=_REASONING)]
        if not any(_first_answer(chat) is not None for chat in chats):
            self.left_out[NO_ANSWER] += 1
            return False
        count_fields(trajectory, "trajectory", left_out)
        system = trajectory.system_prompt
        chats.insert(0, [{"role": Role.SYSTEM, "content": system}] if system else [])
        tools = functions(trajectory, left_out)
        last = {"tools": None if tools is None else _json(tools)}
        is_empty = True
        for row in self._rows(chats, left_out):
            self.out.write(_json({**row, **last}).encode() + b"\n")
            is_empty = False
        self.left_out += left_out
        return not is_empty

    def _rows(self, chats: list[Chat], _left_out: Counter[str]) -> Iterator[dict[str, Any]]:
        yield {"messages": [message for chat in chats for message in chat]}


class PromptCompletionWriting(MessagesWriting):
    """A file while it is written; what is held is one trajectory."""

    def _rows(self, chats: list[Chat], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
        before, *chats = chats
        for chat in chats:
            answer = _first_answer(chat)
            if answer is None:
                left_out["turn without an answer of the assistant"] += 1
            elif not before and not answer:
                left_out["turn with nothing before its answer"] += 1
            else:
                yield {"prompt": before + chat[:answer], "completion": chat[answer:]}
            before += chat


def _first_answer(chat: Chat) -> int | None:
    places = (at for at, message in enumerate(chat) if message["role"] == Role.ASSISTANT)
    return next(places, None)


def _chat(exchange: Iterable[Said], left_out: Counter[str]) -> Chat:
    """Write the messages of a turn."""
    chat: Chat = []
    results: list[tuple[int, dict[str, Any]]] = []
    for said in exchange:
        content = text_of(said.content, left_out)
        if said.answers is not None:
            name = said.answers.tool_name
            results.append(
                (said.answers.place, {"role": said.role, "name": name, "content": content})
            )
            continue
        chat += _in_order(results)
        results.clear()
        if not (content or said.uses or (said.role is Role.USER and said.content is not None)):
            left_out[SAYS_NOTHING] += 1
            left_out["message.reasoning"] += bool(said.reasoning)
            continue
        role = Role.SYSTEM if said.role is Role.DEVELOPER else said.role
        message: dict[str, Any] = {"role": role, "content": content}
        if said.reasoning:
            message["thinking"] = said.reasoning
        if said.uses:
            message["tool_calls"] = [_call(use, left_out) for use in said.uses]
        chat.append(message)
    return chat + _in_order(results)


def _in_order(results: list[tuple[int, dict[str, Any]]]) -> Chat:
    return [result for _, result in sorted(results, key=lambda placed: placed[0])]


def _call(use: Use, left_out: Counter[str]) -> dict[str, Any]:
    arguments = _arguments(use.arguments)
    if arguments is None:
        left_out[_PLAIN_ARGUMENTS] += 1
        arguments = {"input": use.arguments}
    return {"type": "function", "function": {"name": use.tool_name, "arguments": arguments}}


def _arguments(text: str | None) -> Any:
    """Read arguments: none at all are an empty object, and what is no object is None."""
    if text is None or not text.strip():
        return {}
    try:
        return freeze_json(parse_object(Line(2, text.encode())))[0]
    except (BadLineError, RefusedValueError):
        return None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
