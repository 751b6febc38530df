"""The steps of a Codex session, put together to turns."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from trajectory.formats.codex_lines import OUTCOMES, Kind, Step
from trajectory.formats.codex_parts import (
    Call,
    Exchange,
    Said,
    content_of,
    is_injected,
    is_typed,
    joined,
    text_of,
    texts,
)
from trajectory.formats.foreign import amount, count, label, members, storable, text, written
from trajectory.models import Role, TrajectoryStatus, Turn

_ROLES = {role.value: role for role in (Role.USER, Role.DEVELOPER, Role.SYSTEM, Role.ASSISTANT)}
_USAGE = {
    "input_tokens": "input_tokens",
    "cached_input_tokens": "cache_read_tokens",
    "output_tokens": "output_tokens",
    "reasoning_output_tokens": "reasoning_tokens",
}
_CONTEXT = ("cwd", "approval_policy", "sandbox_policy", "effort")
_FAILED = frozenset({"failed", "incomplete"})


class Conversation:
    """Takes the steps of one session in their order."""

    def __init__(self, steps: Sequence[Step], left_out: Counter[str]) -> None:
        names = {(step.kind, step.name) for step in steps}
        self._left_out = left_out
        self._typed_by_event = any(
            step.name == "user_message" and is_typed(step.payload) for step in steps
        )
        self._answers_by_item = any(
            step.name == "message" and step.payload.get("role") == "assistant" for step in steps
        )
        self._reasons_by_item = (Kind.ITEM, "reasoning") in names
        self._exchanges: list[Exchange] = []
        self._held: list[Said] = []
        self._open: Said | None = None  # the model's message, while more may belong to it
        self._calls: dict[str, Call] = {}  # the last one of each id
        self._waiting: dict[str, deque[Call]] = {}
        self._last: Said | None = None  # the model's last message of the turn
        self._context: Mapping[str, Any] = {}
        self._next: dict[str, Any] = {}  # metadata of the turn that comes
        self._total: dict[str, int] = {}
        self._has_early_tokens = False
        self._is_over = True  # no turn runs: there is none yet, or it has ended
        self.has_preamble = False
        self.status = TrajectoryStatus.COMPLETED
        """Running where a task was announced and no end of it is told."""
        self.thread_name: str | None = None
        for step in steps:
            self._take(step)
        if self._is_over:
            # What came since belongs to the next turn, once the session goes on.
            left_out["message after the last turn"] += len(self._held)
        else:
            self._release()
        if self._has_early_tokens and not self._total:
            left_out["tokens before the first turn"] += 1
        if "rolled_back_turns" in self._next:
            left_out["turns taken back at the end"] += self._next["rolled_back_turns"]

    def _take(self, step: Step) -> None:
        if step.kind is Kind.CONTEXT:
            self._context = step.payload
        elif step.kind is Kind.COMPACTED:
            self._compact(step)
        elif step.kind is Kind.ITEM:
            self._take_item(step)
        elif step.kind is Kind.EVENT:
            self._take_event(step)

    def _take_item(self, step: Step) -> None:
        payload = step.payload
        if step.name == "message":
            self._take_message(step)
        elif step.name == "reasoning":
            said = self._speaking(step.at, fresh=True)
            said.reasoning += texts(payload.get("content")) or texts(payload.get("summary"))
        elif step.name.endswith("_call"):
            self._call(step)
        else:
            self._answer(step)

    def _take_message(self, step: Step) -> None:
        role = step.payload.get("role")
        known = _ROLES.get(role) if isinstance(role, str) else None
        content = content_of(step.payload.get("content"))
        if known is None or content is None:
            self._left_out["message without a known role or without content"] += 1
        elif known is Role.ASSISTANT:
            self._say(content, step.at)
        else:
            said = Said(known, content, step.at)
            self._held.append(said)
            if known is Role.USER and not (self._typed_by_event or is_injected(content)):
                self._begin(said, step.at)

    def _take_event(self, step: Step) -> None:
        name, payload = step.name, step.payload
        if name == "user_message":
            if is_typed(payload):
                self._begin_at_event(step)
        elif name == "agent_message":
            if not self._answers_by_item and (message := text(payload.get("message"))):
                self._say(message, step.at)
        elif name.startswith("agent_reasoning"):
            if not self._reasons_by_item and (reasoning := text(payload.get("text"))):
                self._speaking(step.at, fresh=True).reasoning.append(reasoning)
        elif name in OUTCOMES:
            self._outcome(payload)
        elif name == "token_count":
            self._count_tokens(members(members(payload).get("info")))
        elif name in ("task_started", "turn_started"):
            self.status = TrajectoryStatus.RUNNING
            self._is_over = self._is_over or bool(self._exchanges[-1].response)
            self._next["turn_id"] = payload.get("turn_id")
        elif name == "thread_rolled_back":
            taken_back = count(payload.get("num_turns")) or 0
            self._next["rolled_back_turns"] = self._next.get("rolled_back_turns", 0) + taken_back
        elif name == "thread_name_updated":
            self.thread_name = self.thread_name or text(payload.get("thread_name"))
        else:
            self._end(step)

    def _end(self, step: Step) -> None:
        """Take the end of a task, or an error in it."""
        if step.name != "error":
            # The session can go on after a turn that was aborted, and no end can be taken back.
            self.status = TrajectoryStatus.COMPLETED
        if self._is_over:
            self._left_out[f"{step.name} outside of a turn"] += 1
            return
        self._release()
        exchange, payload = self._exchanges[-1], step.payload
        if step.name == "error":
            exchange.error = text(payload.get("message")) or "unknown"
            return
        self._is_over = True
        if step.name != "turn_aborted":
            exchange.latency_ms = amount(payload.get("duration_ms"))
            if first := amount(payload.get("time_to_first_token_ms")):
                exchange.metadata["time_to_first_token_ms"] = first
        else:
            exchange.stop_reason = label(payload.get("reason")) or "aborted"

    def _begin_at_event(self, step: Step) -> None:
        """Begin a turn at what was typed; of the items before it one says the same."""
        message = text(step.payload.get("message")) or ""
        users = [said for said in self._held if said.role is Role.USER]
        same = [said for said in users if text_of(said.content) == message]
        if not same and users and not is_injected(users[-1].content):
            same = users
        typed = same[-1] if same else None
        if typed is None:
            images = step.payload.get("images")
            content: Any = message
            if isinstance(images, list) and images:
                parts = [{"type": "input_image", "image_url": image} for image in images]
                content = storable([{"type": "text", "text": message}, *parts]) or message
            typed = Said(Role.USER, content, step.at)
            self._held.append(typed)
        self._begin(typed, step.at, message, waits=not same)

    def _begin(
        self, typed: Said, at: datetime | None, prompt: str | None = None, *, waits: bool = False
    ) -> None:
        self._open = self._last = None
        self._exchanges.append(
            Exchange(
                prompt=text_of(typed.content) if prompt is None else prompt,
                at=at,
                messages=self._held,
                metadata=self._next,
                typed=typed if waits else None,
            )
        )
        self._held, self._next = [], {}
        self._is_over = False

    def _release(self) -> Exchange | None:
        """Give what was held back, since no new turn begins after it, to the turn that runs."""
        if self._held and not self._exchanges:
            self._preamble()
        for said in self._held:
            exchange = self._exchanges[-1]
            typed = exchange.typed
            if typed and said.role is Role.USER and text_of(said.content) == exchange.prompt:
                typed.content, exchange.typed = said.content, None
            else:
                exchange.messages.append(said)
                self._open = None
        self._held = []
        return self._exchanges[-1] if self._exchanges else None

    def _preamble(self) -> Exchange:
        self.has_preamble, self._is_over = True, False
        self._exchanges.append(Exchange(at=self._held[0].at if self._held else None))
        return self._exchanges[-1]

    def _running(self) -> Exchange:
        """Give the turn in which the model acts."""
        exchange = self._release() or self._preamble()
        if "context" not in exchange.metadata and self._context:
            kept = {key: self._context[key] for key in _CONTEXT if self._context.get(key)}
            exchange.metadata["context"] = kept
        return exchange

    def _speaking(self, at: datetime | None, *, fresh: bool = False) -> Said:
        """Give the model's message, a new one where the last is finished."""
        exchange = self._running()
        said = self._open
        acted = said is not None and (said.content is not None or self._has_calls(exchange))
        if said is None or (fresh and acted):
            model = label(self._context.get("model"))
            said = self._open = self._last = Said(Role.ASSISTANT, at=at, model=model)
            exchange.messages.append(said)
            exchange.model = model or exchange.model
        return said

    def _has_calls(self, exchange: Exchange) -> bool:
        last = len(exchange.messages) - 1
        return bool(exchange.calls) and exchange.calls[-1].message_position == last

    def _say(self, content: Any, at: datetime | None) -> None:
        said = self._speaking(at, fresh=True)
        said.content = content
        exchange = self._exchanges[-1]
        exchange.response = text_of(content) or exchange.response

    def _call(self, step: Step) -> None:
        payload = step.payload
        self._speaking(step.at)
        exchange = self._exchanges[-1]
        kind = step.name.removesuffix("_call")
        name = payload.get("name")
        server = text(payload.get("namespace"))
        given = (payload.get(key) for key in ("arguments", "input", "parameters", "action"))
        call = Call(
            name=label(f"{server}{name}" if server and isinstance(name, str) else name)
            or label(kind)
            or "unknown",
            arguments=written(next((value for value in given if value is not None), None)),
            call_id=label(payload.get("call_id")) or label(payload.get("id")),
            message_position=len(exchange.messages) - 1,  # it is the open one
            at=step.at,
            is_error=True if text(payload.get("status")) in _FAILED else None,
        )
        exchange.calls.append(call)
        if call.call_id is not None:
            self._calls[call.call_id] = call
            self._waiting.setdefault(call.call_id, deque()).append(call)

    def _answer(self, step: Step) -> None:
        exchange = self._running()
        payload = step.payload
        output = payload.get("output", payload.get("tools"))
        failed = members(output).get("success") is False
        if isinstance(text(members(output).get("content")), str):
            output = members(output)["content"]
        content = content_of(output)
        result = content if isinstance(content, str) else joined(content)
        call_id = label(payload.get("call_id"))
        if waiting := self._waiting.get(call_id or ""):
            call = waiting.popleft()
            call.result = result or ""
            call.is_error = True if failed else call.is_error
        else:
            self._left_out["tool result without its call (kept as a message)"] += 1
        exchange.messages.append(Said(Role.TOOL, content, step.at, call_id))
        self._open = None

    def _outcome(self, payload: Mapping[str, Any]) -> None:
        call = self._calls.get(label(payload.get("call_id")) or "")
        if call is None:
            self._left_out["outcome of a tool call that is not there"] += 1
            return
        exit_code, success = payload.get("exit_code"), payload.get("success")
        if isinstance(exit_code, int):
            call.is_error = exit_code != 0
        elif isinstance(success, bool):
            call.is_error = not success
        elif "result" in payload:
            call.is_error = "Err" in payload["result"]
        duration = members(payload.get("duration"))
        seconds, nanos = amount(duration.get("secs")), amount(duration.get("nanos"))
        if seconds is not None and nanos is not None:
            call.latency_ms = amount(seconds * 1000 + nanos / 1_000_000)

    def _count_tokens(self, info: Mapping[str, Any]) -> None:
        """Give the turn what the total grew by. A total that fell begins anew."""
        total = {
            ours: figure
            for theirs, ours in _USAGE.items()
            if (figure := count(members(info.get("total_token_usage")).get(theirs))) is not None
        }
        if not total or total == self._total:
            return
        if not self._exchanges:  # the next total holds it
            self._has_early_tokens = True
            return
        fell = any(figure < self._total.get(name, 0) for name, figure in total.items())
        before = {} if fell else self._total
        if fell:
            self._left_out["token totals that fell (counted anew)"] += 1
        self._total = total
        exchange = self._exchanges[-1]
        exchange.usage.update({name: total[name] - before.get(name, 0) for name in total})
        if self._last is not None and self._last.usage is None:
            self._last.usage = storable(info.get("last_token_usage"))

    def _compact(self, step: Step) -> None:
        """Keep the summary that the model goes on with; what it replaces is there already."""
        if summary := text(step.payload.get("message")):
            self._held.append(Said(Role.SYSTEM, summary, step.at))
        else:
            self._left_out["compaction without a readable summary"] += 1
        if history := step.payload.get("replacement_history"):
            self._left_out["compacted history"] += len(history) if isinstance(history, list) else 1

    def turns(self, id_: UUID, start: datetime) -> Iterator[Turn]:
        """Make the turns. What carries no time is dated from `start`, in order."""
        for number, exchange in enumerate(self._exchanges, 0 if self.has_preamble else 1):
            if exchange.metadata and storable(exchange.metadata) is None:
                self._left_out["turn context that can't be stored"] += 1
                exchange.metadata = {}
            yield exchange.turn(id_, number, start + timedelta(microseconds=number))
