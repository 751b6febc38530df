"""SWE-agent's files: real ones in their variants, one of our own, odd and broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from formats.mutated import check_never_raises
from formats.stored import DAYS, read, read_all, rows_after_two_imports
from recorded import TESTS, Described, described, real

from trajectory.formats import ImportedTrajectory, Problem
from trajectory.models import Role, TrajectoryStatus

CANARY = "CANARY-7f3a"
OURS = TESTS / "fixtures/swe-agent.traj"


def one(*history: Any, **others: Any) -> ImportedTrajectory:
    document = {"history": list(history), **others}
    [imported] = read("swe-agent", json.dumps(document).encode())
    return imported


def said(role: Any, content: Any, **others: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **others}


def call(id_: Any, name: Any = "ls", arguments: Any = "{}") -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize("file", described("swe-agent"))
def test_a_real_task_has_the_described_counts(file: Described) -> None:
    [imported] = read("swe-agent", file.path)
    [turn] = imported.turns
    assert (file.sessions, file.prompts) == (1, 1)
    roles = [message.role for message in turn.messages]
    assert roles.count(Role.ASSISTANT) == file.assistant
    assert roles.count(Role.TOOL) + roles.count(Role.USER) - 1 == file.others["observations"]
    assert len(turn.tool_calls) == file.tool_calls
    assert all(call.result is not None for call in turn.tool_calls)
    assert (turn.input_tokens, turn.output_tokens, turn.cost_usd) == (None, None, None)
    assert turn.token_count is None
    assert "action that the text doesn't hold" not in imported.left_out
    document = json.loads(file.path.read_bytes())
    texts = [message["content"] for message in document["history"]]
    assert [imported.trajectory.system_prompt, *(m.content for m in turn.messages)] == texts
    assert turn.prompt == texts[1]
    status = imported.trajectory.metadata.get("info", {}).get("exit_status")
    assert status == ("submitted" if "info" in document else None)
    assert imported.trajectory.status is TrajectoryStatus.COMPLETED


async def test_real_tasks_are_the_same_rows_in_both_databases_twice(
    tmp_path: Path, postgres_url: str
) -> None:
    urls = [str(tmp_path / "imported.db"), postgres_url]
    files = real("swe-agent").glob("*.traj")
    trajectories, turns = await rows_after_two_imports("swe-agent", files, urls)
    assert (len(trajectories), len(turns)) == (9, 9)
    assert sum(len(turn.tool_calls) for turn in turns) == 27


async def test_our_task_is_the_same_rows_in_both_databases_twice(
    tmp_path: Path, postgres_url: str
) -> None:
    urls = [str(tmp_path / "imported.db"), postgres_url]
    trajectories, [turn] = await rows_after_two_imports("swe-agent", [OURS], urls)
    assert [each.created_at for each in trajectories] == [DAYS[0]]
    assert len(turn.messages) == 5


def test_a_task_is_one_turn_with_all_that_belongs_to_it() -> None:
    [imported] = read("swe-agent", OURS)
    trajectory, [turn] = imported.trajectory, imported.turns
    assert str(trajectory.id) == "b64f68af-e1ca-5382-910b-15b0be7d176b"  # of all versions
    assert (trajectory.spec_id, trajectory.agent_name) == ("shop-1", "swe-agent")
    assert trajectory.system_prompt == "You fix bugs."
    assert trajectory.status is TrajectoryStatus.COMPLETED
    assert trajectory.metadata["environment"] == "swe_main"
    assert trajectory.metadata["info"]["submission"].startswith("diff")
    assert (turn.turn_number, turn.prompt, turn.response) == (1, "Fix  the bug.\r\n", "Hand in.")
    assert turn.model_name == "gpt-4o"
    assert (turn.input_tokens, turn.output_tokens, turn.cost_usd) == (1200, 80, 0.12)
    first, second = turn.tool_calls
    assert (first.tool_name, first.arguments) == ("find_file", '{"name":  "a.py"}')
    assert (first.call_id, first.result, first.message_position) == ("call_1", "/a.py", 1)
    assert (first.latency_ms, second.latency_ms) == (250, 500)
    assert [message.call_id for message in turn.messages] == [None, None, "call_1", None, "call_2"]
    # A thought that the text holds already is not said twice.
    assert [message.reasoning for message in turn.messages] == [
        None, None, None, "The fix is a colon.", None,
    ]  # fmt: skip
    assert imported.left_out == {
        "message of a demonstration": 1,
        "replay_config (but for model and task)": 1,
    }
    assert CANARY not in trajectory.model_dump_json() + turn.model_dump_json()


def test_history_alone_is_enough() -> None:
    imported = one(said("user", "a"), said("assistant", "b\n```\nls\n```", action="ls\n"))
    assert imported.trajectory.status is TrajectoryStatus.COMPLETED
    assert imported.trajectory.metadata == {}
    assert imported.turns[0].tool_calls == ()
    assert imported.left_out == {}
    without = one(said("user", "a"), said("assistant", "b", action="ls"))
    assert without.left_out == {"action that the text doesn't hold": 1}


@pytest.mark.parametrize(
    ("info", "status", "error"),
    [
        ({"exit_status": "submitted (exit_cost)"}, TrajectoryStatus.COMPLETED, None),
        ({"exit_status": "exit_format"}, TrajectoryStatus.FAILED, "exit_format"),
        ({"exit_status": None, "x": 1}, TrajectoryStatus.RUNNING, None),
        ({}, TrajectoryStatus.COMPLETED, None),
        ([], TrajectoryStatus.COMPLETED, None),
    ],
)
def test_how_it_ended(info: Any, status: TrajectoryStatus, error: str | None) -> None:
    trajectory = one(said("user", "a"), info=info).trajectory
    assert (trajectory.status, trajectory.error) == (status, error)


def test_results_find_their_calls() -> None:
    imported = one(
        said("user", "a"),
        said("assistant", "", tool_calls=[call("x"), call("y"), call(7), call("z", None)]),
        said("tool", "both", tool_call_ids=["x", "y"]),
        said("assistant", None, tool_calls=[call("x", "cat", {"p": 1})]),
        said("tool", [{"type": "text", "text": "again"}], tool_call_ids=["x"]),
        said("tool", "lost", tool_call_ids=["q"]),
    )
    [turn] = imported.turns
    assert [(made.tool_name, made.arguments, made.result) for made in turn.tool_calls] == [
        ("ls", "{}", "both"), ("ls", "{}", "both"), ("ls", "{}", None),
        ("cat", '{"p": 1}', "again"),
    ]  # fmt: skip
    assert turn.messages[4].content == [{"type": "text", "text": "again"}]
    assert imported.left_out == {
        "tool call without a name": 1,
        "tool result without its call (kept as a message)": 1,
    }


def test_thinking_blocks_are_reasoning() -> None:
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted"}]
    [turn] = one(said("user", "a"), said("assistant", "b", thinking_blocks=blocks)).turns
    assert turn.messages[1].reasoning == "hm"


def test_what_has_no_place_is_counted_and_never_fatal() -> None:
    imported = one(
        said("user", "a", cache_control={"type": "ephemeral"}),
        said("critic", CANARY),
        said(["x"], CANARY),
        said("assistant", {"odd": 1}),
        docker="x",
        environment=10**30,
        replay_config="[",
        trajectory={"x": 1},
    )
    assert imported.turns[0].messages[1].content == '{"odd": 1}'
    assert imported.left_out == {
        "message key 'cache_control'": 1,
        "message of unknown role 'critic'": 1,
        "message of unknown role (list)": 1,
        "key 'docker'": 1,
        "environment that can't be stored": 1,
        "replay_config (but for model and task)": 1,
    }


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"messages": [CANARY]}, "has no list of `history`"),
        ({"history": [CANARY]}, "history[0] is not an object"),
        ({"history": []}, "has no message of a known role in its `history`"),
        ([CANARY], "is not an object; one JSON object a line is expected"),
    ],
)
def test_what_is_no_task_is_a_problem(document: Any, reason: str) -> None:
    assert read_all("swe-agent", json.dumps(document).encode()) == [Problem(1, reason)]


def test_several_tasks_in_a_stream_and_the_same_twice() -> None:
    document = json.dumps({"history": [said("user", "a")]})
    other = json.dumps({"history": [said("user", "b")]}, indent=1)
    first, second, third = read("swe-agent", f"[{document},{document},\n{other}]".encode())
    assert first.trajectory.id != second.trajectory.id
    assert [each.line for each in (first, second, third)] == [1, 1, 2]
    assert first.trajectory.created_at < second.trajectory.created_at < third.trajectory.created_at
    [again] = read("swe-agent", other.encode())
    assert again.trajectory.id == third.trajectory.id


def test_no_mutation_raises() -> None:
    check_never_raises("swe-agent", [json.loads(OURS.read_text())], as_list=False, seeds=300)
