"""The spans of one trace, read as trajectories.

A run of an agent or a workflow is a trajectory; one within another is its child. What models and
tools did belongs to the nearest run above; what has none above belongs to one trajectory of the
whole trace. Other spans are passed by.

Ids are derived from those of trace and span, so the same spans give the same trajectories.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from trajectory.errors import InvalidTurnError
from trajectory.genai import own
from trajectory.genai.composing import Composing
from trajectory.genai.conventions import SERVICE_NAME, Operation
from trajectory.genai.lenient import instant, label
from trajectory.genai.steps import Step, StepKind, completed
from trajectory.ids import derived_id
from trajectory.models import Trajectory, TrajectoryStatus, Turn

SOURCE_FORMAT = "otel"

_RUNS = (StepKind.AGENT, StepKind.WORKFLOW)
_UNKNOWN_SERVICE = "unknown_service"


class Told(NamedTuple):
    """A trajectory with its turns. It is None where only turns were added to one told before."""

    trace_id: str
    trajectory_id: UUID
    trajectory: Trajectory | None
    turns: tuple[Turn, ...]


@dataclass(slots=True)
class Known:
    """What was read of a trace before, so that spans which come later find their place."""

    owners: dict[str, UUID] = field(default_factory=dict)
    """The trajectory of each span."""
    roots: dict[UUID, UUID] = field(default_factory=dict)
    """The topmost of each trajectory."""
    next_turn: dict[UUID, int] = field(default_factory=dict)
    running: set[UUID] = field(default_factory=set)
    """Those that have no run of their own, and wait for the trace's end."""


class Reading(NamedTuple):
    """What a trace holds; parents come before their children."""

    told: tuple[Told, ...]
    left_out: Counter[str]


def read_trace(
    steps: Iterable[Step], known: Known | None = None, *, is_complete: bool = True
) -> Reading:
    """Read the spans of one trace, in any order; `known` takes up what was read.

    A trace is not complete while its root runs on: what has no run of its own runs on then too.
    """
    return _Trace(steps, Known() if known is None else known, is_complete=is_complete).read()


class _Trace:
    def __init__(self, steps: Iterable[Step], known: Known, *, is_complete: bool) -> None:
        self._known = known
        self._is_complete = is_complete
        self._left_out: Counter[str] = Counter()
        self._steps: dict[str, Step] = {}
        for step in sorted(steps, key=_order):
            self._steps.setdefault(step.span.span_id, step)
        self._above: dict[str, tuple[UUID | None, str | None]] = {}
        self._within: dict[str, list[Step]] = {}
        """Model calls that are seen again from below, by the outermost span of them."""
        self._runs: dict[UUID, Step] = {}
        self._parents: dict[UUID, UUID] = {}
        self._heights: dict[UUID, tuple[int, UUID]] = {}
        self._above_others: frozenset[UUID] = frozenset()
        self._parts: dict[UUID, list[Step]] = {}

    def read(self) -> Reading:
        for step in self._steps.values():
            if step.kind in _RUNS:
                self._runs.setdefault(self._id_of(step), step)
        for step in self._steps.values():
            self._place(step)
        self._place_trajectories()
        self._above_others = frozenset(self._parents.values())
        trajectories = {*self._runs, *self._parts}
        order = sorted(trajectories, key=lambda id_: (self._heights[id_][0], self._began(id_), id_))
        told = [each for id_ in order if (each := self._told(id_)) is not None]
        if self._is_complete and self._steps:
            last = max(self._steps.values(), key=lambda step: step.span.end_ns).span
            for id_ in sorted(self._known.running):
                end = Trajectory(
                    id=id_,
                    status=TrajectoryStatus.COMPLETED,
                    created_at=instant(last.start_ns),
                    ended_at=instant(last.end_ns),
                )
                told.append(Told(last.trace_id, id_, end, ()))
            self._known.running.clear()
        return Reading(tuple(told), self._left_out)

    def _place(self, step: Step) -> None:
        owner, model = self._owner(step)
        if step.kind in _RUNS:
            id_ = self._id_of(step)
            if self._runs[id_] is not step:
                self._left_out["span that says it is a trajectory which another one is"] += 1
            elif owner is not None and owner != id_:
                self._parents[id_] = owner
            owner = id_
        elif step.kind is StepKind.OTHER:
            self._left_out["span of another kind"] += 1
        elif model is not None and step.kind is StepKind.MODEL:
            self._within.setdefault(model, []).append(step)
            self._left_out["model call within a model call"] += 1
        else:
            owner = own.trajectory_id(step) or owner or derived_id("otel", step.span.trace_id)
            self._parts.setdefault(owner, []).append(step)
        if owner is not None:
            self._known.owners.setdefault(step.span.span_id, owner)

    def _id_of(self, run: Step) -> UUID:
        span = run.span
        return own.trajectory_id(run) or derived_id("otel", span.trace_id, span.span_id)

    def _owner(self, step: Step) -> tuple[UUID | None, str | None]:
        """Give the trajectory above a span, and the outermost model call there that it is in."""
        path: list[str] = []
        found: tuple[UUID | None, str | None] = (None, None)
        parent = step.span.parent_span_id
        seen = {step.span.span_id}
        while parent is not None and parent not in seen:
            if parent in self._above:
                found = self._above[parent]
                break
            above = self._steps.get(parent)
            if above is None:
                found = (self._known.owners.get(parent), None)
                break
            if above.kind in _RUNS:
                found = (self._id_of(above), None)
                break
            seen.add(parent)
            path.append(parent)
            parent = above.span.parent_span_id
        for span_id in reversed(path):
            kind = self._steps[span_id].kind
            if kind is StepKind.TOOL:  # what a tool asks a model is a call of its own
                found = found[0], None
            elif kind is StepKind.MODEL and found[1] is None:
                found = found[0], span_id
            self._above[span_id] = found
        return found

    def _place_trajectories(self) -> None:
        """Say of each trajectory how many are above it, and which is the topmost.

        Where each is said to be in another one, in a circle, one of them is taken for the topmost.
        """
        for id_ in (*self._runs, *self._parts):
            path = [id_]
            on_path = {id_}
            while path[-1] not in self._heights:
                above = self._parents.get(path[-1])
                if above in on_path:
                    del self._parents[path[-1]]
                    above = None
                if above is None:
                    topmost = self._known.roots.get(path[-1], path[-1])
                    self._heights[path[-1]] = 0, topmost
                    break
                path.append(above)
                on_path.add(above)
            height, topmost = self._heights[path.pop()]
            while path:
                height += 1
                self._heights[path.pop()] = height, topmost

    def _began(self, id_: UUID) -> int:
        run = self._runs.get(id_)
        return run.span.start_ns if run is not None else self._parts[id_][0].span.start_ns

    def _told(self, id_: UUID) -> Told | None:
        run, parts = self._runs.get(id_), self._parts.get(id_, [])
        known = self._known
        composing = Composing(id_, run, known.next_turn.get(id_, 1))
        try:
            for step in parts:
                composing.add(completed(step, self._within.get(step.span.span_id, ())))
            has_others = id_ in self._above_others or id_ in known.next_turn
            turns = tuple(composing.turns(has_others=has_others))
            is_new = run is not None or id_ not in known.next_turn
            trajectory = self._trajectory(id_, composing, parts) if is_new else None
        except InvalidTurnError:
            self._left_out["trajectory whose values can't be stored"] += 1
            return None
        known.next_turn[id_] = max(
            (turn.turn_number + 1 for turn in turns), default=known.next_turn.get(id_, 1)
        )
        trace_id = (parts[0] if run is None else run).span.trace_id
        return Told(trace_id, id_, trajectory, turns)

    def _trajectory(self, id_: UUID, composing: Composing, parts: list[Step]) -> Trajectory:
        run = self._runs.get(id_)
        steps = [run] if run is not None else parts
        if steps[0].own is not None:
            return own.trajectory_of(id_, run, parts, composing.tools)
        _, root = self._heights[id_]
        self._known.roots[id_] = root
        span = steps[0].span
        metadata = {
            "span_id": None if run is None else span.span_id,
            "scope": label(span.scope),
            "service": _service(span.resource),
        }
        ended = max(step.span.end_ns for step in steps)
        status, error = self._ending(run, parts)
        if status is TrajectoryStatus.RUNNING:
            self._known.running.add(id_)
        fields: dict[str, Any] = {
            "id": id_,
            "agent_name": _agent_name(run, parts),
            "run_id": span.trace_id,
            "session_id": _first([*steps, *parts], "session_id"),
            "user_id": _first([*steps, *parts], "user_id"),
            "parent_trajectory_id": self._parents.get(id_),
            "root_trajectory_id": None if root == id_ else root,
            "status": status,
            "error": error,
            "system_prompt": composing.system_prompt,
            "tools": composing.tools,
            "source_format": SOURCE_FORMAT,
            "created_at": instant(min(step.span.start_ns for step in steps)),
            "ended_at": None if status is TrajectoryStatus.RUNNING else instant(ended),
            "metadata": {name: value for name, value in metadata.items() if value is not None},
        }
        return Trajectory(**fields)

    def _ending(self, run: Step | None, parts: list[Step]) -> tuple[TrajectoryStatus, str | None]:
        if run is None and not self._is_complete:
            return TrajectoryStatus.RUNNING, None
        last = run
        if last is None:
            last = next((s for s in reversed(parts) if s.kind is StepKind.MODEL), None)
        if last is None or last.error is None:
            return TrajectoryStatus.COMPLETED, None
        ended = TrajectoryStatus.CANCELLED if last.was_cancelled else TrajectoryStatus.FAILED
        return ended, last.error


def _order(step: Step) -> tuple[int, int, str]:
    return step.span.start_ns, -step.span.end_ns, step.span.span_id


def _first(steps: Iterable[Step], name: str) -> Any:
    return next((found for s in steps if (found := getattr(s, name)) is not None), None)


def _agent_name(run: Step | None, parts: list[Step]) -> str | None:
    if run is not None:
        if run.agent_name is not None:
            return run.agent_name
        for operation in (Operation.INVOKE_AGENT, Operation.INVOKE_WORKFLOW):
            if run.span.name.startswith(f"{operation.value} "):
                return label(run.span.name.removeprefix(f"{operation.value} "))
        return label(run.span.name)
    named = _first((s for s in parts if s.kind is StepKind.MODEL), "agent_name")
    if named is not None:
        return str(named)
    return _service(parts[0].span.resource)


def _service(resource: Mapping[str, Any]) -> str | None:
    name = label(resource.get(SERVICE_NAME))
    return None if name is None or name.startswith(_UNKNOWN_SERVICE) else name
