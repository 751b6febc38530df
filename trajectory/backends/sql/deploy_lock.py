"""Alone with the schema: what keeps deploys, and SQLite's cascades, away from a migration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import sqlalchemy as sa

from trajectory.backends.sql.standing import TABLES
from trajectory.backends.sql.translate import error_code
from trajectory.errors import BackendUnavailableError, ConfigurationError

_KEY: Final = 0x7472616A_00000001
"""Our advisory lock among all of a Postgres database: "traj" and a number."""

WAIT_S: Final = 600
"""How long a deploy waits for the one that migrates."""


def refuse_transaction(connection: sa.Connection) -> None:
    """Raise `ConfigurationError` if the connection is in a transaction."""
    if connection.in_transaction():
        raise ConfigurationError(
            "the connection is in a transaction, so a migration could not commit; "
            "commit or roll back before migrating"
        )


@contextmanager
def alone(connection: sa.Connection) -> Iterator[None]:
    """Keep other deploys out on Postgres; on SQLite prepare for `begin`, which does it there."""
    if connection.dialect.name == "postgresql":
        with _advisory_lock(connection):
            yield
    elif connection.dialect.name == "sqlite":
        with _sqlite_transactions(connection):
            yield
    else:
        yield


def begin(connection: sa.Connection) -> None:
    """On SQLite, take the write lock before anything is read, unless the engine has done so."""
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        if not driver.in_transaction:
            with _waiting("SQLITE_BUSY"):
                connection.exec_driver_sql("BEGIN IMMEDIATE")


def orphans(connection: sa.Connection) -> int:
    """Count our rows on SQLite whose parents are gone; elsewhere the database never lets go."""
    if connection.dialect.name != "sqlite":
        return 0
    present = set(sa.inspect(connection).get_table_names())
    return sum(
        len(connection.exec_driver_sql(f"PRAGMA foreign_key_check({name})").all())
        for name in TABLES
        if name in present
    )


def pragma(connection: sa.Connection, statement: str) -> Any:
    """Run a SQLite pragma on the driver's connection, outside of SQLAlchemy's transactions."""
    driver: Any = connection.connection.dbapi_connection
    cursor = driver.cursor()
    try:
        cursor.execute(statement)
        row = cursor.fetchone()
    finally:
        cursor.close()
    return None if row is None else row[0]


@contextmanager
def _waiting(code: str) -> Iterator[None]:
    """Say what was waited for in vain; `code` is what the database says then."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if error.orig is None or error_code(error.orig) != code:
            raise
        raise BackendUnavailableError(
            f"another deploy or writer has held the lock of this database for {WAIT_S:g} s; try "
            f"again when it is done"
        ) from error


@contextmanager
def _advisory_lock(connection: sa.Connection) -> Iterator[None]:
    key = sa.literal(_KEY, sa.BigInteger)
    wait = sa.func.set_config("lock_timeout", f"{WAIT_S}s", sa.true())  # of this transaction alone
    connection.execute(sa.select(wait))
    with _waiting("55P03"):  # lock_not_available
        connection.execute(sa.select(sa.func.pg_advisory_lock(key)))
    # The lock is the session's. Were this transaction left open, Alembic would take it for the
    # caller's, leave the commit to the caller, and report success.
    connection.commit()
    try:
        yield
    finally:
        with suppress(sa.exc.DBAPIError):  # a broken connection has lost the lock by itself
            connection.rollback()
            connection.execute(sa.select(sa.func.pg_advisory_unlock(key)))
            connection.commit()


@contextmanager
def _sqlite_transactions(connection: sa.Connection) -> Iterator[None]:
    """Leave transactions to `begin`, and enforce no foreign keys meanwhile.

    Left to itself the driver begins no transaction before DDL. Rebuilding a table drops the old
    one: were foreign keys enforced, that would delete the rows of its children.
    """
    driver: Any = connection.connection.dbapi_connection
    level, enforced = driver.isolation_level, pragma(connection, "PRAGMA foreign_keys")
    driver.isolation_level = None
    pragma(connection, "PRAGMA foreign_keys=OFF")  # within a transaction it would do nothing
    try:
        yield
    except BaseException:
        with suppress(Exception):  # a broken connection keeps nothing, and the reason goes on
            _restore(connection, driver, level, enforced=enforced)
        raise
    _restore(connection, driver, level, enforced=enforced)


def _restore(
    connection: sa.Connection, driver: Any, level: str | None, *, enforced: object
) -> None:
    connection.rollback()
    pragma(connection, f"PRAGMA foreign_keys={int(bool(enforced))}")
    driver.isolation_level = level
