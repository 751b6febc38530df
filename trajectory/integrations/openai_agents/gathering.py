"""One agent's share of a run: a turn that is put together while its spans end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trajectory.draft import ToolCallDraft, TurnDraft, as_error, as_json, as_text
from trajectory.genai.usage import Tokens
from trajectory.integrations.openai_agents.reading import Asked, Heard, ModelCall, Tail
from trajectory.models import Role, Turn
from trajectory.values import INT64_MAX, clean_text

MAX_NOTES = 100
"""Of a kind, in a turn's metadata: a loop of custom spans must not grow for ever."""

_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
TOKEN_FIELDS = (*_COUNTS, "reasoning_tokens")


@dataclass(slots=True, eq=False)
class Call:
    """A tool call of the turn."""

    asked: Asked
    draft: ToolCallDraft
    message_position: int | None
    has_run: bool = False
    result: str | None = None
    is_error: bool | None = None

    def ended(self, result: str | None, *, is_error: bool | None, **times: Any) -> None:
        """Say how it went."""
        self.result, self.is_error = result, is_error
        self.draft.set(result=result, is_error=is_error, **times)


@dataclass(slots=True, eq=False)
class Part:
    """A turn in the making, and the trajectory that it belongs to.

    `header` are the fields of that trajectory as far as they are known; where `is_child` is set,
    the trajectory is this part's alone. `follows` is the part that handed over to it.
    """

    header: dict[str, Any]
    number: int
    agent: str | None
    started_at: datetime
    is_child: bool
    follows: Part | None = None
    handed_to: str | None = None
    error: str | None = None
    loop_error: str | None = None
    """Of the last turn span, where the SDK tells of a guardrail that tripped, or of a span in it:
    what is told where the agent's span doesn't say why the run failed."""
    ended_at: datetime | None = None
    is_heard: bool = False
    """Whether a span told of a call of its model, readable or not."""
    called_models: int = 0
    draft: TurnDraft = field(default_factory=TurnDraft)
    calls: list[Call] = field(default_factory=list)
    loop_tokens: dict[str, int] = field(default_factory=dict)
    """As the SDK counts them, with those of runs inside; used where no model tells its own."""
    notes: dict[str, list[Any]] = field(default_factory=dict)
    _text: str | None = None
    _last_position: int = -1

    def hear(self, tail: Tail, at: datetime | None) -> None:
        """Take what a model was sent: what is new in it, and results of the calls before."""
        if not self.called_models:
            self.draft.prompt = tail.prompt
        for heard in tail.heard:
            if heard.role is Role.TOOL:
                self._answer(heard, at)
            elif self.called_models or self.follows is None:
                self._message(heard.role, heard.content, created_at=at)

    def _message(self, role: Role, content: Any, **fields: Any) -> None:
        self._last_position = self.draft.message(role, content, **fields)

    def _answer(self, heard: Heard, at: datetime | None) -> None:
        """Give a call, of this part or one before, the result that the model was sent."""
        fields = {"call_id": heard.call_id, "created_at": at}
        part: Part | None = self
        while part is not None:
            for call in reversed(part.calls):
                if call.asked.call_id == heard.call_id is not None:
                    result = None if heard.content is None else as_text(heard.content)
                    call.ended(result, is_error=bool(call.is_error))
                    part._message(Role.TOOL, heard.content, **fields)  # noqa: SLF001
                    return
            part = part.follows
        self._message(Role.TOOL, heard.content, **fields)

    def say(self, call: ModelCall, at: datetime | None) -> None:
        """Take what a model answered."""
        self.called_models += 1
        known = _known(model_name=call.model_name, stop_reason=call.stop_reason)
        if known:
            self.draft.set(**known)
        usage = None if call.tokens is None else counted_by_name(call.tokens)
        if usage is not None:
            self.draft.count(**usage)
        if call.text is None and call.reasoning is None and not call.asked and usage is None:
            return  # a call that failed: it said nothing
        self._text = call.text
        more = _known(reasoning=call.reasoning, usage=usage, created_at=at)
        self._message(Role.ASSISTANT, call.text, **known, **more)
        for asked in call.asked:
            self._call(asked, self._last_position)

    def _call(self, asked: Asked, position: int | None) -> Call:
        draft = self.draft.tool_call(
            asked.name, asked.arguments, call_id=asked.call_id, message_position=position
        )
        call = Call(asked, draft, position)
        if asked.is_error is not None:
            call.ended(asked.result, is_error=asked.is_error)
        self.calls.append(call)
        return call

    def ran(self, asked: Asked, started_at: datetime | None, ended_at: datetime | None) -> None:
        """Take the span of a tool: how a call went, and how long it took."""
        call = self._call_of(asked)
        call.has_run = True
        result = asked.result if call.result is None else call.result
        call.ended(
            result,
            is_error=asked.is_error,
            started_at=started_at,
            latency_ms=_milliseconds(started_at, ended_at),
        )

    def _call_of(self, asked: Asked) -> Call:
        """Find the call that a span is of: spans don't say, but they have its name and words."""
        waiting = [c for c in self.calls if not c.has_run and c.asked.name == asked.name]
        same = (c for c in waiting if c.asked.arguments == asked.arguments)
        found = next(same, None)
        if found is None and asked.arguments is None:  # told without content
            found = next(iter(waiting), None)
        if found is None:
            found = self._call(asked._replace(result=None, is_error=None), None)
        return found

    def inner_error(self, error: str | None) -> None:
        """Take the error of a tool or a model, if it may have ended the run."""
        if error is not None and "(non-fatal)" not in error:
            self.loop_error = error

    def note(self, kind: str, what: Any) -> None:
        """Keep what has no place of its own in the turn's metadata."""
        notes = self.notes.setdefault(kind, [])
        if len(notes) < MAX_NOTES:
            notes.append(as_json(what))

    def response(self) -> str:
        """Say what came out of it: the last words, or the result of the tool that ended it."""
        if self._text is not None:
            return self._text
        if self.handed_to is None and self.error is None:
            last = [c for c in self.calls if c.message_position == self._last_position]
            if last and all(call.has_run and call.result is not None for call in last):
                return last[0].result or ""
        return ""

    def built(self, response: str) -> Turn:
        """Make the turn."""
        if not self.called_models:
            self.draft.count(**{name: max(0, n) for name, n in self.loop_tokens.items()})
        metadata: dict[str, Any] = dict(self.notes)
        if self.agent != self.header.get("agent_name"):
            metadata["agent"] = self.agent
        if self.handed_to is not None:
            metadata["handed_to"] = self.handed_to
        self.draft.set(
            created_at=self.started_at,
            latency_ms=_milliseconds(self.started_at, self.ended_at),
            metadata=metadata,
        )
        self.draft.response = response
        return self.draft.turn(self.header["id"], self.number, error=self.error)


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _milliseconds(since: datetime | None, until: datetime | None) -> float | None:
    if since is None or until is None:
        return None
    return round(max(0.0, (until - since).total_seconds() * 1000), 3)


def counted_by_name(tokens: Tokens) -> dict[str, int]:
    """Name token figures as a turn does."""
    return {
        name: count for name, count in zip(TOKEN_FIELDS, tokens, strict=True) if count is not None
    }


def add_counts(to: dict[str, int], counts: dict[str, int], sign: int = 1) -> None:
    """Add figures to others, or take them off."""
    for name, count in counts.items():
        to[name] = min(to.get(name, 0) + sign * count, INT64_MAX)


def told(error: Any) -> str | None:
    """Read the error of a span: as much as the SDK lets be told."""
    if not isinstance(error, dict):
        return None
    data = error.get("data")
    details = data if isinstance(data, dict) else {}
    parts = (error.get("message"), details.get("error", details.get("guardrail")))
    words = [as_text(part) for part in parts if part is not None]
    return clean_text(as_error(": ".join(words))) if words else None
