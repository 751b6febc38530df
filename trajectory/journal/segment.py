"""One file of a journal while it is written: whole frames or none, an index, and its lock."""

from __future__ import annotations

import errno
import os
import threading
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from trajectory.journal.frames import MARK, Found, Frame, encode_note, scan
from trajectory.journal.os_layer import OsLayer

SUFFIX = ".journal"
TEMPORARY = ".new"
"""Added to the name until the lock is held and the header written: it is no orphan before."""
BAD = ".bad"
"""Added to the name of a segment for what was set aside from it."""

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND


class Segment:
    """Holds the values number `first` to `last` of a journal. Methods raise `OSError`.

    Used by one thread, `sync` aside.
    """

    def __init__(self, path: Path, fd: int, size: int, first: int, os_layer: OsLayer) -> None:
        self.path = path
        self.size = self._header_bytes = size
        self.first = first
        self.torn = False
        """Ends in a part of a frame that could not be cut off."""
        self.dirty = True
        """Was changed since the last `sync`."""
        self.failed = False
        """A `sync` failed: what it holds may be lost whatever a second one says (fsyncgate)."""
        self.was_synced = False
        self._fd = fd
        self._os = os_layer
        self._write: Callable[[int, Frame], int] = os_layer.write
        self._starts = array("Q")
        self._guard = threading.Lock()
        self._closing = False

    @classmethod
    def create(cls, path: Path, header: bytes, first: int, os_layer: OsLayer) -> Segment:
        """Make the file: it appears under its name locked, and with its header."""
        temporary = path.with_name(path.name + TEMPORARY)
        fd = os_layer.open(temporary, _CREATE)
        try:
            os_layer.flock(fd)
            written = os_layer.write(fd, header)
            if written != len(header):
                raise _short(written, len(header))  # noqa: TRY301 - cleaned up like any failure
            os_layer.rename(temporary, path)
        except BaseException:
            with suppress(OSError):
                os_layer.unlink(temporary)
            with suppress(OSError):
                os_layer.close(fd)
            raise
        return cls(path, fd, len(header), first, os_layer)

    @property
    def last(self) -> int:
        """The number of its last value; `first - 1` if it holds none."""
        return self.first + len(self._starts) - 1

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing but the header in it."""
        return self.size == self._header_bytes and not self.torn

    def append(self, frame: Frame, *, is_value: bool = True) -> None:
        """Write the frame of the next value; on failure nothing of it is left, or it is `torn`."""
        size = self.size
        if self.torn:
            self._cut(size)
        try:
            written = self._write(self._fd, frame)
            if written != len(frame):
                raise _short(written, len(frame))  # noqa: TRY301 - cut back like any failure
            if is_value:
                self._starts.append(size)
            self.dirty = True
            self.size = size + written
        except BaseException:
            self._mend()
            raise

    def mark(self, count: int) -> None:
        """Note that the values up to number `count` are stored."""
        index = count - self.first + 1
        before = self._starts[index] if index < len(self._starts) else self.size
        frame = encode_note(MARK, {"stored": count, "before": before})
        self.append(frame, is_value=False)

    def empty(self) -> None:
        """Cut all values off, which are stored. The next value keeps its number."""
        first = self.last + 1
        self._cut(self._header_bytes)
        self.first, self.size, self.dirty = first, self._header_bytes, True
        del self._starts[:]

    def frames(self, first: int, last: int, max_bytes: int) -> list[Found]:
        """Read the frames of the values `first` to `last`, up to about `max_bytes`, at least one.

        Damage ends the list with a `Found` that has no kind.
        """
        index, stop = first - self.first, last - self.first
        start = self._starts[index]
        while stop > index and self._end(stop) - start > max_bytes:
            stop = (index + stop) // 2
        content = self._os.read(self._fd, self._end(stop) - start, start)
        found: list[Found] = []
        for each in scan(lambda offset, size: content[offset : offset + size], len(content)):
            if each.kind is None:
                return [*found, each]
            if each.kind != MARK:
                found.append(each)
        if len(found) != stop - index + 1:
            found.append(Found(len(content), len(content), None, b""))
        return found

    def sync(self) -> None:
        """Wait until its content survives power loss. Meant for a thread of its own."""
        try:
            with self._guard:
                if self._fd >= 0:
                    self._os.sync(self._fd)
        finally:
            if self._closing:
                self.close()

    def remove(self) -> None:
        """Delete and close the file."""
        with suppress(FileNotFoundError):
            self._os.unlink(self.path)
        self.close()

    def close(self) -> None:
        """Close the file, which frees its lock; where a `sync` is running, when that has ended."""
        self._closing = True
        if self._guard.acquire(blocking=False):
            try:
                self.forget()
            finally:
                self._guard.release()

    def forget(self) -> None:
        """Close the file whatever other threads do: after a fork there are none."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            # The file is whole without: what its content needed came with `write` and `sync`.
            with suppress(OSError):
                self._os.close(fd)

    def _end(self, index: int) -> int:
        return self._starts[index + 1] if index + 1 < len(self._starts) else self.size

    def _mend(self) -> None:
        """Leave nothing of a frame that failed."""
        while self._starts and self._starts[-1] >= self.size:
            self._starts.pop()
        try:
            self._cut(self.size)
        except OSError:
            self.torn = True

    def _cut(self, size: int) -> None:
        self._os.truncate(self._fd, size)
        self.torn = False


def _short(written: int, wanted: int) -> OSError:
    return OSError(errno.ENOSPC, f"only {written} of {wanted} bytes were taken")
