"""One turn told as spans: its model calls and its tool calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trajectory.genai import conventions as names
from trajectory.genai.content import as_json
from trajectory.genai.conventions import Operation
from trajectory.genai.exchange import Exchange
from trajectory.genai.failures import error_type
from trajectory.genai.identity import span_of
from trajectory.genai.instants import Window, bounded, lasting, nanoseconds, window_of
from trajectory.genai.providers import provider_of
from trajectory.genai.spans import Event, Span, SpanKind, StatusCode
from trajectory.models import Role, ToolCall, Turn


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all spans of a trajectory share."""

    trace_id: str
    parent_span_id: str
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    scope: str
    content: bool


class TurnTelling:
    """Tells one turn, which can hardly have begun before `earliest_ns`."""

    def __init__(self, turn: Turn, around: Surroundings, earliest_ns: int) -> None:
        self._turn = turn
        self._around = around
        self._common = {**around.attributes, names.TURN_NUMBER: turn.turn_number}
        self._exchange = Exchange(turn)
        self.window = window_of(turn, earliest_ns)
        self._step = -1

    def spans(self) -> Iterator[Span]:
        """Give its spans, in the order of what happened."""
        said = self._exchange.said
        if not said:
            yield from self._tools(None, self.window.start)
            yield self._chat(None, self.window)
            return
        now = self.window.start
        for at, message in enumerate(self._turn.messages):
            time = None if message.created_at is None else nanoseconds(message.created_at)
            if message.role is not Role.ASSISTANT:
                now = max(now, time or 0)
                continue
            if at == said[-1]:
                yield from self._tools(None, now)
            end = max(now, self._end_of(at) if time is None else time)
            yield self._chat(at, Window(now, end))
            now = end if at != said[-1] else now
            for span in self._tools(at, now):
                now = max(now, span.end_ns)
                yield span

    def _end_of(self, at: int) -> int:
        """Say when an answer was there that has no time: at the next instant that is known.

        That of its first call or of the next message; of the last answer, the end of the turn. Else
        it took no time that is known.
        """
        known = [call.started_at for _, call in self._exchange.calls(at)]
        if not self._exchange.is_last(at):
            known.append(self._turn.messages[at + 1].created_at)
        times = [nanoseconds(each) for each in known if each is not None]
        return min(times, default=self.window.end if self._exchange.is_last(at) else 0)

    def _next(self, start: int) -> int:
        """Set what begins at the same instant apart, by a nanosecond, so that order is kept."""
        self._step += 1
        return bounded(start + self._step)

    def _chat(self, at: int | None, window: Window) -> Span:
        """Tell one call of the model; all that is known of the turn goes with its last one."""
        turn, exchange = self._turn, self._exchange
        message = None if at is None else turn.messages[at]
        is_last = exchange.is_last(at)
        model = (None if message is None else message.model_name) or turn.model_name
        stop = None if message is None else message.stop_reason
        if stop is None and is_last:
            stop = turn.stop_reason
        attributes: dict[str, Any] = {
            names.OPERATION: Operation.CHAT.value,
            names.PROVIDER: provider_of(model),
            names.REQUEST_MODEL: model,
            names.FINISH_REASONS: None if stop is None else [stop],
            **self._common,
            names.MESSAGE_POSITION: at,
        }
        if (tokens := exchange.tokens(at)) is not None:
            attributes |= tokens.attributes()
        if self._around.content:
            input_, output = exchange.input(at), exchange.output(at)
            attributes[names.INPUT_MESSAGES] = as_json(input_) if input_ else None
            attributes[names.OUTPUT_MESSAGES] = as_json([output]) if output["parts"] else None
        start = self._next(window.start)
        end = max(start, window.end)
        events: tuple[Event, ...] = ()
        if is_last:
            attributes |= self._whole()
            events = tuple(findings(turn, end, content=self._around.content))
        return self._span(
            f"{Operation.CHAT.value} {model}" if model else Operation.CHAT.value,
            ("chat", -1 if at is None else at),
            SpanKind.CLIENT,
            Window(start, end),
            attributes,
            error=(turn.error or "") if is_last and turn.error is not None else None,
            events=events,
        )

    def _whole(self) -> dict[str, Any]:
        """Give the attributes of the turn as a whole."""
        turn = self._turn
        attributes: dict[str, Any] = {
            names.TURN_REWARD: turn.reward,
            names.TURN_COST_USD: turn.cost_usd,
            names.TURN_TOKENS: turn.token_count,
            names.TURN_LATENCY_MS: turn.latency_ms,
            names.TURN_IS_COPIED: turn.is_copied_context,
        }
        if self._around.content:
            attributes[names.TURN_ERROR] = turn.error
            attributes[names.TURN_METADATA] = as_json(turn.metadata) if turn.metadata else None
        return attributes

    def _tools(self, at: int | None, now: int) -> Iterator[Span]:
        """Tell the calls that one message made; at None those whose message is not known."""
        for position, call in self._exchange.calls(at):
            window = self._window_of(call, now)
            attributes: dict[str, Any] = {
                names.OPERATION: Operation.EXECUTE_TOOL.value,
                names.TOOL_NAME: call.tool_name,
                names.TOOL_CALL_ID: call.call_id,
                **self._common,
                names.CALL_POSITION: position,
                names.MESSAGE_POSITION: at,
            }
            if self._around.content:
                attributes[names.TOOL_ARGUMENTS] = call.arguments
                attributes[names.TOOL_RESULT] = call.result
            yield self._span(
                f"{Operation.EXECUTE_TOOL.value} {call.tool_name}",
                ("tool", position),
                SpanKind.INTERNAL,
                window,
                attributes,
                error=(call.result or "") if call.is_error else None,
            )

    def _window_of(self, call: ToolCall, now: int) -> Window:
        """Say how long a call took: by its latency, else till its answer came."""
        start = self._next(now if call.started_at is None else nanoseconds(call.started_at))
        if call.latency_ms is not None:
            return Window(start, bounded(start + lasting(call.latency_ms)))
        answer = self._exchange.answer_to(call)
        if answer is None or answer.created_at is None:
            return Window(start, start)
        return Window(start, max(start, nanoseconds(answer.created_at)))

    def _span(
        self,
        name: str,
        part: tuple[str, int],
        kind: SpanKind,
        window: Window,
        attributes: dict[str, Any],
        *,
        error: str | None,
        events: tuple[Event, ...] = (),
    ) -> Span:
        around = self._around
        if error is not None:
            attributes[names.ERROR_TYPE] = error_type(error)
        return Span(
            name=name,
            trace_id=around.trace_id,
            span_id=span_of(self._turn.trajectory_id, self._turn.turn_number, *part),
            parent_span_id=around.parent_span_id,
            kind=kind,
            start_ns=window.start,
            end_ns=window.end,
            attributes=known(attributes),
            events=events,
            status=StatusCode.UNSET if error is None else StatusCode.ERROR,
            status_message=error if error is not None and around.content else "",
            resource=around.resource,
            scope=around.scope,
        )


def known(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not known."""
    return {name: value for name, value in attributes.items() if value is not None}


def findings(turn: Turn, end_ns: int, *, content: bool) -> Iterator[Event]:
    """Tell the questions and violations of a turn, at its end unless they have a time."""
    for question in turn.questions:
        attributes: dict[str, Any] = {
            names.SOURCE: question.source,
            names.EFFORT_LEVEL: question.effort_level.value,
            names.CONFIDENCE: question.confidence,
        }
        if content:
            attributes[names.QUESTION_TEXT] = question.question_text
        time = end_ns if question.created_at is None else nanoseconds(question.created_at)
        yield Event(names.QUESTION_EVENT, time, known(attributes))
    for violation in turn.violations:
        attributes = {
            names.SOURCE: violation.source,
            names.PREFERENCE_NAME: violation.preference_name,
            names.SEVERITY: violation.severity.value,
        }
        if content:
            attributes |= {
                names.EXPECTED: violation.expected,
                names.ACTUAL: violation.actual,
                names.REASON: violation.reason,
            }
        time = end_ns if violation.created_at is None else nanoseconds(violation.created_at)
        yield Event(names.VIOLATION_EVENT, time, known(attributes))
