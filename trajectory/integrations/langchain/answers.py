"""Reads what a model of LangChain's answered: text, thoughts, tool calls, usage."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from trajectory.draft import as_text
from trajectory.integrations.langchain.reading import THOUGHTS, kind_of, label


class Called(NamedTuple):
    """A tool call as a model wrote it."""

    name: str
    arguments: str
    call_id: str | None


def generation_of(result: Any) -> Any:
    """Give the first answer of a call: others are candidates, which nobody asks for."""
    answers = getattr(result, "generations", None)
    for _ in range(2):
        answers = answers[0] if isinstance(answers, list | tuple) and answers else None
    return answers


def has_said(generation: Any) -> bool:
    """Say whether there is anything in an answer that was broken off."""
    message = getattr(generation, "message", None)
    return bool(getattr(generation, "text", None) or getattr(message, "content", None))


def reasoning_of(message: Any) -> str | None:
    """Give what a model thought before its answer, where its provider tells."""
    extra = getattr(message, "additional_kwargs", None)
    if isinstance(extra, Mapping) and isinstance(extra.get("reasoning_content"), str):
        return str(extra["reasoning_content"]) or None
    content = getattr(message, "content", None)
    parts = content if isinstance(content, list | tuple) else ()
    return "".join(_thoughts(parts)) or None


def calls_of(message: Any) -> list[Called]:
    """Give the tool calls of an answer, with the arguments as the model wrote them if known."""
    raw = dict(_raw_arguments(message))
    found = []
    for name in ("tool_calls", "invalid_tool_calls"):
        calls = getattr(message, name, None)
        for call in calls if isinstance(calls, list | tuple) else ():
            if not isinstance(call, Mapping):
                continue
            call_id = label(call.get("id"))
            arguments = raw.get(call_id) if call_id else None
            if arguments is None:
                arguments = as_text(call.get("args"))
            found.append(Called(label(call.get("name")) or "unknown", arguments, call_id))
    return found


def usage_of(message: Any, result: Any) -> tuple[Any, dict[str, int | None]]:
    """Give a call's usage as it came, and as counts."""
    usage = getattr(message, "usage_metadata", None)
    if isinstance(usage, Mapping):
        into, out = usage.get("input_token_details"), usage.get("output_token_details")
        into = into if isinstance(into, Mapping) else {}
        out = out if isinstance(out, Mapping) else {}
        return usage, {
            "input_tokens": _count(usage.get("input_tokens")),
            "output_tokens": _count(usage.get("output_tokens")),
            "cache_read_tokens": _count(into.get("cache_read")),
            "cache_write_tokens": _count(into.get("cache_creation")),
            "reasoning_tokens": _count(out.get("reasoning")),
        }
    told = getattr(result, "llm_output", None)
    told = told if isinstance(told, Mapping) else {}
    usage = told.get("token_usage", told.get("usage"))
    if not isinstance(usage, Mapping):
        return None, {}
    return usage, {
        "input_tokens": _count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        "output_tokens": _count(usage.get("completion_tokens", usage.get("output_tokens"))),
    }


def told_of(generation: Any, *names: str) -> str | None:
    """Give the first of some labels that a provider put beside an answer."""
    message = getattr(generation, "message", None)
    places = (
        getattr(message, "response_metadata", None),
        getattr(generation, "generation_info", None),
    )
    known = [place for place in places if isinstance(place, Mapping)]
    found = (told for place in known for name in names if (told := label(place.get(name))))
    return next(found, None)


def parsed(text: str) -> Any:
    """Read arguments as JSON; None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _thoughts(parts: Iterable[Any]) -> Iterator[str]:
    for part in parts:
        if not isinstance(part, Mapping) or kind_of(part) not in THOUGHTS:
            continue
        for key in ("thinking", "reasoning", "text", "reasoning_content"):
            held = part.get(key)
            held = held.get("text") if isinstance(held, Mapping) else held
            if isinstance(held, str):
                yield held
                break
        else:
            summary = part.get("summary")
            for one in summary if isinstance(summary, list | tuple) else ():
                if isinstance(one, Mapping) and isinstance(one.get("text"), str):
                    yield one["text"]


def _raw_arguments(message: Any) -> Iterator[tuple[str | None, str]]:
    """Find the arguments as text: with the provider's own fields, or gathered from a stream."""
    extra = getattr(message, "additional_kwargs", None)
    raw = extra.get("tool_calls") if isinstance(extra, Mapping) else None
    for call in raw if isinstance(raw, list | tuple) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping) and isinstance(function.get("arguments"), str):
            yield label(call.get("id")), function["arguments"]
    chunks = getattr(message, "tool_call_chunks", None)
    for call in chunks if isinstance(chunks, list | tuple) else ():
        if isinstance(call, Mapping) and isinstance(call.get("args"), str) and call["args"]:
            yield label(call.get("id")), call["args"]
    content = getattr(message, "content", None)
    for part in content if isinstance(content, list | tuple) else ():
        if kind_of(part) == "function_call" and isinstance(part.get("arguments"), str):
            yield label(part.get("call_id")), part["arguments"]


def _count(value: Any) -> int | None:
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
    return value if known else None
