"""The folders where other tools keep what they wrote."""

from __future__ import annotations

import os
from pathlib import Path

from trajectory.errors import ConfigurationError


def home_of(tool: str, variable: str, folder: str) -> Path:
    """Name a tool's own folder: as the environment variable says, else in the person's home.

    Raises `ConfigurationError` where neither is known.
    """
    if named := os.environ.get(variable):
        return Path(named)
    try:
        return Path.home() / folder
    except RuntimeError:
        raise ConfigurationError(
            f"where the files of {tool} are is not known, since there is no home folder: name the "
            f"files, or set {variable}"
        ) from None
