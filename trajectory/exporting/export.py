"""An export from its beginning to its end: read, divide, write, count, and say so in a manifest."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from trajectory.exporting.kinship import Kinship, Owner
from trajectory.exporting.output import Counting, Output, failures_in_words
from trajectory.exporting.parts import Split, SplitBy
from trajectory.exporting.reading import Piece, chunks, with_turns
from trajectory.formats import Exporter, Writing
from trajectory.journal.frames import MODELS
from trajectory.models import Turn
from trajectory.query import TrajectoryQuery
from trajectory.store import TrajectoryStore
from trajectory.threads import in_thread, to_its_end

_ORDER = "created_at, id"
_ORDER_OF_TURNS = "; turns by turn_number"
_OWNERS = {
    SplitBy.USER: "user_id: the nearest on the way to the root, else the first by name of the same "
    "root, else of the same session; without any session_id, without one as by run",
    SplitBy.RUN: "run_id of the root (of one that is not stored, the nearest to it), else its id",
}
_COPIED = "turn that repeats another trajectory (is_copied_context)"


@dataclass(slots=True)
class Counts:
    """How much was written; a trajectory that the exporter left out is not."""

    trajectories: int = 0
    turns: int = 0
    messages: int = 0
    tool_calls: int = 0
    questions: int = 0
    violations: int = 0

    def add(self, others: Counts) -> None:
        """Add others to them."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(others, name))

    def add_turn(self, turn: Turn) -> None:
        """Count a turn."""
        self.turns += 1
        self.messages += len(turn.messages)
        self.tool_calls += len(turn.tool_calls)
        self.questions += len(turn.questions)
        self.violations += len(turn.violations)

    def as_json(self) -> dict[str, int]:
        """Give them by name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did: how much it wrote, and its manifest as it stands in the file."""

    counts: Counts
    bytes: int
    left_out: dict[str, int]
    manifest: dict[str, Any]


@dataclass(slots=True)
class _File:
    part: str | None
    out: Counting
    writing: Writing
    counts: Counts = field(default_factory=Counts)
    begun: Counts = field(default_factory=Counts)
    """Of the trajectory that is being written."""

    def end(self) -> None:
        """End a trajectory, and count it unless it was left out."""
        if self.writing.end() is not False:
            self.begun.trajectories = 1
            self.counts.add(self.begun)
        self.begun = Counts()


async def export(
    store: TrajectoryStore,
    exporter: Exporter,
    output: Output,
    query: TrajectoryQuery | None = None,
    *,
    split: Split | None = None,
    include_copied: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write what a query finds, with all its turns, in the form of an exporter.

    It takes the same memory however much there is, as far as the format allows; each page that is
    read is one state of the database. The same trajectories give the same bytes. What fails, or is
    cancelled, leaves no file behind; but once files begin to get their names that is done to its
    end, and a cancellation then comes too late to be heard.

    `include_copied` says whether turns with `is_copied_context` are written; without it the format
    decides: not in one for training. `progress` hears how many bytes and turns are written.

    Raises `ConfigurationError` where the output can't be made, before anything is read, and what
    the store, the exporter and the disk raise.
    """
    query = TrajectoryQuery() if query is None else query
    parts = [None] if split is None else [part.name for part in split.parts]
    if include_copied is None:
        include_copied = not getattr(exporter, "for_training", False)
    output.check(parts)
    with failures_in_words("the export"), output.opened(parts) as opened:
        files = {part: _File(part, out, exporter.begin(out.stream)) for part, out in opened.items()}
        run = _Run(store, files, split, include_copied=include_copied)
        await run.write(query, progress or (lambda _bytes, _turns: None))
        await in_thread(run.close)
        exported = run.exported(exporter, query)
        text = json.dumps(exported.manifest, indent=2, ensure_ascii=True) + "\n"
        await _complete(output, text.encode())
    return exported


async def _complete(output: Output, manifest: bytes) -> None:
    """Let the files appear, also where the task is cancelled: they are there then."""
    completing = asyncio.ensure_future(in_thread(lambda: output.complete(manifest)))
    try:
        await to_its_end(completing)
    except asyncio.CancelledError:
        completing.result()


class _Run:
    """One export while it runs."""

    def __init__(
        self,
        store: TrajectoryStore,
        files: dict[str | None, _File],
        split: Split | None,
        *,
        include_copied: bool,
    ) -> None:
        self._store = store
        self._files = files
        self._split = split
        self._kinship = None if split is None else Kinship(store, split.by)
        self._include_copied = include_copied
        self._left_out: Counter[str] = Counter()
        self._owned_by: Counter[str] = Counter()
        self._turns = 0

    async def write(self, query: TrajectoryQuery, progress: Callable[[int, int], None]) -> None:
        """Write all that a query finds."""
        async with aclosing(chunks(self._store, query)) as found:
            async for chunk in found:
                owners: dict[UUID, Owner] = {}
                if self._kinship is not None:
                    owners = await self._kinship.owners(chunk)
                    self._owned_by.update(owner.kind for owner in owners.values())
                async with aclosing(with_turns(self._store, chunk)) as read:
                    async for pieces in read:
                        await in_thread(partial(self._write, pieces, owners))
                        progress(*self._done())

    def _write(self, pieces: list[Piece], owners: dict[UUID, Owner]) -> None:
        for piece in pieces:
            file = self._file_of(piece, owners)
            if piece.is_first:
                file.writing.start(piece.trajectory)
            for turn in piece.turns:
                if turn.is_copied_context and not self._include_copied:
                    self._left_out[_COPIED] += 1
                    continue
                file.writing.turn(turn)
                file.begun.add_turn(turn)
                self._turns += 1
            if piece.is_last:
                file.end()

    def _file_of(self, piece: Piece, owners: dict[UUID, Owner]) -> _File:
        if self._split is None:
            return self._files[None]
        return self._files[self._split.part_of(str(owners[piece.trajectory.id]))]

    def _done(self) -> tuple[int, int]:
        return sum(file.out.size for file in self._files.values()), self._turns

    def close(self) -> None:
        """End the files."""
        for file in self._files.values():
            file.writing.close()
            file.out.push()

    def exported(self, exporter: Exporter, query: TrajectoryQuery) -> Exported:
        """Sum up what was written."""
        counts, left_out = Counts(), Counter(self._left_out)
        for file in self._files.values():
            left_out.update(file.writing.left_out)
            counts.add(file.counts)
        told = dict(sorted((what, count) for what, count in left_out.items() if count))
        manifest = {
            "format": exporter.name,
            "format_version": exporter.version,
            "models_version": MODELS,
            "filter": query.model_dump(mode="json", exclude_defaults=True),
            "order": f"{_ORDER}{', descending' * query.descending}{_ORDER_OF_TURNS}",
            "include_copied": self._include_copied,
            "counts": counts.as_json(),
            "left_out": told,
            "split": self._split_as_json(),
            "files": [
                {
                    "name": file.out.file_name,
                    **({} if file.part is None else {"part": file.part}),
                    "bytes": file.out.size,
                    "sha256": file.out.sha256,
                    "trajectories": file.counts.trajectories,
                    "turns": file.counts.turns,
                }
                for file in self._files.values()
            ],
        }
        return Exported(counts, self._done()[0], told, manifest)

    def _split_as_json(self) -> dict[str, Any] | None:
        if self._split is None:
            return None
        return {
            "by": self._split.by.value,
            "owner": _OWNERS[self._split.by],
            "rule": "sha256 of the owner, its first 64 bits over 2^64, in the order of the parts",
            "parts": {part.name: str(part.share) for part in self._split.parts},
            "owners": dict(sorted(self._owned_by.items())),
        }
