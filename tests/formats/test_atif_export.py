"""ATIF out: valid for others, and read again the same to the last bit."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from drawn import conversations
from formats.stored import read, read_all
from formats.written import Conversation, written
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import TESTS, real

from trajectory import (
    Message,
    Question,
    Role,
    ToolCall,
    Trajectory,
    TrajectoryStatus,
    Turn,
    Violation,
)
from trajectory.formats import ImportedTrajectory, atif, exporter, importer, jsonlines
from trajectory.formats.atif_rules import broken_rules
from trajectory.testing.samples import full_trajectory, full_turn

NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
ID = UUID("018f0000-0000-7000-8000-000000000001")


def exported(*conversations_: Conversation) -> list[dict[str, Any]]:
    """Export; each document keeps all rules, and is read again as it was."""
    data, left_out = written("atif", conversations_)
    assert not left_out
    documents = [json.loads(line) for line in data.splitlines()]
    assert [broken_rules(document) for document in documents] == [[]] * len(conversations_)
    found = read("atif", data)
    assert [(each.trajectory, each.turns) for each in found] == [
        (trajectory, tuple(turns)) for trajectory, turns in conversations_
    ]
    assert [each.left_out for each in found] == [{}] * len(conversations_)
    for each, (trajectory, turns) in zip(found, conversations_, strict=True):
        # `1`, `1.0` and `true` are equal to Python
        assert each.trajectory.model_dump_json() == trajectory.model_dump_json()
        for one, other in zip(each.turns, turns, strict=True):
            assert one.model_dump_json() == other.model_dump_json()
    assert written("atif", [(each.trajectory, each.turns) for each in found])[0] == data
    return documents


@settings(max_examples=80, deadline=None)
@given(st.lists(conversations(), max_size=2, unique_by=lambda each: each[0].id))
def test_any_values_are_exported_valid_and_imported_the_same(sent: list[Conversation]) -> None:
    exported(*sent)


def chat() -> Conversation:
    """Make a turn as an agent logs it, with two calls in parallel."""
    turn = Turn(
        trajectory_id=ID,
        turn_number=1,
        prompt="Tea?",
        response="Yes.",
        created_at=NOON,
        model_name="m",
        input_tokens=30,
        output_tokens=7,
        cache_read_tokens=20,
        cost_usd=0.5,
        latency_ms=12.5,
        messages=[
            Message(role="user", content="Tea?"),
            Message(role="assistant", reasoning="hm", created_at=NOON + timedelta(seconds=1)),
            Message(role="tool", content="green", call_id="c2"),
            Message(role="tool", content="black", call_id="c1"),
            Message(role="assistant", content="Yes."),
        ],
        tool_calls=[
            ToolCall(tool_name="find", arguments='{"a": 1}', result="black", call_id="c1",
                     message_position=1),
            ToolCall(tool_name="find", arguments='{"a":2}', result="green", call_id="c2",
                     message_position=1),
        ],
        questions=[Question(question_text="Sugar?", effort_level="low")],
        violations=[Violation(preference_name="tone", severity="minor")],
    )  # fmt: skip
    trajectory = Trajectory(
        id=ID,
        agent_name="shop",
        agent_version="1",
        session_id="s",
        status=TrajectoryStatus.COMPLETED,
        system_prompt="Help.",
        tools=[{"type": "function", "function": {"name": "find"}}],
        source_format="atif",
        created_at=NOON,
        ended_at=NOON + timedelta(seconds=1),
    )
    return trajectory, [turn]


def test_it_is_found_by_name() -> None:
    found = exporter("atif")
    assert (found.name, found.version, found.suffix) == ("atif", "ATIF-v1.8", ".jsonl")
    assert not getattr(found, "for_training", False)
    assert importer("atif").name == "atif"


def test_the_form_of_a_document() -> None:
    [document] = exported(chat())
    assert document == {
        "schema_version": "ATIF-v1.8",
        "session_id": "s",
        "trajectory_id": str(ID),
        "agent": {
            "name": "shop",
            "version": "1",
            "model_name": "m",
            "tool_definitions": [{"type": "function", "function": {"name": "find"}}],
        },
        "steps": [
            {"step_id": 1, "source": "system", "message": "Help."},
            {
                "step_id": 2,
                "source": "user",
                "message": "Tea?",
                "timestamp": "2026-01-02T12:00:00.123456Z",
                "extra": {
                    "trajectory": {
                        "turn_number": 1,
                        "latency_ms": 12.5,
                        "questions": [
                            {"question_text": "Sugar?", "effort_level": "low", "source": "agent"}
                        ],
                        "violations": [
                            {"preference_name": "tone", "severity": "minor", "source": "agent"}
                        ],
                        "messages": {
                            "0": {"created_at": None},
                            "1": {"content": None},
                            "2": {"content": "green", "call_id": "c2"},
                            "3": {"content": "black", "call_id": "c1"},
                            "4": {"model_name": None, "usage": None},
                        },
                        "tool_calls": {"1": {"arguments": '{"a":2}'}},
                    }
                },
            },
            {
                "step_id": 3,
                "source": "agent",
                "message": "",
                "timestamp": "2026-01-02T12:00:01.123456Z",
                "reasoning_content": "hm",
                "tool_calls": [
                    {"tool_call_id": "c1", "function_name": "find", "arguments": {"a": 1}},
                    {"tool_call_id": "c2", "function_name": "find", "arguments": {"a": 2}},
                ],
                "observation": {
                    "results": [
                        {"source_call_id": "c1", "content": "black"},
                        {"source_call_id": "c2", "content": "green"},
                    ]
                },
            },
            {
                "step_id": 4,
                "source": "agent",
                "message": "Yes.",
                "model_name": "m",
                "metrics": {
                    "prompt_tokens": 30,
                    "completion_tokens": 7,
                    "cached_tokens": 20,
                    "cost_usd": 0.5,
                },
            },
        ],
        "final_metrics": {
            "total_prompt_tokens": 30,
            "total_completion_tokens": 7,
            "total_cached_tokens": 20,
            "total_cost_usd": 0.5,
            "total_steps": 4,
        },
        "extra": {
            "trajectory": {"id": str(ID), "created_at": "2026-01-02T12:00:00.123456Z"},
        },
    }


FORMATS = ("atif", "claude-code", "codex", "openai-chat", "sharegpt", "swe-agent")


def conversations_in(format_: str, folder: Path) -> list[Conversation]:
    """Read all files of a format below a folder, but for what can't be read."""
    return [
        (found.trajectory, found.turns)
        for file in sorted(folder.rglob("*"))
        if file.suffix in {".json", ".jsonl", ".traj"}
        and (format_ in folder.name or format_ in str(file.relative_to(folder)))
        for found in read_all(format_, file)
        if isinstance(found, ImportedTrajectory)
    ]


@pytest.mark.parametrize("format_", FORMATS)
def test_our_files_of_each_format_are_exported_valid_and_imported_the_same(format_: str) -> None:
    found = conversations_in(format_, TESTS / "fixtures")
    assert len(exported(*found)) == len(found) > 0


@pytest.mark.parametrize("format_", FORMATS)
def test_real_files_of_each_format_are_exported_valid_and_imported_the_same(format_: str) -> None:
    found = conversations_in(format_, real(format_))
    for conversation in found:
        exported(conversation)
    assert found


def turn(**fields: Any) -> Turn:
    given_ = {"prompt": "p", "response": "r", "created_at": NOON, **fields}
    return Turn(trajectory_id=ID, turn_number=given_.pop("turn_number", 1), **given_)


def steps_of(*turns: Turn) -> list[dict[str, Any]]:
    [document] = exported((Trajectory(id=ID, created_at=NOON), turns))
    steps = document["steps"]
    assert isinstance(steps, list)
    return steps


def outline(steps: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(step["source"], step["message"]) for step in steps]


def test_every_field_and_child_comes_back() -> None:
    trajectory = full_trajectory()
    exported((trajectory, [full_turn(trajectory.id)]))


def test_a_turn_without_messages_is_two_steps_or_three() -> None:
    assert outline(steps_of(turn())) == [("user", "p"), ("agent", "r")]
    silent = steps_of(turn(tool_calls=[ToolCall(tool_name="t")]))
    assert outline(silent) == [("user", "p"), ("agent", "r")]
    assert silent[1]["tool_calls"][0]["tool_call_id"] == "call_1"
    answered = steps_of(turn(tool_calls=[ToolCall(tool_name="t", result="x", message_position=7)]))
    assert outline(answered) == [("user", "p"), ("agent", ""), ("agent", "r")]
    results = answered[1]["observation"]["results"]
    assert results == [{"source_call_id": "call_1", "content": "x"}]


def test_a_trajectory_without_turns_is_one_step_of_the_system() -> None:
    for prompt in (None, "", "Help."):
        trajectory = Trajectory(id=ID, created_at=NOON, system_prompt=prompt)
        [document] = exported((trajectory, []))
        assert outline(document["steps"]) == [("system", prompt or "")]


def test_prompt_and_response_that_no_message_has_are_told() -> None:
    tool = ToolCall(tool_name="t", call_id="c", message_position=0)
    messages = [Message(role="assistant", content=""), Message(role="tool", content="x")]
    steps = steps_of(turn(messages=messages, tool_calls=[tool]))
    assert outline(steps) == [("user", "p"), ("agent", ""), ("agent", "r")]
    assert [call["tool_call_id"] for call in steps[1]["tool_calls"]] == ["c"]
    assert steps[1]["observation"]["results"] == [{"content": "x"}]


def test_prompts_within_a_turn_and_instructions_at_its_begin_stay_in_it() -> None:
    messages = [
        Message(role=role, content=role) for role in ("system", "user", "user", "developer")
    ]
    steps = steps_of(turn(messages=messages, response=""), turn(turn_number=2))
    assert outline(steps) == [
        ("system", "system"),
        ("user", "user"),
        ("user", "user"),
        ("system", "developer"),
        ("user", "p"),
        ("agent", "r"),
    ]
    assert [step.get("extra", {}).get("trajectory") for step in steps[1:3]] == [{}, {}]


def test_results_move_to_their_call() -> None:
    def call(result: str, position: int) -> ToolCall:
        return ToolCall(tool_name="t", call_id="c", result=result, message_position=position)

    messages = [
        *(Message(role="tool", content="lost", call_id="x"), Message(role="user", content="p")),
        *(Message(role="assistant"), Message(role="assistant")),
        *(Message(role="tool", content=text, call_id="c") for text in ("2", "1", "more")),
        Message(role="assistant", content="r"),
    ]
    steps = steps_of(turn(messages=messages, tool_calls=[call("1", 2), call("2", 3), call("3", 7)]))
    observed = [step.get("observation", {}).get("results") for step in steps]
    assert observed == [
        [{"content": "lost"}],
        None,
        [{"source_call_id": "c", "content": "1"}],
        [{"source_call_id": "call_2", "content": "2"}, {"content": "more"}],
        [{"source_call_id": "call_3", "content": "3"}],
    ]
    assert outline(steps)[0] == ("system", "")


def test_call_ids_are_unique_in_the_document() -> None:
    ids = ["c", "c", None, "", "call_2"]
    calls = [ToolCall(tool_name="t", call_id=id_) for id_ in ids]
    steps = steps_of(turn(tool_calls=calls), turn(turn_number=2, tool_calls=calls[:1]))
    given_ = [call["tool_call_id"] for step in steps for call in step.get("tool_calls", ())]
    assert given_ == ["c", "call_2_", "call_3", "call_4", "call_2", "call_6"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (None, {}),
        ("", {"input": ""}),
        ("{}", {}),
        ('{"a":  [1.0, 1, true, "\\u00e4"]}', {"a": [1.0, 1, True, "ä"]}),
        ("ls -la", {"input": "ls -la"}),
        ("[1]", {"input": "[1]"}),
        ('{"a": 1, "a": 2}', {"input": '{"a": 1, "a": 2}'}),
        ('{"a": NaN}', {"input": '{"a": NaN}'}),
        ('{"a": 1e999}', {"input": '{"a": 1e999}'}),
        ('{"a": 9223372036854775808}', {"input": '{"a": 9223372036854775808}'}),
        ('{"a": "\\ud800"}', {"input": '{"a": "\\ud800"}'}),
        ('{"a":' * 70 + "1" + "}" * 70, {"input": '{"a":' * 70 + "1" + "}" * 70}),
        ("[" * 100_000, {"input": "[" * 100_000}),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_arguments_are_an_object_and_their_text_is_kept(
    arguments: str | None, told: dict[str, Any]
) -> None:
    [_, step] = steps_of(turn(tool_calls=[ToolCall(tool_name="t", arguments=arguments)]))
    assert step["tool_calls"][0]["arguments"] == told


def test_parts_of_other_kinds_are_told_as_text_where_they_have_any() -> None:
    text = {"type": "text", "text": "a"}
    image = {"type": "image", "source": {"media_type": "image/png", "path": "https://x/y.png"}}
    others = [{"type": "output_text", "text": "b"}, {"type": "image_url", "image_url": "data:"}, 7]
    content = [text, image, *others]
    steps = steps_of(turn(messages=[Message(role="user", content=content)], response=""))
    assert steps[0]["message"] == [text, image, {"type": "text", "text": "b"}]
    steps = steps_of(turn(messages=[Message(role="user", content=[7])], response=""))
    assert steps[0]["message"] == ""


def metrics_of(*usages: Any, **fields: Any) -> list[Any]:
    messages = [
        Message(role="user", content="p"),
        *(Message(role=Role.ASSISTANT, content="r", usage=usage) for usage in usages),
    ]
    return [step.get("metrics") for step in steps_of(turn(messages=messages, **fields))[1:]]


def test_the_steps_of_a_turn_add_up_to_its_figures() -> None:
    first, second = {"prompt_tokens": 2, "cost_usd": 0.5}, {"prompt_tokens": 3}
    assert metrics_of(first, second, input_tokens=5, cost_usd=0.5) == [first, second]
    assert metrics_of(first, second) == [first, second]
    others = {"prompt_tokens": -1, "completion_tokens": True, "mood": 1}
    assert metrics_of(first, others, input_tokens=6) == [None, {"prompt_tokens": 6}]
    kept = {"prompt_tokens": 2, "extra": {"x": 1}, "prompt_token_ids": [1]}
    assert metrics_of(kept, None, output_tokens=1) == [
        {"extra": {"x": 1}, "prompt_token_ids": [1]},
        {"completion_tokens": 1},
    ]


def test_cached_tokens_are_told_as_a_part_of_the_prompt_or_not_at_all() -> None:
    assert metrics_of(None, input_tokens=5, cache_read_tokens=9) == [{"prompt_tokens": 5}]
    assert metrics_of(None, cache_read_tokens=9) == [None]
    assert metrics_of({"prompt_tokens": 1, "cached_tokens": 2}) == [{"prompt_tokens": 1}]


def test_a_copied_turn_is_marked_in_each_step() -> None:
    for is_copied in (True, False):
        steps = steps_of(turn(is_copied_context=is_copied))
        assert [step["is_copied_context"] for step in steps] == [is_copied] * 2


def test_what_could_not_be_read_again_is_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Checked with a small limit; the real one is that of the reader."""
    assert vars(atif)["MAX_LINE_BYTES"] == jsonlines.MAX_LINE_BYTES
    run, [turn] = chat()
    [line] = written("atif", [(run, [turn])])[0].splitlines()
    other = run.model_copy(update={"id": UUID(int=1)})
    long = turn.model_copy(update={"trajectory_id": other.id, "response": "\x1b" * len(line)})
    monkeypatch.setattr(atif, "MAX_LINE_BYTES", len(line))
    data, left_out = written("atif", [(other, [long]), (run, [turn])])
    assert data == line + b"\n"
    assert left_out == {"trajectory of more than 64 MiB (export it as jsonl)": 1}
