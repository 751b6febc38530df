"""`trajectory db`: bring a database's schema to where this version needs it, and ask about it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trajectory.cli import screen
from trajectory.cli.options import DEFAULT_DB, Db, Json
from trajectory.errors import ConfigurationError

if TYPE_CHECKING:
    from trajectory.migrations import Schema

app = typer.Typer(
    help="Create, upgrade and check the schema of a database.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class Switch(StrEnum):
    """A phase that can be turned on and off."""

    ON = "on"
    OFF = "off"


@app.command()
def upgrade(
    db: Db = DEFAULT_DB,
    *,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the SQL for an empty database instead.")
    ] = False,
    wal: Annotated[
        Switch | None,
        typer.Option("--wal", help="Then turn the write-ahead log of a SQLite file on or off."),
    ] = None,
    json: Json = False,
) -> None:
    """Create the schema, or upgrade it to what this version needs.

    Safe to repeat, and to run by many deploys at once. Exit code 0 means that it is reached (or
    that a newer version was here, and only added to it).
    """
    from trajectory import migrations

    if sql:
        if wal is not None or json:
            raise ConfigurationError("--sql only prints; leave --wal and --json out")
        screen.out(migrations.script(db))
        return
    found = migrations.upgrade(db, wal=None if wal is None else wal is Switch.ON)
    _show(db, found, json=json, more={} if wal is None else {"wal": wal.value})


@app.command()
def current(db: Db = DEFAULT_DB, *, json: Json = False) -> None:
    """Say which revision the database is at, and which this version needs.

    Exit code 0 means that there is an answer; `check` judges it.
    """
    from trajectory import migrations

    _refuse_folder(db)
    _show(db, migrations.current(db), json=json)


@app.command()
def check(db: Db = DEFAULT_DB, *, json: Json = False) -> None:
    """Exit with 0 if this version can write to the database, with 1 and the reason if not.

    For init containers and readiness probes: changes nothing and is quick.
    """
    from trajectory import migrations

    _refuse_folder(db)
    if json:
        found = migrations.current(db, writing=True)
        _show(db, found, json=True)
        raise typer.Exit(0 if found.usable else 1)
    _show(db, migrations.check(db), json=False)


def _refuse_folder(db: str) -> None:
    """Tell it before a driver does: SQLite's own words for it don't help."""
    path = db.removeprefix("sqlite:///")
    if "://" not in path and Path(path).is_dir():
        raise ConfigurationError(f"{path} is a folder; name a file in it")


def _show(db: str, found: Schema, *, json: bool, more: dict[str, str] | None = None) -> None:
    from trajectory import migrations

    where, more = migrations.masked(db), more or {}
    if json:
        told = {"revision": found.revision, "needed": found.needed, "standing": found.standing}
        screen.answer({"db": where, **told, "usable": found.usable, **more})
        return
    needs = "" if found.revision == found.needed else f", this version needs {found.needed}"
    line = f"{where}: revision {found.revision or 'none'} ({found.standing}){needs}"
    screen.say(line + "".join(f", {name} {value}" for name, value in more.items()))
