"""What to read: filters, order, cursor and limit as values that know no database.

`matches` says in Python what a filter means; a backend may push it down, and must agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, NamedTuple, Self, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
)

from trajectory.door import Instant, explained
from trajectory.errors import InvalidQueryError
from trajectory.models import (
    EffortLevel,
    Question,
    Severity,
    Trajectory,
    TrajectoryStatus,
    Turn,
    Violation,
)
from trajectory.values import clean_text, freeze_json, same_json

HONOURED_BY_ALL = frozenset({"ids", "since", "until", "descending", "limit", "after"})
"""The fields of a query that every backend applies by itself."""

CROSS_FILTERS = frozenset({"trajectory", "turn"})
"""Those that ask something of the other: of a turn's trajectory, of a trajectory's turns.

`matches` can't know it and passes them over. A backend that names one in `Capabilities.filters`
applies it; else a `TrajectoryStore` does."""

_NOT_INSIDE = ("ids", "descending", "limit", "after", *sorted(CROSS_FILTERS))


class TurnCursor(NamedTuple):
    """The place of a turn in the order of turns: reading goes on behind it."""

    trajectory_id: UUID
    turn_number: int


class TrajectoryCursor(NamedTuple):
    """The place of a trajectory in the order of trajectories: reading goes on behind it."""

    created_at: Instant
    id: UUID


@dataclass(frozen=True, slots=True, eq=False)
class MetadataEquals:
    """A value that must stand at a place in the metadata; JSON types count, as in JSON."""

    path: tuple[str, ...]
    value: Any

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Say whether the value stands there."""
        found: Any = metadata
        for key in self.path:
            if not isinstance(found, Mapping) or key not in found:
                return False
            found = found[key]
        return same_json(found, self.value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MetadataEquals):
            return NotImplemented
        return self.path == other.path and same_json(self.value, other.value)

    def __hash__(self) -> int:
        return hash(self.path)  # of JSON values, not all can be hashed


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")  # noqa: TRY004 - Pydantic wants ValueError
    return clean_text(str(value))  # as it was when what is looked for was stored


def _metadata(value: Any) -> tuple[MetadataEquals, ...] | None:
    if value is None:
        return None
    if isinstance(value, tuple) and all(isinstance(each, MetadataEquals) for each in value):
        return value or None
    if not isinstance(value, Mapping):
        raise ValueError("must be a dict of keys, or of tuples of keys, and their JSON values")  # noqa: TRY004
    wanted = []
    for keys, member in value.items():
        path = (keys,) if isinstance(keys, str) else keys
        if not (isinstance(path, tuple) and path and all(isinstance(key, str) for key in path)):
            raise ValueError("must have keys that are text, or tuples of text that aren't empty")
        wanted.append(MetadataEquals(tuple(map(_text, path)), freeze_json(member)[0]))
    return tuple(wanted) or None


Text = Annotated[str, PlainValidator(_text)]
Metadata = Annotated[tuple[MetadataEquals, ...] | None, PlainValidator(_metadata)]


class _Ids(tuple[UUID, ...]):  # noqa: SLOT001 - the set needs a place
    """Ids, among which one of thousands is found at once."""

    @cached_property
    def _known(self) -> frozenset[UUID]:
        return frozenset(self)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._known


class _Query(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __init__(self, /, **filters: Any) -> None:
        try:
            super().__init__(**filters)
        except ValidationError as error:
            raise InvalidQueryError(explained(type(self).__name__, error)) from None

    ids: Annotated[tuple[UUID, ...], AfterValidator(_Ids)] | None = None
    """Only these trajectories; None: all."""
    since: Instant | None = None
    """Only what was created at this instant or later."""
    until: Instant | None = None
    """Only what was created before this instant."""
    descending: bool = False
    limit: Annotated[int, Field(ge=0)] | None = None
    after: Any = None
    """Only what lies behind this place in the order."""
    metadata: Metadata = None
    """Only where these values stand in the metadata, by key or by a tuple of keys."""

    @property
    def filters(self) -> frozenset[str]:
        """The filters that are set, but for those that every backend applies by itself."""
        return frozenset(
            name
            for name, value in self.__dict__.items()
            if value is not None and name not in HONOURED_BY_ALL
        )

    def without(self, names: frozenset[str]) -> Self:
        """Leave some filters out, or the limit."""
        return self.model_copy(update=dict.fromkeys(names))

    def of(self, id_: UUID) -> Self:
        """Ask whether anything of one trajectory passes: for one that does."""
        return self.model_copy(update={"ids": _Ids((id_,)), "limit": 1})

    def _allows(self, id_: UUID, row: Trajectory | Turn) -> bool:
        return (
            (self.ids is None or id_ in self.ids)
            and (self.since is None or row.created_at >= self.since)
            and (self.until is None or row.created_at < self.until)
            and (
                self.metadata is None
                or all(wanted.matches(row.metadata) for wanted in self.metadata)
            )
        )

    @staticmethod
    def cursor(_row: Any, /) -> Any:
        """Give the place of what was read, for `after`."""
        raise NotImplementedError


_Inner = TypeVar("_Inner", bound=_Query)


def _filters_alone(query: _Inner | None) -> _Inner | None:
    """Refuse what says which part of an answer to give, and in what order."""
    plain = type(query).model_fields if query is not None else {}
    for name in _NOT_INSIDE:
        if name in plain and getattr(query, name) != plain[name].default:
            raise ValueError(f"must have filters alone; leave its {name} out, or give it outside")
    return query


class TurnQuery(_Query):
    """Which turns to read. They come ordered by (`trajectory_id`, `turn_number`)."""

    after: TurnCursor | None = None
    text: Text | None = None
    """Only with this text in the prompt or the response, in this case of letters."""
    tool: Text | None = None
    """Only with a call of this tool."""
    effort: EffortLevel | None = None
    """Only with a question of this level."""
    severity: Severity | None = None
    """Only with a violation as bad as this."""
    preference: Text | None = None
    """Only with a violation of this preference; with `severity`, one that is both."""
    source: Text | None = None
    """Look only at questions and violations by this source; alone: only with one of them."""
    trajectory: Annotated[TrajectoryQuery | None, AfterValidator(_filters_alone)] = None
    """Only turns of trajectories that pass these filters."""

    def matches(self, turn: Turn) -> bool:
        """Say whether a turn passes the filters (order, cursor and limit are not filters).

        What `trajectory` asks for is not looked at.
        """
        return (
            self._allows(turn.trajectory_id, turn)
            and (self.text is None or self.text in turn.prompt or self.text in turn.response)
            and (self.tool is None or any(call.tool_name == self.tool for call in turn.tool_calls))
            and self._finds(turn)
        )

    def _finds(self, turn: Turn) -> bool:
        asks = self.effort is not None
        violates = self.severity is not None or self.preference is not None
        return (
            (not asks or any(map(self._is_question, turn.questions)))
            and (not violates or any(map(self._is_violation, turn.violations)))
            and (
                self.source is None
                or asks
                or violates
                or any(map(self._is_of_source, turn.questions))
                or any(map(self._is_of_source, turn.violations))
            )
        )

    def _is_question(self, question: Question) -> bool:
        return question.effort_level is self.effort and self._is_of_source(question)

    def _is_violation(self, violation: Violation) -> bool:
        return (
            (self.severity is None or violation.severity is self.severity)
            and (self.preference is None or violation.preference_name == self.preference)
            and self._is_of_source(violation)
        )

    def _is_of_source(self, finding: Question | Violation) -> bool:
        return self.source is None or finding.source == self.source

    @staticmethod
    def cursor(turn: Turn, /) -> TurnCursor:
        """Give the place of a turn, for `after`."""
        return TurnCursor(turn.trajectory_id, turn.turn_number)


class TrajectoryQuery(_Query):
    """Which trajectories to read. They come ordered by (`created_at`, `id`)."""

    after: TrajectoryCursor | None = None
    spec_id: Text | None = None
    agent_name: Text | None = None
    run_id: Text | None = None
    session_id: Text | None = None
    user_id: Text | None = None
    parent_trajectory_id: UUID | None = None
    """Only the children of this trajectory."""
    status: TrajectoryStatus | None = None
    """Only those that stand so."""
    turn: Annotated[TurnQuery | None, AfterValidator(_filters_alone)] = None
    """Only trajectories with a turn that passes these filters, all of them at once."""

    def matches(self, trajectory: Trajectory) -> bool:
        """Say whether a trajectory passes the filters (order, cursor and limit are not filters).

        What `turn` asks for is not looked at.
        """
        return self._allows(trajectory.id, trajectory) and all(
            getattr(self, name) in (None, getattr(trajectory, name)) for name in LABELS
        )

    @staticmethod
    def cursor(trajectory: Trajectory, /) -> TrajectoryCursor:
        """Give the place of a trajectory, for `after`."""
        return TrajectoryCursor(trajectory.created_at, trajectory.id)


LABELS = (
    *("spec_id", "agent_name", "run_id", "session_id", "user_id"),
    *("parent_trajectory_id", "status"),
)
"""The fields of a trajectory that must equal those of the query."""

TurnQuery.model_rebuild()  # now that there is a `TrajectoryQuery`

FILTERS = (
    frozenset({*TurnQuery.model_fields, *TrajectoryQuery.model_fields})
    - HONOURED_BY_ALL
    - CROSS_FILTERS
)
"""What `matches` looks at, and `Capabilities.filters` may name, beside `CROSS_FILTERS`."""
