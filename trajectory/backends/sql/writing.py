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
from trajectory.backends.sql.statements import TURNS, Insert, Row, Select, Statements
from trajectory.errors import BatchRejectedError, ConflictError, TurnKey
from trajectory.merge import (
    bare_trajectory,
    ended_trajectory,
    merge_trajectory,
    same_finding,
    same_turn,
)
from trajectory.models import Fact, Question, Trajectory, Turn, in_order, numbered

CHUNK = 500
"""Keys in one SELECT; databases limit the parameters of a statement."""

_T = TypeVar("_T")


class Do(NamedTuple):
    """Run a statement for each row; nothing is sent back."""

    statement: Insert
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
            raise _orphan(fact)
        name = "questions" if isinstance(fact.finding, Question) else "violations"
        placed = list(numbered(getattr(before, name)))
        taken = [
            finding
            for position, finding in placed
            if (position, finding.source) == (fact.position, fact.finding.source)
        ]
        if not taken:
            facts.append(fact)
            both = in_order([*placed, (fact.position, fact.finding)])
            stored[fact.key] = before.replace(**{name: both})
        elif not same_finding(taken[0], fact.finding):
            conflicts.append(fact.key)
    if conflicts:
        raise ConflictError(conflicts)
    return turns, facts


def _orphan(fact: Fact) -> BatchRejectedError:
    return BatchRejectedError(
        f"a fact for turn {fact.trajectory_id}/{fact.turn_number}, which is not stored; log the "
        f"turn first"
    )


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
