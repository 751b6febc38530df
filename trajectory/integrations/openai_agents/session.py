"""`TrajectorySession`: the memory of an agent, kept where its trajectories are.

What is stored does not change, so a session is a log: each `add_items` is a turn, and so is each
`pop_item`, which says that the last of the items is gone. The items are what comes out when the log
is read from its start. `clear_session` ends the log's trajectory and begins another; the ended one
stays stored.

Any number of processes may write to one session. A turn's number is the lock: who writes a number
that another has taken is refused by the backend, reads what is new, and tries the next.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from trajectory.backend import Batch, StorageBackend
from trajectory.errors import (
    BackendUnavailableError,
    ConfigurationError,
    ConflictError,
    TrajectoryError,
)
from trajectory.ids import derived_id, uuid7
from trajectory.integrations.openai_agents.reading import label, tail_of, text_of
from trajectory.models import Trajectory, TrajectoryEnd, TrajectoryStatus, Turn
from trajectory.query import TrajectoryQuery, TurnCursor, TurnQuery
from trajectory.store import TrajectoryStore
from trajectory.threads import to_its_end
from trajectory.values import is_storable

if TYPE_CHECKING:
    from agents.items import TResponseInputItem
    from agents.memory import SessionSettings

    from trajectory import TrajectoryLogger

SOURCE = "openai-agents-session"
_KEY = "openai_agents_session"
_HASHED = "sha256:"
_TRIES = 50
"""How often a number may be taken by others before a write gives up."""
_FIRST_PAUSE_S, _LAST_PAUSE_S, _PATIENCE_S = 0.02, 0.5, 5.0

_T = TypeVar("_T")


class TrajectorySession:
    """A session whose items are stored as turns; `Runner.run(agent, text, session=session)`.

    `where` is an open `TrajectoryLogger`, whose backend is used, or an open `StorageBackend`: one
    of SQL or memory, which take writes from several hands. What a call wrote is stored when it
    returns; nothing of it goes through the logger's buffer, journal or `redact`.

    Items come back as they were added, in order, in every process. `limit` (of `get_items`, or of
    `session_settings`) counts from the end. While the database is away a call tries for some
    seconds, and raises `BackendUnavailableError` then: an agent without its memory is another.
    """

    def __init__(
        self,
        session_id: str,
        where: TrajectoryLogger | StorageBackend,
        *,
        session_settings: SessionSettings | None = None,
    ) -> None:
        self.session_id = session_id
        self.session_settings = session_settings
        backend = where if isinstance(where, StorageBackend) else getattr(where, "backend", None)
        if not isinstance(backend, StorageBackend):
            raise ConfigurationError(
                f"give a TrajectoryLogger or a StorageBackend, not a {type(where).__name__}"
            )
        self._backend = backend
        self._store = TrajectoryStore(backend)
        self._label = label(session_id) or ""
        is_plain = is_storable(session_id) and not session_id.startswith(_HASHED)
        if self._label != session_id or not is_plain:  # none that can be searched by
            digest = hashlib.sha256(json.dumps(session_id).encode()).hexdigest()
            self._label = _HASHED + digest
        self._lock = asyncio.Lock()
        self._log: _Log | None = None

    def __repr__(self) -> str:
        return f"<TrajectorySession of {self._backend!r}>"

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Give the items, or the last `limit` of them, oldest first."""
        if limit is None:
            limit = getattr(self.session_settings, "limit", None)
        async with self._lock:
            texts = (await self._patiently(self._read)).items
        if limit is not None and limit >= 0:  # as in the SDK's own, a negative one is none
            texts = texts[len(texts) - min(limit, len(texts)) :]
        return [json.loads(text) for text in texts]

    async def add_items(self, items: Sequence[TResponseInputItem]) -> None:
        """Add items: all of them, or none where it raises."""
        if not items:
            return
        text = json.dumps(list(items))
        given = [item for item in json.loads(text) if isinstance(item, dict)]
        prompt = tail_of([item for item in given if item.get("role") == "user"]).prompt
        said = [text_of(item) for item in given if item.get("role") == "assistant"]
        await self._write("add", text, prompt, "\n\n".join(said))

    async def pop_item(self) -> TResponseInputItem | None:
        """Take the last item away and give it; None where there is none."""
        popped = await self._write("pop")
        return None if popped is None else json.loads(popped)

    async def clear_session(self) -> None:
        """Take all items away. They stay stored, in a trajectory that has ended."""
        await self._write("clear")

    async def _write(
        self, what: str, items: str = "[]", prompt: str = "", response: str = ""
    ) -> str | None:
        """Write one step of the log; give the item that it took away."""
        # The mark is unique, so that no other's step is taken for this one, and the same in every
        # try, so that one whose outcome is unknown is not made twice.
        step = _Step(what, str(uuid7()), items)

        async def write() -> str | None:
            async with self._lock:
                return await self._patiently(lambda: self._append(step, prompt, response))

        return await to_its_end(asyncio.ensure_future(write()))

    async def _append(self, step: _Step, prompt: str, response: str) -> str | None:
        for _ in range(_TRIES):
            log = await self._read(step)
            if step.is_stored:  # by a try whose answer was lost
                return step.popped
            if (step.does == "pop" and not log.items) or (step.does == "clear" and not log.last):
                return None
            turn = Turn(
                trajectory_id=log.id,
                turn_number=log.last + 1,
                prompt=prompt,
                response=response,
                metadata={_KEY: {"does": step.does, "mark": step.mark, "items": step.items}},
            )
            try:
                await self._backend.write(log.batch(turn, step.does))
            except ConflictError:
                continue
            log.take(turn, step)
            return step.popped
        raise TrajectoryError(
            f"others wrote to this session {_TRIES} times while one step was tried; give each "
            f"conversation a session of its own"
        )

    async def _read(self, step: _Step | None = None) -> _Log:
        """Read what is new in the log, and go on to the next where this one was ended."""
        await self._store.open()
        if self._log is None:
            self._log = await self._newest()
        while True:
            log = self._log
            query = TurnQuery(ids=(log.id,), after=TurnCursor(log.id, log.last))
            async for turn in self._store.turns(query):
                log.take(turn, step)
            if not log.is_over:
                return log
            self._log = log.next()

    async def _newest(self) -> _Log:
        query = TrajectoryQuery(
            session_id=self._label,
            metadata={(_KEY, "log"): True},
            descending=True,
            limit=1,
        )
        async for found in self._store.trajectories(query):
            return _Log(self._label, found.metadata[_KEY]["number"], found.created_at)
        return _Log(self._label, 0, datetime.now(UTC))

    async def _patiently(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do it again for some seconds while the database is away."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + _PATIENCE_S, _FIRST_PAUSE_S
        while True:
            try:
                return await work()
            except BackendUnavailableError:
                if loop.time() + pause > deadline:
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LAST_PAUSE_S)


@dataclass(slots=True)
class _Step:
    """What a turn of the log does, and what became of it."""

    does: str
    mark: str
    items: str
    is_stored: bool = False
    popped: str | None = None


class _Log:
    """A session from its start, or a clearing, to the next, as far as it was read."""

    def __init__(self, session_label: str, number: int, created_at: datetime) -> None:
        self._label = session_label
        self._number = number
        self._created_at = created_at
        self.id = derived_id(SOURCE, session_label, str(number))
        self.last = 0
        self.items: list[str] = []
        self.is_over = False

    def take(self, turn: Turn, own: _Step | None) -> None:
        """Do what a turn says; note it, if it is one's own."""
        self.last = turn.turn_number
        told = turn.metadata[_KEY]
        popped = None
        if told["does"] == "add":
            self.items += (json.dumps(item) for item in json.loads(told["items"]))
        elif told["does"] == "clear":
            self.is_over = True
        elif self.items:
            popped = self.items.pop()
        if own is not None and own.mark == told["mark"]:
            own.is_stored, own.popped = True, popped

    def next(self) -> _Log:
        """Give the log that follows, which is newer by its date too."""
        newer = max(datetime.now(UTC), self._created_at + timedelta(microseconds=1))
        return _Log(self._label, self._number + 1, newer)

    def start(self) -> Trajectory:
        """Make the trajectory of this log."""
        return Trajectory(
            id=self.id,
            session_id=self._label,
            status=None,
            source_format=SOURCE,
            created_at=self._created_at,
            metadata={_KEY: {"log": True, "number": self._number}},
        )

    def batch(self, turn: Turn, does: str) -> Batch:
        """Put together what a step writes."""
        if does != "clear":
            return Batch(starts=(self.start(),) if turn.turn_number == 1 else (), turns=(turn,))
        end = TrajectoryEnd(trajectory_id=self.id, status=TrajectoryStatus.COMPLETED)
        return Batch(starts=(self.next().start(),), turns=(turn,), ends=(end,))
