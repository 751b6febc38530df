"""Reads back what spans became, without ids and times, and what the scripted program should be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.scripted import otel_in as scripted
from benchmarks.scripted.otel_in import ANSWERS, PROMPTS
from trajectory import StorageBackend, Trajectory, TrajectoryStore, Turn, TurnQuery

Recorded = list[dict[str, Any]]

_TIMES = ("created_at", "ended_at", "started_at")
_IDS = ("id", "trajectory_id", "run_id", "latency_ms")


async def recorded(backend: StorageBackend) -> Recorded:
    """Give all trajectories with their turns, in the order of their starts."""
    async with TrajectoryStore(backend) as store:
        trajectories = [each async for each in store.trajectories()]
        turns = {
            each.id: [turn async for turn in store.turns(TurnQuery(ids=(each.id,)))]
            for each in trajectories
        }
    return plainly(trajectories, turns)


def plainly(trajectories: Iterable[Trajectory], turns: dict[Any, list[Turn]]) -> Recorded:
    """Give trajectories as plain values; `parent` and `root` are the names of those above."""
    order = sorted(trajectories, key=lambda each: (each.created_at, each.id))
    names = {each.id: each.agent_name for each in order}
    found = []
    for each in order:
        fields = _plain(each)
        assert len(each.run_id or "") == 32
        assert each.ended_at is None or each.created_at <= each.ended_at
        assert fields.pop("source_format") == "otel"
        fields["metadata"] = {k: v for k, v in each.metadata.items() if k != "span_id"}
        for old, new in (("parent_trajectory_id", "parent"), ("root_trajectory_id", "root")):
            if old in fields:
                fields[new] = names[fields.pop(old)]
        found.append({**fields, "turns": [_turn(turn) for turn in turns[each.id]]})
    return found


def _turn(turn: Turn) -> dict[str, Any]:
    assert turn.latency_ms is not None
    assert turn.latency_ms >= 0
    fields = _plain(turn)
    fields["messages"] = [_plain(one) for one in turn.messages]
    fields["tool_calls"] = [_plain(one) for one in turn.tool_calls]
    return {name: value for name, value in fields.items() if value != []}


def _plain(value: Any) -> dict[str, Any]:
    return {
        name: str(one) if name in ("role", "status") else one
        for name, one in value.model_dump(exclude_defaults=True).items()
        if one is not None and name not in (*_TIMES, *_IDS)
    }


# What the scripted program should be.

_USAGE = {"input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 4}


def asked(text: str) -> dict[str, Any]:
    """Give the message of a user."""
    return {"role": "user", "content": text}


def told(call: scripted.Call, text: str) -> dict[str, Any]:
    """Give the message of a tool."""
    return {"role": "tool", "content": text, "call_id": call.id}


def said(text: str | None, *, calls: bool = False, **fields: Any) -> dict[str, Any]:
    """Give an answer of the model."""
    content = {} if text is None else {"content": text}
    return {
        "role": "assistant",
        "model_name": scripted.MODEL,
        "usage": _USAGE,
        "stop_reason": "tool_calls" if calls else "stop",
        **content,
        **fields,
    }


def called(call: scripted.Call, result: str, *, is_error: bool = False) -> dict[str, Any]:
    """Give a tool call of the first answer."""
    return {
        "tool_name": call.name,
        "arguments": call.arguments,
        "call_id": call.id,
        "message_position": 1,
        "result": result,
        "is_error": is_error,
    }


def turn(prompt: str, response: str, *messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Give the one turn of a run."""
    many = sum(message["role"] == "assistant" for message in messages)
    return {
        "turn_number": 1,
        "prompt": prompt,
        "response": response,
        "stop_reason": "stop",
        "model_name": scripted.MODEL,
        **{name: many * count for name, count in _USAGE.items()},
        "messages": list(messages),
        **fields,
    }


def expected(number: int = 0) -> Recorded:
    """Give what one conversation is stored as."""
    shared = {
        "session_id": f"session-{number}",
        "status": "completed",
        "metadata": {"scope": scripted.SCOPE, "service": scripted.SERVICE},
    }
    tools: list[dict[str, Any]] = scripted.TOOLS
    triage = {
        **shared,
        "agent_name": "triage",
        "parent": "support",
        "root": "support",
        "system_prompt": scripted.TRIAGE,
        "tools": tools,
    }
    failed = f"ValueError: {scripted.FAILURE}"
    looked = "order 7: on its way"
    return [
        {**shared, "agent_name": "support", "turns": []},
        {
            **triage,
            "turns": [
                turn(
                    PROMPTS[0],
                    ANSWERS[0],
                    asked(PROMPTS[0]),
                    said("Let me look.", calls=True, reasoning=scripted.REASONING),
                    told(scripted.LOOKUP, looked),
                    told(scripted.REFUND, failed),
                    said(ANSWERS[0]),
                    tool_calls=[
                        called(scripted.LOOKUP, looked),
                        called(scripted.REFUND, failed, is_error=True),
                    ],
                )
            ],
        },
        {**triage, "turns": [turn(PROMPTS[1], ANSWERS[1], asked(PROMPTS[1]), said(ANSWERS[1]))]},
        {
            **triage,
            "turns": [
                turn(
                    PROMPTS[2],
                    ANSWERS[2],
                    asked(PROMPTS[2]),
                    said(None, calls=True),
                    told(scripted.TRANSLATE, "invoice"),
                    said(ANSWERS[2]),
                    tool_calls=[called(scripted.TRANSLATE, "invoice")],
                )
            ],
        },
        {
            **shared,
            "agent_name": "translator",
            "parent": "triage",
            "root": "support",
            "system_prompt": scripted.TRANSLATOR,
            "tools": tools,
            "turns": [turn("Rechnung", "invoice", asked("Rechnung"), said("invoice"))],
        },
    ]
