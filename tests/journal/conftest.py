from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "t.db.turns"


@pytest.fixture(autouse=True)
def _leaves_no_segment_open() -> Iterator[None]:
    yield
    open_now = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            target = str(fd.readlink())
        except OSError:
            continue
        if ".journal" in target:
            open_now.append(target)
    assert not open_now
