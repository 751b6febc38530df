"""The journal mode of a SQLite file: kept in the file, changed only while nobody else uses it."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from typing import Final

from trajectory.errors import BackendUnavailableError

WAIT_S: Final = 10.0
"""How long to try while others use the file: deploys that do the same at once are soon gone."""

_PAUSE_S: Final = 0.02


async def set_wal(path: str, *, on: bool) -> None:
    """Turn the write-ahead log of a file on or off, and make sure of it.

    Raises `BackendUnavailableError` if others use the file for longer than `WAIT_S`.
    """
    mode = "wal" if on else "delete"
    clock = asyncio.get_running_loop().time
    deadline = clock() + WAIT_S
    while (found := await asyncio.to_thread(_change, path, mode)) != mode:
        if clock() > deadline:
            raise BackendUnavailableError(
                f"the journal mode of {path} is still not {mode} (SQLite says {found}): other "
                f"connections use the file; close them and run it again"
            )
        # SQLite doesn't wait here, whatever the busy timeout. Uneven pauses part the deploys that
        # get in each other's way.
        await asyncio.sleep(_PAUSE_S * (1 + random.random()))  # noqa: S311


def _change(path: str, mode: str) -> str:
    """Try once; give the mode the file is in then, or the error's name."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as file:
        try:
            found = file.execute("PRAGMA journal_mode").fetchone()[0]
            if found != mode:
                found = file.execute(f"PRAGMA journal_mode={mode}").fetchone()[0]
        except sqlite3.OperationalError as error:
            found = error.sqlite_errorname
    return str(found)
