"""`@logger.observe`: what is recorded of functions, and that they stay as they are."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import logging
import threading
import traceback
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from trajectory import (
    InvalidTurnError,
    SyncTrajectoryLogger,
    Trajectory,
    TrajectoryLogger,
    TrajectoryQuery,
    TrajectoryStatus,
    Turn,
    TurnQuery,
    carry,
    current,
    current_turn,
)
from trajectory.backends.memory import MemoryBackend
from trajectory.observed import FUNCTION_KEY, LEFT_OUT_CALLS_KEY, MAX_CALLS

Stored = list[tuple[Trajectory, list[Turn]]]


async def stored(logger: TrajectoryLogger) -> Stored:
    await logger.flush()
    backend = logger.backend
    trajectories = [t async for t in backend.read_trajectories(TrajectoryQuery())]
    return [
        (t, [turn async for turn in backend.read_turns(TurnQuery(ids=(t.id,)))])
        for t in sorted(trajectories, key=lambda t: t.id)
    ]


async def only(logger: TrajectoryLogger) -> tuple[Trajectory, Turn]:
    ((trajectory, (turn,)),) = await stored(logger)
    return trajectory, turn


@pytest.fixture
async def logger() -> AsyncIterator[TrajectoryLogger]:
    async with TrajectoryLogger(MemoryBackend()) as opened:
        yield opened


async def test_an_outermost_call_is_a_trajectory_with_one_turn(logger: TrajectoryLogger) -> None:
    @logger.observe(agent_name="adder", spec_id="S-1", tags=["a"])
    async def add(a: int, b: int, *, why: str = "") -> dict[str, int]:
        """Add."""
        run = current()
        assert run is not None
        running.append(run.id)
        return {"sum": a + b}

    running: list[Any] = []
    assert await add(1, b=2, why="fun") == {"sum": 3}
    assert current() is None
    trajectory, turn = await only(logger)
    assert [trajectory.id] == running
    assert (trajectory.agent_name, trajectory.spec_id, trajectory.tags) == ("adder", "S-1", ["a"])
    assert (trajectory.status, trajectory.error) == ("completed", None)
    assert (trajectory.source_format, trajectory.parent_trajectory_id) == ("observe", None)
    assert trajectory.ended_at is not None
    assert (turn.turn_number, turn.response) == (1, '{"sum":3}')
    assert json.loads(turn.prompt) == {"a": 1, "b": 2, "why": "fun"}
    assert turn.metadata == {FUNCTION_KEY: "add"}
    assert turn.latency_ms is not None


async def test_functions_stay_what_they_are(logger: TrajectoryLogger) -> None:
    def plain(a: int = 1) -> int:
        """Say."""
        return a

    async def coroutine(a: str) -> str:
        return a

    def generator(a: int) -> Iterator[int]:
        yield a

    async def stream(a: int) -> AsyncIterator[int]:
        yield a

    for function in (plain, coroutine, generator, stream):
        observed = logger.observe(function)
        assert observed.__name__ == function.__name__
        assert observed.__qualname__ == function.__qualname__
        assert observed.__doc__ == function.__doc__
        assert inspect.signature(observed) == inspect.signature(function)
        for kind in (
            inspect.iscoroutinefunction,
            inspect.isgeneratorfunction,
            inspect.isasyncgenfunction,
        ):
            assert kind(observed) == kind(function)


async def test_one_text_is_the_prompt_as_it_is(logger: TrajectoryLogger) -> None:
    @logger.observe
    def ask(question: str) -> str:
        return question.upper()

    assert ask("who?") == "WHO?"
    trajectory, turn = await only(logger)
    assert (trajectory.agent_name, turn.prompt, turn.response) == ("ask", "who?", "WHO?")


async def test_an_exception_is_recorded_and_goes_on(logger: TrajectoryLogger) -> None:
    error = ValueError("no")

    @logger.observe
    async def fail() -> None:
        raise error

    with pytest.raises(ValueError, match="no") as caught:
        await fail()
    assert caught.value is error
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert frames[1:] == ["observed", "fail"]
    assert error.__context__ is None
    trajectory, turn = await only(logger)
    assert (trajectory.status, trajectory.error) == ("failed", "ValueError: no")
    assert (turn.error, turn.response) == ("ValueError: no", "")


async def test_a_cancelled_call_is_recorded(logger: TrajectoryLogger) -> None:
    inside = asyncio.Event()

    @logger.observe
    async def wait() -> None:
        turn = current_turn()
        assert turn is not None
        turn.message("assistant", "so far")
        inside.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    trajectory, turn = await only(logger)
    assert (trajectory.status, trajectory.error) == ("cancelled", None)
    assert (turn.error, turn.response) == ("CancelledError", "so far")


async def test_a_call_inside_a_turn_is_a_tool_call(logger: TrajectoryLogger) -> None:
    @logger.observe
    def look(where: str) -> str:
        if where == "outside":
            raise LookupError(where)
        return deeper(where)

    @logger.observe(name="dig")
    def deeper(what: str) -> str:
        return f"{what}!"

    @logger.observe(capture_input=False, capture_output=False)
    def secret(key: str) -> str:
        return key

    @logger.observe
    def nothing() -> None: ...

    @logger.observe
    async def agent(prompt: str) -> str:
        turn = current_turn()
        assert turn is not None
        turn.message("assistant", "Looking.")
        turn.count(input_tokens=4)
        found = look("inside")
        with pytest.raises(LookupError):
            look("outside")
        secret("k")
        nothing()
        return f"{prompt}: {found}"

    assert await agent("p") == "p: inside!"
    _, turn = await only(logger)
    assert (turn.response, turn.input_tokens) == ("p: inside!", 4)
    calls = [(c.tool_name, c.arguments, c.result, c.is_error) for c in turn.tool_calls]
    assert [name.rpartition(".")[2] for name, *_ in calls] == [
        "look",
        "dig",
        "look",
        "secret",
        "nothing",
    ]
    assert [call[1:] for call in calls] == [
        ('{"where":"inside"}', "inside!", False),
        ('{"what":"inside"}', "inside!", False),
        ('{"where":"outside"}', "LookupError: outside", True),
        (None, None, False),
        ("{}", "null", False),
    ]
    assert [c.message_position for c in turn.tool_calls] == [0] * 5


async def test_a_call_inside_a_trajectory_is_a_turn(logger: TrajectoryLogger) -> None:
    @logger.observe(agent_name="not used here")
    async def ask(question: str) -> str:
        return question.upper()

    async with logger.trajectory(agent_name="outer") as run:
        await ask("a")
        await run.log_turn("b", "B")
        await asyncio.gather(ask("c"), ask("d"))
        async with run.turn("e"):
            await ask("tool")
    ((trajectory, turns),) = await stored(logger)
    assert trajectory.agent_name == "outer"
    assert [(t.turn_number, t.prompt) for t in turns] == list(enumerate("abcde", 1))
    assert [len(t.tool_calls) for t in turns] == [0, 0, 0, 0, 1]


async def test_a_child_is_a_trajectory_of_its_own(logger: TrajectoryLogger) -> None:
    @logger.observe(as_child=True, agent_name="inner")
    async def inner(question: str) -> str:
        return question

    @logger.observe(as_child=True, agent_name="middle")
    async def middle(question: str) -> str:
        return await inner(question)

    async with logger.trajectory(agent_name="outer"):
        await middle("q")
    first, second, third = (t for t, _ in await stored(logger))
    assert [t.agent_name for t in (first, second, third)] == ["outer", "middle", "inner"]
    assert (second.parent_trajectory_id, third.parent_trajectory_id) == (first.id, second.id)
    assert (second.root_trajectory_id, third.root_trajectory_id) == (first.id, first.id)


async def test_another_loggers_trajectory_is_the_parent(logger: TrajectoryLogger) -> None:
    @logger.observe
    def ask(question: str) -> str:
        return question

    async with TrajectoryLogger(MemoryBackend()) as other, other.trajectory() as run:
        async with run.turn("p") as turn:
            ask("q")
        assert turn.call_count == 0
        await run.end()
        ask("after its end")
    (first, _), (second, _) = await stored(logger)
    assert (first.parent_trajectory_id, first.root_trajectory_id) == (run.id, run.id)
    assert second.parent_trajectory_id == run.id


async def test_a_stream_is_recorded_when_it_ends(logger: TrajectoryLogger) -> None:
    @logger.observe
    async def stream(prompt: str) -> AsyncIterator[str]:
        for word in prompt.split():
            assert current() is not None
            yield f"{word} "

    heard = []
    async for word in stream("one two three"):
        assert current() is None
        heard.append(word)
        assert (await stored(logger))[0][1] == []
    assert heard == ["one ", "two ", "three "]
    trajectory, turn = await only(logger)
    assert (trajectory.status, turn.response, turn.error) == ("completed", "one two three ", None)


async def test_a_generator_is_driven_as_it_was(logger: TrajectoryLogger) -> None:
    def plain(start: int) -> Generator[int, Any, str]:
        got = []
        for i in range(start, start + 3):
            try:
                got.append((yield i))
            except KeyError as error:
                got.append(f"caught {error.args[0]}")
        return str(got)

    def drive(function: Any) -> Any:
        generator = function(5)
        seen = [next(generator), generator.send("a"), generator.throw(KeyError("k"))]
        try:
            generator.send("z")
        except StopIteration as end:
            return [*seen, end.value]

    expected = drive(plain)
    assert expected == [5, 6, 7, "['a', 'caught k', 'z']"]
    assert drive(logger.observe(plain)) == expected
    _, turn = await only(logger)
    assert turn.response == "[5,6,7]"


async def test_an_async_generator_is_driven_as_it_was(logger: TrajectoryLogger) -> None:
    async def plain(start: int) -> AsyncIterator[Any]:
        got: list[Any] = []
        for i in range(start, start + 2):
            try:
                got.append((yield i))
            except KeyError as error:
                got.append(f"caught {error.args[0]}")
        yield got

    async def drive(function: Any) -> list[Any]:
        generator = function(5)
        seen = [await anext(generator), await generator.asend("a")]
        seen.append(await generator.athrow(KeyError("k")))
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        return seen

    expected = await drive(plain)
    assert expected == [5, 6, ["a", "caught k"]]
    assert await drive(logger.observe(plain)) == expected
    _, turn = await only(logger)
    assert turn.response == '[5,6,["a","caught k"]]'


async def test_an_exception_of_a_stream_is_recorded_and_goes_on(logger: TrajectoryLogger) -> None:
    @logger.observe
    async def stream() -> AsyncIterator[str]:
        yield "part"
        raise ValueError("broken")

    @logger.observe
    def generator() -> Iterator[str]:
        yield "part"
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        [word async for word in stream()]
    with pytest.raises(ValueError, match="broken"):
        list(generator())
    for trajectory, (turn,) in await stored(logger):
        assert (trajectory.status, turn.response) == ("failed", "part")
        assert turn.error == "ValueError: broken"


async def test_abandoned_streams_are_recorded(logger: TrajectoryLogger) -> None:
    closed = []

    @logger.observe
    async def stream(name: str) -> AsyncIterator[str]:
        try:
            yield name
            yield "never read"
        finally:
            await asyncio.sleep(0)
            closed.append(name)

    @logger.observe
    def generator(name: str) -> Iterator[str]:
        try:
            yield name
            yield "never read"
        finally:
            closed.append(name)

    reading = stream("closed")
    assert await anext(reading) == "closed"
    await reading.aclose()  # type: ignore[attr-defined]

    async for _ in stream("left"):
        break
    gc.collect()
    for _ in range(10):
        await asyncio.sleep(0)

    for _ in generator("broken off"):
        break
    gc.collect()
    never = stream("never begun")
    del never

    assert closed == ["closed", "left", "broken off"]
    for (trajectory, (turn,)), name in zip(await stored(logger), closed, strict=True):
        assert (trajectory.status, trajectory.error) == ("cancelled", None)
        assert (turn.prompt, turn.response) == (name, name)
        assert turn.error == "GeneratorExit: whoever read the stream left before its end"


def test_a_stream_that_is_open_at_the_loops_end_is_closed_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    closed: list[str] = []
    logger = SyncTrajectoryLogger(MemoryBackend())

    @logger.observe
    async def stream() -> AsyncIterator[str]:
        try:
            yield "a"
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            closed.append("a")

    kept = []

    async def leave() -> None:
        reading = stream()
        kept.append(reading)
        await anext(reading)

    with logger:
        asyncio.run(leave())
        assert closed == ["a"]
        assert caplog.records == []
        report = logger.flush()
    assert report.stored == 1


async def test_methods_are_observed_without_their_self(logger: TrajectoryLogger) -> None:
    class Agent:
        @logger.observe
        def say(self, text: str) -> str:
            return text

        @classmethod
        @logger.observe
        def make(cls, text: str) -> str:
            return cls.__name__ + text

        @logger.observe
        @classmethod
        def other(cls, text: str) -> str:
            return cls.__name__ + text

        @staticmethod
        @logger.observe
        def plain(text: str) -> str:
            return text

    assert (Agent().say("a"), Agent.make("b"), Agent.other("c")) == ("a", "Agentb", "Agentc")
    assert Agent.plain("d") == "d"
    found = await stored(logger)
    assert [turn.prompt for _, (turn,) in found] == ["a", "b", "c", "d"]
    assert [t.agent_name for t, _ in found] == [
        "Agent.say",
        "Agent.make",
        "Agent.other",
        "Agent.plain",
    ]


async def test_what_is_recorded_can_be_said(logger: TrajectoryLogger) -> None:
    @logger.observe(
        name="chosen",
        prompt=lambda messages, **_: messages[-1]["content"],
        response=lambda reply: reply["text"],
    )
    def ask(messages: list[dict[str, str]], temperature: float) -> dict[str, Any]:
        return {"text": "fine", "raw": object(), "temperature": temperature, "n": len(messages)}

    @logger.observe(response=len)
    def words() -> Iterator[object]:
        yield object()
        yield "b"

    @logger.observe(capture_input=False, capture_output=False)
    def secret(key: str) -> str:
        if key == "bad":
            raise ValueError(key)
        return key

    ask([{"content": "how?"}], temperature=0.5)
    list(words())
    secret("k")
    with pytest.raises(ValueError, match="bad"):
        secret("bad")
    found = await stored(logger)
    assert [(turn.prompt, turn.response) for _, (turn,) in found] == [
        ("how?", "fine"),
        ("{}", "2"),
        ("", ""),
        ("", ""),
    ]
    assert found[0][0].agent_name == "chosen"
    assert (found[3][0].error, found[3][1][0].error) == ("ValueError", "ValueError")


async def test_the_response_that_the_body_sets_stays(logger: TrajectoryLogger) -> None:
    @logger.observe
    def ask() -> str:
        turn = current_turn()
        assert turn is not None
        turn.response = "set"
        return "returned"

    @logger.observe
    def act() -> None:
        turn = current_turn()
        assert turn is not None
        turn.message("assistant", "said")

    ask()
    act()
    assert [turn.response for _, (turn,) in await stored(logger)] == ["set", "said"]


async def test_threads_and_executors(logger: TrajectoryLogger) -> None:
    @logger.observe
    def work(what: str) -> str:
        return what.upper()

    def through() -> list[str]:
        with ThreadPoolExecutor(4) as pool:
            return sorted(pool.map(carry(work), ["a", "b", "c", "d"]))

    loop = asyncio.get_running_loop()
    async with logger.trajectory() as run:
        assert await asyncio.to_thread(work, "x") == "X"
        assert await loop.run_in_executor(None, carry(through)) == ["A", "B", "C", "D"]
        async with run.turn("with tools") as turn:
            await loop.run_in_executor(None, carry(through))
            await loop.run_in_executor(None, carry(work), "e")
            await loop.run_in_executor(None, work, "alone")
    (trajectory, turns), (alone, (only_turn,)) = await stored(logger)
    assert trajectory.id == run.id
    assert [t.turn_number for t in turns] == list(range(1, len(turns) + 1))
    assert {t.prompt for t in turns} == {"x", "a", "b", "c", "d", "with tools"}
    assert sorted(c.result or "" for c in turns[-1].tool_calls) == ["A", "B", "C", "D", "E"]
    assert turn.call_count == 5
    assert (alone.parent_trajectory_id, only_turn.prompt) == (None, "alone")


def test_programs_without_a_loop(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    logger = SyncTrajectoryLogger(path)

    @logger.observe
    def look(where: str) -> str:
        return where

    @logger.observe
    def agent(prompt: str) -> str:
        return look(prompt)

    with logger:
        agent("alone")
        with logger.trajectory(agent_name="outer") as run:
            agent("first")
            with run.turn("second"):
                look("inside")
            run.log_turn("third", "r")
            thread = threading.Thread(target=carry(agent), args=("fourth",))
            thread.start()
            thread.join()

    async def read() -> Stored:
        async with TrajectoryLogger(path) as reader:
            return await stored(reader)

    (alone, (turn,)), (outer, turns) = asyncio.run(read())
    assert (alone.agent_name, alone.status) == ("agent", TrajectoryStatus.COMPLETED)
    assert [c.result for c in turn.tool_calls] == ["alone"]
    assert (outer.agent_name, outer.status) == ("outer", TrajectoryStatus.COMPLETED)
    assert [t.prompt for t in turns] == ["first", "second", "third", "fourth"]
    assert [[c.result for c in t.tool_calls] for t in turns] == [
        ["first"],
        ["inside"],
        [],
        ["fourth"],
    ]


def test_a_failure_of_ours_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    logger = TrajectoryLogger(MemoryBackend())

    @logger.observe(response=lambda _: 1 / 0)
    def add(a: int, b: int) -> int:
        return a + b

    @logger.observe(prompt=lambda *_: 1 / 0)
    def stream() -> Iterator[int]:
        yield from (1, 2)

    with caplog.at_level(logging.WARNING):
        assert [add(1, 2), add(3, 4)] == [3, 7]
        assert [*stream(), *stream()] == [1, 2, 1, 2]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3
    assert "the trajectory logger failed" in told[0]
    assert "not open" in told[0]
    assert "observing add failed" in told[1]
    assert "ZeroDivisionError" in told[1]
    assert "observing stream failed" in told[2]


async def test_what_cannot_be_observed_is_refused(logger: TrajectoryLogger) -> None:
    with pytest.raises(InvalidTurnError, match="functions and methods"):
        logger.observe(str)
    with pytest.raises(InvalidTurnError, match="functions and methods"):
        logger.observe(7)  # type: ignore[call-overload]
    with pytest.raises(InvalidTurnError, match="not a field"):
        logger.observe(nonsense=1)
    with pytest.raises(InvalidTurnError, match="status"):
        logger.observe(status="failed")


async def test_hostile_arguments_do_no_harm(logger: TrajectoryLogger) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    @logger.observe
    def take(*args: Any, **kwargs: Any) -> Any:
        return args[0] if args else kwargs

    odd = [Odd(), b"\xff", float("nan"), 10**5000, "\ud800\0", {1: Odd()}, uuid4(), [[[[]]]] * 3]
    for value in odd:
        assert take(value, other=value) is value
    take()
    found = await stored(logger)
    assert len(found) == len(odd) + 1
    assert all(len(turns) == 1 for _, turns in found)
    with pytest.raises(TypeError):
        logger.observe(lambda a: a)()  # type: ignore[call-arg]


async def test_endless_calls_are_bounded(logger: TrajectoryLogger) -> None:
    @logger.observe
    def step(_i: int) -> None: ...

    async with logger.trajectory() as run, run.turn("p") as turn:
        for i in range(MAX_CALLS + 3):
            step(i)
    assert turn.call_count == MAX_CALLS
    assert turn.logged is not None
    assert turn.logged.metadata == {LEFT_OUT_CALLS_KEY: 3}


async def test_what_outlives_its_trajectory_is_one_of_its_own(logger: TrajectoryLogger) -> None:
    go = asyncio.Event()

    @logger.observe
    async def late() -> str:
        await go.wait()
        return await deeper()

    @logger.observe
    async def deeper() -> str:
        return "r"

    @logger.observe
    async def agent() -> asyncio.Task[str]:
        return asyncio.create_task(late())

    async with logger.trajectory() as run:
        task = await agent()
        async with run.turn("p") as turn:
            in_turn = asyncio.create_task(deeper())
        await in_turn
    go.set()
    await task
    found = await stored(logger)
    assert turn.call_count == 0
    assert [(t.parent_trajectory_id, len(turns)) for t, turns in found] == [
        (None, 4),
        (run.id, 1),
    ]
