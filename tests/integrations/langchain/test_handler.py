"""The handler itself: whom it records, what it holds, and what it makes of nonsense."""

from __future__ import annotations

import asyncio
import copy
import random
from typing import Any
from uuid import uuid4

import pytest
from hostile import HOSTILE
from integrations.langchain.conftest import Stored
from integrations.langchain.stored import Model, assistant, graph_of, recorded, user
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableLambda

from trajectory import InvalidTurnError, SyncTrajectoryLogger, TrajectoryLogger
from trajectory.integrations.langchain import TrajectoryCallbackHandler, attach, runs

SEED = 20_260_103


def echo() -> Model:
    return Model(answer=lambda heard: f"re: {heard[-1].content}")


async def test_fields_of_all_trajectories(memory: TrajectoryLogger) -> None:
    async def ask(state: Any) -> Any:
        return {"messages": [await echo().ainvoke(state["messages"])]}

    graph = graph_of("outer", sub=graph_of("inner", ask=ask))
    fields: dict[str, Any] = {"agent_name": "mine", "spec_id": "s1", "metadata": {"a": 1}}
    with attach(memory, **fields):
        await graph.ainvoke({"messages": ["go"]})
    await memory.flush()
    outer, inner = await recorded(memory.backend)
    assert (outer["agent_name"], inner["agent_name"]) == ("mine", "inner")
    assert outer["spec_id"] == inner["spec_id"] == "s1"
    assert outer["metadata"] == {"a": 1}
    assert inner["metadata"] == {"langgraph_node": "sub", "a": 1}


@pytest.mark.parametrize(
    "fields", [{"id": uuid4()}, {"user_id": 7}, {"metadata": [1]}], ids=["id", "user", "metadata"]
)
async def test_a_wrong_field_is_told_at_once(
    memory: TrajectoryLogger, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidTurnError):
        attach(memory, **fields)
    with pytest.raises(InvalidTurnError):
        TrajectoryCallbackHandler(memory, **fields)
    await echo().ainvoke("go")
    assert not memory.statistics().accepted


async def test_the_last_that_is_attached_records_and_a_handler_of_ones_own_before_it(
    memory: TrajectoryLogger,
) -> None:
    async with TrajectoryLogger(":memory:") as second, TrajectoryLogger(":memory:") as own:
        first = attach(memory)
        with attach(second):
            await echo().ainvoke("second")
            await echo().ainvoke("own", {"callbacks": [TrajectoryCallbackHandler(own)]})
        await echo().ainvoke("first")
        first.detach()
        first.detach()
        await echo().ainvoke("nobody")
        for logger, prompt in ((memory, "first"), (second, "second"), (own, "own")):
            await logger.flush()
            [only] = await recorded(logger.backend)
            assert only["turn"]["prompt"] == prompt


async def test_a_run_that_goes_on_after_detach_is_recorded_to_its_end(
    memory: TrajectoryLogger,
) -> None:
    gate, asks = asyncio.Event(), asyncio.Event()

    async def wait(prompt: str) -> Any:
        asks.set()
        await gate.wait()
        return await echo().ainvoke(prompt)

    with attach(memory):
        running = asyncio.create_task(RunnableLambda(wait).ainvoke("go"))
        await asks.wait()
    gate.set()
    await running
    await memory.flush()
    [only] = await recorded(memory.backend)
    assert only["status"] == "completed"
    assert only["turn"]["response"] == "re: go"


async def test_threads_and_tasks_from_before_are_recorded_too(memory: TrajectoryLogger) -> None:
    go = asyncio.Event()

    async def later() -> None:
        await go.wait()
        await echo().ainvoke("task")

    task = asyncio.create_task(later())
    await asyncio.sleep(0)
    with attach(memory):
        go.set()
        await task
        await asyncio.to_thread(echo().invoke, "thread")
    await memory.flush()
    prompts = [one["turn"]["prompt"] for one in await recorded(memory.backend)]
    assert sorted(prompts) == ["task", "thread"]


async def test_the_running_trajectory_is_the_parent(stored: Stored, memory: Any) -> None:
    async with memory.trajectory(agent_name="around", source_format="langchain", run_id=RUN_ID):
        await echo().ainvoke("go")
        await asyncio.to_thread(echo().invoke, "go")
    around, *inside = await stored()
    assert around["agent_name"] == "around"
    assert [(one["parent"], one["root"]) for one in inside] == [("around", "around")] * 2


RUN_ID = str(uuid4())


def test_a_logger_without_a_loop(tmp_path: Any) -> None:
    with SyncTrajectoryLogger(tmp_path / "t.db") as logger, attach(logger):
        echo().invoke("go")
        assert logger.flush().pending == 0

    async def read() -> Any:
        async with TrajectoryLogger(tmp_path / "t.db") as again:
            return await recorded(again.backend)

    [only] = asyncio.run(read())
    assert only["turn"]["messages"] == [user("go"), assistant("re: go")]


async def test_runs_that_never_end_do_not_pile_up(
    memory: TrajectoryLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "OPEN_RUNS", 20)
    monkeypatch.setattr(runs, "_ENDED_RUNS", 30)
    made = TrajectoryCallbackHandler(memory)
    for number in range(25):
        root, model = uuid4(), uuid4()
        made.on_chain_start({}, {"input": f"q{number}"}, run_id=root, name=f"c{number}")
        made.on_chat_model_start({}, [[HumanMessage("go")]], run_id=model, parent_run_id=root)
        made.on_llm_new_token("so far", run_id=model)
    assert len(made._runs) == 20
    assert len(made._runs._ended) == 30
    assert not made._guard.failures
    await memory.flush()
    everything = await recorded(memory.backend)
    assert len(everything) == 25
    for number, one in enumerate(everything):
        assert "status" not in one  # it runs still, for all that is known
        if number < 15:
            assert one["turn"]["prompt"] == f"q{number}"
            assert one["turn"]["messages"] == [user("go"), assistant("so far")]
        else:
            assert one["turn"] is None


async def test_what_comes_after_the_end_is_a_child_of_what_ended(memory: TrajectoryLogger) -> None:
    made = TrajectoryCallbackHandler(memory)
    root, model, late, later = (uuid4() for _ in range(4))
    made.on_chain_start({}, {"input": ""}, run_id=root, name="c")
    made.on_chat_model_start({}, [[HumanMessage("go")]], run_id=model, parent_run_id=root)
    made.on_chain_end("done", run_id=root)
    made.on_llm_new_token("more", run_id=model)
    made.on_llm_end(LLMResult(generations=[]), run_id=model)
    made.on_chain_start({}, "x", run_id=late, parent_run_id=root)
    made.on_chat_model_start({}, [[HumanMessage("go")]], run_id=later, parent_run_id=late)
    made.on_llm_end(LLMResult(generations=[]), run_id=later)
    made.on_chain_end("x", run_id=late)
    made.on_chain_end("x", run_id=root)
    await memory.flush()
    first, second = await recorded(memory.backend)
    assert first["turn"]["messages"] == [user("go")]
    assert (second["parent"], second["root"]) == ("c", "c")
    assert second["turn"]["response"] == "x"
    assert not len(made._runs)
    assert not made._guard.failures


async def test_own_retries_of_a_model_are_counted(memory: TrajectoryLogger) -> None:
    made = TrajectoryCallbackHandler(memory)
    model = uuid4()
    made.on_chat_model_start({}, [[HumanMessage("go")]], run_id=model)
    made.on_retry(object(), run_id=model)
    made.on_retry(object(), run_id=model)
    made.on_retry(object(), run_id=uuid4())
    answer = ChatGeneration(message=AIMessage("fine"))
    made.on_llm_end(LLMResult(generations=[[answer]]), run_id=model)
    await memory.flush()
    [only] = await recorded(memory.backend)
    assert only["turn"]["metadata"] == {"retries": 2}


def test_a_copy_is_the_same_handler(memory: TrajectoryLogger) -> None:
    made = TrajectoryCallbackHandler(memory)
    assert copy.deepcopy({"callbacks": [made]})["callbacks"] == [made]
    assert copy.copy(made) is made


async def test_a_child_process_forgets_the_runs_of_its_parent(memory: TrajectoryLogger) -> None:
    made = TrajectoryCallbackHandler(memory)
    made.on_chat_model_start({}, [[HumanMessage("go")]], run_id=uuid4())
    made.forget()
    assert not len(made._runs)
    made.on_chat_model_start({}, [[HumanMessage("go")]], run_id=uuid4())
    assert len(made._runs) == 1


async def test_hostile_texts_come_back_as_data(stored: Stored) -> None:
    texts = [*filter(None, HOSTILE), "\ud800 alone", "nul \0", "x" * 300_000]
    for number, text in enumerate(texts):
        await hostile_run(number, text)
    everything = await stored()
    assert len(everything) == len(texts)
    for text, one in zip(texts, everything, strict=True):
        seen = text.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
        label = seen[:256]
        assert one["status"] == "failed"
        assert one["error"] == f"RuntimeError: {seen}"[:10_000].removesuffix(": ")
        assert (one.get("session_id"), one["tags"]) == (label, [seen])
        assert one["metadata"]["k"] == seen
        turn = one["turn"]
        assert (turn["prompt"], turn["response"]) == (seen, seen)
        assert turn["messages"][0] == user(seen)
        assert turn["messages"][1]["content"] == seen
        assert turn["tool_calls"][0]["arguments"] == seen
        assert turn["tool_calls"][0]["call_id"] == label
        assert turn["messages"][2] == {"role": "tool", "content": seen, "call_id": label}


async def hostile_run(number: int, text: str) -> None:
    """Run a graph that says a text in every place, and fails with it."""
    calls = [{"name": text, "args": text, "id": text, "error": None}]
    said = AIMessage(text, invalid_tool_calls=calls)

    async def agent(state: Any) -> Any:
        return {"messages": [await Model(answer=lambda _: said).ainvoke(state["messages"])]}

    async def tools(_state: Any) -> Any:
        return {"messages": [ToolMessage(text, tool_call_id=text)]}

    async def again(state: Any) -> Any:
        def fails(_heard: Any) -> str:
            raise RuntimeError(text)

        await Model(answer=fails).ainvoke(state["messages"])

    graph = graph_of(f"hostile {number}", agent=agent, tools=tools, again=again)
    config: Any = {"tags": [text], "metadata": {"session_id": text, "k": text}}
    with pytest.raises(RuntimeError):
        await graph.ainvoke({"messages": [HumanMessage(text)]}, config)


class Broken:
    """Fails at whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    def __bool__(self) -> bool:
        raise RuntimeError("no")

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__
    __hash__ = None  # type: ignore[assignment]


def nested(depth: int) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = [value]
    return value


def nonsense(dice: random.Random) -> Any:
    """Give something that may be right, half right, or nothing at all."""
    return dice.choice(
        (
            *(None, 7, 2**80, float("nan"), b"bytes", "text", "", [], {}, (), set(), Broken()),
            *([Broken()], {"messages": Broken()}, {"messages": [Broken(), "x"]}, nested(500)),
            *(HumanMessage("go"), [HumanMessage("go")], [[HumanMessage("go")]], [["x"]], [[]]),
            *({"messages": [("user", "go"), ("ai", Broken())]}, [("user", 7)], ["a", "b"]),
            AIMessage("x", tool_calls=[{"name": "t", "args": {"a": 1}, "id": "c"}]),
            LLMResult(generations=[]),
            LLMResult(generations=[[ChatGeneration(message=AIMessage([{"type": "text"}]))]]),
            LLMResult(generations=[[ChatGeneration(message=AIMessage("x"))]], llm_output={"a": 1}),
            ToolMessage("x", tool_call_id="c"),
            ({"type": 7}, {"type": "reasoning", "summary": 7}, {"type": "text", "text": 7}),
            *({Broken: Broken()}, {"input": Broken()}, {"query": nested(100)}, object(), int),
        )
    )


STARTS = ("chain", "chat_model", "llm", "tool", "retriever")
ENDS = ("chain_end", "llm_end", "tool_end", "retriever_end")
ERRORS = ("chain_error", "llm_error", "tool_error", "retriever_error")
TOLD = (
    *("name", "tags", "metadata", "inputs", "tool_call_id", "invocation_params", "response"),
    "parent_run_id",
)


async def test_nonsense_never_raises(memory: TrajectoryLogger) -> None:
    dice = random.Random(SEED)
    made = TrajectoryCallbackHandler(memory)
    runs: list[Any] = [None]
    for _ in range(5_000):
        told = {name: nonsense(dice) for name in TOLD if dice.random() < 0.5}
        if dice.random() < 0.8:
            told["parent_run_id"] = dice.choice(runs)
        run_id: Any = dice.choice(runs[-20:])
        way = dice.random()
        if way < 0.5:
            runs.append(uuid4())
            kind = dice.choice(STARTS)
            if kind != "tool":
                told.pop("inputs", None)
            start = getattr(made, f"on_{kind}_start")
            start(nonsense(dice), nonsense(dice), run_id=runs[-1], **told)
        elif way < 0.7:
            told.pop("response", None)
            getattr(made, f"on_{dice.choice(ENDS)}")(nonsense(dice), run_id=run_id, **told)
        elif way < 0.9:
            error: Any = dice.choice((ValueError("x"), asyncio.CancelledError(), Broken(), None))
            getattr(made, f"on_{dice.choice(ERRORS)}")(error, run_id=run_id, **told)
        else:
            made.on_llm_new_token(nonsense(dice), run_id=run_id, **told)
    with attach(memory):
        await echo().ainvoke("all is well")
    await memory.flush()
    *_, last = await recorded_anyway(memory)
    assert last == "re: all is well"


async def recorded_anyway(logger: TrajectoryLogger) -> list[str]:
    """Give the responses alone: what is made of nonsense is of no interest."""
    from trajectory import TrajectoryStore

    async with TrajectoryStore(logger.backend) as store:
        turns = [turn async for turn in store.turns()]
    return [one.response for one in sorted(turns, key=lambda turn: turn.created_at)]
