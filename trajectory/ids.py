"""Keys that the client makes, so that nobody has to ask the database for one."""

from __future__ import annotations

import os
import threading
import time
from uuid import UUID, uuid5

NAMESPACE = UUID("6f1c7d6e-2f0b-5b0e-9d55-7c1f3a1c2b64")
"""Under which importers derive ids from content: the same input gives the same trajectory."""

_lock = threading.Lock()
_last = 0


def uuid7() -> UUID:
    """Make a time-ordered id (RFC 9562, section 5.7), unique and ascending within a process.

    48 bits of milliseconds, then 12 bits of the millisecond's fraction (method 3 of section 6.2),
    then 62 random bits. Time order keeps the inserts at one end of the primary key's index; a
    random key halves the insert speed. (The standard library has its own from 3.14 on.)
    """
    global _last  # noqa: PLW0603
    nanoseconds = time.time_ns()
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    stamp = milliseconds << 12 | (rest << 12) // 1_000_000
    with _lock:
        # A clock that stands still or steps back must not undo the order.
        stamp = _last = max(stamp, _last + 1)
    random = int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
    high = (stamp >> 12) << 16 | 0x7000 | stamp & 0xFFF
    return UUID(int=high << 64 | 1 << 63 | random)


def derived_id(*parts: str) -> UUID:
    """Derive an id (UUIDv5) from parts that identify a source; no part may hold a NUL."""
    return uuid5(NAMESPACE, "\0".join(parts))
