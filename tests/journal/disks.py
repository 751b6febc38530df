"""Disks that fail, and disks that forget, in place of the operating system."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from trajectory.journal import REAL

Failure = Callable[[int, str], bool]
"""Says whether a call fails, given its number (from 1) and its name."""


class Disk:
    """The real one, with a look at each call before it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def step(self, call: str) -> None:
        self.calls.append(call)

    def make_folder(self, path: Path) -> None:
        self.step("make_folder")
        REAL.make_folder(path)

    def open(self, path: Path, flags: int) -> int:
        self.step("open")
        return REAL.open(path, flags)

    def close(self, fd: int) -> None:
        self.step("close")
        REAL.close(fd)

    def flock(self, fd: int) -> None:
        self.step("flock")
        REAL.flock(fd)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        self.step("read")
        return REAL.read(fd, size, offset)

    def write(self, fd: int, content: bytes | bytearray) -> int:
        self.step("write")
        return REAL.write(fd, content)

    def truncate(self, fd: int, size: int) -> None:
        self.step("truncate")
        REAL.truncate(fd, size)

    def sync(self, fd: int) -> None:
        self.step("sync")
        REAL.sync(fd)

    def sync_folder(self, path: Path) -> None:
        self.step("sync_folder")
        REAL.sync_folder(path)

    def rename(self, old: Path, new: Path) -> None:
        self.step("rename")
        REAL.rename(old, new)

    def unlink(self, path: Path) -> None:
        self.step("unlink")
        REAL.unlink(path)


class FailingDisk(Disk):
    """Fails the calls that `fails` names. A failing close closes nevertheless, as on Linux."""

    def __init__(self, fails: Failure, *, short: bool = False) -> None:
        super().__init__()
        self.fails = fails
        self.failed = 0
        self._short = short

    def step(self, call: str) -> None:
        super().step(call)
        if call not in {"close", "write"} and self.fails(len(self.calls), call):
            self.failed += 1
            raise OSError(errno.EIO, "made to fail")

    def close(self, fd: int) -> None:
        super().close(fd)
        if self.fails(len(self.calls), "close"):
            self.failed += 1
            raise OSError(errno.EIO, "made to fail")

    def write(self, fd: int, content: bytes | bytearray) -> int:
        self.step("write")
        if not self.fails(len(self.calls), "write"):
            return REAL.write(fd, content)
        self.failed += 1
        if self._short:
            return REAL.write(fd, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "made to fail")


class GatedDisk(Disk):
    """Holds each sync until the gate is open, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.entered = threading.Event()

    def sync(self, fd: int) -> None:
        self.entered.set()
        assert self.gate.wait(20)
        super().sync(fd)


class ForgetfulDisk(Disk):
    """Knows at each call what a power loss would leave: only what was synced, files and names.

    `moments` has that for each call, with what `ledger` said at that time.
    """

    def __init__(self, root: Path, ledger: Callable[[], tuple[int, int]]) -> None:
        super().__init__()
        root.mkdir(exist_ok=True)
        self._root = root
        self._ledger = ledger
        self._content: dict[int, bytes] = {}
        self._names: dict[Path, dict[str, int]] = {root: {}}
        self.moments: list[tuple[tuple[int, int], dict[Path, bytes]]] = []

    def step(self, call: str) -> None:
        super().step(call)
        self.moments.append((self._ledger(), self.left()))

    def left(self) -> dict[Path, bytes]:
        """Give the files that a power loss would leave now."""
        return self._walk(self._root, Path())

    def _walk(self, folder: Path, place: Path) -> dict[Path, bytes]:
        files: dict[Path, bytes] = {}
        for name, inode in self._names.get(folder, {}).items():
            if folder / name in self._folders:
                files |= self._walk(folder / name, place / name)
            else:
                files[place / name] = self._content.get(inode, b"")
        return files

    @property
    def _folders(self) -> set[Path]:
        return {self._root, *(path for path in self._root.rglob("*") if path.is_dir())}

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self._content[os.fstat(fd).st_ino] = os.pread(fd, 2**20, 0)

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self._names[path] = {each.name: each.stat().st_ino for each in path.iterdir()}
