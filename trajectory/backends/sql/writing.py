"""How a batch is written: one algorithm, which does no I/O itself.

`write_steps` yields what the database must do and is sent the answers, so the same code runs in one
hop on SQLite's thread and with awaits on Postgres. A transport wraps it in one transaction.

The hot path inserts and compares nothing. A key that is taken makes the database raise; then the
transport rolls back and runs the steps again, careful: they look at what is stored first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from trajectory.backend import Batch
from trajectory.backends.sql.rows import (
    CHILD_TABLES,
    as_trajectory,
    as_turns,
    bound,
    fact_row,
    fact_table,
    fields,
    trajectory_rows,
    turn_rows,
)
from trajectory.backends.sql.statements import TURNS, Row, Select, Statement, Statements
from trajectory.door import Value
from trajectory.errors import ConflictError, TurnKey
from trajectory.merge import (
    bare_trajectory,
    ended_trajectory,
    merge_trajectory,
    orphan,
    same_turn,
    with_fact,
)
from trajectory.models import Fact, Question, Trajectory, Turn, Violation
from trajectory.values import FrozenDict, FrozenList

CHUNK = 500
"""Keys in one SELECT; databases limit the parameters of a statement."""

_SIZED = frozenset({*CHILD_TABLES, "metadata", "error"})
_CONTAINERS = frozenset({FrozenDict, FrozenList, Question, Violation})

LARGE = 256 * 1024
"""From so many bytes on, making a batch's rows takes milliseconds."""

_T = TypeVar("_T")


class Do(NamedTuple):
    """Run a statement for each row; nothing is sent back."""

    statement: Statement
    rows: Sequence[Row]


Step = Do | Select
"""What the database must do; a `Select` wants its rows sent back."""

Steps = Generator[Step, Any, _T]


class KnownIds:
    """Trajectories that are known to be stored: so many, and then the oldest are forgotten."""

    def __init__(self, limit: int = 10_000) -> None:
        self._ids: OrderedDict[UUID, None] = OrderedDict()
        self._limit = limit

    def __contains__(self, id_: UUID) -> bool:
        return id_ in self._ids

    def add(self, ids: Iterable[UUID]) -> None:
        """Remember what has committed."""
        for id_ in ids:
            self._ids[id_] = None
            self._ids.move_to_end(id_)
        while len(self._ids) > self._limit:
            self._ids.popitem(last=False)

    def forget(self) -> None:
        """Forget all: somebody else has deleted some."""
        self._ids.clear()


@dataclass
class Written:
    """What a transaction did; true once it has committed."""

    trajectories: list[UUID] = field(default_factory=list)
    differing: list[tuple[UUID, tuple[str, ...]]] = field(default_factory=list)


def is_large(batch: Batch) -> bool:
    """Say whether a batch is larger than `LARGE`, roughly, and without a look at all of it."""
    size = 0
    values: list[Any] = [*batch.starts, *batch.facts, *batch.ends]
    for turn in batch.turns:
        size += 256 + len(turn.prompt) + len(turn.response)
        given = turn.__pydantic_fields_set__
        if not _SIZED.isdisjoint(given):
            values += [getattr(turn, name) for name in _SIZED & given]
    while size < LARGE and values:
        value = values.pop()
        size += 16
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, Value):
            for each in value.__dict__.values():
                if each.__class__ is str:
                    size += len(each)
                elif each.__class__ in _CONTAINERS:
                    values.append(each)
        elif isinstance(value, dict):
            size += 16 * len(value)
            values += value.values()
        elif isinstance(value, list | tuple):
            values += value
    return size >= LARGE


def write_steps(
    statements: Statements, batch: Batch, known: KnownIds, *, careful: bool
) -> Steps[Written]:
    """Write a batch.

    Raises `ConflictError` for keys that are taken by another content, and `BatchRejectedError` for
    facts whose turn is unknown; the transport rolls back.
    """
    written = Written()
    yield from _trajectories(statements, batch, known, written)
    turns: Sequence[Turn] = batch.turns
    facts: Sequence[Fact] = batch.facts
    if careful:
        turns, facts = yield from _new(statements, batch)
    for insert, rows in turn_rows(statements, turns):
        yield Do(insert, rows)
    for table in {fact_table(fact): None for fact in facts}:
        rows_ = [fact_row(fact) for fact in facts if fact_table(fact) is table]
        yield Do(*bound(statements, table, rows_))
    return written


def _trajectories(
    statements: Statements, batch: Batch, known: KnownIds, written: Written
) -> Steps[None]:
    """Insert or merge what is heard of trajectories: starts, ends, and parents of turns."""
    news: list[Trajectory] = [*batch.starts]
    parents = {start.id for start in batch.starts}
    for turn in batch.turns:
        if turn.trajectory_id not in known and turn.trajectory_id not in parents:
            news.append(bare_trajectory(turn))
            parents.add(turn.trajectory_id)
    bare = {each.id for each in news[len(batch.starts) :]}
    news.extend(ended_trajectory(end) for end in batch.ends)
    if not news:
        return
    ids = list(dict.fromkeys(each.id for each in news))
    stored: dict[UUID, Trajectory] = {}
    for chunk in _chunks(ids):
        select = statements.trajectories(chunk)
        rows = yield select
        stored.update((row["id"], as_trajectory(row)) for row in select.mappings(rows))
    merged = dict(stored)
    for each in news:
        if each.id not in merged:
            merged[each.id] = each
        elif each.id not in bare or each.status is not None:  # a bare parent says nothing new
            merged[each.id], differing = merge_trajectory(merged[each.id], each)
            if differing:
                written.differing.append((each.id, differing))
    new = [each for id_, each in merged.items() if id_ not in stored]
    if new:
        yield Do(*trajectory_rows(statements, new))
    for id_, before in stored.items():
        if merged[id_] != before:
            yield _update(statements, before, merged[id_])
    written.trajectories = ids


def _update(statements: Statements, before: Trajectory, after: Trajectory) -> Do:
    old, new = fields(before), fields(after)
    changed = {name: value for name, value in new.items() if old.get(name) != value}
    update = statements.update_trajectory(frozenset(changed))
    values = [*(changed[name] for name in update.columns[:-1]), after.id]
    return Do(update, [update.bind(values)])


def _new(statements: Statements, batch: Batch) -> Steps[tuple[list[Turn], list[Fact]]]:
    """Leave out what is stored already; refuse what is stored with another content."""
    stored = yield from _stored_turns(
        statements, [*(turn.key for turn in batch.turns), *(fact.key for fact in batch.facts)]
    )
    conflicts: list[TurnKey] = []
    turns: list[Turn] = []
    for turn in batch.turns:
        before = stored.get(turn.key)
        if before is None:
            turns.append(turn)
            stored[turn.key] = turn
        elif not same_turn(before, turn):
            conflicts.append(turn.key)
    facts: list[Fact] = []
    for fact in batch.facts:
        before = stored.get(fact.key)
        if before is None:
            raise orphan(fact)
        after = with_fact(before, fact)
        if after is None:
            conflicts.append(fact.key)
        elif after is not before:
            facts.append(fact)
            stored[fact.key] = after
    if conflicts:
        raise ConflictError(conflicts)
    return turns, facts


def _stored_turns(statements: Statements, keys: Iterable[TurnKey]) -> Steps[dict[TurnKey, Turn]]:
    stored: dict[TurnKey, Turn] = {}
    for chunk in _chunks(list(dict.fromkeys(keys))):
        select = statements.of_turns(TURNS, chunk)
        rows = yield select
        found = select.mappings(rows)
        if not found:
            continue
        children = {}
        for name, table in CHILD_TABLES.items():
            select = statements.of_turns(table, chunk)
            rows = yield select
            children[name] = select.mappings(rows)
        stored.update((turn.key, turn) for turn in as_turns(found, children))
    return stored


def _chunks(keys: Sequence[_T]) -> Iterable[Sequence[_T]]:
    return (keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK))
