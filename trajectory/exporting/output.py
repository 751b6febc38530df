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
from typing import BinaryIO, NamedTuple, Protocol, cast

from trajectory.errors import ConfigurationError, TrajectoryError

_BUFFER_BYTES = 2**18
_MANIFEST = ".manifest.json"
_OF_DATABASE = ("", "-wal", "-shm", "-journal")
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

    `manifest` is a file for the manifest; without it there is none. `spared` is a database that
    it must not replace.
    """

    def __init__(
        self,
        out: BinaryIO,
        *,
        manifest: Path | None = None,
        force: bool = False,
        spared: Path | None = None,
    ) -> None:
        self._out = out
        self._manifest = manifest
        self._force = force
        self._spared = spared
        self._waiting: _Waiting | None = None

    def check(self, parts: Parts) -> None:
        """Refuse parts, and a manifest that is there."""
        if list(parts) != [None]:
            raise ConfigurationError("a split needs files: name one, or a folder")
        if self._manifest is not None:
            _check([self._manifest], force=self._force, spared=self._spared)

    @contextmanager
    def opened(self, parts: Parts) -> Iterator[dict[str | None, Counting]]:
        """Give the stream, which stays open."""
        with ExitStack() as stack:
            if self._manifest is not None:
                self._waiting = stack.enter_context(_waiting_file(self._manifest.parent))
            yield dict.fromkeys(parts, Counting(None, self._out))

    def complete(self, manifest: bytes) -> None:
        """Write the manifest."""
        self._out.flush()
        if self._manifest is not None and self._waiting is not None:
            self._waiting.write(manifest)
            _name({self._manifest: self._waiting}, force=self._force)


class Target:
    """A file, or several beside it for the parts of a split, and the manifest of all of them.

    `path` is a file or an existing folder; `suffix` is that of the format. What is written waits
    under other names in the same folder, for nobody else to read, until all is whole. What is there
    already is replaced with `force` alone, and `spared` never: the database that is read.
    """

    def __init__(
        self,
        path: Path,
        suffix: str,
        *,
        manifest: Path | None = None,
        force: bool = False,
        spared: Path | None = None,
    ) -> None:
        self.path = path / f"{_NAME_WITHOUT_ONE}{suffix}" if _is_folder(path) else path
        self.manifest = manifest or self.path.parent / f"{self.path.name}{_MANIFEST}"
        self._suffix = suffix
        self._force = force
        self._spared = spared
        self._waiting: dict[Path, _Waiting] = {}

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
        files = [*map(self.file_of, parts), self.manifest]
        _check(files, force=self._force, spared=self._spared)

    @contextmanager
    def opened(self, parts: Parts) -> Iterator[dict[str | None, Counting]]:
        """Open a file for each part; they appear by `complete`, and go away without it."""
        with ExitStack() as stack:
            opened = {}
            for part in parts:
                path = self.file_of(part)
                self._waiting[path] = waiting = stack.enter_context(_waiting_file(path.parent))
                opened[part] = Counting(path.name, waiting.out)
            # A manifest that can't be written is told before anything is read. It gets its name
            # last, so it never tells of other files.
            waiting = stack.enter_context(_waiting_file(self.manifest.parent))
            self._waiting[self.manifest] = waiting
            stack.callback(self._waiting.clear)
            yield opened

    def complete(self, manifest: bytes) -> None:
        """Give the files their names, all of them or, where nothing is replaced, none."""
        self._waiting[self.manifest].write(manifest)
        _name(self._waiting, force=self._force)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise _cant_be_used(path, error) from None


def _cant_be_used(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{path} can't be written to: {error.strerror or error}; choose another name"
    )


def _check(paths: Iterable[Path], *, force: bool, spared: Path | None) -> None:
    seen = set()
    kept = {f"{spared}{suffix}" for suffix in _OF_DATABASE} if spared is not None else set()
    for path in paths:
        if os.path.realpath(path) in kept:
            raise ConfigurationError(f"{path} is the database that is read; choose another name")
        if not path.name or path.name == "..":
            raise ConfigurationError(f"{path} is no name of a file; give one, or a folder")
        if not _is_folder(path.parent):
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
        except OSError as error:
            raise _cant_be_used(path, error) from None
        if not stat.S_ISREG(mode):
            raise ConfigurationError(f"{path} is there, and is no file that could be replaced")
        if not force:
            raise _is_there(path)


def _is_there(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is there already; choose another name, or replace it with --force"
    )


class _Waiting(NamedTuple):
    """A file that has no name of its own yet, and what writes to it."""

    path: Path
    out: BinaryIO

    def write(self, content: bytes) -> None:
        """Write all there is to be in it."""
        self.out.write(content)
        self.out.flush()

    def sync(self) -> None:
        """Wait until it is on the disk."""
        self.out.flush()
        os.fsync(self.out.fileno())


@contextmanager
def _waiting_file(folder: Path) -> Iterator[_Waiting]:
    """Make a file that only we can read; it goes away, unless it was given another name."""
    number, name = tempfile.mkstemp(prefix=".trajectory-export-", suffix=".part", dir=folder)
    waiting = Path(name)
    try:
        with os.fdopen(number, "wb", _BUFFER_BYTES) as out:
            try:
                yield _Waiting(waiting, out)
            except BaseException:
                with suppress(OSError):  # of a full disk: closing would tell it once more
                    out.close()
                raise
    finally:
        waiting.unlink(missing_ok=True)


def _name(files: dict[Path, _Waiting], *, force: bool) -> None:
    """Give files their names, once all are on the disk.

    Raises `ConfigurationError` if one is taken. Where one can't be given, those that were given
    before and replaced nothing are taken away again.
    """
    for waiting in files.values():
        waiting.sync()
    last = next(reversed(files))
    if force and len(files) > 1:
        last.unlink(missing_ok=True)
    with ExitStack() as undo:
        for path, waiting in files.items():
            is_new = not force or not path.exists()
            _rename(waiting.path, path, force=force)
            if is_new:
                undo.callback(path.unlink, missing_ok=True)
        undo.pop_all()


def _rename(waiting: Path, path: Path, *, force: bool) -> None:
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
