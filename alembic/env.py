"""What `alembic` runs for each command: choose the database, then let the library do the work.

The URL comes from `-x url=...`, then TRAJECTORY_URL, then `sqlalchemy.url` of alembic.ini. A
program that calls Alembic itself can hand over a connection (no URL needed then):
`config.attributes["connection"] = connection`. `-x wal=on` or `-x wal=off` sets the journal mode of
a SQLite file once the command is done.
"""

from __future__ import annotations

import logging
import os
import sys

from alembic import context
from alembic.command import stamp
from alembic.util import CommandError

from trajectory import migrations
from trajectory.backends.sql.environment import run_offline, run_online
from trajectory.backends.sql.schema import Base
from trajectory.backends.sql.urls import normalise
from trajectory.errors import TrajectoryError

KNOWN = ("url", "wal")


def arguments() -> dict[str, str]:
    given = context.get_x_argument(as_dictionary=True)
    unknown = sorted(set(given) - set(KNOWN))
    if unknown:
        raise CommandError(f"-x {unknown[0]}= is unknown; known are {', '.join(KNOWN)}")
    if given.get("wal") not in (None, "on", "off"):
        raise CommandError("-x wal= takes on or off")
    if "wal" in given and context.is_offline_mode():
        raise CommandError("--sql only prints; leave -x wal= out")
    return given


def url(given: dict[str, str]) -> str:
    in_ini = context.config.get_main_option("sqlalchemy.url")
    chosen = given.get("url") or os.environ.get("TRAJECTORY_URL") or in_ini
    if not chosen:
        raise CommandError(
            "no database is named; give one by -x url=..., TRAJECTORY_URL or sqlalchemy.url"
        )
    return chosen


def show_steps() -> None:
    """Print the steps for who typed `alembic`; a program's own logging stays as it is."""
    log = logging.getLogger("alembic.runtime.migration")
    heard = log.handlers or logging.getLogger().handlers
    if context.config.cmd_opts is not None and not heard:
        log.addHandler(logging.StreamHandler(sys.stderr))
        log.setLevel(logging.INFO)


def run() -> None:
    given = arguments()
    config = context.config
    config.attributes["target_metadata"] = Base.metadata  # what `alembic check` compares with
    connection = config.attributes.get("connection")
    typed = getattr(config.cmd_opts, "cmd", None)
    stamps = typed is not None and typed[0] is stamp
    if context.is_offline_mode():
        run_offline(context, normalise(url(given)).get_backend_name())
    elif connection is not None:
        run_online(context, connection, stamps=stamps)
    else:
        wal = {None: None, "on": True, "off": False}[given.get("wal")]
        migrations.run_at(context, url(given), wal=wal, stamps=stamps)


show_steps()
try:
    run()
except TrajectoryError as error:
    raise CommandError(str(error)) from error
