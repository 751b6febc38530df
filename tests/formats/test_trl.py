"""Rows that TRL trains on: of messages, and of prompts and completions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from formats.stored import DAYS, read
from formats.written import written
from recorded import OWN_CHATS, real

from trajectory.formats import exporter, exporter_names
from trajectory.ids import uuid7
from trajectory.models import Message, ToolCall, Trajectory, Turn

NOON = DAYS[0]
PLAIN = "tool call whose arguments are no JSON object (written as its `input`)"
ALWAYS = {"trajectory.id", "trajectory.created_at", "turn.created_at"}


def turn(prompt: str = "", response: str = "", number: int = 1, **fields: Any) -> Turn:
    return Turn(
        trajectory_id=uuid7(), turn_number=number, prompt=prompt, response=response,
        created_at=NOON, **fields,
    )  # fmt: skip


def rows(
    format_: str, turns: Sequence[Turn], **fields: Any
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    trajectory = Trajectory(status=None, created_at=NOON, **fields)
    data, left_out = written(format_, [(trajectory, turns)])
    found = [json.loads(line) for line in data.splitlines()]
    return found, {what: n for what, n in left_out.items() if what not in ALWAYS}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any, *arguments: Any, **others: Any) -> dict[str, Any]:
    calls = [
        {"type": "function", "function": {"name": "look", "arguments": each}} for each in arguments
    ]
    return {
        "role": "assistant", "content": content, **others,
        **({"tool_calls": calls} if calls else {}),
    }  # fmt: skip


def tool(content: Any) -> dict[str, Any]:
    return {"role": "tool", "name": "look", "content": content}


LOOKED = turn(
    "Find it",
    messages=[
        Message(role="user", content=[{"type": "text", "text": "Find "}, {"type": "image"}, "it"]),
        Message(role="assistant", reasoning="Look first."),
        Message(role="tool", content="two", call_id="b"),
        Message(role="tool", content="one", call_id="a"),
        Message(role="developer", content="Be brief."),
        Message(role="assistant", content="Here.", stop_reason="end_turn"),
    ],
    tool_calls=[
        ToolCall(tool_name="look", call_id="a", message_position=1, arguments='{"n": 1.0}'),
        ToolCall(tool_name="look", call_id="b", message_position=1, arguments=""),
    ],
)
TOOLS = [{"type": "function", "function": {"name": "look", "description": "\u00fc"}}]
SYSTEM = {"role": "system", "content": "Be kind."}
CALLED = assistant("", {"n": 1.0}, {}, thinking="Look first.")
BRIEF = {"role": "system", "content": "Be brief."}
FOUND = [CALLED, tool("one"), tool("two"), BRIEF, assistant("Here.")]


@pytest.mark.parametrize("name", ["trl", "trl-prompt-completion"])
def test_it_is_found_by_its_name(name: str) -> None:
    assert name in exporter_names()
    found = exporter(name)
    assert (found.name, found.suffix, found.version) == (name, ".jsonl", "1")
    assert getattr(found, "for_training", False)


def test_a_trajectory_is_a_row_of_messages() -> None:
    thanks = turn("Thanks", "Welcome.", 2)
    found, left_out = rows("trl", [LOOKED, thanks], system_prompt="Be kind.", tools=TOOLS)
    assert found == [
        {
            "messages": [
                SYSTEM, user("Find it"), *FOUND, user("Thanks"), assistant("Welcome."),
            ],
            "tools": json.dumps(TOOLS, ensure_ascii=False),
        }
    ]  # fmt: skip
    assert left_out == {"content part 'image'": 1, "message.stop_reason": 1}


def test_a_turn_is_a_row_of_a_prompt_and_a_completion() -> None:
    turns = [LOOKED, turn("So?", number=2), turn("Thanks", "Welcome.", 3)]
    found, left_out = rows("trl-prompt-completion", turns, system_prompt="Be kind.")
    first, second = found
    assert first == {"prompt": [SYSTEM, user("Find it")], "completion": FOUND, "tools": None}
    assert second == {
        "prompt": [SYSTEM, user("Find it"), *FOUND, user("So?"), user("Thanks")],
        "completion": [assistant("Welcome.")],
        "tools": None,
    }
    assert left_out["turn without an answer of the assistant"] == 1


def test_a_completion_has_a_prompt() -> None:
    turns = [turn("", "Welcome!", 0), turn("Hi", "Hello.")]
    found, left_out = rows("trl-prompt-completion", turns)
    assert [row["prompt"] for row in found] == [[assistant("Welcome!"), user("Hi")]]
    assert left_out == {"turn with nothing before its answer": 1}
    found, left_out = rows("trl-prompt-completion", turns, system_prompt="Be kind.")
    assert [len(row["prompt"]) for row in found] == [1, 3]
    assert left_out == {}


@pytest.mark.parametrize("name", ["trl", "trl-prompt-completion"])
def test_a_trajectory_without_an_answer_is_left_out(name: str) -> None:
    thought = Message(role="assistant", reasoning="Hm")
    found, left_out = rows(name, [turn("a"), turn("b", number=2, messages=[thought])])
    assert found == []
    assert left_out == {"trajectory without an answer of the assistant": 1}


def test_what_says_nothing_is_left_out_with_its_reasoning() -> None:
    messages = [
        Message(role="user", content=""), Message(role="user"),
        Message(role="assistant", reasoning="Hm"), Message(role="assistant", content="Hi"),
    ]  # fmt: skip
    [row], left_out = rows("trl", [turn(messages=messages)])
    assert row["messages"] == [user(""), assistant("Hi")]
    assert left_out == {"message that says nothing": 2, "message.reasoning": 1}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (None, {}),
        (" ", {}),
        ("{}", {}),
        ('{"a": {"b": [1, "x", null, 1.5]}}', {"a": {"b": [1, "x", None, 1.5]}}),
        ('{"a": "\\ud800"}', {"a": "\ufffd"}),
        *(
            (text, {"input": text})
            for text in (
                "*** Begin Patch", "[1]", "1", "null", '"x"', '{"a": 1', '{"a": 1, "a": 2}',
                '{"a": NaN}', '{"a": 1e999}', f'{{"a": {2**63}}}', f'{{"a": {"9" * 5000}}}',
                '{"a":' * 65 + "1" + "}" * 65, "[" * 200_000, "\x1b[2J\u202e\r\n\u2028",
            )
        ),
    ],
    ids=lambda value: ascii(value)[:20] if isinstance(value, str) else "",
)  # fmt: skip
def test_arguments_are_objects(arguments: str | None, expected: Any) -> None:
    call = ToolCall(tool_name="look", arguments=arguments)
    [row], left_out = rows("trl", [turn("p", tool_calls=[call])])
    assert row["messages"][1] == assistant("", expected)
    assert left_out == ({PLAIN: 1} if "input" in expected else {})


def shape(value: Any) -> Any:
    """Give the type of a value as a column has it; arguments are any object."""
    if isinstance(value, dict):
        return {key: dict if key == "arguments" else shape(each) for key, each in value.items()}
    return [shape(each) for each in value] if isinstance(value, list) else type(value)


def test_types_are_the_same_in_all_rows_but_for_arguments() -> None:
    found = [(each.trajectory, each.turns) for each in read("openai-chat", OWN_CHATS)]
    seen: dict[str, set[str]] = {}
    for name in ("trl", "trl-prompt-completion"):
        for line in written(name, found)[0].splitlines():
            row = json.loads(line)
            tools = row.pop("tools")
            assert tools is None or isinstance(json.loads(tools), list)
            for message in [message for chat in row.values() for message in chat]:
                for key, kind in shape(message).items():
                    if key == "tool_calls":
                        assert {str(each) for each in kind} == {str(kind[0])}
                        kind = kind[0]  # noqa: PLW2901 - of the list
                    seen.setdefault(key, set()).add(str(kind))
    assert {key: len(kinds) for key, kinds in seen.items()} == dict.fromkeys(
        ("role", "content", "name", "tool_calls", "thinking"), 1
    )


def test_a_real_set_becomes_rows() -> None:
    found = [
        (each.trajectory, each.turns)
        for each in read("openai-chat", real("openai-chat/tau-airline.jsonl"))
    ]
    data, left_out = written("trl", found)
    chats = [json.loads(line)["messages"] for line in data.splitlines()]
    roles = Counter(message["role"] for chat in chats for message in chat)
    assert (len(chats), roles) == (
        72, {"system": 72, "user": 575, "assistant": 930, "tool": 427},
    )  # fmt: skip
    assert set(left_out) == {*ALWAYS, "trajectory.status"}
    data, left_out = written("trl-prompt-completion", found)
    rows = [json.loads(line) for line in data.splitlines()]
    assert len(rows) + left_out["turn without an answer of the assistant"] == 575
    completed = Counter(message["role"] for row in rows for message in row["completion"])
    assert completed == {"assistant": 930, "tool": 427}
    chats = [chat[: -(chat[-1]["role"] == "user") or None] for chat in chats]
    assert all(row["prompt"][-1]["role"] == "user" for row in rows)
    assert [row["prompt"] + row["completion"] for row in rows if ends(row, chats)] == chats


def ends(row: dict[str, Any], chats: list[Any]) -> bool:
    """Say whether a row is the last one of its trajectory."""
    return row["prompt"] + row["completion"] in chats
