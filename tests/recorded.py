"""Conversations for tests: a small file of our own, and real ones where they are present."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

TESTS = Path(__file__).parent
VARIABLE = "TRAJECTORY_TEST_DATA"
"""Names the folder of real trajectories, which are not part of this repository."""

OWN_CHATS = TESTS / "fixtures/openai-chat.jsonl"

_NAMED = os.environ.get(VARIABLE)  # as the tests are collected: later the environment is cleaned
_FOLDER = Path(_NAMED) if _NAMED else TESTS.parents[1] / "shared/data"


def real(name: str) -> Path:
    """Give a real file; skip the test where there is none, unless the variable promises it."""
    path = _FOLDER / name
    if not path.exists():
        missing = f"{path} is not there; {VARIABLE} can name the folder of real trajectories"
        if _NAMED:
            pytest.fail(missing)
        pytest.skip(missing)
    return path


class Described(NamedTuple):
    """A real file with the counts that the page beside the files gives of it."""

    path: Path
    sessions: int
    prompts: int
    assistant: int
    tool_calls: int
    tokens: dict[str, int]
    others: dict[str, int]


def described(format_: str) -> list[Any]:
    """Give the real files of a format, as parameters of a test; it is skipped where none are."""
    page = _FOLDER / "README.md"
    if not page.exists():
        missing = pytest.mark.skipif(not _NAMED, reason=f"{page} is not there; see {VARIABLE}")
        return [pytest.param(None, marks=missing, id="real files")]
    section = page.read_text().split(f"\n## {format_}\n", 1)[1].split("\n## ", 1)[0]
    found = []
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not cells[0].startswith("`") or len(cells) < 9:
            continue
        name = cells[0].strip("`")
        sessions, prompts, assistant, calls = map(int, cells[2:6])
        tokens, others = (
            {key: int(number) for key, _, number in (word.partition("=") for word in cell.split())}
            if cell != "-"
            else {}
            for cell in cells[6:8]
        )
        path = _FOLDER / format_ / name
        file = Described(path, sessions, prompts, assistant, calls, tokens, others)
        found.append(pytest.param(file, id=name))
    return found
