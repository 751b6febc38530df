"""`python -m benchmarks`: measure, and print tables or JSON."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from rich.console import Console

import benchmarks
from benchmarks.groups import NAMES, groups
from benchmarks.places import file_system, places
from benchmarks.report import environment, show, write_readme
from benchmarks.suite import measure, medians
from benchmarks.targets import targets

README = Path(__file__).parents[1] / "README.md"
QUICK_TURNS = 1000


def main() -> None:
    """Measure what the arguments say."""
    arguments = _arguments()
    quick = arguments.quick
    turns, rounds = (QUICK_TURNS, 1) if quick else (arguments.turns, arguments.rounds)
    wanted = [name for name in NAMES if name in arguments.group or not arguments.group]
    _forget_settings()
    progress = Console(stderr=True)
    with places(arguments.postgres, postgres="postgres" in wanted, folder=arguments.folder) as made:
        chosen = [
            group
            for name, group in groups(turns, quick=quick).items()
            if name in wanted and (name != "postgres" or name in made)
        ]
        with progress.status("measuring") as status:
            seen = measure(chosen, rounds, made, status.update)
    results = medians(seen)
    told = environment(file_system(arguments.folder or Path(tempfile.gettempdir())))
    if arguments.json:
        output = {
            "environment": told,
            "turns": turns,
            "rounds": rounds,
            "results": results,
            "targets": [{**each._asdict(), "met": each.met} for each in targets(results)],
            "each_round": seen,
        }
        print(json.dumps(output))
    else:
        show(chosen, results, Console())
    if arguments.write_readme:
        write_readme(README, chosen, results, told, rounds)


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
    parser.add_argument("--write-readme", action="store_true", help="put the tables there")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.group) - set(NAMES)):
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(NAMES)}")
    if arguments.turns < 1000 or arguments.rounds < 1:
        parser.error("a figure needs --turns of at least 1000 and --rounds of at least 1")
    if arguments.write_readme and (arguments.quick or arguments.group):
        parser.error("the README shows a whole run: no --quick and no groups with --write-readme")
    return arguments


if __name__ == "__main__":
    main()
