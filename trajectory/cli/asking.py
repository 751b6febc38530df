"""The question before something is deleted for good."""

from __future__ import annotations

import typer

from trajectory.cli import progress
from trajectory.cli.running import run
from trajectory.errors import ConfigurationError
from trajectory.store import TrajectoryStore


def confirmed(db: str, question: str) -> None:
    """Ask on stderr, once the database is found; leave with 1 unless the answer is yes.

    Raises `ConfigurationError` where there is no database, or nobody who could answer.
    """
    run(_look(db))
    if not progress.can_be_asked():
        raise ConfigurationError(
            "there is no way back, and nobody here who could be asked; say --yes to do it unasked"
        )
    typer.confirm(question, abort=True, err=True)


async def _look(db: str) -> None:
    """Open the database and close it."""
    async with TrajectoryStore(db):
        pass
