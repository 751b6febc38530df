"""The runs of LangChain's that are open, and which of them is a trajectory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from trajectory.integrations.langchain import headers, reading
from trajectory.integrations.langchain.gathering import Gathering, Recorder
from trajectory.integrations.langchain.steps import MODEL, Step, outer
from trajectory.models import TrajectoryStatus

OPEN_RUNS = 50_000
"""Of LangChain's runs, how many may be open at once, with those inside of others. Beyond, what is
known of the oldest is stored, and its trajectory is left without an end."""

_ENDED_RUNS = 10_000


class Runs:
    """What is open. Any thread may begin and end a run; what is inside of one root waits its turn.

    `finish` and `own` are for who holds the lock of the step.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a child process does: what is open, and locked, is its parent's."""
        self._gate = threading.Lock()
        self._steps: OrderedDict[UUID, Step] = OrderedDict()
        self._ended: OrderedDict[UUID, Step] = OrderedDict()
        """The last that ended: what begins inside of them is no new trajectory."""

    def __len__(self) -> int:
        return len(self._steps)

    def get(self, run_id: UUID) -> Step | None:
        """Give a run that is open."""
        return self._steps.get(run_id)

    def begin(
        self, kind: str, run_id: UUID, serialized: Any, inputs: Any, told: Mapping[str, Any]
    ) -> Step | None:
        """Begin a run; None inside of a trajectory that has ended."""
        above = told.get("parent_run_id")
        name = _name(serialized, told)
        with self._gate:
            parent = self._steps.get(above) or self._ended.get(above) if above else None
            step = Step(kind, run_id, parent, name=name, inputs=inputs, told=told)
            if step.root.over:
                self._remember(step)
                return None
            self._steps[run_id] = step
            oldest = next(iter(self._steps.values())) if len(self._steps) > OPEN_RUNS else None
        with step.lock:
            step.family[run_id] = step
            if parent is None:
                self.own(step)
        if oldest is not None:
            with oldest.lock:
                self._close(oldest.root, None)
        return step

    def own(self, step: Step) -> Gathering:
        """Let a run be a trajectory of its own."""
        if step.gathering is None:
            step.gathering = Gathering(self._recorder, step, outer(step))
        return step.gathering

    def retire(self, run_id: UUID) -> Step | None:
        """Take a run that ended out of those that are open."""
        with self._gate:
            step = self._steps.pop(run_id, None)
            if step is not None:
                self._remember(step)
        return step

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

    def _remember(self, step: Step) -> None:
        self._ended[step.id] = step
        if len(self._ended) > _ENDED_RUNS:
            self._ended.popitem(last=False)

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
                if status is TrajectoryStatus.COMPLETED and one.target is gathering:
                    status = TrajectoryStatus.CANCELLED  # nobody read its stream to the end
            self._close(one, status)
        if step.parent is None:
            self._leave(step, inside)
        if gathering.opened or status is TrajectoryStatus.FAILED:
            gathering.end(status, error, output, inputs)
        gathering.done = True

    def _leave(self, root: Step, inside: list[Step]) -> None:
        root.over = True
        with self._gate:
            for one in (root, *inside):
                if self._steps.pop(one.id, None) is not None:
                    self._remember(one)
        root.family.clear()


def _name(serialized: Any, told: Mapping[str, Any]) -> str | None:
    """Give the name of what runs: as the program named it, or its class."""
    name = reading.label(told.get("name"))
    if name is None and isinstance(serialized, Mapping):
        path = serialized.get("id")
        last = path[-1] if isinstance(path, list) and path else None
        name = reading.label(serialized.get("name")) or reading.label(last)
    return name
