"""Where the schema of a database stands, seen from this version of the library.

Revisions are four-digit numbers that grow. `trajectory_alembic_version` holds the number a
database is at, `trajectory_schema` the oldest number whose programs may still write there: an older
program, which can't know newer revisions, compares that with its own.
"""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import Final, NamedTuple

import sqlalchemy as sa

from trajectory.errors import SchemaError

HEAD: Final = "0001"
"""The revision that this version of the library needs."""

VERSION_TABLE: Final = "trajectory_alembic_version"
"""A name of our own, so that a database can be shared with other users of Alembic."""

TABLES: Final = (
    "trajectories",
    "trajectory_turns",
    "trajectory_messages",
    "trajectory_tool_calls",
    "trajectory_questions",
    "trajectory_violations",
)
"""The tables of the models, parents first. Kept here so that a look needs no ORM."""

PLACE: Final = "trajectory_place"
"""The execution option of an engine with the name of its database, for messages."""

VERSION = sa.table(VERSION_TABLE, sa.column("version_num", sa.String))

WRITERS = sa.Table(
    "trajectory_schema",
    sa.MetaData(),  # not the models': no row of it belongs to a trajectory
    sa.Column("id", sa.SmallInteger, autoincrement=False, nullable=False),
    sa.Column("oldest_writer", sa.Integer, nullable=False),
    sa.PrimaryKeyConstraint("id", name="pk_trajectory_schema"),
    sa.CheckConstraint("id = 1", name="ck_trajectory_schema_one_row"),
)
"""One row: the oldest revision whose programs may write."""


class Standing(StrEnum):
    """Where a schema stands, seen from this version of the library."""

    CURRENT = "current"
    NEWER = "newer"
    """Newer, and only by additions: this version may write."""
    MISSING = "missing"
    OLDER = "older"
    INCOMPATIBLE = "incompatible"
    """Newer, and this version may not write."""
    FOREIGN = "foreign"
    """Our tables are there, but no revision says what they look like."""
    UNKNOWN = "unknown"
    """The revision is none of ours."""
    READ_ONLY = "read-only"
    """The schema can be used, but not written to by this role, or on this server."""


class Schema(NamedTuple):
    """What a database's schema is at."""

    revision: str | None
    """The revision found; None if there is none."""
    needed: str
    """The revision that this version of the library needs."""
    standing: Standing

    @property
    def usable(self) -> bool:
        """Whether this version of the library may read and write."""
        return self.standing in (Standing.CURRENT, Standing.NEWER)


def look(connection: sa.Connection, *, writing: bool = False) -> Schema:
    """Say what the schema of a connection's database is at. Leaves no transaction behind.

    With `writing`, a schema that can be used is `READ_ONLY` where the connection may not write.
    """
    began = not connection.in_transaction()
    try:
        # Statement by statement, so of a deploy that commits meanwhile a part may be seen: at worst
        # the schema seems to be missing or incompatible, and the next look tells better.
        names = set(sa.inspect(connection).get_table_names())
        revisions: list[str] = []
        oldest = None
        if VERSION_TABLE in names:
            revisions = list(connection.execute(sa.select(VERSION.c.version_num)).scalars())
        if WRITERS.name in names:
            oldest = connection.execute(sa.select(WRITERS.c.oldest_writer)).scalar()
        revision = ", ".join(sorted(revisions)) or None
        found = standing(revision, oldest, ours=bool(names & set(TABLES)))
        schema = Schema(revision, HEAD, found)
        if writing and schema.usable and not _may_write(connection):
            return schema._replace(standing=Standing.READ_ONLY)
        return schema
    finally:
        if began:
            connection.rollback()


def _may_write(connection: sa.Connection) -> bool:
    """Say whether a role may write to all tables, and the server takes writes at all."""
    if connection.dialect.name != "postgresql":
        return True
    # To lock a row for a merge needs UPDATE.
    rights = [
        sa.func.has_table_privilege(connection.dialect.identifier_preparer.quote(name), right)
        for name in TABLES
        for right in ("SELECT", "INSERT", "UPDATE")
    ]
    takes_writes = sa.func.current_setting("transaction_read_only") == "off"
    return bool(connection.execute(sa.select(sa.and_(takes_writes, *rights))).scalar())


def standing(revision: str | None, oldest_writer: int | None, *, ours: bool) -> Standing:
    """Judge what was found; `ours` says whether tables of our names are there."""
    if revision is None:
        return Standing.FOREIGN if ours else Standing.MISSING
    if revision == HEAD:
        return Standing.CURRENT
    if not (revision.isascii() and revision.isdigit()):
        return Standing.UNKNOWN
    if int(revision) < int(HEAD):
        return Standing.OLDER
    additive = oldest_writer is not None and oldest_writer <= int(HEAD)
    return Standing.NEWER if additive else Standing.INCOMPATIBLE


def check_sync(connection: sa.Connection) -> Schema:
    """Raise `SchemaError` unless this version may write to the connection's database.

    A few short reads. The message names the revision found, the one needed and the command to run.
    """
    found = look(connection)
    if not found.usable:
        raise SchemaError(problem(found, where(connection)))
    return found


def where(connection: sa.Connection) -> str:
    """Name the database of a connection as `place` does.

    The URL of an engine has lost what became an argument of the driver, as `search_path` does; who
    makes an engine of such a URL says in the option `PLACE` how it was.
    """
    given: str | None = connection.get_execution_options().get(PLACE)
    return given or place(connection.engine.url)


def place(url: sa.URL) -> str:
    """Name a database the way `--db` takes it, but for the password, which is masked."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    secret = {key: "***" for key in url.query if "pass" in key.lower()}
    plain = url.set(drivername=url.get_backend_name()).update_query_dict(secret)
    return plain.render_as_string(hide_password=True)


def problem(found: Schema, named: str) -> str:
    """Say why a schema can't be used, and what to do."""
    told = f"{named} is at revision {found.revision or 'none'}, this version needs {found.needed}"
    run = f"run `trajectory db upgrade --db {shlex.quote(named)}`"
    if "***" in named:
        run = "run `trajectory db upgrade --db URL` with your URL, which has the password"
    newer = "upgrade this program: `pip install --upgrade trajectory-log`"
    return {
        Standing.MISSING: f"{told}: the schema is missing; {run}",
        Standing.OLDER: f"{told}: the schema is older; {run}",
        Standing.INCOMPATIBLE: f"{told}: it is newer, and this version may not write; {newer}",
        Standing.UNKNOWN: (
            f"{told}: no migration of ours has that revision; if a newer version made it, {newer}; "
            f"else use another database: `trajectory db upgrade --db URL`"
        ),
        Standing.FOREIGN: (
            f"{told}: tables with our names are there, made by something else than our migrations; "
            f"rename or drop them, then {run}"
        ),
        Standing.READ_ONLY: (
            f"{told}, but nothing may be written there: as the owner of the tables, GRANT SELECT, "
            f"INSERT, UPDATE, DELETE ON {', '.join(TABLES)} TO the role of the URL; if the server "
            f"is a standby, name the primary"
        ),
    }[found.standing]
