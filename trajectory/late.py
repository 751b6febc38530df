"""Facts that are logged after their turn: their place is the time, so the client makes the key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from trajectory.models import Question, Violation


class TimePositions:
    """Gives positions in microseconds since 1970, never the same twice."""

    def __init__(self) -> None:
        self._last = 0

    def place(self, finding: Question | Violation) -> Question | Violation:
        """Give a finding its position and its time of creation, where it has none."""
        changes: dict[str, Any] = {}
        now = datetime.now(UTC)
        if finding.position is None:
            self._last = max(int(now.timestamp() * 1_000_000), self._last + 1)
            changes["position"] = self._last
        if finding.created_at is None:
            changes["created_at"] = now
        return finding.replace(**changes) if changes else finding
