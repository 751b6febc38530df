"""Alembic's environment: configured for our schema, run alone and in one transaction, verified."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from trajectory.backends.sql import standing
from trajectory.backends.sql.deploy_lock import alone, begin, orphans, refuse_transaction
from trajectory.backends.sql.standing import (
    TABLES,
    VERSION_TABLE,
    WRITERS,
    Standing,
    look,
    problem,
    where,
)
from trajectory.errors import BackendError, SchemaError

Environment: TypeAlias = EnvironmentContext | ModuleType
"""In an env.py it is the module `alembic.context`."""

_UPGRADABLE = (Standing.MISSING, Standing.OLDER)


def scripts() -> Path:
    """Find the migration scripts: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parents[2]
    for folder in (package / "_migrations", package.parent / "alembic"):
        if (folder / "versions").is_dir():
            return folder
    raise BackendError(
        f"the migration scripts are missing from {package}; install trajectory-log again"
    )


def to_head(*, output: io.StringIO | None = None) -> Environment:
    """Give the environment of an upgrade to head; with `output`, of one that only writes SQL.

    It runs without env.py and its module-level proxies, so it works within a host's env.py too.
    """
    config = Config() if output is None else Config(output_buffer=output)
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    directory = ScriptDirectory.from_config(config)
    head = standing.HEAD

    def steps(revision: Any, _context: MigrationContext) -> Any:
        return directory._upgrade_revs(head, revision)  # noqa: SLF001 - as Alembic documents it

    return EnvironmentContext(
        config, directory, fn=steps, as_sql=output is not None, destination_rev=head
    )


def run_online(
    environment: Environment, connection: sa.Connection, *, stamps: bool = False
) -> None:
    """Run an Alembic command on a connection: alone, in one transaction, and verified.

    `stamps` says that the command only writes the revision, whatever tables are there. The
    connection must not be in a transaction: Alembic would leave the commit to us and report
    success.
    """
    refuse_transaction(connection)
    goal = goal_of(environment)
    to_head = goal == standing.HEAD
    if to_head and look(connection).usable:
        return  # before any lock: deploys that find nothing to do must not queue
    with alone(connection) if goal else nullcontext():
        steps = _configure(environment, connection=connection)
        with environment.begin_transaction():
            if goal:
                begin(connection)
            found = look(connection)  # again: another deploy may have been first
            if to_head and found.usable:
                return
            if to_head and not stamps and found.standing not in _UPGRADABLE:
                raise SchemaError(problem(found, where(connection)))
            broken = orphans(connection)
            _run(environment)
            if steps and orphans(connection) > broken:
                raise SchemaError(
                    "the migration would leave rows without their parents; nothing was changed"
                )
    if steps:
        _verify(connection, steps[-1])


def goal_of(environment: Environment) -> str | None:
    """Give the revision a command goes to ("base" for none); None for one that only reads."""
    try:
        return str(environment.get_revision_argument() or "base")
    except KeyError:
        return None


def run_offline(environment: Environment, dialect: str) -> None:
    """Write the SQL of an Alembic command, for a kind of database."""
    _configure(environment, dialect_name=dialect, literal_binds=True)
    with environment.begin_transaction():
        _run(environment)


def _run(environment: Environment) -> None:
    try:
        environment.run_migrations()
    except CommandError as error:
        raise SchemaError(f"Alembic says: {error}") from error


def _configure(environment: Environment, **target: Any) -> list[frozenset[str]]:
    """Configure Alembic; the list that is returned gets the heads after each step."""
    steps: list[frozenset[str]] = []

    def stepped(
        ctx: MigrationContext,
        step: MigrationInfo,
        heads: Collection[Any],
        run_args: Mapping[str, Any],  # noqa: ARG001 - Alembic gives all by name
    ) -> None:
        steps.append(frozenset(heads))
        _tell_old_writers(ctx, step)

    environment.configure(
        target_metadata=environment.config.attributes.get("target_metadata"),
        version_table=VERSION_TABLE,
        include_name=_is_ours,
        render_as_batch=True,
        transactional_ddl=True,  # SQLite has it too, once BEGIN is said
        on_version_apply=stepped,
        **target,
    )
    return steps


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    """Keep autogenerate away from what other products have in a shared database."""
    return kind != "table" or name in TABLES


def _tell_old_writers(context: MigrationContext, step: MigrationInfo) -> None:
    """Write down the oldest revision whose programs may write to what the step has made."""
    script, names = context.script, step.destination_revision_ids
    if script is None or not names:
        return  # back to nothing: the table is gone as well
    oldest = int(max(script.get_revision(name).module.oldest_writer for name in names))
    if step.is_stamp and not context.as_sql and context.connection is not None:
        WRITERS.create(context.connection, checkfirst=True)
    context.execute(sa.delete(WRITERS))
    context.execute(sa.insert(WRITERS).values(id=1, oldest_writer=oldest))


def _verify(connection: sa.Connection, expected: frozenset[str]) -> None:
    """Make sure that the last step is committed, not only reported."""
    connection.rollback()
    stored = look(connection).revision
    if stored != (", ".join(sorted(expected)) or None):
        raise SchemaError(
            f"the migration reported success, but {where(connection)} is at revision "
            f"{stored or 'none'}; run it again, on a connection of its own"
        )
