"""The page on looking at a run: its commands print what it shows, and its filters are those."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from typer.testing import CliRunner

from trajectory.cli import app
from trajectory.cli.filters import Filters

PAGE = (Path(__file__).parents[2] / "docs" / "looking.md").read_text(encoding="utf-8")


def test_the_commands_print_what_is_shown(tmp_path: Path) -> None:
    [lines] = re.findall(r"^```json log\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    file, db = tmp_path / "lines.jsonl", str(tmp_path / "t.db")
    file.write_text(lines, encoding="utf-8")
    assert CliRunner().invoke(app, ["log", str(file), "--db", db]).exit_code == 0
    shown = re.findall(
        r"^```console\ntrajectory (.*?)\n```\n\n```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
    )
    assert [command.split()[0] for command, _ in shown] == ["list", "show", "tail"]
    for command, expected in shown:
        ran = CliRunner().invoke(app, [*command.split(), "--db", db])
        assert (ran.exit_code, ran.stdout) == (0, expected), command


def test_the_filters_are_all_explained() -> None:
    table = PAGE.partition("<!-- table: filters -->")[2]
    named = re.findall(r"^\| `(--\w+)` \|", table, re.MULTILINE)
    assert named == [f"--{field.name}" for field in fields(Filters)]
