"""A session's lines as turns: what an append writes, and how the lines come out again.

An append becomes the turns that its lines hold, in the words of the importer for Claude Code. The
lines themselves lie in the metadata of the last of them, as JSON text: exact, whatever is in them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from trajectory.backend import Batch
from trajectory.formats.claude_code import NAME
from trajectory.formats.claude_code_turns import Conversation
from trajectory.formats.foreign import label
from trajectory.guard import Guard
from trajectory.ids import derived_id
from trajectory.models import Trajectory, Turn

SOURCE = "claude-agent-sdk-session"
KEY = "claude_agent_sdk_session"
"""The metadata key, of trajectories and turns, under which a session's own data lie."""

_SAID = frozenset({"user", "assistant", "system"})
_NOT_OURS = "after_turn"  # counted within one append, so it names the wrong turn


class Place(NamedTuple):
    """Where lines belong: to a session, or (`subpath`) to one of its sub-agents."""

    project: str
    session: str
    subpath: str | None = None

    @classmethod
    def of(cls, key: Mapping[str, Any]) -> Place:
        """Read a key of the SDK's."""
        return cls(key["project_key"], key["session_id"], key.get("subpath"))

    @classmethod
    def told_by(cls, header: Trajectory) -> Place:
        """Read it from a trajectory of ours."""
        return cls(*json.loads(header.metadata[KEY]["place"]))

    @property
    def main(self) -> Place:
        """The place of the session itself."""
        return self._replace(subpath=None)

    @property
    def id(self) -> UUID:
        """The id of its trajectory."""
        return derived_id(SOURCE, json.dumps(self))


def searchable(name: str) -> str:
    """Give a name that can be stored and searched: its own, or a digest where it is none."""
    if label(name) == name:
        return name
    return f"sha256:{hashlib.sha256(json.dumps(name).encode()).hexdigest()}"


@dataclass(slots=True, eq=False)
class Log:
    """The lines of one place, as far as they were read."""

    place: Place
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    last: int = 0
    """The highest turn number that is known."""
    uuids: set[str] = field(default_factory=set)
    marks: set[str] = field(default_factory=set)
    summary: str | None = None

    def take(self, turn: Turn) -> None:
        """Take a turn that is stored."""
        self.last = turn.turn_number
        held = held_by(turn)
        self.marks.add(held.get("mark", ""))
        self.summary = held.get("summary", self.summary)
        self.uuids.update(uuid for line in lines_of(turn) if (uuid := uuid_of(line)) is not None)

    def unseen(self, lines: Sequence[Any]) -> list[Any]:
        """Give the lines that are not stored yet; those without a uuid are always new."""
        seen, new = set(self.uuids), []
        for line in lines:
            uuid = uuid_of(line)
            if uuid is None or uuid not in seen:
                new.append(line)
            if uuid is not None:
                seen.add(uuid)
        return new

    def batch(self, lines: Sequence[Any], mark: str, summary: str | None, at: datetime) -> Batch:
        """Put together what an append writes. `mark` makes it differ from every other one."""
        turns = _told(self.place, lines, at)
        if not turns:
            turns = [Turn(trajectory_id=self.place.id, turn_number=0, prompt="", response="")]
        held: dict[str, Any] = {"mark": mark}
        numbered = []
        for number, turn in enumerate(turns, 1):
            if number == len(turns):
                held = {**held, "lines": json.dumps(lines)}
                if summary is not None:
                    held["summary"] = summary
            told = {name: value for name, value in turn.metadata.items() if name != _NOT_OURS}
            numbered.append(
                turn.replace(turn_number=self.last + number, metadata={**told, KEY: held})
            )
        return Batch(starts=(self._start(at),), turns=tuple(numbered))

    def _start(self, at: datetime) -> Trajectory:
        place = self.place
        parent = None if place.subpath is None else place.main.id
        return Trajectory(
            id=place.id,
            agent_name=NAME,
            session_id=searchable(place.session),
            parent_trajectory_id=parent,
            root_trajectory_id=parent,
            status=None,  # a mirror doesn't know whether its session goes on
            source_format=SOURCE,
            created_at=self.created_at,
            ended_at=at,
            metadata={KEY: {"place": json.dumps(place), "project": searchable(place.project)}},
        )


def held_by(turn: Turn) -> Mapping[str, Any]:
    """Give what a turn holds of ours."""
    held = turn.metadata.get(KEY)
    return held if isinstance(held, dict) else {}


def lines_of(turn: Turn) -> list[Any]:
    """Give the lines that a turn holds."""
    lines = held_by(turn).get("lines")
    return json.loads(lines) if isinstance(lines, str) else []


def uuid_of(line: Any) -> str | None:
    """Give the name of a line, of those that have one."""
    uuid = line.get("uuid") if isinstance(line, dict) else None
    return uuid if isinstance(uuid, str) and uuid else None


_guard = Guard("the reading of a Claude session that is mirrored")


def _told(place: Place, lines: Sequence[Any], at: datetime) -> list[Turn]:
    """Read the turns that lines hold; none where they can't be read, which stops no append."""
    with _guard:
        first = lines[0] if lines and isinstance(lines[0], dict) else {}
        is_sidechain = place.subpath is not None or first.get("isSidechain") is True
        conversation = Conversation(Counter(), is_sidechain=is_sidechain)
        for line in lines:
            if isinstance(line, dict) and line.get("type") in _SAID:
                conversation.take(line)
        conversation.name_sub_agents(
            lambda agent: str(place.main._replace(subpath=f"subagents/agent-{agent}").id)
        )
        # So that turns without a time of their own are not later than what comes next.
        return list(conversation.turns(place.id, at - timedelta(seconds=1)))
    return []
