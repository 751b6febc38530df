"""From values that came from lines to committed rows, each of them accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import NamedTuple, NoReturn
from uuid import UUID

import typer

from trajectory.backend import StorageBackend, Survives
from trajectory.backends import open_backend
from trajectory.cli import screen, variables
from trajectory.cli.alarms import Alarms
from trajectory.cli.tally import SHOWN, Place, Tally
from trajectory.dead_letters import DeadLetter
from trajectory.errors import ConflictError, TrajectoryError, TurnKey
from trajectory.lifecycle import Lifecycle
from trajectory.models import Trajectory, Turn
from trajectory.query import TrajectoryQuery, TurnCursor, TurnQuery
from trajectory.report import Statistics
from trajectory.settings import Durability, OnFailure, Overflow
from trajectory.sizes import turn_bytes, value_bytes

_HURRY_S = 5
"""How long an end may wait for room, once a signal has come."""


_IDS_AT_ONCE = 500
"""So many trajectories are looked up at once; databases limit the parameters of a query."""

_GAP = 50
"""So many turns in between are read, rather than asked around."""

_LOOK_EVERY = 32
"""Asking the logger what is stored takes a tenth of the time of logging a turn."""


class _Sent(NamedTuple):
    place: Place
    value: Trajectory | Turn
    is_new: bool
    """Whether no other turn is known to be stored, or on its way, under its key."""

    @property
    def key(self) -> TurnKey | None:
        return self.value.key if isinstance(self.value, Turn) else None


class Intake:
    """Logs values and tells the tally what became of each.

    An agent goes on, and what the database refuses is kept aside. Here the input is the person's
    own: the line is named instead, and can be mended and logged again.
    """

    def __init__(self, backend: StorageBackend, tally: Tally) -> None:
        self._backend = backend
        self._tally = tally
        # An agent's settings may drop turns or go on after a failure; here every line counts.
        self._settings = variables.settings(
            overflow=Overflow.WAIT, on_failure=OnFailure.RAISE, durability=Durability.QUEUED
        )
        self._life = Lifecycle(backend, self._settings, dead_letters=self)
        # All mutable state. `_sent` holds, in order, what was accepted and not yet seen settled.
        self._is_open = False
        self._sent: deque[_Sent] = deque()
        self._seen_settled = 0
        self._refusals: dict[int, DeadLetter] = {}
        self._known: set[TurnKey] = set()

    async def add(self, letter: DeadLetter, /) -> None:
        """Hear what the database refuses, in place of a file of dead letters."""
        self._refusals[id(letter.value)] = letter

    def too_large(self, *values: Trajectory | Turn) -> str | None:
        """Say why the logger would refuse one of these values for its size, if it would."""
        limit = self._settings.max_turn_bytes
        for value in values:
            if isinstance(value, Turn):
                name, size = f"turn {value.turn_number}", turn_bytes(value)
            else:
                name, size = "what describes the trajectory", value_bytes(value)
            if size > limit:
                return f"{name} takes {size} bytes, more than max_turn_bytes = {limit}"
        return None

    async def refuse(self, place: Place, reason: str, *, gives_up: bool = False) -> None:
        """Tell the tally of a line that is not stored, after those that stand before it."""
        if self._tally.refused < SHOWN and not all(sent.is_new for sent in self._sent):
            await self._settle()
        self._tally.refuse(place, reason, gives_up=gives_up)

    async def _settle(self) -> None:
        """Wait until the database has said what it refuses of all that was logged."""
        dispatcher = self._life.dispatcher()
        await dispatcher.flush(self._settings.flush_timeout_ms / 1000)
        self._see_settled(dispatcher.statistics())

    async def look_up(self, turns: Iterable[Turn]) -> None:
        """Learn which of the turns that come next are stored already, to tell what is new.

        Where the database can't be asked, the tally tells no such number.
        """
        self._known = {sent.key for sent in self._sent if sent.key is not None}
        numbers: dict[UUID, list[int]] = {}
        for turn in turns:
            numbers.setdefault(turn.trajectory_id, []).append(turn.turn_number)
        ids = tuple(numbers)
        try:
            for start in range(0, len(ids), _IDS_AT_ONCE):
                query = TrajectoryQuery(ids=ids[start : start + _IDS_AT_ONCE])
                stored = [found.id async for found in self._backend.read_trajectories(query)]
                await self._look_at({id_: numbers[id_] for id_ in sorted(stored)})
        except TrajectoryError:
            self._tally.knows_new = False

    async def _look_at(self, numbers: dict[UUID, list[int]]) -> None:
        """Learn of turns of stored trajectories, which come sorted.

        Small ones are read whole and many at once; of one that has far more turns than are asked
        for, the asked ranges.
        """
        while len(numbers) > 1:
            limit = 100 + 2 * sum(map(len, numbers.values()))
            read, last = 0, None
            query = TurnQuery(ids=tuple(numbers), limit=limit)
            async for turn in self._backend.read_turns(query):
                self._known.add(turn.key)
                read, last = read + 1, turn.trajectory_id
            if last is None or read < limit:
                return
            await self._look_at({last: numbers[last]})
            numbers = {id_: wanted for id_, wanted in numbers.items() if id_ > last}
        for id_, wanted in numbers.items():
            for first, last_number in _ranges(wanted):
                after = TurnCursor(id_, first - 1) if first else None
                query = TurnQuery(ids=(id_,), after=after, limit=last_number - first + 1)
                async for turn in self._backend.read_turns(query):
                    self._known.add(turn.key)

    async def log(self, place: Place, *values: Trajectory | Turn) -> None:
        """Log values of a place in order. Raises `WriteFailedError` and `BufferFullError`."""
        await self.log_each([(place, value) for value in values])

    async def log_each(self, values: Iterable[tuple[Place, Trajectory | Turn]]) -> None:
        """Log values in order, each with its place. Raises as `log` does."""
        if not self._is_open:
            await self._life.open()
            self._is_open = True
        dispatcher = self._life.dispatcher()
        is_doubtful = False
        for place, value in values:
            key = value.key if isinstance(value, Turn) else None
            size = turn_bytes(value) if isinstance(value, Turn) else value_bytes(value)
            await dispatcher.intake.accept(value, size)
            is_new = key not in self._known
            is_doubtful = is_doubtful or not is_new
            self._sent.append(_Sent(place, value, is_new))
            if key is not None:
                self._known.add(key)
        if (
            self._tally.is_strict and is_doubtful
        ):  # it may be refused, and nothing is read after that
            await self._settle()
        elif len(self._sent) >= _LOOK_EVERY:
            self._see_settled(dispatcher.statistics())

    async def finish(self, *, hurry: bool = False) -> None:
        """Store what was logged; in a hurry, only as long as closing may take."""
        if not self._is_open:
            return
        dispatcher = self._life.dispatcher()
        try:
            if not hurry:
                await dispatcher.flush(self._settings.flush_timeout_ms / 1000)
            await self._life.close(self._settings.close_timeout_ms / 1000)
        finally:
            counts = dispatcher.statistics()
            self._see_settled(counts)
            self._tally.merge_conflicts = counts.merge_conflicts
            self._tally.not_stored = sum(sent.key is not None for sent in self._sent)

    def _see_settled(self, counts: Statistics) -> None:
        settled = (
            counts.stored
            + counts.dead_lettered
            + counts.others_stored
            + counts.others_dead_lettered
        )
        for _ in range(settled - self._seen_settled):
            sent = self._sent.popleft()
            letter = self._refusals.pop(id(sent.value), None)
            if letter is None:
                self._tally.note_stored(sent.value, is_new=sent.is_new)
            else:
                self._tally.refuse(sent.place, _why(sent, letter))
        self._seen_settled = settled


def _ranges(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Cut numbers into ranges without large gaps: a query takes as long as some turns do."""
    ordered = sorted(numbers)
    first = last = ordered[0]
    for number in ordered[1:]:
        if number - last > _GAP:
            yield first, last
            first = number
        last = number
    yield first, last


def _why(sent: _Sent, letter: DeadLetter) -> str:
    if sent.key is None:
        return f"what describes the trajectory was refused: {letter.reason}"
    if letter.error == ConflictError.__name__:
        return f"turn {sent.key[1]} of its trajectory is stored with other content"
    return f"turn {sent.key[1]} was refused: {letter.reason}"


def take_in(
    url: str,
    tally: Tally,
    read: Callable[[Intake], Awaitable[None]],
    end: Callable[[Intake], Awaitable[None]] | None = None,
) -> None:
    """Open a database, let `read` log into it, then `end`, and store all that was logged.

    The first SIGINT or SIGTERM ends the reading, and what came before is stored; a second one
    gives up on that. A failure of the database is told to the tally. Raises what `open` raises.
    """
    with Alarms() as alarms:
        try:
            asyncio.run(_take_in(url, tally, read, end))
        except asyncio.CancelledError:
            tally.error = tally.error or "interrupted twice, before all was stored"
        if tally.error is None:
            alarms.tell()


async def _take_in(
    url: str,
    tally: Tally,
    read: Callable[[Intake], Awaitable[None]],
    end: Callable[[Intake], Awaitable[None]] | None,
) -> None:
    backend = open_backend(url)
    if backend.capabilities.survives is Survives.NOTHING:
        screen.note(
            "warning: this database is in memory, so nothing is kept after this command; "
            "name a file or a server with --db",
            "yellow",
        )
    try:
        await backend.open()
        tally.start()
        intake = Intake(backend, tally)
        with _signals_end_the_reading(tally):
            try:
                try:
                    await read(intake)
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    if tally.signal is None or task is None:
                        raise
                    task.uncancel()
                if end is not None:
                    async with asyncio.timeout(None if tally.signal is None else _HURRY_S):
                        await end(intake)
            except (TimeoutError, TrajectoryError) as error:
                tally.error = str(error) or "the database took too long"
            finally:
                await _finish(intake, tally)
    finally:
        if not _must_not_wait(tally):
            await backend.close()


def leave(tally: Tally) -> NoReturn:
    """End the command with the exit code of its account."""
    if _must_not_wait(tally):
        with contextlib.suppress(OSError, AttributeError):  # full, or none at all
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(tally.exit_code)
    raise typer.Exit(tally.exit_code)


def _must_not_wait(tally: Tally) -> bool:
    """Say whether the database was still busy when a signal's time was over.

    A thread may wait for a lock then, and both closing and Python's own end would wait for the
    thread. To stop in a transaction is as good as never to have begun it.
    """
    return tally.signal is not None and (tally.not_stored > 0 or tally.error is not None)


async def _finish(intake: Intake, tally: Tally) -> None:
    try:
        await intake.finish(hurry=tally.signal is not None)
    except TrajectoryError as error:
        tally.error = tally.error or str(error)


@contextlib.contextmanager
def _signals_end_the_reading(tally: Tally) -> Iterator[None]:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None or threading.current_thread() is not threading.main_thread():
        yield  # signals go to the main thread; a program that runs us elsewhere handles them
        return

    def end(number: int) -> None:
        tally.signal = tally.signal or number
        task.cancel()

    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, end, number)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
