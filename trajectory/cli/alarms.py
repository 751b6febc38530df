"""The library's own log lines while a command runs, shown where they help and once."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Self

from trajectory.cli import screen


class Alarms(logging.Handler):
    """Shows warnings at once, such as a database that is away, and holds errors back.

    An error stops the writer, and the command tells of that itself. What nobody told is shown by
    `tell`. Use it as a context.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._held: list[str] = []
        self._logger = logging.getLogger("trajectory")

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a warning, hold an error."""
        if record.levelno >= logging.ERROR:
            self._held.append(record.getMessage())
        else:
            screen.note(record.getMessage(), "yellow")

    def tell(self) -> None:
        """Show what was held."""
        for message in self._held:
            screen.note(message, "bold red")
        self._held.clear()
