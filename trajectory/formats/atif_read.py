"""What an ATIF document says, as a trajectory with its turns: the plain reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from trajectory.formats.atif_rules import VERSIONS
from trajectory.formats.atif_steps import Steps
from trajectory.formats.atif_values import (
    KEPT,
    MARK,
    Fields,
    final_metrics,
    list_,
    name_,
    object_,
    restored,
)
from trajectory.formats.foreign import label, shown, storable, text
from trajectory.formats.jsonlines import BadLineError
from trajectory.models import Trajectory, TrajectoryStatus, Turn

NAME = "atif"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a document says, before it has an id."""

    fields: Mapping[str, Any]
    turns: tuple[Mapping[str, Any], ...]
    own_id: UUID | None
    """Its id, where the document is an export of ours."""
    marks: tuple[Mapping[str, Any], ...]
    """What is told of the trajectory, and of each turn, beyond the plain reading."""
    embedded: tuple[Any, ...]
    left_out: Counter[str]

    def made(self, id_: UUID, **more: Any) -> tuple[Trajectory, tuple[Turn, ...]]:
        """Make the values. Raises BadLineError and InvalidTurnError."""
        own, *marks = self.marks
        trajectory = Trajectory(id=id_, **{**self.fields, **more})
        turns = (Turn(trajectory_id=id_, **turn) for turn in self.turns)
        return (
            restored(trajectory, own) if own else trajectory,
            tuple(
                restored(turn, mark) if mark else turn
                for turn, mark in zip(turns, marks, strict=True)
            ),
        )


def read_document(document: Mapping[str, Any], *, as_of: datetime) -> Reading:
    """Take a document apart. `as_of` dates one without times. Raises BadLineError."""
    left_out: Counter[str] = Counter()
    fields = Fields(document, "", left_out)
    steps = fields.take("steps", list_)
    if steps is None:
        raise BadLineError("has no list of `steps`")
    version = fields.take("schema_version", text)
    if version not in VERSIONS:
        told = "no schema_version" if version is None else f"schema_version {shown(version)}"
        left_out[f"{told} (read as {VERSIONS[-1]})"] += 1
    extra = fields.take("extra", object_) or {}
    own_id, mark = _own(extra)
    agent = Fields(fields.take("agent", object_) or {}, "agent ", left_out)
    model_name = agent.take("model_name", name_)
    reading = Steps(left_out, model_name, is_ours=own_id is not None)
    for number, step in enumerate(steps, 1):
        if isinstance(step, dict):
            reading.take(number, step)
        else:
            left_out["step that is no object"] += 1
    times = [time for turn in reading.turns for time in turn.times] + reading.system_times
    created_at = min(times, default=as_of)
    turns = tuple(reading.made(created_at))
    totals = fields.take("final_metrics", object_)
    if totals == final_metrics(reading.metrics, len(steps)):
        totals = None
    name = fields.take("trajectory_id", text)
    kept = {
        "schema_version": None if own_id else version,
        "trajectory_id": None if own_id else name,
        "model_name": None if model_name in reading.models else model_name,
        "agent": agent.take("extra", object_),
        "notes": fields.take("notes", text),
        "final_metrics": totals,
        "continued_trajectory_ref": fields.take("continued_trajectory_ref", text),
        "extra": {key: value for key, value in extra.items() if not own_id or key != MARK},
        "steps": reading.system_kept,
    }
    values = {
        "agent_name": agent.take("name", label),
        "agent_version": agent.take("version", name_),
        "session_id": fields.take("session_id", label),
        "status": TrajectoryStatus.COMPLETED,
        "system_prompt": "\n\n".join(reading.system) if reading.system else None,
        "tools": agent.take("tool_definitions", storable),
        "source_format": NAME,
        "created_at": created_at,
        "ended_at": max(times, default=None),
        "metadata": _metadata(kept, left_out),
    }
    embedded = fields.take("subagent_trajectories", list_) or []
    agent.count_rest()
    fields.count_rest()
    return Reading(
        fields=values,
        turns=turns,
        own_id=own_id,
        marks=(mark, *(turn.mark for turn in reading.turns)),
        embedded=tuple(embedded),
        left_out=left_out,
    )


def _own(extra: Mapping[str, Any]) -> tuple[UUID | None, Mapping[str, Any]]:
    """Give the id and the mark of a document that we wrote."""
    mark = extra.get(MARK)
    if not isinstance(mark, dict) or not isinstance(mark.get("id"), str):
        return None, {}
    try:
        id_ = UUID(mark["id"])
    except ValueError:
        return None, {}
    return id_, {key: value for key, value in mark.items() if key != "id"}


def _metadata(kept: Mapping[str, Any], left_out: Counter[str]) -> dict[str, Any]:
    """Give what of a document has no field of its own, and can be stored."""
    told = {}
    for key, value in kept.items():
        if value in (None, {}, []):
            continue
        if storable({KEPT: {key: value}}) is None:
            left_out[f"{key} that can't be stored"] += 1
        else:
            told[key] = value
    return {KEPT: told} if told else {}
