"""From values that came from lines to committed rows, each of them accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import NamedTuple, NoReturn

import typer

from trajectory.backend import StorageBackend
from trajectory.backends import open_backend
from trajectory.cli.tally import Place, Tally
from trajectory.errors import (
    ConflictError,
    TrajectoryError,
    TurnKey,
    WriteFailedError,
)
from trajectory.logger import TrajectoryLogger
from trajectory.models import Trajectory, Turn, turn_bytes, value_bytes
from trajectory.settings import Durability, LoggerSettings, OnFailure, Overflow

_HURRY_S = 5
"""How long an end may wait for room, once a signal has come."""


_LOOK_EVERY = 32
"""Asking the logger what is stored takes a tenth of the time of logging a turn."""


class _Sent(NamedTuple):
    place: Place
    value: Trajectory | Turn

    @property
    def key(self) -> TurnKey | None:
        return self.value.key if isinstance(self.value, Turn) else None


class Intake:
    """Logs values and tells the tally what became of each.

    A turn that the database refuses, because another content is stored under its key, is refused
    alone: the logger stops for it, so a new one goes on with all that is not known to be stored.
    """

    def __init__(self, backend: StorageBackend, tally: Tally) -> None:
        self._backend = backend
        self._tally = tally
        # An agent's settings may drop turns or go on after a failure; here every line counts.
        self._settings = LoggerSettings(
            overflow=Overflow.WAIT, on_failure=OnFailure.RAISE, durability=Durability.QUEUED
        )
        # All mutable state. `_sent` holds, in order, what the logger has accepted and was not seen
        # stored: the logger's items from number `_seen_stored` on.
        self._logger: TrajectoryLogger | None = None
        self._sent: deque[_Sent] = deque()
        self._seen_stored = 0

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

    async def log(self, place: Place, *values: Trajectory | Turn) -> None:
        """Log values in order. Raises what the logger raises, except for a turn's conflict."""
        await self._send(_Sent(place, value) for value in values)

    async def finish(self, *, hurry: bool = False) -> None:
        """Store what was logged; in a hurry, only as long as closing may take."""
        try:
            while self._logger is not None:
                try:
                    if not hurry:
                        await self._logger.flush()
                    await self._logger.aclose()
                except WriteFailedError as error:
                    await self._send(await self._after(error))
                else:
                    self._see_stored(self._logger)
                    self._logger = None
        finally:
            self._tally.not_stored = sum(sent.key is not None for sent in self._sent)

    async def _send(self, values: Iterable[_Sent]) -> None:
        waiting = deque(values)
        while waiting:
            try:
                await self._send_one(waiting[0])
                waiting.popleft()
            except WriteFailedError as error:
                again = await self._after(error)
                if self._tally.stopped:
                    waiting.clear()
                waiting.extendleft(reversed(again))

    async def _send_one(self, sent: _Sent) -> None:
        if self._logger is None:
            self._seen_stored = 0
            self._logger = await TrajectoryLogger(self._backend, self._settings).open()
        if isinstance(sent.value, Turn):
            await self._logger.log_turn(sent.value)
        else:
            await self._logger.log_trajectory(sent.value)
        self._sent.append(sent)
        if not len(self._sent) % _LOOK_EVERY:
            self._see_stored(self._logger)

    def _see_stored(self, logger: TrajectoryLogger) -> None:
        counts = logger.statistics()
        stored = counts.stored + counts.others_stored
        for _ in range(stored - self._seen_stored):
            self._tally.note_stored(self._sent.popleft().value)
        self._seen_stored = stored

    async def _after(self, error: WriteFailedError) -> list[_Sent]:
        """Refuse the turns that stopped the writer, and give what must be sent again.

        Raises the error where it was no conflict of turns that are known here.
        """
        if self._logger is not None:
            with contextlib.suppress(WriteFailedError):
                await self._logger.aclose()
            self._see_stored(self._logger)
            self._logger = None
        keys = error.__cause__.keys if isinstance(error.__cause__, ConflictError) else ()
        times = Counter(sent.key for sent in self._sent)
        again: list[_Sent] = []
        met: set[TurnKey] = set()
        for sent in self._sent:
            # Where lines share a key, the first may still be stored: the later ones go.
            first_of_many = sent.key not in met and times[sent.key] > 1
            if sent.key is None or sent.key not in keys or first_of_many:
                again.append(sent)
                if sent.key is not None:
                    met.add(sent.key)
                continue
            number = sent.key[1]
            self._tally.refuse(
                sent.place, f"turn {number} of its trajectory is stored with other content"
            )
            if self._tally.stopped:
                break
        if len(again) == len(self._sent):
            raise error
        self._sent.clear()
        return again


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
    try:
        asyncio.run(_take_in(url, tally, read, end))
    except asyncio.CancelledError:
        tally.error = tally.error or "interrupted twice, before all was stored"


async def _take_in(
    url: str,
    tally: Tally,
    read: Callable[[Intake], Awaitable[None]],
    end: Callable[[Intake], Awaitable[None]] | None,
) -> None:
    backend = open_backend(url)
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
