"""What an importer and an exporter are, and the rules that both keep.

**Importers** turn a stream of bytes into trajectories. *Streaming*: `read` holds one conversation
at a time, however long the stream is. *Whole or not at all*: a conversation is given with all its
turns, valid as they stand, or it is a `Problem`; an importer never raises for what the stream
holds, and no reason quotes it. *The same input, the same trajectories*: ids and times are derived
from the source's own or from the content, its occurrence in the stream and `as_of`, so that
importing twice changes nothing. *Nothing lost in silence*: what has no place in a trajectory is
counted in `left_out`. An importer may have `suffixes`: what the names of its files end with, in a
folder that is imported (else an exporter's `suffix`, or `.jsonl` and `.json`); and it may be
`Findable`.

**Exporters** turn trajectories into the bytes of one file. *Streaming*: turns come one by one, and
a format that can't be written so holds one trajectory at a time. *The same trajectories, the same
bytes*: no clock, no chance, no order but that of the input. *Nothing lost in silence*: what the
format has no place for is counted in `left_out`.

An exporter whose files are for training has the attribute `for_training = True`: turns that repeat
what another trajectory has already (`is_copied_context`) are then not given to it, and counted,
unless the person asks for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, runtime_checkable

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
    continues: bool = False
    """Only the turns are news: the trajectory was given before, or nothing is known of it but its
    id. So a format whose lines stand for themselves gives a long trajectory in parts."""
    lines: tuple[int, ...] = ()
    """The line of each turn, of a format whose lines stand for themselves: one that can't be
    stored is told with its own line, and the others are stored."""


@runtime_checkable
class Importer(Protocol):
    """Reads one format. The module's docstring is the contract."""

    @property
    def name(self) -> str:
        """The format's name on the command line."""
        ...

    def read(self, stream: BinaryIO, *, as_of: datetime) -> Iterator[ImportedTrajectory | Problem]:
        """Read a stream to its end. `as_of` dates what carries no time of its own."""
        ...


@runtime_checkable
class Findable(Protocol):
    """What an importer may have besides: it knows where the person's own files are."""

    def find(self) -> Iterator[Path]:
        """Name the person's own files of this format, each once, in a fixed order.

        Nothing is opened. A folder that isn't there has no files.
        """
        ...


class Writing(Protocol):
    """One file of an export, while it is written: for each trajectory `start`, `turn`..., `end`."""

    @property
    def left_out(self) -> Counter[str]:
        """What the format had no place for so far, with how often it was left out."""
        ...

    def start(self, trajectory: Trajectory) -> None:
        """Begin a trajectory."""
        ...

    def turn(self, turn: Turn) -> None:
        """Write a turn of it; they come in the order of their numbers."""
        ...

    def end(self) -> bool | None:
        """End the trajectory: all its turns were given. False: nothing of it is in the file."""
        ...

    def close(self) -> None:
        """End the file, which stays open: the caller closes it."""
        ...


@runtime_checkable
class Exporter(Protocol):
    """Writes one format. The module's docstring is the contract."""

    @property
    def name(self) -> str:
        """The format's name on the command line."""
        ...

    @property
    def version(self) -> str:
        """Which version of the format is written, for the manifest."""
        ...

    @property
    def suffix(self) -> str:
        """What the names of its files end with, with the dot."""
        ...

    def begin(self, out: BinaryIO) -> Writing:
        """Begin a file. `out` takes bytes, and is closed by the caller."""
        ...


class Gathered:
    """A base for formats that need a trajectory whole: implement `write`."""

    def __init__(self, out: BinaryIO) -> None:
        self.out = out
        self.left_out: Counter[str] = Counter()
        self._trajectory: Trajectory | None = None
        self._turns: list[Turn] = []

    def write(self, trajectory: Trajectory, turns: tuple[Turn, ...]) -> bool | None:
        """Write a trajectory with all its turns to `self.out`; give False for one left out."""
        raise NotImplementedError

    def start(self, trajectory: Trajectory) -> None:
        """Begin a trajectory."""
        self._trajectory = trajectory

    def turn(self, turn: Turn) -> None:
        """Keep a turn until the trajectory ends."""
        self._turns.append(turn)

    def end(self) -> bool | None:
        """Write the trajectory."""
        assert self._trajectory is not None  # noqa: S101 - `start` comes first
        trajectory, turns = self._trajectory, tuple(self._turns)
        self._trajectory = None
        self._turns.clear()
        return self.write(trajectory, turns)

    def close(self) -> None:
        """End the file. Nothing is left to write."""
