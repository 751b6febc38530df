"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DB = "trajectories.db"
DB_VARIABLE = "TRAJECTORY_URL"

Db = Annotated[
    str,
    typer.Option(
        "--db",
        envvar=DB_VARIABLE,
        metavar="URL",
        help="The database: a URL or the path of a SQLite file.",
    ),
]
"""Where the database is. Use it as `db: Db = DEFAULT_DB`."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]
"""Whether a program reads the answer. Use it as `json: Json = False`."""

JournalDir = Annotated[
    Path | None,
    typer.Option(
        "--journal-dir",
        metavar="DIR",
        help="The journal_dir of the loggers, if they have one; else TRAJECTORY_JOURNAL_DIR.",
    ),
]
"""Where the journals are. Use it as `journal_dir: JournalDir = None`."""
