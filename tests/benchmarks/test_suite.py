"""The benchmarks run and have the figures that the project quotes; no time decides anything."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import places, report, suite
from benchmarks.groups import NAMES, Group, Subject, groups
from benchmarks.targets import Target, targets

pytestmark = pytest.mark.xdist_group("benchmarks")  # they share one run

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        timeout=110,
    )


@pytest.fixture(scope="module")
def output(postgres_server: str) -> dict[str, Any]:
    done = run("--quick", "--json", "--postgres", postgres_server, TRAJECTORY_BUFFER_SIZE="3")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_subject_has_the_figures_of_its_table(output: dict[str, Any]) -> None:
    results = output["results"]
    assert set(results) == set(NAMES)
    for name, group in groups(1000, quick=True).items():
        assert list(results[name]) == [subject.label for subject in group.subjects]
        for column in group.columns:
            assert any(column in figures for figures in results[name].values())
        if group.compares:
            assert results[name][group.subjects[0].label]["ratio"] == 1


def test_the_output_says_what_was_measured_and_not_where(output: dict[str, Any]) -> None:
    told = output["environment"]
    assert told["settings"]["buffer_size"] == 10  # and not what the environment says
    assert {"python", "machine", "sqlite", "sqlalchemy", "aiosqlite", "asyncpg"} <= told.keys()
    assert (output["turns"], output["rounds"]) == (1000, 1)
    assert str(ROOT) not in json.dumps(output)


def test_the_promises_are_given_with_what_was_seen(output: dict[str, Any]) -> None:
    assert len(output["targets"]) == len(targets(output["results"])) == 8
    assert all({"promise", "limit", "seen", "met"} <= each.keys() for each in output["targets"])
    assert Target("a ratio", "x", 10, 10.0, at_least=True).met
    assert not Target("a time", " ms", 2, 2.1, at_least=False).met


def test_the_readme_is_written_from_the_figures(output: dict[str, Any], tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# a\n\n{report.MARK}old figures\n\n## b\n\nend\n")
    chosen = list(groups(1000, quick=True).values())
    for _ in range(2):
        report.write_readme(readme, chosen, output["results"], output["environment"], 1)
        written = readme.read_text()
        assert written.startswith(f"# a\n\n{report.MARK}\nMedians of 1 ")
        assert written.endswith("|\n\n## b\n\nend\n")
        assert "old figures" not in written
        assert written.count("| 1.00 |") >= 4
        for group in chosen:
            assert written.count(f"**{group.title}**") == 1
            assert all(f"| {subject.label} |" in written for subject in group.subjects)
    tables = re.findall(r"(?:^\|.*\|\n)+", written, re.MULTILINE)
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_project_s_readme_has_the_place_for_them() -> None:
    assert (ROOT / "README.md").read_text().count(report.MARK) == 1


def test_ratios_are_those_of_each_round() -> None:
    group = Group("g", "", [], [], compares="turns_per_s")
    for base, other in ((100.0, 50.0), (300.0, 60.0)):
        figures = {"base": {"turns_per_s": base}, "other": {"turns_per_s": other}}
        suite._compare(group, figures)
        assert figures["other"]["ratio"] == other / base


def test_a_turn_that_is_not_there_is_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = places.SqliteFiles(tmp_path, wal=True)
    subject = Subject("a subject", "bare_sqlite3", 200, "wal", {})
    assert suite._run(subject, {"wal": place})["turns"] == 200
    monkeypatch.setattr(place, "turns", lambda _target: 199)
    with pytest.raises(RuntimeError, match="a subject: 200 turns were logged, 199 are stored"):
        suite._run(subject, {"wal": place})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wal.db"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "unknown: nothing; known are strategies-wal"),
        (["--rounds", "0"], "--rounds of at least 1"),
        (["--write-readme", "--quick"], "a whole run"),
        (["--write-readme", "stall"], "a whole run"),
    ],
)
def test_wrong_use_is_refused(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not done.stdout
