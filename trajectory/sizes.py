"""What a value takes in the buffer and on the wire: estimates, since they are made for each."""

from __future__ import annotations

from trajectory.door import Value
from trajectory.models import Turn
from trajectory.values import json_bytes, text_bytes

_CHILDREN = frozenset({"questions", "violations", "messages", "tool_calls"})
_SIZED = _CHILDREN | {"metadata", "error"}


def turn_bytes(turn: Turn) -> int:
    """Estimate what a turn takes in the buffer and on the wire, in bytes of UTF-8."""
    prompt, response = turn.prompt, turn.response
    if prompt.isascii() and response.isascii():  # `text_bytes`, written out: it runs for each turn
        size = 128 + len(prompt) + len(response)
    else:
        size = 128 + text_bytes(prompt) + text_bytes(response)
    if _SIZED.isdisjoint(turn.__pydantic_fields_set__):
        return size
    size += json_bytes(turn.metadata)
    for name in _CHILDREN & turn.__pydantic_fields_set__:
        size += sum([_fields_bytes(child) for child in getattr(turn, name)])
    return size if turn.error is None else size + text_bytes(turn.error)


def value_bytes(value: Value) -> int:
    """Estimate what any other value takes in the buffer, in bytes of UTF-8."""
    return _fields_bytes(value) + 128


def _fields_bytes(value: Value) -> int:
    size = 0
    held = value.__dict__
    for name in value.__pydantic_fields_set__:
        field = held[name]
        if field.__class__ is str:
            size += text_bytes(field) + 2
        elif isinstance(field, str | dict | list):
            size += json_bytes(field)
        elif isinstance(field, Value):
            size += _fields_bytes(field)
    return size
