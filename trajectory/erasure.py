"""Erasing trajectories: from the database, from journals that were left, and from dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from trajectory.backend import StorageBackend
from trajectory.dead_letters import DeadLetter, DeadLetterFile
from trajectory.errors import BackendError
from trajectory.models import Fact, Trajectory, TrajectoryEnd, Turn
from trajectory.recovery import recover
from trajectory.survey import Owner, look


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased, and where some of it may lie still."""

    trajectories: int
    dead_letters: int
    living: int
    """Journals of processes that run now. What waits in them is stored later, and what they had
    stored goes with the file when they close: erase again then."""


async def erase(backend: StorageBackend, folder: Path | None, ids: Sequence[UUID]) -> Erased:
    """Delete trajectories with all that belongs to them, wherever it is kept.

    What dead processes left is stored first, so none of it comes back at the next start; then the
    rows go, and the dead letters. Not erased: what a running logger logs of them from now on, and
    what could not be read of a damaged journal (`.bad` files).

    Raises `BackendError` where something that was left could not be stored or read: it might come
    back later, so nothing is erased then.
    """
    if folder is not None:
        await store_left(backend, folder)
    else:
        await backend.open()
    deleted = await backend.delete_trajectories(ids)
    if folder is None:
        return Erased(deleted, 0, 0)
    letters = remove_letters(folder, frozenset(ids))
    return Erased(deleted, letters, living_journals(folder))


async def store_left(backend: StorageBackend, folder: Path) -> None:
    """Store what dead processes left, so that nothing of it comes back once it is deleted.

    Raises `BackendError` where something could not be stored or read.
    """
    await backend.open()
    recovery = await recover(backend, folder)
    if not recovery.is_complete:
        found = recovery.error or f"not all that was left in {folder} could be read and stored"
        raise BackendError(
            f"{found}; nothing was erased. Run `trajectory recover`, mend what it says, and "
            f"run this again"
        )


def remove_letters(folder: Path, ids: frozenset[UUID]) -> int:
    """Remove the dead letters of some trajectories; say how many there were."""
    file = DeadLetterFile(folder)
    letters = [letter for letter in file.read() if trajectory_of(letter) in ids]
    file.remove(letters)
    return len(letters)


def living_journals(folder: Path) -> int:
    """Count the journals of processes that run now."""
    return sum(segment.owner is Owner.LIVING for segment in look(folder))


def trajectory_of(letter: DeadLetter) -> UUID:
    """Say whose it is."""
    value = letter.value
    if isinstance(value, Turn | Fact | TrajectoryEnd):
        return value.trajectory_id
    assert isinstance(value, Trajectory)  # noqa: S101 - there is no other kind
    return value.id
