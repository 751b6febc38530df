"""ShareGPT in and out: real sets, one of our own, odd and broken conversations."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from factories import TrajectoryFactory, TurnFactory
from formats.growth import check_grows_with_its_input
from formats.mutated import ODD, check_never_raises
from formats.stored import DAYS, read, read_all, rows_after_two_imports
from recorded import TESTS, Described, described, real

from trajectory.formats import ImportedTrajectory, Problem, exporter
from trajectory.models import Message, Role, ToolCall, Trajectory, TrajectoryStatus, Turn

CANARY = "CANARY-7f3a"
OURS = TESTS / "fixtures/sharegpt.json"


def said(from_: Any, value: Any, **others: Any) -> dict[str, Any]:
    return {"from": from_, "value": value, **others}


def one(*conversations: Any, **others: Any) -> ImportedTrajectory:
    document = {"conversations": list(conversations), **others}
    [imported] = read("sharegpt", json.dumps([document]).encode())
    return imported


def written(
    conversations: Iterable[tuple[Trajectory, Iterable[Turn]]],
) -> tuple[list[Any], Counter[str], bytes]:
    out = io.BytesIO()
    writing = exporter("sharegpt").begin(out)
    for trajectory, turns in conversations:
        writing.start(trajectory)
        for turn in turns:
            writing.turn(turn)
        writing.end()
    writing.close()
    found: list[Any] = json.loads(out.getvalue())
    return found, writing.left_out, out.getvalue()


def exported(turn: Turn) -> tuple[list[tuple[str, str]], Counter[str]]:
    trajectory = TrajectoryFactory(id=turn.trajectory_id)
    [document], left_out, _ = written([(trajectory, [turn])])
    for name in ("trajectory.created_at", "trajectory.status", "turn.created_at"):
        del left_out[name]
    for name in ("spec_id", "agent_name", "run_id"):
        left_out.pop(f"trajectory.{name}", None)
    return [(each["from"], each["value"]) for each in document["conversations"]], left_out


@pytest.mark.parametrize("file", described("sharegpt"))
def test_a_real_set_has_the_described_counts(file: Described) -> None:
    found = read("sharegpt", file.path)
    turns = [turn for imported in found for turn in imported.turns]
    messages = [message for turn in turns for message in turn.messages]
    assert len(found) == file.sessions
    assert len({imported.trajectory.id for imported in found}) == file.sessions
    assert len(turns) == file.prompts
    roles = Counter(message.role for message in messages if message.content is not None)
    assert roles[Role.ASSISTANT] == file.assistant
    calls = [call for turn in turns for call in turn.tool_calls]
    assert len(calls) == file.tool_calls
    assert roles[Role.TOOL] == file.others.get("tool_results", 0)
    assert all(call.result is not None for call in calls)
    assert not any(imported.left_out for imported in found)


@pytest.mark.parametrize("file", described("sharegpt"))
def test_a_real_set_is_written_as_it_was_read(file: Described) -> None:
    found = read("sharegpt", file.path)
    documents, _, _ = written((each.trajectory, each.turns) for each in found)
    before = json.loads(file.path.read_bytes())
    assert [each["conversations"] for each in documents] == [
        each["conversations"] for each in before
    ]
    for after, document in zip(documents, before, strict=True):
        tools = json.loads(document["tools"]) if document.get("tools") else None
        assert json.loads(after.get("tools", "null")) == tools


@pytest.mark.parametrize("format_", ["codex", "swe-agent"])
def test_real_sessions_of_agents_are_written_with_all_their_calls(format_: str) -> None:
    files = sorted(path for path in real(format_).rglob("*.*") if path.is_file())
    found = [imported for file in files for imported in read(format_, file)]
    documents, left_out, _ = written((each.trajectory, each.turns) for each in found)
    kinds = Counter(each["from"] for document in documents for each in document["conversations"])
    turns = [turn for imported in found for turn in imported.turns]
    calls = [call for turn in turns for call in turn.tool_calls]
    assert len(documents) == len(found)
    assert kinds["function_call"] == len(calls)
    assert kinds["observation"] == sum(call.result is not None for call in calls)
    said = [message for turn in turns for message in turn.messages if message.content]
    assert kinds["gpt"] == sum(message.role is Role.ASSISTANT for message in said)
    assert "tool result without its call" not in left_out


async def test_real_sets_are_the_same_rows_in_both_databases_twice(
    tmp_path: Path, postgres_url: str
) -> None:
    urls = [str(tmp_path / "imported.db"), postgres_url]
    files = real("sharegpt").glob("*.json")
    trajectories, turns = await rows_after_two_imports("sharegpt", files, urls)
    assert (len(trajectories), len(turns)) == (800, 1746)
    assert sum(len(turn.tool_calls) for turn in turns) == 211


async def test_our_set_is_the_same_rows_in_both_databases_twice(
    tmp_path: Path, postgres_url: str
) -> None:
    urls = [str(tmp_path / "imported.db"), postgres_url]
    trajectories, turns = await rows_after_two_imports("sharegpt", [OURS], urls)
    assert (len(trajectories), len(turns)) == (4, 6)
    documents, _, _ = written(
        (each, [turn for turn in turns if turn.trajectory_id == each.id]) for each in trajectories
    )
    # The same conversations in the order of the file, though their ids have none.
    assert [len(each["conversations"]) for each in documents] == [6, 3, 2, 2]


def test_a_conversation_becomes_turns_with_messages_and_calls() -> None:
    imported, welcomed, bye, again = read("sharegpt", OURS)
    trajectory, (first, second) = imported.trajectory, imported.turns
    assert str(trajectory.id) == "80fc8ba2-6326-5f27-b331-2c785c2b9d87"  # of all versions
    assert trajectory.system_prompt == "Be kind."
    assert trajectory.tools == [{"name": "weather", "description": "Wetter für eine Stadt"}]
    assert trajectory.metadata == {"id": "a1"}
    assert trajectory.status is TrajectoryStatus.COMPLETED
    assert trajectory.created_at == DAYS[0] < welcomed.trajectory.created_at
    assert (first.turn_number, first.prompt, first.response) == (1, "Hi", "Hello!")
    assert (second.prompt, second.response) == ("The weather in Wien?", "21 degrees.")
    [call] = second.tool_calls
    assert (call.tool_name, call.arguments) == ("weather", '{"city":  "Wien"}')
    assert (call.result, call.message_position) == ('{"c": 21}', 1)
    assert [message.role for message in second.messages] == [
        Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT,
    ]  # fmt: skip
    zero, one_ = welcomed.turns
    assert (zero.turn_number, zero.response, one_.prompt) == (0, "Welcome.", "Bye")
    assert bye.trajectory.id != again.trajectory.id


def test_ids_come_from_the_content_and_its_occurrence_alone() -> None:
    documents = json.loads(OURS.read_bytes())
    ids = [each.trajectory.id for each in read("sharegpt", OURS)]
    turned = [dict(reversed(document.items())) for document in reversed(documents)]
    lines = "\n".join(map(json.dumps, turned)).encode()
    assert {each.trajectory.id for each in read("sharegpt", lines)} == set(ids)
    named = [{**documents[2], "id": name} for name in "ab"]
    assert len({each.trajectory.id for each in read("sharegpt", json.dumps(named).encode())}) == 2


@pytest.mark.parametrize(
    ("value", "calls"),
    [
        ('{"name": "f", "arguments": {"a": 1}}', [("f", '{"a": 1}')]),
        (' {"arguments" : [1,  2] , "name":"f"} ', [("f", "[1,  2]")]),
        ('{"name": "f", "arguments": "{\\"a\\":1}"}', [("f", '{"a":1}')]),
        ('{"name": "f"}', [("f", None)]),
        ('[{"name": "f", "arguments": {}}, {"name": "g", "arguments": {} }]',
         [("f", "{}"), ("g", "{}")]),
    ],
)  # fmt: skip
def test_calls_are_read_byte_for_byte(value: str, calls: list[tuple[str, str | None]]) -> None:
    imported = one(said("human", "a"), said("function_call", value), said("observation", "r"))
    made = imported.turns[0].tool_calls
    assert [(call.tool_name, call.arguments) for call in made] == calls
    assert [call.result for call in made] == ["r", *[None] * (len(calls) - 1)]
    assert imported.left_out == {}


@pytest.mark.parametrize(
    "value",
    ["", "x", "{", "{}", "[]", "[", "null", '{"name": 1, "arguments": {}}', '{"name": "f"} x',
     '{"name": "f", "other": 1}', '[{"name": "f"}', '[{"name": "f"},]', '{"name" "f"}',
     '{"name": "f", [1]: 2}', '{"name": "f", "name": "g"}',
     '{"name": "f", "arguments": NaN}', '{"name": "f", "arguments": ' + "[" * 5000],
)  # fmt: skip
def test_calls_that_cannot_be_read_are_kept_as_messages(value: str) -> None:
    imported = one(said("human", "a"), said("function_call", value), said("observation", "r"))
    [turn] = imported.turns
    assert turn.tool_calls == ()
    assert [message.content for message in turn.messages] == ["a", value, "r"]
    assert imported.left_out == {
        "function_call that can't be read (kept as a message)": 1,
        "observation without its call (kept as a message)": 1,
    }


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ('[{"name": "f"}]', [{"name": "f"}]),
        ("", None),
        ("not JSON", "not JSON"),
        ('1, "b": 2', '1, "b": 2'),
        ([{"name": "f"}], [{"name": "f"}]),
        (None, None),
    ],
)
def test_tools_are_json_in_a_text(tools: Any, expected: Any) -> None:
    assert one(said("human", "a"), tools=tools).trajectory.tools == expected


def test_what_has_no_place_is_counted_and_never_fatal() -> None:
    imported = one(
        said("human", "a", weight=1),
        said("critic", CANARY),
        said(["x"], CANARY),
        said("gpt", {"odd": 1}),
        said("system", "later"),
        said("gpt", None),
        system="first",
        source="x",
    )
    [turn] = imported.turns
    assert imported.trajectory.system_prompt == "first"
    assert [message.content for message in turn.messages] == ["a", '{"odd": 1}', "later", ""]
    assert imported.left_out == {
        "message key 'weight'": 1,
        "message from unknown 'critic'": 1,
        "message from unknown (list)": 1,
        "key 'source'": 1,
    }


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"messages": [CANARY]}, "has no list of `conversations`"),
        ({"conversations": [CANARY]}, "conversations[0] is not an object"),
        ({"conversations": []}, "has no message of a known role in its `conversations`"),
        ({"conversations": [said("human", "a")], "tools": [10**30]},
         "Trajectory.tools holds an integer beyond 64 bits"),
        (CANARY, "is not an object; one JSON object a line is expected"),
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_a_problem(document: Any, reason: str) -> None:
    good = {"conversations": [said("human", "a")]}
    problem, imported = read_all("sharegpt", json.dumps([document, good]).encode())
    assert problem == Problem(1, reason)
    assert isinstance(imported, ImportedTrajectory)


def test_no_mutation_raises() -> None:
    documents = json.loads(OURS.read_bytes())
    check_never_raises("sharegpt", documents, as_list=True, seeds=200)
    check_never_raises("sharegpt", documents, as_list=False, seeds=100)


def test_a_turn_of_prompt_and_response_is_written() -> None:
    call = ToolCall(tool_name="f", arguments='{"a":  1}', result="r")
    turn = TurnFactory(prompt="a", response="b", tool_calls=[call])
    assert exported(turn) == (
        [
            ("human", "a"),
            ("function_call", '{"name": "f", "arguments": {"a":  1}}'),
            ("observation", "r"),
            ("gpt", "b"),
        ],
        Counter(),
    )


def test_messages_are_written_in_their_order() -> None:
    turn = TurnFactory(
        prompt="a",
        response="d",
        messages=[
            Message(role=Role.DEVELOPER, content=CANARY),
            Message(role=Role.USER, content=[{"type": "text", "text": "a"}, {"type": "image"}]),
            Message(role=Role.ASSISTANT, content="b", reasoning="hm"),
            Message(role=Role.TOOL, content="r1", call_id="1"),
            Message(role=Role.TOOL, content="r2"),
            Message(role=Role.TOOL, content="orphan"),
            Message(role=Role.ASSISTANT, content="d"),
        ],
        tool_calls=[
            ToolCall(tool_name="f", arguments="not JSON", result="r1", call_id="1",
                     message_position=2, is_error=True),
            ToolCall(tool_name="g", arguments="NaN", result="r2", message_position=2),
            ToolCall(tool_name="h", message_position=6),
        ],
    )  # fmt: skip
    assert exported(turn) == (
        [
            ("human", "a"),
            ("gpt", "b"),
            ("function_call", '{"name": "f", "arguments": "not JSON"}'),
            ("observation", "r1"),
            ("function_call", '{"name": "g", "arguments": "NaN"}'),
            ("observation", "r2"),
            ("gpt", "d"),
            ("function_call", '{"name": "h", "arguments": {}}'),
        ],
        Counter(
            {
                "instructions in a turn": 1,
                "content part 'image'": 1,
                "message.reasoning": 1,
                "tool result without its call": 1,
                "tool_call.is_error": 1,
            }
        ),
    )


def test_a_late_result_stands_behind_its_call() -> None:
    trajectory = TrajectoryFactory()
    made = Message(role=Role.ASSISTANT)
    late = Message(role=Role.TOOL, content="r", call_id="1")
    call = ToolCall(tool_name="f", call_id="1", message_position=0)
    turns = [
        TurnFactory(trajectory_id=trajectory.id, turn_number=1, prompt="a", response="",
                    messages=[made], tool_calls=[call]),
        TurnFactory(trajectory_id=trajectory.id, turn_number=2, prompt="b", response="c",
                    messages=[late]),
    ]  # fmt: skip
    [document], _, _ = written([(trajectory, turns)])
    assert [each["from"] for each in document["conversations"]] == [
        "human", "function_call", "observation", "human", "gpt",
    ]  # fmt: skip


def test_prompt_and_response_that_are_no_messages_are_written() -> None:
    turn = TurnFactory(prompt="a", response="b", messages=[Message(role=Role.SYSTEM, content="x")])
    assert exported(turn)[0] == [("human", "a"), ("gpt", "b")]


def test_every_field_is_written_or_counted() -> None:
    trajectory = TrajectoryFactory(full=True)
    turn = TurnFactory(full=True, trajectory_id=trajectory.id)
    [document], left_out, _ = written([(trajectory, [turn])])
    assert document["id"] == str(trajectory.id)
    assert document["system"] == trajectory.system_prompt
    assert json.loads(document["tools"]) == trajectory.tools
    carried = {"id", "system_prompt", "tools", "source_format"}
    assert {name for name in left_out if name.startswith("trajectory.")} == {
        f"trajectory.{name}"
        for name in Trajectory.model_fields.keys() - carried
        if getattr(trajectory, name) not in (None, {}, ())
    }
    assert left_out["turn.questions"] == len(turn.questions)
    assert left_out["turn.latency_ms"] == 1


def test_files_are_the_same_bytes_and_valid_even_when_empty() -> None:
    trajectories = [(each.trajectory, each.turns) for each in read("sharegpt", OURS)]
    assert written(trajectories)[2] == written(trajectories)[2]
    assert written([])[0] == []
    documents, left_out, data = written([(TrajectoryFactory(), []), trajectories[0]])
    assert len(documents) == 1
    assert left_out["trajectory without messages"] == 1
    assert data.count(b"\n") == 3


def test_hostile_text_stays_text() -> None:
    for odd in (text for text in ODD if isinstance(text, str)):
        turn = TurnFactory(prompt=odd + "</script>\u2028", response=odd, tool_calls=[
            ToolCall(tool_name=odd, arguments=odd, result=odd)
        ]) if len(odd) < 1000 else TurnFactory(prompt=odd)  # fmt: skip
        [document], _, data = written([(TrajectoryFactory(), [turn])])
        assert document["conversations"][0]["value"] == turn.prompt
        assert b"\x1b" not in data
        again = read("sharegpt", data)[0].turns[0]
        assert again.prompt == turn.prompt


def test_it_is_a_format_for_training() -> None:
    """So turns that repeat another trajectory's are kept from it, and counted, by the export."""
    assert getattr(exporter("sharegpt"), "for_training", False) is True
    assert exporter("sharegpt").suffix == ".json"


def test_calls_side_by_side_cost_no_more_than_they_are() -> None:
    def made(many: int) -> Callable[[], object]:
        calls = [
            ToolCall(tool_name="f", arguments="{}", result=str(n), call_id=f"c{n}")
            for n in range(many)
        ]
        turn = Turn(
            trajectory_id=UUID(int=1), turn_number=1, prompt="go", response="", tool_calls=calls
        )

        def run() -> None:
            pairs, _ = exported(turn)
            observed = [value for from_, value in pairs if from_ == "observation"]
            assert observed == [str(n) for n in range(many)]

        return run

    check_grows_with_its_input(made, 300)
