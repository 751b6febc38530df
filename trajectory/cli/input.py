"""Input for commands that read: a file, a pipe or a terminal, live, and never in the loop's way."""

from __future__ import annotations

import asyncio
import io
import os
import select
import stat
import sys
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from trajectory.errors import ConfigurationError, TrajectoryError

STDIN = "-"

_Piece = TypeVar("_Piece")


class ReadError(TrajectoryError):
    """An input that was opened can't be read to its end."""


class Input(io.RawIOBase):
    """Bytes of a file or of standard input, as they come: `read` waits for some, not for all.

    `stop` ends a `read` that waits in another thread; the input is at its end from then on.
    """

    def __init__(self, path: str) -> None:
        """Open a path, or standard input for `-`. Raises `ConfigurationError`."""
        super().__init__()
        self.label = "standard input" if path == STDIN else path
        self.position = 0
        self._owned: list[int] = []
        try:
            # A named pipe that nobody writes to yet would hold `open` where nothing can end it.
            flags = os.O_RDONLY | os.O_NONBLOCK
            self._fd = self._stdin() if path == STDIN else self._own(os.open(path, flags))
            self._stop_seen, self._stop_told = map(self._own, os.pipe())
            state = os.fstat(self._fd)
        except (OSError, ValueError) as error:  # ValueError: NUL in a path, or no file behind it
            self.close()
            reason = error.strerror if isinstance(error, OSError) else None
            raise ConfigurationError(
                f"can't read {self.label}: {reason or 'there is nothing to read from'}; "
                f"give the path of a file, or {STDIN} for standard input"
            ) from error
        if stat.S_ISDIR(state.st_mode):
            self.close()
            raise ConfigurationError(f"can't read {self.label}: it is a folder; name its files")
        is_file = stat.S_ISREG(state.st_mode)
        self.size = state.st_size if is_file else None
        """Bytes in all, where that is known."""
        self.changed_at = datetime.fromtimestamp(state.st_mtime, UTC) if is_file else None
        """When a file was last changed; None for a pipe."""
        self.is_terminal = os.isatty(self._fd)

    @staticmethod
    def _stdin() -> int:
        if sys.stdin is None:
            raise ValueError
        return sys.stdin.fileno()

    def _own(self, fd: int) -> int:
        self._owned.append(fd)
        return fd

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Wait for bytes and take what is there; 0 at the end, or once stopped."""
        poll = select.poll()
        for fd in (self._fd, self._stop_seen):
            poll.register(fd, select.POLLIN)
        while True:
            if any(fd == self._stop_seen for fd, _ in poll.poll()):
                return 0
            try:
                count = os.readv(self._fd, [buffer])
            except BlockingIOError:  # another reader of the same pipe was faster
                continue
            except OSError as error:
                raise ReadError(f"reading {self.label} failed: {error.strerror}") from error
            self.position += count
            return count

    def stop(self) -> None:
        """End the reading, from any thread. Safe twice."""
        os.write(self._stop_told, b".")

    def close(self) -> None:
        """Close what was opened; standard input stays open."""
        while self._owned:
            os.close(self._owned.pop())
        super().close()


class Stoppable(Protocol):
    """What can be told, from another thread, to end its reading."""

    def stop(self) -> None:
        """End the reading. Safe twice."""
        ...


async def pulled(source: Stoppable, pull: Callable[[], _Piece | None]) -> AsyncGenerator[_Piece]:
    """Call `pull` in a thread of its own, once for each piece that is taken, until it has none.

    So a slow producer blocks no loop, and a fast one is never more than a piece ahead. Close the
    generator: that stops the source and ends the thread.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix="trajectory-input") as thread:
        try:
            while piece := await loop.run_in_executor(thread, pull):
                yield piece
        finally:
            source.stop()
