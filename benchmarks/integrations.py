"""What recording adds to a framework's own work: the scripted programs, with and without us."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from statistics import median
from time import process_time
from typing import Any

from benchmarks.groups import Group, Subject
from benchmarks.work import Figures, Ticker
from trajectory import TrajectoryLogger

INTEGRATIONS = {
    "openai_agents": "OpenAI Agents SDK",
    "langgraph": "LangGraph",
    "claude_agent_sdk": "Claude Agent SDK",
    "otel_in": "OpenTelemetry spans in",
    "otel_out": "OpenTelemetry out, and metrics",
}
CONVERSATIONS = 5
"""In each measurement; with and without take turns."""


def cost(rounds: int, *, target: str, name: str) -> Figures:
    """Run a program in turns with and without its integration; CPU time, the storing included."""
    return asyncio.run(_cost(target, rounds, import_module(f"benchmarks.scripted.{name}")))


async def _cost(target: str, rounds: int, scripted: Any) -> Figures:
    async with TrajectoryLogger(target) as logger:
        await _measured(scripted, logger, attached=False)  # what is loaded and compiled once
        await _measured(scripted, logger, attached=True)
        alone: list[float] = []
        recorded: list[float] = []
        late: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(rounds):
            for attached, seconds in ((False, alone), (True, recorded)):
                took, worst = await _measured(scripted, logger, attached=attached)
                seconds.append(took)
                late[attached].append(worst)
        await logger.flush()
        stored = logger.statistics().stored
    added = median(one - other for one, other in zip(recorded, alone, strict=True))
    return {
        "turns": stored,
        "program_ms": median(alone) / CONVERSATIONS * 1e3,
        "added_cpu_ms": added / CONVERSATIONS * 1e3,
        "added_share_percent": 100 * added / median(alone),
        "added_late_ms": median(late[True]) - median(late[False]),
    }


async def _measured(
    scripted: Any, logger: TrajectoryLogger, *, attached: bool
) -> tuple[float, float]:
    began = process_time()
    async with Ticker() as ticker:
        with _block(scripted, logger, attached=attached):
            await scripted.program(CONVERSATIONS)
        if attached:
            await logger.flush()
    return process_time() - began, ticker.figures()["late_worst_ms"]


def _block(
    scripted: Any, logger: TrajectoryLogger, *, attached: bool
) -> AbstractContextManager[Any]:
    if attached:
        block: AbstractContextManager[Any] = scripted.attached(logger)
    elif scripted.__name__.endswith("otel_out"):  # whose program logs by itself
        block = scripted.detached(logger)
    else:
        block = getattr(scripted, "detached", nullcontext)()
    return block


def integration_group(*, quick: bool) -> Group:
    """Give the group of all integrations. None is the baseline: each is its own."""
    return Group(
        "integrations",
        "What recording adds to a conversation of a framework with a model that takes no time",
        [
            Subject(label, "integrations.cost", 1 if quick else 9, "wal", {"name": name})
            for name, label in INTEGRATIONS.items()
        ],
        ["program_ms", "added_cpu_ms", "added_share_percent", "added_late_ms"],
        rounds=1,
    )
