"""The folder of a journal: makes its segments, and knows which names may not survive power loss."""

from __future__ import annotations

import os
import time
from pathlib import Path
from secrets import token_hex

from trajectory.journal.frames import FORMAT, HEADER, MAGIC, MODELS, encode_note
from trajectory.journal.os_layer import OsLayer
from trajectory.journal.segment import SUFFIX, Segment

_TRIES = 5


class Folder:
    """Where one journal, from one `open` to its `close`, makes its segments.

    Their names sort by age, and hold the process and something random, so that no two processes
    ever share one.
    """

    def __init__(self, path: Path, os_layer: OsLayer) -> None:
        self.path = path
        self.unsynced = {path.parent}
        """Folders with names that may not survive power loss."""
        self._os = os_layer
        self._opened = time.time_ns()
        self._name = f"{self._opened:020d}-{os.getpid()}-{token_hex(8)}"
        self._made = 0

    def make(self) -> None:
        """Make it, and its parents where they are missing, for this user alone."""
        missing = []
        path = self.path
        while not path.exists():
            missing.append(path)
            path = path.parent
        for folder in reversed(missing):
            try:
                self._os.make_folder(folder)
            except FileExistsError:  # another process was faster
                continue
            self.unsynced.add(folder.parent)

    def new_segment(self, first: int) -> Segment:
        """Make the segment whose first value has that number. Raises `OSError`."""
        header = encode_note(
            HEADER,
            {
                "magic": MAGIC,
                "format": FORMAT,
                "models": MODELS,
                "pid": os.getpid(),
                "started": process_started(),
                "opened": self._opened,
                "first": first,
            },
        )
        for tries_left in reversed(range(_TRIES)):
            self._made += 1
            path = self.path / f"{self._name}-{self._made:06d}{SUFFIX}"
            try:
                segment = Segment.create(path, header, first, self._os)
            except (BlockingIOError, FileNotFoundError):
                # Another process took the new file for what a dead one left, between two of our
                # steps; or somebody deleted the folder.
                if not tries_left:
                    raise
                self.make()
            else:
                self.unsynced.add(self.path)
                return segment
        raise AssertionError("unreachable")


def process_started() -> int | None:
    """Give the start of this process in clock ticks since boot: with the pid, it names it.

    None where the system doesn't say.
    """
    try:
        stat = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
