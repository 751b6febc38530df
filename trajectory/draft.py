"""A turn that is filled while it happens: plain calls, which take whatever a framework hands over.

What the door (`trajectory.door`) would refuse is made storable first: a label is cut, a value that
JSON doesn't have becomes text, a number that no field can hold is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from trajectory.door import now_utc
from trajectory.errors import InvalidTurnError
from trajectory.handed import as_error, as_json, as_text, cleaners, count_of, number_of, role_of
from trajectory.models import Message, Question, Role, ToolCall, Turn, Violation
from trajectory.values import INT64_MAX, MAX_VALUES

LEFT_OUT_KEY = "trajectory.left_out"
"""The metadata key that lists the fields which had to be left out of a drafted turn."""

__all__ = ["LEFT_OUT_KEY", "ToolCallDraft", "TurnDraft", "as_error", "as_json", "as_text"]


def _content(value: Any) -> str | list[Any] | None:
    if value is None or isinstance(value, str):
        return value
    parts = as_json(value)
    if isinstance(parts, list):
        return parts
    return [parts] if isinstance(parts, dict) else as_text(value)


_NOT_SET = frozenset(
    {"trajectory_id", "turn_number", "messages", "tool_calls", "questions", "violations"}
)
_TURN = cleaners(Turn, leave_out=_NOT_SET)
_many = partial(as_json, values=MAX_VALUES // 2)
_MESSAGE = cleaners(Message, content=_content, role=role_of, token_ids=_many, logprobs=_many)
_TOOL_CALL = cleaners(ToolCall)


class TurnDraft:
    """A turn in the making. Its methods cost microseconds, and raise for no content.

    What they do raise for is a name that is no field, and a role that is none.

    `fields` are those of `Turn`, but its number, its trajectory and what it is made of (`messages`,
    `tool_calls`, `questions`, `violations`), which the methods add. It may be used by any thread,
    one at a time. What is handed over is copied at the call.
    """

    def __init__(self, prompt: Any = "", **fields: Any) -> None:
        """Begin a turn: from here its latency is measured, unless `latency_ms` is set.

        Raises `InvalidTurnError` for a name that is no field; as does `set`.
        """
        self._began = perf_counter()
        self._fields: dict[str, Any] = {"created_at": now_utc()}
        self.prompt = prompt
        self._messages: list[Message] = []
        self._last_assistant: int | None = None
        self._calls: list[ToolCallDraft] = []
        self._questions: list[Question] = []
        self._violations: list[Violation] = []
        if fields:
            self.set(**fields)

    def __repr__(self) -> str:
        return f"<TurnDraft, {len(self._messages)} messages, {len(self._calls)} tool calls>"

    @property
    def prompt(self) -> str:
        """What the user said."""
        return str(self._fields["prompt"])

    @prompt.setter
    def prompt(self, value: Any) -> None:
        self._fields["prompt"] = "" if value is None else as_text(value)

    @property
    def response(self) -> str:
        """What the agent answers: what was set, else the text of the last assistant message."""
        response: str | None = self._fields.get("response")
        if response is not None:
            return response
        if self._last_assistant is None:
            return ""
        return _text(self._messages[self._last_assistant])

    @response.setter
    def response(self, value: Any) -> None:
        self._fields["response"] = None if value is None else as_text(value)

    @property
    def call_count(self) -> int:
        """How many tool calls it has by now."""
        return len(self._calls)

    def set(self, **fields: Any) -> None:
        """Set fields of the turn; `metadata` is added to what is there."""
        known = _cleaned(_TURN, fields)
        if "prompt" in known:
            known["prompt"] = known["prompt"] or ""
        if "metadata" in known:
            known["metadata"] = {**self._fields.get("metadata", {}), **known["metadata"]}
        if "created_at" in known and known["created_at"] is None:
            del known["created_at"]
        self._fields.update(known)

    def count(
        self,
        *,
        input_tokens: Any = None,
        output_tokens: Any = None,
        cache_read_tokens: Any = None,
        cache_write_tokens: Any = None,
        reasoning_tokens: Any = None,
        cost_usd: Any = None,
        token_count: Any = None,
    ) -> None:
        """Add the usage of a model call to the turn's. What is None stays as it is."""
        for name, value in (
            ("input_tokens", input_tokens),
            ("output_tokens", output_tokens),
            ("cache_read_tokens", cache_read_tokens),
            ("cache_write_tokens", cache_write_tokens),
            ("reasoning_tokens", reasoning_tokens),
            ("token_count", token_count),
        ):
            if value is not None and (more := count_of(value)) is not None:
                self._fields[name] = min((self._fields.get(name) or 0) + more, INT64_MAX)
        if cost_usd is not None and (cost := number_of(cost_usd)) is not None and cost >= 0:
            self._fields["cost_usd"] = number_of((self._fields.get("cost_usd") or 0.0) + cost)

    def message(self, role: Any, content: Any = None, **fields: Any) -> int:
        """Add a message of this turn, and give its position. `fields` are those of `Message`.

        Its time is now, unless `created_at` is given. A role of another vocabulary ("human", "ai",
        "function") is translated. Raises `InvalidTurnError` for one that is none.
        """
        known = _cleaned(_MESSAGE, {"role": role, "content": content, **fields})
        if known.get("created_at") is None:
            known["created_at"] = now_utc()
        made = Message(**known)
        self._messages.append(made)
        position = len(self._messages) - 1
        if made.role is Role.ASSISTANT:
            self._last_assistant = position
        return position

    def tool_call(
        self,
        tool_name: Any,
        arguments: Any = None,
        *,
        call_id: Any = None,
        message_position: int | None = None,
        **fields: Any,
    ) -> ToolCallDraft:
        """Add a tool call, which runs from now on. `fields` are those of `ToolCall`.

        `message_position` is the last assistant message unless given.
        """
        if message_position is None:
            message_position = self._last_assistant
        call = ToolCallDraft(
            tool_name=tool_name,
            arguments=arguments,
            call_id=call_id,
            message_position=message_position,
            **fields,
        )
        self._calls.append(call)
        return call

    def add(self, finding: Question | Violation) -> None:
        """Add a question that the agent asks, or a violation that is known by now."""
        if isinstance(finding, Question):
            self._questions.append(finding)
        elif isinstance(finding, Violation):
            self._violations.append(finding)
        else:
            raise InvalidTurnError(
                f"a turn takes a Question or a Violation here, not a {type(finding).__name__}"
            )

    def turn(self, trajectory_id: Any, turn_number: int, *, error: Any = None) -> Turn:
        """Make the turn of what is known by now; a call that is still open has no result.

        `error` is an exception, or text. The draft may be filled further, and built again.
        """
        fields = dict(self._fields)
        fields["response"] = self.response
        if fields.get("latency_ms") is None:
            fields["latency_ms"] = _since(self._began)
        if error is not None:
            fields["error"] = as_error(error)
        for name, children in (
            ("messages", self._messages),
            ("tool_calls", [call.tool_call() for call in self._calls]),
            ("questions", self._questions),
            ("violations", self._violations),
        ):
            if children:
                fields[name] = tuple(children)
        key = {"trajectory_id": trajectory_id, "turn_number": turn_number}
        try:
            return Turn(**key, **{k: v for k, v in fields.items() if v is not None})
        except InvalidTurnError:
            return _what_passes(key, fields)


class ToolCallDraft:
    """A tool call that runs; `succeeded` or `failed` ends it, or a `with` block does.

    Made by `TurnDraft.tool_call`.
    """

    __slots__ = ("_began", "_fields")

    def __init__(self, **fields: Any) -> None:
        self._began = perf_counter()
        self._fields = _cleaned(_TOOL_CALL, fields)
        self._fields["tool_name"] = self._fields.get("tool_name") or ""
        if self._fields.get("started_at") is None:
            self._fields["started_at"] = now_utc()

    def __repr__(self) -> str:
        open_ = "open" if self.is_open else "ended"
        return f"<ToolCallDraft of {self._fields['tool_name']!a}, {open_}>"

    @property
    def is_open(self) -> bool:
        """Whether nobody has said how it ended."""
        return self._fields.get("is_error") is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """End the call with the block, where the block hasn't: its exception is the call's."""
        if not self.is_open:
            return
        if error is None:
            self.succeeded()
        else:
            self.failed(error)

    def succeeded(self, result: Any = None, *, latency_ms: Any = None) -> None:
        """End the call with its result. The latency is measured unless it is given."""
        self._end(as_text(result), latency_ms, is_error=False)

    def failed(self, error: Any = "", *, latency_ms: Any = None) -> None:
        """End the call with its error, an exception or text, as its result."""
        self._end(as_error(error), latency_ms, is_error=True)

    def set(self, **fields: Any) -> None:
        """Set fields of `ToolCall`."""
        self._fields.update(_cleaned(_TOOL_CALL, fields))
        self._fields["tool_name"] = self._fields["tool_name"] or ""

    def _end(self, result: str, latency_ms: Any, *, is_error: bool) -> None:
        self._fields["result"] = result
        self._fields["is_error"] = is_error
        if latency_ms is not None:
            self._fields["latency_ms"] = _TOOL_CALL["latency_ms"](latency_ms)
        if self._fields.get("latency_ms") is None:
            self._fields["latency_ms"] = _since(self._began)

    def tool_call(self) -> ToolCall:
        """Make the tool call of what is known by now."""
        return ToolCall(**self._fields)


def _since(began: float) -> float:
    return round((perf_counter() - began) * 1000, 3)


def _cleaned(
    cleaners_of: Mapping[str, Callable[[Any], Any]], given: Mapping[str, Any]
) -> dict[str, Any]:
    fields = {}
    for name, value in given.items():
        clean = cleaners_of.get(name)
        if clean is None:
            raise InvalidTurnError(_no_field(name))
        fields[name] = clean(value)
    return fields


def _no_field(name: str) -> str:
    if name in {"trajectory_id", "turn_number"}:
        return f"a draft has no {name} yet: the turn gets it when it is built"
    if name in _NOT_SET:
        return f"{name} can't be set as a field; message(), tool_call() and add() add to them"
    return f"{ascii(name)[1:-1][:60]} is not a field here; see the fields of the model"


def _text(message: Message) -> str:
    content = message.content
    if content is None or isinstance(content, str):
        return content or ""
    texts = [
        part if isinstance(part, str) else part.get("text")
        for part in content
        if isinstance(part, str | dict)
    ]
    return "".join(text for text in texts if isinstance(text, str))


def _what_passes(key: dict[str, Any], fields: dict[str, Any]) -> Turn:
    """Make a turn without the fields that the door refuses, and list these in its metadata."""
    passed: dict[str, Any] = {"prompt": "", "response": ""}
    left_out = []
    for name, value in fields.items():
        if value is None:
            continue
        try:
            Turn(**key, **{**passed, name: value})
        except InvalidTurnError:
            left_out.append(name)
        else:
            passed[name] = value
    if left_out:
        passed["metadata"] = {**passed.get("metadata", {}), LEFT_OUT_KEY: left_out}
    return Turn(**key, **passed)
