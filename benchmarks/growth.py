"""`python -m benchmarks.growth`: what writing and reading cost as a table grows.

Half an hour and twenty gigabytes of disk for ten million turns; `--turns` takes fewer. Shows, or
writes into the docs, the cost of a turn beside little and beside much that is stored, the peak of
memory of a short and a long run, the price of each index, and what is asked of a file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from benchmarks import indexes, pages, questions
from benchmarks.groups import Group, Subject
from benchmarks.loading import EXPORT_JSONL, FILLED_TIMES, STORE, reading_groups
from benchmarks.places import FilledFile, SqliteFiles, file_system
from benchmarks.report import Document, document, environment, show
from benchmarks.suite import Results, measure
from benchmarks.targets import Target
from benchmarks.work import Figures


class Sizes(NamedTuple):
    """How many turns each part of it has."""

    small: int
    large: int
    logged: int
    """A round, at either size."""
    short: int
    long: int
    """Runs whose memory is compared."""
    asked_small: int
    asked_large: int
    read: int
    index_rows: int


def sizes(turns: int) -> Sizes:
    """Give the sizes for so many turns in the largest table: ten million is what is promised."""
    return Sizes(
        small=turns // 100,
        large=turns,
        logged=max(1000, turns // 500),
        short=max(1000, turns // 1000),
        long=turns // 10,
        asked_small=max(questions.PAGE * questions.TURNS_EACH, turns // 1000),
        asked_large=max(2 * questions.PAGE * questions.TURNS_EACH, turns // 10),
        read=turns // 10 // FILLED_TIMES,
        index_rows=turns // 10,
    )


class _Grown:
    """A file with many turns: copied for each measurement, or used as it is where that is long."""

    def __init__(self, files: SqliteFiles, turns: int, *, copied: bool) -> None:
        self._files = files
        self._filled = FilledFile(files, turns)
        self._copied = copied

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Give the path."""
        with self._filled.empty() as path:
            if not self._copied:
                yield path
                return
            copy = Path(path).with_suffix(".copy")
            try:
                yield str(shutil.copy(path, copy))
            finally:
                for each in copy.parent.glob(f"{copy.name}*"):
                    each.unlink()

    def turns(self, target: str) -> None:
        """Nobody counts ten million turns after each round: the subject asks the logger."""

    def close(self) -> None:
        """Delete the file."""
        self._filled.close()


def _written(size: Sizes) -> Group:
    return Group(
        "grown-writing",
        "A turn at full speed beside what is stored (SQLite, WAL, journaled)",
        [
            Subject(f"{turns:,} turns", "sizes.logged", size.logged, place, {})
            for turns, place in ((size.small, "small"), (size.large, "large"))
        ],
        ["ratio", "turn_us"],
        "turn_us",
    )


def _bare(size: Sizes) -> Group:
    return Group(
        "grown-bare",
        "The same without the library, in batches of 100",
        [
            Subject(f"{turns:,} turns", "sizes.inserted", size.logged, place, {})
            for turns, place in ((size.small, "small"), (size.large, "large"))
        ],
        ["ratio", "turn_us"],
        "turn_us",
    )


def _remembered(size: Sizes) -> Group:
    return Group(
        "grown-memory",
        "Peak of memory of a run",
        [
            Subject(f"{turns:,} turns logged", "sizes.logged", turns, "wal", {})
            for turns in (size.short, size.long)
        ],
        ["added_peak_mib", "peak_mib"],
        rounds=3,
        differences={"peak_mib": "added_peak_mib"},
    )


def grown(folder: Path, size: Sizes, rounds: int, console: Console) -> Document:
    """Measure all of it."""
    files = SqliteFiles(folder, wal=True)
    with console.status("filling") as status:
        filled: dict[str, _Grown | FilledFile] = {
            "small": _Grown(files, size.small, copied=True),
            "large": _Grown(files, size.large, copied=False),
            "filled": FilledFile(files, size.read * FILLED_TIMES),
        }
        chosen = [
            _written(size),
            _bare(size),
            _remembered(size),
            *(group for group in reading_groups(size.read) if group.name != "imports"),
        ]
        seen = measure(chosen, rounds, {"wal": files, **filled}, status.update)
        for place in filled.values():
            place.close()
        status.update("the price of each index")
        path = folder / "indexes.db"
        with files.empty() as empty:
            shutil.copy(empty, path)
        priced = indexes.prices(
            path, min(rounds, 3), rows=size.index_rows, inserted=max(200, size.logged)
        )
        path.unlink()
        status.update("what is asked of a file")
        asked = questions.measure(folder, size.asked_small, size.asked_large)
    run = document(chosen, seen, environment(file_system(folder)), size.large)
    run["groups"] += [
        _as_group(
            "grown-indexes",
            f"What each index adds to a row, {size.index_rows:,} rows in its table",
            ["index_us", "index_percent"],
            priced,
        ),
        _as_group(
            "grown-questions",
            "What is asked of a file (a hundred turns a trajectory)",
            ["get_ms", "score_ms", "list_ms", "export_turns_per_s", "export_peak_mib"],
            {f"{turns:,} turns": figures for turns, figures in asked.items()},
        ),
    ]
    run["targets"] = [
        {**each._asdict(), "met": each.met, "words": [each.promise, each.wanted, each.found]}
        for each in _targets({group["name"]: group["subjects"] for group in run["groups"]})
    ]
    return run


def _as_group(name: str, title: str, columns: list[str], rows: dict[str, Figures]) -> Document:
    return {"name": name, "title": title, "columns": columns, "rounds": 0, "subjects": rows}


def _targets(results: Results) -> list[Target]:
    def last(group: str, figure: str) -> float:
        return list(results[group].values())[-1][figure]

    return [
        Target(
            "a turn beside a hundred times as many stored",
            "x",
            1.2,
            last("grown-writing", "ratio"),
            at_least=False,
        ),
        Target(
            "peak of memory added by a hundred times as many turns",
            " MiB",
            20,
            last("grown-memory", "added_peak_mib"),
            at_least=False,
        ),
        Target(
            "reading turns over a bare cursor",
            "",
            0.2,
            results["reading"][STORE]["ratio"],
            at_least=True,
        ),
        Target(
            "export jsonl over a bare cursor that writes the same",
            "",
            0.4,
            results["exporting"][EXPORT_JSONL]["ratio"],
            at_least=True,
        ),
    ]


def main() -> None:
    """Measure what the arguments say, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--turns", type=int, default=10_000_000, help="in the largest table")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    parser.add_argument("--folder", type=Path, help="where the files are made")
    parser.add_argument(
        "--write-pages", action="store_true", help="put the figures into docs/benchmarks.md"
    )
    arguments = parser.parse_args()
    if arguments.turns < 100_000 or arguments.rounds < 1:
        parser.error("growth needs --turns of at least 100000 and --rounds of at least 1")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as made:
        run = grown(Path(made), sizes(arguments.turns), arguments.rounds, Console(stderr=True))
    if arguments.json:
        print(json.dumps(run))
    else:
        show(run, Console())
    if arguments.write_pages:
        pages.keep(run, pages.GROWTH)
        pages.write()


if __name__ == "__main__":
    main()
