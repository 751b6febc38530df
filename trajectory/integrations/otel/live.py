"""Sends stored trajectories on as OpenTelemetry spans: those of a query, or each when it has ended.

The exporter is one of OpenTelemetry's: OTLP over gRPC or HTTP, the console, or any `SpanExporter`.
It stays its owner's to shut down. Spans and their ids are those of `trajectory export otlp`, so
what is sent twice is one trace where spans are told apart by their ids.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import aclosing
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

from trajectory.door import now_utc
from trajectory.errors import BackendUnavailableError, ConfigurationError
from trajectory.integrations import extra
from trajectory.integrations.otel.sending import ENDED, Outlet, SendFailedError, Sent
from trajectory.models import Trajectory
from trajectory.query import TrajectoryQuery
from trajectory.store import TrajectoryStore

with extra("otel"):
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["Follower", "SendFailedError", "Sent", "send"]

LOOK_BACK = timedelta(hours=1)
"""What began since then is looked for: batches are not committed in the order of their times."""

LATE = timedelta(minutes=1)
"""How late most come: each look goes so far back, and once in so long one goes an hour back. So
long after its end a trajectory may be stored, too, and is not lost over a restart."""

WATCHED = 10_000
"""So many trajectories are held that are not sent. Of those that run the first are forgotten for
more; where all have ended, the rest waits in the store till some are sent."""

ROUND = 1000
"""So many of them are looked at each time, in turn."""

GROUP = 64
"""So many trajectories are sent together."""

_LONGEST_PAUSE_S = 60.0

_log = logging.getLogger(__name__)


async def send(
    store: TrajectoryStore,
    exporter: SpanExporter,
    query: TrajectoryQuery | None = None,
    *,
    content: bool = False,
    resource: Resource | None = None,
) -> Sent:
    """Send what a query finds, all of it without one, with all its turns.

    What still runs is left out and counted, unless the query asks for a status: its spans would be
    told again, longer, when it has ended. `content` also sends what was said. `resource` says which
    program it was: what `OTEL_SERVICE_NAME` and its like say, unless given.

    Raises `SendFailedError` where the exporter fails, with what had arrived by then, and what the
    store raises.
    """
    query = TrajectoryQuery() if query is None else query
    outlet = Outlet(exporter, content=content, resource=resource)
    await outlet.trajectories(store, query, ended_only=query.status is None)
    return outlet.sent


class Follower:
    """Sends each trajectory when it has ended, by whichever process, as `tail -f` shows turns.

    `query` filters; it takes no order, cursor or limit. What ended before `since` is not sent: now,
    unless given. Each is sent once it is stored with its end, and again until the exporter says
    that it arrived: at least once. To lose nothing over a restart, give the `position` of the
    last follower as `since`.

    What it can't see, and `send` can: what never ends, as a run that was killed; what comes into
    the store an hour after it began, and not before; what is found in a turn later, as a judge's
    verdict. Use it in one task.
    """

    def __init__(
        self,
        store: TrajectoryStore,
        exporter: SpanExporter,
        query: TrajectoryQuery | None = None,
        *,
        since: datetime | None = None,
        content: bool = False,
        resource: Resource | None = None,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._query = TrajectoryQuery() if query is None else query
        if self._query.descending or self._query.limit is not None or self._query.after is not None:
            raise ConfigurationError(
                "a follower's query must have filters alone; leave out descending, limit and after"
            )
        self._labels = self._query.without(frozenset({"status", "turn"}))
        self._store = store
        self._exporter = exporter
        self._content = content
        self._resource = resource
        self._clock = clock
        self._since = clock() if since is None else since
        if self._since.tzinfo is None:
            raise ConfigurationError("since has no timezone; give an aware datetime")
        self._wide_at: datetime | None = None
        """When the next look goes an hour back; the first one goes back to the beginning."""
        # Where a look for more stopped, as too much had ended, and how far back it went.
        self._resume: TrajectoryQuery | None = None
        # What runs, and when it was looked at: the last one last.
        self._running: dict[UUID, datetime] = {}
        # What has ended and is not sent, and when it ended. What failed stands last.
        self._open: dict[UUID, datetime] = {}
        self._failed: set[UUID] = set()
        # What was sent, and when it began, as long as it would be found again.
        self._settled: dict[UUID, datetime] = {}
        self._position = self._since

    @property
    def position(self) -> datetime:
        """Up to when all that had ended is sent; a minute back, for what is stored late.

        It never passes the last look at what is still watched, nor what was not looked for yet.
        """
        return self._position

    async def run(self, interval: float = 1.0) -> None:
        """Look for what has ended every so many seconds, until cancelled.

        A store that is away, or an exporter that fails, is warned of once, and tried again, the
        exporter with pauses that double up to a minute.
        """
        pause, is_told = interval, False
        while True:
            try:
                await self.look()
            except (BackendUnavailableError, SendFailedError) as error:
                if not is_told:
                    _log.warning("%s; trying again till it works", error)
                pause, is_told = min(2 * pause, max(_LONGEST_PAUSE_S, interval)), True
            else:
                if is_told:
                    _log.warning("sending trajectories works again")
                pause, is_told = interval, False
            await asyncio.sleep(pause)

    async def look(self) -> Sent:
        """Send what has ended by now; `running` counts what is watched, as it has not.

        Raises `SendFailedError` where some did not arrive: the next look tries them again, each
        alone and behind the others. Raises also what the store raises.
        """
        now = self._clock()
        await self._discover(now)
        ended = await self._ended(now)
        trajectories = spans = 0
        for group in self._groups(ended):
            outlet = Outlet(self._exporter, content=self._content, resource=self._resource)
            ids = tuple(each.id for each in group)
            query = self._query.model_copy(update={"ids": ids})
            try:
                await outlet.trajectories(self._store, query, ended_only=True)
            except SendFailedError:
                self._note_failed(group, set(outlet.arrived))
                raise
            self._settle(group)
            trajectories, spans = trajectories + outlet.sent.trajectories, spans + outlet.sent.spans
        if self._resume is None:
            looked_at = next(iter(self._running.values()), now)
            safe = min([looked_at - LATE, now - LATE, *self._open.values()])
            self._position = max(self._position, safe)
        return Sent(trajectories, spans, len(self._running))

    def _groups(self, ended: list[Trajectory]) -> Iterator[list[Trajectory]]:
        """Put together what is sent together: what has failed before is alone, and last."""
        fresh = [each for each in ended if each.id not in self._failed]
        for start in range(0, len(fresh), GROUP):
            yield fresh[start : start + GROUP]
        for each in ended:
            if each.id in self._failed:
                yield [each]

    def _settle(self, group: list[Trajectory]) -> None:
        for each in group:
            del self._open[each.id]
            self._failed.discard(each.id)
            self._settled[each.id] = each.created_at

    def _note_failed(self, group: list[Trajectory], arrived: set[UUID]) -> None:
        self._settle([each for each in group if each.id in arrived])
        for each in group:
            if each.id not in arrived:
                del self._open[each.id]
                self._open[each.id] = each.ended_at or each.created_at  # the last one now
                self._failed.add(each.id)

    async def _discover(self, now: datetime) -> None:
        """Find what may still be sent: at first among all, then among what began lately."""
        horizon = now - LOOK_BACK
        is_wide = self._wide_at is None or now >= self._wide_at
        query = self._resume or self._labels
        if self._resume is None and self._wide_at is not None:
            since = horizon if is_wide else now - LATE
            since = since if query.since is None else max(since, query.since)
            query = query.model_copy(update={"since": since})
        was_stopped, self._resume = self._resume is not None, None
        place = query.after
        async with aclosing(self._store.trajectories(query)) as found:
            async for each in found:
                if not self._note_found(each, now):
                    self._resume = query.model_copy(update={"after": place})
                    return
                place = query.cursor(each)
        if was_stopped:
            self._wide_at = now
        elif is_wide:
            self._wide_at = now + LATE
        self._settled = {id_: at for id_, at in self._settled.items() if at >= horizon}

    def _note_found(self, each: Trajectory, now: datetime) -> bool:
        """Hold what is not sent; say False where there is no room for it."""
        if each.id in self._open or each.id in self._running or each.id in self._settled:
            return True
        ended = each.ended_at or each.created_at
        has_ended = each.status in ENDED
        if has_ended and ended < self._since:
            return True
        if len(self._open) + len(self._running) >= WATCHED:
            if not self._running:
                return False
            del self._running[next(iter(self._running))]
        if has_ended:
            self._open[each.id] = ended
        else:
            self._running[each.id] = now
        return True

    async def _ended(self, now: datetime) -> list[Trajectory]:
        """Look at some of what is held, and give what has ended."""
        watched = tuple(islice(self._running, ROUND))
        ids = *islice(self._open, ROUND), *watched
        if not ids:
            return []
        found: dict[UUID, Trajectory] = {}
        async with aclosing(self._store.trajectories(TrajectoryQuery(ids=ids))) as trajectories:
            async for each in trajectories:
                found[each.id] = each
        ended: list[Trajectory] = []
        for id_ in ids:
            known = found.get(id_)
            self._running.pop(id_, None)
            if known is not None and known.status in ENDED:
                ended.append(known)
                self._open.setdefault(id_, known.ended_at or known.created_at)
                continue
            self._open.pop(id_, None)
            self._failed.discard(id_)
            if known is not None:  # else it was deleted
                self._running[id_] = now
        return ended
