"""All groups by name, in the order in which they are shown."""

from __future__ import annotations

from benchmarks.groups import Group
from benchmarks.integrations import integration_group
from benchmarks.loading import FILLED_TIMES, loading_groups, peer_group, reading_groups
from benchmarks.writing import writing_groups

__all__ = ["FILLED_TIMES", "NAMES", "groups"]

NAMES = (
    "strategies-wal",
    "strategies-rollback",
    "levels",
    "hot-path",
    "pace",
    "stall",
    "stall-large",
    "stall-huge",
    "postgres",
    "postgres-far",
    "postgres-far-pace",
    "agents",
    "idle-agents",
    "callers",
    "processes",
    "turn-size",
    "buffer-size",
    "flush-interval",
    "bad-turn",
    "reading",
    "exporting",
    "imports",
    "integrations",
    "peers",
)


def groups(turns: int, *, quick: bool = False, wanted: tuple[str, ...] = NAMES) -> list[Group]:
    """Give the groups that are wanted."""
    made = {
        group.name: group
        for group in (
            *writing_groups(turns, quick=quick),
            *loading_groups(turns, quick=quick),
            *reading_groups(turns),
            integration_group(quick=quick),
        )
    }
    if "peers" in wanted:
        made["peers"] = peer_group(turns, quick=quick)
    return [made[name] for name in NAMES if name in wanted]
