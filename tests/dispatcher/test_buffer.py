"""The bounded buffer by itself: who gets room, in which order, and how it is given back."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from trajectory import Turn
from trajectory.buffer import Buffer, RoomWaiter


def turn() -> Turn:
    return Turn(trajectory_id=uuid4(), turn_number=1, prompt="p", response="r")


def waiter(size: int, *, is_turn: bool = True) -> RoomWaiter:
    return RoomWaiter(is_turn, size, asyncio.get_running_loop().create_future())


async def test_nobody_passes_an_earlier_caller_who_waits_for_more_bytes() -> None:
    """Invariant C: a small turn that would fit must not keep a large one waiting for ever."""
    buffer = Buffer(capacity=10, max_bytes=100)
    assert buffer.reserve(is_turn=True, size=60)
    buffer.add((turn(), 60, 0.0))
    large = waiter(80)
    buffer.wait(large)
    assert not buffer.reserve(is_turn=True, size=10)
    assert not large.granted.done()
    buffer.drop(1)
    assert large.granted.done()
    assert buffer.reserve(is_turn=True, size=10)
    assert (buffer.turns, buffer.bytes) == (2, 90)


async def test_room_is_granted_in_order_and_no_further_than_it_goes() -> None:
    buffer = Buffer(capacity=2, max_bytes=10_000)
    for _ in range(2):
        assert buffer.reserve(is_turn=True, size=1)
        buffer.add((turn(), 1, 0.0))
    waiting = [waiter(1) for _ in range(3)]
    for each in waiting:
        buffer.wait(each)
    buffer.drop(2)
    assert [each.granted.done() for each in waiting] == [True, True, False]
    assert buffer.turns == 2
    buffer.leave(waiting[0])  # granted, and its caller has gone: the room goes to the third
    assert waiting[2].granted.done()
    assert buffer.turns == 2


async def test_who_leaves_the_front_of_the_queue_lets_the_next_in() -> None:
    buffer = Buffer(capacity=10, max_bytes=100)
    assert buffer.reserve(is_turn=True, size=60)
    large, small = waiter(80), waiter(10)
    buffer.wait(large)
    buffer.wait(small)
    assert not small.granted.done()
    buffer.leave(large)
    assert small.granted.done()
    assert (buffer.turns, buffer.bytes, buffer.waiting) == (2, 70, 0)


async def test_those_who_are_turned_away_hold_no_room() -> None:
    buffer = Buffer(capacity=1, max_bytes=100)
    assert buffer.reserve(is_turn=True, size=10)
    waiting = waiter(10)
    buffer.wait(waiting)
    buffer.turn_away(ValueError("closed"))
    buffer.leave(waiting)
    with pytest.raises(ValueError, match="closed"):
        waiting.granted.result()
    buffer.release(is_turn=True, size=10)
    assert (buffer.turns, buffer.bytes, buffer.waiting) == (0, 0, 0)
