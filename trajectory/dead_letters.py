"""What a backend refused for its content: kept aside, each with its reason, instead of lost.

One JSON object a line: `reason`, `error` (the class), `refused_at`, `kind`, `key` and `value`. The
file is private, and shared by the processes that write to one database.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from trajectory.errors import InvalidTurnError, TrajectoryError, in_words
from trajectory.models import Fact, Logged, Trajectory, TrajectoryEnd, Turn
from trajectory.threads import in_thread

FILE = "dead-letters.jsonl"

_log = logging.getLogger(__name__)

_MODELS: dict[str, type[Logged]] = {
    "turn": Turn,
    "fact": Fact,
    "start": Trajectory,
    "end": TrajectoryEnd,
}
_KINDS = {model: kind for kind, model in _MODELS.items()}
_KEPT_IN_MEMORY = 1000
_pause = threading.Event()
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_LOCK_S = 2
"""So long is a letter held back by another process, and then tried again."""


class DeadLetterError(TrajectoryError):
    """The file of dead letters can't be read or written."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A value that was refused, and why. The reason holds nothing of its content."""

    value: Logged = field(repr=False)
    reason: str
    error: str
    refused_at: datetime

    @classmethod
    def of(cls, value: Logged, error: Exception) -> DeadLetter:
        """Make one of what a backend raised."""
        return cls(value, in_words(error), type(error).__name__, datetime.now(UTC))

    @property
    def kind(self) -> str:
        """What it is: `turn`, `fact`, `start` or `end`."""
        return _KINDS[type(self.value)]

    @property
    def key(self) -> str:
        """What names it: the trajectory's id, and the number of its turn where it has one."""
        value = self.value
        if isinstance(value, Turn | Fact):
            return f"{value.trajectory_id}/{value.turn_number}"
        return str(value.id if isinstance(value, Trajectory) else value.trajectory_id)

    @property
    def identity(self) -> bytes:
        """What two letters share that are of one value, whenever and why it was refused."""
        return hashlib.sha256(f"{self.kind} {self.key} {self._content()}".encode()).digest()

    def _content(self) -> str:
        value = self.value
        kept = value.model_fields_set | {
            name for name, field in type(value).model_fields.items() if field.default_factory
        }
        return value.model_dump_json(exclude=set(type(value).model_fields) - kept)

    def to_json(self) -> str:
        """Write it as a line, without its end."""
        head = {
            "reason": self.reason,
            "error": self.error,
            "refused_at": self.refused_at.isoformat(),
            "kind": self.kind,
            "key": self.key,
        }
        return f'{json.dumps(head)[:-1]}, "value": {self._content()}}}'

    @classmethod
    def from_json(cls, line: str | bytes) -> DeadLetter:
        """Read it from its line. Raises `ValueError`, which an `InvalidTurnError` is."""
        try:
            fields: dict[str, Any] = json.loads(line)
            model = _MODELS[fields["kind"]]
            return cls(
                model.model_validate_json(json.dumps(fields["value"])),
                str(fields["reason"]),
                str(fields["error"]),
                datetime.fromisoformat(fields["refused_at"]),
            )
        except (KeyError, TypeError, RecursionError) as error:
            raise InvalidTurnError(f"no dead letter: {type(error).__name__}") from None


class DeadLetters(Protocol):
    """Where a writer puts what was refused."""

    async def add(self, letter: DeadLetter, /) -> None:
        """Keep a letter, as safely as the place allows. The same one again is no change.

        Raises `DeadLetterError`.
        """


class DeadLettersInMemory:
    """For backends that live in memory: what they refuse lives as long. Keeps the newest."""

    def __init__(self) -> None:
        self.letters: deque[DeadLetter] = deque(maxlen=_KEPT_IN_MEMORY)

    async def add(self, letter: DeadLetter, /) -> None:
        """Keep a letter."""
        self.letters.append(letter)
        _tell(letter, "in memory")


class DeadLetterFile:
    """The dead letters beside a journal."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._new = self.path.with_suffix(".new")
        self._last: DeadLetter | None = None

    async def add(self, letter: DeadLetter, /) -> None:
        """Append a letter, whole or not; it survives power loss on return.

        The one that was added last is not added again: a caller who was cancelled may not know.
        Raises `DeadLetterError`.
        """
        if letter is self._last:
            return
        try:
            await in_thread(lambda: self._append(letter))
        except OSError as error:
            raise DeadLetterError(f"can't write {self.path}: {error.strerror}") from error
        _tell(letter, f"in {self.path}")

    def _append(self, letter: DeadLetter) -> None:
        content = f"{letter.to_json()}\n".encode()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked(os.O_RDWR | os.O_CREAT | os.O_APPEND) as fd:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":  # cut by a power loss
                content = b"\n" + content
            try:
                _write(fd, content)
                os.fsync(fd)
            except BaseException:
                os.ftruncate(fd, size)
                raise
            self._last = letter

    def read(self) -> Iterator[DeadLetter]:
        """Give them, oldest first; one that a killed process wrote twice comes once.

        A line that is none is logged and left out. Raises `DeadLetterError` if the file can't be
        read.
        """
        seen: set[bytes] = set()
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    try:
                        letter = DeadLetter.from_json(line)
                    except ValueError:
                        _log.warning("%s, line %d is no dead letter; left out", self.path, number)
                        continue
                    if letter.identity not in seen:
                        seen.add(letter.identity)
                        yield letter
        except FileNotFoundError:
            return
        except OSError as error:
            raise DeadLetterError(f"can't read {self.path}: {error.strerror}") from error

    def remove(self, done: Iterable[DeadLetter]) -> None:
        """Take out those that are stored now; what another process adds meanwhile stays.

        Raises `DeadLetterError`.
        """
        self._change({letter.identity: None for letter in done})

    def replace(self, letter: DeadLetter) -> None:
        """Keep a letter in place of the one of the same value. Raises `DeadLetterError`."""
        self._change({letter.identity: letter})

    def _change(self, changes: dict[bytes, DeadLetter | None]) -> None:
        try:
            with self._locked(os.O_RDONLY) as fd, os.fdopen(os.dup(fd), "rb") as old:
                kept = []
                for line in old:
                    identity = _identity(line)
                    if identity is None or identity not in changes:
                        kept.append(line)
                    elif (letter := changes[identity]) is not None:
                        kept.append(letter.to_json().encode() + b"\n")
                        changes = {**changes, identity: None}  # once
                if not kept:
                    self.path.unlink()
                    return
                made = os.open(self._new, _CREATE, 0o600)
                try:
                    _write(made, b"".join(kept))
                    os.fsync(made)
                finally:
                    os.close(made)
                self._new.replace(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise DeadLetterError(f"can't write {self.path}: {error.strerror}") from error

    @contextmanager
    def _locked(self, flags: int) -> Iterator[int]:
        """Open the file that is there now, and keep other processes out of it."""
        while True:
            fd = os.open(self.path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                _lock(fd)
                if not _is_there(self.path, fd):
                    continue  # replaced while we waited
                self._new.unlink(missing_ok=True)  # of a process that was killed as it wrote
                if flags & os.O_CREAT:
                    os.fchmod(fd, 0o600)
                yield fd
            finally:
                # A child that was forked meanwhile has a copy of it, which would hold the lock.
                fcntl.flock(fd, fcntl.LOCK_UN)
                os.close(fd)
            return


def _tell(letter: DeadLetter, where: str) -> None:
    _log.error(
        "the %s %s is refused, and kept as a dead letter %s: %s",
        letter.kind,
        letter.key,
        where,
        letter.reason,
    )


def dead_letters_in(folder: Path | None) -> DeadLetters:
    """Give the dead letters of a folder; without one they live in memory."""
    return DeadLettersInMemory() if folder is None else DeadLetterFile(folder)


def _identity(line: bytes) -> bytes | None:
    try:
        return DeadLetter.from_json(line).identity
    except ValueError:
        return None


def _lock(fd: int) -> None:
    """Lock a file; give up where another process keeps it for long."""
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            _pause.wait(0.01)  # in a thread: see `add`
        else:
            return


def _is_there(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _write(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]
