"""Trajectories with their turns, in a fixed order, a bounded number of them in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple
from uuid import UUID

from trajectory.models import Trajectory, Turn
from trajectory.query import TrajectoryQuery, TurnQuery
from trajectory.sizes import turn_bytes, value_bytes
from trajectory.store import TrajectoryStore

_TRAJECTORIES_AT_ONCE = 64
_TURNS_AT_ONCE = 2000
_BYTES_AT_ONCE = 16 * 2**20


class Piece(NamedTuple):
    """Some turns of a trajectory: the first of them, the last, or all."""

    trajectory: Trajectory
    turns: list[Turn]
    is_first: bool
    is_last: bool


async def chunks(
    store: TrajectoryStore, query: TrajectoryQuery
) -> AsyncGenerator[list[Trajectory], None]:
    """Read trajectories, some at a time; fewer of large ones."""
    chunk: list[Trajectory] = []
    size = 0
    async with aclosing(store.trajectories(query)) as found:
        async for trajectory in found:
            chunk.append(trajectory)
            size += value_bytes(trajectory)
            if len(chunk) >= _TRAJECTORIES_AT_ONCE or size >= _BYTES_AT_ONCE:
                yield chunk
                chunk, size = [], 0
    if chunk:
        yield chunk


async def with_turns(
    store: TrajectoryStore, chunk: list[Trajectory]
) -> AsyncGenerator[list[Piece], None]:
    """Read the turns of a chunk, and give its trajectories in their order.

    Small ones are read together. Of those that don't fit, each is read alone, in parts.
    """
    gathered, whole = await _gathered(store, [each.id for each in chunk])
    pieces: list[Piece] = []
    for trajectory in chunk:
        if trajectory.id in whole:
            turns = gathered.pop(trajectory.id, [])
            pieces.append(Piece(trajectory, turns, is_first=True, is_last=True))
            continue
        if pieces:
            yield pieces
            pieces = []
        async with aclosing(_alone(store, trajectory)) as parts:
            async for piece in parts:
                yield [piece]
    if pieces:
        yield pieces


async def _gathered(
    store: TrajectoryStore, ids: list[UUID]
) -> tuple[dict[UUID, list[Turn]], set[UUID]]:
    """Read the turns of several trajectories, up to a bound; say which were read whole."""
    gathered: dict[UUID, list[Turn]] = {}
    count = size = 0
    async with aclosing(store.turns(TurnQuery(ids=tuple(ids)))) as found:
        async for turn in found:
            gathered.setdefault(turn.trajectory_id, []).append(turn)
            count, size = count + 1, size + turn_bytes(turn)
            if count >= _TURNS_AT_ONCE or size >= _BYTES_AT_ONCE:
                # They come in the order of the ids, so this one is the last that was begun.
                del gathered[turn.trajectory_id]
                return gathered, {id_ for id_ in ids if id_ < turn.trajectory_id}
    return gathered, set(ids)


async def _alone(store: TrajectoryStore, trajectory: Trajectory) -> AsyncGenerator[Piece, None]:
    turns: list[Turn] = []
    size = 0
    is_first = True
    async with aclosing(store.turns(TurnQuery(ids=(trajectory.id,)))) as found:
        async for turn in found:
            if len(turns) >= _TURNS_AT_ONCE or size >= _BYTES_AT_ONCE:
                yield Piece(trajectory, turns, is_first, is_last=False)
                turns, size, is_first = [], 0, False
            turns.append(turn)
            size += turn_bytes(turn)
    yield Piece(trajectory, turns, is_first, is_last=True)
