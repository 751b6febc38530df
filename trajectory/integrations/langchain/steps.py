"""One of LangChain's runs while it lasts: a chain, a model's call, a tool, a retriever."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from trajectory.draft import ToolCallDraft
    from trajectory.integrations.langchain.gathering import Gathering
    from trajectory.integrations.langchain.reading import Said

CHAIN, MODEL, TOOL, RETRIEVER = "chain", "model", "tool", "retriever"

_PIECES = 100_000


class Step:
    """A run of LangChain's, and where what happens in it goes.

    `gathering` is there where a trajectory begins with it; `target` is that which a model's,
    tool's or retriever's call belongs to. All steps below a root share its lock and its family.
    """

    __slots__ = (
        "began",
        "began_at",
        "call",
        "call_id",
        "family",
        "first_token",
        "gathering",
        "heard",
        "id",
        "inputs",
        "is_node",
        "kind",
        "lock",
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
        self.waits_for_inputs = _is_placeholder(inputs)
        """A chain that streams tells its inputs when it ends."""
        self.began = perf_counter()
        self.began_at = datetime.now(UTC)
        self.gathering: Gathering | None = None
        self.target: Gathering | None = None
        self.call: ToolCallDraft | None = None
        self.call_id: str | None = None
        self.heard: list[Said] = []
        self.pieces: list[str] = []
        self.first_token: float | None = None
        self.over = False
        self.root: Step = self if parent is None else parent.root
        self.lock: threading.Lock = threading.Lock() if parent is None else parent.root.lock
        self.family: dict[UUID, Step] = {} if parent is None else parent.root.family
        """All that have not ended, from the root on."""

    @property
    def elapsed_ms(self) -> float:
        """How long it has taken so far."""
        return (perf_counter() - self.began) * 1000

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

    def let_go(self) -> None:
        """Hold nothing of what the program handed over."""
        self.inputs, self.metadata, self.tags = None, {}, []
        self.heard, self.pieces, self.call = [], [], None


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


def beneath_tool(step: Step) -> Step | None:
    """Give the step that is the first inside of a tool, where `step` is in one: it or one above.

    None where a trajectory begins in between, or with the tool itself.
    """
    below, at = step, step.parent
    while at is not None and below.gathering is None:
        if at.kind == TOOL:
            return below if at.gathering is None else None
        below, at = at, at.parent
    return None


def _is_placeholder(inputs: Any) -> bool:
    if not isinstance(inputs, dict) or len(inputs) != 1:
        return False
    held = inputs.get("input")
    return isinstance(held, str) and not held
