"""The bounded buffer: room is reserved, then taken, and given back after the commit.

It decides and never waits by itself; `dispatcher` does the waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, cast

from trajectory.backend import Batch
from trajectory.models import Fact, Logged, Trajectory, TrajectoryEnd, Turn
from trajectory.words import counted

_BATCH_VALUES = 100
_BATCH_BYTES = 4 * 2**20

Buffered = tuple[Logged, int, float]
"""What waits to be stored, its size in bytes, and the loop's time of its acceptance.

A plain tuple: one is made for each turn.
"""


class RoomWaiter(NamedTuple):
    """Who waits for room: the future is set once the room is reserved for it."""

    is_turn: bool
    size: int
    granted: asyncio.Future[None]


class Buffer:
    """Turns and what travels with them, in order of acceptance, bounded in turns and in bytes.

    Facts and starts have as many places of their own as turns have, so that a burst of them can
    neither fill the memory nor keep turns out. An end always finds room: there is one for each
    running trajectory. So does what is offered, up to
    a multiple of the places.
    """

    def __init__(self, capacity: int, max_bytes: int) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        # All state. Who reserves must add or release before the next await.
        # (A) turns + reserved turns <= capacity, and the same for others.
        # (B) bytes (reserved ones counted) <= max_bytes, or it is one oversized value alone.
        # (C) nobody gets room while an earlier caller waits for it.
        self._buffered: deque[Buffered] = deque()
        self.add: Callable[[Buffered], None] = self._buffered.append
        """Add what room was reserved for."""
        self.turns = 0
        self.others = 0
        self.bytes = 0
        self._waiters: deque[RoomWaiter] = deque()

    def __len__(self) -> int:
        return len(self._buffered)

    @property
    def waiting(self) -> int:
        """How many callers wait for room."""
        return len(self._waiters)

    def reserve(self, *, is_turn: bool, size: int) -> bool:
        """Reserve room if there is some and nobody waits for it."""
        if self._waiters or not self._fits(is_turn, size):
            return False
        self._take(is_turn, size)
        return True

    def reserve_turn(self, size: int) -> bool:
        """Reserve room for a turn: `reserve`, written out, since this runs for each."""
        taken = self.bytes + size
        if (
            self.turns >= self._capacity
            or (taken > self._max_bytes and self.bytes)
            or self._waiters
        ):
            return False
        self.turns += 1
        self.bytes = taken
        return True

    def _fits(self, is_turn: bool, size: int) -> bool:  # noqa: FBT001
        used = self.turns if is_turn else self.others
        return used < self._capacity and (self.bytes + size <= self._max_bytes or not self.bytes)

    def _take(self, is_turn: bool, size: int) -> None:  # noqa: FBT001
        if is_turn:
            self.turns += 1
        else:
            self.others += 1
        self.bytes += size

    def reserve_beyond_limits(self, *, is_turn: bool, size: int) -> None:
        """Reserve room in any case: for an end, and for what was spilled and comes back."""
        self._take(is_turn, size)

    def fits_beyond(self, factor: int, *, is_turn: bool, size: int) -> bool:
        """Say whether it fits into so many times the places; the limit of bytes is kept."""
        used = self.turns if is_turn else self.others
        return used < factor * self._capacity and self.bytes + size <= self._max_bytes

    def release(self, *, is_turn: bool, size: int) -> None:
        """Give back room, reserved or taken, and reserve it for those who wait, in their order."""
        if is_turn:
            self.turns -= 1
        else:
            self.others -= 1
        self.bytes -= size
        self._grant()

    def _grant(self) -> None:
        while self._waiters:
            waiter = self._waiters[0]
            if waiter.granted.done():  # cancelled or timed out; its caller has gone
                self._waiters.popleft()
                continue
            if not self._fits(waiter.is_turn, waiter.size):
                return
            self._waiters.popleft()
            self._take(waiter.is_turn, waiter.size)
            waiter.granted.set_result(None)

    def wait(self, waiter: RoomWaiter) -> None:
        """Queue for room."""
        self._waiters.append(waiter)

    def leave(self, waiter: RoomWaiter) -> None:
        """Stop waiting; room that was reserved in the meantime is given back."""
        if waiter.granted.done() and not waiter.granted.cancelled():
            if waiter.granted.exception() is None:
                self.release(is_turn=waiter.is_turn, size=waiter.size)
            return
        waiter.granted.cancel()
        self._grant()

    def turn_away(self, error: Exception) -> None:
        """Wake all who wait for room with an error."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.granted.done():
                waiter.granted.set_exception(error)

    @property
    def full(self) -> str:
        """Say that it is full, and what its limits are."""
        return (
            f"the buffer is full ({counted(self.turns, 'turn')}, {self.bytes} bytes; limits: "
            f"channel_capacity = {self._capacity}, channel_bytes = {self._max_bytes}): the backend "
            f"is slower than the agent, or away"
        )

    def peek(self) -> list[Buffered]:
        """Copy all that waits. It stays until `drop` says that it is stored."""
        return list(self._buffered)

    def drop(self, count: int) -> int:
        """Let go of the oldest, which are stored; say how many of them were turns."""
        oldest = self._buffered.popleft
        dropped = [oldest() for _ in range(count)]
        turns = sum([isinstance(value, Turn) for value, _size, _time in dropped])
        self.turns -= turns
        self.others -= count - turns
        self.bytes -= sum([size for _value, size, _time in dropped])
        self._grant()
        return turns

    @property
    def room(self) -> tuple[int, int]:
        """How many more turns and bytes fit in; one turn at least if the buffer is empty."""
        return self._capacity - self.turns, max(
            0 if self._buffered else 1, self._max_bytes - self.bytes
        )

    def oldest(self) -> float | None:
        """Give the time of acceptance of the oldest. Any thread may ask."""
        try:
            return self._buffered[0][2]
        except IndexError:
            return None


def as_batch(buffered: Sequence[Buffered]) -> Batch:
    """Sort what is buffered into a batch."""
    values = [value for value, _size, _time in buffered]
    if set(map(type, values)) == {Turn}:  # as most are
        return Batch((), cast("tuple[Turn, ...]", tuple(values)), (), ())
    starts: list[Trajectory] = []
    turns: list[Turn] = []
    facts: list[Fact] = []
    ends: list[TrajectoryEnd] = []
    for value in values:
        if isinstance(value, Turn):
            turns.append(value)
        elif isinstance(value, Fact):
            facts.append(value)
        elif isinstance(value, Trajectory):
            starts.append(value)
        else:
            ends.append(value)
    return Batch(tuple(starts), tuple(turns), tuple(facts), tuple(ends))


def next_batch(values: Iterator[tuple[Logged, int]]) -> list[Buffered]:
    """Take the next values of a journal, each with its bytes, as many as make a batch."""
    taken: list[Buffered] = []
    size = 0
    for value, bytes_ in islice(values, _BATCH_VALUES):
        taken.append((value, bytes_, 0.0))
        size += bytes_
        if size >= _BATCH_BYTES:
            break
    return taken
