"""ATIF, the Agent Trajectory Interchange Format: v1.0 to v1.8 are read, v1.8 is written.

A document is one JSON object; a file holds one, a list of them, or one a line. A turn begins at a
step of the user and takes all up to the next one; system steps before the first other step are the
system prompt. Trajectories embedded in a document become children of it.

What we write is a document a line. What ATIF has no field for stands under `extra.trajectory`, so
that reading it again gives the same values: see `trajectory.formats.atif_values`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, BinaryIO

from trajectory.errors import InvalidTurnError
from trajectory.formats.atif_read import NAME, read_document
from trajectory.formats.atif_rules import VERSION
from trajectory.formats.atif_write import document_of
from trajectory.formats.base import Gathered, ImportedTrajectory, Problem
from trajectory.formats.documents import Make, read_documents
from trajectory.formats.foreign import digest
from trajectory.formats.jsonlines import MAX_LINE_BYTES, BadLineError
from trajectory.ids import derived_id
from trajectory.models import Trajectory, Turn

TOO_LONG = f"trajectory of more than {MAX_LINE_BYTES // 2**20} MiB (export it as jsonl)"


class Atif:
    """Reads and writes ATIF."""

    name = NAME
    version = VERSION
    suffix = ".jsonl"

    def begin(self, out: BinaryIO) -> AtifWriting:
        """Begin a file."""
        return AtifWriting(out)

    def read(self, stream: BinaryIO, *, as_of: datetime) -> Iterator[ImportedTrajectory | Problem]:
        """Read a stream to its end, a document at a time. Children follow their parent."""
        return read_documents(stream, as_of, _take)


def _take(document: dict[str, Any]) -> tuple[str, Make]:
    digests: dict[int, str] = {}

    def make(
        line: int, own: tuple[str, str], dated: datetime
    ) -> Iterator[ImportedTrajectory | Problem]:
        return _read(document, line, dated, own, digests=digests)

    return _key(document, digests), make


def _key(document: Mapping[str, Any], digests: dict[int, str]) -> str:
    """Condense what a document is called, or all that it says where it has no name.

    `session_id` alone is no name: it may stand in all documents of a run. `digests` are those of
    the documents that are known already, by the place of the value in memory.
    """
    name = document.get("trajectory_id")
    if isinstance(name, str):
        return digest([document.get("session_id"), name])
    return _content(document, digests)


def _content(document: Mapping[str, Any], digests: dict[int, str]) -> str:
    """Condense all that a document says, those in it once each, however deep they stand."""
    known = digests.get(id(document))
    if known is None:
        children = document.get("subagent_trajectories")
        told = document
        if isinstance(children, list) and any(isinstance(child, dict) for child in children):
            condensed = [
                _content(child, digests) if isinstance(child, dict) else child for child in children
            ]
            told = {**document, "subagent_trajectories": condensed}
        known = digests[id(document)] = digest(told)
    return known


def _read(
    document: Mapping[str, Any],
    line: int,
    as_of: datetime,
    key: tuple[str, ...],
    *,
    digests: dict[int, str],
    parent: Trajectory | None = None,
) -> Iterator[ImportedTrajectory | Problem]:
    """Read a document, and those in it."""
    reading = read_document(document, as_of=as_of)
    above = {}
    if parent is not None:
        above = {
            "parent_trajectory_id": parent.id,
            "root_trajectory_id": parent.root_trajectory_id or parent.id,
        }
    trajectory, turns = reading.made(reading.own_id or derived_id(NAME, *key), **above)
    yield ImportedTrajectory(line, trajectory, turns, dict(reading.left_out))
    seen: Counter[str] = Counter()
    for index, child in enumerate(reading.embedded):
        place = f"subagent_trajectories[{index}]"
        try:
            if not isinstance(child, dict):
                raise BadLineError("is not an object")  # noqa: TRY301 - told with its place
            name = _key(child, digests)
            seen[name] += 1
            own = (*key, name, str(seen[name]))
            yield from list(_read(child, line, as_of, own, digests=digests, parent=trajectory))
        except (BadLineError, InvalidTurnError) as error:
            yield Problem(line, f"{place} {error}")


class AtifWriting(Gathered):
    """A file while it is written. Left out is only what could not be read again: it is too long."""

    def write(self, trajectory: Trajectory, turns: tuple[Turn, ...]) -> bool:
        """Write a document."""
        document = document_of(trajectory, turns)
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        line = text.encode()
        if len(line) > MAX_LINE_BYTES:
            self.left_out[TOO_LONG] += 1
            return False
        self.out.write(line + b"\n")
        return True
