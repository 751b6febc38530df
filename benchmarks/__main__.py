"""`python -m benchmarks`: measure, and print tables or JSON."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from time import perf_counter

from rich.console import Console

import benchmarks
from benchmarks import pages
from benchmarks.catalogue import FILLED_TIMES, NAMES, groups
from benchmarks.peers import NEEDS, is_there
from benchmarks.places import file_system, places
from benchmarks.report import document, environment, show
from benchmarks.suite import measure

QUICK_TURNS = 1000


def main() -> None:
    """Measure what the arguments say."""
    arguments = _arguments()
    quick = arguments.quick
    turns, rounds = (QUICK_TURNS, 1) if quick else (arguments.turns, arguments.rounds)
    wanted = tuple(name for name in NAMES if name in arguments.group or not arguments.group)
    _forget_settings()
    progress = Console(stderr=True)
    began = perf_counter()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        # Journals of a server lie there: not among those of whoever runs this.
        os.environ["XDG_STATE_HOME"] = str(Path(scratch, "state"))
        with places(
            arguments.postgres,
            postgres=any(name.startswith("postgres") for name in wanted),
            folder=Path(scratch),
            filled=FILLED_TIMES * turns,
        ) as made:
            chosen = [
                group
                for group in groups(turns, quick=quick, wanted=wanted)
                if all(not subject.place or subject.place in made for subject in group.subjects)
            ]
            if arguments.write_pages and len(chosen) < len(NAMES):
                raise SystemExit("the pages show a whole run, and there is no Postgres here")
            with progress.status("measuring") as status:
                seen = measure(chosen, rounds, made, status.update)
        told = environment(file_system(Path(scratch)))
    run = document(chosen, seen, told, turns)
    if arguments.json:
        print(json.dumps(run))
    else:
        show(run, Console())
    if arguments.write_pages:
        pages.keep(run)
        pages.write()
    progress.print(f"measured in {perf_counter() - began:.0f} s")


def _forget_settings() -> None:
    """Leave the caller's own settings out, here and in all subjects: the defaults are measured."""
    for name in [name for name in os.environ if name.startswith("TRAJECTORY_")]:
        if not name.startswith("TRAJECTORY_TEST_"):
            del os.environ[name]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    parser.add_argument(
        "group", nargs="*", help=f"what to measure; all if none is named: {', '.join(NAMES)}"
    )
    parser.add_argument("--turns", type=int, default=20_000, help="of a fast subject, a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one short round, to try it")
    parser.add_argument("--postgres", metavar="URL", help="a server; a database is made there")
    parser.add_argument(
        "--folder", type=Path, help="where SQLite files are made: a disk, not a memory file system"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    parser.add_argument(
        "--write-pages",
        action="store_true",
        help="put the figures into docs/benchmarks.json, the README, the docs and the chart",
    )
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.group) - set(NAMES)):
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(NAMES)}")
    if arguments.turns < 1000 or arguments.rounds < 1:
        parser.error("a figure needs --turns of at least 1000 and --rounds of at least 1")
    if arguments.write_pages and (arguments.quick or arguments.group):
        parser.error("the pages show a whole run: no --quick and no groups with --write-pages")
    if arguments.write_pages and not all(map(is_there, NEEDS)):
        parser.error("the pages show a whole run: install the extra `peers` for --write-pages")
    return arguments


if __name__ == "__main__":
    main()
