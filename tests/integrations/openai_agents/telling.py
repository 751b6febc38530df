"""What is stored, as plain values without ids and times, to compare whole."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from trajectory import StorageBackend, Trajectory, TrajectoryQuery, Turn, TurnQuery

TIMES = {"created_at", "ended_at", "started_at", "latency_ms"}
EMPTY: tuple[Any, ...] = (None, [], {})


async def stored(backend: StorageBackend) -> list[tuple[Trajectory, list[Turn]]]:
    """Read all trajectories, in the order of their starts, each with its turns."""
    turns: dict[UUID, list[Turn]] = {}
    async for turn in backend.read_turns(TurnQuery()):
        turns.setdefault(turn.trajectory_id, []).append(turn)
    found = [each async for each in backend.read_trajectories(TrajectoryQuery())]
    assert turns.keys() <= {each.id for each in found}
    return [(each, turns.get(each.id, [])) for each in found]


async def told(backend: StorageBackend) -> list[dict[str, Any]]:
    """Tell all of it: of ids, those of other trajectories are the names of their agents."""
    rows = await stored(backend)
    names = {each.id: each.agent_name for each, _ in rows}
    plain = []
    for trajectory, turns in rows:
        head = _plain(trajectory)
        assert str(head.pop("run_id")).startswith("trace_")
        for key in ("parent_trajectory_id", "root_trajectory_id"):
            if key in head:
                head[key.removesuffix("_trajectory_id")] = names[UUID(head.pop(key))]
        head["turns"] = [_plain(turn) for turn in turns]
        for turn in turns:
            assert turn.latency_ms is not None
        plain.append(head)
    return plain


def _plain(value: Trajectory | Turn) -> dict[str, Any]:
    dumped = value.model_dump(mode="json", exclude={"id", "trajectory_id"})
    found = _without(dumped)
    assert isinstance(found, dict)
    return found


def _without(value: Any) -> Any:
    """Leave out times, and what is empty."""
    if isinstance(value, list):
        return [_without(each) for each in value]
    if isinstance(value, dict):
        return {
            key: _without(each)
            for key, each in value.items()
            if key not in TIMES and each not in EMPTY
        }
    return value
