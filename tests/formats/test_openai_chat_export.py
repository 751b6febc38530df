"""Conversations that are written in the OpenAI chat form."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from factories import TrajectoryFactory, TurnFactory
from formats.mutated import mutated
from formats.stored import DAYS, read, read_all, rows_after_two_imports
from formats.written import written
from recorded import OWN_CHATS, described, real

from trajectory.formats import ImportedTrajectory, exporter, exporter_names, importer
from trajectory.ids import uuid7
from trajectory.models import Message, ToolCall, Trajectory, Turn

NOON = DAYS[0]
ALWAYS = {"trajectory.id": 1, "trajectory.created_at": 1, "turn.created_at": 1}


def turn(prompt: str = "", response: str = "", number: int = 1, **fields: Any) -> Turn:
    return Turn(
        trajectory_id=uuid7(), turn_number=number, prompt=prompt, response=response,
        created_at=NOON, **fields,
    )  # fmt: skip


def said(role: str, content: Any, **fields: Any) -> Message:
    return Message(role=role, content=content, **fields)


def call(id_: str | None, place: int | None = None, **fields: Any) -> ToolCall:
    return ToolCall(tool_name="look", call_id=id_, message_position=place, **fields)


def export(turns: Sequence[Turn], **fields: Any) -> tuple[dict[str, Any], Counter[str]]:
    trajectory = Trajectory(status=None, created_at=NOON, **fields)
    data, left_out = written("openai-chat", [(trajectory, turns)])
    [line] = data.splitlines()
    return json.loads(line), left_out


def short(message: dict[str, Any]) -> Any:
    """Write a message in few words: who, what, its calls, its answer."""
    calls = [made["id"] for made in message.get("tool_calls", ())]
    names = message["role"][0], message["content"], *calls
    return (*names, message["tool_call_id"]) if message["role"] == "tool" else names


def told(*turns: Turn) -> list[Any]:
    return [short(message) for message in export(turns)[0]["messages"]]


def of(found: list[ImportedTrajectory]) -> list[tuple[Trajectory, Sequence[Turn]]]:
    return [(each.trajectory, each.turns) for each in found]


def test_it_is_found_beside_its_importer() -> None:
    assert "openai-chat" in exporter_names()
    found = exporter("openai-chat")
    assert (found.name, found.suffix) == (importer("openai-chat").name, ".jsonl")
    assert getattr(found, "for_training", False)


def test_a_real_set_is_written_as_it_was() -> None:
    file = real("openai-chat/tau-airline.jsonl")
    found = read("openai-chat", file)
    data, left_out = written("openai-chat", of(found))
    originals = file.read_bytes().splitlines()
    assert [json.loads(line) for line in data.splitlines()] == list(map(json.loads, originals))
    assert len(originals) == 72
    assert set(left_out) == {*ALWAYS, "trajectory.status"}


def test_our_set_comes_back_the_same() -> None:
    found = read("openai-chat", OWN_CHATS)
    data, left_out = written("openai-chat", of(found))
    again = read("openai-chat", data)
    assert [each.trajectory.system_prompt for each in again] == [
        each.trajectory.system_prompt for each in found
    ]
    kept = {"prompt", "response", "messages", "tool_calls"}
    for before, after in zip(found, again, strict=True):
        assert [each.model_dump(include=kept) for each in after.turns] == [
            {
                **each.model_dump(include=kept),
                "messages": tuple({**m.model_dump(), "reasoning": None} for m in each.messages),
            }
            for each in before.turns
        ]
    assert +left_out - Counter(dict.fromkeys(ALWAYS, 99) | {"trajectory.status": 99}) == {
        "message.reasoning": 1, "trajectory.metadata": 1, "turn.model_name": 2,
    }  # fmt: skip


@pytest.mark.parametrize("format_", ["claude-code", "codex", "swe-agent", "sharegpt"])
def test_real_sessions_become_chats_that_are_in_order(format_: str) -> None:
    real("README.md")
    files = [parameter.values[0] for parameter in described(format_)]
    lines = 0
    for file in files:
        paths = sorted(file.path.rglob("*.jsonl")) if file.path.is_dir() else [file.path]
        for path in paths:
            found = [e for e in read_all(format_, path) if isinstance(e, ImportedTrajectory)]
            data, left_out = written("openai-chat", of(found))
            given = data.splitlines()
            for line in given:
                assert_in_order(json.loads(line)["messages"])
            assert len(given) + left_out["trajectory without an answer of the assistant"] == len(
                found
            )
            lines += len(given)
    assert lines


def assert_in_order(messages: list[dict[str, Any]]) -> None:
    """Check that each result stands behind the message that made its call."""
    waiting: Counter[str] = Counter()
    assert any(message["role"] == "assistant" for message in messages)
    for message in messages:
        if message["role"] == "tool":
            assert waiting[message["tool_call_id"]] > 0
            waiting[message["tool_call_id"]] -= 1
        else:
            waiting = Counter(made["id"] for made in message.get("tool_calls", ()))
            assert message["content"] is not None or waiting or message.get("refusal")


def test_a_simple_turn_is_a_prompt_calls_and_a_response() -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    arguments = '{"b": 1,  "a":"\\u00e4"}'
    calls = [call(None, arguments=arguments, result="found"), call("mine", result="")]
    document, left_out = export(
        [turn("Find it", "Here.", tool_calls=calls), turn("Thanks", "Welcome.", number=2)],
        system_prompt="Be kind.",
        tools=tools,
    )
    assert document == {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Find it"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "look", "arguments": arguments},
                    },
                    {
                        "id": "mine",
                        "type": "function",
                        "function": {"name": "look", "arguments": "{}"},
                    },
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "name": "look", "content": "found"},
            {"role": "tool", "tool_call_id": "mine", "name": "look", "content": ""},
            {"role": "assistant", "content": "Here."},
            {"role": "user", "content": "Thanks"},
            {"role": "assistant", "content": "Welcome."},
        ],
        "tools": tools,
    }
    assert left_out == {**ALWAYS, "turn.created_at": 2}


A, T, U = "assistant", "tool", "user"


@pytest.mark.parametrize(
    ("messages", "calls", "expected"),
    [
        pytest.param(  # the calls of one answer, told one by one
            [said(U, "q"), said(A, "Look"), said(A, None), said(T, "1", call_id="a"),
             said(T, "2", call_id="b")],
            [call("a", 1), call("b", 2)],
            [("u", "q"), ("a", "Look", "a", "b"), ("t", "1", "a"), ("t", "2", "b")],
            id="one answer told in parts",
        ),
        pytest.param(  # the second says something new, so it is another answer
            [said(U, "q"), said(A, None), said(A, "Look"), said(T, "1", call_id="a"),
             said(T, "2", call_id="b")],
            [call("a", 1), call("b", 2)],
            [("u", "q"), ("a", None, "a"), ("t", "1", "a"), ("a", "Look", "b"), ("t", "2", "b")],
            id="results that come later",
        ),
        pytest.param(
            [said(U, "q"), said(A, None), said(T, "2", call_id="b"), said(T, "1", call_id="a")],
            [call("a", 1), call("b", 1)],
            [("u", "q"), ("a", None, "a", "b"), ("t", "2", "b"), ("t", "1", "a")],
            id="results in their own order",
        ),
        pytest.param(  # the second is known to its call alone
            [said(U, "q"), said(A, None), said(T, "1", call_id="a"), said(A, "done")],
            [call("b", 1, result="2"), call("a", 1)],
            [("u", "q"), ("a", None, "b", "a"), ("t", "2", "b"), ("t", "1", "a"), ("a", "done")],
            id="a result without a message",
        ),
        pytest.param(
            [said(U, "q"), said(A, None), said(T, "1", call_id="a"), said(A, None),
             said(T, "2", call_id="a")],
            [call("a", 1, result="1"), call("a", 3, result="2")],
            [("u", "q"), ("a", None, "a"), ("t", "1", "a"), ("a", None, "a"), ("t", "2", "a")],
            id="an id that is used again",
        ),
        pytest.param(
            [said(U, "q"), said(A, None), said(T, "2"), said(T, "1")],
            [call(None, 1, result="1"), call(None, 1, result="2")],
            [("u", "q"), ("a", None, "call_1", "call_2"), ("t", "2", "call_2"),
             ("t", "1", "call_1")],
            id="no ids, known by the result",
        ),
        pytest.param(
            [said(U, "q"), said(A, None), said(T, "1"), said(A, None), said(T, "2")],
            [call(None, 1), call("call_1", 3)],
            [("u", "q"), ("a", None, "call_1_"), ("t", "1", "call_1_"), ("a", None, "call_1"),
             ("t", "2", "call_1")],
            id="no ids, in order",
        ),
        pytest.param(
            [said(U, "q"), said(A, None), said(T, "1", call_id="theirs")],
            [call(None, 1)],
            [("u", "q"), ("a", None, "theirs"), ("t", "1", "theirs")],
            id="an id that only the result has",
        ),
        pytest.param(
            [said(U, "q"), said(A, "Look"), said(T, "1", call_id="a"), said(A, "done")],
            [call("a", None)],
            [("u", "q"), ("a", "Look", "a"), ("t", "1", "a"), ("a", "done")],
            id="no place, found by its result",
        ),
        pytest.param(
            [said(U, "q"), said(A, "done")],
            [call("a", 99, result="1")],
            [("u", "q"), ("a", None, "a"), ("t", "1", "a"), ("a", "done")],
            id="no place, with a result",
        ),
        pytest.param(
            [said(U, "q"), said(A, "Look")],
            [call("a", 0)],
            [("u", "q"), ("a", "Look", "a")],
            id="no place, no result",
        ),
        pytest.param(
            [said(A, "Look"), said(T, None, call_id="a")],
            [call("a", 0)],
            [("u", "p"), ("a", "Look", "a"), ("t", "", "a")],
            id="no message of the user, no content",
        ),
        pytest.param(
            [said(U, "q")],
            [call("a", None)],
            [("u", "q"), ("a", "r", "a")],
            id="no message of the assistant",
        ),
    ],
)  # fmt: skip
def test_calls_and_results_find_each_other(
    messages: list[Message], calls: list[ToolCall], expected: list[Any]
) -> None:
    shown = told(turn("p", "r", messages=messages, tool_calls=calls))
    has_text = any(message.role == A and message.content for message in messages)
    assert shown == (expected if has_text or expected[-1][1] == "r" else [*expected, ("a", "r")])


def test_a_result_of_a_later_turn_moves_to_its_call() -> None:
    first = turn("q", messages=[said(U, "q"), said(A, "wait")], tool_calls=[call("a", 1)])
    second = turn("so?", messages=[said(U, "so?"), said(T, "1", call_id="a"), said(A, "ok")])
    assert told(first, second) == [
        ("u", "q"), ("a", "wait", "a"), ("t", "1", "a"), ("u", "so?"), ("a", "ok"),
    ]  # fmt: skip


def test_a_result_without_its_call_is_left_out_and_counted() -> None:
    messages = [said(T, "0", call_id="z"), said(U, "q"), said(A, "ok"), said(T, "1", call_id="a")]
    document, left_out = export([turn("q", messages=messages)])
    assert [message["role"] for message in document["messages"]] == ["user", "assistant"]
    assert left_out["tool result without its call"] == 2


def test_what_has_no_place_is_counted() -> None:
    full = TurnFactory(
        full=True, messages=[said(U, "q"), said(A, "a", reasoning="Hm", usage={"n": 1})],
        tool_calls=[call("a", 1, result="1", latency_ms=2, is_error=True)],
    )  # fmt: skip
    _, left_out = written("openai-chat", [(TrajectoryFactory(full=True), [full])])
    questions, violations = len(full.questions), len(full.violations)
    assert {
        "turn.questions": questions, "turn.violations": violations, "turn.latency_ms": 1,
        "turn.cost_usd": 1, "turn.metadata": 1, "message.reasoning": 1, "message.usage": 1,
        "tool_call.latency_ms": 1, "tool_call.is_error": 1, "trajectory.run_id": 1,
        "trajectory.tags": 1,
    }.items() <= left_out.items()  # fmt: skip
    assert questions
    assert violations


def test_parts_that_the_form_knows_are_kept() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    user = [
        {"type": "text", "text": "a", "cache": 1}, "b", image, {"type": "input_text", "text": "c"},
        {"type": "image", "source": {}}, {"type": "tool_use", "text": "d"}, 7, {"type": ["x"]},
        {"type": "text", "text": 1}, {"type": "\x1b[2J\u202e"},
    ]  # fmt: skip
    assistant = [{"type": "refusal", "refusal": "No."}, image]
    document, left_out = export([turn("p", messages=[said(U, user), said(A, assistant)])])
    assert document["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a", "cache": 1}, {"type": "text", "text": "b"}, image,
                {"type": "text", "text": "c"},
            ],
        },
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    ]  # fmt: skip
    assert {name: n for name, n in left_out.items() if name.startswith("content part")} == {
        "content part 'image'": 1, "content part 'tool_use'": 1, "content part without a kind": 2,
        "content part 'text'": 1, "content part '\\x1b[2J\\u202e'": 1,
        "content part 'image_url'": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tools", "expected", "counted"),
    [
        (None, None, {}),
        ([], None, {}),
        ("[]", None, {"tools that are no list": 1}),
        ({"look": {}}, None, {"tools that are no list": 1}),
        (["look", 1, {}, {"type": "web_search", "name": "x"}, {"function": {}}], None,
         {"tool that is no function": 5}),
        ([{"name": "f", "description": "d", "input_schema": {"type": "object"}, "x": 1}],
         [{"name": "f", "description": "d", "parameters": {"type": "object"}}], {}),
        ([{"type": "function", "name": "f", "strict": True}, {"type": None}],
         [{"name": "f", "strict": True}], {"tool that is no function": 1}),
    ],
)  # fmt: skip
def test_tools_that_are_functions_are_written_in_one_form(
    tools: Any, expected: Any, counted: dict[str, int]
) -> None:
    document, left_out = export([turn("p", "r")], tools=tools)
    wanted = expected and [{"type": "function", "function": each} for each in expected]
    assert document.get("tools") == wanted
    assert left_out == {**ALWAYS, **counted}


def test_a_message_that_says_nothing_is_left_out() -> None:
    messages = [
        said(U, ""), said(A, None, reasoning="Hm"), said(A, ""), said(A, [{"type": "x"}]),
        said("developer", ""), said("developer", "Be brief."), said(A, "Hi"), said(U, None),
        said(A, "I won't.", stop_reason="refusal"), said(A, "Bye", stop_reason="end_turn"),
    ]  # fmt: skip
    document, left_out = export([turn("", messages=messages)])
    assert document["messages"] == [
        {"role": "user", "content": ""},
        {"role": "developer", "content": "Be brief."},
        {"role": "assistant", "content": "Hi"},
        {"role": "assistant", "content": None, "refusal": "I won't."},
        {"role": "assistant", "content": "Bye"},
    ]
    assert left_out["message that says nothing"] == 5
    assert left_out["message.stop_reason"] == 1  # a refusal has a place


@pytest.mark.parametrize("turns", [[], [turn("p")], [turn("p", messages=[said(U, "p")])]])
def test_a_trajectory_without_an_answer_is_left_out_whole(turns: list[Turn]) -> None:
    trajectory = Trajectory(system_prompt="Be kind.", run_id="r", created_at=NOON)
    data, left_out = written("openai-chat", [(trajectory, turns)])
    assert (data, left_out) == (b"", {"trajectory without an answer of the assistant": 1})


def test_hostile_text_stays_text_on_its_line() -> None:
    text = "\x1b[2J\r\n\u2028\x85\u202e\0 </script> \ud800"
    calls = [ToolCall(tool_name=text, arguments='{"a": "\\ud800"}', result=text, call_id=text)]
    trajectory = Trajectory(system_prompt=text, created_at=NOON)
    data, _ = written("openai-chat", [(trajectory, [turn(text, text, tool_calls=calls)])])
    assert data.count(b"\n") == 1
    [again] = read("openai-chat", data)
    [found] = again.turns
    kept = text.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
    assert (found.prompt, found.response, again.trajectory.system_prompt) == (kept, kept, kept)
    [made] = found.tool_calls
    assert (made.tool_name, made.result, made.call_id) == (kept, kept, kept)
    assert made.arguments == '{"a": "\\ud800"}'


@pytest.mark.parametrize("format_", ["openai-chat", "trl", "trl-prompt-completion"])
def test_whatever_was_imported_can_be_written(format_: str) -> None:
    documents = [json.loads(line) for line in OWN_CHATS.read_text().splitlines()]
    lines = 0
    for seed in range(150):
        changed = b"\n".join(json.dumps(each).encode() for each in mutated(documents, seed))
        found = [
            each
            for each in read_all("openai-chat", changed)
            if isinstance(each, ImportedTrajectory)
        ]
        data, _ = written(format_, of(found))
        assert written(format_, of(found))[0] == data
        for line in data.splitlines():
            document = json.loads(line)
            lines += 1
            if format_ == "openai-chat":
                assert_in_order(document["messages"])
    assert lines > 150


@pytest.mark.parametrize("format_", ["openai-chat", "trl", "trl-prompt-completion"])
def test_turns_of_any_shape_can_be_written(format_: str) -> None:
    """Messages, calls and their places at random: always whole, the same twice, and in order."""
    for seed in range(300):
        random = Random(seed)
        ids = [None, "a", "b", "call_1"]
        turns = [
            turn(
                random.choice(["", "p"]), random.choice(["", "r"]), number,
                messages=[
                    said(random.choice([U, A, A, T, T, "system"]), random.choice([None, "", "1"]),
                         call_id=random.choice(ids))
                    for _ in range(random.randrange(7))
                ],
                tool_calls=[
                    call(random.choice(ids), random.choice([None, *range(7)]),
                         result=random.choice([None, "", "1"]),
                         arguments=random.choice([None, "", "{", "[]", '{"a": 1e999}', '{"a": 1}']))
                    for _ in range(random.randrange(5))
                ],
            )
            for number in range(random.randrange(4))
        ]  # fmt: skip
        data, left_out = written(format_, [(Trajectory(created_at=NOON), turns)])
        if format_ != "openai-chat" or not data:
            list(map(json.loads, data.splitlines()))
            continue
        messages = json.loads(data)["messages"]
        assert_in_order(messages)
        calls = sum(len(message.get("tool_calls", ())) for message in messages)
        assert calls == sum(len(each.tool_calls) for each in turns)
        results = sum(message["role"] == T for message in messages)
        sent = sum(message.role == T for each in turns for message in each.messages)
        assert results >= sent - left_out["tool result without its call"]


def test_many_calls_under_one_id_take_no_time() -> None:
    count = 20_000
    messages = [said(A, "x"), *(said(T, "1", call_id="a") for _ in range(count))]
    calls = [call("a", 0) for _ in range(count)]
    document, left_out = export([turn("p", messages=messages, tool_calls=calls)])
    assert len(document["messages"]) == count + 2
    assert not left_out["tool result without its call"]


@pytest.mark.parametrize("format_", ["openai-chat", "trl", "trl-prompt-completion"])
async def test_what_both_databases_give_back_is_written_alike(
    format_: str, tmp_path: Path, postgres_url: str
) -> None:
    urls = [str(tmp_path / "chats.db"), postgres_url]
    trajectories, turns = await rows_after_two_imports("openai-chat", [OWN_CHATS], urls)
    stored = [
        (each, [turn for turn in turns if turn.trajectory_id == each.id]) for each in trajectories
    ]
    data, left_out = written(format_, stored)
    expected, expected_left_out = written(format_, of(read("openai-chat", OWN_CHATS)))
    assert list(map(json.loads, data.splitlines())) == list(map(json.loads, expected.splitlines()))
    assert left_out == expected_left_out
