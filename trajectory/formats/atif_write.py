"""A trajectory as an ATIF v1.8 document.

A turn is told by its messages, or else by its prompt, tool calls and response. ATIF wants a result
in the step that made the call, so results move there; one whose call is not in its turn stands in
the step before it, without an id. Call ids that are missing or stand twice are replaced. What the
document then doesn't say as it was is found by reading it, and kept under `extra.trajectory`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from trajectory.formats import checks
from trajectory.formats.atif_read import read_document
from trajectory.formats.atif_rules import VERSION, is_part
from trajectory.formats.atif_values import FIGURES, MARK, added, difference, final_metrics
from trajectory.formats.chat_values import text_of
from trajectory.formats.jsonlines import BadLineError, Line, parse_object
from trajectory.models import Message, Role, ToolCall, Trajectory, Turn
from trajectory.values import RefusedValueError, freeze_json

_UNKNOWN = "unknown"
_SOURCES = {Role.USER: "user", Role.ASSISTANT: "agent"}
_USAGE: Mapping[str, checks.Check] = {
    "prompt_tokens": checks.count,
    "completion_tokens": checks.count,
    "cached_tokens": checks.count,
    "cost_usd": checks.amount,
    "prompt_token_ids": checks.list_of(checks.whole),
    "extra": checks.free,
}
_TOKEN_IDS = checks.list_of(checks.whole)
_LOGPROBS = checks.list_of(checks.number)


def document_of(trajectory: Trajectory, turns: Sequence[Turn]) -> dict[str, Any]:
    """Make the document, which keeps all rules of `atif_rules`."""
    steps: list[dict[str, Any]] = []
    if trajectory.system_prompt is not None or not turns:
        steps.append({"source": "system", "message": trajectory.system_prompt or ""})
    ids = _CallIds(turns)
    marks = []
    for turn in turns:
        own = list(_Telling(turn, ids).steps())
        mark = {"turn_number": turn.turn_number}
        for step in own[1:]:
            if step["source"] == "user":
                step["extra"] = {MARK: {}}
        own[0]["extra"] = {MARK: mark}
        marks.append(mark)
        steps += own
    whole = {"id": str(trajectory.id), "created_at": _written(trajectory.created_at)}
    document = _around(trajectory, turns, steps, whole)
    reading = read_document(document, as_of=trajectory.created_at)
    plain, plain_turns = reading.made(trajectory.id)
    whole |= difference(plain, trajectory)
    for mark, read, turn in zip(marks, plain_turns, turns, strict=True):
        mark.update(difference(read, turn))
    return document


def _around(
    trajectory: Trajectory,
    turns: Sequence[Turn],
    steps: list[dict[str, Any]],
    mark: dict[str, Any],
) -> dict[str, Any]:
    """Make all of the document but its steps."""
    name, version = trajectory.agent_name, trajectory.agent_version
    agent: dict[str, Any] = {
        "name": _UNKNOWN if name is None else name,
        "version": _UNKNOWN if version is None else version,
    }
    models = {turn.model_name for turn in turns}
    if len(models) == 1 and (model := models.pop()) is not None:
        agent["model_name"] = model
    tools = trajectory.tools
    if isinstance(tools, list) and tools and all(isinstance(tool, dict) for tool in tools):
        agent["tool_definitions"] = tools
    session = trajectory.session_id
    return {
        "schema_version": VERSION,
        **({} if session is None else {"session_id": session}),
        "trajectory_id": str(trajectory.id),
        "agent": agent,
        "steps": [{"step_id": number, **step} for number, step in enumerate(steps, 1)],
        "final_metrics": final_metrics((step.get("metrics", {}) for step in steps), len(steps)),
        "extra": {MARK: mark},
    }


class _CallIds:
    """Gives each call an id that no other call of the document has."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._logged = {call.call_id for turn in turns for call in turn.tool_calls}
        self._given: set[str] = set()
        self._count = 0

    def give(self, call: ToolCall) -> str:
        """Give the call's own id if it can have it, else the next that is free."""
        self._count += 1
        name = call.call_id
        if not name or name in self._given:
            name = f"call_{self._count}"
            while name in self._logged or name in self._given:
                name += "_"
        self._given.add(name)
        return name


class _Telling:
    """One turn, told step by step."""

    def __init__(self, turn: Turn, ids: _CallIds) -> None:
        self._turn = turn
        self._ids = ids
        self._messages, shift = _messages(turn)
        said = [at for at, each in enumerate(self._messages) if each.role is Role.ASSISTANT]
        self._last = said[-1] if said else None
        self._calls: dict[int, list[ToolCall]] = {}
        for call in turn.tool_calls:
            at = -1 if call.message_position is None else call.message_position + shift
            if not turn.messages:
                at = said[0]
            elif not (shift <= at < len(self._messages)) or (
                self._messages[at].role is not Role.ASSISTANT
            ):
                at = said[-1]
            self._calls.setdefault(at, []).append(call)
        self._waiting: dict[str | None, list[deque[tuple[ToolCall, dict[str, Any]]]]] = {}
        self._steps: list[dict[str, Any]] = []

    def steps(self) -> Iterator[dict[str, Any]]:
        """Give the steps, without their numbers."""
        for at, message in enumerate(self._messages):
            if message.role is Role.TOOL:
                self._answer(message)
            else:
                self._say(at, message)
        for groups in self._waiting.values():
            for call, result in (pair for group in groups for pair in group):
                if call.result is not None:
                    result["content"] = call.result
        self._measure()
        for place, step in enumerate(self._steps):
            results = [each for each in step.pop("results") if len(each) > 1 or "content" in each]
            if results:
                step["observation"] = {"results": results}
            if place == 0:
                step["timestamp"] = _written(self._turn.created_at)
            if self._turn.is_copied_context is not None:
                step["is_copied_context"] = self._turn.is_copied_context
            yield step

    def _say(self, at: int, message: Message) -> None:
        step: dict[str, Any] = {
            "source": _SOURCES.get(message.role, "system"),
            "message": _content(message.content),
            "results": [],
        }
        if message.created_at is not None:
            step["timestamp"] = _written(message.created_at)
        self._steps.append(step)
        if message.role is not Role.ASSISTANT:
            return
        model = message.model_name or (self._turn.model_name if at == self._last else None)
        if model is not None:
            step["model_name"] = model
        if message.reasoning is not None:
            step["reasoning_content"] = message.reasoning
        step["metrics"] = _metrics(message)
        calls = self._calls.get(at, [])
        if calls:
            step["tool_calls"] = [self._call(call, step["results"]) for call in calls]
            for call, result in zip(calls, step["results"], strict=True):
                groups = self._waiting.setdefault(call.call_id, [])
                if not groups or groups[-1][-1][1] is not step["results"][0]:
                    groups.append(deque())
                groups[-1].append((call, result))

    def _call(self, call: ToolCall, results: list[dict[str, Any]]) -> dict[str, Any]:
        id_ = self._ids.give(call)
        results.append({"source_call_id": id_})
        return {
            "tool_call_id": id_,
            "function_name": call.tool_name,
            "arguments": _arguments(call.arguments),
        }

    def _answer(self, message: Message) -> None:
        """Put a result to its call: of those with its id, in the newest step that waits."""
        groups = self._waiting.get(message.call_id)
        if groups:
            call, result = groups[-1].popleft()
            if not groups[-1]:
                groups.pop()
            content = call.result if message.content is None else message.content
            result["content"] = _content(content)
            return
        if not self._steps:
            self._steps.append({"source": "system", "message": "", "results": []})
        self._steps[-1]["results"].append({"content": _content(message.content)})

    def _measure(self) -> None:
        """Let the steps add up to the figures of the turn, where those are known."""
        answers = [step for step in self._steps if step["source"] == "agent"]
        turn = self._turn
        wanted = {
            name: figure
            for name, (field, _) in FIGURES.items()
            if (figure := getattr(turn, field)) is not None
        }
        if wanted.get("cached_tokens", -1) > wanted.get("prompt_tokens", -1):
            del wanted["cached_tokens"]
        total = added(step["metrics"] for step in answers)
        if any(total.get(name) != figure for name, figure in wanted.items()):
            for step in answers:
                for name in FIGURES:
                    step["metrics"].pop(name, None)
            if answers:
                answers[-1]["metrics"] |= wanted
        for step in answers:
            if not step["metrics"]:
                del step["metrics"]


def _messages(turn: Turn) -> tuple[list[Message], int]:
    """Give the messages that tell a turn, and by how many places those logged are moved."""
    if not turn.messages:
        told = [Message(role=Role.USER, content=turn.prompt)]
        if any(call.result is not None for call in turn.tool_calls):
            told.append(Message(role=Role.ASSISTANT))
        return [*told, Message(role=Role.ASSISTANT, content=turn.response)], 0
    told = list(turn.messages)
    said = [text_of(message.content) for message in told if message.role is Role.ASSISTANT]
    if (turn.response and not any(said)) or (turn.tool_calls and not said):
        told.append(Message(role=Role.ASSISTANT, content=turn.response))
    if turn.prompt and not any(message.role is Role.USER for message in told):
        return [Message(role=Role.USER, content=turn.prompt), *told], 1
    return told, 0


def _metrics(message: Message) -> dict[str, Any]:
    """Give what of a message's figures is of ATIF's kinds."""
    usage = message.usage if isinstance(message.usage, dict) else {}
    metrics = {
        name: usage[name]
        for name, check in _USAGE.items()
        if name in usage and _fits(check, usage[name])
    }
    if metrics.get("cached_tokens", -1) > metrics.get("prompt_tokens", -1):
        del metrics["cached_tokens"]
    if _fits(_TOKEN_IDS, message.token_ids):
        metrics["completion_token_ids"] = message.token_ids
    if _fits(_LOGPROBS, message.logprobs):
        metrics["logprobs"] = message.logprobs
    return metrics


def _fits(check: checks.Check, value: Any) -> bool:
    return not any(True for _ in check(value, ""))


def _content(content: str | Sequence[Any] | None) -> str | list[Any]:
    """Give the content; of parts that ATIF doesn't have, the text."""
    if isinstance(content, str) or content is None:
        return content or ""
    parts: list[Any] = []
    for part in content:
        if is_part(part):
            parts.append(part)
        elif said := text_of([part]):
            parts.append({"type": "text", "text": said})
    return parts or ""


def _arguments(arguments: str | None) -> dict[str, Any]:
    """Give the arguments as an object; text that is none becomes the member `input`."""
    if arguments is None:
        return {}
    try:
        frozen, is_cleaned = freeze_json(parse_object(Line(2, arguments.encode())))
    except (BadLineError, RefusedValueError):
        return {"input": arguments}
    return {"input": arguments} if is_cleaned else dict(frozen)


def _written(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
