"""What the README shows is so; what it shares with the other pages is in `tests/docs`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import trajectory
from trajectory import LoggerSettings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def block(language: str, number: int = 0) -> str:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return found[number]


def test_the_first_program_runs_and_prints_what_is_shown(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block("python")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == block("text")
    assert done.stderr == ""
    # The folder is the journal's, and empty once all is stored.
    assert {path.name for path in tmp_path.rglob("*")} <= {
        "trajectories.db",
        "trajectories.db.turns",
    }


def test_the_settings_are_the_defaults() -> None:
    shown = tomllib.loads(block("toml"))["ppp"]["trajectory"]
    defaults = LoggerSettings()
    assert {name: getattr(defaults, name) for name in shown} == shown


@pytest.mark.parametrize("preset", re.findall(r"`(?:LoggerSettings)?\.(\w+)\(\)`", README))
def test_presets_exist(preset: str) -> None:
    assert isinstance(getattr(LoggerSettings, preset)(), LoggerSettings)


def test_the_two_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)
    assert {"make demo", "make test"} <= set(re.findall(r"make \w+", README))


def test_the_ways_of_db_exist() -> None:
    from trajectory.cli import app

    comment = re.findall(r"^trajectory db upgrade\s+# (.+)$", README, re.MULTILINE)[0]
    named = re.findall(r"(--)?\b(current|check|sql|wal)\b", comment)
    assert len(named) == 4
    for dashes, word in named:
        command = ["db", "upgrade"] if dashes else ["db", word]
        shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0, shown.output
        assert dashes + word in shown.output


def test_public_names_exist() -> None:
    from trajectory.testing import BackendConformance

    assert f"`trajectory.testing.{BackendConformance.__name__}`" in README
    for name in re.findall(r"`trajectory\.([A-Z]\w+)", README):
        assert hasattr(trajectory, name)
