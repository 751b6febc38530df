"""What the page on importing says is so: its formats, and its commands in a made-up home."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs.test_tables import code, table
from recorded import TESTS

from trajectory.formats import importer, importer_names
from trajectory.formats.base import Findable

ROOT = TESTS.parent
PAGE = (ROOT / "docs" / "importing.md").read_text(encoding="utf-8")


def test_the_page_tells_of_every_importer() -> None:
    assert [row[0] for row in table("importers")] == list(map(code, importer_names()))


def test_the_page_tells_where_ones_own_sessions_are() -> None:
    findable = {name for name in importer_names() if isinstance(importer(name), Findable)}
    told = set(re.findall(r"^\| `([\w-]+)` \| .*in `~/\.\w+`", PAGE, re.MULTILINE))
    assert told == findable


@pytest.fixture
def home(tmp_path: Path) -> Path:
    shutil.copytree(TESTS / "fixtures/claude-code", tmp_path / ".claude")
    shutil.copytree(TESTS / "fixtures/claude-code", tmp_path / "backup")
    (tmp_path / "runs/a").mkdir(parents=True)
    shutil.copy(TESTS / "fixtures/swe-agent.traj", tmp_path / "runs/a")
    for name in ("a.jsonl", "b.jsonl"):
        shutil.copy(TESTS / "fixtures/openai-chat.jsonl", tmp_path / name)
    return tmp_path


def shown() -> list[list[str]]:
    """Give the commands of each block."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [re.findall(r"^trajectory (.+?)(?:\s+#.*)?$", block, re.MULTILINE) for block in blocks]


def ran(command: str, home: Path) -> str:
    """Run a command as a shell would, in a home of its own."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("TRAJECTORY_")}
    program = f'"{sys.executable}" -c "from trajectory.cli import main; main()"'
    done = subprocess.run(
        ["sh", "-c", f"{program} {command}"],
        cwd=home,
        env={**clean, "HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_three_commands_lead_to_ones_own_history_scored(home: Path) -> None:
    commands = shown()[0]
    assert [command.split()[0] for command in commands] == ["import", "list", "score"]
    assert ran(f"{commands[0]} --yes", home).startswith("2 trajectories stored: 5 turns, ")
    assert "claude-code" in ran(commands[1], home)
    assert ran(commands[2], home)


def test_files_folders_and_patterns_are_imported(home: Path) -> None:
    for command, stored in zip(shown()[1], ("2", "1", "10"), strict=True):
        assert ran(command, home).startswith(f"{stored} trajector")
