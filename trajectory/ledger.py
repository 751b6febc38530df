"""The ledger: how much was accepted, what became of it, and who waits to hear."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import NamedTuple

from trajectory.models import Logged, Turn
from trajectory.report import FlushReport, Statistics


class _StoredWaiter(NamedTuple):
    target: int
    reached: asyncio.Future[None]


class Ledger:
    """Counts turns, and what travels with them, in order of acceptance.

    Since order is kept, one number says what is stored: the first so many of those accepted.
    """

    def __init__(self) -> None:
        self.turns_accepted = 0  # into the buffer; dropped ones not counted
        self.turns_stored = 0
        self.turns_dropped = 0
        self.others_accepted = 0
        self.others_stored = 0
        self.others_dropped = 0
        self.batches = 0
        self.retries = 0
        self.conflicts = 0
        self.last_stored_at: datetime | None = None
        self._waiters: deque[_StoredWaiter] = deque()  # targets ascend

    @property
    def accepted(self) -> int:
        """How many values were accepted: the target of a flush."""
        return self.turns_accepted + self.others_accepted

    @property
    def stored(self) -> int:
        """How many values are stored."""
        return self.turns_stored + self.others_stored

    @property
    def turns_waiting(self) -> int:
        """How many turns are accepted and not stored."""
        return self.turns_accepted - self.turns_stored

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for something to be stored."""
        return bool(self._waiters)

    def note_accepted(self, *, is_turn: bool) -> None:
        """Count what was added to the buffer."""
        if is_turn:
            self.turns_accepted += 1
        else:
            self.others_accepted += 1

    def note_dropped(self, value: Logged) -> None:
        """Count what was left out."""
        if isinstance(value, Turn):
            self.turns_dropped += 1
        else:
            self.others_dropped += 1

    def note_stored(self, *, turns: int, others: int) -> None:
        """Count a batch that has committed, and wake those who waited for it."""
        self.turns_stored += turns
        self.others_stored += others
        self.batches += 1
        self.last_stored_at = datetime.now(UTC)
        stored = self.stored
        while self._waiters and self._waiters[0].target <= stored:
            _wake(self._waiters.popleft())

    def note_retry(self) -> None:
        """Count a write that is tried again."""
        self.retries += 1

    def wake_all(self) -> None:
        """Wake all who wait, though nothing more will be stored."""
        while self._waiters:
            _wake(self._waiters.popleft())

    async def wait(self, target: int, timeout: float) -> bool:  # noqa: ASYNC109 - it answers
        """Wait until the first `target` values are stored; say whether they are."""
        waiter = _StoredWaiter(target, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter.reached
        except TimeoutError:
            pass
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return self.stored >= target

    def report(self, turns: int) -> FlushReport:
        """Say what became of the first `turns` accepted turns."""
        stored = min(turns, self.turns_stored)
        return FlushReport(stored=stored, dead_lettered=0, pending=turns - stored)

    def statistics(
        self, *, buffered_bytes: int, oldest_age: float, merge_conflicts: int
    ) -> Statistics:
        """Give all counts, with what others know."""
        return Statistics(
            accepted=self.turns_accepted + self.turns_dropped,
            stored=self.turns_stored,
            buffered=self.turns_waiting,
            buffered_bytes=buffered_bytes,
            dead_lettered=0,
            conflicts=self.conflicts,
            dropped=self.turns_dropped,
            spilled=0,
            replayed=0,
            batches=self.batches,
            retries=self.retries,
            journal_bytes=0,
            oldest_age=oldest_age,
            last_stored_at=self.last_stored_at,
            others_accepted=self.others_accepted,
            others_stored=self.others_stored,
            others_dropped=self.others_dropped,
            merge_conflicts=merge_conflicts,
        )


def _wake(waiter: _StoredWaiter) -> None:
    if not waiter.reached.done():  # else its caller has gone
        waiter.reached.set_result(None)
