"""Trajectories through an exporter, in memory."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence

from trajectory import Trajectory, Turn
from trajectory.formats import Exporter, exporter

Conversation = tuple[Trajectory, Sequence[Turn]]


def written(format_: str, conversations: Iterable[Conversation]) -> tuple[bytes, Counter[str]]:
    """Export conversations; give the bytes, and what was left out."""
    found = exporter(format_)
    assert isinstance(found, Exporter)
    out = io.BytesIO()
    writing = found.begin(out)
    for trajectory, turns in conversations:
        writing.start(trajectory)
        for turn in turns:
            writing.turn(turn)
        writing.end()
    writing.close()
    assert not out.closed
    return out.getvalue(), +Counter(writing.left_out)
