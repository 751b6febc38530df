"""The `TRAJECTORY_*` variables, as commands read them: misspelt ones are told, wrong ones named."""

from __future__ import annotations

import difflib
import os
import re
from typing import Any

from trajectory.cli import screen
from trajectory.cli.options import DB_VARIABLE
from trajectory.errors import ConfigurationError
from trajectory.settings import LoggerSettings

PREFIX = "TRAJECTORY_"
_OF_TESTS = f"{PREFIX}TEST_"


def warn_of_unknown() -> None:
    """Say in one line which variables begin like ours and mean nothing."""
    known = [DB_VARIABLE.removeprefix(PREFIX), *map(str.upper, LoggerSettings.model_fields)]
    unknown = sorted(
        name
        for name in os.environ
        if name.upper().startswith(PREFIX)
        and not name.startswith(_OF_TESTS)
        and name.upper().removeprefix(PREFIX) not in known
    )
    if not unknown:
        return
    told = []
    for name in unknown:
        near = difflib.get_close_matches(name.upper().removeprefix(PREFIX), known, 1, 0.7)
        told.append(f"{name} (do you mean {PREFIX}{near[0]}?)" if near else name)
    screen.note(f"warning: ignored, for no setting is called so: {', '.join(told)}", "yellow")


def settings(**fixed: Any) -> LoggerSettings:
    """Make settings from the environment; an error names the variable, not the setting."""
    try:
        return LoggerSettings(**fixed)
    except ConfigurationError as error:
        given = {name.upper() for name in os.environ}
        names = [n for n in LoggerSettings.model_fields if f"{PREFIX}{n.upper()}" in given]
        if not names:
            raise
        # The library names both, "TRAJECTORY_OVERFLOW, overflow", where only one value is wrong.
        pattern = re.compile(rf"(?:{PREFIX}\w+, )?\b({'|'.join(names)})\b")
        told = pattern.sub(lambda found: f"{PREFIX}{found[1].upper()}", str(error))
        raise ConfigurationError(told) from None
