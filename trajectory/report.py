"""What the logger says about itself: the answers of `log_turn`, `flush` and `statistics`."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Accepted:
    """`log_turn` took the turn: it will be stored. True in a condition."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Accepted()"

    def __bool__(self) -> bool:
        return True


class Dropped:
    """`log_turn` left the turn out, and counted it (`statistics().dropped`). False in a condition.

    Only with `overflow="drop_newest"`, or after a failure for good with `on_failure="warn"`. There,
    at level `stored` without a journal, also for a turn that was accepted and could not be stored,
    which counts in `statistics().buffered`.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "Dropped()"

    def __bool__(self) -> bool:
        return False


ACCEPTED = Accepted()
DROPPED = Dropped()


class FlushReport(NamedTuple):
    """What became of the turns that were accepted between `open` and the call, by number."""

    stored: int
    dead_lettered: int
    """Refused by the backend for their content and kept aside."""
    pending: int
    """Neither: still in the buffer when the call ended."""


class Statistics(NamedTuple):
    """A logger's counts since `open`. All counts are turns unless the field says otherwise.

    At rest, `accepted + replayed == stored + dead_lettered + dropped + buffered`.
    """

    accepted: int
    """Turns that `log_turn` returned for, dropped ones included."""
    stored: int
    """Turns whose batch has committed. A turn that was stored already counts."""
    buffered: int
    """Turns that wait or are being written."""
    buffered_bytes: int
    """Estimated bytes of all that waits, facts, starts and ends included."""
    dead_lettered: int
    """Turns that the backend refused for their content; they are kept aside with the reason."""
    conflicts: int
    """What was refused because its key is taken by another content."""
    dropped: int
    spilled: int
    """Turns that waited in the journal alone, since the buffer was full."""
    replayed: int
    """Turns that dead processes had left in their journals."""
    batches: int
    """Batches that were committed."""
    retries: int
    """Writes that were tried again."""
    journal_bytes: int
    """What this logger's journal takes on disk now."""
    oldest_age: float
    """Seconds since the oldest waiting turn, fact, start or end was accepted; 0.0 if none waits."""
    last_stored_at: datetime | None
    """When the last batch committed."""
    others_accepted: int
    """Facts, starts and ends that were accepted."""
    others_stored: int
    """Facts, starts and ends whose batch has committed."""
    others_dropped: int
    """Facts and starts that were left out, where a turn would have been dropped; also facts that an
    extractor found in a turn that was deleted meanwhile."""
    merge_conflicts: int
    """Fields for which a start or an end brought a second, different value, which is not stored."""
    others_dead_lettered: int
    """Facts, starts and ends that the backend refused."""
    extracted: int
    """Stored turns in whose responses questions were looked for. At rest, where the logger does,
    `extracted + extracting + not_extracted == stored`; else all three are 0."""
    extracting: int
    """Stored turns that wait for it."""
    not_extracted: int
    """Stored turns that were left out: the extractor failed, was too slow, or had no time left."""
    writing_seconds: float
    """Seconds that the backend took to write the batches that were committed, all together."""
