"""Recording from the frameworks that agents are built on: one a file, each behind an extra.

Nothing here is loaded by `import trajectory`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from trajectory.errors import ConfigurationError, MissingDependencyError

_LoggerT = TypeVar("_LoggerT")


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import what an extra brings inside this block.

    Raises `MissingDependencyError`, which names the extra, where a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f'the extra "{name}" is missing, or not whole: the package "{error.name}" is not '
            f'installed; run pip install "trajectory-log[{name}]"'
        ) from error


def checked_logger(logger: _LoggerT) -> _LoggerT:
    """Give back a logger: whatever has `offer`.

    Raises `ConfigurationError` for anything else, such as the URL or path of a database.
    """
    if isinstance(logger, type) or not callable(getattr(logger, "offer", None)):
        raise ConfigurationError(f"give a TrajectoryLogger, not a {type(logger).__name__}")
    return logger
