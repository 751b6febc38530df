"""Conversations for tests: a small file of our own, and real ones where they are present."""

from __future__ import annotations

import os
from pathlib import Path

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
