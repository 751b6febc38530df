"""What people would use instead (extra `peers`): each stores the same texts in SQLite.

Each logs as fast as it can, in the way its own pages show and with its own default settings; then
it is shut down in its own way, and the turns are counted through a connection of the standard
library. What it was asked to store and is not there has been lost without an exception.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.work import FIELDS, PROMPT, RESPONSE, Figures, caller_figures

NEEDS = {
    "peers.agents_sqlite": "agents",
    "peers.agents_async_sqlite": "agents",
    "peers.agents_sqlalchemy": "agents",
    "peers.otel": "opentelemetry.sdk",
    "peers.langgraph": "langgraph.checkpoint.sqlite",
    "peers.mlflow": "mlflow",
}
"""The module without which a subject can't run."""

_CREATE = "CREATE TABLE turns (trajectory TEXT, number INTEGER, prompt TEXT, response TEXT)"
_INSERT = "INSERT INTO turns VALUES (?, ?, ?, ?)"


def is_there(function: str) -> bool:
    """Say whether what a subject needs is installed."""
    needed = NEEDS.get(function)
    try:
        return needed is None or find_spec(needed) is not None
    except ModuleNotFoundError:  # a parent is missing
        return False


def _told(turns: int, stored: int, seconds: float, calls: Sequence[float]) -> Figures:
    return {
        "turns": turns,
        "turns_per_s": stored / seconds,
        "stored_percent": 100 * stored / turns,
        **caller_figures(list(calls)),
    }


def _count(path: Path, statement: str = "SELECT count(*) FROM turns") -> int:
    connection = sqlite3.connect(path)
    try:
        found: int = connection.execute(statement).fetchone()[0]
    finally:
        connection.close()
    return found


def _new(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(_CREATE)
    connection.close()


async def _each(turns: int, step: Callable[[int], Awaitable[Any]]) -> list[float]:
    calls = []
    for number in range(turns):
        before = perf_counter()
        await step(number)
        calls.append(perf_counter() - before)
    return calls


def ours(turns: int, *, target: str, level: str) -> Figures:
    """Log with this library, at its default settings and a durability level."""
    return asyncio.run(_ours(turns, Path(target, "ours.db"), level))


async def _ours(turns: int, path: Path, level: str) -> Figures:
    from trajectory import Durability, LoggerSettings, TrajectoryLogger

    async with TrajectoryLogger(path, LoggerSettings(durability=Durability(level))) as logger:
        run = await logger.start_trajectory()
        await logger.flush()
        began = perf_counter()
        calls = await _each(turns, lambda _number: run.log_turn(PROMPT, RESPONSE, **FIELDS))
        await logger.flush()
        seconds = perf_counter() - began
    return _told(turns, _count(path, "SELECT count(*) FROM trajectory_turns"), seconds, calls)


def by_hand(turns: int, *, target: str) -> Figures:
    """Insert and commit each turn through aiosqlite, as a first version by hand does."""
    return asyncio.run(_by_hand(turns, Path(target, "by-hand.db")))


async def _by_hand(turns: int, path: Path) -> Figures:
    import aiosqlite

    _new(path)
    async with aiosqlite.connect(path) as database:
        await database.execute("PRAGMA synchronous=NORMAL")

        async def log(number: int) -> None:
            await database.execute(_INSERT, ("a", number, PROMPT, RESPONSE))
            await database.commit()

        began = perf_counter()
        calls = await _each(turns, log)
        seconds = perf_counter() - began
    return _told(turns, _count(path), seconds, calls)


class _SqliteHandler(logging.Handler):
    """Inserts and commits each turn, in the listener's thread."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.execute("PRAGMA synchronous=NORMAL")

    def emit(self, record: logging.LogRecord) -> None:
        self._database.execute(_INSERT, record.__dict__["turn"])
        self._database.commit()

    def close(self) -> None:
        self._database.close()
        super().close()


def queue_handler(turns: int, *, target: str) -> Figures:
    """Log through the standard library's `QueueHandler`, with SQLite behind its listener."""
    from logging.handlers import QueueHandler, QueueListener
    from queue import SimpleQueue

    path = Path(target, "queue.db")
    _new(path)
    queue: SimpleQueue[Any] = SimpleQueue()
    handler = _SqliteHandler(path)
    listener = QueueListener(queue, handler)
    logger = logging.getLogger("benchmarks.turns")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(QueueHandler(queue))
    listener.start()
    calls = []
    began = perf_counter()
    for number in range(turns):
        before = perf_counter()
        logger.info("a turn", extra={"turn": ("a", number, PROMPT, RESPONSE)})
        calls.append(perf_counter() - before)
    listener.stop()
    seconds = perf_counter() - began
    handler.close()
    return _told(turns, _count(path), seconds, calls)


def otel(turns: int, *, target: str) -> Figures:
    """End a span a turn, with OpenTelemetry's `BatchSpanProcessor` and a SQLite exporter."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )

    path = Path(target, "otel.db")
    _new(path)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what it says is counted below

    class Exporter(SpanExporter):
        def export(self, spans: Sequence[Any]) -> SpanExportResult:
            database = sqlite3.connect(path)
            database.execute("PRAGMA synchronous=NORMAL")
            told = [span.attributes for span in spans]
            rows = [("a", each["n"], each["prompt"], each["response"]) for each in told]
            with database:
                database.executemany(_INSERT, rows)
            database.close()
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Exporter()))
    tracer = provider.get_tracer("benchmarks")
    calls = []
    began = perf_counter()
    for number in range(turns):
        before = perf_counter()
        attributes = {"n": number, "prompt": PROMPT, "response": RESPONSE, **FIELDS}
        tracer.start_span("turn", attributes=attributes).end()
        calls.append(perf_counter() - before)
    provider.force_flush()
    seconds = perf_counter() - began
    provider.shutdown()
    return _told(turns, _count(path), seconds, calls)


async def _session(turns: int, session: Any, path: Path) -> Figures:
    """Add the two items of each turn to a session of OpenAI Agents."""
    await session.add_items([{"role": "user", "content": PROMPT}])  # the tables are made
    await session.clear_session()
    began = perf_counter()
    calls = await _each(
        turns,
        lambda _number: session.add_items(
            [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": RESPONSE}]
        ),
    )
    seconds = perf_counter() - began
    stored = _count(path, "SELECT count(*) FROM agent_messages") // 2
    return _told(turns, stored, seconds, calls)


def agents_sqlite(turns: int, *, target: str) -> Figures:
    """Use the `SQLiteSession` of OpenAI Agents."""
    from agents import SQLiteSession

    path = Path(target, "agents.db")
    session = SQLiteSession("a", path)
    try:
        return asyncio.run(_session(turns, session, path))
    finally:
        session.close()


def agents_async_sqlite(turns: int, *, target: str) -> Figures:
    """Use the `AsyncSQLiteSession` of OpenAI Agents."""
    from agents.extensions.memory import AsyncSQLiteSession

    async def run() -> Figures:
        path = Path(target, "agents.db")
        session = AsyncSQLiteSession("a", path)
        try:
            return await _session(turns, session, path)
        finally:
            await session.close()

    return asyncio.run(run())


def agents_sqlalchemy(turns: int, *, target: str) -> Figures:
    """Use the `SQLAlchemySession` of OpenAI Agents, on SQLite."""
    from agents.extensions.memory import SQLAlchemySession

    async def run() -> Figures:
        path = Path(target, "agents.db")
        url = f"sqlite+aiosqlite:///{path}"
        session = SQLAlchemySession.from_url("a", url=url, create_tables=True)
        try:
            return await _session(turns, session, path)
        finally:
            await session.engine.dispose()

    return asyncio.run(run())


def langgraph(turns: int, *, target: str) -> Figures:
    """Put a checkpoint a turn into the `AsyncSqliteSaver` of LangGraph.

    It holds the texts of this turn alone; that of a real graph would hold all before it as well.
    """
    return asyncio.run(_langgraph(turns, Path(target, "checkpoints.db")))


async def _langgraph(turns: int, path: Path) -> Figures:
    from langgraph.checkpoint.base import empty_checkpoint
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        await saver.setup()
        config: Any = {"configurable": {"thread_id": "a", "checkpoint_ns": ""}}

        async def log(number: int) -> None:
            nonlocal config
            checkpoint = empty_checkpoint()
            checkpoint["channel_values"] = {"messages": [PROMPT, RESPONSE]}
            config = await saver.aput(config, checkpoint, {"source": "loop", "step": number}, {})

        began = perf_counter()
        calls = await _each(turns, log)
        seconds = perf_counter() - began
    return _told(turns, _count(path, "SELECT count(*) FROM checkpoints"), seconds, calls)


def mlflow(turns: int, *, target: str) -> Figures:
    """Trace a span a turn with MLflow into SQLite."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.chdir(target)  # it leaves a folder where it runs
    from mlflow import flush_trace_async_logging, set_experiment, set_tracking_uri, start_span

    logging.disable(logging.WARNING)
    sys.stdout, out = sys.stderr, sys.stdout  # the figures alone go there
    path = Path(target, "mlflow.db")
    set_tracking_uri(f"sqlite:///{path}")
    set_experiment("benchmark")
    calls = []
    began = perf_counter()
    for number in range(turns):
        before = perf_counter()
        with start_span(name="turn") as span:
            span.set_inputs({"prompt": PROMPT})
            span.set_outputs({"response": RESPONSE})
            span.set_attributes({"number": number, **FIELDS})
        calls.append(perf_counter() - before)
    flush_trace_async_logging()
    seconds = perf_counter() - began
    sys.stdout = out
    return _told(turns, _count(path, "SELECT count(*) FROM spans"), seconds, calls)
