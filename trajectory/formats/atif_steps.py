"""The steps of an ATIF document, taken one by one into turns."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trajectory.formats.atif_values import (
    FIGURES,
    KEPT,
    MARK,
    Fields,
    added,
    content_,
    flag_,
    list_,
    name_,
    object_,
    scalar_,
    time_,
)
from trajectory.formats.chat_values import text_of
from trajectory.formats.foreign import shown, storable, text, written
from trajectory.formats.jsonlines import BadLineError
from trajectory.models import Message, Role, ToolCall

_ROLES = {"system": Role.SYSTEM, "user": Role.USER, "agent": Role.ASSISTANT}
_RESULT_KEPT = {"subagent_trajectory_ref": list_, "extra": object_}
_WRONG_MARK = f"has an extra.{MARK} that can't be used"


@dataclass(slots=True)
class _Turn:
    """A turn in the making."""

    number: int
    mark: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = ""
    response: str = ""
    model_name: str | None = None
    messages: list[Message] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[Mapping[str, Any]] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)
    copied: list[bool | None] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)


class Steps:
    """The steps, taken one by one."""

    def __init__(self, left_out: Counter[str], model_name: str | None, *, is_ours: bool) -> None:
        self.turns: list[_Turn] = []
        self.system: list[str] = []
        self.system_times: list[datetime] = []
        self.system_kept: list[dict[str, Any]] = []
        self.metrics: list[Mapping[str, Any]] = []
        self.models: set[str | None] = set()
        self._left_out = left_out
        self._model_name = model_name
        self._is_ours = is_ours
        self._waiting: dict[str, list[dict[str, Any]]] = {}

    def take(self, number: int, step: Mapping[str, Any]) -> None:
        """Take a step."""
        fields = Fields(step, "step ", self._left_out)
        source = fields.take("source", text)
        role = _ROLES.get(source) if source is not None else None
        if role is None:
            self._left_out[f"step of unknown source {shown(source)}"] += 1
            return
        fields.take("step_id", lambda _: True)
        extra = dict(fields.take("extra", object_) or {})
        mark = extra.pop(MARK, None) if self._is_ours else None
        if mark is not None and not isinstance(mark, dict):
            raise BadLineError(_WRONG_MARK)
        content = fields.take("message", content_)
        kept: dict[str, Any] = {
            "extra": extra,
            "reasoning_effort": fields.take("reasoning_effort", scalar_),
            "llm_call_count": fields.take("llm_call_count", scalar_),
        }
        time = fields.take("timestamp", time_)
        copied = fields.take("is_copied_context", flag_)
        begins = role is Role.USER if mark is None else "turn_number" in mark
        instructs = role is Role.SYSTEM and not begins and not self.turns
        if instructs and not step.get("observation"):
            self.system.append(text_of(content, self._left_out))
            if time is not None:
                self.system_times.append(time)
            self._keep(self.system_kept, number, kept)
            fields.count_rest()
            return
        if begins or not self.turns:
            self._begin(mark, has_prompt=role is Role.USER)
        turn = self.turns[-1]
        turn.copied.append(copied)
        if time is not None:
            turn.times.append(time)
        if role is Role.USER and not turn.messages:
            turn.prompt = text_of(content)
        said: dict[str, Any] = {}
        own: dict[str, deque[dict[str, Any]]] = {}
        if role is Role.ASSISTANT:
            turn.response = text_of(content) or turn.response
            said = self._answer(turn, fields)
            kept["tool_calls"] = list(self._calls(turn, fields.take("tool_calls", list_), own))
        turn.messages.append(Message(role=role, content=content, created_at=time, **said))
        seen = fields.take("observation", object_) or {}
        observation = Fields(seen, "observation ", self._left_out)
        kept["results"] = list(self._results(turn, observation.take("results", list_), own))
        observation.count_rest()
        for id_, calls in own.items():
            self._waiting.setdefault(id_, []).extend(reversed(calls))
        self._keep(turn.kept, number, kept)
        fields.count_rest()

    def _begin(self, mark: Mapping[str, Any] | None, *, has_prompt: bool) -> None:
        last = self.turns[-1].number if self.turns else None
        number = (1 if has_prompt else 0) if last is None else last + 1
        told = dict(mark or {})
        if "turn_number" in told:
            number = told.pop("turn_number")
            if isinstance(number, bool) or not isinstance(number, int):
                raise BadLineError(_WRONG_MARK)
            if last is not None and number <= last:
                raise BadLineError(f"has turns in its extra.{MARK} that are not in order")
        self.turns.append(_Turn(number, told))

    def _answer(self, turn: _Turn, fields: Fields) -> dict[str, Any]:
        """Take what only steps of the agent have, but for their tool calls."""
        model_name = fields.take("model_name", name_)
        turn.model_name = model_name or turn.model_name or self._model_name
        metrics = dict(fields.take("metrics", object_) or {})
        turn.metrics.append(metrics)
        self.metrics.append(metrics)
        values = Fields(metrics, "metrics ", self._left_out)
        for name, (_, read) in FIGURES.items():
            values.take(name, read)
        said = {
            "reasoning": fields.take("reasoning_content", text),
            "model_name": model_name,
            "token_ids": values.take("completion_token_ids", storable),
            "logprobs": values.take("logprobs", storable),
        }
        told = {"completion_token_ids", "logprobs"}
        usage = {name: figure for name, figure in metrics.items() if name not in told}
        if usage and storable(usage) is None:
            self._left_out["metrics that can't be stored"] += 1
            usage = {}
        return {**said, "usage": usage or None}

    def _calls(
        self, turn: _Turn, calls: list[Any] | None, own: dict[str, deque[dict[str, Any]]]
    ) -> Iterator[dict[str, Any]]:
        """Take the tool calls of a step; give what has no place of its own."""
        for call in calls or ():
            fields = Fields(call if isinstance(call, dict) else {}, "tool call ", self._left_out)
            name = fields.take("function_name", name_)
            if name is None:
                self._left_out["tool call without a name"] += 1
                continue
            id_ = fields.take("tool_call_id", name_)
            made: dict[str, Any] = {
                "tool_name": name,
                "arguments": fields.take("arguments", written),
                "call_id": id_,
                "message_position": len(turn.messages),
            }
            turn.calls.append(made)
            if id_ is not None:
                own.setdefault(id_, deque()).append(made)
            if extra := fields.take("extra", object_):
                yield {"tool_call_id": id_, "extra": extra}
            fields.count_rest()

    def _results(
        self, turn: _Turn, results: list[Any] | None, own: dict[str, deque[dict[str, Any]]]
    ) -> Iterator[dict[str, Any]]:
        """Take the results of a step; give what has no place of its own."""
        for result in results or ():
            if not isinstance(result, dict):
                self._left_out["result that is no object"] += 1
                continue
            fields = Fields(result, "result ", self._left_out)
            id_ = fields.take("source_call_id", name_)
            content = fields.take("content", content_)
            if id_ is not None and (call := self._answered(id_, own)) is not None:
                call["result"] = None if content is None else text_of(content)
            turn.messages.append(Message(role=Role.TOOL, content=content, call_id=id_))
            others = {key: fields.take(key, kind) for key, kind in _RESULT_KEPT.items()}
            if kept := {key: value for key, value in others.items() if value}:
                yield {"source_call_id": id_, **kept}
            fields.count_rest()

    def _answered(self, id_: str, own: dict[str, deque[dict[str, Any]]]) -> dict[str, Any] | None:
        """Find the call of a result: in the same step, or else the newest that waits."""
        if own.get(id_):
            return own[id_].popleft()
        if self._waiting.get(id_):
            return self._waiting[id_].pop()
        self._left_out["tool result without its call (kept as a message)"] += 1
        return None

    def _keep(self, place: list[dict[str, Any]], number: int, kept: dict[str, Any]) -> None:
        told = {key: value for key, value in kept.items() if value not in (None, {}, [])}
        if not told:
            return
        if storable({KEPT: {"steps": [told]}}) is None:
            self._left_out["step extra that can't be stored"] += 1
        else:
            place.append({"step_id": number, **told})

    def made(self, created_at: datetime) -> Iterator[dict[str, Any]]:
        """Give the fields of each turn."""
        for turn in self.turns:
            created_at = turn.times[0] if turn.times else created_at
            copied = set(turn.copied)
            if len(copied) > 1:
                self._left_out["is_copied_context of some steps of a turn"] += 1
            total = added(turn.metrics)
            self.models.add(turn.model_name)
            yield {
                "turn_number": turn.number,
                "prompt": turn.prompt,
                "response": turn.response,
                "created_at": created_at,
                "model_name": turn.model_name,
                "is_copied_context": copied.pop() if len(copied) == 1 else None,
                "metadata": {KEPT: {"steps": turn.kept}} if turn.kept else {},
                "messages": tuple(turn.messages),
                "tool_calls": tuple(ToolCall(**call) for call in turn.calls),
                **{FIGURES[name][0]: figure for name, figure in total.items()},
            }
