"""What a backend refused for its content: kept aside, each with its reason, instead of lost.

One JSON object a line: `reason`, `error` (the class), `refused_at`, `kind`, `key` and `value`. The
file is private, and shared by the processes that write to one database.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from trajectory.errors import InvalidTurnError, TrajectoryError, in_words
from trajectory.models import Fact, Logged, Trajectory, TrajectoryEnd, Turn

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


class DeadLetterError(TrajectoryError):
    """The file of dead letters can't be read or written."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A value that was refused, and why. The reason holds nothing of its content."""

    value: Logged
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

    def to_json(self) -> str:
        """Write it as a line, without its end."""
        head = {
            "reason": self.reason,
            "error": self.error,
            "refused_at": self.refused_at.isoformat(),
            "kind": self.kind,
            "key": self.key,
        }
        value = self.value
        kept = value.model_fields_set | {
            name for name, field in type(value).model_fields.items() if field.default_factory
        }
        content = value.model_dump_json(exclude=set(type(value).model_fields) - kept)
        return f'{json.dumps(head)[:-1]}, "value": {content}}}'

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

    async def add(self, letters: Sequence[DeadLetter], /) -> None:
        """Keep them, as safely as the place allows. Raises `DeadLetterError`."""


class DeadLettersInMemory:
    """For backends that live in memory: what they refuse lives as long. Keeps the newest."""

    def __init__(self) -> None:
        self.letters: deque[DeadLetter] = deque(maxlen=_KEPT_IN_MEMORY)

    async def add(self, letters: Sequence[DeadLetter], /) -> None:
        """Keep them."""
        self.letters.extend(letters)
        _tell(letters, "in memory")


class DeadLetterFile:
    """The dead letters beside a journal."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    async def add(self, letters: Sequence[DeadLetter], /) -> None:
        """Append them, all or none; they survive power loss on return. Raises `DeadLetterError`."""
        try:
            await asyncio.to_thread(self._append, letters)
        except OSError as error:
            raise DeadLetterError(f"can't write {self.path}: {error.strerror}") from error
        _tell(letters, f"in {self.path}")

    def _append(self, letters: Sequence[DeadLetter]) -> None:
        content = "".join(f"{letter.to_json()}\n" for letter in letters).encode()
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

    def read(self) -> Iterator[DeadLetter]:
        """Give them, oldest first. A line that is none is logged and left out.

        Raises `DeadLetterError` if the file can't be read.
        """
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    try:
                        yield DeadLetter.from_json(line)
                    except ValueError:
                        _log.warning("%s, line %d is no dead letter; left out", self.path, number)
        except FileNotFoundError:
            return
        except OSError as error:
            raise DeadLetterError(f"can't read {self.path}: {error.strerror}") from error

    def remove(self, done: Iterable[DeadLetter]) -> None:
        """Take out those that are stored now; what another process adds meanwhile stays.

        Raises `DeadLetterError`.
        """
        gone = {letter.to_json() for letter in done}
        if not gone:
            return
        new = self.path.with_suffix(".new")
        try:
            with self._locked(os.O_RDONLY) as fd, os.fdopen(os.dup(fd), "rb") as old:
                kept = [line for line in old if line.rstrip(b"\n").decode() not in gone]
                if not kept:
                    self.path.unlink()
                    return
                made = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                try:
                    _write(made, b"".join(kept))
                    os.fsync(made)
                finally:
                    os.close(made)
                new.replace(self.path)
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
                fcntl.flock(fd, fcntl.LOCK_EX)
                if not _is_there(self.path, fd):
                    continue  # replaced while we waited
                if flags & os.O_CREAT:
                    os.fchmod(fd, 0o600)
                yield fd
            finally:
                os.close(fd)
            return


def _tell(letters: Sequence[DeadLetter], where: str) -> None:
    for letter in letters:
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


def _is_there(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _write(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]
