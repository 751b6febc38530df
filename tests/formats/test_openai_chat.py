"""Conversations in the OpenAI chat form: real ones, odd ones, and broken ones."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from formats.growth import check_grows_with_its_input
from recorded import OWN_CHATS, real

from trajectory.errors import ConfigurationError
from trajectory.formats import (
    ImportedTrajectory,
    Problem,
    foreign,
    importer,
    importer_names,
    openai_chat,
)
from trajectory.models import Role, TrajectoryStatus

AS_OF = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
CANARY = "CANARY-7f3a"
OURS = {"trajectories": 5, "turns": 10, "calls": 5, "answered": 5,
        "user": 9, "assistant": 13, "tool": 5}  # fmt: skip
ROLES = "system, developer, user, assistant, tool, function"
REAL = {"trajectories": 72, "turns": 575, "calls": 427, "answered": 427,
        "user": 575, "assistant": 930, "tool": 427}  # fmt: skip


def read(*documents: Any) -> list[ImportedTrajectory | Problem]:
    lines = (
        document if isinstance(document, bytes) else json.dumps(document).encode()
        for document in documents
    )
    return list(importer("openai-chat").read(io.BytesIO(b"\n".join(lines)), as_of=AS_OF))


def one(*messages: dict[str, Any], **others: Any) -> ImportedTrajectory:
    [imported] = read({"messages": list(messages), **others})
    assert isinstance(imported, ImportedTrajectory), imported
    return imported


def ids(found: list[ImportedTrajectory | Problem]) -> list[UUID]:
    return [imported.trajectory.id for imported in found if not isinstance(imported, Problem)]


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any, **others: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **others}


def call(id_: Any, name: str = "look", arguments: Any = "{}") -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(id_: str | None, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "name": "look", "content": content}


def counts(found: list[ImportedTrajectory | Problem]) -> Counter[str]:
    total: Counter[str] = Counter()
    for imported in found:
        assert isinstance(imported, ImportedTrajectory), imported
        total["trajectories"] += 1
        total["turns"] += len(imported.turns)
        for turn in imported.turns:
            total["calls"] += len(turn.tool_calls)
            total["answered"] += sum(call.result is not None for call in turn.tool_calls)
            for message in turn.messages:
                total[message.role] += 1
    return total


def test_a_conversation_becomes_turns_with_messages_and_calls() -> None:
    arguments = '{"b": 1,  "a":\\u00e4}'
    imported = one(
        {"role": "system", "content": "Be kind."},
        user("Hello"),
        assistant("Hi."),
        user("Look it up"),
        assistant("One moment.", tool_calls=[call("c1", "look", arguments)]),
        tool("c1", "found"),
        assistant(None, tool_calls=[call("c2")]),
        tool("c2", ""),
        user("Thanks"),
        tools=[{"type": "function", "function": {"name": "look"}}],
        model="gpt-x",
        metadata={"split": "train"},
    )
    trajectory, (first, second, third) = imported.trajectory, imported.turns
    assert imported.line == 1
    assert not imported.left_out
    assert trajectory.system_prompt == "Be kind."
    assert trajectory.status is TrajectoryStatus.COMPLETED
    assert trajectory.source_format == "openai-chat"
    assert trajectory.tools == [{"type": "function", "function": {"name": "look"}}]
    assert trajectory.metadata == {"split": "train"}
    assert [turn.turn_number for turn in imported.turns] == [1, 2, 3]
    assert {turn.trajectory_id for turn in imported.turns} == {trajectory.id}
    assert {turn.model_name for turn in imported.turns} == {"gpt-x"}
    assert (first.prompt, first.response) == ("Hello", "Hi.")
    assert [message.role for message in first.messages] == [Role.USER, Role.ASSISTANT]
    assert (second.prompt, second.response) == ("Look it up", "One moment.")
    assert [message.content for message in second.messages] == [
        "Look it up", "One moment.", "found", None, "",
    ]  # fmt: skip
    assert [(made.call_id, made.message_position) for made in second.tool_calls] == [
        ("c1", 1),
        ("c2", 3),
    ]
    assert second.tool_calls[0].arguments == arguments
    assert [made.result for made in second.tool_calls] == ["found", ""]
    assert (third.prompt, third.response) == ("Thanks", "")


def test_trajectories_are_dated_in_the_order_of_the_lines() -> None:
    first, second = read({"messages": [user("a")]}, {"messages": [user("b")]})
    assert isinstance(first, ImportedTrajectory)
    assert isinstance(second, ImportedTrajectory)
    assert first.trajectory.created_at == first.turns[0].created_at == AS_OF
    assert second.trajectory.created_at == AS_OF + timedelta(microseconds=1)


def test_ids_come_from_the_content_and_its_occurrence_alone() -> None:
    messages = [user("a"), assistant("b")]
    document = {"messages": messages, "metadata": {"x": 1}}
    turned = {"metadata": {"x": 2}, "messages": [dict(reversed(m.items())) for m in messages]}
    other = {"messages": [user("a"), assistant("c")]}
    found = ids(read(document, other, b"", turned, document))
    assert len(set(found)) == 4
    # Neither other conversations between, nor blank lines, nor the order of keys count.
    assert ids(read(turned, document, document)) == [found[0], found[2], found[3]]


def test_the_id_of_a_conversation_never_changes_between_versions() -> None:
    """A new version that derived other ids would import everything a second time."""
    imported = one(user("a"), assistant("b"))
    assert str(imported.trajectory.id) == "fb4bc171-4156-5758-a086-c5ed10ff95ef"


def test_a_broken_line_does_not_count_as_an_occurrence() -> None:
    broken = {"messages": [user("a"), assistant("b", tool_calls=[{}])]}
    good = {"messages": [user("a")]}
    problem, found = read(broken, good)
    assert problem == Problem(1, "messages[1].tool_calls[0] has no function with a name")
    assert ids([found]) == ids(read(good))


def test_messages_before_the_first_user_message_are_turn_0() -> None:
    imported = one(
        {"role": "developer", "content": "Rule 1"},
        {"role": "system", "content": [{"type": "text", "text": "Rule "}, {"text": "2"}]},
        assistant("Welcome!"),
        {"role": "system", "content": "later"},
        user("Hi"),
    )
    assert imported.trajectory.system_prompt == "Rule 1\n\nRule 2"
    zero, first = imported.turns
    assert (zero.turn_number, zero.prompt, zero.response) == (0, "", "Welcome!")
    assert [message.role for message in zero.messages] == [Role.ASSISTANT, Role.SYSTEM]
    assert (first.turn_number, first.prompt) == (1, "Hi")


def test_a_conversation_of_instructions_alone_has_no_turns() -> None:
    imported = one({"role": "system", "content": "Rule"})
    assert imported.turns == ()
    assert imported.trajectory.system_prompt == "Rule"


def test_content_parts_are_kept_and_their_text_is_the_prompt() -> None:
    parts = [
        {"type": "text", "text": "What is "},
        {"type": "image_url", "image_url": {"url": "https://example.org/i.png"}},
        {"type": "text", "text": "this?"},
    ]
    answer = [{"type": "text", "text": "A "}, {"type": "refusal", "refusal": "no."}]
    [turn] = one(user(parts), assistant(answer)).turns
    assert (turn.prompt, turn.response) == ("What is this?", "A no.")
    assert turn.messages[0].content == parts
    assert turn.messages[1].content == answer


def test_a_refusal_and_reasoning_have_their_place() -> None:
    [turn] = one(
        user("Do it"),
        assistant(None, refusal="I can't."),
        assistant("Fine.", reasoning_content="hm"),
    ).turns
    assert turn.response == "Fine."
    assert turn.messages[1].content == "I can't."
    assert turn.messages[1].stop_reason == "refusal"
    assert turn.messages[2].reasoning == "hm"


def test_results_find_their_calls() -> None:
    imported = one(
        user("1"),
        assistant(None, tool_calls=[call("x", arguments="first"), call("y"), call("x")]),
        tool("y", "for y"),
        tool("x", "for the first x"),
        assistant(None, tool_calls=[call("x")]),
        tool("x", "for the newest x"),
        assistant(None, tool_calls=[call("z")]),
        user("2"),
        tool("z", "late"),
        tool("never", "lost"),
    )
    first, second = imported.turns
    assert [made.result for made in first.tool_calls] == [
        "for the first x", "for y", None, "for the newest x", "late",
    ]  # fmt: skip
    assert [message.content for message in second.messages] == ["2", "late", "lost"]
    assert imported.left_out == {"tool result without its call (kept as a message)": 1}


def test_older_and_other_spellings_of_calls() -> None:
    [turn] = one(
        user("1"),
        assistant(None, function_call={"name": "old", "arguments": "{}"}),
        {"role": "function", "name": "old", "content": "[1]"},
        assistant(None, tool_calls=[call("t", "trl", {"city": "Wien", "ä": [1]})]),
        assistant(None, tool_calls=[{"id": "u", "custom": {"name": "sh", "input": "ls"}}]),
    ).turns
    assert [(made.tool_name, made.arguments, made.result) for made in turn.tool_calls] == [
        ("old", "{}", "[1]"),
        ("trl", '{"city": "Wien", "ä": [1]}', None),
        ("sh", "ls", None),
    ]
    assert turn.messages[2].role is Role.TOOL


def test_what_has_no_place_is_counted_and_never_fatal() -> None:
    imported = one(
        user("1"),
        assistant("2", weight=0, audio=None, annotations=[]),
        {"role": "critic", "content": CANARY},
        {"role": "\x1b[31m" + "x" * 100, "content": CANARY},
        {"content": CANARY},
        {"role": "user", "content": "3", "name": CANARY},
        parallel_tool_calls=False,
        model=7,
    )
    assert [turn.prompt for turn in imported.turns] == ["1", "3"]
    assert imported.left_out == {
        "message key 'weight'": 1,
        "message key 'name'": 1,
        "message of unknown role 'critic'": 1,
        "message of unknown role '\\x1b[31m" + "x" * 31 + "...'": 1,
        "message of unknown role (NoneType)": 1,
        "key 'parallel_tool_calls'": 1,
        "key 'model'": 1,
    }


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "has an empty list of `messages`"),
        (
            [{"role": "critic", "content": CANARY}],
            f"has no message of a known role; known are {ROLES}",
        ),
        ({CANARY: 1}, "has no list of `messages`"),
        ([CANARY], "messages[0] is not an object"),
        ([user({CANARY: 1})], "messages[0].content is neither text nor a list of parts"),
        ([assistant("", tool_calls={CANARY: 1})], "messages[0].tool_calls is not a list"),
        ([assistant("", tool_calls=[CANARY])], "messages[0].tool_calls[0] is not an object"),
        ([assistant("", tool_calls=[call(7)])], "messages[0].tool_calls[0].id is not text"),
        (
            [user("ok"), user([10**30, CANARY])],
            "messages[1]: Message.content holds an integer beyond 64 bits",
        ),
    ],
)
def test_a_broken_conversation_is_left_out_whole_and_named_without_content(
    messages: Any, reason: str
) -> None:
    assert read({"messages": messages}, {"messages": [user("next")]})[0] == Problem(1, reason)
    assert CANARY not in reason


def test_an_object_without_messages_and_tools_too_deep_to_store() -> None:
    assert read({"prompt": CANARY}) == [Problem(1, "has no list of `messages`")]
    deep = json.loads("[" * 70 + "]" * 70)
    assert read({"messages": [user("a")], "tools": deep}) == [
        Problem(1, "Trajectory.tools nests deeper than 64 levels")
    ]


def test_no_depth_of_nesting_raises() -> None:
    """Some depths are parsed, but are too deep for what follows."""
    for depth in (*range(900, 1000, 7), 10_000):
        nested = b"[" * depth + b"]" * depth
        line = b'{"messages": [{"role": "user", "content": "a", "x": ' + nested + b"}]}"
        [found] = read(line)
        assert isinstance(found, ImportedTrajectory) or found.reason == "nests too deep"


def test_lone_surrogates_and_nul_are_cleaned_and_marked() -> None:
    imported = one(user("a\ud800b"), assistant("c\0d"))
    assert imported.turns[0].prompt == "a\ufffdb"
    assert imported.turns[0].cleaned == ("messages", "prompt", "response")


def test_an_unknown_format_is_named_with_those_that_exist() -> None:
    assert "openai-chat" in importer_names()
    with pytest.raises(ConfigurationError, match=r"'opnai'; known formats: .*openai-chat"):
        importer("opnai")


def test_a_whole_file_is_read_whole() -> None:
    is_read_whole(OWN_CHATS, OURS)


def test_real_conversations_are_read_whole() -> None:
    is_read_whole(real("openai-chat/tau-airline.jsonl"), REAL)


def is_read_whole(path: Path, expected: dict[str, int]) -> None:
    with path.open("rb") as stream:
        found = list(importer("openai-chat").read(stream, as_of=AS_OF))
    assert counts(found) == expected
    assert len(set(ids(found))) == expected["trajectories"]
    assert not any(isinstance(imported, Problem) or imported.left_out for imported in found)


@pytest.mark.parametrize("opened", ["[", "{"])
def test_a_document_over_many_lines_is_one_problem(opened: str) -> None:
    document: Any = {"messages": [user(CANARY)]}
    text = json.dumps([document] if opened == "[" else document, indent=2)
    found = read(*text.encode().splitlines())
    [problem] = found
    assert isinstance(problem, Problem)
    assert problem.line == 1
    assert "over many lines; one JSON object a line is expected, which jq -c" in problem.reason


def test_an_array_on_one_line_is_refused_alone() -> None:
    problem, good = read([{"messages": []}], {"messages": [user("a")]})
    assert problem == Problem(1, "is an array; one JSON object a line is expected")
    assert isinstance(good, ImportedTrajectory)


def test_parts_refusals_and_calls_of_the_file_have_their_places() -> None:
    with OWN_CHATS.open("rb") as stream:
        *_, repair, lock = importer("openai-chat").read(stream, as_of=AS_OF)
    assert isinstance(repair, ImportedTrajectory)
    assert isinstance(lock, ImportedTrajectory)
    first, second = repair.turns
    assert (first.prompt, first.response) == (
        "What is wrong with my wheel?",
        "Two spokes are broken. Shall I book a repair?",
    )
    assert [(call.tool_name, call.result) for call in second.tool_calls] == [
        ("free_slots", '["09:00", "15:30"]'),
        ("book", "booked"),
    ]
    assert (second.model_name, second.response) == ("workshop-1", "Booked for Tuesday at 15:30.")
    zero, refused, last = lock.turns
    assert (zero.turn_number, zero.prompt, zero.response) == (0, "", "Welcome to the workshop!")
    assert refused.response == "I can't help with a lock that isn't yours."
    assert refused.messages[1].stop_reason == "refusal"
    assert last.response == "Not over the phone: bring it in."
    assert last.messages[1].reasoning == "It may be theirs."


@pytest.mark.parametrize("by", ["id", "name", "used again"])
def test_many_calls_cost_no_more_than_they_are(by: str) -> None:
    def made(many: int) -> Callable[[], object]:
        messages = [user("go")]
        for n in range(many):
            id_ = "same" if by == "used again" else f"c{n}"
            messages.append(assistant(None, tool_calls=[call(id_)]))
        for n in range(many):
            answer = tool("same" if by == "used again" else f"c{n}", str(n))
            if by == "name":
                del answer["tool_call_id"]
            messages.append(answer)
        data = json.dumps({"messages": messages}).encode()

        def run() -> None:
            [imported] = read(data)
            assert isinstance(imported, ImportedTrajectory)
            results = [each.result for each in imported.turns[0].tool_calls]
            expected = [str(n) for n in range(many)]
            assert results == (expected if by == "id" else expected[::-1])

        return run

    check_grows_with_its_input(made, 300)


def test_a_call_that_was_answered_by_its_id_waits_no_more_by_its_name() -> None:
    by_name = tool("x", "by name")
    del by_name["tool_call_id"]
    imported = one(
        user("go"),
        assistant(None, tool_calls=[call("a"), call("b")]),
        tool("a", "first"),
        by_name,
        tool("b", "too late"),
        {"role": "tool", "tool_call_id": ["b"], "content": "odd"},
    )
    assert [each.result for each in imported.turns[0].tool_calls] == ["first", "by name"]
    assert imported.left_out["tool result without its call (kept as a message)"] == 2


def test_names_are_shown_as_everywhere() -> None:
    """Cut first and escaped then: a name may have millions of characters."""
    assert vars(openai_chat)["shown"] is foreign.shown


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400 + ".0"])
def test_a_number_that_no_json_can_be_made_of_is_refused(number: str) -> None:
    function = {"name": "f", "arguments": {"x": "NUMBER"}}
    document = {"messages": [assistant(None, tool_calls=[{"function": function}])]}
    line = json.dumps(document).replace('"NUMBER"', number)
    [problem] = read(line.encode())
    assert problem == Problem(1, "holds a number that is too large")
