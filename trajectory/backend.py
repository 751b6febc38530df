"""The contract of a storage backend: what the dispatcher and readers may rely on.

**Lifecycle.** The constructor does no I/O. `open` connects and raises what is wrong with the
configuration or the schema; it is a no-op while open. `close` is safe twice, and `open` may follow.

**All or nothing.** When `write` returns, the whole batch is stored, as durably as
`capabilities.survives` says. When it raises, nothing of it is (or, after
`BackendUnavailableError`, nobody knows). A backend with `atomic = TRAJECTORY` promises that for
each trajectory alone, and names in `PartialWriteError` those that are stored.

**Idempotence.** The same batch may come again, whole or cut differently, after an unknown outcome.
A turn or fact that is stored already is no change. Other content under the same key raises
`ConflictError` with all such keys: the turn's own fields and the children that came with it count,
creation times and facts that were logged later don't (`trajectory.merge.same_turn`). Starts and
ends merge into one row in any order (`trajectory.merge.merge_trajectory`). A turn whose trajectory
is unknown gets a bare parent row. A fact whose turn is unknown is rejected.

**Order.** Within a batch: starts, turns, facts, ends. Reads come in the query's total order,
`TurnQuery` by (`trajectory_id`, `turn_number`), `TrajectoryQuery` by (`created_at`, `id`), ids as
unsigned 128-bit numbers; they stream, and hold no more than a page in memory.

**Concurrency.** One `write` at a time (the dispatcher sees to it), beside any number of readers,
which see whole batches only.

**Three methods more, where they apply.** `async survive_power_loss()`: called after `open` where a
logger promises that, of a backend whose capabilities say `PROCESS_CRASH`. `forget()`: called in a
forked child of a backend that was opened; it lets go of connections without closing them.
`only_read()`: called before `open` where nothing will be written; it needs no right to write then.

**Cancellation.** A cancelled `write` must leave the backend usable: the next `write` repeats the
batch by key.

**Errors.** `BackendUnavailableError`: try again. `BatchRejectedError`: don't, the content is
refused. Any other `BackendError`: stop. Foreign exceptions are translated here, `from` the
original, and no message holds content or a password.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable
from uuid import UUID

from trajectory.models import Fact, Trajectory, TrajectoryEnd, Turn
from trajectory.query import TrajectoryQuery, TurnQuery


@dataclass(frozen=True, slots=True)
class Batch:
    """What one flush writes, each part in order of acceptance. A single write is a batch of one."""

    starts: tuple[Trajectory, ...] = ()
    turns: tuple[Turn, ...] = ()
    facts: tuple[Fact, ...] = ()
    ends: tuple[TrajectoryEnd, ...] = ()

    def __repr__(self) -> str:
        # What is in it is not for logs.
        return (
            f"<Batch {len(self.starts)} starts, {len(self.turns)} turns, {len(self.facts)} facts, "
            f"{len(self.ends)} ends>"
        )

    def __len__(self) -> int:
        return len(self.starts) + len(self.turns) + len(self.facts) + len(self.ends)

    def without(self, done: frozenset[UUID]) -> Batch:
        """Leave out all that belongs to some trajectories."""
        return Batch(
            tuple(start for start in self.starts if start.id not in done),
            tuple(turn for turn in self.turns if turn.trajectory_id not in done),
            tuple(fact for fact in self.facts if fact.trajectory_id not in done),
            tuple(end for end in self.ends if end.trajectory_id not in done),
        )


class Atomicity(StrEnum):
    """What is all or nothing in a `write`."""

    BATCH = "batch"
    TRAJECTORY = "trajectory"


class Survives(StrEnum):
    """What a batch outlives once `write` has returned."""

    NOTHING = "nothing"
    """It lives in the memory of this process."""
    PROCESS_CRASH = "process_crash"
    """It outlives a kill of the process, but the last batches may go with the power."""
    POWER_LOSS = "power_loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend can do. The defaults claim the least."""

    atomic: Atomicity = Atomicity.BATCH
    survives: Survives = Survives.NOTHING
    filters: frozenset[str] = frozenset()
    """Fields of the queries that `read_*` honours beyond those that all must: `ids`, `since`,
    `until`, `descending`, `after`, `limit`. A `TrajectoryStore` asks for no others, and applies
    them itself with `query.matches`."""
    identity: str | None = None
    """Names the place it writes to, the same for every object that writes there; no password."""


@runtime_checkable
class StorageBackend(Protocol):
    """Where batches are written and read. The module's docstring is the contract."""

    @property
    def capabilities(self) -> Capabilities:
        """What this backend can do; constant from `open` to `close`."""
        ...

    async def open(self) -> None:
        """Connect and check the schema. A no-op while open."""
        ...

    async def write(self, batch: Batch, /) -> None:
        """Store a batch: all or nothing, idempotent by key."""
        ...

    def read_trajectories(self, query: TrajectoryQuery, /) -> AsyncIterator[Trajectory]:
        """Stream trajectories in the query's order."""
        ...

    def read_turns(self, query: TurnQuery, /) -> AsyncIterator[Turn]:
        """Stream turns, each with its children and all its facts, in the query's order."""
        ...

    async def delete_trajectories(self, ids: Sequence[UUID], /) -> int:
        """Delete trajectories with all that belongs to them; say how many there were."""
        ...

    async def close(self) -> None:
        """Let go of connections. Safe twice."""
        ...
