"""Every error this library raises on purpose, under one root.

A message says what happened, with which values, and what to do next. It never holds a prompt,
a response or a password: those stay out of tracebacks and logs.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from trajectory.report import FlushReport

TurnKey = tuple[UUID, int]
"""What names a turn: its trajectory's id and its number."""


class TrajectoryError(Exception):
    """The root: catch this to catch everything the library raises on purpose."""


class ConfigurationError(TrajectoryError, ValueError):
    """A setting, URL or path can't be used; the message names it and says what would work."""


class MissingDependencyError(ConfigurationError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class InvalidTurnError(TrajectoryError, ValueError):
    """A value can't be stored the same way on every backend. Names the field, not the content."""


class InvalidQueryError(TrajectoryError, ValueError):
    """A query can't be answered as it stands; the message names the filter."""


class BufferFullError(TrajectoryError):
    """No room came free in time (with `overflow="raise"`: at once). Nothing was accepted."""


class LoggerClosedError(TrajectoryError):
    """The logger is not open (yet, or any more). The message says what became of the turn."""


class WriteFailedError(TrajectoryError):
    """The writer met a failure for good and stopped. The cause is in `__cause__`.

    `report` says how many turns were stored and how many are not.
    """

    def __init__(self, message: str, report: FlushReport) -> None:
        super().__init__(message)
        self.report = report


class BackendError(TrajectoryError):
    """A backend can't go on: neither a repeat nor leaving a turn out would help."""


class SchemaError(BackendError):
    """The database's schema is missing, older, newer or not ours; the message says what to run."""


class BackendUnavailableError(BackendError):
    """The database could not be reached, or gave no answer: the same batch may be tried again.

    The outcome of the batch is unknown: it may have been stored.
    """


class BatchRejectedError(BackendError):
    """The database refuses the batch for its content: a repeat would be refused as well."""


class ConflictError(BatchRejectedError):
    """Keys of this batch are stored already, with other content. Nothing was written.

    `keys` names the turns, as (trajectory id, turn number), in ascending order.
    """

    def __init__(self, keys: Iterable[TurnKey]) -> None:
        self.keys: tuple[TurnKey, ...] = tuple(sorted(set(keys)))
        shown = ", ".join(f"{id_}/{number}" for id_, number in self.keys[:3])
        more = f" and {len(self.keys) - 3} more" if len(self.keys) > 3 else ""
        super().__init__(
            f"stored already with other content: turn {shown}{more}, or what was found in it; what "
            f"is stored is not changed, so give new content a number of its own"
        )


class PartialWriteError(BackendError):
    """Some trajectories of a batch are stored, the others failed (the cause is in `__cause__`).

    Only a backend whose `Capabilities.atomic` is `TRAJECTORY` raises it. `done` names the
    trajectories that are stored whole.
    """

    def __init__(self, done: Iterable[UUID]) -> None:
        self.done: frozenset[UUID] = frozenset(done)
        super().__init__(f"{len(self.done)} trajectories of the batch are stored, others are not")


def in_words(error: BaseException | None) -> str:
    """Name an error for a log line. Only our own messages are known to hold no content."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, TrajectoryError) else name
