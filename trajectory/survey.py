"""What journals lie in a folder: whose they are, and what is in them. Looking changes nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from trajectory.journal import REAL, Journaled, JournalError, Orphan
from trajectory.journal.frames import FORMAT
from trajectory.journal.segment import SUFFIX
from trajectory.models import Turn


class Owner(StrEnum):
    """Whose a segment is."""

    DEAD = "dead"
    """A process that is gone: it can be replayed."""
    LIVING = "living"
    """A process that runs, and stores it itself."""
    NEWER = "newer"
    """A newer version of this library: this one can't read it."""
    UNKNOWN = "unknown"
    """It could not be opened; `problem` says why."""


@dataclass(slots=True)
class Segment:
    """One file of a journal: what is in it, or what became of it."""

    path: Path
    owner: Owner
    bytes: int
    turns: int = 0
    """In it and, by its marks, not stored. Where a replay tried it: those that it has stored."""
    others: int = 0
    """The same for facts, starts and ends."""
    tried: bool = False
    """Whether a replay came to it."""
    dead_lettered: int = 0
    torn_bytes: int = 0
    set_aside: int = 0
    """Damaged stretches."""
    removed: bool = False
    problem: str | None = None

    @property
    def needs_care(self) -> bool:
        """Whether something in it is not stored, and no process is there to store it."""
        if self.owner is Owner.LIVING:
            return False
        return not self.removed or self.set_aside > 0 or self.dead_lettered > 0

    def count(self, values: Sequence[Journaled]) -> None:
        """Add values to the counts."""
        turns = sum(isinstance(value, Turn) for value in values)
        self.turns += turns
        self.others += len(values) - turns

    def note_damage(self, orphan: Orphan) -> None:
        """Take over what a run through its values could not read."""
        self.torn_bytes = orphan.damage.torn_bytes
        self.set_aside = orphan.damage.undecodable


def look(folder: Path, *, read: bool = False) -> list[Segment]:
    """Say what journals are in a folder, oldest first; changes nothing.

    The turns of dead processes are counted; with `read` every value is read, so that other values
    and damage are counted too. Raises `JournalError` if the folder can't be read.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise JournalError(f"can't look for journals in {folder}: {error.strerror}") from error
    return [segment for path in paths if (segment := _look_at(path, read=read)) is not None]


def _look_at(path: Path, *, read: bool) -> Segment | None:
    """Look at one file; None if it has just gone."""
    segment = Segment(path, Owner.UNKNOWN, 0)
    try:
        found = path.lstat()
        segment.bytes = found.st_size
        if not stat.S_ISREG(found.st_mode):  # not opened, since a pipe would wait
            segment.problem = "it is no file"
            return segment
        fd = _READER.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        segment.problem = f"it can't be opened: {error.strerror}"
        return segment
    orphan = Orphan(path, fd, _READER)
    try:
        _READER.flock(fd)
        if not os.fstat(fd).st_nlink:
            return None
        segment.owner = Owner.NEWER if (orphan.format() or 0) > FORMAT else Owner.DEAD
        if segment.owner is Owner.DEAD:
            _count(orphan, segment, read=read)
    except BlockingIOError:
        segment.owner = Owner.LIVING
    except OSError as error:
        segment.problem = f"it can't be locked: {error.strerror}"
    finally:
        orphan.release()
    return segment


def _count(orphan: Orphan, segment: Segment, *, read: bool) -> None:
    if not read:
        segment.turns = orphan.turns()
        return
    try:
        for value, _size in orphan.values():
            segment.count([value])
    except JournalError as error:
        segment.problem = str(error)
    segment.note_damage(orphan)


class _Reader:
    """The operating system for those who only look."""

    def open(self, path: Path, flags: int) -> int:
        if flags & os.O_CREAT:
            raise _read_only()
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def flock(self, fd: int) -> None:
        """Share the lock, so that two who look don't take each other for the owner."""
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)

    close = staticmethod(REAL.close)
    read = staticmethod(REAL.read)

    def write(self, _fd: int, _content: bytes | bytearray) -> int:
        raise _read_only()

    def _refuse(self, *_arguments: object) -> None:
        raise _read_only()

    make_folder = truncate = sync = sync_folder = rename = unlink = _refuse


def _read_only() -> OSError:
    return OSError(errno.EROFS, os.strerror(errno.EROFS))


_READER = _Reader()
