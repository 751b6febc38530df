"""Small values to log, and what a folder gives back."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from factories import FactFactory, TrajectoryEndFactory, TrajectoryFactory, TurnFactory

from trajectory import Turn
from trajectory.journal import Damage, Journal, Journaled, leftovers

ID = UUID(int=7)


def turn(number: int, text: str = "r") -> Turn:
    return Turn(trajectory_id=ID, turn_number=number, prompt="p", response=text)


def turns(count: int, text: str = "r") -> list[Turn]:
    return [turn(number, text) for number in range(1, count + 1)]


def one_of_each() -> list[Journaled]:
    return [
        TrajectoryFactory(full=True),
        TurnFactory(full=True),
        turn(1),
        FactFactory(),
        FactFactory(violation=True),
        TrajectoryEndFactory(failed=True),
    ]


def written(folder: Path, *values: Journaled, stored: int = 0, segment_bytes: int = 2**24) -> None:
    """Leave a journal as a process that died would."""
    journal = Journal(folder, segment_bytes=segment_bytes)
    journal.open()
    for value in values:
        journal.append(value)
    journal.mark(stored)
    died(journal)


def died(journal: Journal) -> None:
    """Let a journal go as a killed process would: the system closes its files."""
    journal.forget()


def replayed(folder: Path, *, remove: bool = False) -> tuple[list[Journaled], list[Damage]]:
    """Read what is left in a folder, and its damage, segment by segment."""
    values, damage = [], []
    for orphan in leftovers(folder):
        values += [value for value, _ in orphan.values()]
        damage.append(orphan.damage)
        if remove:
            orphan.remove()
        else:
            orphan.release()
    return values, damage


def same(one: Journaled, other: Journaled) -> bool:
    """Compare with JSON's types: 1, 1.0 and true differ, and so do 0.0 and -0.0."""
    return type(one) is type(other) and one.model_dump_json() == other.model_dump_json()
