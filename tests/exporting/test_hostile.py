"""Text that means harm, at every place that an export carries it through, in every format."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from uuid import UUID

import pytest
from exporting.samples import Conversation, fill
from hostile import HOSTILE, obeyed
from typer.testing import CliRunner

from trajectory import Message, Question, ToolCall, Trajectory, Turn, Violation, open_backend
from trajectory.cli import app
from trajectory.formats import exporter_names
from trajectory.testing.samples import NOON

TEXTS = (*HOSTILE, "", "\0", "\ud800", "\udfff\ud800", "\ufffd", "x" * 1024, '{"trajectory":{}}')
"""And what the door cleans, or an export could take for something of its own."""


def conversation(number: int, text: str) -> Conversation:
    """Put a text into every field that takes text."""
    id_ = UUID(int=2**64 + number)
    label = text[:1000]
    trajectory = Trajectory(
        id=id_, spec_id=label, agent_name=label, agent_version=label, run_id=label,
        session_id=label, user_id=label, status="completed", error=text, system_prompt=text,
        tools=[text, {"name": text}], tags=[text], source_format=label, created_at=NOON,
        metadata={"k": text},
    )  # fmt: skip
    turn = Turn(
        trajectory_id=id_, turn_number=1, prompt=text, response=text, created_at=NOON,
        model_name=label, stop_reason=label, error=text, metadata={"k": [text]},
        questions=[Question(question_text=text, effort_level="low", source=label[:255] or "x")],
        violations=[Violation(preference_name=label, severity="minor", expected=text, actual=text)],
        messages=[
            Message(role="user", content=text, reasoning=text, call_id=label),
            Message(role="assistant", content=[{"type": text, "text": text}]),
            Message(role="tool", content=text, call_id=label),
        ],
        tool_calls=[
            ToolCall(tool_name=label, arguments=text, result=text, call_id=label),
        ],
    )  # fmt: skip
    return trajectory, (turn,)


async def _filled(path: Path) -> None:
    backend = open_backend(path)
    await backend.open()
    await fill(backend, [conversation(number, text) for number, text in enumerate(TEXTS)])
    await backend.close()


@pytest.mark.parametrize("format_", exporter_names())
@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
def test_nothing_is_executed_or_written_elsewhere_and_counts_are_right(
    tmp_path: Path, format_: str, split: bool
) -> None:
    asyncio.run(_filled(tmp_path / "t.db"))
    folder = tmp_path / "out"
    folder.mkdir()
    more = ["--split", "user", "--parts", "a=0.5,b=0.5"] if split else []
    command = ["export", format_, "-o", str(folder), "--db", str(tmp_path / "t.db"), *more]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    for text in (ran.stdout, ran.stderr):
        assert obeyed(text) == set()
    assert {path.name for path in tmp_path.iterdir()} == {"t.db", "out"}
    names = {path.name for path in folder.iterdir()}
    [manifest] = folder.glob("*.manifest.json")
    told = json.loads(manifest.read_text())
    assert names == {manifest.name, *(file["name"] for file in told["files"])}
    assert len(told["files"]) == 1 + split
    assert told["counts"] == {
        "trajectories": len(TEXTS),
        "turns": len(TEXTS),
        "messages": 3 * len(TEXTS),
        "tool_calls": len(TEXTS),
        "questions": len(TEXTS),
        "violations": len(TEXTS),
    }
    again = tmp_path / "again"
    again.mkdir()
    CliRunner().invoke(app, [*command[:3], str(again), *command[4:]])
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
