"""Writes ShareGPT: a JSON list, a conversation a line, `from` and `value` alone.

A tool call becomes `function_call`, its result the `observation` right after it, so calls that ran
side by side stand one after the other. Every message of the user is a `human`, every text of the
model a `gpt`, also where several follow each other. Left out, and counted by name: reasoning,
instructions in the middle, content that is no text, and every field of ours that the form has no
place for. A trajectory without messages is left out whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NoReturn

from trajectory.formats.base import Gathered
from trajectory.formats.chat_values import count_fields, text_of
from trajectory.formats.conversation import Said, exchanges
from trajectory.models import Role, Trajectory, Turn

_TOLD = frozenset({"trajectory.id"})


class ShareGPTFile(Gathered):
    """A file while it is written."""

    def __init__(self, out: BinaryIO) -> None:
        super().__init__(out)
        self._is_empty = True
        out.write(b"[")

    def write(self, trajectory: Trajectory, turns: tuple[Turn, ...]) -> bool:
        """Write a conversation."""
        count_fields(trajectory, "trajectory", self.left_out, _TOLD)
        conversations = [
            {"from": said, "value": value}
            for exchange in exchanges(turns, self.left_out)
            for said, value in self._pairs(exchange)
        ]
        if not conversations:
            self.left_out["trajectory without messages"] += 1
            return False
        document = {"id": str(trajectory.id), "conversations": conversations}
        if trajectory.system_prompt is not None:
            document["system"] = trajectory.system_prompt
        if (tools := trajectory.tools) is not None:
            document["tools"] = tools if isinstance(tools, str) else _json(tools)
        self.out.write((b"\n" if self._is_empty else b",\n") + _json(document).encode())
        self._is_empty = False
        return True

    def close(self) -> None:
        """End the list."""
        self.out.write(b"\n]\n")

    def _pairs(self, exchange: Sequence[Said]) -> Iterator[tuple[str, str]]:
        """Give who speaks and what, call by call with its result."""
        for at, said in enumerate(exchange):
            if said.role in (Role.SYSTEM, Role.DEVELOPER):
                self.left_out["instructions in a turn"] += 1
            elif said.role is not Role.TOOL and (value := text_of(said.content, self.left_out)):
                yield ("human" if said.role is Role.USER else "gpt"), value
            results: dict[int, list[Said]] = {}
            for result in exchange[at + 1 : at + 1 + len(said.uses)]:
                if result.answers is not None:
                    results.setdefault(result.answers.place, []).append(result)
            for use in said.uses:
                arguments = _as_json(use.arguments)
                yield (
                    "function_call",
                    f'{{"name": {_json(use.tool_name)}, "arguments": {arguments}}}',
                )
                for result in results.get(use.place, ()):
                    if result.answers is use:
                        yield "observation", text_of(result.content, self.left_out)


def _as_json(arguments: str | None) -> str:
    """Give arguments as JSON: as they are, where they are JSON, else as a JSON text."""
    if arguments is None:
        return "{}"
    try:
        json.loads(arguments, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return _json(arguments)
    return arguments


def refuse_constant(name: str) -> NoReturn:
    """Refuse what Python reads and JSON doesn't have. Raises `ValueError`."""
    raise ValueError(name)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
