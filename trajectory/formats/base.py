"""What an importer is: it turns a stream of bytes into trajectories, and says what it could not.

**Streaming.** `read` holds one conversation at a time, however long the stream is.

**Whole or not at all.** A conversation is given with all its turns, valid as they stand, or it is a
`Problem`. An importer never raises for what the stream holds, and no reason quotes it.

**The same input, the same trajectories.** Ids and times are derived from the content, its
occurrence in the stream and `as_of`, so that importing twice changes nothing.

**Nothing lost in silence.** What has no place in a trajectory is counted in `left_out`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, NamedTuple, Protocol

from trajectory.models import Trajectory, Turn


class Problem(NamedTuple):
    """Why a line is not stored. The reason holds nothing of its content."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class ImportedTrajectory:
    """A trajectory with its turns, and the line where it begins."""

    line: int
    trajectory: Trajectory
    turns: tuple[Turn, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    """What has no place in a trajectory, with how often it stood there."""


class Importer(Protocol):
    """Reads one format. The module's docstring is the contract."""

    @property
    def name(self) -> str:
        """The format's name on the command line."""
        ...

    def read(self, stream: BinaryIO, *, as_of: datetime) -> Iterator[ImportedTrajectory | Problem]:
        """Read a stream to its end. `as_of` dates what carries no time of its own."""
        ...
