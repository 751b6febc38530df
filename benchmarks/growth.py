"""`python -m benchmarks.growth`: what reading costs as a table grows to a million turns.

A SQLite file is filled, and at each size the same is asked: one trajectory of a hundred turns, its
score, the newest page of a list, and an export of all as JSON Lines. Each export runs in a process
of its own, so that its peak of memory is seen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path
from statistics import median
from time import perf_counter
from uuid import UUID

from benchmarks.places import file_system
from benchmarks.report import environment
from benchmarks.work import FIELDS, PROMPT, RESPONSE, Figures
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
SMALL = 10_000
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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"export_turns_per_s": done.counts.turns / seconds, "export_peak_mib": peak}


def _exported(path: Path) -> Figures:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", "--export", str(path)],
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


def main() -> None:
    """Measure what the arguments say, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--turns", type=int, default=1_000_000, help="of the largest size")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--folder", type=Path, help="where the file is made")
    parser.add_argument("--export", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.export is not None:
        out = arguments.export.with_suffix(".jsonl")
        print(json.dumps(asyncio.run(export_all(arguments.export, out))))
        out.unlink()
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as made:
        seen = measure(Path(made), SMALL, arguments.turns)
        told = environment(file_system(Path(made)))
    ratios = {name: seen[arguments.turns][name] / seen[SMALL][name] for name in seen[SMALL]}
    if arguments.json:
        print(json.dumps({"environment": told, "results": seen, "ratios": ratios}))
        return
    print(f"{'':22}{SMALL:>12,}{arguments.turns:>14,}{'ratio':>8}")
    for name, small in seen[SMALL].items():
        print(f"{name:22}{small:12.2f}{seen[arguments.turns][name]:14.2f}{ratios[name]:8.2f}")


if __name__ == "__main__":
    main()
