"""Many at once on one logger: tasks at full speed, agents that mostly wait, and processes."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import tracemalloc
from time import perf_counter, process_time

from benchmarks.work import FIELDS, PROMPT, RESPONSE, Figures, caller_figures
from trajectory import TrajectoryLogger
from trajectory.run import Run

AGENTS, EVERY_S, AGENT_BYTES = 5000, 3.0, 10_000


def tasks(turns: int, *, target: str, count: int) -> Figures:
    """Share turns between so many tasks, each with a trajectory of its own, at full speed."""
    return asyncio.run(_tasks(target, turns // count, count))


async def _tasks(target: str, each: int, count: int) -> Figures:
    calls: list[float] = []
    async with TrajectoryLogger(target) as logger:
        runs = [await logger.start_trajectory() for _ in range(count)]
        await logger.flush()

        async def log(run: Run) -> None:
            for _ in range(each):
                before = perf_counter()
                await run.log_turn(PROMPT, RESPONSE, **FIELDS)
                calls.append(perf_counter() - before)

        began = perf_counter()
        await asyncio.gather(*map(log, runs))
        await logger.flush()
        seconds = perf_counter() - began
    turns = each * count
    return {"turns": turns, "turns_per_s": turns / seconds, **caller_figures(calls)}


def agents(turns: int, *, target: str, logs: bool, count: int, every_s: float) -> Figures:
    """Run agents that log 10 KB every few seconds; say what share of one core the process took."""
    return asyncio.run(_agents(target, turns // count, count, every_s, logs=logs))


async def _agents(target: str, each: int, count: int, every_s: float, *, logs: bool) -> Figures:
    response = "r" * AGENT_BYTES
    calls: list[float] = []
    async with TrajectoryLogger(target) as logger:
        runs = [await logger.start_trajectory() for _ in range(count)]
        await logger.flush()
        began, busy = perf_counter(), process_time()

        async def live(place: int, run: Run) -> None:
            for turn in range(each):
                due = began + (turn + place / count) * every_s
                await asyncio.sleep(max(0.0, due - perf_counter()))
                if logs:
                    before = perf_counter()
                    await run.log_turn(PROMPT, response, **FIELDS)
                    calls.append(perf_counter() - before)

        await asyncio.gather(*(live(place, run) for place, run in enumerate(runs)))
        await logger.flush()
        seconds, busy = perf_counter() - began, process_time() - busy
    figures = caller_figures(calls) if logs else {}
    return {"turns": len(calls), "cpu_percent": 100 * busy / seconds, **figures}


def idle_agents(turns: int, *, target: str, count: int) -> Figures:
    """Say what an agent takes in memory that has logged its turn, and waits for the next."""
    return asyncio.run(_idle_agents(target, turns // count, count))


async def _idle_agents(target: str, each: int, count: int) -> Figures:
    async with TrajectoryLogger(target) as logger:
        first = await logger.start_trajectory()  # what the first alone costs is not an agent's
        await first.log_turn(PROMPT, RESPONSE, **FIELDS)
        await logger.flush()
        gc.collect()
        tracemalloc.start()
        before, _peak = tracemalloc.get_traced_memory()
        runs = []
        for _ in range(count):
            run = await logger.start_trajectory()
            for _turn in range(each):
                await run.log_turn(PROMPT, RESPONSE, **FIELDS)
            runs.append(run)
        await logger.flush()
        gc.collect()
        after, _peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return {"turns": each * len(runs) + 1, "agent_bytes": (after - before) / count}


def processes(turns: int, *, target: str, count: int, seconds: float) -> Figures:
    """Log from several processes into one file for some seconds, as fast as each can.

    All begin at once, and the clock stops when the last has stored its turns; `turns` is not used.
    """
    del turns
    command = [sys.executable, "-m", "benchmarks.callers", target, str(seconds)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for each in started:
        assert each.stdout is not None  # noqa: S101 - it was asked for
        each.stdout.readline()  # it is ready
    began = perf_counter()
    for each in started:
        assert each.stdin is not None  # noqa: S101
        each.stdin.write("go\n")
        each.stdin.flush()
    told = [json.loads(each.communicate()[0]) for each in started]
    took = perf_counter() - began
    if any(each.returncode for each in started) or any(one["lost"] for one in told):
        raise RuntimeError(f"some of {count} processes could not store all their turns: {told}")
    logged = [one["turns"] for one in told]
    return {
        "turns": sum(logged),
        "turns_per_s": sum(logged) / took,
        "unfair": max(logged) / min(logged),
        "wait_worst_ms": max(one["worst_ms"] for one in told),
    }


async def _child(target: str, seconds: float) -> dict[str, float]:
    worst = turns = 0.0
    async with TrajectoryLogger(target) as logger:
        run = await logger.start_trajectory()
        await logger.flush()
        print("ready", flush=True)
        sys.stdin.readline()
        end = perf_counter() + seconds
        while (before := perf_counter()) < end:
            await run.log_turn(PROMPT, RESPONSE, **FIELDS)
            worst = max(worst, perf_counter() - before)
            turns += 1
        before = perf_counter()
        report = await logger.flush()
        worst = max(worst, perf_counter() - before)
    return {
        "turns": turns,
        "lost": report.pending + report.dead_lettered,
        "worst_ms": worst * 1e3,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_child(sys.argv[1], float(sys.argv[2])))))
