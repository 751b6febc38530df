"""A turn in the making: of the client's own conversation, or of one of its sub-agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import Any
from uuid import UUID

from trajectory.door import now_utc
from trajectory.draft import TurnDraft, as_text
from trajectory.formats.foreign import members
from trajectory.integrations.claude_agent_sdk import reading
from trajectory.integrations.claude_agent_sdk.reading import Answered, Asked, of
from trajectory.models import Turn

_PIECES = {"text": "text", "thinking": "thinking"}


@dataclass(slots=True, eq=False)
class Call:
    """A tool call. Hooks and messages tell of it, in any order."""

    asked: Asked
    said: Said | None = None
    written: str | None = None
    """Its arguments as the model wrote them, where the SDK passed the pieces on."""
    began: float = field(default_factory=perf_counter)
    started_at: datetime = field(default_factory=now_utc)
    is_timed: bool = False
    """Whether a hook told when it began."""
    latency_ms: float | None = None
    result: str | None = None
    is_error: bool | None = None
    structured: Any = None
    """What the tool itself returned, before it was made a message."""

    def ran(self, told: Mapping[str, Any], *, failed: bool) -> None:
        """Take what a hook tells of its end."""
        duration = told.get("duration_ms")
        if isinstance(duration, int | float) and not isinstance(duration, bool):
            self.latency_ms = duration
        elif self.is_timed:
            self.latency_ms = (perf_counter() - self.began) * 1000
        self.is_error = failed
        self.structured = told.get("tool_response")
        if self.result is None:
            self.result = as_text(told.get("error") if failed else self.structured)

    def answered(self, answer: Answered) -> None:
        """Take the result as the model is given it."""
        self.result, self.is_error = answer.text, answer.is_error


@dataclass(slots=True, eq=False)
class Said:
    """A message in the making."""

    role: str
    at: datetime = field(default_factory=now_utc)
    blocks: list[Any] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    content: Any = None
    call_id: str | None = None
    model: str | None = None
    usage: Any = None
    stop_reason: str | None = None
    delivered: int = 0
    """Of how many of its blocks the SDK gave a message, so far."""


@dataclass(slots=True, eq=False)
class Piece:
    """A block that comes in pieces."""

    key: str
    """Under which its pieces hold their text."""
    call_id: str
    texts: list[str] = field(default_factory=list)


class Exchange:
    """Gathers what is said and done between a prompt and its answer."""

    def __init__(self) -> None:
        self._draft = TurnDraft()
        self.began = perf_counter()
        self._began_at = now_utc()
        self.said: list[Said] = []
        self.calls: dict[str, Call] = {}
        self._answers: dict[str, Said] = {}
        self._streamed: Said | None = None
        self._pieces: dict[int, Piece] = {}
        self.facts: dict[str, Any] = {}

    # What is said.

    def assistant(self, message: Any) -> None:
        """Take a message of the model's: the SDK gives one for each block of an answer."""
        said = self._answer(of(message, "message_id"))
        found = reading.spoken(message.content)
        said.delivered += max(1, len(message.content))
        said.blocks += found.text
        said.reasoning += found.reasoning
        said.model = message.model or said.model
        if said is not self._streamed or said.usage is None:
            said.usage = of(message, "usage") or said.usage
        said.stop_reason = of(message, "stop_reason") or said.stop_reason
        for asked in found.calls:
            call = self.call(asked)
            call.said = said
        for answer in found.results:  # of a tool that ran where the model runs
            self._result(answer)

    def _answer(self, name: Any) -> Said:
        """Find the answer by its id, or begin one."""
        key = name if isinstance(name, str) else None
        said = None if key is None else self._answers.get(key)
        if said is None:
            said = Said("assistant")
            self.said.append(said)
            if key is not None:
                self._answers[key] = said
        return said

    def user(self, message: Any, known: Sequence[str]) -> None:
        """Take a message to the model: results of tools, or words, but for `known` ones."""
        found = reading.spoken(message.content)
        for answer in found.results:
            self._result(answer)
            self.said.append(Said("tool", content=answer.content, call_id=answer.call_id))
        if found.text and reading.texts_of(found.text) not in known:
            self.said.append(Said("user", blocks=found.text))

    def call(self, asked: Asked) -> Call:
        """Find a call by its id, or begin it."""
        call = self.calls.get(asked.call_id)
        if call is None:
            call = self.calls[asked.call_id] = Call(asked)
        return call

    def _result(self, answer: Answered) -> None:
        call = self.calls.get(answer.call_id)
        if call is not None:
            call.answered(answer)

    # What comes in pieces.

    def stream(self, event: Any) -> None:
        """Take an event of the model's own stream."""
        told = members(event)
        kind, index = told.get("type"), told.get("index")
        place = index if isinstance(index, int) else 0
        if kind == "content_block_delta":
            self._piece(place, members(told.get("delta")))
        elif kind == "content_block_start":
            block = members(told.get("content_block"))
            key = _PIECES.get(as_text(block.get("type")), "partial_json")
            self._pieces[place] = Piece(key, reading.name_of(block.get("id") or ""))
        elif kind == "message_start":
            message = members(told.get("message"))
            self._end_stream()
            self._streamed = said = self._answer(message.get("id"))
            said.usage = message.get("usage")
            said.model = said.model or message.get("model")
        elif kind == "message_delta" and self._streamed is not None:
            usage = {**members(self._streamed.usage), **members(told.get("usage"))}
            self._streamed.usage = usage or None
            self._streamed.stop_reason = members(told.get("delta")).get("stop_reason")

    def _piece(self, place: int, delta: Mapping[str, Any]) -> None:
        piece = self._pieces.get(place)
        if piece is None or not isinstance(text := delta.get(piece.key), str):
            return
        piece.texts.append(text)
        if "time_to_first_token_ms" not in self.facts:
            waited = (perf_counter() - self.began) * 1000
            self.facts["time_to_first_token_ms"] = round(waited, 3)

    def _end_stream(self) -> None:
        """Take what only the pieces tell: the words of calls, and blocks that were broken off."""
        said = self._streamed
        for place, piece in enumerate(self._pieces.values()):
            text = "".join(piece.texts)
            call = self.calls.get(piece.call_id)
            if call is not None and text and place < (said.delivered if said else 0):
                call.written = text
            elif said is not None and text and place >= said.delivered:
                if piece.key == "text":
                    said.blocks.append({"type": "text", "text": text})
                elif piece.key == "thinking":
                    said.reasoning.append(text)
        self._pieces.clear()
        self._streamed = None

    # The end.

    @property
    def last_text(self) -> str:
        """What the model said last."""
        for said in reversed(self.said):
            if said.role == "assistant" and (text := reading.texts_of(said.blocks)):
                return text
        return ""

    def heard(self) -> dict[str, int]:
        """Add up the usage of the answers."""
        return reading.added(reading.figures(said.usage) for said in self.said)

    def built(
        self,
        trajectory_id: UUID,
        number: int,
        prompts: Sequence[tuple[str, Any]],
        *,
        response: str | None,
        tokens: Mapping[str, int],
        error: str | None = None,
        **fields: Any,
    ) -> Turn:
        """Make the turn. `prompts` are texts and contents; the last of the texts is answered."""
        self._end_stream()
        draft = self._draft
        draft.prompt = "\n\n".join(text for text, _ in prompts)
        for _, content in prompts:
            draft.message("user", content, created_at=self._began_at)
        places: dict[int, int] = {}
        models = []
        for said in self.said:
            content = said.content if said.role == "tool" else reading.shown(said.blocks)
            places[id(said)] = draft.message(
                said.role,
                content,
                call_id=said.call_id,
                reasoning="\n\n".join(said.reasoning) or None,
                model_name=said.model,
                usage=said.usage,
                stop_reason=said.stop_reason,
                created_at=said.at,
            )
            if said.role == "assistant":
                models.append(said.model)
                draft.set(stop_reason=said.stop_reason)
        for call in self.calls.values():
            made = draft.tool_call(
                call.asked.name,
                call.asked.arguments if call.written is None else call.written,
                call_id=call.asked.call_id,
                started_at=call.started_at,
                latency_ms=call.latency_ms,
                result=call.result,
                is_error=call.is_error,
            )
            made.set(message_position=places.get(id(call.said)))
        draft.response = self.last_text if response is None else response
        draft.count(**tokens)
        draft.set(model_name=next((model for model in reversed(models) if model), None))
        draft.set(**{name: value for name, value in fields.items() if value is not None})
        if self.facts:
            draft.set(metadata=self.facts)
        return draft.turn(trajectory_id, number, error=error)
