"""Where an export goes: files that appear when they are whole, or a stream."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from trajectory.errors import ConfigurationError, TrajectoryError

_BUFFER_BYTES = 2**18
_MANIFEST = ".manifest.json"
_NAME_WITHOUT_ONE = "trajectories"


class Counting(io.RawIOBase):
    """Passes bytes on, and knows how many there were, and their SHA-256."""

    def __init__(self, name: str | None, out: BinaryIO) -> None:
        super().__init__()
        self.file_name = name
        self.size = 0
        self._out = out
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The SHA-256 of all bytes so far, in hexadecimal."""
        return self._digest.hexdigest()

    @property
    def stream(self) -> BinaryIO:
        """This, by the type that exporters ask for; `write` and `tell` are what they use."""
        return cast("BinaryIO", self)

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def tell(self) -> int:
        """Give the place after the last byte."""
        return self.size

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Pass bytes on, all of them."""
        with memoryview(data) as view:
            self._out.write(view)
            self._digest.update(view)
            self.size += view.nbytes
            return view.nbytes

    def push(self) -> None:
        """Empty the buffer behind it; `flush` is also called where nobody can hear it fail."""
        self._out.flush()


Parts = Iterable[str | None]
"""The names of the parts of an export; one that is not divided has one part, None."""


class Output(Protocol):
    """Where an export goes."""

    def check(self, parts: Parts) -> None:
        """Raise `ConfigurationError` where the outputs can't be made, before anything is read."""
        ...

    def opened(self, parts: Parts) -> AbstractContextManager[dict[str | None, Counting]]:
        """Open an output for each part. What is not completed leaves nothing behind."""
        ...

    def complete(self, manifest: bytes) -> None:
        """Let what is written appear; to be called inside `opened`."""
        ...


class Stream:
    """An output that is open already, such as standard output. It has no parts.

    `manifest` is a file for the manifest; without it there is none.
    """

    def __init__(self, out: BinaryIO, *, manifest: Path | None = None, force: bool = False) -> None:
        self._out = out
        self._manifest = manifest
        self._force = force

    def check(self, parts: Parts) -> None:
        """Refuse parts, and a manifest that is there."""
        if list(parts) != [None]:
            raise ConfigurationError("a split needs files: name one, or a folder")
        if self._manifest is not None:
            _check([self._manifest], force=self._force)

    @contextmanager
    def opened(self, parts: Parts) -> Iterator[dict[str | None, Counting]]:
        """Give the stream, which stays open."""
        yield dict.fromkeys(parts, Counting(None, self._out))

    def complete(self, manifest: bytes) -> None:
        """Write the manifest."""
        self._out.flush()
        if self._manifest is not None:
            _write_whole(self._manifest, manifest, force=self._force)


class Target:
    """A file, or several beside it for the parts of a split, and the manifest of all of them.

    `path` is a file or an existing folder; `suffix` is that of the format. What is written waits
    under other names in the same folder, for nobody else to read, until all is whole. What is there
    already is replaced with `force` alone.
    """

    def __init__(
        self, path: Path, suffix: str, *, manifest: Path | None = None, force: bool = False
    ) -> None:
        self.path = path / f"{_NAME_WITHOUT_ONE}{suffix}" if path.is_dir() else path
        self.manifest = manifest or self.path.parent / f"{self.path.name}{_MANIFEST}"
        self._suffix = suffix
        self._force = force
        self._waiting: dict[Path, Path] = {}

    def file_of(self, part: str | None) -> Path:
        """Name the file of a part: `train` of `chats.jsonl` is `chats.train.jsonl`."""
        if part is None:
            return self.path
        name = self.path.name
        suffix = self._suffix if name.endswith(self._suffix) else self.path.suffix
        stem = name.removesuffix(suffix) if suffix else name
        return self.path.parent / f"{stem}.{part}{suffix}"

    def check(self, parts: Parts) -> None:
        """Refuse what is there, and a folder that isn't."""
        _check([*map(self.file_of, parts), self.manifest], force=self._force)

    @contextmanager
    def opened(self, parts: Parts) -> Iterator[dict[str | None, Counting]]:
        """Open a file for each part; they appear by `complete`, and go away without it."""
        with ExitStack() as stack:
            opened = {}
            for part in parts:
                path = self.file_of(part)
                waiting, out = stack.enter_context(_waiting_file(path.parent))
                self._waiting[path] = waiting
                opened[part] = Counting(path.name, out)
            stack.callback(self._waiting.clear)
            yield opened

    def complete(self, manifest: bytes) -> None:
        """Give the files their names; the manifest comes last, so it never tells of others."""
        if self._force:
            self.manifest.unlink(missing_ok=True)
        for path, waiting in self._waiting.items():
            _rename(waiting, path, force=self._force)
        _write_whole(self.manifest, manifest, force=self._force)


def _check(paths: Iterable[Path], *, force: bool) -> None:
    seen = set()
    for path in paths:
        if not path.name or path.name == "..":
            raise ConfigurationError(f"{path} is no name of a file; give one, or a folder")
        if not path.parent.is_dir():
            raise ConfigurationError(f"there is no folder {path.parent} to write to; make it first")
        if path in seen:
            raise ConfigurationError(f"two of the files would be {path}; give the manifest another")
        seen.add(path)
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            if path.is_symlink():
                mode = stat.S_IFLNK
            else:
                continue
        if not stat.S_ISREG(mode):
            raise ConfigurationError(f"{path} is there, and is no file that could be replaced")
        if not force:
            raise _is_there(path)


def _is_there(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is there already; choose another name, or replace it with --force"
    )


@contextmanager
def _waiting_file(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Make a file that only we can read; it goes away, unless it was given another name."""
    number, name = tempfile.mkstemp(prefix=".trajectory-export-", suffix=".part", dir=folder)
    waiting = Path(name)
    try:
        with os.fdopen(number, "wb", _BUFFER_BYTES) as out:
            try:
                yield waiting, out
            except BaseException:
                with suppress(OSError):  # of a full disk: closing would tell it once more
                    out.close()
                raise
    finally:
        waiting.unlink(missing_ok=True)


def _rename(waiting: Path, path: Path, *, force: bool) -> None:
    """Give a file its name, once it is on the disk. Raises `ConfigurationError` if it is taken."""
    number = os.open(waiting, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
    if force:
        waiting.replace(path)
        return
    try:
        path.hardlink_to(waiting)  # which, unlike a rename, replaces nothing
    except FileExistsError:
        raise _is_there(path) from None
    except OSError:  # a file system without such links
        if path.exists():
            raise _is_there(path) from None
        waiting.replace(path)


def _write_whole(path: Path, content: bytes, *, force: bool) -> None:
    with _waiting_file(path.parent) as (waiting, out):
        out.write(content)
        out.flush()
        _rename(waiting, path, force=force)


@contextmanager
def failures_in_words(where: str) -> Iterator[None]:
    """Raise `TrajectoryError` for what the system says about writing; a reader that left is told.

    So `| head` can end in silence: that stays a `BrokenPipeError`.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise TrajectoryError(f"writing {where} failed: {error.strerror or error}") from error
