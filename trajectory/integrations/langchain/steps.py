"""One of LangChain's runs while it lasts: a chain, a model's call, a tool, a retriever."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from trajectory.integrations.langchain.line import Line

if TYPE_CHECKING:
    from trajectory.draft import ToolCallDraft
    from trajectory.integrations.langchain.gathering import Gathering
    from trajectory.integrations.langchain.reading import Said

CHAIN, MODEL, TOOL, RETRIEVER = "chain", "model", "tool", "retriever"

_PIECES = 100_000


Ids = tuple[UUID, UUID]
"""Of a trajectory, and of its root."""


class Over:
    """What is kept of a trajectory that has ended, for what begins inside of it later."""

    __slots__ = ("ids",)

    def __init__(self, ids: Ids | None) -> None:
        self.ids = ids
        """None where nothing was recorded of it."""


class Step:
    """A run of LangChain's, and where what happens in it goes.

    `gathering` is there while a trajectory that began with it lasts, and `over` from then on;
    `target` is that which a model's, tool's or retriever's call belongs to. All steps below a root
    share its line and its family. `above` is what a root is the child of.
    """

    __slots__ = (
        "above",
        "began",
        "began_at",
        "call",
        "call_id",
        "ended",
        "family",
        "first_token",
        "gathering",
        "heard",
        "id",
        "inputs",
        "is_graph",
        "is_node",
        "kind",
        "line",
        "metadata",
        "name",
        "over",
        "parent",
        "pieces",
        "root",
        "tags",
        "target",
        "waits_for_inputs",
    )

    def __init__(
        self,
        kind: str,
        id: UUID,  # noqa: A002
        parent: Step | None,
        *,
        line: Line,
        above: Ids | None = None,
        name: str | None,
        inputs: Any,
        told: Mapping[str, Any],
    ) -> None:
        tags, metadata = told.get("tags"), told.get("metadata")
        self.kind = kind
        self.id = id
        self.parent = parent
        self.name = name
        self.inputs = inputs
        self.tags: list[Any] = tags if isinstance(tags, list) else []
        self.metadata: Mapping[Any, Any] = metadata if isinstance(metadata, Mapping) else {}
        self.is_node = is_node(self.tags)
        self.is_graph = False
        self.waits_for_inputs = _is_placeholder(inputs)
        """A chain that streams tells its inputs when it ends."""
        self.began = perf_counter()
        self.began_at = datetime.now(UTC)
        self.ended: float | None = None
        self.gathering: Gathering | None = None
        self.target: Gathering | None = None
        self.call: ToolCallDraft | None = None
        self.call_id: str | None = None
        self.heard: list[Said] = []
        self.pieces: list[str] = []
        self.first_token: float | None = None
        self.over: Over | None = None
        self.line = line
        self.above = above
        self.root: Step = self
        self.family: dict[UUID, Step] = {}
        """All that have not ended, from the root on."""

    @property
    def elapsed_ms(self) -> float:
        """How long it took, or has taken so far."""
        return ((self.ended or perf_counter()) - self.began) * 1000

    def join(self, parent: Step | None) -> None:
        """Be inside of another step, or a root."""
        self.parent = parent
        self.root = self if parent is None else parent.root
        self.family = {} if parent is None else parent.root.family
        self.family[self.id] = self

    def token(self, text: Any) -> None:
        """Keep a piece of a streamed answer: it is all there is of one that is abandoned."""
        if self.first_token is None:
            self.first_token = perf_counter()
        if isinstance(text, str) and len(self.pieces) < _PIECES:
            self.pieces.append(text)

    def is_above(self, other: Step) -> bool:
        """Say whether another step is somewhere inside of this one."""
        at = other.parent
        while at is not None and at is not self:
            at = at.parent
        return at is self

    def is_open_below(self, above: Step) -> bool:
        """Say whether all steps between this one and one above it still run."""
        at = self.parent
        while at is not None and at is not above:
            if at.id not in self.family:
                return False
            at = at.parent
        return at is above

    def let_go(self) -> None:
        """Hold nothing of what the program handed over, nor what was made of it."""
        self.inputs, self.metadata, self.tags = None, {}, []
        self.heard, self.pieces, self.call, self.target = [], [], None, None


def is_node(tags: list[Any]) -> bool:
    """Say whether a run with these tags is a node of a graph: LangGraph numbers its steps so."""
    return any(isinstance(tag, str) and tag.startswith("graph:step:") for tag in tags)


def outer(step: Step) -> Gathering | None:
    """Find the trajectory around a step."""
    at = step.parent
    while at is not None:
        if at.gathering is not None:
            return at.gathering
        at = at.parent
    return None


def over_around(step: Step) -> Over | None:
    """Find the trajectory around a step if that has ended."""
    at = step.parent
    while at is not None and at.gathering is None:
        if at.over is not None:
            return at.over
        at = at.parent
    return None


def beneath_tool(step: Step) -> Step | None:
    """Give the step that is the first inside of a tool, where `step` is in one: it or one above.

    None where a trajectory begins in between, or with the tool itself.
    """
    below, at = step, step.parent
    while at is not None and below.gathering is None:
        if at.kind == TOOL:
            if at.gathering is not None:
                return None
            # Of one that has ended nobody would end the trajectory.
            return below if below.id in below.family else step
        below, at = at, at.parent
    return None


def _is_placeholder(inputs: Any) -> bool:
    if not isinstance(inputs, dict) or len(inputs) != 1:
        return False
    held = inputs.get("input")
    return isinstance(held, str) and not held
