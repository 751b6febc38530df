"""Log a conversation into SQLite while it runs, and read it back.

Run it with `make demo`, or with `python examples/demo.py [DATABASE]`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trajectory import Statistics, StorageBackend, TrajectoryLogger, Turn, TurnQuery

CONVERSATION = Path(__file__).with_name("conversation.jsonl")

# What an agent knows about its own runs; the file only holds what was said.
RUNS = (
    {"spec_id": "SPEC-AUTH-001", "agent_name": "coding-agent", "run_id": "demo-1"},
    {"spec_id": "SPEC-TRIP-002", "agent_name": "travel-agent", "run_id": "demo-2"},
)


def conversations() -> list[list[dict[str, Any]]]:
    """Read the example: the fields of each turn, by trajectory."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in CONVERSATION.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        # Each run of the demo is a new execution: the logger makes ids and numbers.
        del fields["turn_number"]
        found.setdefault(fields.pop("trajectory_id"), []).append(fields)
    return list(found.values())


async def play(logger: TrajectoryLogger) -> tuple[list[UUID], list[float]]:
    """Log all turns as an agent would; give the trajectories and the time each call took."""
    ids, seconds = [], []
    for labels, turns in zip(RUNS, conversations(), strict=True):
        async with logger.trajectory(**labels) as run:
            ids.append(run.id)
            for fields in turns:
                began = perf_counter()
                await run.log_turn(**fields)
                seconds.append(perf_counter() - began)
                await asyncio.sleep(0)  # an agent would await its model here
    return ids, seconds


def row(turn: Turn) -> list[str | Text]:
    """Show a turn as one row of the table."""
    notes = Text()
    for question in turn.questions:
        notes.append(f"asks ({question.effort_level})\n", "cyan")
    for violation in turn.violations:
        notes.append(f"breaks {violation.preference_name} ({violation.severity})\n", "red")
    for call in turn.tool_calls:
        notes.append(f"calls {call.tool_name}\n", "green")
    notes.rstrip()
    # `Text`, not `str`: an agent's words must not be taken for markup.
    return [str(turn.turn_number), Text(turn.prompt), Text(turn.response), notes]


async def show_turns(console: Console, backend: StorageBackend, ids: list[UUID]) -> int:
    """Print what is stored, trajectory by trajectory; give the number of turns."""
    count = 0
    for id_, labels in zip(ids, RUNS, strict=True):
        table = Table(title=f"{labels['spec_id']}, {labels['agent_name']}", title_justify="left")
        table.add_column("#", justify="right")
        table.add_column("prompt", max_width=30)
        table.add_column("response", max_width=60)
        table.add_column("noticed")
        async for turn in backend.read_turns(TurnQuery(ids=(id_,))):
            table.add_row(*row(turn))
            count += 1
        console.print(table)
    return count


def show_figures(
    console: Console, counts: Statistics, seconds: list[float], database: Path
) -> None:
    """Print what was measured, and what to try next."""
    command = Path(sys.executable).with_name("trajectory")
    if command.is_relative_to(Path.cwd()):
        command = command.relative_to(Path.cwd())
    figures = Table(title="Figures", title_justify="left", show_header=False)
    figures.add_row("turns stored", str(counts.stored))
    figures.add_row("batches, one transaction each", str(counts.batches))
    figures.add_row("log_turn, median", f"{median(seconds) * 1e6:.0f} microseconds")
    figures.add_row("log_turn, slowest", f"{max(seconds) * 1e6:.0f} microseconds")
    figures.add_row("database file", f"{database.stat().st_size / 1024:.0f} KiB")
    console.print(figures)
    console.print(
        "\nNext steps:\n"
        f"  {command} db current --db {database}\n"
        f"  {command} log examples/conversation.jsonl --db {database}\n"
        f"  {command} import openai-chat FILE --db {database}\n"
        f"  {command} --help",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


async def main(database: Path) -> None:
    """Log, read back, and print what was measured."""
    console = Console()
    async with TrajectoryLogger(database) as logger:
        ids, seconds = await play(logger)
        await logger.flush()  # to read our own writes
        read_back = await show_turns(console, logger.backend, ids)
        counts = logger.statistics()
    show_figures(console, counts, seconds, database)
    if read_back != counts.stored:
        sys.exit(f"{counts.stored} turns were stored, but {read_back} read back")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo.db")))
