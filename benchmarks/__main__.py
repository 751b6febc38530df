"""`python -m benchmarks`: measure, and print tables or JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from rich.console import Console

from benchmarks.report import environment, show, write_readme
from benchmarks.suite import groups, measure, ratios
from trajectory import migrations

ROOT = Path(__file__).parents[1]


@contextmanager
def postgres(url: str | None) -> Iterator[str | None]:
    """Give a database of a Postgres server: the given one, or one from the tests' wheel."""
    sys.path.insert(0, str(ROOT / "tests"))
    try:
        tests_postgres = import_module("postgres")
    except ImportError as error:
        sys.stderr.write(f"without Postgres: {error}; install the dev extra\n")
        yield None
        return
    if url:
        os.environ[tests_postgres.URL_VARIABLE] = url
    with tests_postgres.server() as server, tests_postgres.database(server) as database:
        migrations.upgrade(database)
        yield database


def main() -> None:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [group.name for group in groups(1000, "postgresql://")]
    parser.add_argument("group", nargs="*", choices=[*names, []], help="groups; all if none")
    parser.add_argument("--turns", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one short round, to try it")
    parser.add_argument("--postgres", metavar="URL", help="a server to use (databases are made)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    parser.add_argument("--write-readme", action="store_true", help="put the tables there")
    arguments = parser.parse_args()
    turns, rounds = (1000, 1) if arguments.quick else (arguments.turns, arguments.rounds)
    wanted = arguments.group or names
    console = Console()
    progress = Console(stderr=True)

    with postgres(arguments.postgres) as url:
        chosen = [group for group in groups(turns, url) if group.name in wanted]
        if arguments.quick:
            chosen = [group for group in chosen if group.name != "flush-interval"]
        with progress.status("measuring") as status:
            results = measure(chosen, rounds, status.update)
    if arguments.json:
        told = {name: dict(ratios(figures)) for name, figures in results.items()}
        print(json.dumps({"environment": environment(), "turns": turns, "results": told}))
    else:
        show(chosen, results, console)
    if arguments.write_readme:
        write_readme(ROOT / "README.md", chosen, results)


if __name__ == "__main__":
    main()
