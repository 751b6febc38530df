"""The ways people write a database's address, and the one that SQLAlchemy's async drivers take."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

import sqlalchemy as sa

from trajectory.backends import scheme_of
from trajectory.errors import ConfigurationError, MissingDependencyError

MEMORY = ":memory:"

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_SECRET = re.compile(r"(?<=://)([^/@]*?:)?[^/@]*@")

# What libpq calls it -> what asyncpg's connect() calls it.
_RENAMED = {"sslmode": "ssl", "connect_timeout": "timeout"}
_ASYNCPG = {"ssl", "timeout", "command_timeout", "host", "port", "passfile", "target_session_attrs"}
_SERVER_SETTINGS = {"application_name", "options", "search_path"}


def normalise(url: str) -> sa.URL:
    """Give the SQLAlchemy URL, with an async driver, of a URL, a path or `":memory:"`.

    Raises `ConfigurationError` for a URL that can't be used; no message shows a password.
    """
    if "://" not in url:
        return sa.URL.create(_DRIVERS["sqlite"], database=url)
    scheme = scheme_of(url)
    if scheme not in _DRIVERS:
        raise ConfigurationError(f"{mask(url)} names no SQL database; known: {', '.join(_DRIVERS)}")
    try:
        made = sa.make_url(_DRIVERS[scheme] + "://" + url.partition("://")[2])
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigurationError(
            f"{mask(url)} is not a database URL; write {_example(scheme)}, with special characters "
            f"in the password percent-encoded"
        ) from None
    if scheme == "sqlite":
        return _sqlite(made, url)
    return _postgresql(made, url)


def _sqlite(url: sa.URL, given: str) -> sa.URL:
    if url.host or url.username:
        raise ConfigurationError(
            f"{mask(given)} names a host, which a SQLite file doesn't have; three slashes before a "
            f"relative path, four before an absolute one: {_example('sqlite')}"
        )
    if url.query:
        raise ConfigurationError(
            f"a SQLite URL takes no options, and has {', '.join(sorted(url.query))}; leave them out"
        )
    return url.set(database=url.database or MEMORY)


def _postgresql(url: sa.URL, given: str) -> sa.URL:
    if not url.database:
        raise ConfigurationError(f"{mask(given)} names no database; write {_example('postgresql')}")
    query = {_RENAMED.get(key, key): value for key, value in url.query.items()}
    unknown = sorted(query.keys() - _ASYNCPG - _SERVER_SETTINGS)
    if unknown:
        known = sorted({*_ASYNCPG, *_SERVER_SETTINGS, *_RENAMED})
        raise ConfigurationError(
            f"the URL's option {unknown[0]} is unknown to asyncpg; known are {', '.join(known)}"
        )
    return url.set(query=query)


def require_driver(url: sa.URL) -> None:
    """Raise `MissingDependencyError` unless the URL's driver is installed."""
    if url.get_backend_name() == "postgresql" and find_spec("asyncpg") is None:
        raise MissingDependencyError(
            'Postgres needs asyncpg, which is not installed; run pip install "trajectory-log'
            '[postgres]"'
        )


def connect_arguments(url: sa.URL) -> tuple[sa.URL, dict[str, Any]]:
    """Split a Postgres URL into what names the database and what asyncpg's connect() takes."""
    query = dict(url.query)
    settings = {key: str(query.pop(key)) for key in _SERVER_SETTINGS & query.keys()}
    arguments: dict[str, Any] = {
        key: float(str(query.pop(key))) for key in ("timeout", "command_timeout") if key in query
    }
    arguments["server_settings"] = {"application_name": "trajectory", **settings}
    return url.set(query=query), arguments


def mask(url: str) -> str:
    """Show a URL without its user and password, however malformed it is."""
    return _SECRET.sub("***@", url)


def _example(scheme: str) -> str:
    return {
        "sqlite": "sqlite:///relative/file.db or sqlite:////absolute/file.db",
        "postgresql": "postgresql://user:password@host:5432/database",
    }[scheme]
