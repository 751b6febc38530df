"""The benchmarks run and have the figures that the project quotes; no time decides anything."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import loading, peers, places, reading, suite
from benchmarks.catalogue import NAMES, groups
from benchmarks.filling import fill
from benchmarks.groups import Group, Subject
from benchmarks.targets import Target, targets

ROOT = Path(__file__).parents[2]

RUNS = (
    ("strategies-wal", "levels"),
    ("strategies-rollback", "bad-turn"),
    ("hot-path",),
    ("pace", "imports", "idle-agents"),
    ("stall", "stall-large", "stall-huge"),
    ("postgres", "postgres-far", "postgres-far-pace"),
    ("agents", "callers", "processes"),
    ("turn-size",),
    ("buffer-size", "flush-interval"),
    ("reading", "exporting"),
    ("integrations",),
    ("peers",),
)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        timeout=240,
    )


def measured(postgres_server: str, *names: str) -> dict[str, Any]:
    done = run(
        "--quick", "--json", "--postgres", postgres_server, *names, TRAJECTORY_BUFFER_SIZE="3"
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_each_group_is_run_below() -> None:
    assert sorted(name for names in RUNS for name in names) == sorted(NAMES)


@pytest.mark.timeout(300)  # dozens of processes, one after the other, beside all other tests
@pytest.mark.parametrize("names", RUNS, ids="+".join)
def test_every_subject_has_the_figures_of_its_table(
    postgres_server: str, names: tuple[str, ...]
) -> None:
    output = measured(postgres_server, *names)
    wanted = groups(1000, quick=True, wanted=names)
    assert [group["name"] for group in output["groups"]] == [group.name for group in wanted]
    for group, seen in zip(wanted, output["groups"], strict=True):
        assert list(seen["subjects"]) == [subject.label for subject in group.subjects]
        for column in group.columns:
            assert any(column in figures for figures in seen["subjects"].values()), column
        if group.compares:
            assert seen["subjects"][group.subjects[0].label]["ratio"] == 1
        for figures in seen["subjects"].values():
            assert figures.get("stored_percent", 0) <= 100
    assert {each["promise"] for each in output["targets"]} == {
        each.promise for each in targets(output["each_round"])
    }
    told = output["environment"]
    assert told["settings"]["buffer_size"] == 10  # and not what the environment says
    assert {"python", "machine", "sqlite", "sqlalchemy", "aiosqlite", "asyncpg"} <= told.keys()
    assert (output["turns"], output["rounds"]) == (1000, 1)
    assert str(ROOT) not in json.dumps(output)


def test_every_promise_is_of_a_figure_that_is_measured() -> None:
    """With all figures at hand, each promise finds its own: none is left out by a changed label."""
    every = {
        group.name: {
            subject.label: [dict.fromkeys((*group.columns, "turns_per_s"), 1.0)]
            for subject in group.subjects
        }
        for group in groups(1000, quick=True)
    }
    found = targets(every)
    assert len(found) == len({each.promise for each in found}) == 28
    assert Target("a ratio", "x", 10, 10.0, at_least=True).met
    assert not Target("a time", " ms", 2, 2.1, at_least=False).met


def test_ratios_are_those_of_each_round() -> None:
    group = Group("g", "", [], [], compares="turns_per_s", differences={"late_ms": "added_ms"})
    for base, other in ((100.0, 50.0), (300.0, 60.0)):
        figures = {
            "base": {"turns_per_s": base, "late_ms": 1.0},
            "other": {"turns_per_s": other, "late_ms": 3.0},
        }
        suite.compare(group, figures)
        assert figures["other"]["ratio"] == other / base
        assert figures["other"]["added_ms"] == 2
    rounds = {"g": {"a": [{"x": 1.0}, {"x": 6.0}, {"x": 8.0}], "b": [{"x": 2.0}] * 3}}
    assert suite.quotient(rounds, "g", "x", "a", "b") == 3


def test_a_turn_that_is_not_there_is_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = places.SqliteFiles(tmp_path, wal=True)
    subject = Subject("a subject", "baselines.bare_sqlite3", 200, "wal", {})
    assert suite.run(subject, {"wal": place})["turns"] == 200
    monkeypatch.setattr(place, "turns", lambda _target: 199)
    with pytest.raises(RuntimeError, match="a subject: 200 turns were logged, 199 are stored"):
        suite.run(subject, {"wal": place})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wal.db"]


def test_both_ways_to_write_json_lines_write_the_same(tmp_path: Path) -> None:
    with places.SqliteFiles(tmp_path, wal=True).empty() as path:
        fill(Path(path), 250)
        ours, bare = tmp_path / "ours.jsonl", tmp_path / "bare.jsonl"
        asyncio.run(reading.exported(path, 250, ours))
        reading.written(path, 250, bare)
    lines = [[json.loads(line) for line in file.read_text().splitlines()] for file in (ours, bare)]
    assert len(lines[0]) == 253
    assert lines[0] == lines[1]


def test_a_peer_that_loses_turns_is_shown_with_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64")
    place = {"folder": places.Folders(tmp_path)}
    subject = Subject("a peer", "peers.otel", 5000, "folder", {})
    figures = suite.run(subject, place)
    assert 0 < figures["stored_percent"] < 100
    assert figures["turns"] == 5000


def test_a_peer_that_is_not_installed_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(peers.NEEDS, "peers.mlflow", "no_such_package.of_this_name")
    group = loading.peer_group(1000, quick=True)
    labels = [subject.label for subject in group.subjects]
    assert labels[0] == loading.OURS
    assert "MLflow tracing" not in labels
    told = capsys.readouterr().err
    assert "extra `peers`" in told
    assert "MLflow tracing" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "unknown: nothing; known are strategies-wal"),
        (["--rounds", "0"], "--rounds of at least 1"),
        (["--write-pages", "--quick"], "a whole run"),
        (["--write-pages", "stall"], "a whole run"),
    ],
)
def test_wrong_use_is_refused(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not done.stdout
