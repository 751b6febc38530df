"""Sessions of Claude Code: JSON Lines, or the exported form, one object with `loglines`.

A session becomes a trajectory, each of its sub-agents (`isSidechain`) one of its own whose parent
is the session's, whether it stands in the same file, in another, or in none that was given.

A turn begins at what the person typed, and for a sub-agent at what it was told. What Claude Code
itself puts into the person's mouth, slash commands and shell lines begin none: they are kept among
the messages of the turn that runs (before the first turn: of the first), and the metadata lists
`slash_commands` and `shell_lines`. A session in which the model acts unasked has a turn 0. The
lines of one answer are one message; its usage is counted once, as the last line has it. The input
tokens of a turn include those read from and written to the cache; `Message.usage` is as it was.

A person may go back and ask anew: all turns are kept in the order of the file, and `after_turn` in
the metadata names the turn that one goes on from, where it isn't the one before it. `sub_agents`
there leads from the ids of tool calls to the trajectories of the sub-agents that they started.
`latency_ms` is the duration that Claude Code itself noted, where it did.

A session that goes on later grows in its file: turns that were imported stay as they are, new ones
are added; a turn that was imported unfinished and has gone on is a conflict, and stays as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from trajectory.errors import InvalidTurnError
from trajectory.formats.base import ImportedTrajectory, Problem
from trajectory.formats.claude_code_lines import read_documents
from trajectory.formats.claude_code_turns import Conversation
from trajectory.formats.foreign import digest, instant, label, members, shown
from trajectory.formats.homes import home_of
from trajectory.formats.jsonlines import BadLineError, parse_object
from trajectory.ids import derived_id
from trajectory.models import Trajectory, TrajectoryStatus

NAME = "claude-code"

_SHOWN = 5
_TAKEN = frozenset({"user", "assistant", "system"})
_BESIDE = frozenset(
    {"summary", "progress", "queue-operation", "file-history-snapshot", "attachment"}
    | {"ai-title", "custom-title", "last-prompt", "permission-mode"}
)
"""Types of lines that may fill a file of their own: Claude Code keeps such beside its sessions."""
_METADATA = {
    "cwd": "cwd",
    "gitBranch": "git_branch",
    "entrypoint": "entrypoint",
    "teamName": "team_name",
}
_TITLES = {"ai-title": "aiTitle", "custom-title": "customTitle"}
_KEYS = frozenset(
    {*_METADATA, "type", "message", "uuid", "parentUuid", "logicalParentUuid", "timestamp"}
    | {"sessionId", "agentId", "isSidechain", "isMeta", "isCompactSummary", "isApiErrorMessage"}
    | {"isVisibleInTranscriptOnly", "version", "userType", "requestId", "promptId", "slug"}
    | {"toolUseResult", "sourceToolUseID", "sourceToolAssistantUUID", "permissionMode"}
)


class ClaudeCode:
    """Reads sessions of Claude Code."""

    name = NAME
    suffixes = (".jsonl",)

    def read(self, stream: BinaryIO, *, as_of: datetime) -> Iterator[ImportedTrajectory | Problem]:
        """Read a stream to its end: one session or several. `as_of` dates one without times."""
        file = _File()
        for line in read_documents(stream):
            try:
                document = parse_object(line)
                lines = document.get("loglines")
                for each in lines if isinstance(lines, list) else [document]:
                    file.take(line.number, each)
            except BadLineError as error:
                yield Problem(line.number, str(error))
                if error.ends_reading:
                    return
            except RecursionError:
                yield Problem(line.number, "nests too deep")
        yield from file.trajectories(as_of)

    def find(self) -> Iterator[Path]:
        """Find the sessions of this user: in `CLAUDE_CONFIG_DIR`, by default `~/.claude`."""
        home = home_of("Claude Code", "CLAUDE_CONFIG_DIR", ".claude")
        yield from sorted((home / "projects").rglob("*.jsonl"))


@dataclass(slots=True)
class _Session:
    """What is known of a session, or of a sub-agent of one."""

    key: tuple[str, ...]
    line: int
    name: str | None
    conversation: Conversation
    agent: str | None = None
    version: str | None = None
    first: datetime | None = None
    last: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def note(self, line: Mapping[str, Any]) -> None:
        """Note what a line says of the session: the first word counts, so that it can grow."""
        at = instant(line.get("timestamp"))
        if at is not None:
            self.first = at if self.first is None else min(self.first, at)
            self.last = at if self.last is None else max(self.last, at)
        self.version = self.version or label(line.get("version"))
        for theirs, ours in _METADATA.items():
            if ours not in self.metadata and (value := label(line.get(theirs))) is not None:
                self.metadata[ours] = value


class _File:
    """Sorts the lines of a file by session and sub-agent."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[str, ...], _Session] = {}
        self._left_out: Counter[str] = Counter()
        self._latest: tuple[str, ...] | None = None
        self._chains: dict[str, str] = {}  # by uuid of a line of a sub-agent without a name
        self._titles: dict[str, dict[str, str]] = {}
        self._summaries: dict[str, str] = {}  # by uuid of the last line they are of
        self._is_ours = False
        self._early: dict[tuple[str, ...], list[str]] = {}  # uuids before the session's first line

    def take(self, number: int, line: Any) -> None:
        """Take a line of a file. Raises RecursionError for one that nests too deep."""
        if not isinstance(line, dict):
            self._left_out["line that is not an object"] += 1
            return
        kind = line.get("type")
        if not isinstance(kind, str) or kind not in _TAKEN:
            self._pass(line)
            self._is_ours |= isinstance(kind, str) and kind in _BESIDE
        if isinstance(kind, str) and kind in _TAKEN:
            session = self._session(number, line)
            session.conversation.take(line)
            session.note(line)
            for key in line.keys() - _KEYS if kind != "system" else ():
                if line[key] not in (None, [], {}, ""):
                    self._left_out[f"line key {shown(key)}"] += 1
        elif kind == "summary" and isinstance(line.get("summary"), str):
            self._summaries.setdefault(label(line.get("leafUuid")) or "", line["summary"])
        elif isinstance(kind, str) and kind in _TITLES and label(line.get(_TITLES[kind])):
            session_name = label(line.get("sessionId")) or ""
            self._titles.setdefault(session_name, {}).setdefault(kind, line[_TITLES[kind]])
        else:
            about = members(line.get("attachment")).get("type") if kind == "attachment" else None
            what = shown(kind) if about is None else f"{shown(kind)} of {shown(about)}"
            self._left_out[f"line of the type {what}" if kind else "line without a type"] += 1

    def _pass(self, line: Mapping[str, Any]) -> None:
        """Note where a line stands that is no part of a turn."""
        uuid, name = label(line.get("uuid")), label(line.get("sessionId"))
        key = self._latest if name is None else (name,)
        if uuid is None or key is None:
            return
        if line.get("isSidechain") is True:
            key = (*key, "agent", label(line.get("agentId")) or self._chain(line))
        if key in self._sessions:
            self._sessions[key].conversation.passed(uuid)
        else:
            self._early.setdefault(key, []).append(uuid)

    def _session(self, number: int, line: Mapping[str, Any]) -> _Session:
        name = label(line.get("sessionId"))
        if name is not None:
            main: tuple[str, ...] = (name,)
        elif self._latest is not None:
            main = self._latest
        else:
            main = ("first line", digest(line))
        self._latest = main
        agent, key = None, main
        if line.get("isSidechain") is True:
            agent = label(line.get("agentId")) or self._chain(line)
            key = (*main, "agent", agent)
        if key not in self._sessions:
            conversation = Conversation(self._left_out, is_sidechain=agent is not None)
            for uuid in self._early.pop(key, ()):
                conversation.passed(uuid)
            session_name = main[0] if len(main) == 1 else None
            self._sessions[key] = _Session(key, number, session_name, conversation, agent)
        return self._sessions[key]

    def _chain(self, line: Mapping[str, Any]) -> str:
        """Name a sub-agent of older versions, which have no name, by the first line of its own."""
        uuid, parent = label(line.get("uuid")), label(line.get("parentUuid"))
        start = self._chains.get(parent or "") or uuid or ""
        return start if uuid is None else self._chains.setdefault(uuid, start)

    def trajectories(self, as_of: datetime) -> Iterator[ImportedTrajectory | Problem]:
        """Give what the file holds, session by session."""
        if not self._sessions:
            yield from self._nothing()
            return
        for session in self._sessions.values():
            if found := session.conversation.held_of(self._summaries):
                session.metadata["summary"] = self._summaries.pop(found[0])
                for leaf in found[1:]:
                    self._summaries.pop(leaf)
        if self._summaries:
            self._left_out["summary of a session that is not in this file"] = len(self._summaries)
        for key in list(self._sessions):
            session = self._sessions.pop(key)
            try:
                yield self._imported(session, as_of)
            except InvalidTurnError as error:
                yield Problem(session.line, str(error))

    def _nothing(self) -> Iterator[Problem]:
        """Say that no session was found, where lines were read and none is of Claude Code."""
        if self._is_ours:
            return
        held = (+self._left_out).most_common(_SHOWN + 1)
        if not held:
            return
        told = ", ".join(f"{number} x {what}" for what, number in held[:_SHOWN])
        more = ", and others" if len(held) > _SHOWN else ""
        yield Problem(
            1, f"has no line that a Claude Code session is made of; it holds: {told}{more}"
        )

    def _imported(self, session: _Session, as_of: datetime) -> ImportedTrajectory:
        id_ = derived_id(NAME, *session.key)
        start = session.first or as_of
        main = session.key if session.agent is None else session.key[:-2]
        parent = None
        if session.agent is not None:
            parent = derived_id(NAME, *main)
            session.metadata["agent_id"] = session.agent
        else:
            titles = self._titles.get(session.name or "", {})
            if title := titles.get("custom-title") or titles.get("ai-title"):
                session.metadata["title"] = title
        trajectory = Trajectory(
            id=id_,
            agent_name=NAME,
            agent_version=session.version,
            session_id=session.name,
            parent_trajectory_id=parent,
            root_trajectory_id=parent,
            status=TrajectoryStatus.COMPLETED,
            source_format=NAME,
            created_at=start,
            ended_at=session.last,
            metadata=session.metadata,
        )
        session.conversation.name_sub_agents(
            lambda agent: str(derived_id(NAME, *main, "agent", agent))
        )
        turns = tuple(session.conversation.turns(id_, start))
        left_out = dict(self._left_out)
        self._left_out.clear()
        return ImportedTrajectory(session.line, trajectory, turns, left_out)
