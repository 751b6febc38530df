"""What a trajectory comes to in a list: how it stands, how long it is, how it scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trajectory.counts import Totals
from trajectory.models import Trajectory, TrajectoryStatus
from trajectory.query import TrajectoryQuery
from trajectory.retention import is_running
from trajectory.scoring import Score
from trajectory.store import TrajectoryStore

INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Summary:
    """A trajectory with its counts and its score."""

    trajectory: Trajectory
    totals: Totals
    score: Score

    def standing(self, now: datetime) -> str | None:
        """Give its status; `interrupted` where nobody seems to be left to end it."""
        trajectory = self.trajectory
        status = trajectory.status
        if status is not TrajectoryStatus.RUNNING or trajectory.ended_at is not None:
            return status
        return status if is_running(trajectory, self.totals, now) else INTERRUPTED

    def as_json(self, now: datetime, without: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Give the fields of the trajectory, but for some, and what was counted."""
        return {
            **self.trajectory.model_dump(mode="json", exclude=set(without)),
            "interrupted": self.standing(now) == INTERRUPTED,
            "turns": self.totals.turns,
            "tokens": self.totals.tokens,
            "last_turn_at": None
            if self.totals.last_turn_at is None
            else self.totals.last_turn_at.isoformat(),
            "score": {
                "total": self.score.total,
                "r_proact": self.score.r_proact,
                "r_pers": self.score.r_pers,
                "source": self.score.source,
                "formula": self.score.formula,
            },
        }


async def summaries(
    store: TrajectoryStore, trajectories: Sequence[Trajectory], source: str
) -> list[Summary]:
    """Count and score some trajectories together; one that is gone since is left out."""
    ids = tuple(each.id for each in trajectories)
    totals = await store.totals(ids)
    scores = {
        scored.trajectory_id: scored.score
        async for scored in store.scores(TrajectoryQuery(ids=ids), source=source)
    }
    return [
        Summary(each, totals[each.id], scores[each.id])
        for each in trajectories
        if each.id in scores
    ]
