"""`python -m benchmarks.pages`: the figures of the pages, all made from JSON beside the docs.

No figure is typed by hand: what stands between a begin mark and the end mark is written here, and a
test compares it. Whole runs with `--write-pages` renew the JSON first.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.chart import chart
from benchmarks.report import (
    Document,
    markdown_group,
    markdown_intro,
    markdown_peers,
    markdown_targets,
)

ROOT = Path(__file__).parents[1]
FIGURES = Path("docs", "benchmarks.json")
GROWTH = Path("docs", "benchmarks-growth.json")
PAGE = Path("docs", "benchmarks.md")
CHART = Path("docs", "benchmarks.svg")
BEGIN = "<!-- figures: python -m {} -->\n"
END = "<!-- end of figures -->\n"

_IN_README = ("strategies-wal", "levels", "hot-path", "postgres", "peers")


def keep(run: Document, path: Path = FIGURES, root: Path = ROOT) -> None:
    """Put the figures of a run into a JSON file; its single rounds are not kept."""
    kept = {name: value for name, value in run.items() if name != "each_round"}
    text = json.dumps(kept, indent=1, ensure_ascii=False)
    (root / path).write_text(text + "\n", encoding="utf-8")


def write(root: Path = ROOT) -> None:
    """Write the chart, and the tables of the pages, from the JSON."""
    run: Document = json.loads((root / FIGURES).read_text(encoding="utf-8"))
    (root / CHART).write_text(chart(run), encoding="utf-8")
    put(root / "README.md", "benchmarks", _readme(run))
    put(root / PAGE, "benchmarks", _page(run))
    if (root / GROWTH).exists():
        grown: Document = json.loads((root / GROWTH).read_text(encoding="utf-8"))
        put(root / PAGE, "benchmarks.growth", [*markdown_targets(grown), *_page(grown)])


def put(path: Path, command: str, lines: list[str]) -> None:
    """Put lines between the marks of a command in a page."""
    text = path.read_text(encoding="utf-8")
    begin = BEGIN.format(command)
    before, mark, rest = text.partition(begin)
    _old, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"{path.name} has no {begin.strip()} with {END.strip()} after it")
    written = "\n".join(lines)
    path.write_text(f"{before}{begin}\n{written}\n\n{END}{after}", encoding="utf-8")


def _readme(run: Document) -> list[str]:
    lines = [
        f"![Turns per second until stored, and shares of the limit]({CHART.as_posix()})",
        "",
        *markdown_intro(run),
        "All tables, and what each figure means: [docs/benchmarks.md](docs/benchmarks.md).",
        "",
        *markdown_targets(run),
    ]
    return lines + _groups(run, lambda name: name in _IN_README)


def _page(run: Document) -> list[str]:
    return ["", *markdown_intro(run), *_groups(run, lambda _name: True)]


def _groups(run: Document, wanted: Callable[[str], bool]) -> list[str]:
    lines: list[str] = []
    for group in run["groups"]:
        if wanted(group["name"]):
            lines += ["", *markdown_group(run, group)]
            if group["name"] == "peers":
                lines += ["", markdown_peers(run)]
    return lines


if __name__ == "__main__":
    write()
