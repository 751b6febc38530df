"""Rollouts of the Codex CLI: JSON Lines, one session a file, in the new and the old form.

A turn begins at a `user_message` event; in a file that has none, at an item of the role `user`.
What Codex itself puts into the user's mouth (instructions, the environment) begins none: it is
kept among the messages of the turn that follows. Of what stands twice, as an item and as an
event, one is taken. Tool calls find their results by `call_id`; exit codes and durations come
from the events.

A turn's tokens are what the session's totals grew by; input includes what came from the cache.
`turn_context` gives the model. A session that goes on later grows in its file: turns that were
imported stay as they are, new ones are added; a turn that was imported unfinished and has gone on
is a conflict, and stays as it was. So import a session when it rests.

A line that can't be read is a `Problem`, and the session is made of the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from trajectory.errors import InvalidTurnError
from trajectory.formats.base import ImportedTrajectory, Problem
from trajectory.formats.codex_lines import Kind, Step, step_of
from trajectory.formats.codex_turns import Conversation
from trajectory.formats.foreign import digest, instant, label, members, storable, text
from trajectory.formats.homes import home_of
from trajectory.formats.jsonlines import BadLineError, parse_object, read_lines
from trajectory.ids import derived_id
from trajectory.models import Trajectory, TrajectoryStatus

NAME = "codex"

_NOT_METADATA = frozenset(
    {"id", "session_id", "timestamp", "cli_version", "base_instructions", "instructions"}
    | {"dynamic_tools", "parent_thread_id"}
)


class Codex:
    """Reads rollouts of the Codex CLI."""

    name = NAME
    suffixes = (".jsonl",)

    def read(self, stream: BinaryIO, *, as_of: datetime) -> Iterator[ImportedTrajectory | Problem]:
        """Read a stream to its end: one session. `as_of` dates one that has no times."""
        steps: list[Step] = []
        left_out: Counter[str] = Counter()
        first: tuple[int, str] | None = None
        for line in read_lines(stream):
            try:
                document = parse_object(line)
                first = first or (line.number, digest(document))
                step = step_of(document, left_out)
            except BadLineError as error:
                yield Problem(line.number, str(error))
                if error.ends_reading:
                    return
            except RecursionError:
                yield Problem(line.number, "nests too deep")
            else:
                if step is not None:
                    steps.append(step)
        if first is None:
            return
        if not steps:
            yield Problem(first[0], "has no line that a Codex session is made of")
            return
        try:
            yield _session(first, steps, left_out, as_of)
        except InvalidTurnError as error:
            yield Problem(first[0], str(error))

    def find(self) -> Iterator[Path]:
        """Find the rollouts of this user: in `CODEX_HOME`, by default `~/.codex`."""
        home = home_of("Codex", "CODEX_HOME", ".codex")
        for folder in ("sessions", "archived_sessions"):
            yield from sorted((home / folder).rglob("rollout-*.jsonl"))


def _session(
    first: tuple[int, str], steps: list[Step], left_out: Counter[str], as_of: datetime
) -> ImportedTrajectory:
    headers = [step for step in steps if step.kind is Kind.HEADER]
    left_out["session header beyond the first"] += max(0, len(headers) - 1)
    header = headers[0].payload if headers else {}
    conversation = Conversation(steps, left_out)
    times = [step.at for step in steps if step.at is not None]
    acts = [step.at for step in steps if step.kind is not Kind.HEADER and step.at is not None]
    start = instant(header.get("timestamp")) or min(times, default=as_of)
    name = label(header.get("id"))
    id_ = derived_id(NAME, name) if name else derived_id(NAME, "first line", first[1])
    session = label(header.get("session_id")) or name
    is_running = conversation.status is TrajectoryStatus.RUNNING
    parent = _parent(header)
    parent = parent if parent != name else None
    root = parent and (session if session != name else parent)
    trajectory = Trajectory(
        id=id_,
        agent_name=NAME,
        agent_version=label(header.get("cli_version")),
        session_id=session,
        parent_trajectory_id=derived_id(NAME, parent) if parent else None,
        root_trajectory_id=derived_id(NAME, root) if root else None,
        status=conversation.status,
        system_prompt=_instructions(header),
        tools=storable(header.get("dynamic_tools")),
        source_format=NAME,
        created_at=start,
        ended_at=None if is_running else max(acts, default=None),
        metadata=_metadata(header, conversation, left_out),
    )
    turns = tuple(conversation.turns(id_, start))
    return ImportedTrajectory(first[0], trajectory, turns, dict(+left_out))


def _parent(header: Mapping[str, Any]) -> str | None:
    """Name the session that started this one as a sub-agent."""
    spawn = members(members(members(header.get("source")).get("subagent")).get("thread_spawn"))
    return label(header.get("parent_thread_id")) or label(spawn.get("parent_thread_id"))


def _instructions(header: Mapping[str, Any]) -> str | None:
    base = header.get("base_instructions")
    return text(members(base).get("text")) or text(base) or text(header.get("instructions"))


def _metadata(
    header: Mapping[str, Any], conversation: Conversation, left_out: Counter[str]
) -> dict[str, Any]:
    metadata = {}
    for key, value in header.items():
        if key in _NOT_METADATA or value is None:
            continue
        if storable({key: value}) is None:
            left_out["session header member that can't be stored"] += 1
        else:
            metadata[key] = value
    if conversation.thread_name is not None:
        metadata["thread_name"] = conversation.thread_name
    return metadata
