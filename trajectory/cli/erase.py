"""`trajectory erase`: what must not be kept, out of the database, journals and dead letters."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from trajectory.backends import open_backend
from trajectory.cli import screen
from trajectory.cli.asking import confirmed
from trajectory.cli.options import DEFAULT_DB, Db, JournalDir, Json
from trajectory.cli.recover import journal_folder
from trajectory.cli.running import run
from trajectory.erasure import Erased, erase
from trajectory.placement import folder_of
from trajectory.words import counted


def erase_(
    ids: Annotated[list[UUID], typer.Argument(metavar="ID...", help="Trajectories to erase.")],
    db: Db = DEFAULT_DB,
    *,
    journal_dir: JournalDir = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    json: Json = False,
) -> None:
    """Erase trajectories for good: their turns, what dead processes left of them, dead letters.

    There is no way back. A file gives its free pages back to the disk later.

    Exit codes: 0 done; 1 not wanted after all, or the database failed; 2 wrong use;
    130 interrupted.
    """
    if not yes:
        confirmed(db, f"erase {counted(len(ids), 'trajectory', 'trajectories')} for good?")
    erased = run(_erase(db, ids, journal_dir=journal_dir))
    if json:
        screen.answer(
            {
                "trajectories": erased.trajectories,
                "dead_letters": erased.dead_letters,
                "living_journals": erased.living,
            }
        )
        return
    screen.say(
        f"{counted(erased.trajectories, 'trajectory', 'trajectories')} and "
        f"{counted(erased.dead_letters, 'dead letter')} erased"
    )
    if erased.living:
        screen.say(
            f"{counted(erased.living, 'journal')} of running programs may hold more of it; run "
            f"this again when they have closed"
        )


async def _erase(db: str, ids: list[UUID], *, journal_dir: JournalDir) -> Erased:
    backend = open_backend(db)
    try:
        folder = folder_of(backend.capabilities.identity, journal_folder(journal_dir))
        return await erase(backend, folder, ids)
    finally:
        await backend.close()
