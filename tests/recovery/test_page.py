"""What docs/recovery.md shows is what the commands print."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path
from uuid import UUID

import pytest
from recovery.killed import leave
from typer.testing import CliRunner

from trajectory import TrajectoryLogger, Turn
from trajectory.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "recovery.md"
BLOCKS = dict(
    re.findall(
        r"^<!-- setting: (\w+) -->\n\n```console\n(.*?)^```$",
        PAGE.read_text(),
        re.DOTALL | re.MULTILINE,
    )
)


async def refuse() -> None:
    first = Turn(trajectory_id=UUID(int=7), turn_number=1, prompt="p", response="r")
    async with TrajectoryLogger("trajectories.db") as logger:
        for turn in (first, first.replace(response="another")):
            await logger.log_turn(turn)
            await logger.flush()


def prepare(setting: str) -> None:
    if setting in ("refused", "ailing"):
        asyncio.run(refuse())
    if setting in ("killed", "ailing"):
        leave("trajectories.db", 3)


def plain(text: str, folder: str) -> str:
    """Take out what differs from one run, and one machine, to the next."""
    text = text.replace(folder, "/srv/agent")
    # An advice follows where this machine's SQLite is an old one.
    text = re.sub(r"^\w+ +library: .*\n(?: +use a Python.*\n)?", "", text, flags=re.MULTILINE)
    for pattern in (
        r"\d{20}-\d+-[0-9a-f]{16}(?=-\d{6}\.journal)",
        r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ",
        r"(?<=file system: )\w+",
        r"[\d,]+ (?:GiB|MiB)(?= free)",
        r"\d+ bytes(?=\))",
    ):
        text = re.sub(pattern, "~", text)
    return text


@pytest.mark.parametrize("setting", ["killed", "refused", "ailing"])
def test_commands_print_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(setting)
    printed = ""
    shown = BLOCKS[setting]
    for command in re.findall(r"^\$ trajectory (.*)$", shown, re.MULTILINE):
        ran = CliRunner().invoke(app, shlex.split(command))
        assert ran.stderr == ""
        printed += f"$ trajectory {command}\n{ran.stdout}"
    assert plain(printed, str(tmp_path)) == plain(shown, "/srv/agent")


def test_each_block_has_its_setting() -> None:
    assert set(BLOCKS) == {"killed", "refused", "ailing"}
    assert PAGE.read_text().count("```console") == len(BLOCKS)


def test_each_check_is_in_the_table() -> None:
    """A check that the page leaves out would be a word without a meaning."""
    source = (PAGE.parents[1] / "trajectory" / "checkup.py").read_text()
    source += (PAGE.parents[1] / "trajectory" / "disk.py").read_text()
    checks = set(re.findall(r'(?:ok|Finding)\("([a-z -]+)"', source)) - {"journals in use"}
    [table] = re.findall(r"^\| check \|.*?\n\n", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    rows = [row.split("|")[1].strip() for row in table.splitlines()[2:] if row]
    assert {name for row in rows for name in row.split(", ")} == checks
