"""Files that are imported into both databases, twice."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from trajectory import StorageBackend, Trajectory, TrajectoryQuery, Turn, TurnQuery, open_backend
from trajectory.backend import Batch
from trajectory.formats import ImportedTrajectory, Problem, importer

Rows = tuple[list[Trajectory], list[Turn]]

DAYS = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 2, tzinfo=UTC))


def read(format_: str, data: bytes | Path, as_of: datetime = DAYS[0]) -> list[ImportedTrajectory]:
    """Read what has no problems."""
    found = list(read_all(format_, data, as_of))
    assert not [each for each in found if isinstance(each, Problem)]
    return [each for each in found if isinstance(each, ImportedTrajectory)]


def read_all(
    format_: str, data: bytes | Path, as_of: datetime = DAYS[0]
) -> list[ImportedTrajectory | Problem]:
    """Read all that comes."""
    held = data if isinstance(data, bytes) else data.read_bytes()
    return list(importer(format_).read(io.BytesIO(held), as_of=as_of))


async def rows_after_two_imports(format_: str, files: Iterable[Path], urls: list[str]) -> Rows:
    """Import files at two times into each database; give the rows, which are always the same."""
    files = sorted(files)
    seen: list[Rows] = []
    for url in urls:
        backend = open_backend(url)
        await backend.open()
        try:
            for day in DAYS:
                for file in files:
                    found = read(format_, file, day)
                    starts = tuple(each.trajectory for each in found)
                    turns = tuple(turn for each in found for turn in each.turns)
                    await backend.write(Batch(starts=starts, turns=turns))
                seen.append(await _rows(backend))
        finally:
            await backend.close()
    assert seen.count(seen[0]) == len(urls) * len(DAYS)
    return seen[0]


async def _rows(backend: StorageBackend) -> Rows:
    return (
        [found async for found in backend.read_trajectories(TrajectoryQuery())],
        [turn async for turn in backend.read_turns(TurnQuery())],
    )
