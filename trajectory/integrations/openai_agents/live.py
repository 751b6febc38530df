"""A trace while it runs: which runs and agents its spans belong to, and what is logged of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from trajectory.draft import as_text
from trajectory.ids import uuid7
from trajectory.integrations.openai_agents.gathering import (
    Part,
    add_counts,
    counted_by_name,
    told,
)
from trajectory.integrations.openai_agents.reading import (
    Asked,
    generation_call,
    input_of,
    instant_of,
    label,
    output_of,
    response_call,
    storable,
    system_prompt_in,
    tail_of,
    tokens_of,
    tools_in,
    tools_of,
)
from trajectory.integrations.openai_agents.scopes import (
    LiveRun,
    Outcome,
    Scope,
    error_of_end,
    outcome_of,
)
from trajectory.models import Logged, Trajectory, TrajectoryStatus

_log = logging.getLogger(__name__)
_told: set[str] = set()
"""What this process was warned of."""

MAX_OPEN_SPANS = 10_000
"""In a trace; spans beyond are passed over."""

_PURPOSES = {"function": "tool", "guardrail": "guardrail"}
"""What a run inside such a span is for, as the metadata of its trajectory say it."""


class LiveTrace:
    """Turns the spans of one trace into trajectories and turns, which it gives to `log`."""

    def __init__(self, log: Callable[[Logged], None], header: dict[str, Any]) -> None:
        self.header = header
        self.last_turn = 0
        self.starts = 1
        """How many traces of this id are open."""
        self._log = log
        self._top = Scope("trace")
        self._open: dict[str, Scope] = {}
        self._outcome = Outcome()
        self._is_announced = False

    @property
    def is_idle(self) -> bool:
        """Whether no span is open."""
        return not self._open

    def begin(self, span: Any) -> None:
        """Take the start of a span."""
        if len(self._open) >= MAX_OPEN_SPANS:
            return
        above = self._open.get(span.parent_id, self._top)
        data = span.span_data
        scope = Scope(data.type, getattr(data, "name", None), above)
        if scope.kind == "task":
            scope.run, scope.part = self._new_run(above, has_task=True), None
        elif scope.kind == "agent":
            scope.run, scope.part = self._begin_part(above, label(data.name), instant_of(span))
        self._open[span.span_id] = scope

    def end(self, span: Any) -> None:
        """Take the end of a span."""
        scope = self._open.pop(span.span_id, None)
        if scope is None:
            return
        kind, part = scope.kind, scope.part
        if kind == "agent":
            self._end_part(scope, span)
        elif kind == "task":
            self._end_task(scope, span)
        elif kind in ("response", "generation"):
            self._model_call(kind, scope, span)
        elif part is not None:
            _take(span, part)
        elif scope.run is not None:
            # Before the first agent begins: a guardrail, or a tool that was waited for.
            scope.run.take(partial(_take, span))

    def finish(self, status_before: TrajectoryStatus | None = None) -> TrajectoryStatus | None:
        """End the trace, with what is still open in it; give the status that was logged.

        What an earlier trace of this id ended with stays.
        """
        failure, now = self._top.failure(), datetime.now(UTC)
        outcome = self._outcome if failure is None else outcome_of(failure, self._outcome.error)
        for run in self._unfinished():
            self._finish_run(run, outcome, now)
        if not self._is_announced:
            return status_before
        status = status_before or outcome.status
        error = error_of_end(outcome.status, outcome.error)
        self._log(Trajectory(**{**self.header, "status": status, "error": error, "ended_at": now}))
        return status

    def leave(self) -> None:
        """Log what is known of a trace whose end won't be seen."""
        for run in self._unfinished():
            self._finish_run(run, None, datetime.now(UTC))

    def _unfinished(self) -> list[LiveRun]:
        scopes = [self._top, *self._open.values()]
        runs = [run for scope in scopes for run in (scope.run, *scope.waiting) if run is not None]
        self._open.clear()
        return [run for run in dict.fromkeys(runs) if not run.is_done]

    def _new_run(self, above: Scope, *, has_task: bool) -> LiveRun:
        purpose = {_PURPOSES[above.kind]: above.name} if above.kind in _PURPOSES else {}
        return LiveRun(above.run is not None, has_task, above.part, purpose)

    def _begin_part(
        self, above: Scope, agent: str | None, started_at: datetime | None
    ) -> tuple[LiveRun, Part]:
        run = above.run if above.kind == "task" else self._handed_over(above, agent)
        if run is None:
            run = self._new_run(above, has_task=False)
        follows = run.parts[-1] if run.parts else None
        started_at = started_at or datetime.now(UTC)
        if follows is None and not run.is_nested:
            part = self._root_part(agent, started_at)
        else:
            giver = follows or run.inside
            purpose = {"handed_over_by": follows.agent} if follows is not None else run.purpose
            header = self._child_header(giver, agent, started_at, purpose)
            part = Part(header, 1, agent, started_at, is_child=True, follows=follows)
            self._log(Trajectory(**header))
        run.begin(part)
        return run, part

    @staticmethod
    def _handed_over(above: Scope, agent: str | None) -> LiveRun | None:
        """Find the run without a task span that goes on with this agent."""
        for run in above.waiting:
            if run.parts[-1].handed_to == agent:
                above.waiting.remove(run)
                return run
        return None

    def _root_part(self, agent: str | None, started_at: datetime) -> Part:
        self.header.setdefault("agent_name", agent)
        self._announce()
        self.last_turn += 1
        return Part(self.header, self.last_turn, agent, started_at, is_child=False)

    def _announce(self) -> None:
        if not self._is_announced:
            self._is_announced = True
            self._log(Trajectory(**self.header))

    def _child_header(
        self, giver: Part | None, agent: str | None, at: datetime, purpose: dict[str, Any]
    ) -> dict[str, Any]:
        self._announce()
        own = self.header
        shared = {name: own[name] for name in ("run_id", "session_id", "user_id", "source_format")}
        return {
            **shared,
            "id": uuid7(),
            "agent_name": agent,
            "parent_trajectory_id": (own if giver is None else giver.header)["id"],
            "root_trajectory_id": own.get("root_trajectory_id") or own["id"],
            "created_at": at,
            "metadata": storable(purpose) or {},
        }

    def _model_call(self, kind: str, scope: Scope, span: Any) -> None:
        data = span.span_data
        call = response_call(data) if kind == "response" else generation_call(data)
        part = scope.part
        is_alone = part is None
        if part is None:  # of a model that is called beside all agents
            part = self._root_part(None, instant_of(span) or datetime.now(UTC))
        part.is_heard = True
        given = input_of(data)
        instructions = system_prompt_in(given) if kind == "generation" else None
        if given:
            tail = tail_of(given if instructions is None else given[1:])
            part.hear(tail, instant_of(span))
        part.say(call, instant_of(span, "ended_at"))
        error = told(span.error)
        part.loop_error = None
        if error is not None:
            part.note("model_errors", error)
            part.inner_error(error)
        if system_prompt := call.system_prompt or instructions:
            part.header.setdefault("system_prompt", system_prompt)
        if "tools" not in part.header and (tools := tools_in(data)) is not None:
            part.header["tools"] = tools
        if is_alone:
            run = LiveRun(is_nested=False, has_task=False, inside=None, purpose={}, parts=[part])
            self._finish_run(run, outcome_of(scope.failure(), error), instant_of(span, "ended_at"))

    def _end_part(self, scope: Scope, span: Any) -> None:
        part, run, failure = scope.part, scope.run, scope.failure()
        if part is None or run is None or run.is_done:
            return
        part.ended_at = instant_of(span, "ended_at")
        error = told(span.error) or (None if failure is None else part.loop_error)
        outcome = outcome_of(failure, error)
        part.error = outcome.error
        tools = tools_of(span.span_data.tools)
        if tools is not None:
            part.header.setdefault("tools", tools)
        if run.has_task:
            return
        if part.handed_to is not None and outcome.error is None and scope.above is not None:
            scope.above.waiting.append(run)
        else:
            self._finish_run(run, outcome, part.ended_at)

    def _end_task(self, scope: Scope, span: Any) -> None:
        run = scope.run
        if run is None or run.is_done:
            return
        if run.inside is not None and not run.inside.called_models:
            add_counts(run.inside.loop_tokens, _counts(span.span_data.usage), -1)
        error = run.parts[-1].error if run.parts else told(span.error)
        outcome = outcome_of(scope.failure(), None)
        if error is not None:
            outcome = Outcome(
                TrajectoryStatus.FAILED if outcome.error is None else outcome.status, error
            )
        self._finish_run(run, outcome, instant_of(span, "ended_at"))

    def _finish_run(self, run: LiveRun, outcome: Outcome | None, ended_at: datetime | None) -> None:
        """Log the turns of a run, and the ends of the trajectories that are its alone."""
        run.is_done = True
        if not run.is_nested:
            self._outcome = outcome or self._outcome
            self._announce()
        final = run.parts[-1].response() if run.parts else ""
        for part in run.parts:
            if part.ended_at is None:
                part.ended_at = ended_at
                part.error = None if outcome is None else outcome.error
            own = part.response()
            if outcome is not None and outcome.status is TrajectoryStatus.COMPLETED:
                _tell_if_mute(part)
            self._log(part.built(final or own if part.follows is None else own))
            if part.is_child and outcome is not None:
                is_last = part is run.parts[-1]
                status = outcome.status if is_last else TrajectoryStatus.COMPLETED
                error = error_of_end(status, part.error)
                end = {"status": status, "error": error, "ended_at": part.ended_at}
                self._log(Trajectory(**{**part.header, **end}))


def _take(span: Any, part: Part) -> None:
    """Take a span of what an agent does beside calling its model."""
    kind, data = span.span_data.type, span.span_data
    if kind == "function":
        output, error = output_of(data), told(span.error)
        name = label(data.name) or "(unnamed)"
        arguments = None if data.input is None else as_text(data.input)
        result = error if output is None else output
        asked = Asked(name, arguments, None, result, span.error is not None)
        part.ran(asked, instant_of(span), instant_of(span, "ended_at"))
        part.inner_error(error)
        if data.mcp_data:
            part.note("mcp_calls", {"tool": name, "mcp": data.mcp_data})
    elif kind == "handoff":
        part.handed_to = label(data.to_agent)
    elif kind == "turn":
        if not part.called_models:
            add_counts(part.loop_tokens, _counts(data.usage))
        part.loop_error = told(span.error) or part.loop_error
    elif kind == "guardrail":
        part.note("guardrails", {"name": data.name, "triggered": data.triggered})
    elif kind == "custom":
        part.note("custom_spans", {"name": data.name, "data": data.data})
    elif kind == "mcp_tools":
        part.note("mcp_tools", {"server": data.server, "tools": data.result})


def _tell_if_mute(part: Part) -> None:
    """Warn once a process of a model that tells no words."""
    # What a tool's result ended, after an approval, has asked no model.
    asked = not part.calls or any(count > 0 for count in part.loop_tokens.values())
    if part.is_heard or not asked or _told:
        return
    _told.add("mute")
    _log.warning(
        "the model opens no generation or response span, so no words are recorded; see "
        "docs/openai-agents.md"
    )


def _counts(usage: Any) -> dict[str, int]:
    """Read what a turn or task span says of tokens."""
    tokens = tokens_of(usage)
    return {} if tokens is None else counted_by_name(tokens)
