"""What reading promises beyond the conformance suite."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from trajectory import Batch
from trajectory.backends.sql import SqlBackend, reading
from trajectory.ids import uuid7
from trajectory.testing.samples import a_fact, a_turn, full_turn, trajectories_of, turns_of

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


async def test_a_turn_is_never_seen_without_its_children(
    backend: SqlBackend, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant: a page is one state of the database, whatever is committed while it is read."""
    sent = full_turn(uuid7())
    later = a_turn(sent.trajectory_id, 0)
    await backend.write(Batch(turns=(sent, later)))
    before = await turns_of(backend)
    other = SqlBackend(url)
    await other.open()
    really = reading._children

    async def meanwhile(*args: Any) -> Any:
        # The rows of the turns are read, those of the children are not.
        await other.write(Batch(facts=(a_fact(later),)))
        assert await other.delete_trajectories([sent.trajectory_id]) == 1
        return await really(*args)

    monkeypatch.setattr(reading, "_children", meanwhile)
    seen = await turns_of(backend)
    await other.close()
    assert seen == before
    assert await turns_of(backend) == []
