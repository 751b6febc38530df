"""The benchmarks run and have the figures that the project quotes; no time decides anything."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.suite import groups

ROOT = Path(__file__).parents[2]
GROUPS = ["strategies-wal", "postgres", "hot-path", "stall"]


@pytest.fixture(scope="module")
def results(postgres_server: str) -> dict[str, dict[str, dict[str, float]]]:
    command = [sys.executable, "-m", "benchmarks", *GROUPS, "--quick", "--json"]
    done = subprocess.run(
        [*command, "--postgres", postgres_server],
        check=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        timeout=100,
    )
    found = json.loads(done.stdout)
    assert found["environment"]["settings"]["buffer_size"] == 10
    assert set(found["results"]) == set(GROUPS)
    results: dict[str, dict[str, dict[str, float]]] = found["results"]
    return results


def test_every_subject_has_the_figures_of_its_table(
    results: dict[str, dict[str, dict[str, float]]],
) -> None:
    for group in groups(1000, "postgresql://"):
        if group.name in GROUPS:
            assert set(results[group.name]) == {subject.label for subject in group.subjects}
            for column in group.columns:
                assert any(column in figures for figures in results[group.name].values())


def test_the_readme_is_written_from_the_figures(
    results: dict[str, dict[str, dict[str, float]]], tmp_path: Path
) -> None:
    readme = tmp_path / "README.md"
    shutil.copy(ROOT / "README.md", readme)
    chosen = [group for group in groups(1000, "postgresql://") if group.name in GROUPS]
    report.write_readme(readme, chosen, results)
    written = readme.read_text()
    assert written.startswith((ROOT / "README.md").read_text().partition(report.MARK)[0])
    for line in report.summary(results):
        assert line in written
    assert "asyncio.Queue.put" in written
