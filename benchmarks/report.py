"""How the figures are shown: as tables, as JSON, and in the README."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.suite import Group, Results, ratios
from trajectory import LoggerSettings

MARK = "<!-- figures: python -m benchmarks -->"

_HEADINGS = {
    "turns_per_s": "turns/s until stored",
    "ratio": "ratio",
    "batches": "batches",
    "caller_us": "caller, median us",
    "caller_mean_us": "caller, mean us",
    "caller_p99_us": "caller, p99 us",
    "stall_p999_ms": "loop late, p99.9 ms",
    "stall_max_ms": "loop late, worst ms",
    "window_turns": "turns at risk, at most",
    "window_ms": "oldest at risk, ms",
    "flushes_per_s": "flushes/s",
}


def environment() -> dict[str, Any]:
    """Say what the figures were measured with."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
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
    """Print a table a group."""
    for group in groups:
        table = Table(title=group.title, title_justify="left")
        table.add_column("")
        for column in group.columns:
            table.add_column(_HEADINGS[column], justify="right")
        for row in _rows(group, results):
            table.add_row(*row)
        console.print(table)
    for line in summary(results):
        console.print(line)


def summary(results: Results) -> list[str]:
    """Say the figures that the project promises, each a ratio or difference within this run."""
    lines = []
    default, single = "async, batched (the default)", "async, a write a turn"
    for name, figures in results.items():
        if default in figures and single in figures:
            rates = {label: found["turns_per_s"] for label, found in figures.items()}
            baseline = next(iter(rates.values()))
            lines.append(
                f"{name}: async batched is {rates[default] / rates[single]:.1f}x async single, "
                f"{rates[default] / baseline:.2f} of the bare driver"
            )
    if "stall" in results:
        off, on = (results["stall"][label]["stall_p999_ms"] for label in ("off", "on"))
        lines.append(f"stall: logging adds {on - off:.2f} ms at p99.9")
    if "hot-path" in results:
        put, log = (found["caller_us"] for found in results["hot-path"].values())
        lines.append(
            f"hot path: log_turn takes {log:.1f} us at the median, {log / put:.1f} times what "
            f"asyncio.Queue.put takes, both with the making of the Turn"
        )
    return lines


def _rows(group: Group, results: Results) -> list[list[str]]:
    return [
        [label, *(_figure(column, figures.get(column)) for column in group.columns)]
        for label, figures in ratios(results[group.name])
    ]


def _figure(column: str, value: float | None) -> str:
    if value is None:
        return ""
    if column == "ratio":
        return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def write_readme(path: Path, groups: list[Group], results: Results) -> None:
    """Put the tables into the README, behind the mark, so that no figure is typed by hand."""
    text = path.read_text(encoding="utf-8")
    before, mark, _old = text.partition(MARK)
    if not mark:
        raise SystemExit(f"{path} has no line {MARK}")
    told = environment()
    settings = told.pop("settings")
    limits = " / ".join(
        f"{settings[name]:g}" for name in ("buffer_size", "flush_interval_ms", "channel_capacity")
    )
    lines = [
        "",
        "Medians of interleaved rounds in one run of `make bench`; ratios count, absolute figures",
        "drift with the machine. " + ", ".join(f"{k} {v}" for k, v in told.items() if v) + ".",
        f"Settings (turns, ms, turns): {limits}; 440 bytes of text a turn.",
        "",
        *(f"- {line}" for line in summary(results)),
    ]
    for group in groups:
        lines += ["", f"**{group.title}**", ""]
        lines.append("| | " + " | ".join(_HEADINGS[column] for column in group.columns) + " |")
        lines.append("|---|" + "--:|" * len(group.columns))
        lines += ["| " + " | ".join(row) + " |" for row in _rows(group, results)]
    path.write_text(before + mark + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
