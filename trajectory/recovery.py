"""Recovery by hand: what dead processes left is stored, and dead letters are written again.

A logger replays at its start and waits for a database that is away as long as it takes. Here a
person waits for the answer: nothing is tried twice, and what could not be done is told.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from trajectory.backend import Batch, StorageBackend, Survives
from trajectory.buffer import Buffered, next_batch
from trajectory.dead_letters import DeadLetter, DeadLetterError, DeadLetterFile
from trajectory.errors import (
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    PartialWriteError,
)
from trajectory.isolation import write_isolating
from trajectory.journal import JournalError, Orphan, leftovers
from trajectory.placement import folder_of
from trajectory.survey import Owner, Segment, look

_VALUES = 100


@dataclass(slots=True)
class Recovery:
    """What a replay found and did, segment by segment, in order of age."""

    folder: Path
    segments: list[Segment] = field(default_factory=list)
    error: str | None = None
    """Why it stopped early. What was stored before stays stored."""

    @property
    def is_complete(self) -> bool:
        """Whether all that dead processes left is stored."""
        return self.error is None and not any(each.needs_care for each in self.segments)


@dataclass(slots=True)
class Retried:
    """What became of dead letters that were written again."""

    stored: int = 0
    refused: list[DeadLetter] = field(default_factory=list)
    """Each with its newest reason; they stay in the file."""
    error: str | None = None
    """Why it stopped early; what was not tried stays in the file."""


def folder_for(backend: StorageBackend, journal_dir: Path | None) -> Path:
    """Give the folder of a backend's journals and dead letters.

    Raises `ConfigurationError` for one that has none, or that nothing outlives: what is replayed
    there would be lost.
    """
    capabilities = backend.capabilities
    if capabilities.survives is Survives.NOTHING:
        raise ConfigurationError(
            f"{backend!r} lives in memory, so there is nothing to recover into; name the database "
            f"with --db"
        )
    folder = folder_of(capabilities.identity, journal_dir)
    if folder is None:
        raise ConfigurationError(
            f"{backend!r} doesn't say where its journals are; name their folder with --journal-dir"
        )
    return folder


async def recover(backend: StorageBackend, folder: Path) -> Recovery:
    """Store what dead processes left in a folder, and remove the segments that are stored.

    Idempotent, and safe beside loggers that run. What the backend refuses for its content becomes
    a dead letter. The backend is opened if there is something to store, and left open. Files are
    read on the calling thread. Raises `JournalError` if the folder can't be read, and what `open`
    raises for a configuration; any other failure is in the answer.
    """
    recovery = Recovery(folder)
    orphans = leftovers(folder)
    try:
        if orphans:
            await backend.open()
        for orphan in orphans:
            segment = Segment(orphan.path, Owner.DEAD, orphan.size, tried=True)
            recovery.segments.append(segment)
            await _replay(backend, orphan, segment, DeadLetterFile(folder))
            orphan.release()
    except (BackendError, DeadLetterError) as error:
        recovery.error = str(error)
    finally:
        for orphan in orphans:
            orphan.release()
    met = {segment.path for segment in recovery.segments}
    recovery.segments += [segment for segment in look(folder) if segment.path not in met]
    return recovery


async def _replay(
    backend: StorageBackend, orphan: Orphan, segment: Segment, dead_letters: DeadLetterFile
) -> None:
    async def settle(values: Sequence[Buffered], refusal: Exception | None) -> None:
        if refusal is None:
            segment.count([value for value, _size, _time in values])
        else:
            await dead_letters.add(DeadLetter.of(values[0][0], refusal))
            segment.dead_lettered += 1

    values = orphan.values()
    try:
        while chunk := next_batch(values):
            await write_isolating(chunk, _Once(backend).write, settle)
        segment.note_damage(orphan)
        orphan.remove()
        segment.removed = True
    except JournalError as error:
        segment.problem = str(error)


class _Once:
    """Writes to a backend once; a database that is away is an error."""

    def __init__(self, backend: StorageBackend) -> None:
        self._backend = backend

    async def write(self, batch: Batch) -> None:
        try:
            await self._backend.write(batch)
        except PartialWriteError as error:
            if isinstance(error.__cause__, BackendUnavailableError):
                raise error.__cause__ from None
            raise


async def retry_dead_letters(backend: StorageBackend, letters: DeadLetterFile) -> Retried:
    """Write each dead letter again; those that are stored leave the file, the others stay.

    A letter that is refused for another reason than before is kept with the new one. The backend
    is opened if there are letters, and left open. Safe beside loggers that add some. Raises
    `DeadLetterError` if the file can't be read, and what `open` raises for a configuration.
    """
    retried = Retried()
    waiting = list(letters.read())
    try:
        if waiting:
            await backend.open()
        for start in range(0, len(waiting), _VALUES):
            await _retry(backend, letters, waiting[start : start + _VALUES], retried)
    except (BackendError, DeadLetterError) as error:
        retried.error = str(error)
    return retried


async def _retry(
    backend: StorageBackend, file: DeadLetterFile, letters: list[DeadLetter], retried: Retried
) -> None:
    left = iter(letters)  # what is settled comes in order

    async def settle(values: Sequence[Buffered], refusal: Exception | None) -> None:
        settled = list(islice(left, len(values)))
        if refusal is None:
            file.remove(settled)
            retried.stored += len(settled)
            return
        [old] = settled
        new = DeadLetter.of(old.value, refusal)
        if (new.error, new.reason) == (old.error, old.reason):
            new = old
        else:
            file.replace(new)
        retried.refused.append(new)

    batch: list[Buffered] = [(letter.value, 0, 0.0) for letter in letters]
    await write_isolating(batch, _Once(backend).write, settle)


def export_dead_letters(letters: DeadLetterFile, target: Path) -> int:
    """Copy the dead letters, content and all, as JSON Lines into a new private file; count them.

    Raises `ConfigurationError` if the file is there already or can't be made, `DeadLetterError`
    if it can't be written whole: nothing of it is left then.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(target, flags, 0o600)
    except FileExistsError:
        raise ConfigurationError(
            f"{target} is there already, and is left as it is; name a new file"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"can't make {target}: {error.strerror}") from error
    count = 0
    try:
        with os.fdopen(fd, "wb") as file:
            for letter in letters.read():
                file.write(letter.to_json().encode() + b"\n")
                count += 1
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise DeadLetterError(f"can't write {target}: {error.strerror}") from error
        raise
    return count
