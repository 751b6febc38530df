"""The calls by which the journal touches the disk, in one place, so that tests can break each."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Protocol


class OsLayer(Protocol):
    """What the journal asks of the operating system. Each call raises `OSError`."""

    def make_folder(self, path: Path) -> None:
        """Make one private folder, whose parent exists."""

    def open(self, path: Path, flags: int) -> int:
        """Open a file; one that is created is private under any umask."""

    def close(self, fd: int) -> None:
        """Close a file."""

    def flock(self, fd: int) -> None:
        """Lock a file for this process; `BlockingIOError` if another has it."""

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Read at an offset; fewer bytes only at the end."""

    def write(self, fd: int, content: bytes | bytearray) -> int:
        """Append; give the number of bytes that were written, which may be fewer."""

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file."""

    def sync(self, fd: int) -> None:
        """Return when the file's content survives power loss."""

    def sync_folder(self, path: Path) -> None:
        """Return when the names in a folder survive power loss."""

    def rename(self, old: Path, new: Path) -> None:
        """Rename a file."""

    def unlink(self, path: Path) -> None:
        """Remove a name."""


class _Real:
    """The operating system itself."""

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700)
        path.chmod(0o700)

    def open(self, path: Path, flags: int) -> int:
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if flags & os.O_CREAT:
            try:
                os.fchmod(fd, 0o600)
            except OSError:
                os.close(fd)
                raise
        return fd

    def close(self, fd: int) -> None:
        os.close(fd)

    def flock(self, fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        content = os.pread(fd, size, offset)
        while 0 < len(content) < size:
            more = os.pread(fd, size - len(content), offset + len(content))
            if not more:
                break
            content += more
        return content

    # The journal writes and cuts far more often than all else: no frame of Python around them.
    write = staticmethod(os.write)
    truncate = staticmethod(os.ftruncate)
    # macOS, and a few others, have no fdatasync.
    sync = staticmethod(getattr(os, "fdatasync", os.fsync))

    def sync_folder(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        except OSError as error:
            # Some file systems can't, and keep names in order by themselves.
            if error.errno != errno.EINVAL:
                raise
        finally:
            os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def unlink(self, path: Path) -> None:
        path.unlink()


REAL: OsLayer = _Real()
