"""Every real file of every format that is read, written in every format there is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from formats.stored import read_all
from formats.written import Conversation, written
from recorded import Described, described

from trajectory import Trajectory, Turn
from trajectory.formats import ImportedTrajectory, exporter_names, importer_names

_OF_OUR_OWN = ("jsonl",)  # no real file has it but those that we write
_DESCRIBED = {"otlp": "otel-otlp"}


def _real_files() -> list[Any]:
    return [
        pytest.param(format_, *each.values, id=f"{format_}-{each.id}", marks=each.marks)
        for format_ in importer_names()
        if format_ not in _OF_OUR_OWN
        for each in described(_DESCRIBED.get(format_, format_))
    ]


def conversations(format_: str, path: Path) -> list[Conversation]:
    """Read a file whole; what was given in parts is put together."""
    found: dict[object, tuple[Trajectory, list[Turn]]] = {}
    for each in read_all(format_, path):
        if isinstance(each, ImportedTrajectory):
            found.setdefault(each.trajectory.id, (each.trajectory, []))[1].extend(each.turns)
    return list(found.values())


@pytest.mark.parametrize(("format_", "file"), _real_files())
def test_a_real_file_is_written_in_every_format(format_: str, file: Described) -> None:
    held = conversations(format_, file.path)
    assert held
    turns = sum(len(turns) for _, turns in held)
    for name in exporter_names():
        data, left_out = written(name, held)
        assert data or left_out, name
        assert min(left_out.values(), default=1) > 0
        if name == "jsonl":
            assert not left_out
            again = read_all("jsonl", data)
            assert Counter(type(each).__name__ for each in again).keys() <= {"ImportedTrajectory"}
            assert turns == sum(
                len(each.turns) for each in again if isinstance(each, ImportedTrajectory)
            )
