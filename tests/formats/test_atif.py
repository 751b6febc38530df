"""ATIF in: real documents, one of our own, odd and broken ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from formats.growth import check_grows_with_its_input
from formats.mutated import check_never_raises
from formats.stored import DAYS, read, read_all, rows_after_two_imports
from formats.written import written
from recorded import TESTS, Described, described, real

from trajectory import Message, Role, ToolCall, Trajectory, TrajectoryStatus, Turn
from trajectory.formats import ImportedTrajectory, Problem, importer_names
from trajectory.formats.atif_rules import VERSIONS, broken_rules
from trajectory.ids import derived_id
from trajectory.testing.samples import full_trajectory, full_turn

CANARY = "CANARY-7f3a"
OURS = TESTS / "fixtures/atif.json"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def document(*steps: Any, **others: Any) -> dict[str, Any]:
    agent = {"name": "a", "version": "1"}
    return {"schema_version": "ATIF-v1.8", "agent": agent, "steps": list(steps), **others}


def step(source: Any, message: Any = "m", **others: Any) -> dict[str, Any]:
    return {"step_id": 1, "source": source, "message": message, **others}


def call(id_: Any, name: Any = "ls", **others: Any) -> dict[str, Any]:
    return {"tool_call_id": id_, "function_name": name, "arguments": {}, **others}


def one(*steps: Any, **others: Any) -> ImportedTrajectory:
    [imported] = read("atif", json.dumps(document(*steps, **others)).encode())
    return imported


def seen(*results: Any) -> dict[str, Any]:
    return {"results": list(results)}


def test_it_is_found_by_name() -> None:
    assert "atif" in importer_names()


@pytest.mark.parametrize("file", described("atif"))
def test_a_real_document_has_the_described_counts(file: Described) -> None:
    [imported] = read("atif", file.path)
    assert (file.sessions, file.prompts) == (1, len(imported.turns))
    messages = [message for turn in imported.turns for message in turn.messages]
    calls = [call for turn in imported.turns for call in turn.tool_calls]
    roles = [message.role for message in messages]
    assert roles.count(Role.ASSISTANT) == file.assistant
    assert len(calls) == file.tool_calls
    assert all(call.result is not None for call in calls)
    system = roles.count(Role.SYSTEM) + (imported.trajectory.system_prompt is not None)
    assert system == file.others.get("system_steps", 0)
    steps = len(messages) - roles.count(Role.TOOL) + (imported.trajectory.system_prompt is not None)
    assert steps == file.others["steps"]
    assert not file.tokens
    assert all(turn.input_tokens is None for turn in imported.turns)
    kept = imported.trajectory.metadata["atif"]
    total = kept.get("final_metrics", {}).get("total_steps")
    assert total == file.others.get("final_total_steps")
    assert imported.left_out == {}
    given = json.loads(file.path.read_bytes())
    assert broken_rules(given) == []
    said = {"user": Role.USER, "agent": Role.ASSISTANT, "system": Role.SYSTEM}
    assert [
        (said[each["source"]], each["message"])
        for each in given["steps"]
        if each["message"] != imported.trajectory.system_prompt
    ] == [(each.role, each.content) for each in messages if each.role is not Role.TOOL]


async def test_real_documents_are_the_same_rows_in_both_databases_twice(
    tmp_path: Path, postgres_url: str
) -> None:
    urls = [str(tmp_path / "imported.db"), postgres_url]
    files = list(real("atif").glob("*/*.json"))
    trajectories, turns = await rows_after_two_imports("atif", files, urls)
    assert (len(trajectories), len(turns)) == (5, 5)
    assert sum(len(turn.tool_calls) for turn in turns) == 8


def test_a_real_document_with_reasoning_and_metrics() -> None:
    [imported] = read("atif", real("atif/openagents/login-trace.trajectory.json"))
    trajectory, [turn] = imported.trajectory, imported.turns
    assert (trajectory.agent_name, trajectory.session_id) == ("openagents-qa-runner", "login-trace")
    assert turn.model_name == "openagents/khala"
    assert turn.cost_usd == 0
    assert turn.response == "Goal verified. Marking the session complete."
    assert turn.messages[1].reasoning is not None
    assert trajectory.metadata["atif"]["final_metrics"]["extra"]["verdict"] == "PASS"
    assert trajectory.ended_at == datetime(2026, 6, 24, 14, 39, 56, 191000, UTC)


async def test_our_document_is_the_same_rows_in_both_databases_twice(
    tmp_path: Path, postgres_url: str
) -> None:
    urls = [str(tmp_path / "imported.db"), postgres_url]
    trajectories, turns = await rows_after_two_imports("atif", [OURS], urls)
    assert (len(trajectories), len(turns)) == (2, 3)


def test_everything_lands_where_a_person_looks_for_it() -> None:
    assert broken_rules(json.loads(OURS.read_bytes())) == []
    parent, child = read("atif", OURS)
    trajectory, (first, second) = parent.trajectory, parent.turns
    assert str(trajectory.id) == "03bc5fd8-3838-5a0e-aec7-c9659eef9f5d"  # of all versions
    assert (trajectory.agent_name, trajectory.agent_version) == ("shop-agent", "2.1")
    assert (trajectory.session_id, trajectory.source_format) == ("run-7", "atif")
    assert trajectory.status is TrajectoryStatus.COMPLETED
    assert trajectory.system_prompt == "You help in a shop."
    assert trajectory.tools[0]["function"]["name"] == "find"
    assert trajectory.created_at == datetime(2026, 2, 1, tzinfo=UTC)  # a date alone is midnight
    assert trajectory.ended_at == datetime(2026, 2, 1, 9, 0, 2, tzinfo=UTC)
    assert trajectory.metadata == {
        "atif": {
            "schema_version": "ATIF-v1.8",
            "trajectory_id": "main",
            "agent": {"temperature": 0.2},
            "notes": "Made for tests.",
            "final_metrics": json.loads(OURS.read_bytes())["final_metrics"],
            "continued_trajectory_ref": "main-2.json",
            "extra": {"shop": "S1"},
        }
    }
    assert (first.turn_number, first.prompt, first.response) == (1, "Do you have tea?", "We have.")
    assert (first.is_copied_context, first.model_name) == (True, "small-1")
    assert first.created_at == datetime(2026, 2, 1, 8, 0, 1, tzinfo=UTC)
    assert (second.turn_number, second.prompt) == (2, "Find this.")
    assert (second.response, second.model_name) == ("Three cups.", "large-1")
    assert second.is_copied_context is None
    assert (second.input_tokens, second.output_tokens, second.cache_read_tokens) == (230, 25, 60)
    assert second.cost_usd == 0.75
    assert [message.role.value for message in second.messages] == [
        "user", "assistant", "tool", "tool", "system", "tool", "assistant",
    ]  # fmt: skip
    asked = second.messages[1]
    assert (asked.content, asked.reasoning) == ("", "A cup. Two searches.")
    assert (asked.token_ids, asked.logprobs) == ([3, 4], [-0.5, -1])
    assert asked.usage == {
        "prompt_tokens": 100, "completion_tokens": 20, "cached_tokens": 60, "cost_usd": 0.25,
        "prompt_token_ids": [1, 2], "extra": {"ttft": 0.1},
    }  # fmt: skip
    find, delegate = second.tool_calls
    assert (find.tool_name, find.call_id, find.message_position) == ("find", "c1", 1)
    assert (find.arguments, find.result) == ('{"text": "cup", "größe": 1.0}', "3 cups")
    assert (delegate.arguments, delegate.result) == ("{}", None)
    assert [message.call_id for message in second.messages] == [
        None, None, "c2", "c1", None, None, None,
    ]  # fmt: skip
    assert first.metadata == {"atif": {"steps": [{"step_id": 3, "llm_call_count": 1}]}}
    [kept] = second.metadata["atif"]["steps"]
    assert kept == {
        "step_id": 5,
        "reasoning_effort": "high",
        "tool_calls": [{"tool_call_id": "c1", "extra": {"retries": 1}}],
        "results": [
            {"source_call_id": "c2", "subagent_trajectory_ref": [{"trajectory_id": "sub"}]},
            {"source_call_id": "c1", "extra": {"score": 0.5}},
        ],
    }
    assert child.trajectory.parent_trajectory_id == trajectory.id
    assert child.trajectory.root_trajectory_id == trajectory.id
    assert (child.turns[0].prompt, child.turns[0].response) == ("Look again.", "Still three.")
    assert (parent.left_out, child.left_out) == ({}, {})


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_is_read(version: str) -> None:
    imported = one(step("user"), schema_version=version)
    assert imported.left_out == {}
    assert imported.trajectory.metadata["atif"]["schema_version"] == version


def test_a_newer_version_is_read_and_what_is_not_known_is_counted() -> None:
    imported = one(
        step("user", mood="good"),
        step("agent", "b", tool_calls=[call("x", safe=True)], metrics={"energy": 3, "cost_usd": 1}),
        step("judge", CANARY),
        schema_version="ATIF-v3.0\x1b[31m",
        agent={"name": "a", "team": "t"},
        chapters=[1],
        empty=[],
    )
    [turn] = imported.turns
    assert (turn.response, turn.cost_usd, len(turn.tool_calls)) == ("b", 1, 1)
    assert turn.messages[1].usage == {"energy": 3, "cost_usd": 1}
    assert imported.left_out == {
        "schema_version 'ATIF-v3.0\\x1b[31m' (read as ATIF-v1.8)": 1,
        "step key 'mood'": 1,
        "tool call key 'safe'": 1,
        "step of unknown source 'judge'": 1,
        "agent key 'team'": 1,
        "key 'chapters'": 1,
    }


def test_what_is_of_a_wrong_kind_is_counted_and_never_fatal() -> None:
    imported = one(
        7,
        step("user", {"odd": 1}, timestamp=1767225600, is_copied_context="yes"),
        step(
            "agent",
            "b",
            metrics={"prompt_tokens": -1, "completion_tokens": "7", "cost_usd": 10**400},
            tool_calls=[call(["x"]), call("y", None), 5],
            observation=seen(3, {"source_call_id": "q", "content": "lost"}),
        ),
        agent=[],
        final_metrics=3,
        session_id={},
    )
    [turn] = imported.turns
    assert (turn.prompt, turn.response, turn.input_tokens) == ("", "b", None)
    assert [(made.tool_name, made.call_id) for made in turn.tool_calls] == [("ls", None)]
    assert turn.messages[2].content == "lost"
    assert imported.left_out == {
        "step that is no object": 1,
        "step message of a wrong kind": 1,
        "step timestamp of a wrong kind": 1,
        "step is_copied_context of a wrong kind": 1,
        "metrics prompt_tokens of a wrong kind": 1,
        "metrics completion_tokens of a wrong kind": 1,
        "metrics cost_usd of a wrong kind": 1,
        "metrics that can't be stored": 1,
        "tool call tool_call_id of a wrong kind": 1,
        "tool call without a name": 2,
        "result that is no object": 1,
        "tool result without its call (kept as a message)": 1,
        "agent of a wrong kind": 1,
        "final_metrics of a wrong kind": 1,
        "session_id of a wrong kind": 1,
    }


def test_steps_before_the_first_prompt() -> None:
    imported = one(step("system", "a"), step("system", "b"), step("agent", "c"), step("user", "d"))
    assert imported.trajectory.system_prompt == "a\n\nb"
    assert [(turn.turn_number, turn.prompt, turn.response) for turn in imported.turns] == [
        (0, "", "c"),
        (1, "d", ""),
    ]
    only = one(step("system", "a", extra={"k": 1}))
    assert (only.trajectory.system_prompt, only.turns) == ("a", ())
    assert only.trajectory.metadata["atif"]["steps"] == [{"step_id": 1, "extra": {"k": 1}}]


def test_results_find_their_calls_also_in_later_steps_and_with_ids_used_twice() -> None:
    imported = one(
        step("user"),
        step("agent", tool_calls=[call("x", "a"), call("x", "b")],
             observation=seen({"source_call_id": "x", "content": "1"})),
        step("agent", tool_calls=[call("x", "c")]),
        step("user", observation=seen({"source_call_id": "x", "content": "2"},
                                      {"source_call_id": "x", "content": [
                                          {"type": "text", "text": "3"}]})),
    )  # fmt: skip
    first, _ = imported.turns
    assert [(made.tool_name, made.result) for made in first.tool_calls] == [
        ("a", "1"),
        ("b", "3"),
        ("c", "2"),
    ]
    assert imported.left_out == {}


def test_mixed_copies_are_counted() -> None:
    imported = one(step("user", is_copied_context=True), step("agent"))
    assert imported.turns[0].is_copied_context is None
    assert imported.left_out == {"is_copied_context of some steps of a turn": 1}


def test_tokens_of_wrong_size_are_not_in_the_turn() -> None:
    steps = [step("agent", metrics={"prompt_tokens": 2**62, "completion_tokens": 1})] * 3
    [turn] = one(step("user"), *steps).turns
    assert (turn.input_tokens, turn.output_tokens) == (None, 3)


def test_ids_come_from_names_or_from_the_content() -> None:
    named = document(step("user"), session_id="s", trajectory_id="t")
    grown = document(step("user"), step("user"), session_id="s", trajectory_id="t")
    plain = document(step("user"), session_id="s")
    data = b"\n".join(json.dumps(each).encode() for each in (named, plain, plain, named))
    ids = [each.trajectory.id for each in read("atif", data)]
    assert len(set(ids)) == 4
    assert [each.trajectory.id for each in read("atif", data, DAYS[1])] == ids
    [again] = read("atif", json.dumps(grown).encode())
    assert again.trajectory.id == ids[0]
    [other] = read("atif", json.dumps({**named, "session_id": "other"}).encode())
    assert other.trajectory.id not in ids


def test_a_list_and_documents_over_many_lines() -> None:
    documents = [document(step("user", text)) for text in "ab"]
    for data in (json.dumps(documents), json.dumps(documents, indent=1)):
        found = read("atif", data.encode())
        assert [each.turns[0].prompt for each in found] == ["a", "b"]
        assert found[0].trajectory.created_at < found[1].trajectory.created_at
    assert [each.line for each in found] == [2, 16]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"messages": [CANARY]}, "has no list of `steps`"),
        ({"steps": CANARY}, "has no list of `steps`"),
        ([CANARY], "is not an object; one JSON object a line is expected"),
    ],
)
def test_what_is_no_document_is_a_problem(given: Any, reason: str) -> None:
    assert read_all("atif", json.dumps(given).encode()) == [Problem(1, reason)]


def test_a_broken_child_leaves_its_parent_and_siblings_alone() -> None:
    fine = document(step("user"), trajectory_id="x", subagent_trajectories=[document(step("user"))])
    parent = document(step("user"), subagent_trajectories=[5, {"steps": CANARY}, fine, fine])
    first, not_one, no_steps, *others = read_all("atif", json.dumps(parent).encode())
    assert not_one == Problem(1, "subagent_trajectories[0] is not an object")
    assert no_steps == Problem(1, "subagent_trajectories[1] has no list of `steps`")
    assert isinstance(first, ImportedTrajectory)
    trajectories = [each.trajectory for each in others if isinstance(each, ImportedTrajectory)]
    assert len({each.id for each in trajectories}) == 4
    child, grandchild = trajectories[:2]
    assert child.parent_trajectory_id == first.trajectory.id
    assert grandchild.parent_trajectory_id == child.id
    assert grandchild.root_trajectory_id == first.trajectory.id


def test_children_nested_too_deep_are_a_problem() -> None:
    text = '{"steps":[],"subagent_trajectories":[' * 5000 + "]}" * 5000
    assert read_all("atif", text.encode()) == [Problem(1, "nests too deep")]


@pytest.mark.parametrize(
    "mark",
    [
        {"turn_number": "1"},
        {"turn_number": True},
        {"turn_number": 0},
        {"turn_number": -(10**30)},
        {"turn_number": 10**30},
        {"turn_number": 2, "mood": 1},
        {"turn_number": 2, "trajectory_id": str(derived_id("x"))},
        {"turn_number": 2, "messages": {"9": {}}},
        {"turn_number": 2, "messages": {"-1": {}}},
        {"turn_number": 2, "messages": {"\u0663": {}}},
        {"turn_number": 2, "messages": {"9" * 10_000: {}}},
        {"turn_number": 2, "messages": {"0": {"role": CANARY}}},
        {"turn_number": 2, "reward": CANARY},
        7,
    ],
    ids=lambda mark: json.dumps(mark)[:60],
)
def test_a_forged_mark_is_a_problem(mark: Any) -> None:
    forged = document(
        step("user", extra={"trajectory": {"turn_number": 1}}),
        step("user", extra={"trajectory": mark}),
        extra={"trajectory": {"id": str(derived_id("x"))}},
    )
    [problem] = read_all("atif", json.dumps(forged).encode())
    assert isinstance(problem, Problem)
    assert CANARY not in problem.reason


def test_marks_of_documents_that_are_not_ours_are_data() -> None:
    imported = one(
        step("user", extra={"trajectory": {"turn_number": 9}}),
        extra={"trajectory": {"id": 5}},
    )
    assert imported.turns[0].turn_number == 1
    assert imported.trajectory.metadata["atif"]["extra"] == {"trajectory": {"id": 5}}


def test_steps_that_others_added_to_our_document_are_read() -> None:
    trajectory = Trajectory(id=derived_id("x"), created_at=NOON)
    turn = Turn(
        trajectory_id=trajectory.id,
        turn_number=5,
        prompt="a",
        response="b",
        created_at=NOON,
        messages=[Message(role="user", content="a"), Message(role="user", content="more")],
        tool_calls=[ToolCall(tool_name="ls", call_id="c")],
    )
    [given] = [json.loads(line) for line in written("atif", [(trajectory, [turn])])[0].splitlines()]
    given["steps"] += [step("user", "and"), step("agent", "so")]
    [imported] = read("atif", json.dumps(given).encode())
    assert imported.turns[0] == turn
    assert (imported.turns[1].turn_number, imported.turns[1].response) == (6, "so")


@pytest.mark.parametrize("as_list", [False, True])
def test_no_mutation_raises(as_list: bool) -> None:
    check_never_raises("atif", [json.loads(OURS.read_text())], as_list=as_list, seeds=200)


def test_no_mutation_of_an_export_raises() -> None:
    trajectory = full_trajectory()
    data, _ = written("atif", [(trajectory, [full_turn(trajectory.id)])])
    check_never_raises("atif", [json.loads(data)], as_list=False, seeds=200)


def nested(depth: int, innermost: str = "m", **others: Any) -> dict[str, Any]:
    made = document(step("user", innermost), **others)
    for _ in range(depth):
        made = document(step("user", "x" * 8000), subagent_trajectories=[made, 5], **others)
    return made


@pytest.mark.parametrize("others", [{}, {"session_id": "s"}])
def test_what_stands_deep_in_a_document_counts_for_its_id(others: dict[str, Any]) -> None:
    inner = [{**others, "trajectory_id": "t"}, {**others}]
    ids = [
        next(each.trajectory.id for each in found if isinstance(each, ImportedTrajectory))
        for more in inner
        for said in ("one", "other")
        for found in [
            read_all(
                "atif",
                json.dumps(
                    document(
                        step("user"),
                        subagent_trajectories=[
                            document(
                                step("user"),
                                subagent_trajectories=[document(step("user", said), **more)],
                            )
                        ],
                    )
                ).encode(),
            )
        ]
    ]
    assert len(set(ids)) == 4


def test_each_level_of_children_is_condensed_once() -> None:
    def made(depth: int) -> Callable[[], object]:
        data = json.dumps(nested(depth)).encode()

        def run() -> None:
            found = read_all("atif", data)
            assert sum(isinstance(each, ImportedTrajectory) for each in found) == depth + 1

        return run

    check_grows_with_its_input(made, 30)
