"""What reading promises beyond the conformance suite."""

from __future__ import annotations

from uuid import uuid4

from trajectory import Batch
from trajectory.backends.sql import SqlBackend
from trajectory.ids import uuid7
from trajectory.testing.samples import a_turn, trajectories_of, turns_of

MANY = 33_000
"""More than a statement takes parameters: 32,767 on Postgres, 32,766 on SQLite by default."""


async def test_any_number_of_ids_can_be_asked_for(backend: SqlBackend) -> None:
    id_ = uuid7()
    await backend.write(Batch(turns=(a_turn(id_), a_turn())))
    ids = (id_, *(uuid4() for _ in range(MANY)))
    assert [turn.trajectory_id for turn in await turns_of(backend, ids=ids)] == [id_]
    assert [each.id for each in await trajectories_of(backend, ids=ids)] == [id_]
    assert await turns_of(backend, ids=()) == []
    assert await backend.delete_trajectories(ids) == 1
