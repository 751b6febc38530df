"""What the pages show of the figures is made from the JSON beside them, and from nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import pages, profile
from benchmarks.catalogue import groups
from benchmarks.chart import chart
from benchmarks.report import document, environment

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/benchmarks.md", "docs/profile.md")


def made_up(value: float) -> dict[str, Any]:
    """Give a run in which all figures are the same."""
    chosen = groups(1000, quick=True)
    seen = {
        group.name: {
            subject.label: [dict.fromkeys((*group.columns, "turns_per_s", "stored_percent"), value)]
            for subject in group.subjects
        }
        for group in chosen
    }
    return document(chosen, seen, environment("a disk"), 1000)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the pages and of what they are made from."""
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    return tmp_path


def test_the_pages_are_those_of_the_kept_figures(checkout: Path) -> None:
    """Whoever edits a figure by hand, or forgets to write the pages anew, is told here."""
    pages.write(checkout)
    for name in (*PAGES, "docs/benchmarks.svg"):
        assert (checkout / name).read_text() == (ROOT / name).read_text(), name


def test_the_profile_is_that_of_the_kept_figures(checkout: Path) -> None:
    kept = json.loads((ROOT / profile.FIGURES).read_text())
    pages.put(checkout / profile.PAGE, "benchmarks.profile", profile.lines(kept))
    assert (checkout / profile.PAGE).read_text() == (ROOT / profile.PAGE).read_text()


def test_a_run_changes_the_figures_and_nothing_else(checkout: Path) -> None:
    def prose(name: str) -> str:
        text = (checkout / name).read_text()
        return re.sub(r"(<!-- figures: .*? -->\n).*?(<!-- end)", r"\1\2", text, flags=re.DOTALL)

    before = {name: prose(name) for name in PAGES}
    run = made_up(1.0)
    for _ in range(2):
        pages.keep(run, root=checkout)
        pages.write(checkout)
        assert {name: prose(name) for name in PAGES} == before
    written = (checkout / "docs/benchmarks.md").read_text()
    for group in run["groups"]:
        assert written.count(f"**{group['title']}**") == 1
        assert all(f"| {label} |" in written for label in group["subjects"])
    for table in re.findall(r"(?:^\|.*\|\n)+", written, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "each_round" not in json.loads((checkout / pages.FIGURES).read_text())


def test_a_page_without_marks_is_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("<!-- figures: python -m benchmarks -->\nno end\n")
    with pytest.raises(SystemExit, match=r"a\.md has no"):
        pages.put(page, "benchmarks", ["new"])
    assert page.read_text().endswith("no end\n")


def test_the_chart_is_the_same_for_the_same_figures_and_has_each_bar() -> None:
    run = made_up(3.0)
    drawn = chart(run)
    assert drawn == chart(json.loads(json.dumps(run)))
    assert drawn != chart(made_up(4.0))
    svg = ET.fromstring(drawn)  # noqa: S314 - our own
    texts = ["".join(each.itertext()) for each in svg.iter("{http://www.w3.org/2000/svg}text")]
    for name in ("levels", "peers"):
        subjects = next(group["subjects"] for group in run["groups"] if group["name"] == name)
        for label in subjects:
            wanted = label.replace("channel_capacity = ", "capacity ")
            assert any(wanted in text for text in texts), label
    assert "prefers-color-scheme: dark" in drawn
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", drawn), "it loads nothing"


def test_the_chart_escapes_labels_and_says_what_is_lost() -> None:
    run = {
        "groups": [
            {
                "name": "peers",
                "subjects": {"<a & b>": {"turns_per_s": 10.0, "stored_percent": 60.0}},
            }
        ]
    }
    drawn = chart(run)
    ET.fromstring(drawn)  # noqa: S314 - our own
    assert "&lt;a &amp; b&gt;" in drawn
    assert "40 % lost" in drawn


def test_the_profile_s_lines_add_up() -> None:
    stages = {
        "made": 10.0,
        "encoded": 7.0,
        "rows": 3.0,
        "taken": 25.0,
        "queued": 50.0,
        "journaled": 60.0,
        "bare": 20.0,
    }
    found = profile.lines({"after": {"unit": "microseconds", "stages": stages}})
    cells = [line.split("|")[2].strip() for line in found[2:]]
    assert cells == ["10.00", "15.00", "3.00", "22.00", "50.00", "7.00", "3.00", "60.00", "20.00"]
    absent = {"unit": "microseconds", "stages": {**stages, "rows": None}}
    both = profile.lines({"before": absent, "after": {"unit": "microseconds", "stages": stages}})
    assert both[0] == "| microseconds a turn | before | after |"
    assert both[4] == "| rows are made of it |  | 3.00 |"


@pytest.mark.parametrize("stage", profile.NAMES)
def test_each_stage_runs(stage: str) -> None:
    assert profile.microseconds(ROOT, stage, 100) is not None
