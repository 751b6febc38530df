"""How the figures are shown: as tables, as JSON, and in the README."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.groups import Group
from benchmarks.suite import Results
from benchmarks.targets import targets
from trajectory import LoggerSettings

MARK = "<!-- figures: python -m benchmarks -->\n"

_HEADINGS = {
    "ratio": "ratio",
    "turns_per_s": "turns/s until stored",
    "caller_us": "caller, median us",
    "caller_mean_us": "caller, mean us",
    "caller_p99_us": "caller, p99 us",
    "stall_ms": "worst stall added, ms",
    "added_p999_ms": "added at p99.9, ms",
    "late_p999_ms": "late, p99.9 ms",
    "late_worst_ms": "late, worst ms",
    "offered_per_s": "turns/s offered",
    "added_batch_ms": "added, ms",
    "batch_ms": "a batch, median ms",
    "batch_worst_ms": "a batch, worst ms",
    "window_turns": "turns at risk, at most",
    "window_ms": "oldest at risk, ms",
    "flushes": "flushes",
    "flushes_per_s": "flushes/s",
}


def environment(file_system: str | None) -> dict[str, Any]:
    """Say what the figures were measured with."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "file_system": file_system,
        "sqlite": sqlite3.sqlite_version,
        **{name: _version(name) for name in ("sqlalchemy", "aiosqlite", "asyncpg", "pydantic")},
        "settings": LoggerSettings().model_dump(mode="json"),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def show(groups: list[Group], results: Results, console: Console) -> None:
    """Print a table a group, and the promises beside what was seen."""
    for group in groups:
        table = Table(title=group.title, title_justify="left")
        table.add_column("")
        for column in group.columns:
            bold = "bold" if column == group.columns[0] else None
            table.add_column(_HEADINGS[column], justify="right", style=bold)
        for row in _rows(group, results):
            table.add_row(*row)
        console.print(table)
    for target in targets(results):
        verdict = "[green]met[/]" if target.met else "[red]missed[/]"
        console.print(f"{verdict}: {target.promise}: {target.found} ({target.wanted})")


def _rows(group: Group, results: Results) -> list[list[str]]:
    return [
        [label, *(_figure(column, figures.get(column)) for column in group.columns)]
        for label, figures in results[group.name].items()
    ]


def _figure(column: str, value: float | None) -> str:
    if value is None:
        return ""
    if column == "ratio":
        return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
    if column.startswith(("window_turns", "flushes")) and value == int(value):
        return f"{value:,.0f}"
    if abs(value) < 10 and column.endswith("_ms"):
        return f"{value:.2f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def write_readme(
    path: Path, groups: list[Group], results: Results, told: dict[str, Any], rounds: int
) -> None:
    """Put the tables into the README, so that no figure is typed by hand.

    What stands between the mark and the next heading is replaced.
    """
    text = path.read_text(encoding="utf-8")
    before, mark, old = text.partition(MARK)
    if not mark:
        raise SystemExit(f"{path.name} has no line {MARK.strip()}")
    heading = re.search(r"^#", old, re.MULTILINE)
    after = "\n" + old[heading.start() :] if heading else ""
    written = "\n".join(_markdown(groups, results, told, rounds))
    path.write_text(f"{before}{mark}\n{written}\n{after}", encoding="utf-8")


def _markdown(
    groups: list[Group], results: Results, told: dict[str, Any], rounds: int
) -> list[str]:
    settings = told["settings"]
    limits = ", ".join(
        f"`{name} = {settings[name]:g}`"
        for name in ("buffer_size", "flush_interval_ms", "channel_capacity")
    )
    versions = ", ".join(f"{name} {told[name]}" for name in told if name not in _NO_VERSIONS)
    where = f"{told['machine']}, {told['file_system'] or 'file system unknown'}"
    lines = [
        f"Medians of {rounds} interleaved rounds in one run of `python -m benchmarks`; what",
        "counts is the ratio to the first row: absolute figures drift with the machine.",
        f"Settings {limits}; 440 bytes of text a turn; {where};",
        f"{versions}. What each figure means: [docs/benchmarks.md](docs/benchmarks.md).",
        "",
        "| promise | wanted | seen |",
        "|---|--:|--:|",
        *(f"| {each.promise} | {each.wanted} | {each.found} |" for each in targets(results)),
    ]
    for group in groups:
        lines += ["", f"**{group.title}**", ""]
        lines.append("| | " + " | ".join(_HEADINGS[column] for column in group.columns) + " |")
        lines.append("|---|" + "--:|" * len(group.columns))
        lines += ["| " + " | ".join(row) + " |" for row in _rows(group, results)]
    return lines


_NO_VERSIONS = {"machine", "file_system", "settings"}
