"""The runs of LangChain's that are open, and which of them is a trajectory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from trajectory.integrations.langchain import headers, reading
from trajectory.integrations.langchain.gathering import Gathering
from trajectory.integrations.langchain.line import Line
from trajectory.integrations.langchain.recorder import Recorder
from trajectory.integrations.langchain.steps import MODEL, Ids, Over, Step, outer, over_around
from trajectory.models import TrajectoryStatus
from trajectory.run import current

OPEN_RUNS = 50_000
"""Of LangChain's runs, how many may be open at once, with those inside of others. Beyond, what is
known of the oldest is stored, and its trajectory is left without an end."""

_ENDED_RUNS = 10_000


class Runs:
    """What is open. Any thread may begin and end a run; what is inside of one root has one line.

    `retire`, `finish` and `own` are for jobs in the line of the step. There is no other lock: what
    several threads share are dicts and a deque, of which each is changed in single steps.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a child process does: what is open is its parent's."""
        self._steps: dict[UUID, Step] = {}
        self._ended: dict[UUID, Step | Over] = {}
        """The last that ended, by which is found what begins inside of them later."""
        self._ended_order: deque[UUID] = deque()

    def __len__(self) -> int:
        return len(self._steps)

    def get(self, run_id: UUID) -> Step | None:
        """Give a run that is open."""
        return self._steps.get(run_id)

    def begin(
        self,
        kind: str,
        run_id: UUID,
        serialized: Any,
        inputs: Any,
        told: Mapping[str, Any],
        *,
        then: Callable[[Step], None],
    ) -> None:
        """Begin a run, and do in its line what its kind does then."""
        above = told.get("parent_run_id")
        around = self._steps.get(above) or self._ended.get(above) if above else None
        parent = around if isinstance(around, Step) else None
        step = Step(
            kind,
            run_id,
            parent,
            line=Line(self._recorder.guard) if parent is None else parent.line,
            above=_above(around) if parent is None else None,
            name=_name(serialized, told),
            inputs=inputs,
            told=told,
        )
        self._steps[run_id] = step
        step.line.do(self._enter, step, then)
        if len(self._steps) > OPEN_RUNS and (oldest := self._oldest()) is not None:
            oldest.line.do(self._give_up, oldest)

    def _enter(self, step: Step, then: Callable[[Step], None]) -> None:
        if (over := over_around(step)) is not None:
            # A task that outlives the run in which it was made: what it does is a child of that.
            step.above = over.ids
            step.parent = None
        step.join(step.parent)
        if step.parent is None:
            self.own(step)
        then(step)

    def own(self, step: Step) -> Gathering:
        """Let a run be a trajectory of its own."""
        if step.gathering is None:
            step.gathering = Gathering(self._recorder, step, outer(step))
        return step.gathering

    def retire(self, step: Step) -> bool:
        """Take a run that ended out of those that are open; False if it is none of them."""
        if self._steps.get(step.id) is not step:
            return False
        self._remember(step.id, step)  # first: it must be found at any time
        self._steps.pop(step.id, None)
        return True

    def finish(
        self,
        step: Step,
        *,
        output: Any = None,
        error: BaseException | None = None,
        inputs: Any = None,
    ) -> None:
        """End a run that was retired, and the trajectory that it may be."""
        step.family.pop(step.id, None)
        try:
            status, words = headers.ending(error)
            told_late = inputs if step.waits_for_inputs else None
            self._close(step, status, words, output=output, inputs=told_late)
        finally:
            step.let_go()
            if step.over is not None:
                self._remember(step.id, step.over)

    def _remember(self, run_id: UUID, what: Step | Over) -> None:
        if run_id not in self._ended:
            self._ended_order.append(run_id)
        self._ended[run_id] = what
        while len(self._ended_order) > _ENDED_RUNS:
            self._ended.pop(self._ended_order.popleft(), None)

    def _close(
        self,
        step: Step,
        status: TrajectoryStatus | None,
        error: str | None = None,
        *,
        output: Any = None,
        inputs: Any = None,
    ) -> None:
        """End a trajectory, with those inside of it that have not ended, and what they wait for."""
        gathering = step.gathering
        if gathering is None or gathering.done:
            return
        inside = [one for one in step.family.values() if one is not step and step.is_above(one)]
        for one in reversed(inside):
            if one.kind == MODEL and one.target is not None and not one.target.done:
                one.target.model_fails(one, None, None)
                if (
                    status is TrajectoryStatus.COMPLETED
                    and one.target is gathering
                    and _is_abandoned(one, step)
                ):
                    status = TrajectoryStatus.CANCELLED
            self._close(one, status)
        try:
            if gathering.opened or status is TrajectoryStatus.FAILED:
                gathering.end(status, error, output, inputs)
        finally:
            gathering.done = True
            step.over, step.gathering = Over(gathering.ids), None
            if step.parent is None:
                self._leave(step, step.over, inside)

    def _leave(self, root: Step, over: Over, inside: list[Step]) -> None:
        """Wait for nothing more of a root that has ended."""
        for one in (root, *inside):
            if self._steps.get(one.id) is one:
                self._remember(one.id, one.over or over_around(one) or over)
                self._steps.pop(one.id, None)
            one.let_go()
        root.family.clear()

    def _oldest(self) -> Step | None:
        try:
            return next(iter(self._steps.values()), None)
        except RuntimeError:  # another thread begins or ends one; the next that begins asks again
            return None

    def _give_up(self, oldest: Step) -> None:
        self._close(oldest.root, None)


def _is_abandoned(model: Step, chain: Step) -> bool:
    """Say whether a chain ended since nobody read on what it streams from a model.

    LangChain tells that as a good end. A model that a node left to run in the background is none.
    """
    streams = chain.waits_for_inputs and model.first_token is not None
    return streams and model.is_open_below(chain)


def _above(around: Step | Over | None) -> Ids | None:
    """Give what a root is the child of: the run in which its task was made, or the program's."""
    if isinstance(around, Over) and around.ids is not None:
        return around.ids
    run = current()
    return None if run is None else (run.id, run.root_id)


def _name(serialized: Any, told: Mapping[str, Any]) -> str | None:
    """Give the name of what runs: as the program named it, or its class."""
    name = reading.label(told.get("name"))
    if name is None and isinstance(serialized, Mapping):
        path = serialized.get("id")
        last = path[-1] if isinstance(path, list) and path else None
        name = reading.label(serialized.get("name")) or reading.label(last)
    return name
