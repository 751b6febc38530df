"""The journal makes an accepted value survive the end of its process, and with `sync` power loss.

A process appends to segments of its own, which it holds locked; what is stored is marked, and its
segments go. What is left when a process dies is found by the next start: see `leftovers`.
"""

from trajectory.journal.errors import JournalError
from trajectory.journal.frames import Found, Frame, Journaled
from trajectory.journal.journal import SEGMENT_BYTES, Journal, decoded
from trajectory.journal.orphans import Damage, Orphan, leftovers
from trajectory.journal.os_layer import REAL, OsLayer
from trajectory.journal.slices import LARGE_BYTES, LargeFrames

__all__ = [
    "LARGE_BYTES",
    "REAL",
    "SEGMENT_BYTES",
    "Damage",
    "Found",
    "Frame",
    "Journal",
    "JournalError",
    "Journaled",
    "LargeFrames",
    "Orphan",
    "OsLayer",
    "decoded",
    "leftovers",
]
