"""Rollouts of the Codex CLI: real ones, one of our own that has all, odd and broken ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from formats.mutated import check_never_raises
from formats.stored import DAYS, read, read_all, rows_after_two_imports
from recorded import TESTS, Described, described, real

from trajectory.formats import ImportedTrajectory, Problem, importer
from trajectory.formats.base import Findable
from trajectory.ids import derived_id
from trajectory.merge import same_turn
from trajectory.models import Role, TrajectoryStatus, Turn

CANARY = "CANARY-7f3a"
OURS = TESTS / "fixtures/codex.jsonl"
OURS_OLD = TESTS / "fixtures/codex-old.jsonl"
TOKENS = {
    "input": "input_tokens",
    "cached_input": "cache_read_tokens",
    "output": "output_tokens",
    "reasoning_output": "reasoning_tokens",
}


def lines(*documents: Any) -> bytes:
    return b"\n".join(json.dumps(document).encode() for document in documents)


def one(*documents: Any) -> ImportedTrajectory:
    [imported] = read("codex", lines(*documents))
    return imported


def meta(**payload: Any) -> dict[str, Any]:
    return {"type": "session_meta", "payload": {"id": "s1", **payload}}


def item(**payload: Any) -> dict[str, Any]:
    return {"type": "response_item", "payload": payload}


def event(name: str, **payload: Any) -> dict[str, Any]:
    return {"type": "event_msg", "payload": {"type": name, **payload}}


def typed(message: str, **others: Any) -> dict[str, Any]:
    return event("user_message", message=message, **others)


def user(text: str) -> dict[str, Any]:
    return item(type="message", role="user", content=[{"type": "input_text", "text": text}])


def assistant(text: str) -> dict[str, Any]:
    return item(type="message", role="assistant", content=[{"type": "output_text", "text": text}])


def totals(input_: int, cached: int, output: int, reasoning: int) -> dict[str, Any]:
    usage = {
        "input_tokens": input_,
        "cached_input_tokens": cached,
        "output_tokens": output,
        "reasoning_output_tokens": reasoning,
        "total_tokens": input_ + output,
    }
    return event("token_count", info={"total_token_usage": usage, "last_token_usage": usage})


def said(turn: Turn, role: Role) -> list[Any]:
    return [message.content for message in turn.messages if message.role is role]


def tokens_of(turns: tuple[Turn, ...]) -> dict[str, int]:
    found = {
        name: sum(getattr(turn, field) or 0 for turn in turns) for name, field in TOKENS.items()
    }
    return {**found, "total": found["input"] + found["output"]}


@pytest.mark.parametrize("file", described("codex"))
def test_a_real_session_has_the_described_counts(file: Described) -> None:
    [imported] = read("codex", file.path)
    turns = imported.turns
    assert file.sessions == 1
    assert [turn.turn_number for turn in turns] == list(range(1, file.prompts + 1))
    answers = [text for turn in turns for text in said(turn, Role.ASSISTANT) if text is not None]
    assert len(answers) == file.assistant
    assert sum(len(turn.tool_calls) for turn in turns) == file.tool_calls
    if file.tokens:
        assert tokens_of(turns) == file.tokens
    else:
        assert all(turn.input_tokens is None for turn in turns)
    others = file.others
    assert imported.left_out.get("encrypted reasoning", 0) <= others.get("reasoning_items", 0)
    users = [text for turn in turns for text in said(turn, Role.USER)]
    injected = others.get("injected_user_lines", 0)
    # The page counts what is told from an injected line by its text; where texts are redacted,
    # the lines that nobody typed are among the messages as well.
    assert len(users) in (others["item_user_messages"], file.prompts + injected)
    assert not any(key.startswith(("line of type", "item of type")) for key in imported.left_out)


async def test_real_sessions_are_the_same_rows_in_both_databases_twice(
    tmp_path: Path, postgres_url: str
) -> None:
    files = real("codex").rglob("*.jsonl")
    urls = [str(tmp_path / "imported.db"), postgres_url]
    trajectories, turns = await rows_after_two_imports("codex", files, urls)
    assert len(trajectories) == 11
    assert len(turns) == 20
    assert sum(len(turn.tool_calls) for turn in turns) == 278


async def test_our_sessions_are_the_same_rows_in_both_databases_twice(
    tmp_path: Path, postgres_url: str
) -> None:
    urls = [str(tmp_path / "imported.db"), postgres_url]
    trajectories, turns = await rows_after_two_imports("codex", [OURS, OURS_OLD], urls)
    assert len(trajectories) == 2
    assert [len(turn.messages) for turn in sorted(turns, key=lambda t: t.created_at)] == [
        5, 2, 9, 2, 4,
    ]  # fmt: skip


def test_a_session_has_its_header() -> None:
    [imported] = read("codex", OURS)
    trajectory = imported.trajectory
    session = "11111111-2222-7333-8444-555555555555"
    assert trajectory.id == derived_id("codex", session)
    assert str(trajectory.id) == "6b938ae2-29c6-5577-95de-c0c81032617b"  # of all versions
    assert trajectory.session_id == session
    assert (trajectory.agent_name, trajectory.agent_version) == ("codex", "0.100.0")
    assert trajectory.system_prompt == "You help with code."
    assert trajectory.status is TrajectoryStatus.COMPLETED
    assert trajectory.source_format == "codex"
    assert trajectory.created_at == datetime(2026, 3, 1, 9, tzinfo=UTC)
    assert trajectory.ended_at is not None
    assert trajectory.metadata["cwd"] == "/srv/shop"
    assert trajectory.metadata["git"]["branch"] == "main"
    assert trajectory.metadata["thread_name"] == "price bug"
    assert imported.left_out == {
        "encrypted reasoning": 2,
        "rate limits of the account": 5,
        "compacted history": 2,
        "other settings of a turn (turn_context)": 1,
        "event 'new_kind_of_event'": 1,
        "line of type 'new_kind_of_line'": 1,
    }


def test_a_turn_has_all_that_belongs_to_it() -> None:
    [imported] = read("codex", OURS)
    first, second, third = imported.turns
    assert first.prompt == "Why is the price wrong?"
    assert first.response == "Fixed: it was rounded twice."
    assert (first.model_name, second.model_name) == ("gpt-5", "gpt-5-mini")
    assert first.latency_ms == 30_000
    assert first.metadata["turn_id"] == "t1"
    assert first.metadata["time_to_first_token_ms"] == 900
    assert first.metadata["context"]["effort"] == "high"
    assert [message.role for message in first.messages] == [
        Role.DEVELOPER, Role.USER, Role.USER, Role.ASSISTANT, Role.TOOL, Role.TOOL,
        Role.ASSISTANT, Role.TOOL, Role.ASSISTANT,
    ]  # fmt: skip
    assert said(first, Role.ASSISTANT) == [
        "I run the tests.", None, "Fixed: it was rounded twice.",
    ]  # fmt: skip
    assert first.messages[3].reasoning == "Look at the tests first."
    assert first.messages[3].usage["output_tokens"] == 20
    assert first.messages[8].usage["output_tokens"] == 30
    assert first.messages[4].call_id == "c1"
    assert (second.stop_reason, third.stop_reason) == ("interrupted", None)
    assert third.metadata["rolled_back_turns"] == 1
    assert said(third, Role.SYSTEM) == ["The price was fixed."]


def test_tool_calls_find_their_results_and_outcomes() -> None:
    [imported] = read("codex", OURS)
    pytest_, log, search, patch = imported.turns[0].tool_calls
    assert (pytest_.tool_name, pytest_.arguments) == ("exec_command", '{"cmd": "pytest",  "n":1}')
    assert (pytest_.result, pytest_.is_error, pytest_.latency_ms) == ("1 failed", True, 2500)
    assert (log.result, log.is_error) == ("two commits", None)
    assert (search.tool_name, search.call_id, search.result) == ("web_search", None, None)
    assert json.loads(search.arguments or "") == {"type": "search", "query": "rounding"}
    assert (patch.arguments, patch.result) == ("*** Begin Patch", "Success.")
    assert patch.is_error is False
    assert [call.message_position for call in imported.turns[0].tool_calls] == [3, 3, 6, 6]


def test_tokens_of_turns_are_what_the_totals_grew_by() -> None:
    [imported] = read("codex", OURS)
    assert [turn.input_tokens for turn in imported.turns] == [250, 150, 100]
    assert tokens_of(imported.turns) == {
        "input": 500, "cached_input": 280, "output": 70, "reasoning_output": 12, "total": 570,
    }  # fmt: skip


def test_totals_that_fall_or_come_early_are_still_counted() -> None:
    imported = one(
        meta(), totals(10, 0, 1, 0), typed("a"), totals(30, 5, 3, 1), typed("b"),
        totals(7, 0, 2, 0), event("token_count", info=None), event("token_count", info={"x": 1}),
        totals(-1, True, 2**63, 0), typed("c"),
    )  # fmt: skip
    first, second, third = imported.turns
    assert (first.input_tokens, first.cache_read_tokens, first.output_tokens) == (30, 5, 3)
    assert (second.input_tokens, second.output_tokens) == (7, 2)
    assert third.input_tokens is None
    assert imported.left_out["token totals that fell (counted anew)"] == 1


def test_the_prompt_stands_once_among_the_messages() -> None:
    """As an item with its event, before or after it; as an event alone; or as an item alone."""
    before = one(meta(), user("do it"), typed("do it"), assistant("ok"))
    after = one(meta(), typed("do it"), user("do it"), assistant("ok"))
    event_alone = one(meta(), typed("do it"), assistant("ok"))
    item_alone = one(meta(), user("do it"), assistant("ok"))
    for imported in (before, after, event_alone, item_alone):
        [turn] = imported.turns
        assert (turn.prompt, turn.response) == ("do it", "ok")
        assert [message.content for message in turn.messages] == ["do it", "ok"]


def test_redacted_items_are_told_by_their_place() -> None:
    imported = one(meta(), user("[1]"), user("[2]"), typed("[3]"), assistant("ok"))
    [turn] = imported.turns
    assert (turn.prompt, said(turn, Role.USER)) == ("[3]", ["[1]", "[2]"])


@pytest.mark.parametrize(
    "text",
    [
        "<environment_context>\n  <cwd>/</cwd>",
        "# AGENTS.md instructions for /repo",
        "<permissions instructions>",
        "<user_instructions>",
        "<turn_aborted>",
    ],
)
def test_what_codex_writes_in_the_name_of_the_user_is_no_turn(text: str) -> None:
    imported = one(meta(), user(text), user("do it"), assistant("ok"), user(text))
    [turn] = imported.turns
    assert turn.prompt == "do it"
    assert said(turn, Role.USER) == [text, "do it", text]
    by_event = one(meta(), typed(text, kind="environment_context"), typed("do it", kind="plain"))
    assert [turn.prompt for turn in by_event.turns] == ["do it"]


def test_answers_and_reasoning_that_are_events_alone() -> None:
    imported = one(
        meta(), typed("a"), event("agent_reasoning", text="hm"), event("agent_message", message="b")
    )
    [turn] = imported.turns
    assert turn.response == "b"
    assert turn.messages[1].reasoning == "hm"


def test_turn_context_is_no_turn_and_images_are_kept() -> None:
    context = {"type": "turn_context", "payload": {"model": "gpt-5"}}
    imported = one(meta(), context, typed("a", images=["data:x"]), context, context, assistant("b"))
    [turn] = imported.turns
    assert turn.model_name == "gpt-5"
    assert turn.messages[0].content == [
        {"type": "text", "text": "a"},
        {"type": "input_image", "image_url": "data:x"},
    ]


def test_what_the_model_does_before_the_first_prompt_is_turn_0() -> None:
    imported = one(meta(), item(type="message", role="developer", content="x"), assistant("hello"),
                   typed("a"))  # fmt: skip
    zero, first = imported.turns
    assert (zero.turn_number, zero.prompt, zero.response) == (0, "", "hello")
    assert (first.turn_number, first.prompt) == (1, "a")


def test_the_old_form_has_no_wrapper_and_no_times() -> None:
    [imported] = read("codex", OURS_OLD)
    first, second = imported.turns
    assert imported.trajectory.session_id == "99999999-2222-4333-8444-555555555555"
    assert imported.trajectory.created_at == datetime(2025, 6, 1, 8, tzinfo=UTC)
    assert imported.trajectory.ended_at is None
    assert imported.trajectory.system_prompt == "Be brief."
    assert (first.prompt, first.response) == ("List the files.", "There is a.py.")
    assert (second.prompt, second.response) == ("Thanks.", "Welcome.")
    assert first.created_at < second.created_at
    [call] = first.tool_calls
    assert (call.tool_name, call.call_id) == ("local_shell", "call1")
    assert json.loads(call.arguments or "")["command"] == ["ls"]
    assert call.result == '{"output":"a.py\\n","metadata":{"exit_code":0}}'
    assert first.messages[call.message_position or 0].reasoning == "Use ls."
    assert imported.left_out == {"line of type 'state'": 2}


def test_hand_made_spellings_are_read() -> None:
    """Items without a type, prompts as `request_item`, arguments under other names."""
    imported = one(
        meta(),
        {"type": "request_item", "payload": {"type": "message", "role": "user", "content": "a"}},
        item(role="assistant", content=[{"type": "output_text", "text": "b"}]),
        item(type="function_call", name="Read", call_id="1", parameters='{"p": 1}'),
        item(type="function_call", name="stdin", call_id="1", arguments={"chars": "y\n"}),
        item(type="function_call_output", call_id="1", output={"content": "r", "success": False}),
    )
    [turn] = imported.turns
    assert (turn.prompt, turn.response) == ("a", "b")
    first, second = turn.tool_calls
    assert (first.arguments, first.result, first.is_error) == ('{"p": 1}', "r", True)
    assert (second.arguments, second.result) == ('{"chars": "y\\n"}', None)


def test_a_sub_agent_has_its_parent() -> None:
    spawned = {"subagent": {"thread_spawn": {"parent_thread_id": "p", "depth": 1}}}
    child = one(meta(source=spawned), typed("a")).trajectory
    grandchild = one(meta(session_id="r", parent_thread_id="p"), typed("a")).trajectory
    assert child.parent_trajectory_id == child.root_trajectory_id == derived_id("codex", "p")
    assert child.session_id == "s1"
    assert grandchild.parent_trajectory_id == derived_id("codex", "p")
    assert grandchild.root_trajectory_id == derived_id("codex", "r")
    assert grandchild.session_id == "r"
    alone = one(meta(parent_thread_id="s1", source="cli"), typed("a")).trajectory
    assert (alone.parent_trajectory_id, alone.root_trajectory_id) == (None, None)


def test_a_second_header_is_counted_and_the_first_counts() -> None:
    imported = one(meta(), meta(id="s2"), typed("a"))
    assert imported.trajectory.session_id == "s1"
    assert imported.left_out == {"session header beyond the first": 1}


def test_a_session_without_a_header_has_a_stable_id() -> None:
    grown = one(typed("a"), assistant("b"), typed("c"))
    assert one(typed("a"), assistant("b")).trajectory.id == grown.trajectory.id
    assert one(typed("x"), assistant("b")).trajectory.id != grown.trajectory.id
    assert grown.trajectory.created_at == DAYS[0]


def test_errors_and_running_tasks_are_told() -> None:
    imported = one(
        meta(), event("task_started", turn_id="1"), typed("a"), event("error", message="quota")
    )
    assert imported.trajectory.status is TrajectoryStatus.RUNNING
    assert imported.trajectory.ended_at is None
    assert imported.turns[0].error == "quota"
    early = one(meta(), event("turn_aborted", reason="x"), typed("a"))
    assert early.left_out == {"turn_aborted outside of a turn": 1}
    compacting = one(
        meta(), event("task_started"), typed("a"), assistant("b"), event("task_complete"),
        event("task_started"), {"type": "compacted", "payload": {"message": "so far"}},
        event("task_complete", duration_ms=7), event("task_started"), typed("c"),
    )  # fmt: skip
    assert compacting.trajectory.status is TrajectoryStatus.RUNNING
    assert [turn.latency_ms for turn in compacting.turns] == [None, None]
    assert [len(turn.messages) for turn in compacting.turns] == [2, 2]


def test_a_session_that_grew_adds_turns_and_changes_none() -> None:
    documents = OURS.read_bytes().splitlines()
    [whole] = read("codex", OURS)
    ends = [
        number
        for number, line in enumerate(documents, 1)
        if b'"task_complete"' in line or b'"type": "turn_aborted"' in line
    ]
    assert len(ends) == 3
    for turns, end in enumerate(ends, 1):
        [part] = read("codex", b"\n".join(documents[:end]))
        assert part.trajectory.id == whole.trajectory.id
        assert len(part.turns) == turns
        assert all(map(same_turn, part.turns, whole.turns[:turns]))
    # What comes after the end of a turn belongs to the next one, which isn't there yet.
    [between] = read("codex", b"\n".join(documents[: ends[1] + 4]))
    assert all(map(same_turn, between.turns, whole.turns[:2]))
    assert between.left_out["message after the last turn"] == 2
    assert between.left_out["turns taken back at the end"] == 1


def test_a_broken_line_is_named_and_the_others_are_kept() -> None:
    found = read_all("codex", lines(meta(), typed("a")) + b"\n{" + CANARY.encode() + b"\n")
    assert found[0] == Problem(
        3,
        "is not JSON: Expecting property name enclosed in double quotes at character 2",
    )
    [imported] = [each for each in found if isinstance(each, ImportedTrajectory)]
    assert [turn.prompt for turn in imported.turns] == ["a"]


def test_the_malformed_session_keeps_its_good_lines() -> None:
    file = real("malformed/codex-rollout-66666666-6666-4666-8666-666666666666.jsonl")
    problem, imported = read_all("codex", file)
    assert isinstance(problem, Problem)
    assert problem.line == 3
    assert isinstance(imported, ImportedTrajectory)
    assert [turn.prompt for turn in imported.turns] == ["Safe line before malformed input."]


def test_input_that_is_no_session() -> None:
    assert read_all("codex", b"") == []
    [problem] = read_all("codex", lines({"messages": [CANARY]}, {"a": 1}))
    assert problem == Problem(1, "has no line that a Codex session is made of")
    [compressed] = read_all("codex", b"\x1f\x8b\x08\n{}")
    assert isinstance(compressed, Problem)
    assert "gzip" in compressed.reason


def test_hostile_text_is_cleaned_and_named_safely() -> None:
    hostile = "\x1b[31m\u202e\ud800\0" + "x" * 3000
    imported = one(
        meta(id=hostile, cli_version=hostile, big=10**30, deep=json.loads("[" * 70 + "]" * 70)),
        typed(hostile),
        item(type="function_call", name=hostile, call_id=hostile, arguments=hostile),
        event(hostile),
        {"type": hostile, "payload": {}},
    )
    [turn] = imported.turns
    assert turn.prompt == hostile.replace("\ud800", "\ufffd").replace("\0", "\ufffd")
    assert [call.tool_name for call in turn.tool_calls] == ["function"]
    assert imported.trajectory.agent_version is None
    assert imported.left_out["session header member that can't be stored"] == 2
    for name in imported.left_out:
        assert name.isascii()
        assert name.isprintable()
        assert len(name) < 80


@pytest.mark.parametrize("file", [OURS, OURS_OLD], ids=["new", "old"])
def test_no_mutation_raises(file: Path) -> None:
    documents = [json.loads(line) for line in file.read_text().splitlines()]
    check_never_raises("codex", documents, as_list=False, seeds=300)


def test_the_own_sessions_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_HOME", str(tmp_path))
    codex = importer("codex")
    assert isinstance(codex, Findable)
    assert list(codex.find()) == []
    names = ["sessions/2026/03/01/rollout-a.jsonl", "archived_sessions/rollout-b.jsonl"]
    for name in [*names, "sessions/2026/history.jsonl", "log/rollout-c.jsonl"]:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    assert list(codex.find()) == [tmp_path / name for name in names]
    monkeypatch.delenv("CODEX_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home/.codex/sessions").mkdir(parents=True)
    (tmp_path / "home/.codex/sessions/rollout-d.jsonl").write_bytes(b"")
    assert [file.name for file in codex.find()] == ["rollout-d.jsonl"]
