"""The ways people write a database's address, and the one that SQLAlchemy's async drivers take."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from trajectory.backends import scheme_of
from trajectory.errors import ConfigurationError, MissingDependencyError

MEMORY = ":memory:"

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}

# What libpq calls it -> what asyncpg's connect() calls it.
_RENAMED = {"sslmode": "ssl", "connect_timeout": "timeout"}
_ASYNCPG = {"ssl", "timeout", "command_timeout", "host", "port", "passfile", "target_session_attrs"}
_SECONDS = ("timeout", "command_timeout")
_SERVER_SETTINGS = {"application_name", "options", "search_path"}
# What asyncpg takes in a DSN alone.
_CERTIFICATE_FILES = {"sslrootcert", "sslcert", "sslkey", "sslcrl"}
_CERTIFICATES = {*_CERTIFICATE_FILES, "sslpassword"}
_VALUES = {
    "ssl": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "primary", "standby", "prefer-standby", "read-write"),
}


def normalise(url: str) -> sa.URL:
    """Give the SQLAlchemy URL, with an async driver, of a URL, a path or `":memory:"`.

    Raises `ConfigurationError` for a URL that can't be used; no message shows a password.
    """
    scheme = scheme_of(url)
    if "://" not in url:
        return sa.URL.create(_DRIVERS["sqlite"], database=url)
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
    query = {_RENAMED.get(key, key): value for key, value in url.query.items()}
    # Moved to where every way of showing a URL masks them.
    if "user" in query:
        url = url.set(username=str(query.pop("user")))
    if "password" in query:
        url = url.set(password=str(query.pop("password")))
    url = url.set(query=query)
    if "@" in (url.host or ""):  # a part of the password, which would be shown as the host
        raise ConfigurationError(
            f"{mask(given)} has more than one @; percent-encode those of the password as %40"
        )
    if not url.database:
        raise ConfigurationError(f"{mask(given)} names no database; write {_example('postgresql')}")
    known = {*_ASYNCPG, *_SERVER_SETTINGS, *_CERTIFICATES}
    for key, value in query.items():
        if key not in known:
            raise ConfigurationError(
                f"the URL's option {key} is unknown to asyncpg; leave it out; known are "
                f"{', '.join(sorted({*known, *_RENAMED}))}"
            )
        if key not in ("host", "port"):
            _check(key, value)
    _check_address(url)
    return url


def _check_address(url: sa.URL) -> None:
    try:
        _, found = url.get_dialect()().create_connect_args(connect_arguments(url)[0])
    except sa.exc.ArgumentError:
        found = {"port": 0}
    ports = found.get("port", 1)
    if not all(0 < port < 65536 for port in (ports if isinstance(ports, list) else [ports])):
        raise ConfigurationError(
            "the URL's hosts and ports can't be used; ports are numbers up to 65535, and of many "
            "hosts each has one: ?host=first:5432&host=second:5432"
        )


def _check(key: str, value: Any) -> None:
    values = _VALUES.get(key)
    if isinstance(value, tuple):
        problem = "is given more than once"
    elif values and value not in values:
        problem = f"must be one of {', '.join(values)}"
    elif key in _SECONDS and not _is_positive(value):
        problem = "must be a number of seconds above 0"
    else:
        return
    names = [key, *(theirs for theirs, ours in _RENAMED.items() if ours == key)]
    raise ConfigurationError(f"the URL's option {' or '.join(names)} {problem}")


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


def require_driver(url: sa.URL) -> None:
    """Raise `MissingDependencyError` unless the URL's driver is installed."""
    if url.get_backend_name() == "postgresql" and find_spec("asyncpg") is None:
        raise MissingDependencyError(
            'Postgres needs asyncpg, which is not installed; run pip install "trajectory-log'
            '[postgres]"'
        )


def connect_arguments(url: sa.URL) -> tuple[sa.URL, dict[str, Any]]:
    """Split a Postgres URL into what names the database and what asyncpg's connect() takes."""
    query = {key: value for key, value in url.query.items() if key in ("host", "port")}
    texts = {key: str(value) for key, value in url.query.items() if key not in query}
    arguments: dict[str, Any] = {"server_settings": {"application_name": "trajectory"}}
    certificates = {}
    for key, text in texts.items():
        if key in _SERVER_SETTINGS:
            arguments["server_settings"][key] = text
        elif key in _CERTIFICATES:
            certificates[key] = text
        else:
            arguments[key] = float(text) if key in _SECONDS else text
    if certificates:
        arguments["dsn"] = f"postgresql:?{urlencode(certificates)}"
    return url.set(query=query), arguments


def check_files(url: sa.URL) -> None:
    """Raise `ConfigurationError` unless the certificates that a Postgres URL names are there."""
    for key in sorted(_CERTIFICATE_FILES & url.query.keys()):
        path = Path(str(url.query[key]))
        if not path.is_file():
            raise ConfigurationError(f"the URL's option {key} names no file: {path}")


def identity(url: sa.URL) -> sa.URL:
    """Leave out of a URL what doesn't decide where its turns are: how to connect, how to wait."""
    where = {"host", "port", "search_path", "options"}
    return sa.URL.create(
        url.drivername,
        username=url.username,
        host=url.host,
        port=url.port or (5432 if url.host else None),
        database=url.database,
        query=url.difference_update_query(url.query.keys() - where).query,
    )


def mask(url: str) -> str:
    """Show a URL without its user, password and options, however malformed it is."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    secret, at, place = rest.rpartition("@")
    if at and "?" in secret:  # in the password, or an option with an @: nobody can tell
        return f"{scheme}://***"
    return f"{scheme}://{'***@' if at else ''}{place.partition('?')[0]}"


def _example(scheme: str) -> str:
    return {
        "sqlite": "sqlite:///relative/file.db or sqlite:////absolute/file.db",
        "postgresql": "postgresql://user:password@host:5432/database",
    }[scheme]
