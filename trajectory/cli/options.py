"""Options that many commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_DB = "trajectories.db"

Db = Annotated[
    str,
    typer.Option(
        "--db",
        envvar="TRAJECTORY_URL",
        metavar="URL",
        help="The database: a URL or the path of a SQLite file.",
    ),
]
"""Where the database is. Use it as `db: Db = DEFAULT_DB`."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]
"""Whether a program reads the answer. Use it as `json: Json = False`."""
