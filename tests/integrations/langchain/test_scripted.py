"""The scripted program, on the real packages: what is stored of it, compared whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from integrations.langchain.stored import Recorded, assistant, recorded, user
from integrations.troubles import TROUBLES, troubled
from langchain_core.utils.function_calling import convert_to_openai_tool

from benchmarks.scripted import langgraph as scripted
from benchmarks.scripted.langgraph import ANSWERS, PROMPTS
from trajectory import TrajectoryLogger
from trajectory.integrations.langchain import TrajectoryCallbackHandler, attach

ROOT = Path(__file__).parents[3]
AT_ONCE = 50


@pytest.fixture(params=["sqlite", "postgres"])
async def logger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TrajectoryLogger]:
    place: Any = tmp_path / "t.db"
    if request.param == "postgres":
        place = request.getfixturevalue("postgres_url")
    async with TrajectoryLogger(place) as made:
        yield made


def answer(text: str, heard: int, *, calls: bool = False, **fields: Any) -> dict[str, Any]:
    """Give what the model said after so many messages, as it is stored."""
    return assistant(
        text,
        model_name=scripted.MODEL,
        stop_reason="tool_calls" if calls else "stop",
        usage=scripted.usage(heard),
        **fields,
    )


def counted(*heard: int) -> dict[str, Any]:
    """Give the tokens of calls after so many messages each."""
    return {
        "model_name": scripted.MODEL,
        "input_tokens": 10 * sum(heard),
        "output_tokens": 5 * len(heard),
        "cache_read_tokens": sum(heard),
        "reasoning_tokens": 2 * len(heard),
    }


def call(
    called: scripted.Call, heard: int, result: str, *, is_error: bool = False
) -> dict[str, Any]:
    return {
        "tool_name": called.name,
        "arguments": called.arguments,
        "call_id": scripted.call_id(called, heard),
        "message_position": 1,
        "result": result,
        "is_error": is_error,
    }


def told(called: scripted.Call, heard: int, content: str) -> dict[str, Any]:
    return {"role": "tool", "content": content, "call_id": scripted.call_id(called, heard)}


def expected(thread: str) -> Recorded:
    """Give what one conversation is stored as: three runs, the last with two inside of it."""
    support = {
        "agent_name": "support",
        "session_id": thread,
        "status": "completed",
        "system_prompt": scripted.SUPPORT,
        "tools": [
            convert_to_openai_tool(each)
            for each in (scripted.lookup_order, scripted.refund, scripted.transfer_to_billing)
        ],
    }
    inner = {"session_id": thread, "status": "completed", "root": "support"}
    failed = f"It failed: {scripted.REFUND_ERROR}"
    return [
        {
            **support,
            "turn": {
                "prompt": PROMPTS[0],
                "response": ANSWERS[0],
                "stop_reason": "stop",
                **counted(2, 5),
                "messages": [
                    user(PROMPTS[0]),
                    answer("Let me look.", 2, calls=True, reasoning="Two tools will do."),
                    told(scripted.LOOKUP, 2, scripted.LOOKUP_RESULT),
                    told(scripted.REFUND, 2, failed),
                    answer(ANSWERS[0], 5),
                ],
                "tool_calls": [
                    call(scripted.LOOKUP, 2, scripted.LOOKUP_RESULT),
                    call(
                        scripted.REFUND,
                        2,
                        f"RuntimeError: {scripted.REFUND_ERROR}",
                        is_error=True,
                    ),
                ],
            },
        },
        {
            **support,
            "turn": {
                "prompt": PROMPTS[1],
                "response": ANSWERS[1],
                "stop_reason": "stop",
                "streamed": True,
                **counted(7),
                "messages": [user(PROMPTS[1]), answer(ANSWERS[1], 7)],
            },
        },
        {
            **support,
            "turn": {
                "prompt": PROMPTS[2],
                "response": ANSWERS[2],
                **counted(9),
                "messages": [
                    user(PROMPTS[2]),
                    answer("", 9, calls=True),
                    told(scripted.HANDOFF, 9, scripted.TRANSFERRED),
                    assistant(ANSWERS[2]),
                ],
                "tool_calls": [call(scripted.HANDOFF, 9, scripted.TRANSFERRED)],
            },
        },
        {
            **inner,
            "agent_name": "billing",
            "parent": "support",
            "system_prompt": scripted.BILLING,
            "tools": [convert_to_openai_tool(scripted.translate)],
            "metadata": {"langgraph_node": "billing"},
            "turn": {
                "prompt": PROMPTS[2],
                "response": ANSWERS[2],
                "stop_reason": "stop",
                **counted(11, 13),
                "messages": [
                    user(PROMPTS[2]),
                    answer("", 11, calls=True),
                    told(scripted.TRANSLATE, 11, "Invoice"),
                    answer(ANSWERS[2], 13),
                ],
                "tool_calls": [call(scripted.TRANSLATE, 11, "Invoice")],
            },
        },
        {
            **inner,
            "agent_name": "translator",
            "parent": "billing",
            "system_prompt": scripted.TRANSLATOR,
            "metadata": {"tool_name": "translate", "tool_call_id": "translate-11"},
            "turn": {
                "prompt": "Rechnung",
                "response": "Invoice",
                "stop_reason": "stop",
                **counted(2),
                "messages": [user("Rechnung"), answer("Invoice", 2)],
            },
        },
    ]


async def test_what_is_scripted_is_stored(logger: TrajectoryLogger) -> None:
    with attach(logger):
        assert await scripted.program(1) == [list(ANSWERS)]
    await logger.flush()
    assert await recorded(logger.backend) == expected("thread-0")


async def test_a_handler_among_the_callbacks_does_the_same(logger: TrajectoryLogger) -> None:
    handler = TrajectoryCallbackHandler(logger)
    assert await scripted.conversation("mine", callbacks=[handler]) == list(ANSWERS)
    await logger.flush()
    assert await recorded(logger.backend) == expected("mine")
    assert not len(handler._runs)


async def test_fifty_at_once_are_kept_apart(logger: TrajectoryLogger) -> None:
    with attach(logger):
        assert await scripted.at_once(AT_ONCE) == [list(ANSWERS)] * AT_ONCE
    await logger.flush()
    everything = await recorded(logger.backend)
    assert len(everything) == 5 * AT_ONCE
    for number in range(AT_ONCE):
        thread = f"thread-{number}"
        mine = [one for one in everything if one["session_id"] == thread]
        assert mine == expected(thread)


@pytest.mark.parametrize("kind", TROUBLES)
async def test_a_logger_in_trouble_changes_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with troubled(kind, tmp_path, monkeypatch) as trouble:
        with attach(trouble.logger):
            assert await scripted.program(2) == [list(ANSWERS)] * 2
    warnings = [one for one in caplog.records if one.name == "trajectory.guard"]
    if kind == "away":
        assert (trouble.stored, trouble.turns) == (10, 10)  # from the journal
        assert not warnings
    else:
        assert (trouble.stored, trouble.turns) == (0, 0)
        assert len(warnings) == 1
    assert not any(PROMPTS[0] in one.getMessage() for one in caplog.records)


PROGRAM = """
import asyncio, sys
from benchmarks.scripted import langgraph
from trajectory import BackendUnavailableError, LoggerSettings, TrajectoryLogger
from trajectory.integrations.langchain import attach
from trajectory.testing import FailingBackend

async def main():
    broken = FailingBackend(BackendUnavailableError("it is away"))
    logger = await TrajectoryLogger(broken, LoggerSettings(close_timeout_ms=50)).open()
    if sys.argv[1] == "with":
        attach(logger)
    print(await langgraph.program(1))
    await logger.aclose()
    sys.exit(3)

asyncio.run(main())
"""


def test_the_program_ends_as_without_us(tmp_path: Path) -> None:
    ends = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, way],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": ""},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        for way in ("with", "without")
    ]
    assert [end.returncode for end in ends] == [3, 3]
    assert ends[0].stdout == ends[1].stdout
    assert "Your invoice is paid." in ends[0].stdout


BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("langchain_core", "langgraph"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
import trajectory
try:
    import trajectory.integrations.langchain
except trajectory.TrajectoryError as error:
    assert isinstance(error, ImportError)
    print(error)
"""


def test_a_missing_package_is_told_with_its_extra() -> None:
    told = subprocess.run(
        [sys.executable, "-c", BLOCKED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout == (
        'the extra "langchain" is missing, or not whole: the package "langchain_core" is not '
        'installed; run pip install "trajectory-log[langchain]"\n'
    )


def test_nothing_is_loaded_unasked() -> None:
    code = "import sys, trajectory; print([n for n in sys.modules if n.startswith('lang')])"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert loaded.stdout == "[]\n"
