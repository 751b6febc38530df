"""The rules of ATIF v1.8, and where a document breaks them.

All that the format's own models refuse is found, and besides: tool call ids that stand twice,
negative token figures, more cached tokens than there were, numbers that JSON lacks, and totals of
steps that are wrong without a note. Types are taken as they are: a count in quotes is no number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trajectory.formats import checks
from trajectory.formats.checks import BrokenRule
from trajectory.formats.foreign import members

VERSION = "ATIF-v1.8"
VERSIONS = tuple(f"ATIF-v1.{minor}" for minor in range(9))

SOURCES = ("system", "user", "agent")
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_AUDIO = frozenset(
    {f"audio/{kind}" for kind in ("wav", "mpeg", "mp4", "aac", "ogg", "flac", "webm", "aiff")}
    | {f"audio/{kind}" for kind in ("mp3", "mpga", "wave", "vnd.wave", "m4a")}
    | {f"audio/x-{kind}" for kind in ("mpeg", "wav", "m4a", "aac", "flac", "aiff")}
)
_AGENT_ONLY = ("model_name", "reasoning_effort", "reasoning_content", "tool_calls", "metrics")
_OF_A_MODEL = ("metrics", "reasoning_content")


def broken_rules(document: object) -> list[BrokenRule]:
    """Find each rule that a document breaks; none, and it is valid ATIF v1.8."""
    found: list[BrokenRule] = []
    pending: list[tuple[Any, str]] = [(document, "$")]
    while pending:
        trajectory, path = pending.pop()
        found += _trajectory(trajectory, path)
        children = members(trajectory).get("subagent_trajectories")
        if isinstance(children, list):
            found += _embedded(children, f"{path}.subagent_trajectories")
            pending += (
                (child, f"{path}.subagent_trajectories[{at}]") for at, child in enumerate(children)
            )
    return found


def is_part(value: object) -> bool:
    """Say whether a value is a content part as ATIF has it."""
    return not list(_part(value, ""))


def _media(value: Mapping[str, Any], path: str) -> Iterator[BrokenRule]:
    """Check a part: text has a text and no source, media have a source of their own kind."""
    kind = value.get("type")
    if kind not in ("text", "image", "audio"):
        return
    needed, other = ("text", "source") if kind == "text" else ("source", "text")
    if value.get(needed) is None:
        yield BrokenRule(f"{path}.{needed}", f"is required in a part of the type {kind}")
    if value.get(other) is not None:
        yield BrokenRule(f"{path}.{other}", f"has no place in a part of the type {kind}")
    source = members(value.get("source"))
    media_type = source.get("media_type")
    if kind == "text" or not isinstance(media_type, str):
        return
    is_known = (
        media_type in _IMAGES if kind == "image" else media_type.strip().lower() in _AUDIO
    )  # spellings of audio types vary, and are folded
    if not is_known:
        yield BrokenRule(f"{path}.source.media_type", f"is not a known type of {kind}")
    if kind == "image" and "duration_sec" in source:
        yield BrokenRule(f"{path}.source.duration_sec", "has no place in an image")


_part = checks.object_of(
    {"type": checks.one_of("text", "image", "audio")},
    {
        "text": checks.text,
        "source": checks.object_of(
            {"media_type": checks.text, "path": checks.text},
            {"duration_sec": checks.amount},
        ),
    },
    _media,
)


def _content(value: Any, path: str) -> Iterator[BrokenRule]:
    if isinstance(value, list):
        yield from checks.list_of(_part)(value, path)
    elif not isinstance(value, str):
        yield BrokenRule(path, "is neither text nor a list of parts")


def _resolvable(value: Mapping[str, Any], path: str) -> Iterator[BrokenRule]:
    if value.get("trajectory_id") is None and value.get("trajectory_path") is None:
        yield BrokenRule(path, "has neither a trajectory_id nor a trajectory_path")


def _cached(value: Mapping[str, Any], path: str) -> Iterator[BrokenRule]:
    for prefix in ("", "total_"):
        cached, read = value.get(f"{prefix}cached_tokens"), value.get(f"{prefix}prompt_tokens")
        if isinstance(cached, int) and isinstance(read, int) and cached > read:
            yield BrokenRule(f"{path}.{prefix}cached_tokens", "is more than the prompt had")


_REF = checks.object_of(
    {},
    {
        "trajectory_id": checks.text,
        "session_id": checks.text,
        "trajectory_path": checks.text,
        "extra": checks.free,
    },
    _resolvable,
)
_RESULT = checks.object_of(
    {},
    {
        "source_call_id": checks.text,
        "content": _content,
        "subagent_trajectory_ref": checks.list_of(_REF),
        "extra": checks.free,
    },
)
_METRICS = checks.object_of(
    {},
    {
        "prompt_tokens": checks.count,
        "completion_tokens": checks.count,
        "cached_tokens": checks.count,
        "cost_usd": checks.amount,
        "prompt_token_ids": checks.list_of(checks.whole),
        "completion_token_ids": checks.list_of(checks.whole),
        "logprobs": checks.list_of(checks.number),
        "extra": checks.free,
    },
    _cached,
)
_TOOL_CALL = checks.object_of(
    {"tool_call_id": checks.text, "function_name": checks.text, "arguments": checks.free},
    {"extra": checks.free},
)


def _fitting(step: Mapping[str, Any], path: str) -> Iterator[BrokenRule]:
    """Check what a step may have besides, and that its results answer calls of its own."""
    source = step.get("source")
    if source in ("system", "user"):
        for key in _AGENT_ONLY:
            if step.get(key) is not None:
                yield BrokenRule(f"{path}.{key}", "has its place in steps of an agent only")
    elif step.get("llm_call_count") == 0:
        for key in _OF_A_MODEL:
            if step.get(key) is not None:
                yield BrokenRule(f"{path}.{key}", "has no place where llm_call_count is 0")
    ids = [members(call).get("tool_call_id") for call in _members_of(step, "tool_calls")]
    for at, result in enumerate(_members_of(members(step.get("observation")), "results")):
        call_id = members(result).get("source_call_id")
        if isinstance(call_id, str) and call_id not in ids:
            yield BrokenRule(
                f"{path}.observation.results[{at}].source_call_id", "names no call of its step"
            )


def _members_of(value: Mapping[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []


_STEP = checks.object_of(
    {"step_id": checks.whole, "source": checks.one_of(*SOURCES), "message": _content},
    {
        "timestamp": checks.timestamp,
        "model_name": checks.text,
        "reasoning_effort": checks.text_or_number,
        "reasoning_content": checks.text,
        "tool_calls": checks.list_of(_TOOL_CALL),
        "observation": checks.object_of({"results": checks.list_of(_RESULT)}, {}),
        "metrics": _METRICS,
        "is_copied_context": checks.flag,
        "llm_call_count": checks.count,
        "extra": checks.free,
    },
    _fitting,
)


def _whole_document(document: Mapping[str, Any], path: str) -> Iterator[BrokenRule]:
    """Check what concerns all steps: their numbers, the ids of their calls, their count."""
    steps = _members_of(document, "steps")
    taken = set()
    for at, step in enumerate(map(members, steps)):
        if isinstance(step.get("step_id"), int) and step["step_id"] != at + 1:
            yield BrokenRule(f"{path}.steps[{at}].step_id", f"is not {at + 1}")
        for number, call in enumerate(_members_of(step, "tool_calls")):
            call_id = members(call).get("tool_call_id")
            if isinstance(call_id, str) and call_id in taken:
                place = f"{path}.steps[{at}].tool_calls[{number}].tool_call_id"
                yield BrokenRule(place, "stands twice in the document")
            elif isinstance(call_id, str):
                taken.add(call_id)
    total = members(document.get("final_metrics")).get("total_steps")
    if isinstance(total, int) and total != len(steps) and not document.get("notes"):
        yield BrokenRule(
            f"{path}.final_metrics.total_steps", "is not the number of steps, and no notes say why"
        )


def _embedded(children: list[Any], path: str) -> Iterator[BrokenRule]:
    taken = set()
    for at, child in enumerate(children):
        id_ = members(child).get("trajectory_id")
        if id_ is None:
            yield BrokenRule(f"{path}[{at}].trajectory_id", "is required where it is embedded")
        elif isinstance(id_, str):
            if id_ in taken:
                yield BrokenRule(f"{path}[{at}].trajectory_id", "stands twice among its siblings")
            taken.add(id_)


def _any_list(value: Any, path: str) -> Iterator[BrokenRule]:
    if not isinstance(value, list):
        yield BrokenRule(path, "is not a list")


_trajectory = checks.object_of(
    {
        "schema_version": checks.one_of(*VERSIONS),
        "agent": checks.object_of(
            {"name": checks.text, "version": checks.text},
            {
                "model_name": checks.text,
                "tool_definitions": checks.list_of(checks.free),
                "extra": checks.free,
            },
        ),
        "steps": checks.list_of(_STEP, at_least=1),
    },
    {
        "session_id": checks.text,
        "trajectory_id": checks.text,
        "notes": checks.text,
        "final_metrics": checks.object_of(
            {},
            {
                "total_prompt_tokens": checks.count,
                "total_completion_tokens": checks.count,
                "total_cached_tokens": checks.count,
                "total_cost_usd": checks.amount,
                "total_steps": checks.count,
                "extra": checks.free,
            },
            _cached,
        ),
        "continued_trajectory_ref": checks.text,
        "subagent_trajectories": _any_list,  # each is looked at by itself
        "extra": checks.free,
    },
    _whole_document,
)
