"""`python -m benchmarks.profile`: where a turn's microseconds go.

Each stage runs alone, for few turns and for many: the difference is what so many turns take. With
valgrind it is counted in instructions, which are the same on a busy machine; else in microseconds,
the best of some. `--tree` takes the library of another checkout, `--keep before` or `--keep after`
puts what was found into docs/profile.json, and the table of docs/profile.md is made from that.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.pages import ROOT, put

FIGURES, PAGE = Path("docs", "profile.json"), Path("docs", "profile.md")
STAGES = Path(__file__).with_name("stages.py")
NAMES = ("made", "encoded", "rows", "taken", "queued", "journaled", "bare")
FEW, MANY = 1000, 11_000
_VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
_LEFT_OUT = 3

_PARTS: tuple[tuple[str, str, str], ...] = (
    ("the `Turn` is made", "made", ""),
    ("it is accepted, and taken in a batch", "taken", "made"),
    ("rows are made of it", "rows", ""),
    ("SQLite takes it: the hop, the statements, the commit", "queued", "taken rows"),
    ("**all of it, queued**", "queued", ""),
    ("the journal: its frame is made", "encoded", ""),
    ("the journal: it is written, and marked as stored", "journaled", "queued encoded"),
    ("**all of it, journaled**", "journaled", ""),
    ("bare `sqlite3`, for comparison", "bare", ""),
)
"""What a line shows: one stage, less others."""


def measured(tree: Path, turns: int, *, counts: bool) -> dict[str, Any]:
    """Measure each stage with the library of a checkout."""
    stages: dict[str, float | None] = {}
    for name in NAMES:
        sys.stderr.write(f"{name}\n")
        cost = _instructions if counts else microseconds
        few, many = cost(tree, name, FEW), cost(tree, name, FEW + turns)
        stages[name] = None if few is None or many is None else (many - few) / turns
    return {"unit": "instructions" if counts else "microseconds", "stages": stages}


def _run(command: list[str], tree: Path) -> subprocess.CompletedProcess[str] | None:
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode == _LEFT_OUT:
        return None
    if done.returncode:
        raise SystemExit(done.stderr)
    return done


def microseconds(tree: Path, name: str, turns: int) -> float | None:
    """Say what a stage takes for so many turns, at best; None where this library has it not."""
    # Without the folder of this file in front: its modules have names of the standard library's.
    done = _run([sys.executable, "-P", str(STAGES), name, str(turns), "time"], tree)
    return None if done is None else float(done.stdout) * 1e6


def _instructions(tree: Path, name: str, turns: int) -> float | None:
    valgrind = [
        "valgrind",
        "--tool=cachegrind",
        "--cache-sim=no",
        "--cachegrind-out-file=/dev/null",
    ]
    done = _run([*valgrind, sys.executable, "-P", str(STAGES), name, str(turns)], tree)
    if done is None:
        return None
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if found is None:
        raise SystemExit(f"valgrind told no instructions:\n{done.stderr}")
    return int(found[1].replace(",", ""))


def lines(kept: dict[str, Any]) -> list[str]:
    """Give the table in Markdown: a line a part, before and after."""
    times = [name for name in ("before", "after") if name in kept]
    unit = kept[times[-1]]["unit"]
    rows = []
    for label, stage, less in _PARTS:
        cells = [_cell(kept[name]["stages"], stage, less.split()) for name in times]
        rows.append(f"| {label} | {' | '.join(cells)} |")
    return [f"| {unit} a turn | {' | '.join(times)} |", "|---|" + "--:|" * len(times), *rows]


def _cell(stages: dict[str, float | None], stage: str, less: list[str]) -> str:
    values = [stages[name] for name in (stage, *less)]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return ""
    found = known[0] - sum(known[1:])
    return f"{found:,.0f}" if found >= 100 else f"{found:.2f}"


def main() -> None:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--tree", type=Path, default=ROOT, help="a checkout to take the library of")
    parser.add_argument("--turns", type=int, default=MANY - FEW)
    parser.add_argument("--time", action="store_true", help="microseconds, though valgrind is here")
    parser.add_argument("--keep", choices=("before", "after"), help="put it into the docs")
    arguments = parser.parse_args()
    counts = not arguments.time and shutil.which("valgrind") is not None
    found = measured(arguments.tree.resolve(), arguments.turns, counts=counts)
    path = ROOT / FIGURES
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    name = arguments.keep or "after"
    if any(each["unit"] != found["unit"] for key, each in kept.items() if key != name):
        kept = {}  # instructions and microseconds are no pair
    kept[name] = found
    print("\n".join(lines(kept)))
    if arguments.keep:
        path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        put(ROOT / PAGE, "benchmarks.profile", lines(kept))


if __name__ == "__main__":
    main()
