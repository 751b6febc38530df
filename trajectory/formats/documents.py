"""Formats of one JSON object a conversation: what they share of reading, naming and dating."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, BinaryIO

from trajectory.errors import InvalidTurnError
from trajectory.formats.base import ImportedTrajectory, Problem
from trajectory.formats.jsonlines import BadLineError, parse_object
from trajectory.formats.objects import read_objects

Make = Callable[[int, tuple[str, str], datetime], Iterable[ImportedTrajectory | Problem]]
"""Makes the trajectories of a document, of its line, its key with the occurrence, and its date."""


def read_documents(
    stream: BinaryIO, as_of: datetime, take: Callable[[dict[str, Any]], tuple[str, Make]]
) -> Iterator[ImportedTrajectory | Problem]:
    """Read a stream to its end. `take` gives a document's key, and what makes its trajectories.

    Each is dated a microsecond after the last. What `take` and `Make` raise (`BadLineError`,
    `InvalidTurnError`) becomes a problem.
    """
    seen: Counter[str] = Counter()
    for number, line in enumerate(read_objects(stream)):
        if isinstance(line, Problem):
            yield line
            continue
        try:
            key, make = take(parse_object(line))
            dated = as_of + timedelta(microseconds=number)
            found = list(make(line.number, (key, str(seen[key] + 1)), dated))
        except (BadLineError, InvalidTurnError) as error:
            yield Problem(line.number, str(error))
            if isinstance(error, BadLineError) and error.ends_reading:
                return
        except RecursionError:
            yield Problem(line.number, "nests too deep")
        else:
            seen[key] += 1
            yield from found
