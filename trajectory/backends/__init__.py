"""Where turns are stored: from a URL to a backend, loaded only when its scheme is named."""

from __future__ import annotations

import os
import re
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from trajectory.backend import StorageBackend
from trajectory.errors import ConfigurationError, MissingDependencyError

GROUP = "trajectory.backends"
"""The entry-point group: URL scheme -> class with a `from_url(url)` class method."""

_BUILT_IN = {
    "memory": "trajectory.backends.memory:MemoryBackend",
    "sqlite": "trajectory.backends.sql:SqlBackend",
    "postgresql": "trajectory.backends.sql:SqlBackend",
}
_ALIASES = {"postgres": "postgresql"}
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9.-]*)(?:\+[A-Za-z0-9_]*)?://")
_MISSPELT = re.compile(r"(?i)(?P<scheme>postgres(?:ql)?|sqlite|memory|file)(?:\+\w*)?(?::|//)")

_NO_SCHEME = re.compile(r"(?s)(?://)?(?![A-Za-z]:[\\/])[^/\\:@]+:.*@(?P<place>[^?]*)")
"""A user and password; but not a drive, nor a file with such a name in a folder."""


def open_backend(url: str | os.PathLike[str]) -> StorageBackend:
    """Make the backend that a URL, a file path or `":memory:"` names. No I/O; `open` it next.

    A URL is text, or SQLAlchemy's `URL` object.

    Known schemes: `sqlite`, `postgresql` (or `postgres`), `memory`, and those that installed
    packages offer in the entry-point group `trajectory.backends`. A path is a SQLite file.

    Raises `ConfigurationError` for a URL that can't be used, `MissingDependencyError` if it needs
    a package that isn't installed; the message names the extra.
    """
    if hasattr(url, "render_as_string"):  # SQLAlchemy's URL, which needs no import to be known
        url = str(url.render_as_string(hide_password=False))
    if not isinstance(url, str | os.PathLike):
        raise ConfigurationError(
            f"a {type(url).__name__} names no database; give a URL, a path or a StorageBackend"
        )
    url = os.fspath(url)
    if not url:
        raise ConfigurationError("the database URL is empty; give a path or a URL")
    scheme = scheme_of(url)
    backend = _load(scheme).from_url(url)
    return cast("StorageBackend", backend)


def scheme_of(url: str) -> str:
    """Give the URL's scheme without a driver; a path is `sqlite`."""
    found = _SCHEME.match(url)
    if found is None:
        if (misspelt := _MISSPELT.match(url)) is not None:
            # As a path it would be shown whole, with the password that may be in it.
            raise ConfigurationError(
                f"a URL begins with {misspelt['scheme']}:// and two slashes; this one does not"
            )
        if (secret := _NO_SCHEME.match(url)) is not None:
            # Of a password with a question mark nobody can tell where it ends.
            place = "" if "?" in url.rpartition("@")[0] else f"@{secret['place']}"
            raise ConfigurationError(
                f"the URL has a user and password, and no scheme; write postgresql://***{place}, "
                f"or sqlite:/// before the path of a file with such a name"
            )
        return "sqlite"
    scheme = found["scheme"].lower()
    return _ALIASES.get(scheme, scheme)


def _load(scheme: str) -> Any:
    if scheme in _BUILT_IN:  # never replaced
        module, _, name = _BUILT_IN[scheme].partition(":")
        return getattr(import_module(module), name)
    offered = {point.name: point for point in entry_points(group=GROUP)}
    if scheme not in offered:
        known = sorted({*_BUILT_IN, *offered})
        raise ConfigurationError(
            f"no backend for the scheme {scheme}://; known are {', '.join(known)} (a path is a "
            f"SQLite file). A package can add one in the entry-point group {GROUP}"
        )
    return _load_offered(offered[scheme])


def _load_offered(point: EntryPoint) -> Any:
    try:
        return point.load()
    except ImportError as error:
        raise MissingDependencyError(
            f"the backend for {point.name}:// ({point.value}) could not be imported; install what "
            f"it needs"
        ) from error
