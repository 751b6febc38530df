"""What is stored, as plain values without ids and times, to compare whole."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from trajectory import (
    StorageBackend,
    Trajectory,
    TrajectoryLogger,
    TrajectoryQuery,
    Turn,
    TurnQuery,
)

TIMES = {"created_at", "ended_at", "started_at"}
EMPTY: tuple[Any, ...] = (None, [], {})


async def rows(backend: StorageBackend) -> list[tuple[Trajectory, list[Turn]]]:
    """Read all trajectories, in the order of their starts, each with its turns."""
    turns: dict[UUID, list[Turn]] = {}
    async for turn in backend.read_turns(TurnQuery()):
        turns.setdefault(turn.trajectory_id, []).append(turn)
    found = [each async for each in backend.read_trajectories(TrajectoryQuery())]
    assert turns.keys() <= {each.id for each in found}
    return [(each, turns.get(each.id, [])) for each in found]


async def told(logger: TrajectoryLogger) -> list[dict[str, Any]]:
    """Store what was logged, and tell it; ids of other trajectories are their agents' names."""
    report = await logger.flush()
    assert not report.pending
    assert not report.dead_lettered
    found = await rows(logger.backend)
    names = {str(each.id): each.agent_name for each, _ in found}
    plain = []
    for trajectory, turns in found:
        head = _plain(trajectory)
        for key in ("parent_trajectory_id", "root_trajectory_id"):
            if key in head:
                head[key.removesuffix("_trajectory_id")] = names[head.pop(key)]
        head["turns"] = [_plain(turn) for turn in turns]
        for turn, one in zip(head["turns"], turns, strict=True):
            assert one.latency_ms is not None
            metadata = turn.get("metadata", {})
            if "sub_agents" in metadata:
                metadata["sub_agents"] = {
                    call: names[id_] for call, id_ in metadata["sub_agents"].items()
                }
            if "time_to_first_token_ms" in metadata:
                assert metadata.pop("time_to_first_token_ms") >= 0
        plain.append(head)
    return plain


def _plain(value: Trajectory | Turn) -> dict[str, Any]:
    dumped = value.model_dump(mode="json")
    dumped.pop("id", None)
    dumped.pop("trajectory_id", None)
    plain: dict[str, Any] = _without(dumped)
    return plain


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _without(each)
            for name, each in value.items()
            if name not in TIMES and each not in EMPTY
        }
    return [_without(each) for each in value] if isinstance(value, list) else value
