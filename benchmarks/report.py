"""A run as one document, and its tables on the terminal and in Markdown."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.groups import Group
from benchmarks.suite import Rounds, medians
from benchmarks.targets import targets
from trajectory import LoggerSettings

Document = dict[str, Any]
"""What a run found, as it stands in JSON: all that is shown of it is made from this alone."""

_PACKAGES = ("sqlalchemy", "aiosqlite", "asyncpg", "pydantic")
_PEERS = (
    "opentelemetry-sdk",
    "openai-agents",
    "langgraph-checkpoint-sqlite",
    "mlflow-skinny",
)
_VERSIONS = ("python", "sqlite", *_PACKAGES)

_HEADINGS = {
    "ratio": "ratio",
    "turns_per_s": "turns/s until stored",
    "caller_us": "caller, median us",
    "caller_mean_us": "caller, mean us",
    "caller_p99_us": "caller, p99 us",
    "p99_over_median": "p99 over median",
    "stall_ms": "worst stall added, ms",
    "added_p999_ms": "added at p99.9, ms",
    "late_p999_ms": "late, p99.9 ms",
    "added_worst_ms": "added, worst ms",
    "late_worst_ms": "late, worst ms",
    "offered_per_s": "turns/s offered",
    "program_ms": "the program alone, ms of CPU",
    "added_cpu_ms": "added, ms of CPU",
    "added_share_percent": "added, %",
    "added_late_ms": "added to the worst stall, ms",
    "added_batch_ms": "added, ms",
    "batch_ms": "a batch, median ms",
    "batch_worst_ms": "a batch, worst ms",
    "window_turns": "turns at risk, at most",
    "window_ms": "oldest at risk, ms",
    "flushes": "flushes",
    "flushes_per_s": "flushes/s",
    "cpu_percent": "share of a core, %",
    "added_cpu_percent": "added by logging, %",
    "agent_bytes": "bytes an agent",
    "unfair": "most over fewest turns",
    "wait_worst_ms": "worst wait, ms",
    "import_ms": "ms",
    "modules": "modules",
    "heavy_modules": "of SQLAlchemy and Alembic",
    "stored_percent": "really stored, %",
    "turn_us": "us a turn",
    "peak_mib": "peak, MiB",
    "added_peak_mib": "added, MiB",
    "index_us": "us a row",
    "index_percent": "of all, %",
    "get_ms": "a trajectory and its turns, ms",
    "score_ms": "its score, ms",
    "list_ms": "the newest 20 and their counts, ms",
    "export_turns_per_s": "export jsonl, turns/s",
    "export_peak_mib": "its peak, MiB",
}
_WHOLE = ("window_turns", "flushes", "modules", "heavy_modules", "agent_bytes")
_ONCE = {
    "reading": {"turns_per_s": "turns/s"},
    "exporting": {"turns_per_s": "turns/s"},
}
"""Headings of single groups, where a figure is called otherwise."""


def environment(file_system: str | None) -> dict[str, Any]:
    """Say what the figures were measured with."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "file_system": file_system,
        "sqlite": sqlite3.sqlite_version,
        **{name: _version(name) for name in (*_PACKAGES, *_PEERS)},
        "settings": LoggerSettings().model_dump(mode="json"),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def document(chosen: list[Group], seen: Rounds, told: dict[str, Any], turns: int) -> Document:
    """Put a run into one document: medians, promises, and each round."""
    results = medians(seen)
    return {
        "environment": told,
        "turns": turns,
        "rounds": max((len(one) for found in seen.values() for one in found.values()), default=0),
        "groups": [
            {
                "name": group.name,
                "title": group.title,
                "columns": group.columns,
                "rounds": min(len(one) for one in seen[group.name].values()),
                "subjects": results[group.name],
            }
            for group in chosen
        ],
        "targets": [
            {
                **each._asdict(),
                "met": each.met,
                "words": [each.promise, each.wanted, each.found],
            }
            for each in targets(seen)
        ],
        "each_round": seen,
    }


def show(run: Document, console: Console) -> None:
    """Print a table a group, and the promises beside what was seen."""
    for group in run["groups"]:
        table = Table(title=group["title"], title_justify="left")
        table.add_column("")
        for column in group["columns"]:
            bold = "bold" if column == group["columns"][0] else None
            table.add_column(_heading(group["name"], column), justify="right", style=bold)
        for row in _rows(group):
            table.add_row(*row)
        console.print(table)
    for target in run["targets"]:
        promise, wanted, found = target["words"]
        verdict = "[green]met[/]" if target["met"] else "[red]missed[/]"
        console.print(f"{verdict}: {promise}: {found} ({wanted})")


def _heading(group: str, column: str) -> str:
    return _ONCE.get(group, {}).get(column, _HEADINGS[column])


def _rows(group: Document) -> list[list[str]]:
    return [
        [label, *(_figure(column, figures.get(column)) for column in group["columns"])]
        for label, figures in group["subjects"].items()
    ]


def _figure(column: str, value: float | None) -> str:
    if value is None:
        return ""
    if column == "ratio":
        digits = 4 if value < 0.01 else 3 if value < 0.1 else 2
        return f"{value:.{digits}f}"
    if column in _WHOLE and value == int(value):
        return f"{value:,.0f}"
    if abs(value) < 10 and column.endswith(("_ms", "unfair")):
        return f"{value:.2f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def markdown_intro(run: Document) -> list[str]:
    """Say in Markdown what the figures were measured with."""
    told = run["environment"]
    limits = ", ".join(
        f"`{name} = {told['settings'][name]:g}`"
        for name in ("buffer_size", "flush_interval_ms", "channel_capacity")
    )
    where = f"{told['machine']}, {told['file_system'] or 'file system unknown'}"
    return [
        f"Medians of {run['rounds']} interleaved rounds in one run, or of fewer where it says so;",
        "what counts is the ratio to the first row: absolute figures drift with the machine.",
        f"Settings {limits} unless the label says otherwise; 440 bytes of text a turn;",
        f"{where}; {_named(told, _VERSIONS)}.",
    ]


def markdown_peers(run: Document) -> str:
    """Name the peers' versions."""
    return f"Versions: {_named(run['environment'], _PEERS)}."


def _named(told: dict[str, Any], names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {told[name]}" for name in names if told[name])


def markdown_targets(run: Document) -> list[str]:
    """Give the promises as a table in Markdown."""
    return [
        "| promise | wanted | seen | |",
        "|---|--:|--:|---|",
        *(
            f"| {' | '.join(each['words'])} | {'met' if each['met'] else 'missed'} |"
            for each in run["targets"]
        ),
    ]


def markdown_group(run: Document, group: Document) -> list[str]:
    """Give a group as a table in Markdown, under its title."""
    fewer = 0 < group["rounds"] < run["rounds"]
    note = f" ({group['rounds']} round{'s' if group['rounds'] > 1 else ''})" if fewer else ""
    headings = [_heading(group["name"], column) for column in group["columns"]]
    return [
        f"**{group['title']}**{note}",
        "",
        f"| | {' | '.join(headings)} |",
        "|---|" + "--:|" * len(headings),
        *(f"| {' | '.join(row)} |" for row in _rows(group)),
    ]
