"""Traces: runs at once, parents, what is resumed, what never ends, what is of no agent."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import agents
import pytest
from agents import (
    Agent,
    Runner,
    custom_span,
    function_span,
    function_tool,
    generation_span,
    trace,
)
from integrations.openai_agents.telling import stored

from benchmarks.scripted.openai_agents import (
    Call,
    Reply,
    Said,
    Wire,
    attached,
    model_on,
)
from trajectory import SyncTrajectoryLogger, TrajectoryLogger
from trajectory.integrations.openai_agents import TrajectoryProcessor, live, tracing


def echo(_instructions: str, said: Sequence[Said]) -> Reply:
    return Reply(f"You said: {said[-1].text}")


def agent_of(script: Any = echo, **more: Any) -> Agent[Any]:
    return Agent(name="a", model=model_on(Wire.RESPONSES, script), **more)


async def test_runs_at_once_in_one_trace_are_its_turns(memory: TrajectoryLogger) -> None:
    agent = agent_of()
    with attached(memory), trace("many", group_id="g", metadata={"user_id": "u"}):
        await asyncio.gather(*(Runner.run(agent, f"hello {n}") for n in range(5)))
    await memory.flush()
    ((trajectory, turns),) = await stored(memory.backend)
    assert (trajectory.session_id, trajectory.user_id) == ("g", "u")
    assert [turn.turn_number for turn in turns] == [1, 2, 3, 4, 5]
    assert sorted(turn.prompt for turn in turns) == [f"hello {n}" for n in range(5)]
    assert all(turn.response == f"You said: {turn.prompt}" for turn in turns)


async def test_the_running_trajectory_is_the_parent(memory: TrajectoryLogger) -> None:
    with attached(memory):
        async with memory.trajectory(agent_name="outer") as outer:
            await Runner.run(agent_of(), "hello")
    await memory.flush()
    (_, no_turns), (inner, (turn,)) = await stored(memory.backend)
    assert no_turns == []
    assert (inner.parent_trajectory_id, inner.root_trajectory_id) == (outer.id, outer.id)
    assert turn.prompt == "hello"


async def test_the_root_of_the_running_trajectory_is_the_root(memory: TrajectoryLogger) -> None:
    with attached(memory):
        async with memory.trajectory(agent_name="root") as root:
            fields = {"parent_trajectory_id": root.id, "root_trajectory_id": root.id}
            async with memory.trajectory(agent_name="middle", **fields) as middle:
                await Runner.run(agent_of(), "hello")
    await memory.flush()
    *_, (inner, _) = await stored(memory.backend)
    assert (inner.parent_trajectory_id, inner.root_trajectory_id) == (middle.id, root.id)


async def test_another_agent_goes_on_with_the_conversation(memory: TrajectoryLogger) -> None:
    other = Agent(name="b", model=model_on(Wire.RESPONSES, echo))
    with attached(memory), trace("one"):
        await Runner.run(agent_of(), "hello")
        await Runner.run(other, "bye")
    await memory.flush()
    ((trajectory, (first, second)),) = await stored(memory.backend)
    assert trajectory.agent_name == "a"
    assert (first.metadata, second.metadata) == ({}, {"agent": "b"})


async def test_a_run_that_waits_for_approval_goes_on_in_its_trajectory(
    memory: TrajectoryLogger,
) -> None:
    @function_tool(needs_approval=True)
    def erase(x: int) -> str:
        return f"erased {x}"

    def script(_instructions: str, said: Sequence[Said]) -> Reply:
        if said[-1].kind == "result":
            return Reply("Done.")
        return Reply(None, (Call("erase", '{"x": 1}'),))

    agent = agent_of(script, tools=[erase])
    with attached(memory):
        waiting = await Runner.run(agent, "erase it")
        state = waiting.to_state()
        state.approve(waiting.interruptions[0])
        done = await Runner.run(agent, state)
    assert done.final_output == "Done."
    await memory.flush()
    ((trajectory, (asked, went_on)),) = await stored(memory.backend)
    assert trajectory.status == "completed"
    assert [(c.tool_name, c.result) for c in asked.tool_calls] == [("erase", None)]
    assert asked.response == ""
    assert (went_on.prompt, went_on.response) == ("erase it", "Done.")
    assert [c.result for c in went_on.tool_calls] == ["erased 1"]


async def test_custom_spans_are_noted_and_those_of_no_agent_passed_over(
    memory: TrajectoryLogger,
) -> None:
    @function_tool
    def look(x: int) -> str:
        with custom_span("query", {"rows": x, "deep": {"er": [1]}}):
            pass
        with function_span("inner", input="i", output="o"):
            pass
        return "seen"

    def script(_instructions: str, said: Sequence[Said]) -> Reply:
        return (
            Reply("Done.") if said[-1].kind == "result" else Reply(None, (Call("look", '{"x":2}'),))
        )

    with attached(memory), trace("one"):
        with custom_span("beside", {}), function_span("beside", input="i"):
            pass
        await Runner.run(agent_of(script, tools=[look]), "hello")
    await memory.flush()
    ((_, (turn,)),) = await stored(memory.backend)
    assert turn.metadata == {
        "custom_spans": [{"name": "query", "data": {"rows": 2, "deep": {"er": [1]}}}]
    }
    assert [(c.tool_name, c.result, c.message_position) for c in turn.tool_calls] == [
        ("look", "seen", 1),
        ("inner", "o", 1),
    ]


async def test_a_model_that_is_called_beside_all_agents_is_a_turn(
    memory: TrajectoryLogger,
) -> None:
    with (
        attached(memory),
        trace("one"),
        generation_span(
            input=[{"role": "system", "content": "Be short."}, {"role": "user", "content": "hi"}],
            output=[{"role": "assistant", "content": "ho"}],
            model="m",
            usage={"input_tokens": 3, "output_tokens": 2},
        ),
    ):
        pass
    await memory.flush()
    ((trajectory, (turn,)),) = await stored(memory.backend)
    assert (trajectory.agent_name, trajectory.system_prompt) == (None, "Be short.")
    assert (turn.prompt, turn.response, turn.model_name, turn.input_tokens) == ("hi", "ho", "m", 3)
    assert turn.metadata == {}


async def test_a_trace_without_runs_is_none(memory: TrajectoryLogger) -> None:
    with attached(memory), trace("empty"), custom_span("c", {}):
        pass
    await memory.flush()
    assert await stored(memory.backend) == []


async def test_a_loop_of_custom_spans_does_not_grow_for_ever(memory: TrajectoryLogger) -> None:
    @function_tool
    def loop(x: int) -> str:
        for number in range(x):
            with custom_span("step", {"number": number}):
                pass
        return "done"

    def script(_instructions: str, said: Sequence[Said]) -> Reply:
        asks = said[-1].kind != "result"
        return Reply(None, (Call("loop", '{"x":500}'),)) if asks else Reply("Done.")

    with attached(memory):
        await Runner.run(agent_of(script, tools=[loop]), "hello")
    await memory.flush()
    ((_, (turn,)),) = await stored(memory.backend)
    assert [each["data"]["number"] for each in turn.metadata["custom_spans"]] == [*range(100)]


async def test_traces_that_never_end_are_bounded(
    memory: TrajectoryLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "MAX_LIVE", 10)
    processor = TrajectoryProcessor(memory)
    agents.set_trace_processors([processor])
    for number in range(30):
        begun = trace(f"trace {number}")
        begun.start()
        span = agents.agent_span(f"agent {number}", parent=begun)
        span.start()
    assert len(processor._live) == 10
    await memory.flush()
    rows = await stored(memory.backend)
    assert [each.status for each, _ in rows] == 30 * ["running"]
    assert [len(turns) for _, turns in rows] == 20 * [1] + 10 * [0]
    processor.shutdown()
    assert len(processor._live) == 0
    await memory.flush()
    assert sum(len(turns) for _, turns in await stored(memory.backend)) == 30


async def test_spans_that_never_end_are_bounded(
    memory: TrajectoryLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_OPEN_SPANS", 10)
    with attached(memory), trace("one") as begun:
        for _ in range(30):
            custom_span("c", {}, parent=begun).start()
        await Runner.run(agent_of(), "hello")
    await memory.flush()
    assert await stored(memory.backend) == []


async def test_nothing_is_held_of_what_has_ended(memory: TrajectoryLogger) -> None:
    processor = TrajectoryProcessor(memory)
    agents.set_trace_processors([processor])
    agent = agent_of()
    result = await Runner.run(agent, "hello")
    gone = weakref.ref(agent)
    del agent, result
    gc.collect()
    assert gone() is None
    assert not processor._live
    assert len(processor._ended) == 1


async def test_traces_of_many_ended_runs_are_forgotten(
    memory: TrajectoryLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_REMEMBERED", 3)
    processor = TrajectoryProcessor(memory)
    agents.set_trace_processors([processor])
    for number in range(5):
        await Runner.run(agent_of(), f"hello {number}")
    assert len(processor._ended) == 3


def test_programs_without_a_loop_of_their_own() -> None:
    with SyncTrajectoryLogger("memory://") as logger:
        agents.set_trace_processors([TrajectoryProcessor(logger)])

        def in_own_loop(number: int) -> None:
            asyncio.run(_run(f"hello {number}"))

        threads = [threading.Thread(target=in_own_loop, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        logger.flush()
        rows = asyncio.run(stored(logger.backend))
    assert sorted(turn.prompt for _, (turn,) in rows) == [f"hello {n}" for n in range(4)]
    assert {each.status for each, _ in rows} == {"completed"}


async def _run(text: str) -> None:
    await Runner.run(agent_of(), text)


async def test_a_repr_tells_no_content(memory: TrajectoryLogger) -> None:
    processor = TrajectoryProcessor(memory)
    assert "0 live traces" in repr(processor)
    assert json.dumps(repr(processor))
    processor.force_flush()
