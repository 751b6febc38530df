"""One line of a Codex rollout, in any of its spellings, becomes a `Step`.

New: `{timestamp, type, payload}`. Old, until September 2025: a bare header, then bare items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

from trajectory.formats.foreign import instant, members, shown


class Kind(Enum):
    """What a line of a rollout is."""

    HEADER = "session_meta"
    CONTEXT = "turn_context"
    COMPACTED = "compacted"
    ITEM = "response_item"
    EVENT = "event_msg"


class Step(NamedTuple):
    """A line of a rollout. `name` is the type of an item or an event."""

    kind: Kind
    name: str
    payload: Mapping[str, Any]
    at: datetime | None


_KINDS = {kind.value: kind for kind in Kind} | {"request_item": Kind.ITEM}

DOUBLES = frozenset(
    {
        "agent_message_delta",
        "agent_reasoning_delta",
        "agent_reasoning_section_break",
        "context_compacted",
        "exec_command_begin",
        "exec_command_output_delta",
        "mcp_tool_call_begin",
        "patch_apply_begin",
        "web_search_begin",
        "web_search_end",
        "raw_response_item",
    }
)
"""Events that say what an item says too."""

OUTCOMES = frozenset({"exec_command_end", "patch_apply_end", "mcp_tool_call_end"})
"""Events that say how a tool call went."""

EVENTS = OUTCOMES | {
    *("user_message", "agent_message", "agent_reasoning", "agent_reasoning_raw_content"),
    *("task_started", "turn_started", "task_complete", "turn_complete", "turn_aborted"),
    *("token_count", "thread_name_updated", "thread_rolled_back", "error"),
}
"""Events that are looked at."""

_NEEDED = {
    "exec_command_end": ("call_id", "exit_code", "duration"),
    "patch_apply_end": ("call_id", "success"),
    "mcp_tool_call_end": ("call_id", "result", "duration"),
    "token_count": ("info",),
}
"""What is kept of events that can be long, and otherwise say what items say."""

_CONTEXT = frozenset({"turn_id", "model", "cwd", "approval_policy", "sandbox_policy", "effort"})
_ITEM = frozenset(
    {
        "type",
        "timestamp",
        "id",
        "status",
        "role",
        "content",
        "summary",
        "encrypted_content",
        "call_id",
        "name",
    }
    | {"namespace", "arguments", "input", "parameters", "action", "output", "tools"}
)
_TYPED = frozenset({"type", "kind", "message", "images"})
_COMPACTED = frozenset({"message", "replacement_history"})


def step_of(document: Mapping[str, Any], left_out: Counter[str]) -> Step | None:
    """Read a line. None for one that has no place in a trajectory, which is counted."""
    kind = document.get("type")
    payload = document.get("payload")
    at = instant(document.get("timestamp"))
    if not isinstance(payload, dict):
        return _bare(document, at, left_out)
    if not isinstance(kind, str) or kind not in _KINDS:
        left_out[f"line of type {shown(kind)}"] += 1
        return None
    known = _KINDS[kind]
    if known is Kind.EVENT:
        return _event(payload, at, left_out)
    if known is Kind.ITEM:
        return _item(payload, at, left_out)
    if known is Kind.CONTEXT:
        if payload.keys() - _CONTEXT:
            left_out["other settings of a turn (turn_context)"] += 1
        payload = {key: value for key, value in payload.items() if key in _CONTEXT}
    elif known is Kind.COMPACTED:
        payload = _kept("compacted", payload, _COMPACTED, left_out)
    return Step(known, "", payload, at)


def _kept(
    what: str, payload: Mapping[str, Any], known: frozenset[str], left_out: Counter[str]
) -> dict[str, Any]:
    """Keep the members that are looked at, and count the others that hold something."""
    for key in payload.keys() - known:
        if payload[key] not in (None, "", [], {}):
            left_out[f"{what} key {shown(key)}"] += 1
    return {key: value for key, value in payload.items() if key in known}


def _bare(document: Mapping[str, Any], at: datetime | None, left_out: Counter[str]) -> Step | None:
    if "type" in document and "payload" not in document:
        return _item(document, at, left_out)
    if "id" in document and "record_type" not in document and "payload" not in document:
        return Step(Kind.HEADER, "", document, at)
    what = document.get("record_type", document.get("type"))
    left_out[f"line of type {shown(what)}"] += 1
    return None


def _item(payload: Mapping[str, Any], at: datetime | None, left_out: Counter[str]) -> Step | None:
    name = payload.get("type", "message" if "role" in payload else None)
    if not isinstance(name, str) or not (
        name in ("message", "reasoning") or name.endswith(("_call", "_output"))
    ):
        left_out[f"item of type {shown(name)}"] += 1
        return None
    if payload.get("encrypted_content"):
        left_out["encrypted reasoning" if name == "reasoning" else "encrypted content"] += 1
    return Step(Kind.ITEM, name, _kept("item", payload, _ITEM, left_out), at)


def _event(payload: Mapping[str, Any], at: datetime | None, left_out: Counter[str]) -> Step | None:
    name = payload.get("type")
    if isinstance(name, str) and name in DOUBLES:
        return None
    if not isinstance(name, str) or name not in EVENTS:
        left_out[f"event {shown(name)}"] += 1
        return None
    if name == "token_count" and members(payload.get("rate_limits")):
        left_out["rate limits of the account"] += 1
    if name == "user_message":
        payload = _kept(name, payload, _TYPED, left_out)
    elif name in _NEEDED:
        payload = {key: payload.get(key) for key in _NEEDED[name]}
    if name == "mcp_tool_call_end":
        payload = {**payload, "result": list(members(payload["result"]))}
    return Step(Kind.EVENT, name, payload, at)
