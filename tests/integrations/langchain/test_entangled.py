"""Callbacks in the midst of others, and what outlives the run in which it began."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from integrations.langchain.conftest import Stored
from integrations.langchain.stored import Model, assistant, graph_of, recorded, user
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

from trajectory import Trajectory, TrajectoryLogger
from trajectory.guard import Guard
from trajectory.integrations.langchain import (
    TrajectoryCallbackHandler,
    answers,
    attach,
    everywhere,
    runs,
)
from trajectory.integrations.langchain.line import Line
from trajectory.integrations.langchain.recorder import Recorder
from trajectory.integrations.langchain.steps import Over
from trajectory.models import Logged, Turn


def echo() -> Model:
    return Model(answer=lambda heard: f"re: {heard[-1].content}")


class Listed:
    """Keeps what it is offered, and does something before."""

    def __init__(self, before: Callable[[Logged], None] = lambda _value: None) -> None:
        self.values: list[Logged] = []
        self._before = before

    def offer(self, value: Logged) -> None:
        self._before(value)
        self.values.append(value)

    @property
    def turns(self) -> list[Turn]:
        return [value for value in self.values if isinstance(value, Turn)]


@pytest.mark.timeout(30)
def test_a_model_that_is_asked_while_a_value_is_offered() -> None:
    asked: list[str] = []

    def redact(value: Logged) -> None:
        if isinstance(value, Trajectory) and not asked:
            asked.append("once")
            asked.append(str(echo().invoke("is it clean?").content))

    logger = Listed(redact)
    with attach(logger):
        chain: Any = RunnableLambda(lambda text: echo().invoke(text).content)
        assert chain.invoke("go") == "re: go"
    assert asked == ["once", "re: is it clean?"]
    [turn] = logger.turns
    assert (turn.prompt, turn.response) == ("go", "re: go")
    contents = [message.content for message in turn.messages]
    assert contents == ["is it clean?", "re: is it clean?", "go", "re: go"]


@pytest.mark.timeout(30)
def test_a_stream_that_is_closed_while_another_callback_is_at_work() -> None:
    """As the garbage collector does it, wherever it comes to run."""
    streams: list[Any] = []

    def close(_value: Logged) -> None:
        while streams:
            streams.pop().close()

    logger = Listed(close)

    @tool
    def look(text: str) -> str:
        """Look."""
        return str(echo().invoke(text).content)  # offers the start of a trajectory of its own

    def node(text: str) -> str:
        given_up = GenericFakeChatModel(messages=iter([AIMessage("a b c")])).stream(text)
        assert next(given_up).content == "a"
        streams.append(given_up)
        answer = str(look.invoke({"text": text}))
        assert not streams
        return answer

    with attach(logger):
        assert RunnableLambda(node).invoke("go") == "re: go"
    inner, outer = logger.turns
    assert inner.response == outer.response == "re: go"
    assert [message.content for message in outer.messages] == ["go", "a"]


@pytest.mark.timeout(30)
def test_nobody_waits_for_who_is_at_work() -> None:
    line, begun, go = Line(Guard("the test")), threading.Event(), threading.Event()
    done: list[str] = []

    def first() -> None:
        begun.set()
        go.wait()
        line.do(done.append, "third")
        done.append("first")

    thread = threading.Thread(target=line.do, args=(first,))
    thread.start()
    begun.wait()
    line.do(done.append, "second")
    assert not done
    go.set()
    thread.join()
    assert done == ["first", "second", "third"]


def test_a_job_that_fails_does_not_stop_the_next() -> None:
    guard, done = Guard("the test"), list[str]()
    line = Line(guard)
    line.do(list[str]().remove, "what is not there")
    line.do(done.append, "next")
    assert (guard.failures, done) == (1, ["next"])


def test_a_detach_while_a_run_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = Listed()
    with attach(logger) as attachment:
        answers_to_ask = [attachment.handler]
        monkeypatch.setattr(
            everywhere._in_force, "get", lambda: answers_to_ask.pop() if answers_to_ask else None
        )
        assert echo().invoke("go").content == "re: go"
        assert not answers_to_ask
    assert not logger.values


async def test_a_task_that_outlives_its_run(stored: Stored) -> None:
    questions: asyncio.Queue[tuple[str, asyncio.Future[Any]]] = asyncio.Queue()
    tasks: list[asyncio.Task[None]] = []

    async def work() -> None:
        for _ in range(3):
            question, answer = await questions.get()
            answer.set_result((await echo().ainvoke(question)).content)

    async def ask(question: str) -> Any:
        if not tasks:
            tasks.append(asyncio.create_task(work()))
        answer = asyncio.get_running_loop().create_future()
        questions.put_nowait((question, answer))
        return await answer

    asking = RunnableLambda(ask).with_config(run_name="asking")
    assert await asking.ainvoke("one") == "re: one"
    assert [await ask("two"), await ask("three")] == ["re: two", "re: three"]
    await tasks[0]
    first, *later = await stored()
    assert first["turn"]["messages"] == [user("one"), assistant("re: one")]
    assert [one["turn"]["response"] for one in later] == ["re: two", "re: three"]
    assert [(one["parent"], one["root"], one["status"]) for one in later] == [
        ("asking", "asking", "completed")
    ] * 2


async def test_a_model_in_the_background_does_not_cancel_a_graph(stored: Stored) -> None:
    gate, tasks = asyncio.Event(), list[asyncio.Task[Any]]()

    class Slow(Model):
        async def _agenerate(self, messages: Any, *_: Any, **__: Any) -> Any:
            await gate.wait()
            return self._generate(messages)

    async def node(state: Any) -> Any:
        slow = Slow(answer=lambda _: "a note")
        asks = asyncio.Event()
        tasks.append(asyncio.create_task(asked_for(slow, asks)))
        await asks.wait()
        return {"messages": [await echo().ainvoke(state["messages"])]}

    async def asked_for(slow: Model, asks: asyncio.Event) -> Any:
        asyncio.get_running_loop().call_soon(asks.set)
        return await slow.ainvoke("note it")

    await graph_of("app", node=node).ainvoke({"messages": ["go"]})
    gate.set()
    await asyncio.gather(*tasks)
    [only] = await stored()
    assert (only["status"], only["turn"]["response"]) == ("completed", "re: go")


def test_what_ended_is_not_held() -> None:
    class Inputs(dict[str, Any]):
        pass

    logger = Listed()
    with attach(logger) as attachment:
        inputs = Inputs(input="go")
        held = weakref.ref(inputs)
        chain: Any = RunnableLambda(lambda given: echo().invoke(given["input"]).content)
        chain.invoke(inputs)
        del inputs
        gc.collect()
    assert held() is None
    ended = attachment.handler._runs._ended
    assert len(ended) == 2
    assert sum(isinstance(one, Over) for one in ended.values()) == 1
    for one in ended.values():
        if not isinstance(one, Over):
            assert (one.inputs, one.heard, one.target, one.gathering) == (None, [], None, None)


async def test_the_root_is_that_of_the_running_trajectory(memory: Any) -> None:
    top, middle = uuid4(), uuid4()
    around = {"parent_trajectory_id": top, "root_trajectory_id": top}
    logger = Listed()
    with attach(logger):
        async with memory.trajectory(id=middle, **around):
            await echo().ainvoke("go")
    start = logger.values[0]
    assert isinstance(start, Trajectory)
    assert (start.parent_trajectory_id, start.root_trajectory_id) == (middle, top)


class Application(BaseModel):
    resume: str = ""


async def test_a_field_named_resume_is_no_answer_to_a_pause(stored: Stored) -> None:
    async def ask(_state: Any) -> Any:
        await echo().ainvoke("does she fit?")

    made: Any = StateGraph(Application)
    made.add_node("ask", ask)
    made.add_edge(START, "ask")
    made.add_edge("ask", END)
    await made.compile().ainvoke(Application(resume="ten years"))
    await RunnableLambda(ask).ainvoke(None)
    for one in await stored():
        assert "metadata" not in one["turn"]


class Unreadable:
    """Fails at whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize("way", ["input", "output"])
async def test_what_cannot_be_read_leaves_the_rest(stored: Stored, way: str) -> None:
    given, gives = (Unreadable(), "fine") if way == "input" else ("go", Unreadable())

    async def ask(_given: Any) -> Any:
        await echo().ainvoke("go")
        return gives

    await RunnableLambda(ask).ainvoke(given)
    [only] = await stored()
    assert only["status"] == "completed"
    assert only["turn"]["messages"] == [user("go"), assistant("re: go")]
    assert only["turn"]["prompt"] == "go"


async def test_of_a_chain_that_was_given_up_the_models_are_recorded(
    memory: TrajectoryLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "OPEN_RUNS", 2)
    made = TrajectoryCallbackHandler(memory)
    roots = [uuid4() for _ in range(3)]
    for root in roots:
        made.on_chain_start({}, {"input": "go"}, run_id=root, name="chain")
    model = uuid4()
    made.on_chat_model_start({}, [[HumanMessage("go")]], run_id=model, parent_run_id=roots[0])
    made.on_llm_error(ValueError("x"), run_id=model)
    await memory.flush()
    [only] = await recorded(memory.backend)
    assert (only["turn"]["prompt"], only["status"]) == ("go", "failed")


def test_waiting_calls_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    parsed = answers.parsed

    def noted(text: str) -> Any:
        read.append(text)
        return parsed(text)

    monkeypatch.setattr(answers, "parsed", noted)
    many = 20
    calls = [{"name": "look", "args": {"q": number}, "id": f"c{number}"} for number in range(many)]

    @tool
    def look(q: int) -> int:
        """Look."""
        return q

    def node(_given: Any) -> str:
        said = Model(answer=lambda _: AIMessage("", tool_calls=calls)).invoke("go")
        for call in reversed(said.tool_calls):
            look.invoke(call["args"])
        return "done"

    logger = Listed()
    with attach(logger):
        RunnableLambda(node).invoke("go")
    [turn] = logger.turns
    assert [call.result for call in turn.tool_calls] == [str(number) for number in range(many)]
    assert len(read) == many


def test_tools_are_those_of_the_run() -> None:
    recorder = Recorder(Listed(), {}, Guard("the test"))

    class Tools(list[Any]):
        """While they are compared another thread copies its own."""

        def __eq__(self, other: object) -> bool:
            recorder.tools_as_json(["theirs"])
            return True

        def __ne__(self, other: object) -> bool:
            return not self == other

        __hash__ = None

    recorder.tools_as_json(["ours"])
    assert recorder.tools_as_json(Tools(["ours"])) == ["ours"]
