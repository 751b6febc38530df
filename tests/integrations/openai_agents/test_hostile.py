"""Spans that hold anything: something is stored, nothing raises, and the next trace is whole."""

from __future__ import annotations

import random
from typing import Any

import agents
import pytest
from agents.tracing import (
    agent_span,
    custom_span,
    function_span,
    generation_span,
    guardrail_span,
    handoff_span,
    mcp_tools_span,
    response_span,
    trace,
)
from integrations.openai_agents.telling import stored

from benchmarks.scripted.openai_agents import Call, Reply, attached, response_of
from trajectory import ConfigurationError, LoggerSettings, TrajectoryLogger
from trajectory.integrations.openai_agents import TrajectoryProcessor, TrajectorySession


class Awkward:
    """Fails at whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __iter__ = __eq__ = __hash__ = __str__  # type: ignore[assignment]


def deep(levels: int) -> Any:
    found: Any = "x"
    for _ in range(levels):
        found = [found]
    return found


ODD: list[Any] = [
    None,
    True,
    -1,
    10**400,
    float("nan"),
    1.5,
    "",
    "\0\ud800\x1b[31m\u202e",
    "x" * 5000,
    b"\xff",
    [],
    [None],
    {},
    {"type": 1, "role": [], "content": {"text": 1}},
    {1: 2, None: 3},
    deep(500),
    object(),
    Awkward(),
    {"role": "user", "content": Awkward()},
    [{"role": "assistant", "content": [Awkward(), 1], "tool_calls": [Awkward(), 7, {}]}],
]


def good_input() -> list[Any]:
    return [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"text": "o"}]},
    ]


def chat_output() -> list[Any]:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return [{"role": "assistant", "content": "ho", "reasoning": "hm", "tool_calls": [call]}]


def usage() -> dict[str, Any]:
    return {"input_tokens": 1, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 1}}


def spoil(value: Any, chance: random.Random) -> Any:
    """Put something odd at a place in a value."""
    if chance.random() < 0.25 or not isinstance(value, dict | list) or not value:
        return chance.choice(ODD)
    if isinstance(value, dict):
        key = chance.choice(list(value))
        return {**value, key: spoil(value[key], chance)}
    at = chance.randrange(len(value))
    return [*value[:at], spoil(value[at], chance), *value[at + 1 :]]


def one_trace(chance: random.Random | None) -> None:
    """Emit the spans of a trace as the SDK does, a few of them spoilt."""

    def maybe(value: Any) -> Any:
        return value if chance is None or chance.random() > 0.3 else spoil(value, chance)

    with trace("t", group_id=maybe("g"), metadata=maybe({"user_id": "u"})):
        with agent_span(maybe("a"), tools=maybe(["f"])) as agent:
            with generation_span(
                input=maybe(good_input()),
                output=maybe(chat_output()),
                model=maybe("m"),
                usage=maybe(usage()),
            ):
                pass
            with function_span(maybe("f"), input=maybe("{}"), output=maybe("o")) as function:
                function.set_error(maybe({"message": "m", "data": {"error": "e"}}))
                function.span_data.mcp_data = maybe({"server": "s"})
            with response_span() as response:
                response.span_data.input = maybe(good_input())
                response.span_data.usage = maybe(usage())
                calls = (Call("g", "{}"), Call("h", "{}"))
                response.span_data.response = maybe(response_of(Reply("hey", calls, "hm"), []))
            for kind, data in (
                (custom_span, ("c", {"x": 1})),
                (guardrail_span, ("g", True)),
                (handoff_span, ("a", "b")),
                (mcp_tools_span, ("s", ["t"])),
            ):
                with kind(*map(maybe, data)):
                    pass
            agent.set_error(maybe({"message": "m", "data": None}))


@pytest.mark.parametrize("seed", range(20))
async def test_spoilt_spans(seed: int) -> None:
    chance = random.Random(seed)
    async with TrajectoryLogger("memory://", LoggerSettings(channel_capacity=1000)) as logger:
        processor = TrajectoryProcessor(logger)
        agents.set_trace_processors([processor])
        for _ in range(40):
            one_trace(chance)
        assert not processor._live
        one_trace(None)
        await logger.flush()
        rows = await stored(logger.backend)
        # Each is stored as far as it goes, the good one after them whole.
        assert len(rows) == 41
        assert sum(len(turns) for _, turns in rows) == 41
        last, (turn,) = rows[-1]
        assert (last.agent_name, last.session_id, last.user_id) == ("a", "g", "u")
        assert (turn.prompt, turn.response) == ("hi", "hey")
        assert [call.tool_name for call in turn.tool_calls] == ["f", "g", "h"]


async def test_calls_that_are_no_calls(memory: TrajectoryLogger) -> None:
    processor = TrajectoryProcessor(memory)
    agents.set_trace_processors([processor])
    odd: Any
    for odd in (None, object(), Awkward(), 1):
        processor.on_trace_start(odd)
        processor.on_span_start(odd)
        processor.on_span_end(odd)
        processor.on_trace_end(odd)
    one_trace(None)
    await memory.flush()
    assert len(await stored(memory.backend)) == 1


async def test_long_names_are_cut_and_long_texts_kept(memory: TrajectoryLogger) -> None:
    text = "é" * 1_000_000
    with attached(memory), trace("x" * 5000, group_id="é" * 5000), agent_span("ü" * 5000):
        with generation_span(
            input=[{"role": "user", "content": text}],
            output=[{"role": "assistant", "content": text}],
            model="m" * 5000,
        ):
            pass
        with function_span("f" * 5000, input="i", output="o"):
            pass
    await memory.flush()
    ((trajectory, (turn,)),) = await stored(memory.backend)
    assert (trajectory.agent_name, trajectory.session_id) == ("ü" * 512, "é" * 512)
    assert (turn.prompt, turn.response) == (text, text)
    assert len(turn.tool_calls[0].tool_name) <= 1024


@pytest.mark.parametrize("wrong", ["w.db", None, TrajectoryLogger])
def test_what_is_no_logger_is_refused(wrong: Any) -> None:
    name = type(wrong).__name__
    with pytest.raises(ConfigurationError, match=f"give a TrajectoryLogger, not a {name}"):
        TrajectoryProcessor(wrong)
    with pytest.raises(ConfigurationError, match="give a TrajectoryLogger or a StorageBackend"):
        TrajectorySession("s", wrong)


async def test_a_model_without_a_span_is_told_once(
    memory: TrajectoryLogger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trajectory.integrations.openai_agents.live._told", set())
    with attached(memory):
        for _ in range(2):
            with agents.trace("t"), agents.agent_span("mute"):
                pass
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert "opens no generation or response span" in told[0]
