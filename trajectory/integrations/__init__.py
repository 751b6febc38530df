"""Recording from the frameworks that agents are built on: one a file, each behind an extra.

Nothing here is loaded by `import trajectory`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trajectory.errors import MissingDependencyError


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import what an extra brings inside this block.

    Raises `MissingDependencyError`, which names the extra, where a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f'the package "{error.name}" is not installed; the extra brings it: '
            f'pip install "trajectory-log[{name}]"'
        ) from error
