"""What processes that are gone have left: found, locked, read, and removed once it is stored."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trajectory.journal.errors import JournalError, reason
from trajectory.journal.frames import (
    FORMAT,
    HEADER,
    MAGIC,
    MARK,
    TURN,
    VALUES,
    Found,
    Journaled,
    UndecodableError,
    decode,
    decode_note,
    scan,
)
from trajectory.journal.os_layer import REAL, OsLayer
from trajectory.journal.segment import BAD, SUFFIX, TEMPORARY

_log = logging.getLogger(__name__)

_WINDOW_BYTES = 2**18


@dataclass(slots=True)
class Damage:
    """What could not be read of a segment."""

    torn_bytes: int = 0
    """Cut off at the end: the last write before a power loss or on a full disk."""
    undecodable: int = 0
    """Frames (or stretches of them) that were set aside in `<segment>.bad`."""


class Orphan:
    """A segment whose process is gone; locked by this one until `remove` or `release`."""

    def __init__(self, path: Path, fd: int, os_layer: OsLayer) -> None:
        self.path = path
        self.damage = Damage()
        """What the last run through `values` found, once that has ended."""
        self._fd = fd
        self._os = os_layer
        self._window = b""
        self._window_offset = 0
        self._kept_aside = True

    @property
    def size(self) -> int:
        """The bytes it takes on disk."""
        return os.fstat(self._fd).st_size

    def format(self) -> int | None:
        """Give the version of its frames, None if the header doesn't say."""
        try:
            header = next(scan(self._read, self.size), None)
        except OSError:
            return None  # said when the values are read
        note = _note(header) if header is not None and header.kind == HEADER else None
        version = note.get("format") if note is not None and note.get("magic") == MAGIC else None
        return version if isinstance(version, int) else None

    def values(self) -> Iterator[tuple[Journaled, int]]:
        """Give the values that no mark covers, in order, each with the bytes it takes.

        Holds one at a time. May be begun again, and gives the same then. What is damaged in the
        middle, or no value of this version's, is copied to `<segment>.bad`. Raises `JournalError`
        if the file can't be read.
        """
        try:
            yield from self._values()
        except OSError as error:
            raise JournalError(
                f"can't read the journal {self.path}: {reason(error)}; the next start tries again"
            ) from error

    def turns(self) -> int:
        """Count the turns that no mark covers, undecoded. 0 if the file can't be read."""
        try:
            end = self.size
            before = self._stored_before(end)
            return sum(found.kind == TURN and found.end > before for found in scan(self._read, end))
        except OSError:
            return 0  # said when the values are read

    def remove(self) -> None:
        """Delete the file: all of it is stored. Raises `JournalError`, and it is kept then."""
        try:
            if self._kept_aside:
                self._os.unlink(self.path)
            else:
                self._os.rename(self.path, self._bad)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise JournalError(
                f"can't remove the journal {self.path}: {reason(error)}; the next start reads it "
                f"again, which changes nothing"
            ) from error
        finally:
            self.release()

    def release(self) -> None:
        """Leave the file for the next start. Safe twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                self._os.close(fd)

    @property
    def _bad(self) -> Path:
        return self.path.with_name(self.path.name + BAD)

    def _values(self) -> Iterator[tuple[Journaled, int]]:
        self.damage = Damage()
        self._kept_aside = True
        end = self.size
        stored_before = self._stored_before(end)
        bad = _Aside(self._bad, self._os)
        try:
            for found in scan(self._read, end):
                if found.end <= stored_before:
                    continue
                if found.kind is None and found.end == end:
                    self.damage.torn_bytes = found.size
                elif found.kind in VALUES:
                    try:
                        value = decode(found.kind, found.body)
                    except UndecodableError as error:
                        self._set_aside(bad, found, str(error))
                    else:
                        yield value, found.size
                elif found.kind is None:
                    self._set_aside(bad, found, "a damaged stretch")
                elif not _is_note(found):
                    self._set_aside(bad, found, f"a frame of the unknown kind {found.kind}")
        finally:
            bad.close()

    def _stored_before(self, end: int) -> int:
        """Give the offset up to which the marks say that all is stored."""
        before = 0
        for found in scan(self._read, end):
            if found.kind == MARK and (mark := _note(found)) is not None:
                offset = mark.get("before")
                if isinstance(offset, int) and offset <= found.offset:
                    before = max(before, offset)
        return before

    def _set_aside(self, bad: _Aside, found: Found, what: str) -> None:
        self.damage.undecodable += 1
        try:
            for offset in range(found.offset, found.end, _WINDOW_BYTES):
                bad.add(self._read(offset, min(_WINDOW_BYTES, found.end - offset)))
            kept = bad.path
        except OSError:
            # `remove` keeps the whole file under that name.
            self._kept_aside = False
            kept = self.path
        _log.warning(
            "%s: %s at byte %d, %d long; kept in %s",
            self.path,
            what,
            found.offset,
            found.size,
            kept,
        )

    def _read(self, offset: int, size: int) -> bytes:
        """Read through a window: frames are small, and calls of the system are not."""
        start = offset - self._window_offset
        if start < 0 or start + size > len(self._window):
            self._window = self._os.read(self._fd, max(size, _WINDOW_BYTES), offset)
            self._window_offset, start = offset, 0
        return self._window[start : start + size]


class _Aside:
    """The file of what was set aside; made when there is something, anew each time."""

    def __init__(self, path: Path, os_layer: OsLayer) -> None:
        self.path = path
        self._os = os_layer
        self._fd = -1

    def add(self, content: bytes) -> None:
        if self._fd < 0:
            self._fd = self._os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            self._os.truncate(self._fd, 0)
        while content:
            content = content[self._os.write(self._fd, content) :]

    def close(self) -> None:
        if self._fd >= 0:
            with suppress(OSError):
                self._os.close(self._fd)


def leftovers(folder: Path, *, os_layer: OsLayer = REAL) -> list[Orphan]:
    """Find and lock what processes that are gone have left in a folder, oldest first.

    Segments that are locked belong to processes that live, and are left alone; so are those of a
    newer format. Raises `JournalError` if the folder can't be read.
    """
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise JournalError(f"can't look for journals in {folder}: {reason(error)}") from error
    orphans = []
    for path in paths:
        if not path.name.endswith((SUFFIX, SUFFIX + TEMPORARY)):
            continue
        try:
            fd = _locked(path, os_layer)
        except OSError as error:
            _log.warning("can't open the journal %s: %s; left as it is", path, reason(error))
            continue
        if fd is None:
            continue
        orphan = Orphan(path, fd, os_layer)
        if path.suffix == TEMPORARY:  # its process died before there was anything in it
            with suppress(JournalError):
                orphan.remove()
        elif _is_newer(orphan):
            orphan.release()
        else:
            orphans.append(orphan)
    return orphans


def _locked(path: Path, os_layer: OsLayer) -> int | None:
    """Open a file whose lock is free; None if another process has it, or removed it meanwhile."""
    try:
        fd = os_layer.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        os_layer.flock(fd)
        if os.path.samestat(os.fstat(fd), path.stat()):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os_layer.close(fd)
        raise
    os_layer.close(fd)
    return None


def _is_newer(orphan: Orphan) -> bool:
    found = orphan.format()
    if found is None or found <= FORMAT:
        return False
    _log.warning("%s has format %d, newer than %d; left as it is", orphan.path, found, FORMAT)
    return True


def _note(found: Found) -> dict[str, Any] | None:
    try:
        return decode_note(found.body)
    except UndecodableError:
        return None


def _is_note(found: Found) -> bool:
    return found.kind in {HEADER, MARK} and _note(found) is not None
