"""A trajectory told as spans: `invoke_agent` for all of it, `chat` and `execute_tool` in it.

One `chat` a message of the assistant, or one a turn that has none; one `execute_tool` a tool call.
All are children of the trajectory's span, which is a child of that of the parent trajectory, in one
trace. The same trajectory gives the same spans, with the same ids: told again, it is not doubled
where spans are told apart by their ids.

What was said is content, and told only when asked: see `leftover.CONTENT`. Without it spans have
structure, times, names, counts, figures and scores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from trajectory.genai import conventions as names
from trajectory.genai import leftover
from trajectory.genai.content import as_json, definitions, spoken, text
from trajectory.genai.conventions import Operation
from trajectory.genai.failures import error_type
from trajectory.genai.identity import root_span, trace_of
from trajectory.genai.instants import nanoseconds
from trajectory.genai.spans import OWN_SCOPE, Event, Span, SpanKind, StatusCode
from trajectory.genai.turns import Surroundings, TurnTelling, known
from trajectory.models import AGENT, Role, Trajectory, TrajectoryStatus, Turn
from trajectory.scoring import Score, weigh
from trajectory.scoring.score import FindingCounter
from trajectory.values import INT64_MAX

SCOPE = OWN_SCOPE

R_PROACT, R_PERS, PPP = "R_Proact", "R_Pers", "PPP"
"""The names of the scores: `gen_ai.evaluation.name`. The last one is their sum."""


class Telling:
    """Tells one trajectory, turn by turn; its own span comes last, when its end is known.

    `resource` are the attributes of the program that tells, as `service.name`. What no span has is
    counted in `left_out`.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        *,
        content: bool = False,
        resource: dict[str, Any] | None = None,
    ) -> None:
        self._trajectory = trajectory
        self._content = content
        self._start = self._end = nanoseconds(trajectory.created_at)
        self._around = Surroundings(
            trace_id=trace_of(trajectory),
            parent_span_id=root_span(trajectory.id),
            attributes=known(
                {
                    names.TRAJECTORY_ID: str(trajectory.id),
                    names.AGENT_NAME: trajectory.agent_name,
                    names.CONVERSATION_ID: trajectory.session_id,
                }
            ),
            resource={} if resource is None else resource,
            scope=SCOPE,
            content=content,
        )
        self._turn_ended = self._start
        self._turns = 0
        self._tokens: Counter[str] = Counter()
        self._models: dict[str | None, None] = {}
        self._counters = {AGENT: FindingCounter()}
        self._prompt: str | None = None
        self._response: str | None = None
        self.left_out: Counter[str] = Counter()
        leftover.of_trajectory(trajectory, content=content, left_out=self.left_out)

    def turn(self, turn: Turn) -> Iterator[Span]:
        """Tell a turn; they come in the order of their numbers."""
        self._note(turn)
        telling = TurnTelling(turn, self._around, self._turn_ended)
        self._turn_ended = telling.window.end
        for span in telling.spans():
            self._start = min(self._start, span.start_ns)
            self._end = max(self._end, span.end_ns)
            yield span

    def end(self) -> Span:
        """Tell the trajectory as a whole."""
        trajectory = self._trajectory
        if trajectory.ended_at is not None:
            self._end = max(self._end, nanoseconds(trajectory.ended_at))
        attributes = self._attributes()
        failed = trajectory.status is TrajectoryStatus.FAILED
        if failed or trajectory.error is not None:
            attributes[names.ERROR_TYPE] = error_type(trajectory.error)
        parent = trajectory.parent_trajectory_id
        operation, agent = Operation.INVOKE_AGENT.value, trajectory.agent_name
        return Span(
            name=f"{operation} {agent}" if agent else operation,
            trace_id=self._around.trace_id,
            span_id=self._around.parent_span_id,
            parent_span_id=None if parent in (None, trajectory.id) else root_span(parent),
            kind=SpanKind.INTERNAL,
            start_ns=self._start,
            end_ns=self._end,
            attributes=known(attributes),
            events=tuple(self._scores()),
            status=StatusCode.ERROR if failed else StatusCode.UNSET,
            status_message=(trajectory.error or "") if failed and self._content else "",
            resource=self._around.resource,
            scope=SCOPE,
        )

    def _note(self, turn: Turn) -> None:
        """Remember what the trajectory's span says of all turns."""
        leftover.of_turn(turn, content=self._content, left_out=self.left_out)
        self._turns += 1
        if turn.input_tokens is not None:
            self._tokens[names.INPUT_TOKENS] += turn.input_tokens
        if turn.output_tokens is not None:
            self._tokens[names.OUTPUT_TOKENS] += turn.output_tokens
        if len(self._models) < 2:
            self._models[turn.model_name] = None
        for question in turn.questions:
            self._counters.setdefault(question.source, FindingCounter(question.source))
        for violation in turn.violations:
            self._counters.setdefault(violation.source, FindingCounter(violation.source))
        for counter in self._counters.values():
            counter.add(turn)
        if self._content:
            self._prompt = self._prompt or turn.prompt
            self._response = turn.response or self._response

    def _attributes(self) -> dict[str, Any]:
        trajectory = self._trajectory
        [model, *others] = self._models or {None: None}
        attributes: dict[str, Any] = {
            names.OPERATION: Operation.INVOKE_AGENT.value,
            **self._around.attributes,
            names.REQUEST_MODEL: None if others else model,
            names.USER_ID: trajectory.user_id,
            names.PARENT_ID: _text(trajectory.parent_trajectory_id),
            names.ROOT_ID: _text(trajectory.root_trajectory_id),
            names.SPEC_ID: trajectory.spec_id,
            names.RUN_ID: trajectory.run_id,
            names.OWN_AGENT_VERSION: trajectory.agent_version,
            names.STATUS: _text(trajectory.status),
            names.REWARD: trajectory.reward,
            names.SOURCE_FORMAT: trajectory.source_format,
            names.TURNS: self._turns,
        }
        attributes |= {name: min(count, INT64_MAX) for name, count in self._tokens.items()}
        if self._content:
            attributes |= self._said()
        return attributes

    def _said(self) -> dict[str, Any]:
        """Give the content: instructions, tools, the first prompt and the last response."""
        trajectory = self._trajectory
        system = trajectory.system_prompt
        asked = spoken(Role.USER, [text(self._prompt)]) if self._prompt else None
        answered = spoken(Role.ASSISTANT, [text(self._response)]) if self._response else None
        return {
            names.SYSTEM_INSTRUCTIONS: as_json([text(system)]) if system else None,
            names.TOOL_DEFINITIONS: as_json(definitions(trajectory.tools))
            if trajectory.tools
            else None,
            names.INPUT_MESSAGES: None if asked is None else as_json([asked]),
            names.OUTPUT_MESSAGES: None if answered is None else as_json([answered]),
            names.ERROR: trajectory.error,
            names.TAGS: as_json(trajectory.tags) if trajectory.tags else None,
            names.METADATA: as_json(trajectory.metadata) if trajectory.metadata else None,
        }

    def _scores(self) -> Iterator[Event]:
        """Give the scores by the findings of each source, the agent's first."""
        others = sorted(self._counters.keys() - {AGENT})
        for source in (AGENT, *others):
            score = weigh(self._counters[source].counts(), source=source)
            for name, value in (
                (R_PROACT, score.r_proact),
                (R_PERS, score.r_pers),
                (PPP, score.total),
            ):
                yield Event(
                    names.EVALUATION_EVENT,
                    self._end,
                    {
                        names.EVALUATION_NAME: name,
                        names.EVALUATION_SCORE: value,
                        names.EVALUATION_EXPLANATION: _explained(score),
                        names.SOURCE: source,
                        names.FORMULA: score.formula,
                    },
                )


def tell(
    trajectory: Trajectory,
    turns: Iterable[Turn],
    *,
    content: bool = False,
    resource: dict[str, Any] | None = None,
) -> list[Span]:
    """Tell a trajectory with its turns, which come in the order of their numbers."""
    telling = Telling(trajectory, content=content, resource=resource)
    spans = [span for turn in turns for span in telling.turn(turn)]
    return [*spans, telling.end()]


def _explained(score: Score) -> str:
    counts = score.counts
    return (
        f"questions: {counts.low} low, {counts.medium} medium, {counts.high} high; "
        f"violations: {counts.minor} minor, {counts.major} major, {counts.critical} critical"
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
