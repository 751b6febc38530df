"""What is asked of a file as it grows: a trajectory, its score, the newest page, an export of all.

A SQLite file is filled through the library, and at each size the same is asked, by turns in one
process. Each export runs in a process of its own, so that its peak of memory is seen.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path
from statistics import median
from time import perf_counter
from uuid import UUID

from benchmarks.work import FIELDS, PROMPT, RESPONSE, Figures, peak_mib
from trajectory import (
    LoggerSettings,
    Question,
    TrajectoryLogger,
    TrajectoryQuery,
    TrajectoryStore,
    TurnQuery,
    Violation,
)
from trajectory.exporting import Target, export
from trajectory.formats import exporter

TURNS_EACH = 100
FIRST_CALLS = 5
CALLS = 60
PAGE = 20
ROOT = Path(__file__).parents[1]

QUESTIONS = [Question(question_text="Which provider?", effort_level="low")]
VIOLATIONS = [Violation(preference_name="concise", severity="minor")]


async def fill(path: Path, turns: int, ids: list[UUID]) -> None:
    """Log until there are so many turns, a hundred a trajectory; each tenth has findings."""
    settings = LoggerSettings(durability="queued", channel_capacity=1000, buffer_size=100)
    async with TrajectoryLogger(path, settings) as logger:
        while len(ids) * TURNS_EACH < turns:
            async with logger.trajectory(spec_id="growth", agent_name="bench") as run:
                ids.append(run.id)
                for number in range(TURNS_EACH):
                    found = {"questions": QUESTIONS, "violations": VIOLATIONS}
                    await run.log_turn(
                        PROMPT, RESPONSE, **FIELDS, **(found if number % 10 == 0 else {})
                    )


class Asking:
    """Asks one database the same questions again and again."""

    def __init__(self, store: TrajectoryStore, ids: list[UUID]) -> None:
        self._store = store
        self._spread = cycle(ids[len(ids) * n // 89] for n in range(89))
        self.calls: dict[str, Callable[[], Awaitable[int]]] = {
            "get_ms": self._get,
            "score_ms": self._score,
            "list_ms": self._list,
        }

    async def _get(self) -> int:
        id_ = next(self._spread)
        found = await self._store.get(id_)
        turns = [turn async for turn in self._store.turns(TurnQuery(ids=(id_,)))]
        return len(turns) if found else 0

    async def _score(self) -> int:
        score = await self._store.score(next(self._spread))
        return 0 if score is None else score.counts.questions

    async def _list(self) -> int:
        newest = TrajectoryQuery(descending=True, limit=PAGE)
        found = [each.id async for each in self._store.trajectories(newest)]
        return sum(one.turns for one in (await self._store.totals(found)).values())


EXPECTED = {"get_ms": TURNS_EACH, "score_ms": TURNS_EACH // 10, "list_ms": PAGE * TURNS_EACH}


async def costs(files: dict[int, tuple[Path, list[UUID]]]) -> dict[int, Figures]:
    """Say what each question takes in milliseconds at each size, asked by turns."""
    async with AsyncExitStack() as stack:
        asking = {
            turns: Asking(await stack.enter_async_context(TrajectoryStore(path)), ids)
            for turns, (path, ids) in files.items()
        }
        took: dict[int, dict[str, list[float]]] = {
            turns: {name: [] for name in EXPECTED} for turns in files
        }
        for name, expected in EXPECTED.items():
            for call in range(FIRST_CALLS + CALLS):
                for turns, one in asking.items():
                    before = perf_counter()
                    got = await one.calls[name]()
                    if call >= FIRST_CALLS:
                        took[turns][name].append((perf_counter() - before) * 1e3)
                    if got != expected:
                        raise RuntimeError(f"{name} at {turns} turns gave {got}, not {expected}")
        return {
            turns: {name: median(calls) for name, calls in seen.items()}
            for turns, seen in took.items()
        }


async def export_all(path: Path, out: Path) -> Figures:
    """Export everything as JSON Lines; say how long it took, and the peak of memory."""
    before = perf_counter()
    async with TrajectoryStore(path) as store:
        writer = exporter("jsonl")
        done = await export(store, writer, Target(out, writer.suffix, force=True))
    seconds = perf_counter() - before
    return {"export_turns_per_s": done.counts.turns / seconds, "export_peak_mib": peak_mib()}


def _exported(path: Path) -> Figures:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.questions", str(path)],
        check=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    figures: Figures = json.loads(done.stdout)
    return figures


def measure(folder: Path, *sizes: int) -> dict[int, Figures]:
    """Measure at each of some sizes, of a page of the list at least."""
    files: dict[int, tuple[Path, list[UUID]]] = {}
    for turns in sizes:
        path, ids = folder / f"{turns}.db", list[UUID]()
        asyncio.run(fill(path, turns, ids))
        files[turns] = path, ids
    asked = asyncio.run(costs(files))
    return {turns: {**asked[turns], **_exported(path)} for turns, (path, _ids) in files.items()}


if __name__ == "__main__":
    source = Path(sys.argv[1])
    exported = source.with_suffix(".jsonl")
    print(json.dumps(asyncio.run(export_all(source, exported))))
    exported.unlink()
