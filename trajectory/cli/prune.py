"""`trajectory prune`: what has been silent for long, out of the database and all beside it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from trajectory.cli import screen
from trajectory.cli.asking import confirmed
from trajectory.cli.options import DEFAULT_DB, Db, JournalDir, Json
from trajectory.cli.recover import journal_folder
from trajectory.cli.running import run
from trajectory.door import now_utc
from trajectory.retention import Pruned
from trajectory.store import TrajectoryStore
from trajectory.when import instant
from trajectory.words import counted

_MIB = 2**20


def prune_(
    *,
    older_than: Annotated[
        str,
        typer.Option(metavar="WHEN", help="An age such as 30d or 12h, a date or a time."),
    ],
    db: Db = DEFAULT_DB,
    journal_dir: JournalDir = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would go, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    json: Json = False,
) -> None:
    """Delete trajectories that have been silent for so long, with all that belongs to them.

    Goes by last activity: start, end or newest turn. What runs is left alone, and a running program
    goes on logging meanwhile. Journals that dead processes left are stored first. There is no way
    back; try --dry-run first.

    Exit codes: 0 done; 1 not wanted after all, or the database failed; 2 wrong use; 130 interrupted
    (what was deleted before is gone).
    """
    before = instant(older_than, now_utc(), "--older-than")
    if not dry_run and not yes:
        confirmed(
            db, f"delete all trajectories that have been silent since {before:%Y-%m-%d %H:%M} UTC?"
        )
    pruned = run(_prune(db, before, dry_run=dry_run, journal_dir=journal_dir))
    if json:
        screen.answer(
            {
                "trajectories": pruned.trajectories,
                "turns": pruned.turns,
                "dead_letters": pruned.dead_letters,
                "freed_bytes": pruned.freed_bytes,
                "living_journals": pruned.living,
                "before": before.isoformat(),
                "dry_run": dry_run,
            }
        )
        return
    freed = f", {pruned.freed_bytes / _MIB:.1f} MiB given back" if pruned.freed_bytes else ""
    screen.say(
        f"{counted(pruned.trajectories, 'trajectory', 'trajectories')} with "
        f"{counted(pruned.turns, 'turn')} and {counted(pruned.dead_letters, 'dead letter')} "
        f"{'would go' if dry_run else 'deleted'}{freed}"
    )
    if pruned.living:
        screen.note(
            f"{counted(pruned.living, 'journal')} of running programs may hold more, which is "
            f"stored later"
        )


async def _prune(db: str, before: datetime, *, dry_run: bool, journal_dir: JournalDir) -> Pruned:
    async with TrajectoryStore(db) as store:
        folder = journal_folder(journal_dir)
        return await store.prune(before, dry_run=dry_run, journal_dir=folder)
