"""How runs end: by errors, guardrails, cancellation, streams that nobody reads to their end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrailTripwireTriggered,
    MaxTurnsExceeded,
    OutputGuardrailTripwireTriggered,
    RunConfig,
    Runner,
    UserError,
    function_tool,
    input_guardrail,
    output_guardrail,
    trace,
)
from integrations.openai_agents.telling import stored

from benchmarks.scripted.openai_agents import (
    LOOKUP,
    Call,
    Reply,
    Said,
    Wire,
    attached,
    http,
    lookup_order,
    model_on,
)
from trajectory import Trajectory, TrajectoryLogger, Turn

WIRES = [Wire.RESPONSES, Wire.CHAT]
CANARY = "CANARY-7f3a"


def echo(_instructions: str, said: Sequence[Said]) -> Reply:
    return Reply(f"You said: {said[-1].text}")


def calling(name: str, arguments: str = '{"x": 1}') -> Any:
    return lambda _instructions, _said: Reply(None, (Call(name, arguments),))


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    found = request.param
    assert isinstance(found, Wire)
    return found


async def only(logger: TrajectoryLogger) -> tuple[Trajectory, Turn]:
    await logger.flush()
    ((trajectory, (turn,)),) = await stored(logger.backend)
    return trajectory, turn


async def streamed(agent: Agent[Any], text: str) -> Any:
    result = Runner.run_streamed(agent, text)
    async for _ in result.stream_events():
        pass
    return result.final_output


async def run(agent: Agent[Any], text: str) -> Any:
    return (await Runner.run(agent, text)).final_output


BOTH = pytest.mark.parametrize("way", [run, streamed], ids=["run", "stream"])


class Hanging:
    """A tool that never answers."""

    def __init__(self) -> None:
        self.began = asyncio.Event()

        @function_tool
        async def hang(x: int) -> str:
            self.began.set()
            await asyncio.Event().wait()
            return str(x)

        self.tool = hang

    def agent(self, wire: Wire) -> Agent[Any]:
        return Agent(name="a", model=model_on(wire, calling("hang")), tools=[self.tool])


async def test_a_cancelled_run(logger: TrajectoryLogger) -> None:
    hanging = Hanging()
    with attached(logger):
        task = asyncio.create_task(run(hanging.agent(Wire.RESPONSES), "hello"))
        await hanging.began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    trajectory, turn = await only(logger)
    assert (trajectory.status, trajectory.error) == ("cancelled", None)
    assert (turn.prompt, turn.response, turn.error) == ("hello", "", "CancelledError")
    assert [(c.tool_name, c.result, c.is_error) for c in turn.tool_calls] == [("hang", None, None)]
    assert turn.input_tokens == 10


async def test_a_cancelled_stream(memory: TrajectoryLogger, wire: Wire) -> None:
    hanging = Hanging()
    with attached(memory):
        result = Runner.run_streamed(hanging.agent(wire), "hello")

        async def cancel() -> None:
            await hanging.began.wait()
            result.cancel()

        cancelling = asyncio.create_task(cancel())
        async for _ in result.stream_events():
            pass
        await cancelling
    trajectory, turn = await only(memory)
    assert trajectory.status == "cancelled"
    assert (turn.prompt, turn.error, turn.tool_calls[0].tool_name) == (
        *("hello", "CancelledError"),
        "hang",
    )


async def test_an_abandoned_stream(memory: TrajectoryLogger, wire: Wire) -> None:
    with attached(memory):
        result = Runner.run_streamed(Agent(name="a", model=model_on(wire, echo)), "hello")
        async for _ in result.stream_events():
            break
        assert result.run_loop_task is not None
        await asyncio.wait({result.run_loop_task})
    trajectory, turn = await only(memory)
    assert trajectory.status == "completed"
    assert (turn.prompt, turn.response) == ("hello", "You said: hello")


@BOTH
async def test_a_tool_that_ends_the_run(memory: TrajectoryLogger, wire: Wire, way: Any) -> None:
    @function_tool(failure_error_function=None)
    async def boom(x: int) -> str:
        raise ValueError(f"no {x}")

    agent = Agent(name="a", model=model_on(wire, calling("boom")), tools=[boom])
    with attached(memory), pytest.raises(UserError):
        await way(agent, "hello")
    trajectory, turn = await only(memory)
    assert trajectory.status == "failed"
    assert trajectory.error == turn.error
    assert str(turn.error).startswith("UserError: ")
    assert str(turn.error).endswith("no 1")
    (call,) = turn.tool_calls
    assert (call.result, call.is_error) == ("Error running tool: no 1", True)


@BOTH
async def test_errors_are_as_silent_as_the_sdk_is_told_to_be(
    memory: TrajectoryLogger, way: Any
) -> None:
    @function_tool(failure_error_function=None)
    async def boom(x: int) -> str:
        raise ValueError(CANARY)

    agent = Agent(name="a", model=model_on(Wire.RESPONSES, calling("boom")), tools=[boom])
    config = RunConfig(trace_include_sensitive_data=False)
    with attached(memory), pytest.raises(UserError):
        if way is run:
            await Runner.run(agent, CANARY, run_config=config)
        else:
            async for _ in Runner.run_streamed(agent, CANARY, run_config=config).stream_events():
                pass
    trajectory, turn = await only(memory)
    assert str(turn.error).startswith("UserError: ")
    assert CANARY not in f"{trajectory.model_dump()}{turn.model_dump()}"


@BOTH
async def test_too_many_turns(memory: TrajectoryLogger, way: Any) -> None:
    agent = Agent(
        name="a",
        model=model_on(Wire.RESPONSES, lambda _i, _s: Reply("Looking.", (LOOKUP,))),
        tools=[lookup_order],
    )
    with attached(memory), pytest.raises(MaxTurnsExceeded):
        await way(agent, "hello")
    trajectory, turn = await only(memory)
    # A stream hands its error to who reads it: only what the span says is seen.
    assert turn.error == ("MaxTurnsExceeded: " if way is run else "") + "Max turns exceeded"
    assert trajectory.status == "failed"
    assert len(turn.tool_calls) == 10
    assert {call.result for call in turn.tool_calls} == {"order 7: on its way"}


@pytest.mark.parametrize("parallel", [True, False], ids=["parallel", "before"])
@BOTH
async def test_an_input_guardrail_that_trips(
    memory: TrajectoryLogger, wire: Wire, way: Any, parallel: bool
) -> None:
    @input_guardrail(run_in_parallel=parallel)
    async def no_secrets(_context: Any, _agent: Any, _input: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(None, tripwire_triggered=True)

    agent = Agent(name="a", model=model_on(wire, echo), input_guardrails=[no_secrets])
    with attached(memory), pytest.raises(InputGuardrailTripwireTriggered):
        await way(agent, "hello")
    trajectory, turn = await only(memory)
    error = "InputGuardrailTripwireTriggered: Guardrail tripwire triggered: no_secrets"
    assert (trajectory.status, trajectory.error, turn.error) == ("failed", error, error)
    assert turn.metadata == {"guardrails": [{"name": "no_secrets", "triggered": True}]}


@BOTH
async def test_an_output_guardrail_that_trips(
    memory: TrajectoryLogger, wire: Wire, way: Any
) -> None:
    @output_guardrail
    async def politely(_context: Any, _agent: Any, _output: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(None, tripwire_triggered=True)

    @output_guardrail
    async def briefly(_context: Any, _agent: Any, _output: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(None, tripwire_triggered=False)

    agent = Agent(name="a", model=model_on(wire, echo), output_guardrails=[briefly, politely])
    with attached(memory), pytest.raises(OutputGuardrailTripwireTriggered):
        await way(agent, "hello")
    trajectory, turn = await only(memory)
    error = "OutputGuardrailTripwireTriggered: Guardrail tripwire triggered: politely"
    assert (trajectory.status, turn.error) == ("failed", error)
    assert (turn.prompt, turn.response) == ("hello", "You said: hello")
    assert turn.metadata["guardrails"] == [
        {"name": "briefly", "triggered": False},
        {"name": "politely", "triggered": True},
    ]


async def test_an_agent_in_a_guardrail_is_a_child(memory: TrajectoryLogger) -> None:
    judge = Agent(name="judge", model=model_on(Wire.RESPONSES, lambda _i, _s: Reply("fine")))

    @input_guardrail(run_in_parallel=False)
    async def judged(_context: Any, _agent: Any, given: Any) -> GuardrailFunctionOutput:
        verdict = await Runner.run(judge, given)
        return GuardrailFunctionOutput(verdict.final_output, tripwire_triggered=False)

    agent = Agent(name="a", model=model_on(Wire.RESPONSES, echo), input_guardrails=[judged])
    with attached(memory):
        assert await run(agent, "hello") == "You said: hello"
    await memory.flush()
    (main, (turn,)), (child, (judgement,)) = await stored(memory.backend)
    assert (main.agent_name, turn.response) == ("a", "You said: hello")
    assert (child.agent_name, child.parent_trajectory_id) == ("judge", main.id)
    assert child.metadata == {"guardrail": "judged"}
    assert (judgement.prompt, judgement.response) == ("hello", "fine")


@BOTH
async def test_a_model_that_fails(
    memory: TrajectoryLogger, wire: Wire, way: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_instructions: str, _said: Sequence[Said]) -> Reply:
        raise http.ConnectError("no net")

    caplog.set_level(logging.CRITICAL, logger="openai.agents")
    with attached(memory), pytest.raises(Exception, match="Connection error"):
        await way(Agent(name="a", model=model_on(wire, fail)), "hello")
    trajectory, turn = await only(memory)
    assert trajectory.status == "failed"
    assert "APIConnectionError: " in str(turn.error)
    (error,) = turn.metadata["model_errors"]
    assert "Connection error" in error
    # A chat model tells its input before it calls; a Responses model only once it has an answer.
    assert turn.prompt == ("hello" if wire is Wire.CHAT else "")


async def test_a_tool_whose_result_is_the_answer(memory: TrajectoryLogger, wire: Wire) -> None:
    agent = Agent(
        name="a",
        model=model_on(wire, lambda _i, _s: Reply(None, (LOOKUP,))),
        tools=[lookup_order],
        tool_use_behavior="stop_on_first_tool",
    )
    with attached(memory):
        answer = await run(agent, "hello")
    trajectory, turn = await only(memory)
    assert trajectory.status == "completed"
    assert turn.response == answer == "order 7: on its way"


async def test_an_exception_that_is_being_handled_is_not_the_run_s(
    memory: TrajectoryLogger,
) -> None:
    agent = Agent(name="a", model=model_on(Wire.RESPONSES, echo))
    with attached(memory):
        try:
            dict[str, int]()["before"]
        except KeyError:
            await run(agent, "hello")
    trajectory, turn = await only(memory)
    assert (trajectory.status, trajectory.error, turn.error) == ("completed", None, None)


async def test_a_failed_run_may_be_followed_by_a_good_one(memory: TrajectoryLogger) -> None:
    agent = Agent(name="a", model=model_on(Wire.RESPONSES, echo))
    with attached(memory), trace("two"):
        with pytest.raises(MaxTurnsExceeded):
            await Runner.run(agent, "hello", max_turns=0)
        await run(agent, "again")
    await memory.flush()
    ((trajectory, turns),) = await stored(memory.backend)
    assert (trajectory.status, trajectory.error) == ("completed", None)
    assert [turn.error is None for turn in turns] == [False, True]


async def test_the_block_of_a_trace_that_fails(memory: TrajectoryLogger) -> None:
    agent = Agent(name="a", model=model_on(Wire.RESPONSES, echo))
    with attached(memory), pytest.raises(LookupError), trace("one"):
        await run(agent, "hello")
        raise LookupError(CANARY)
    trajectory, turn = await only(memory)
    assert (trajectory.status, trajectory.error, turn.error) == ("failed", "LookupError", None)
