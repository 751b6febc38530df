"""What the tools give: the shapes of their structured answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

NextCursor = Annotated[
    str | None, Field(description="Give it as `cursor` for what follows; null at the end.")
]


class _Shown(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CutText(_Shown):
    """A text that is given in part, or JSON that is left out; `read_text` gives all of it."""

    path: str
    characters: int


class _Cut(_Shown):
    cut: Annotated[
        list[CutText],
        Field(description="Texts that are given in part, and JSON that is left out as null."),
    ]


class ScoreShown(_Shown):
    """How little the agent asked, how well it kept to preferences, and their sum."""

    total: float
    r_proact: float
    r_pers: float


class TrajectoryRow(_Cut):
    """One execution of an agent."""

    id: UUID
    spec_id: str | None
    agent_name: str | None
    agent_version: str | None
    run_id: str | None
    session_id: str | None
    user_id: str | None
    parent_trajectory_id: UUID | None
    root_trajectory_id: UUID | None
    status: Annotated[
        str | None,
        Field(description="`interrupted`: says running, and was silent for an hour."),
    ]
    error: str | None
    reward: float | None
    tags: Any
    source_format: str | None
    created_at: datetime
    ended_at: datetime | None
    metadata: Any
    turns: int
    tokens: int | None
    last_turn_at: datetime | None
    score: ScoreShown


class TrajectoryShown(TrajectoryRow):
    """One execution of an agent, with what it was told at its start."""

    system_prompt: str | None
    tools: Any


class TrajectoryList(_Shown):
    """Trajectories, the newest first."""

    trajectories: list[TrajectoryRow]
    source: Annotated[str, Field(description="Whose questions and violations the scores count.")]
    next_cursor: NextCursor


class CallRow(_Shown):
    """That a tool was called."""

    tool_name: str
    is_error: bool | None
    latency_ms: float | None


class QuestionShown(_Shown):
    """A question the agent asked."""

    question_text: str
    effort_level: str
    confidence: float | None
    source: str


class ViolationShown(_Shown):
    """A preference that was broken."""

    preference_name: str
    expected: str | None
    actual: str | None
    severity: str
    reason: str | None
    source: str


class TurnShown(_Cut):
    """One exchange; of its tool calls, questions and violations the first 10."""

    turn_number: int
    prompt: str
    response: str
    created_at: datetime
    model_name: str | None
    tokens: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    latency_ms: float | None
    stop_reason: str | None
    error: str | None
    reward: float | None
    is_copied_context: bool | None
    metadata: Any
    message_count: int
    tool_call_count: int
    question_count: int
    violation_count: int
    tool_calls: list[CallRow]
    questions: list[QuestionShown]
    violations: list[ViolationShown]


class TrajectoryPage(_Shown):
    """A trajectory and its turns. The trajectory is told with the first turns alone."""

    trajectory: TrajectoryShown | None
    turns: list[TurnShown]
    next_cursor: NextCursor


class MessageShown(_Cut):
    """One message inside a turn."""

    position: int
    role: str
    content: Annotated[Any, Field(description="Text, or a list of parts.")]
    call_id: str | None
    reasoning: str | None
    model_name: str | None
    stop_reason: str | None
    created_at: datetime | None


class CallShown(_Cut):
    """One call of a tool, with its arguments as the model wrote them."""

    position: int
    message_position: int | None
    tool_name: str
    arguments: str | None
    result: str | None
    call_id: str | None
    is_error: bool | None
    latency_ms: float | None
    started_at: datetime | None


class TurnPage(_Shown):
    """A turn, and what was said and called inside it. The turn is told with the first part."""

    turn: TurnShown | None
    messages: list[MessageShown]
    tool_calls: list[CallShown]
    next_cursor: NextCursor


class Excerpt(_Shown):
    """A part of a text: where it begins in it, and how many characters the text has."""

    text: str
    offset: int
    characters: int


class FoundTurn(_Shown):
    """A turn that was found, with what is around the text that was looked for."""

    trajectory_id: UUID
    turn_number: int
    created_at: datetime
    model_name: str | None
    prompt: Excerpt
    response: Excerpt
    tools: Annotated[list[str], Field(description="The first 10 tools that were called.")]


class FoundTurns(_Shown):
    """Turns, those of the newest trajectories first."""

    turns: list[FoundTurn]
    next_cursor: NextCursor


class TextPart(_Shown):
    """A part of a text; JSON is given as its text."""

    text: str
    offset: int
    characters: Annotated[int, Field(description="How many the whole text has.")]
    next_offset: Annotated[
        int | None, Field(description="Give it as `offset` for what follows; null at the end.")
    ]


class ScoreRow(_Shown):
    """How many questions and violations a trajectory has, and what they come to."""

    id: UUID
    low: int
    medium: int
    high: int
    minor: int
    major: int
    critical: int
    r_proact: float
    r_pers: float
    total: float


class ScoreList(_Shown):
    """Scores, those of the newest trajectories first."""

    trajectories: list[ScoreRow]
    missing: Annotated[list[UUID], Field(description="Ids that were asked for and are not there.")]
    source: str
    formula: str
    next_cursor: NextCursor


class Figures(_Shown):
    """What many turns come to."""

    trajectories: int
    statuses: dict[str, int]
    turns: int
    failed_turns: int
    tokens: int | None
    over_time: dict[str, Any]
    latency_ms: dict[str, Any]
    source: str
    questions: dict[str, int]
    violations: dict[str, int]
    tool_calls: int
    tool_errors: int
    agents: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    names_exact: bool
    mean_score: Annotated[
        ScoreShown | None, Field(description="Of all trajectories that pass the filters.")
    ]
