"""What it takes to read all turns of a file: through the library, and without it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from uuid import UUID

from benchmarks.work import Figures
from trajectory import TrajectoryStore, Turn

ALL = "SELECT * FROM trajectory_turns ORDER BY trajectory_id, turn_number"
_OF_ONE = """
SELECT turn_number, prompt, response, created_at, token_count, latency_ms, model_name
FROM trajectory_turns WHERE trajectory_id = ? ORDER BY turn_number
"""
_TRAJECTORIES = """
SELECT id, spec_id, agent_name, run_id, session_id, user_id, parent_trajectory_id,
       root_trajectory_id, created_at
FROM trajectories ORDER BY created_at, id
"""


def cursor(turns: int, *, target: str) -> Figures:
    """Take all rows from a cursor of the standard library, every column of each: the limit."""
    connection = sqlite3.connect(target)
    began = perf_counter()
    count = sum(1 for _row in connection.execute(ALL))
    return _figures(connection, turns, count, began)


def cursor_models(turns: int, *, target: str) -> Figures:
    """Make a `Turn` of each row of that cursor, by the shortest way there is."""
    connection = sqlite3.connect(target)
    began = perf_counter()
    rows = connection.execute(ALL)
    names = tuple(column[0] for column in rows.description)
    count = 0
    for row in rows:
        fields = {name: value for name, value in zip(names, row, strict=True) if value is not None}
        fields["created_at"] += "Z"
        Turn(**fields)
        count += 1
    return _figures(connection, turns, count, began)


def _figures(connection: sqlite3.Connection, turns: int, count: int, began: float) -> Figures:
    seconds = perf_counter() - began
    connection.close()
    if count != turns:
        raise RuntimeError(f"{count} of {turns} turns were read")
    return {"turns": count, "turns_per_s": count / seconds}


def store_turns(turns: int, *, target: str) -> Figures:
    """Stream all turns out of a `TrajectoryStore`."""
    return asyncio.run(_stream(target, turns))


async def _stream(target: str, turns: int) -> Figures:
    count = 0
    async with TrajectoryStore(target) as store:
        began = perf_counter()
        async for _turn in store.turns():
            count += 1
        seconds = perf_counter() - began
    if count != turns:
        raise RuntimeError(f"{count} of {turns} turns were read")
    return {"turns": count, "turns_per_s": count / seconds}


def export_jsonl(turns: int, *, target: str) -> Figures:
    """Export all as JSON Lines: what `trajectory export jsonl` does."""
    with TemporaryDirectory() as folder:
        return asyncio.run(exported(target, turns, Path(folder) / "out.jsonl"))


async def exported(target: str, turns: int, out: Path) -> Figures:
    """Export to a file through the library."""
    from trajectory.exporting import Target, export
    from trajectory.formats import exporter

    async with TrajectoryStore(target) as store:
        writer = exporter("jsonl")
        began = perf_counter()
        done = await export(store, writer, Target(out, writer.suffix, force=True))
        seconds = perf_counter() - began
    if done.counts.turns != turns:
        raise RuntimeError(f"{done.counts.turns} of {turns} turns were exported")
    return {"turns": turns, "turns_per_s": turns / seconds}


def cursor_jsonl(turns: int, *, target: str) -> Figures:
    """Write the same lines from cursors of the standard library."""
    with TemporaryDirectory() as folder:
        return written(target, turns, Path(folder) / "out.jsonl")


def written(target: str, turns: int, out: Path) -> Figures:
    """Write to a file what `exported` writes, without the library."""
    connection = sqlite3.connect(target)
    began = perf_counter()
    count = 0
    with out.open("w", encoding="utf-8") as lines:
        for is_turn, line in _lines(connection):
            lines.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
            count += is_turn
    return _figures(connection, turns, count, began)


def _lines(connection: sqlite3.Connection) -> Iterator[tuple[bool, dict[str, Any]]]:
    for id_, *labels, parent, root, created_at in connection.execute(_TRAJECTORIES):
        key = str(UUID(id_))
        names = ("spec_id", "agent_name", "run_id", "session_id", "user_id")
        yield (
            False,
            {
                "trajectory": {
                    "id": key,
                    **dict(zip(names, labels, strict=True)),
                    "parent_trajectory_id": str(UUID(parent)),
                    "root_trajectory_id": str(UUID(root)),
                    "created_at": _time(created_at),
                    "status": None,
                }
            },
        )
        for number, prompt, response, at, tokens, latency, model in connection.execute(
            _OF_ONE, (id_,)
        ):
            yield (
                True,
                {
                    "trajectory_id": key,
                    "turn_number": number,
                    "prompt": prompt,
                    "response": response,
                    "token_count": tokens,
                    "latency_ms": latency,
                    "created_at": _time(at),
                    "model_name": model,
                },
            )


def _time(text: str) -> str:
    return text.replace(" ", "T") + "Z"
