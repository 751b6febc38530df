"""Graphs: pauses, branches, sub-graphs, failures, and tools that nodes run by hand."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest
from integrations.langchain.conftest import Stored
from integrations.langchain.stored import Model, assistant, graph_of, user
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send, interrupt

THREAD: Any = {"configurable": {"thread_id": "t"}}


def ask(_state: MessagesState) -> dict[str, Any]:
    """Stop for the user's answer."""
    answer = interrupt({"question": "sure?"})
    return {"messages": [AIMessage(f"you said {answer}")]}


async def echo(state: MessagesState) -> dict[str, Any]:
    """Answer with a model."""
    model = Model(answer=lambda heard: f"re: {heard[-1].content}")
    return {"messages": [await model.ainvoke(state["messages"])]}


async def test_a_pause_is_answered_by_another_run_of_the_session(stored: Stored) -> None:
    graph = graph_of("outer", InMemorySaver(), sub=graph_of("inner", ask=ask))
    await graph.ainvoke({"messages": [("user", "go")]}, THREAD)
    await graph.ainvoke(Command(resume="yes"), THREAD)
    outer = {"agent_name": "outer", "session_id": "t", "status": "completed"}
    inner = {
        **outer,
        "agent_name": "inner",
        "parent": "outer",
        "root": "outer",
        "metadata": {"langgraph_node": "sub"},
    }
    paused = {
        "prompt": "go",
        "response": '{"question":"sure?"}',
        "stop_reason": "interrupt",
        "messages": [user("go")],
    }
    said = assistant("you said yes")
    assert await stored() == [
        {**outer, "turn": paused},
        {**inner, "turn": paused},
        {
            **outer,
            "turn": {
                "prompt": "yes",
                "response": "you said yes",
                "messages": [said],
                "metadata": {"resumed": True},
            },
        },
        {
            **inner,
            "turn": {"prompt": "go", "response": "you said yes", "messages": [user("go"), said]},
        },
    ]


async def test_a_pause_before_a_node_is_a_run_without_an_answer(stored: Stored) -> None:
    graph = StateGraph(MessagesState)
    graph.add_node("echo", echo)
    graph.add_edge(START, "echo")
    made = graph.compile(InMemorySaver(), interrupt_before=["echo"])
    await made.ainvoke({"messages": [HumanMessage("go")]}, THREAD)
    await made.ainvoke(None, THREAD)
    first, second = [one["turn"] for one in await stored()]
    assert first == {"prompt": "go", "response": "", "messages": [user("go")]}
    assert second["response"] == "re: go"
    assert second["metadata"] == {"resumed": True}


async def test_a_tool_that_asks_the_user_ends_in_the_run_that_has_the_answer(
    stored: Stored,
) -> None:
    @tool
    def confirm(sum: int) -> str:  # noqa: A002
        """Ask."""
        return f"paid {sum}: {interrupt('pay?')}"

    def answer(heard: list[Any]) -> AIMessage:
        if isinstance(heard[-1], ToolMessage):
            return AIMessage("done")
        return AIMessage("", tool_calls=[{"name": "confirm", "args": {"sum": 3}, "id": "c1"}])

    graph = with_tools(answer, ToolNode([confirm]), InMemorySaver())
    await graph.ainvoke({"messages": [("user", "pay 3")]}, THREAD)
    await graph.ainvoke(Command(resume="yes"), THREAD)
    first, second = [one["turn"] for one in await stored()]
    called = {"tool_name": "confirm", "arguments": '{"sum":3}', "call_id": "c1"}
    assert first == {
        "prompt": "pay 3",
        "response": "pay?",
        "stop_reason": "interrupt",
        "messages": [user("pay 3"), assistant("")],
        "tool_calls": [{**called, "message_position": 1}],
    }
    assert second == {
        "prompt": "yes",
        "response": "done",
        "messages": [
            {"role": "tool", "content": "paid 3: yes", "call_id": "c1"},
            assistant("done"),
        ],
        "tool_calls": [{**called, "result": "paid 3: yes", "is_error": False}],
        "metadata": {"resumed": True},
    }


def with_tools(answer: Any, node: Any, checkpointer: Any = None) -> Any:
    """Make the usual loop of a model and its tools."""
    model = Model(answer=answer)

    async def agent(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("agent", agent)
    graph.add_node("tools", node)
    graph.add_edge(START, "agent")
    graph.add_edge("tools", "agent")
    graph.add_conditional_edges(
        "agent", lambda state: "tools" if state["messages"][-1].tool_calls else END
    )
    return graph.compile(checkpointer)


async def test_tools_that_a_node_runs_by_hand_are_found_again(stored: Stored) -> None:
    @tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    calls: list[Any] = [
        {"name": "add", "args": {"a": 1, "b": 2}, "id": "c1"},
        {"name": "add", "args": {"a": 3, "b": 4}, "id": "c2"},
        {"name": "missing", "args": {}, "id": "c3"},
    ]

    def answer(heard: list[Any]) -> AIMessage:
        if isinstance(heard[-1], ToolMessage):
            return AIMessage("done")
        return AIMessage("", tool_calls=calls)

    async def by_hand(_state: MessagesState) -> dict[str, Any]:
        second = await add.ainvoke(calls[1]["args"])
        first = await add.ainvoke(calls[0]["args"])
        return {
            "messages": [
                ToolMessage(str(first), tool_call_id="c1"),
                ToolMessage(str(second), tool_call_id="c2"),
                ToolMessage("there is no such tool", tool_call_id="c3", status="error"),
            ]
        }

    await with_tools(answer, by_hand).ainvoke({"messages": ["go"]})
    [only] = await stored()
    made = {"message_position": 1}
    assert only["turn"]["tool_calls"] == [
        {"tool_name": "add", "arguments": '{"a":1,"b":2}', "call_id": "c1", **made}
        | {"result": "3", "is_error": False},
        {"tool_name": "add", "arguments": '{"a":3,"b":4}', "call_id": "c2", **made}
        | {"result": "7", "is_error": False},
        {"tool_name": "missing", "arguments": "{}", "call_id": "c3", **made}
        | {"result": "there is no such tool", "is_error": True},
    ]
    assert [one["role"] for one in only["turn"]["messages"]] == [
        *("user", "assistant", "tool", "tool", "tool", "assistant"),
    ]


class Topics(TypedDict):
    """A state without messages."""

    topics: list[str]
    out: Annotated[list[str], operator.add]


async def test_branches_are_one_turn_with_each_question_before_its_answer(stored: Stored) -> None:
    model = Model(answer=lambda heard: f"re: {heard[-1].content}")

    async def work(state: Any) -> dict[str, Any]:
        return {"out": [(await model.ainvoke(state["topic"])).content]}

    graph = StateGraph(Topics)
    graph.add_node("work", work)
    graph.add_conditional_edges(
        START, lambda state: [Send("work", {"topic": one}) for one in state["topics"]], ["work"]
    )
    await graph.compile().ainvoke({"topics": ["a", "b"], "out": []})
    [only] = await stored()
    turn = only["turn"]
    assert turn["prompt"] == '{"topics":["a","b"],"out":[]}'
    assert turn["response"] == '{"topics":["a","b"],"out":["re: a","re: b"]}'
    pairs = list(zip(turn["messages"][::2], turn["messages"][1::2], strict=True))
    assert sorted(pairs, key=str) == [
        (user("a"), assistant("re: a")),
        (user("b"), assistant("re: b")),
    ]


async def test_another_instruction_inside_of_a_run_is_a_message(stored: Stored) -> None:
    model = Model(answer=lambda heard: f"as told: {heard[0].content}")

    async def agent(state: MessagesState, system: str) -> dict[str, Any]:
        said = await model.ainvoke([SystemMessage(system), *state["messages"]])
        return {"messages": [said]}

    async def plan(state: MessagesState) -> dict[str, Any]:
        return await agent(state, "plan")

    async def write(state: MessagesState) -> dict[str, Any]:
        return await agent(state, "write")

    await graph_of(plan=plan, write=write).ainvoke({"messages": ["go"]})
    [only] = await stored()
    assert only["system_prompt"] == "plan"
    assert only["turn"]["messages"] == [
        user("go"),
        assistant("as told: plan"),
        {"role": "system", "content": "write"},
        assistant("as told: write"),
    ]


async def test_a_question_that_got_no_answer_is_not_stored_twice(stored: Stored) -> None:
    failures = [True]

    async def fails_once(state: MessagesState) -> dict[str, Any]:
        if failures:
            failures.clear()
            raise RuntimeError("boom")
        return await echo(state)

    graph = graph_of("g", InMemorySaver(), agent=fails_once)
    with pytest.raises(RuntimeError):
        await graph.ainvoke({"messages": ["one"]}, THREAD)
    await graph.ainvoke({"messages": ["two"]}, THREAD)
    first, second = await stored()
    assert first["status"] == "failed"
    assert first["error"] == first["turn"]["error"] == "RuntimeError: boom"
    assert second["turn"]["messages"] == [user("two"), assistant("re: two")]


async def test_a_cancelled_run_is_stored_as_far_as_it_came(stored: Stored) -> None:
    hangs = asyncio.Event()

    async def hang(_state: MessagesState) -> dict[str, Any]:
        hangs.set()
        await asyncio.Event().wait()
        return {}

    graph = graph_of("outer", sub=graph_of("inner", echo=echo, hang=hang))
    running = asyncio.create_task(graph.ainvoke({"messages": ["go"]}))
    await hangs.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    outer, inner = await stored()
    assert (outer["status"], inner["status"]) == ("cancelled", "cancelled")
    assert outer["turn"] == {"prompt": "go", "response": "", "messages": [user("go")]}
    assert inner["turn"]["messages"] == [user("go"), assistant("re: go")]
    assert inner["turn"]["response"] == "re: go"


async def test_a_graph_whose_stream_nobody_reads_on_is_cancelled(stored: Stored) -> None:
    graph = graph_of(one=echo, two=echo)
    stream = graph.astream({"messages": ["go"]}, stream_mode="updates")
    async for _ in stream:
        break
    await stream.aclose()
    [only] = await stored()
    assert only["status"] == "cancelled"
    assert only["turn"]["messages"][:2] == [user("go"), assistant("re: go")]


async def test_a_graph_that_goes_round_for_ever_has_failed(stored: Stored) -> None:
    graph = StateGraph(MessagesState)
    graph.add_node("echo", echo)
    graph.add_edge(START, "echo")
    graph.add_edge("echo", "echo")
    with pytest.raises(GraphRecursionError):
        made: Any = graph.compile()
        await made.ainvoke({"messages": ["go"]}, {"recursion_limit": 3})
    [only] = await stored()
    assert only["status"] == "failed"
    assert only["error"].startswith("GraphRecursionError: Recursion limit of 3")
    assert len(only["turn"]["messages"]) == 4


async def test_the_functional_way_is_one_trajectory_too(stored: Stored) -> None:
    model = Model(answer=lambda heard: f"re: {heard[-1].content}")

    @task
    async def answer(question: str) -> str:
        return str((await model.ainvoke(question)).content)

    @entrypoint()
    async def both(question: str) -> str:
        return f"{await answer(question)} {await answer('why?')}"

    assert await both.ainvoke("what?") == "re: what? re: why?"
    [only] = await stored()
    assert only["turn"] == {
        "prompt": "what?",
        "response": "re: what? re: why?",
        "messages": [
            user("what?"),
            assistant("re: what?"),
            user("why?"),
            assistant("re: why?"),
        ],
    }


async def test_a_graph_without_a_loop_is_recorded_from_its_threads(stored: Stored) -> None:
    def answer(state: MessagesState) -> dict[str, Any]:
        model = Model(answer=lambda heard: f"re: {heard[-1].content}")
        return {"messages": [model.invoke(state["messages"])]}

    graph = graph_of("outer", sub=graph_of("inner", answer=answer))
    runs = [asyncio.to_thread(graph.invoke, {"messages": [f"go {number}"]}) for number in range(8)]
    await asyncio.gather(*runs)
    everything = await stored()
    assert sorted(one["turn"]["response"] for one in everything) == sorted(
        2 * [f"re: go {number}" for number in range(8)]
    )
    for one in everything:
        [asked, said] = one["turn"]["messages"]
        assert said == assistant(f"re: {asked['content']}")
        assert one.get("parent") == (None if one["agent_name"] == "outer" else "outer")


async def test_what_a_node_writes_itself_is_the_answer(stored: Stored) -> None:
    def write(_state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("by hand")]}

    await graph_of(echo=echo, write=write).ainvoke({"messages": ["go"]})
    [only] = await stored()
    assert only["turn"]["response"] == "by hand"
    assert only["turn"]["messages"] == [user("go"), assistant("re: go"), assistant("by hand")]


async def test_labels_come_from_the_run(stored: Stored) -> None:
    config: Any = {
        "run_name": "named",
        "tags": ["mine"],
        "metadata": {"user_id": 7, "session_id": "s", "plan": {"tier": "gold"}},
    }
    await graph_of(echo=echo).ainvoke({"messages": ["go"]}, config)
    [only] = await stored()
    only.pop("turn")
    assert only == {
        "agent_name": "named",
        "session_id": "s",
        "user_id": "7",
        "status": "completed",
        "tags": ["mine"],
        "metadata": {"plan": {"tier": "gold"}},
    }
