"""What is open in a trace: spans, and the runs and agents that they belong to."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trajectory.integrations.openai_agents.gathering import MAX_NOTES, Part
from trajectory.models import TrajectoryStatus


class Outcome(NamedTuple):
    """How something ended."""

    status: TrajectoryStatus = TrajectoryStatus.COMPLETED
    error: str | None = None


@dataclass(slots=True, eq=False)
class LiveRun:
    """One call of the runner: the agents that had a part in it, one after the other.

    `inside` is the part of another agent that it serves, as a tool or a guardrail. A run is told by
    a task span; where those are switched off, by the spans of its agents alone.
    """

    is_nested: bool
    has_task: bool
    inside: Part | None
    purpose: dict[str, Any]
    parts: list[Part] = field(default_factory=list)
    early: list[Callable[[Part], None]] = field(default_factory=list)
    """What happened before the first agent began."""
    is_done: bool = False

    def begin(self, part: Part) -> None:
        """Begin the part of an agent."""
        self.parts.append(part)
        for take in self.early:
            take(part)
        self.early.clear()

    def take(self, take: Callable[[Part], None]) -> None:
        """Take what no agent's span encloses: it belongs to the first."""
        if self.parts:
            take(self.parts[0])
        elif len(self.early) < MAX_NOTES:
            self.early.append(take)


class Scope:
    """An open span, or the trace itself. It is plain, since one is made for every span."""

    __slots__ = ("above", "handled", "kind", "name", "part", "run", "waiting")

    def __init__(self, kind: str, name: Any = None, above: Scope | None = None) -> None:
        self.kind = kind
        self.name = name
        self.above = above
        self.run: LiveRun | None = None if above is None else above.run
        self.part: Part | None = None if above is None else above.part
        self.handled = id(sys.exc_info()[1])
        """The exception that was being handled when it began: not its own."""
        self.waiting: list[LiveRun] = []
        """Runs without a task span whose last agent has handed over."""

    def failure(self) -> BaseException | None:
        """Give the exception that ends it, if one does."""
        error = sys.exc_info()[1]
        return None if error is None or id(error) == self.handled else error


def outcome_of(failure: BaseException | None, text: str | None) -> Outcome:
    """Say how something ended: by its exception, and what the SDK lets be told of it."""
    if failure is None:
        return Outcome() if text is None else Outcome(TrajectoryStatus.FAILED, text)
    name = type(failure).__name__
    if isinstance(failure, asyncio.CancelledError | KeyboardInterrupt | GeneratorExit):
        return Outcome(TrajectoryStatus.CANCELLED, name)
    if text is None or text.partition(": ")[0] == name:
        return Outcome(TrajectoryStatus.FAILED, text or name)
    return Outcome(TrajectoryStatus.FAILED, f"{name}: {text}")


def error_of_end(status: TrajectoryStatus, error: str | None) -> str | None:
    """Give the error of a trajectory that ends so: of a cancellation, the turn's error tells."""
    return None if status is TrajectoryStatus.CANCELLED else error
