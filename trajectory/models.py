"""What is recorded: frozen values, validated once, when they are made (see `trajectory.door`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import AfterValidator, Field

from trajectory.door import (
    Amount,
    Count,
    IndexedLabel,
    Instant,
    Label,
    Number,
    Object,
    Parts,
    Position,
    Source,
    TurnNumber,
    Value,
    no_metadata,
    now_utc,
)
from trajectory.errors import TurnKey
from trajectory.ids import uuid7
from trajectory.shortcut import Shortcut

AGENT = "agent"
"""The source of what the agent says itself."""

LATE_POSITION = 2**40
"""From here on lie the positions of the agent's findings that are logged after their turn."""

_CHILDREN = frozenset({"questions", "violations", "messages", "tool_calls"})


class TrajectoryStatus(StrEnum):
    """Where a trajectory stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class EffortLevel(StrEnum):
    """How much thought a question asks of the user."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Severity(StrEnum):
    """How bad it is that a preference was broken."""

    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"


class Role(StrEnum):
    """Who speaks in a message."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Message(Value):
    """One message inside a turn that has more than a prompt and a response.

    `content` is text, or a list of parts (JSON) where the format has parts. `call_id` is that of
    the `ToolCall` which a message of the role `tool` answers.
    """

    role: Role
    content: str | Parts | None = None
    call_id: Label | None = None
    reasoning: str | None = None
    model_name: Label | None = None
    stop_reason: Label | None = None
    usage: Any = None
    token_ids: Any = None
    logprobs: Any = None
    created_at: Instant | None = None

    _json_fields = frozenset({"content", "usage", "token_ids", "logprobs"})
    _content_fields = frozenset({"content", "reasoning", "usage", "token_ids", "logprobs"})


class ToolCall(Value):
    """A tool that the agent called.

    `arguments` is the text as the model wrote it, byte for byte: re-dumped JSON would change
    training tokens. `message_position` is the index of the message that made the call.
    """

    tool_name: Label
    arguments: str | None = None
    result: str | None = None
    call_id: Label | None = None
    message_position: Position | None = None
    is_error: bool | None = None
    latency_ms: Amount | None = None
    started_at: Instant | None = None

    _content_fields = frozenset({"arguments", "result"})


class Question(Value):
    """A question the agent asked in a response.

    `source` says who found it. `position` orders the questions of one source within a turn, and
    names the question there; left out, it is the first free place in `Turn.questions`, or the time
    for one logged later. A position that the agent gives to one logged later counts from
    `LATE_POSITION`, so it can't be mistaken for one of the turn's own when the turn comes again.
    """

    question_text: str
    effort_level: EffortLevel
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    source: Source = AGENT
    position: Position | None = None
    created_at: Instant | None = None

    _content_fields = frozenset({"question_text"})


class Violation(Value):
    """A user preference that a response broke. `source` and `position`: as for `Question`."""

    preference_name: IndexedLabel
    expected: str | None = None
    actual: str | None = None
    severity: Severity
    reason: str | None = None
    source: Source = AGENT
    position: Position | None = None
    created_at: Instant | None = None

    _content_fields = frozenset({"expected", "actual", "reason"})


Finding = TypeVar("Finding", Question, Violation)


def _distinct(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    taken = set()
    for finding in findings:
        key = finding.source, finding.position
        if finding.position is not None and key in taken:
            raise ValueError(
                f"position {finding.position} is given twice by one source; leave it out or change "
                f"it"
            )
        taken.add(key)
    return findings


class Turn(Value):
    """One exchange between a user and an agent. Named by `trajectory_id` and `turn_number`.

    Times are in milliseconds, costs in US dollars. `token_count` is the total, for when only one
    figure is known. `created_at` is an aware datetime, now unless given.
    """

    trajectory_id: UUID
    turn_number: TurnNumber
    prompt: str
    response: str
    token_count: Count | None = None
    latency_ms: Amount | None = None
    created_at: Instant = Field(default_factory=now_utc)
    model_name: Label | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    cost_usd: Amount | None = None
    stop_reason: Label | None = None
    error: str | None = None
    reward: Number | None = None
    is_copied_context: bool | None = None
    metadata: Object = Field(default_factory=no_metadata)
    questions: Annotated[tuple[Question, ...], AfterValidator(_distinct)] = ()
    violations: Annotated[tuple[Violation, ...], AfterValidator(_distinct)] = ()
    messages: tuple[Message, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()

    _json_fields = frozenset({"metadata"})
    _child_fields = _CHILDREN
    _content_fields = frozenset({"prompt", "response", "error", "metadata"})

    def __init__(self, /, **fields: Any) -> None:
        if self.__class__ is not Turn or not _SHORTCUT.fill(self, fields):
            super().__init__(**fields)

    @property
    def key(self) -> TurnKey:
        """What names the turn: (trajectory id, turn number)."""
        return self.trajectory_id, self.turn_number


_SHORTCUT = Shortcut(Turn, now="created_at")


def turn_of(fields: dict[str, Any]) -> Turn:
    """Make `Turn(**fields)` of fields that nobody else holds: not to copy them saves a fifth."""
    turn = object.__new__(Turn)
    return turn if _SHORTCUT.fill(turn, fields) else Turn(**fields)


class Trajectory(Value):
    """One execution of an agent.

    `id` is a new UUIDv7 unless given; `run_id` is a label of the caller's. `status` is None where
    only turns are known of it.
    """

    id: UUID = Field(default_factory=uuid7)
    spec_id: IndexedLabel | None = None
    agent_name: IndexedLabel | None = None
    agent_version: Label | None = None
    run_id: IndexedLabel | None = None
    session_id: IndexedLabel | None = None
    user_id: IndexedLabel | None = None
    parent_trajectory_id: UUID | None = None
    root_trajectory_id: UUID | None = None
    status: TrajectoryStatus | None = TrajectoryStatus.RUNNING
    error: str | None = None
    reward: Number | None = None
    system_prompt: str | None = None
    tools: Any = None
    tags: Any = None
    source_format: Label | None = None
    created_at: Instant = Field(default_factory=now_utc)
    ended_at: Instant | None = None
    metadata: Object = Field(default_factory=no_metadata)

    _json_fields = frozenset({"tools", "tags", "metadata"})
    _content_fields = frozenset({"system_prompt", "error", "tools", "tags", "metadata"})


class TrajectoryEnd(Value):
    """How and when a trajectory ended."""

    trajectory_id: UUID
    status: TrajectoryStatus
    ended_at: Instant = Field(default_factory=now_utc)
    error: str | None = None
    reward: Number | None = None

    _content_fields = frozenset({"error"})


class Fact(Value):
    """A question or violation that is logged later than its turn."""

    trajectory_id: UUID
    turn_number: TurnNumber
    finding: Question | Violation

    @property
    def key(self) -> TurnKey:
        """What names the turn it belongs to."""
        return self.trajectory_id, self.turn_number

    @property
    def position(self) -> int:
        """Its place among the findings of its source in that turn, as it is stored."""
        place = self.finding.position or 0
        if self.finding.source == AGENT and place < LATE_POSITION:
            return LATE_POSITION + place
        return place


Logged = Trajectory | Turn | Fact | TrajectoryEnd
"""What a logger takes: turns, and what travels with them."""


def numbered(findings: Iterable[Finding]) -> Iterator[tuple[int, Finding]]:
    """Give each question or violation of a turn its position: its own, or the first that is free.

    No two of one source have the same.
    """
    findings = tuple(findings)
    taken = {(f.source, f.position) for f in findings if f.position is not None}
    free: dict[str, int] = {}
    for finding in findings:
        position = finding.position
        if position is None:
            source = finding.source
            position = free.get(source, 0)
            while taken and (source, position) in taken:
                position += 1
            free[source] = position + 1
        yield position, finding


def in_order(placed: Iterable[tuple[int, Finding]]) -> tuple[Finding, ...]:
    """Order findings by (position, source), and leave out the positions that `numbered` restores.

    So a turn that was logged without positions is read back equal.
    """
    places: dict[str, int] = {}
    ordered = []
    for position, finding in sorted(placed, key=lambda pair: (pair[0], pair[1].source)):
        place = places.get(finding.source, 0)
        places[finding.source] = place + 1
        told = None if position == place else position
        ordered.append(finding if finding.position == told else finding.replace(position=told))
    return tuple(ordered)
