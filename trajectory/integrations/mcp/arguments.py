"""What the tools take: filters like those of the command line, cursors and limits."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from trajectory.errors import ConfigurationError
from trajectory.models import AGENT
from trajectory.query import TrajectoryQuery, TurnQuery
from trajectory.when import instant

MAX_ROWS = 100
"""So many trajectories, turns or scores are given at once, at most."""

_LABELS = (
    *("spec_id", "agent_name", "run_id", "session_id", "user_id"),
    *("parent_trajectory_id", "status"),
)
_OF_TURNS = ("text", "tool", "effort", "severity", "preference")
_WHEN = "a date, a time (UTC if it names no zone) or an age such as 30d or 12h"

MAX_TEXT: Final = 1000
"""So many characters a text that is looked for has, at most: the longer, the slower a search."""

_Text = Annotated[str, Field(max_length=MAX_TEXT)]
_Label = Annotated[str, Field(max_length=2000)]
_Source = Annotated[str, Field(min_length=1, max_length=255)]
Id = Annotated[UUID, Field(description="The id of a trajectory.")]
Number = Annotated[int, Field(ge=0, le=2**31 - 1, description="The number of a turn.")]


class Arguments(BaseModel):
    """The arguments of a tool; others than these are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Page(Arguments):
    """Which part of an answer to give."""

    cursor: Annotated[
        str | None,
        Field(
            max_length=600,
            description=(
                "Go on behind this place: the `next_cursor` of the answer before, unchanged, with "
                "the same other arguments."
            ),
        ),
    ] = None

    def question(self) -> str:
        """Write down what is asked, whatever the part: the same for all pages of an answer."""
        return self.model_dump_json(exclude={"cursor", "limit"}, exclude_defaults=True)


class Filters(Arguments):
    """Which trajectories or turns are meant. All that is given must be so."""

    spec_id: Annotated[_Label | None, Field(description="Only of this spec.")] = None
    agent_name: Annotated[_Label | None, Field(description="Only of this agent.")] = None
    run_id: Annotated[_Label | None, Field(description="Only with this run id.")] = None
    session_id: Annotated[_Label | None, Field(description="Only of this session.")] = None
    user_id: Annotated[_Label | None, Field(description="Only of this user.")] = None
    parent_trajectory_id: Annotated[
        UUID | None, Field(description="Only the children of this trajectory.")
    ] = None
    status: Annotated[
        Literal["running", "completed", "failed", "cancelled"] | None,
        Field(description="Only those that stand so."),
    ] = None
    since: Annotated[
        str | None, Field(max_length=60, description=f"Only from then on: {_WHEN}.")
    ] = None
    until: Annotated[
        str | None, Field(max_length=60, description=f"Only from before: {_WHEN}.")
    ] = None
    text: Annotated[
        _Text | None,
        Field(description="Only with this text in a prompt or response, in this case of letters."),
    ] = None
    tool: Annotated[_Label | None, Field(description="Only with a call of this tool.")] = None
    effort: Annotated[
        Literal["low", "medium", "high"] | None,
        Field(description="Only with a question of this effort."),
    ] = None
    severity: Annotated[
        Literal["minor", "major", "critical"] | None,
        Field(description="Only with a violation as bad as this."),
    ] = None
    preference: Annotated[
        _Label | None, Field(description="Only with a violation of this preference.")
    ] = None
    metadata: Annotated[
        dict[str, Any] | None,
        Field(
            max_length=20,
            description=(
                "Only trajectories with these values in their metadata, by key or by keys joined "
                'with dots: {"branch.name": "main"}. Keys that have dots: a JSON list of keys, as '
                'in {"[\\"a.b\\", \\"c\\"]": 1}.'
            ),
        ),
    ] = None

    def trajectories(self, now: datetime, **more: Any) -> TrajectoryQuery:
        """Ask for the trajectories, created in the range of time; `more` are fields of the query.

        What is said of turns is so of one turn.
        """
        turn = self._given(_OF_TURNS)
        if turn:
            more["turn"] = TurnQuery(**turn)
        return TrajectoryQuery(**self._labels(), **self._range(now), **more)

    def turns(self, now: datetime, **more: Any) -> TurnQuery:
        """Ask for the turns, created in the range of time; `more` are fields of the query."""
        labels = self._labels()
        if labels:
            more["trajectory"] = TrajectoryQuery(**labels)
        return TurnQuery(**self._given(_OF_TURNS), **self._range(now), **more)

    def parents(self) -> TrajectoryQuery:
        """Ask for trajectories by what is said of themselves alone, whenever they were created."""
        return TrajectoryQuery(**self._labels())

    def own_turns(self, now: datetime) -> TurnQuery:
        """Ask for turns by what is said of themselves alone."""
        return TurnQuery(**self._given(_OF_TURNS), **self._range(now))

    def _given(self, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def _labels(self) -> dict[str, Any]:
        given = self._given(_LABELS)
        if self.metadata:
            given["metadata"] = {_path(key): value for key, value in self.metadata.items()}
        return given

    def _range(self, now: datetime) -> dict[str, datetime]:
        return {
            name: instant(text, now, name) for name, text in self._given(("since", "until")).items()
        }


def _path(key: str) -> tuple[str, ...]:
    if not key.startswith("["):
        return tuple(key.split("."))
    try:
        keys = json.loads(key)
    except (ValueError, RecursionError):
        keys = None
    if not isinstance(keys, list) or not keys or not all(isinstance(each, str) for each in keys):
        raise ConfigurationError(
            "a key of metadata begins with a bracket and is no JSON list of keys; write "
            '["a.b", "c"], or keys joined with dots'
        )
    return tuple(keys)


class _Rows(Filters, Page):
    limit: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_ROWS,
            description="At most so many. An answer may have fewer: go on while it has a cursor.",
        ),
    ] = 20


class _Judged(Arguments):
    source: Annotated[
        _Source,
        Field(description="Whose questions and violations count: agent, heuristic/1, judge:..."),
    ] = AGENT


class ListTrajectories(_Rows, _Judged):
    """The arguments of `list_trajectories`."""


class SearchTurns(_Rows):
    """The arguments of `search_turns`."""


class ShowTrajectory(Page):
    """The arguments of `show_trajectory`."""

    trajectory_id: Id


class ShowTurn(Page):
    """The arguments of `show_turn`."""

    trajectory_id: Id
    turn_number: Number


class ReadText(Arguments):
    """The arguments of `read_text`."""

    trajectory_id: Id
    turn_number: Annotated[
        int | None,
        Field(
            ge=0,
            le=2**31 - 1,
            description="The number of the turn; leave it out for a text of the trajectory itself.",
        ),
    ] = None
    path: Annotated[
        str,
        Field(
            max_length=80,
            pattern=r"^[a-z_]+(/[0-9]{1,9}/[a-z_]+)?$",
            description=(
                "Which text, as `cut` names it: prompt, response, messages/3/content, "
                "tool_calls/0/result, system_prompt..."
            ),
        ),
    ]
    offset: Annotated[
        int, Field(ge=0, le=2**40, description="How many characters to pass over.")
    ] = 0


class ScoreTrajectories(_Rows, _Judged):
    """The arguments of `score_trajectories`."""

    ids: Annotated[
        list[UUID] | None,
        Field(min_length=1, max_length=MAX_ROWS, description="Only these trajectories."),
    ] = None


class Statistics(Filters, _Judged):
    """The arguments of `statistics`."""
