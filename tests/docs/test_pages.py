"""What the pages show is so: programs run and print what is shown, links and commands exist."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

import trajectory
from trajectory.cli import app
from trajectory.genai import conventions

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PATIENCE_S = 60

_BLOCK = re.compile(
    r"^```(?P<language>\w+)(?: (?P<way>\w+))?\n(?P<code>.*?)^```$"
    r"(?:\s*^```text\n(?P<output>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A fenced block: `way` says how it is used, `output` is the ```text that follows it."""

    page: str
    line: int
    language: str
    way: str | None
    code: str
    output: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def _blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in _BLOCK.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield Block(page.name, line, *found.group("language", "way", "code", "output"))


BLOCKS = list(_blocks())
PROGRAMS = [block for block in BLOCKS if block.language == "python" and block.way is None]
SIGNALLED = [block for block in BLOCKS if block.way == "signalled"]

_FORK = "ignore:This process (pid:DeprecationWarning"
"""What newer Pythons say of each fork beside a thread; the page says so too."""

JSON_LINES = [block for block in BLOCKS if block.language == "json" and block.way != "config"]


def environment(folder: Path) -> dict[str, str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("TRAJECTORY_")}
    return {**clean, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / "state")}


def started(block: Block, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-W", _FORK, "-c", block.code],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_blocks_are_of_known_kinds() -> None:
    """A misspelt mark would leave a program out in silence."""
    kinds = {(block.language, block.way) for block in BLOCKS}
    assert kinds <= {
        ("python", None), ("python", "signalled"), ("python", "fragment"),
        ("console", None), ("toml", None), ("text", None), ("json", "log"), ("json", "import"),
        ("json", "config"),
    }  # fmt: skip
    fences = sum(len(re.findall("^```", page.read_text(), re.MULTILINE)) for page in PAGES)
    assert fences == 2 * sum(1 if block.output is None else 2 for block in BLOCKS)
    assert PROGRAMS
    assert SIGNALLED


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_program_runs_and_prints_what_is_shown(block: Block, tmp_path: Path) -> None:
    with started(block, tmp_path) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (0, "")
    if block.output is not None:
        assert out == block.output


@pytest.mark.parametrize("block", SIGNALLED, ids=str)
def test_sigterm_stores_and_ends(block: Block, tmp_path: Path) -> None:
    with started(block, tmp_path) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, ready + out, err) == (0, block.output, "")
    with closing(sqlite3.connect(tmp_path / "trajectories.db")) as database:
        rows = database.execute(
            "SELECT status, prompt FROM trajectory_turns JOIN trajectories"
            " ON trajectories.id = trajectory_id"
        ).fetchall()
    assert rows == [("cancelled", "Hi")]


@pytest.mark.parametrize("block", JSON_LINES, ids=str)
def test_lines_are_taken_as_they_are_shown(block: Block, tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text(block.code, encoding="utf-8")
    command = ["log"] if block.way == "log" else ["import", "openai-chat"]
    ran = CliRunner().invoke(app, [*command, str(lines), "--db", str(tmp_path / "t.db"), "--json"])
    assert (ran.exit_code, ran.stderr) == (0, "")
    told = json.loads(ran.stdout)
    assert told.get("trajectories", told["stored"]) == len(block.code.splitlines())
    assert not told.get("left_out")


def anchors(page: Path) -> set[str]:
    """Name the headings of a page as its links do."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.is_file(), target
        assert not anchor or anchor in anchors(linked), target


def _commands() -> set[tuple[str, str]]:
    """Give each command line that a page shows, in a console block or in a sentence."""
    found = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        text = re.sub(r"^```text\n.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
        lines = re.findall(r"^(?:\$ )?trajectory (.+?)(?:\s+#.*)?$", text, re.MULTILINE)
        spans = re.findall(r"`trajectory ([^`]+)`", text)
        found |= {(page.name, line) for line in (*lines, *spans) if " | " not in line}
    return found


@pytest.mark.parametrize(("page", "line"), sorted(_commands()))
def test_commands_and_their_options_exist(page: str, line: str) -> None:
    words = line.split()
    command = words[:2] if words[0] == "db" else words[:1]
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for option in [word for word in words if word.startswith("--")]:
        assert option in shown.output


OWN_ATTRIBUTES = {value for value in vars(conventions).values() if isinstance(value, str)}


def test_public_names_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"`trajectory\.([A-Za-z]\w+)\(?", page.read_text(encoding="utf-8")):
            if any(f"{known}.".startswith(f"trajectory.{name}.") for known in OWN_ATTRIBUTES):
                continue  # of a span
            assert hasattr(trajectory, name) or find_spec(f"trajectory.{name}"), name


def test_a_loop_that_is_closed_stores_nothing_more(tmp_path: Path) -> None:
    """What the pages warn of; `asyncio.run` in its place stores the turn."""
    program = """
import asyncio, sys
from trajectory import LoggerSettings, TrajectoryLogger

async def main():
    settings = LoggerSettings(durability="queued", flush_interval_ms=60_000)
    logger = await TrajectoryLogger("t.db", settings).open()
    run = await logger.start_trajectory()
    await run.log_turn("p", "r")

if sys.argv[1] == "run":
    asyncio.run(main())
else:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
"""
    stored = {}
    for way in ("run", "close"):
        folder = tmp_path / way
        folder.mkdir()
        subprocess.run(
            [sys.executable, "-c", program, way],
            cwd=folder,
            env=environment(folder),
            capture_output=True,
            timeout=PATIENCE_S,
            check=True,
        )
        with closing(sqlite3.connect(folder / "t.db")) as database:
            rows = database.execute("SELECT prompt FROM trajectory_turns").fetchall()
        stored[way] = rows
    assert stored == {"run": [("p",)], "close": []}
