"""`TrajectorySessionStore`: where the Claude Agent SDK mirrors its sessions to.

Each session is a trajectory, each of its sub-agents another one below it, and each append a turn or
more. A turn's number is the lock: a process that writes a number which another has taken is
refused by the backend, reads what is new, and tries the next. So appends of any number of processes
keep one order, and none is lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from trajectory.backend import StorageBackend
from trajectory.erasure import erase
from trajectory.errors import ConflictError, TrajectoryError
from trajectory.guard import Guard
from trajectory.ids import uuid7
from trajectory.integrations import extra
from trajectory.integrations.claude_agent_sdk.mirror import (
    KEY,
    SOURCE,
    Log,
    Place,
    held_by,
    lines_of,
    searchable,
)
from trajectory.models import Trajectory
from trajectory.query import TrajectoryQuery, TurnCursor, TurnQuery
from trajectory.store import TrajectoryStore
from trajectory.threads import to_its_end

with extra("claude-agent-sdk"):
    from claude_agent_sdk import SessionStore, fold_session_summary

if TYPE_CHECKING:
    from claude_agent_sdk import (
        SessionKey,
        SessionListSubkeysKey,
        SessionStoreEntry,
        SessionStoreListEntry,
        SessionSummaryEntry,
    )

    from trajectory import TrajectoryLogger

_guard = Guard("the summary of a Claude session that is mirrored")

_TRIES = 50
"""How often a number may be taken by others before an append gives up."""

_OPEN_SESSIONS = 100
"""Of so many the names of the lines are kept in memory; those of others are read anew."""


@dataclass(slots=True, eq=False)
class _Open:
    """A place that is written to."""

    log: Log
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    failed: tuple[str, str] | None = None
    """A digest of the lines of an append that failed, which may be stored all the same, and its
    mark."""


class TrajectorySessionStore(SessionStore):
    """A session store; `ClaudeAgentOptions(session_store=TrajectorySessionStore(logger))`.

    `where` is an open `TrajectoryLogger`, whose backend is used, or an open `StorageBackend`: one
    of SQL or memory, which take writes from several hands. What `append` took is stored when it
    returns; nothing of it goes through the logger's buffer, journal or `redact`, since an agent
    that is resumed needs every word.

    Entries come back as they were given, in order; one with a `uuid` that is stored already is left
    out. Any number of processes may append to one session. While the database is away every call
    raises `BackendUnavailableError` at once; the SDK tries an append three times, and goes on
    without it. Needs asyncio.
    """

    def __init__(self, where: TrajectoryLogger | StorageBackend) -> None:
        self._backend = where if isinstance(where, StorageBackend) else where.backend
        self._store = TrajectoryStore(self._backend)
        self._opened: OrderedDict[Place, _Open] = OrderedDict()
        self._latest = datetime.fromtimestamp(0, UTC)

    def __repr__(self) -> str:
        return f"<TrajectorySessionStore in {self._backend!r}>"

    async def append(self, key: SessionKey, entries: list[SessionStoreEntry]) -> None:
        """Store entries behind those that are there: all of them, or none where it raises.

        A caller that is cancelled waits until it is known which.
        """
        if entries:
            text = json.dumps(entries)  # a copy, so that what is changed meanwhile is as it was
            work = self._append(key, json.loads(text), hashlib.sha256(text.encode()).hexdigest())
            await to_its_end(asyncio.ensure_future(work))

    async def _append(self, key: SessionKey, lines: Sequence[Any], digest: str) -> None:
        await self._store.open()
        one = self._one(Place.of(key))
        async with one.lock:
            if one.failed is None or one.failed[0] != digest:
                one.failed = digest, str(uuid7())
            mark = one.failed[1]
            for _ in range(_TRIES):
                log = await self._caught_up(one)
                # Stored by a try whose answer was lost: entries without a uuid must not double.
                new = [] if mark in log.marks else log.unseen(lines)
                if not new:
                    break
                batch = log.batch(new, mark, _summary(key, log, new), self._now())
                try:
                    await self._backend.write(batch)
                except ConflictError:
                    continue
                for turn in batch.turns:
                    log.take(turn)
                break
            else:
                raise TrajectoryError(
                    f"a session was written to {_TRIES} times by others while one append was "
                    f"tried; give each conversation a session of its own"
                )
            one.failed = None

    def _one(self, place: Place) -> _Open:
        one = self._opened.get(place)
        if one is None:
            one = self._opened[place] = _Open(Log(place))
        self._opened.move_to_end(place)
        for other in list(self._opened)[: max(0, len(self._opened) - _OPEN_SESSIONS)]:
            if not self._opened[other].lock.locked() and other != place:
                del self._opened[other]
        return one

    async def _caught_up(self, one: _Open) -> Log:
        """Read what others wrote. Where it was deleted meanwhile, begin anew."""
        id_ = one.log.place.id
        header = await self._store.get(id_)
        if one.log.last and (header is None or header.created_at > one.log.created_at):
            one.log = Log(one.log.place)
        log = one.log
        if header is not None:
            log.created_at = header.created_at
            query = TurnQuery(ids=(id_,), after=TurnCursor(id_, log.last))
            async with aclosing(self._store.turns(query)) as turns:
                async for turn in turns:
                    log.take(turn)
        return log

    def _now(self) -> datetime:
        """Give the time, later by a millisecond at least than what was given before."""
        self._latest = max(datetime.now(UTC), self._latest + timedelta(milliseconds=1))
        return self._latest

    async def load(self, key: SessionKey) -> list[SessionStoreEntry] | None:
        """Give all entries of a session or sub-agent, in order; None where there is none."""
        await self._store.open()
        id_ = Place.of(key).id
        lines: list[Any] = []
        async with aclosing(self._store.turns(TurnQuery(ids=(id_,)))) as turns:
            async for turn in turns:
                lines += lines_of(turn)
        return lines or None

    async def list_sessions(self, project_key: str) -> list[SessionStoreListEntry]:
        """Name the sessions of a project, with the time of their last append."""
        return [
            {"session_id": Place.told_by(each).session, "mtime": _mtime(each)}
            for each in await self._sessions(project_key)
        ]

    async def list_session_summaries(self, project_key: str) -> list[SessionSummaryEntry]:
        """Give what the SDK noted of each session of a project. Costs one short look at each."""
        summaries: list[SessionSummaryEntry] = []
        for each in await self._sessions(project_key):
            query = TurnQuery(ids=(each.id,), descending=True, limit=1)
            async with aclosing(self._store.turns(query)) as turns:
                async for turn in turns:
                    if (summary := held_by(turn).get("summary")) is not None:
                        session, mtime = Place.told_by(each).session, _mtime(each)
                        data = json.loads(summary)
                        summaries.append({"session_id": session, "mtime": mtime, "data": data})
        return summaries

    async def delete(self, key: SessionKey) -> None:
        """Delete a session with its sub-agents, or one sub-agent: from the database, at once.

        What was recorded of the same session as it ran are other trajectories, which stay.
        """
        place = Place.of(key)
        found = [place.id]
        if place.subpath is None:
            found += [each.id for each in await self._below(place)]
        # Nothing of a session is ever in a journal or among the dead letters.
        await erase(self._backend, None, found)
        for known in [*self._opened]:
            if known == place or (place.subpath is None and known.main == place):
                del self._opened[known]

    async def list_subkeys(self, key: SessionListSubkeysKey) -> list[str]:
        """Name the sub-agents of a session."""
        below = await self._below(Place(key["project_key"], key["session_id"]))
        return [str(Place.told_by(each).subpath) for each in below]

    async def _sessions(self, project: str) -> list[Trajectory]:
        metadata = {(KEY, "project"): searchable(project)}
        found = await self._found(TrajectoryQuery(metadata=metadata))
        return [each for each in found if Place.told_by(each)[::2] == (project, None)]

    async def _below(self, place: Place) -> list[Trajectory]:
        found = await self._found(TrajectoryQuery(parent_trajectory_id=place.id))
        return [each for each in found if Place.told_by(each).main == place]

    async def _found(self, query: TrajectoryQuery) -> list[Trajectory]:
        await self._store.open()
        async with aclosing(self._store.trajectories(query)) as found:
            return [each async for each in found if each.source_format == SOURCE]


def _summary(key: SessionKey, log: Log, lines: Sequence[Any]) -> str | None:
    """Fold new lines into what the SDK keeps of a session; a sub-agent has none."""
    if log.place.subpath is not None:
        return None
    before: SessionSummaryEntry | None = None
    if log.summary is not None:
        before = {"session_id": key["session_id"], "mtime": 0, "data": json.loads(log.summary)}
    with _guard:  # no entry is refused for what the SDK makes of it
        return json.dumps(fold_session_summary(before, key, list(lines))["data"])
    return log.summary


def _mtime(header: Trajectory) -> int:
    return round((header.ended_at or header.created_at).timestamp() * 1000)
