"""Counts what logging does, where a time would only say how busy the machine was."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trajectory import Durability, LoggerSettings, TrajectoryLogger
from trajectory.run import Run

PROMPT, RESPONSE = "p" * 200, "r" * 240
FIELDS: dict[str, Any] = {"token_count": 50, "latency_ms": 500.0, "model_name": "a-model"}
_NEVER_MS = 86_400_000
_WRITES = {"write", "writev", "pwrite", "pwritev"}


@asynccontextmanager
async def logging(
    target: Path | str, level: str = "queued"
) -> AsyncIterator[tuple[TrajectoryLogger, Run]]:
    """Open a logger that writes only when it is asked to, and has done all once."""
    settings = LoggerSettings(
        durability=Durability(level),
        buffer_size=10_000,
        channel_capacity=10_000,
        flush_interval_ms=_NEVER_MS,
    )
    async with TrajectoryLogger(target, settings) as logger:
        run = await logger.start_trajectory()
        for count in (1, 100):
            await batch(logger, run, count)
        yield logger, run


async def turns(run: Run, count: int) -> None:
    """Log some turns."""
    for _ in range(count):
        await run.log_turn(PROMPT, RESPONSE, **FIELDS)


async def batch(logger: TrajectoryLogger, run: Run, count: int) -> None:
    """Log some turns, and store them as one batch."""
    await turns(run, count)
    report = await logger.flush()
    assert (report.pending, report.dead_lettered) == (0, 0)


@contextmanager
def statements(connection: sqlite3.Connection) -> Iterator[list[str]]:
    """Note the statements that a connection runs; `executemany` runs one for each row."""
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    try:
        yield seen
    finally:
        connection.set_trace_callback(None)


@contextmanager
def loop_calls() -> Iterator[Counter[str]]:
    """Count what the running loop is asked for: callbacks, timers, tasks, answers of threads."""
    loop = asyncio.get_running_loop()
    seen: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., Any]:
        real = getattr(loop, name)

        def call(*arguments: Any, **named: Any) -> Any:
            seen[name] += 1
            return real(*arguments, **named)

        return call

    names = ("call_soon", "call_soon_threadsafe", "call_at", "create_task")
    for name in names:
        setattr(loop, name, counted(name))
    try:
        yield seen
    finally:
        for name in names:
            delattr(loop, name)


class Calls:
    """Counts calls of Python functions, and those of the system that write."""

    def __init__(self) -> None:
        self.on = False
        self.python = 0
        self.writes = 0

    def _note(self, _frame: Any, event: str, what: Any) -> None:
        if not self.on:
            return
        if event == "call":
            self.python += 1
        elif event == "c_call" and what.__name__ in _WRITES and what.__module__ == "posix":
            self.writes += 1

    @contextmanager
    def here(self) -> Iterator[None]:
        """Count in this thread."""
        gc.collect()
        gc.disable()  # what it collects may have finalizers in Python
        self.on = True
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)
            self.on = False
            gc.enable()

    @contextmanager
    def in_threads(self) -> Iterator[None]:
        """Count in the threads that begin inside, while `on`."""
        threading.setprofile(self._note)
        try:
            yield
        finally:
            threading.setprofile(None)


@contextmanager
def kept_bytes() -> Iterator[Callable[[], int]]:
    """Give a function that says how many bytes are kept of what was allocated inside."""
    gc.collect()
    tracemalloc.start()
    before, _peak = tracemalloc.get_traced_memory()

    def kept() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    try:
        yield kept
    finally:
        tracemalloc.stop()


class RoundTrips:
    """Stands before a server, and counts how often a client spoke after it had been answered."""

    def __init__(self, url: str) -> None:
        self._server = urlsplit(url)
        self._tasks: set[asyncio.Task[None]] = set()
        self.seen = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve; give the URL to use instead of the server's own."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            yield self._server._replace(netloc=f"postgres@127.0.0.1:{port}").geturl()
        finally:
            server.close()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_reader, up_writer = await asyncio.open_connection(
            self._server.hostname, self._server.port
        )
        answered = True

        async def pass_on(
            source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, asks: bool
        ) -> None:
            nonlocal answered
            with suppress(OSError):
                while chunk := await source.read(65_536):
                    self.seen += asks and answered
                    answered = not asks
                    sink.write(chunk)
                    await sink.drain()
            sink.close()

        await asyncio.gather(
            pass_on(reader, up_writer, asks=True), pass_on(up_reader, writer, asks=False)
        )
