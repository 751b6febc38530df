"""Writes the OpenAI chat form, as fine-tuning takes it: a line `{"messages": [...]}` a trajectory.

The system prompt comes first. Arguments of calls are the text that the model wrote, byte for byte;
a call without an id gets one that is the same in every export. Nothing else is made up: a call that
was never answered, and a conversation that ends with the user, are written as they are.

Left out, and counted by name: reasoning, parts of kinds that the form doesn't know, messages that
say nothing, results without their call, tools that are no function, and every field of ours that
the form has no place for. A trajectory without an answer of the assistant is left out whole.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, BinaryIO

from trajectory.formats.base import Gathered
from trajectory.formats.chat_values import count_fields, functions, name_of_part, text_of_part
from trajectory.formats.conversation import NO_ANSWER, Said, Use, exchanges
from trajectory.models import Role, Trajectory, Turn

NAME = "openai-chat"
VERSION = "1"

SAYS_NOTHING = "message that says nothing"
_REFUSAL = "refusal"
_PARTS: Mapping[Role, tuple[str, ...]] = {
    Role.USER: ("image_url", "input_audio", "file"),
    Role.ASSISTANT: (_REFUSAL,),
}


class OpenAIChatExport:
    """Writes conversations in the OpenAI chat form."""

    name = NAME
    version = VERSION
    suffix = ".jsonl"
    for_training = True

    def begin(self, out: BinaryIO) -> OpenAIChatWriting:
        """Begin a file."""
        return OpenAIChatWriting(out)


class OpenAIChatWriting(Gathered):
    """A file while it is written; what is held is one trajectory."""

    def write(self, trajectory: Trajectory, turns: tuple[Turn, ...]) -> bool:
        """Write a line."""
        left_out: Counter[str] = Counter()
        count_fields(trajectory, "trajectory", left_out)
        told = [said for turn in exchanges(turns, left_out) for said in turn]
        messages = [message for said in told if (message := _message(said, left_out))]
        if not any(message["role"] == Role.ASSISTANT for message in messages):
            self.left_out[NO_ANSWER] += 1
            return False
        if trajectory.system_prompt:
            messages.insert(0, {"role": Role.SYSTEM, "content": trajectory.system_prompt})
        document: dict[str, Any] = {"messages": messages}
        if (tools := functions(trajectory, left_out)) is not None:
            document["tools"] = tools
        self.left_out += left_out
        self.out.write(json.dumps(document, ensure_ascii=False).encode() + b"\n")
        return True


def _message(said: Said, left_out: Counter[str]) -> dict[str, Any] | None:
    """Write one message; None where nothing is left of it."""
    content = _content(said, left_out)
    message: dict[str, Any] = {"role": said.role, "content": content}
    if said.answers is not None:
        answer = {"tool_call_id": said.answers.id, "name": said.answers.tool_name}
        return {"role": said.role, **answer, "content": content or ""}
    if said.uses:
        message["tool_calls"] = [_call(use) for use in said.uses]
    elif (said.role is not Role.USER and not content) or content is None:
        left_out[SAYS_NOTHING] += 1
        return None
    is_refusal = said.role is Role.ASSISTANT and said.stop_reason == _REFUSAL
    if is_refusal and isinstance(content, str) and not said.uses:
        left_out["message.stop_reason"] -= 1  # it has a place here
        return {"role": said.role, "content": None, "refusal": content}
    return message


def _content(said: Said, left_out: Counter[str]) -> str | list[Any] | None:
    if said.content is None or isinstance(said.content, str):
        return said.content
    kept = []
    for part in said.content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        text = text_of_part(part)
        if kind in _PARTS.get(said.role, ()) or (kind == "text" and text is not None):
            kept.append(part)
        elif text is not None:
            kept.append({"type": "text", "text": text})
        else:
            left_out[name_of_part(part)] += 1
    return kept or None


def _call(use: Use) -> dict[str, Any]:
    arguments = "{}" if use.arguments is None else use.arguments
    return {
        "id": use.id,
        "type": "function",
        "function": {"name": use.tool_name, "arguments": arguments},
    }
