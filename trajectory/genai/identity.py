"""Ids of spans, derived from what a span tells: told again, it is the same span."""

from __future__ import annotations

import hashlib
from uuid import UUID

from trajectory.models import Trajectory

_DOMAIN = "trajectory/span/1"
"""Another rule for ids would need another name."""


def trace_of(trajectory: Trajectory) -> str:
    """Give the trace a trajectory belongs to: that of its root, whose id it is in hex.

    Of a child that doesn't say its root, the parent is taken for it.
    """
    root = trajectory.root_trajectory_id or trajectory.parent_trajectory_id or trajectory.id
    return root.hex if root.int else _hashed(16, "trace", root)  # all zeros is no trace


def root_span(trajectory_id: UUID) -> str:
    """Give the id of the span of a whole trajectory, which may be told elsewhere."""
    return _hashed(8, "trajectory", trajectory_id)


def span_of(trajectory_id: UUID, turn_number: int, kind: str, position: int) -> str:
    """Give the id of the span of one part of a turn."""
    return _hashed(8, kind, trajectory_id, turn_number, position)


def _hashed(size: int, *parts: object) -> str:
    digest = hashlib.sha256("\0".join(map(str, (_DOMAIN, *parts))).encode())
    return digest.hexdigest()[: 2 * size]
