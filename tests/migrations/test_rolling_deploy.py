"""Old and new programs on one database, while a deploy goes on."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from trajectory import migrations
from trajectory.backend import Batch
from trajectory.backends import open_backend
from trajectory.errors import SchemaError
from trajectory.models import Trajectory, Turn
from trajectory.query import TurnQuery

RUN = uuid.UUID(int=1)


def batch(number: int) -> Batch:
    start = Trajectory(id=RUN, created_at=datetime(2026, 1, 1, tzinfo=UTC))
    turn = Turn(trajectory_id=RUN, turn_number=number, prompt="p", response="r")
    return Batch(starts=(start,), turns=(turn,))


async def test_a_writer_goes_on_while_a_deploy_adds_columns(empty_url: str, future: Any) -> None:
    await migrations.upgrade_async(empty_url)
    old = open_backend(empty_url)
    await old.open()
    try:
        await old.write(batch(1))
        assert [turn.turn_number async for turn in old.read_turns(TurnQuery())] == [1]

        future.add('op.add_column("trajectory_turns", sa.Column("mood", sa.Text))')
        await migrations.upgrade_async(empty_url)

        await old.write(batch(2))
        assert [turn.turn_number async for turn in old.read_turns(TurnQuery())] == [1, 2]
    finally:
        await old.close()


async def test_an_old_program_starts_on_what_only_adds(empty_url: str, future: Any) -> None:
    future.add('op.add_column("trajectory_turns", sa.Column("mood", sa.Text))')
    await migrations.upgrade_async(empty_url)
    future.need("0001")
    old = open_backend(empty_url)
    await old.open()
    try:
        await old.write(batch(1))
        assert [turn.turn_number async for turn in old.read_turns(TurnQuery())] == [1]
    finally:
        await old.close()


@pytest.mark.parametrize("age", ["older", "newer"])
async def test_a_program_does_not_start_on_what_it_can_not_write(
    empty_url: str, future: Any, age: str
) -> None:
    if age == "older":
        await migrations.upgrade_async(empty_url)
        future.add('op.add_column("trajectory_turns", sa.Column("mood", sa.Text))')
    else:
        future.add('op.drop_column("trajectory_turns", "reward")', oldest_writer="0002")
        await migrations.upgrade_async(empty_url)
        future.need("0001")
    backend = open_backend(empty_url)
    with pytest.raises(SchemaError, match=age):
        await backend.open()
    await backend.close()
