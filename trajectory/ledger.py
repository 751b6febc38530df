"""The ledger: how much was accepted, what became of it, and who waits to hear."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import OrderedDict, deque
from datetime import UTC, datetime
from typing import NamedTuple

from trajectory.models import Logged, Turn
from trajectory.report import FlushReport, Statistics

_REFUSALS_KEPT = 1000


class _SettledWaiter(NamedTuple):
    target: int
    reached: asyncio.Future[None]


class Ledger:
    """Counts turns, and what travels with them, in order of acceptance.

    A value is settled when it is stored or set aside as a dead letter. Since order is kept, one
    number says what is settled: the first so many of those accepted. What is replayed from the
    journals of dead processes is counted apart.
    """

    def __init__(self) -> None:
        self.turns_accepted = 0  # dropped ones not counted
        self.turns_stored = 0
        self.turns_dropped = 0
        self.turns_spilled = 0
        self.others_accepted = 0
        self.others_stored = 0
        self.others_dropped = 0
        self.others_dead = 0
        self.others_left_out = 0  # accepted, refused, and not kept
        self.batches = 0
        self.retries = 0
        self.conflicts = 0
        self.replayed = 0  # turns
        self.replayed_stored = 0
        self.replayed_dead = 0
        self.last_stored_at: datetime | None = None
        self.writing_seconds = 0.0
        self._replaying = False
        self._dead_turns: list[int] = []  # which of the accepted turns they were, ascending
        self._refusals: OrderedDict[int, Exception] = OrderedDict()
        self._waiters: deque[_SettledWaiter] = deque()  # targets ascend

    @property
    def accepted(self) -> int:
        """How many values were accepted: the target of a flush."""
        return self.turns_accepted + self.others_accepted

    @property
    def settled(self) -> int:
        """How many of them are stored or dead letters."""
        return self._turns_settled + self._others_settled

    @property
    def _turns_settled(self) -> int:
        return self.turns_stored + len(self._dead_turns)

    @property
    def _others_settled(self) -> int:
        return self.others_stored + self.others_dead + self.others_left_out

    @property
    def others_waiting(self) -> int:
        """How many facts, starts and ends are accepted and not settled."""
        return self.others_accepted - self._others_settled

    @property
    def turns_waiting(self) -> int:
        """How many turns are accepted, or found to be replayed, and not settled."""
        return self.turns_accepted - self._turns_settled + self._replay_waiting

    @property
    def replay_settled(self) -> int:
        """How many turns of dead processes are stored or dead letters."""
        return self.replayed_stored + self.replayed_dead

    @property
    def _replay_waiting(self) -> int:
        return self.replayed - self.replay_settled

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for something to be stored."""
        return bool(self._waiters)

    def note_accepted(self, *, is_turn: bool) -> None:
        """Count what was accepted."""
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
        self._note_batch()
        self._wake_reached()

    def note_refused(self, value: Logged, error: Exception, *, kept: bool = True) -> None:
        """Count the next accepted value as a dead letter; a fact that is not kept, as left out."""
        if isinstance(value, Turn):
            self._dead_turns.append(self._turns_settled + 1)
        elif kept:
            self.others_dead += 1
        else:
            self.others_left_out += 1
        self._refusals[self.settled] = error
        if len(self._refusals) > _REFUSALS_KEPT:
            self._refusals.popitem(last=False)
        self._wake_reached()

    def refusal(self, number: int) -> Exception | None:
        """Say why the value of that number was refused, if it was; only the newest are known."""
        return self._refusals.get(number)

    def begin_replay(self, turns: int) -> None:
        """Count the turns that were found to be replayed; who waits, waits for them too."""
        self.replayed = turns
        self._replaying = True

    def note_replayed(self, *, turns: int, stored: bool) -> None:
        """Count a batch of the replay."""
        if stored:
            self.replayed_stored += turns
            self._note_batch()
        else:
            self.replayed_dead += turns

    def end_replay(self) -> None:
        """Wake those who waited for the replay alone."""
        self._replaying = False
        self._wake_reached()

    def note_written(self, seconds: float) -> None:
        """Count the time of a write that has committed."""
        self.writing_seconds += seconds

    def note_retry(self) -> None:
        """Count a write that is tried again."""
        self.retries += 1

    def reached(self, target: int) -> bool:
        """Say whether the first `target` values are settled, and the replay is over."""
        return not self._replaying and self.settled >= target

    def wake_all(self) -> None:
        """Wake all who wait, though nothing more will be stored."""
        while self._waiters:
            _wake(self._waiters.popleft())

    async def wait(self, target: int, timeout: float) -> bool:  # noqa: ASYNC109 - it answers
        """Wait until the first `target` values are settled; say whether they are."""
        waiter = _SettledWaiter(target, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter.reached
        except TimeoutError:
            pass
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return self.reached(target)

    def report(self, turns: int) -> FlushReport:
        """Say what became of the first `turns` accepted turns, and of those to be replayed."""
        settled = min(turns, self._turns_settled)
        dead = bisect_right(self._dead_turns, settled)
        return FlushReport(
            stored=settled - dead + self.replayed_stored,
            dead_lettered=dead + self.replayed_dead,
            pending=turns - settled + self._replay_waiting,
        )

    def statistics(
        self,
        *,
        buffered_bytes: int,
        oldest_age: float,
        merge_conflicts: int,
        journal_bytes: int,
        extraction: tuple[int, int, int],
    ) -> Statistics:
        """Give all counts, with what others know."""
        return Statistics(
            accepted=self.turns_accepted + self.turns_dropped,
            stored=self.turns_stored + self.replayed_stored,
            buffered=self.turns_waiting,
            buffered_bytes=buffered_bytes,
            dead_lettered=len(self._dead_turns) + self.replayed_dead,
            conflicts=self.conflicts,
            dropped=self.turns_dropped,
            spilled=self.turns_spilled,
            replayed=self.replayed,
            batches=self.batches,
            retries=self.retries,
            journal_bytes=journal_bytes,
            oldest_age=oldest_age,
            last_stored_at=self.last_stored_at,
            others_accepted=self.others_accepted,
            others_stored=self.others_stored,
            others_dropped=self.others_dropped + self.others_left_out,
            merge_conflicts=merge_conflicts,
            others_dead_lettered=self.others_dead,
            extracted=extraction[0],
            extracting=extraction[1],
            not_extracted=extraction[2],
            writing_seconds=self.writing_seconds,
        )

    def _note_batch(self) -> None:
        self.batches += 1
        self.last_stored_at = datetime.now(UTC)

    def _wake_reached(self) -> None:
        while self._waiters and self.reached(self._waiters[0].target):
            _wake(self._waiters.popleft())


def _wake(waiter: _SettledWaiter) -> None:
    if not waiter.reached.done():  # else its caller has gone
        waiter.reached.set_result(None)
