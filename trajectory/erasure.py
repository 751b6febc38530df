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
    await backend.open()
    if folder is not None:
        recovery = await recover(backend, folder)
        if not recovery.is_complete:
            found = recovery.error or f"not all that was left in {folder} could be read and stored"
            raise BackendError(
                f"{found}; nothing was erased. Run `trajectory recover`, mend what it says, and "
                f"run this again"
            )
    deleted = await backend.delete_trajectories(ids)
    if folder is None:
        return Erased(deleted, 0, 0)
    file, wanted = DeadLetterFile(folder), frozenset(ids)
    letters = [letter for letter in file.read() if _trajectory_of(letter) in wanted]
    file.remove(letters)
    living = sum(segment.owner is Owner.LIVING for segment in look(folder))
    return Erased(deleted, len(letters), living)


def _trajectory_of(letter: DeadLetter) -> UUID:
    value = letter.value
    if isinstance(value, Turn | Fact | TrajectoryEnd):
        return value.trajectory_id
    assert isinstance(value, Trajectory)  # noqa: S101 - there is no other kind
    return value.id
