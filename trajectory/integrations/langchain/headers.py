"""What is known of a trajectory when its run begins, and how errors and endings are told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from trajectory.draft import as_error, as_json
from trajectory.errors import InvalidTurnError
from trajectory.ids import uuid7
from trajectory.integrations.langchain.reading import label
from trajectory.integrations.langchain.steps import TOOL, Step
from trajectory.models import Trajectory, TrajectoryStatus

SOURCE = "langchain"

COMMON = ("agent_name", "agent_version", "metadata", "session_id", "spec_id", "tags", "user_id")
"""The fields that a program may give to all of its trajectories."""

_SESSIONS = ("thread_id", "session_id", "conversation_id")
_NAMES = frozenset({*_SESSIONS, "user_id"})
_FRAMEWORKS = ("langgraph_", "ls_", "lc_", "checkpoint_", "__")
"""How the metadata begin that LangChain adds itself."""
_LEAVING = (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)


def checked_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Give the fields of all trajectories, as they are. Raises `InvalidTurnError`."""
    for name in fields:
        if name not in COMMON:
            raise InvalidTurnError(
                f"{ascii(name)[1:-1][:60]} can't be given for all trajectories; these can: "
                f"{', '.join(COMMON)}"
            )
    Trajectory(**fields)
    return fields


def begun(step: Step, fields: Mapping[str, Any], above: tuple[UUID, UUID] | None) -> Trajectory:
    """Make the start of a step's trajectory. `above` has the ids of its parent and its root."""
    metadata = step.metadata
    kept = {
        key: value
        for key, value in metadata.items()
        if not (isinstance(key, str) and (key.startswith(_FRAMEWORKS) or key in _NAMES))
    }
    if step.parent is not None:
        kept |= _place(step)
        fields = {name: value for name, value in fields.items() if name != "agent_name"}
    known: dict[str, Any] = {
        "agent_name": label(step.name),
        "run_id": str(step.id),
        "session_id": next((n for key in _SESSIONS if (n := _name(metadata.get(key)))), None),
        "user_id": _name(metadata.get("user_id")),
        "tags": as_json(_tags(step)) or None,
        **fields,
        "metadata": as_json({**kept, **fields.get("metadata", {})}),
    }
    parent, root = above or (None, None)
    return Trajectory(
        id=uuid7(),
        parent_trajectory_id=parent,
        root_trajectory_id=root,
        source_format=SOURCE,
        created_at=step.began_at,
        **known,
    )


def _tags(step: Step) -> list[str]:
    """Give the program's own tags, without the places in chains and graphs."""
    own = (tag for tag in step.tags if isinstance(tag, str))
    return [tag for tag in own if not tag.startswith(("seq:step:", "graph:step:", "map:key:"))]


def _place(step: Step) -> dict[str, Any]:
    """Say where in its parent an inner trajectory ran."""
    at = step.parent
    while at is not None and at.gathering is None:
        if at.kind == TOOL:
            place = {"tool_name": at.name, "tool_call_id": at.call_id}
            return {key: value for key, value in place.items() if value}
        at = at.parent
    node = label(step.metadata.get("langgraph_node"))
    return {"langgraph_node": node} if node else {}


def _name(value: Any) -> str | None:
    if isinstance(value, int | UUID) and not isinstance(value, bool):
        value = str(value)
    return label(value)


def ending(error: BaseException | None) -> tuple[TrajectoryStatus, str | None]:
    """Give the status, and the error in words, of a run that ended so."""
    if error is None or bubbles(error):
        return TrajectoryStatus.COMPLETED, None
    if isinstance(error, _LEAVING):
        return TrajectoryStatus.CANCELLED, None
    return TrajectoryStatus.FAILED, as_error(error)


def bubbles(error: BaseException) -> bool:
    """Say whether an exception is how LangGraph goes its way: a pause, or a jump to the parent."""
    return any(
        kind.__name__ == "GraphBubbleUp" and kind.__module__.startswith("langgraph")
        for kind in type(error).__mro__
    )


def pauses(error: BaseException) -> list[Any]:
    """Give what the user is asked where an exception is a pause of a graph."""
    if not bubbles(error) or not error.args or not isinstance(error.args[0], tuple | list):
        return []
    return [getattr(one, "value", None) for one in error.args[0]]
