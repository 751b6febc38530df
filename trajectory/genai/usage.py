"""Token figures of one model call, in the shapes in which providers give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from trajectory.genai import conventions as names
from trajectory.models import Turn
from trajectory.values import INT64_MAX

_INPUT = ("input_tokens", "prompt_tokens")
_OUTPUT = ("output_tokens", "completion_tokens")
_READ = ("cache_read_tokens", "cached_tokens", "cached_input_tokens")
_WRITTEN = ("cache_write_tokens",)
_REASONING = ("reasoning_tokens", "reasoning_output_tokens")
_READ_BESIDE, _WRITTEN_BESIDE = "cache_read_input_tokens", "cache_creation_input_tokens"
"""Of the shape that doesn't count cached tokens in `input_tokens`."""
_INPUT_DETAILS = ("input_tokens_details", "prompt_tokens_details", "input_token_details")
_OUTPUT_DETAILS = ("output_tokens_details", "completion_tokens_details", "output_token_details")


class Tokens(NamedTuple):
    """What is known. Input counts cached tokens, output those of reasoning."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None

    def attributes(self) -> dict[str, int]:
        """Give them by the names of the conventions."""
        told = {
            names.INPUT_TOKENS: self.input,
            names.OUTPUT_TOKENS: self.output,
            names.CACHE_READ_TOKENS: self.cache_read,
            names.CACHE_WRITE_TOKENS: self.cache_write,
            names.REASONING_TOKENS: self.reasoning,
        }
        return {name: count for name, count in told.items() if count is not None}


def of_turn(turn: Turn) -> Tokens:
    """Give the figures of a whole turn."""
    return Tokens(
        turn.input_tokens,
        turn.output_tokens,
        turn.cache_read_tokens,
        turn.cache_write_tokens,
        turn.reasoning_tokens,
    )


def of_usage(usage: Any) -> Tokens | None:
    """Read the `usage` of a message; None where neither input nor output is told."""
    if not isinstance(usage, Mapping):
        return None
    inputs, outputs = _inner(usage, _INPUT_DETAILS), _inner(usage, _OUTPUT_DETAILS)
    read = _first(usage, _READ) if _has(usage, _READ) else _first(inputs, ("cache_read", *_READ))
    written = _first(usage, _WRITTEN)
    reasoning = _first(usage, _REASONING)
    if reasoning is None:
        reasoning = _first(outputs, ("reasoning", *_REASONING))
    input_ = _first(usage, _INPUT)
    if _has(usage, (_READ_BESIDE, _WRITTEN_BESIDE)):
        read, written = _count(usage.get(_READ_BESIDE)), _count(usage.get(_WRITTEN_BESIDE))
        if input_ is not None:
            input_ = min(input_ + (read or 0) + (written or 0), INT64_MAX)
    output = _first(usage, _OUTPUT)
    if input_ is None and output is None:
        return None
    return Tokens(input_, output, read, written, reasoning)


def _has(usage: Mapping[str, Any], keys: tuple[str, ...]) -> bool:
    return any(_count(usage.get(key)) is not None for key in keys)


def _first(usage: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    counts = (_count(usage.get(key)) for key in keys)
    return next((count for count in counts if count is not None), None)


def _inner(usage: Mapping[str, Any], keys: tuple[str, ...]) -> Mapping[str, Any]:
    return next((usage[key] for key in keys if isinstance(usage.get(key), Mapping)), {})


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None
