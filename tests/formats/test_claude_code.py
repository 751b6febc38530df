"""Sessions of Claude Code: real ones, a made-up home of our own, odd and broken ones."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from formats.growth import check_grows_with_its_input
from formats.mutated import check_never_raises
from formats.stored import DAYS, read, read_all
from recorded import TESTS, Described, described, real

from trajectory import TrajectoryQuery, TurnQuery, open_backend
from trajectory.backend import Batch
from trajectory.errors import ConfigurationError
from trajectory.formats import Findable, ImportedTrajectory, Problem, importer
from trajectory.formats import claude_code_lines as parts
from trajectory.ids import derived_id
from trajectory.merge import same_turn
from trajectory.models import Message, Role, TrajectoryStatus, Turn

CANARY = "CANARY-7f3a"
HOME = TESTS / "fixtures/claude-code"
PROJECT = HOME / "projects/-srv-shop"
SESSION = "5b1f0c3e-77aa-4d0e-9a52-0d6c1f4e2a01"
MAIN = PROJECT / f"{SESSION}.jsonl"
AGENT = PROJECT / SESSION / "subagents/agent-7a1.jsonl"


def lines(*documents: Any) -> bytes:
    return b"\n".join(json.dumps(document).encode() for document in documents)


def found(*documents: Any) -> list[ImportedTrajectory]:
    return read("claude-code", lines(*documents))


def one(*documents: Any) -> ImportedTrajectory:
    [imported] = found(*documents)
    return imported


def line(kind: str, uuid: str | None, content: Any, **more: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": uuid,
        "sessionId": "s1",
        "message": {"role": kind, "content": content},
        **more,
    }


def user(uuid: str | None, content: Any, **more: Any) -> dict[str, Any]:
    return line("user", uuid, content, **more)


def answer(uuid: str, id_: str | None, *blocks: Any, **message: Any) -> dict[str, Any]:
    made = line("assistant", uuid, list(blocks))
    made["message"].update(id=id_, model="m-1", **message)
    return made


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def call(id_: str, name: str = "Read") -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": name, "input": {"a": 1}}


def result(id_: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id_, "content": content, **more}


def messages(imported: list[ImportedTrajectory], role: Role) -> list[Message]:
    return [
        message
        for each in imported
        for turn in each.turns
        for message in turn.messages
        if message.role is role
    ]


def counts(imported: list[ImportedTrajectory]) -> tuple[Any, ...]:
    """Count as the page beside the real files does: input without what the cache held."""
    asked, told = Counter[bool](), Counter[str]()
    tokens = Counter[str]()
    for each in imported:
        for turn in each.turns:
            asked[each.trajectory.parent_trajectory_id is not None] += turn.turn_number > 0
            told["slash_commands"] += len(turn.metadata.get("slash_commands", ()))
            cached, put = turn.cache_read_tokens or 0, turn.cache_write_tokens or 0
            tokens.update(
                input=(turn.input_tokens or 0) - cached - put,
                output=turn.output_tokens or 0,
                cache_read=cached,
                cache_write=put,
            )
    told["sidechain_prompts"] = asked[True]
    told["tool_results"] = len(messages(imported, Role.TOOL))
    return (
        len({each.trajectory.session_id for each in imported}),
        asked[False],
        len(messages(imported, Role.ASSISTANT)),
        sum(len(turn.tool_calls) for each in imported for turn in each.turns),
        dict(+tokens),
        dict(+told),
    )


@pytest.mark.parametrize("file", described("claude-code"))
def test_a_real_file_has_the_described_counts(file: Described) -> None:
    everything = read_all("claude-code", file.path)
    imported = [each for each in everything if isinstance(each, ImportedTrajectory)]
    problems = [each.line for each in everything if isinstance(each, Problem)]
    told = {name: file.others.get(name, 0) for name in ("slash_commands", "sidechain_prompts")}
    told["tool_results"] = file.others.get("tool_results", 0)
    expected = (file.sessions, file.prompts, file.assistant, file.tool_calls, file.tokens)
    assert counts(imported) == (*expected, {name: n for name, n in told.items() if n})
    made_bad = file.path.name == "edge_cases.jsonl"
    assert problems == ([13, 15, 16] if made_bad else [])
    left_out = Counter[str]()
    for each in imported:
        left_out.update(each.left_out)
    # The page counts the second of two lines with one uuid as repeated; as the first of them holds
    # nothing (it is misspelt), the second is taken.
    repeated = file.others.get("repeated_lines", 0)
    assert left_out["line that is repeated"] == (0 if made_bad else repeated)
    assert left_out["user line without content"] == (2 if made_bad else 0)


async def test_real_files_are_the_same_rows_in_both_databases_twice(
    tmp_path: Path, postgres_url: str
) -> None:
    files = sorted(real("claude-code").rglob("*.json*"))
    assert await same_rows(files, [str(tmp_path / "a.db"), postgres_url]) == len(files)


async def test_our_files_are_the_same_rows_in_both_databases_twice(
    tmp_path: Path, postgres_url: str
) -> None:
    assert await same_rows([MAIN, AGENT], [str(tmp_path / "a.db"), postgres_url]) == 2


async def same_rows(files: list[Path], urls: list[str]) -> int:
    """Import files twice into each database and compare the rows; give the number of files.

    Some of the real files are made up and call their sessions the same, or are parts of one
    session: those go into a database that is empty again.
    """
    rounds: list[dict[Path, set[UUID]]] = []
    for file in files:
        ids = {each.trajectory.id for each in imported_from(file)}
        free = (known for known in rounds if not any(ids & taken for taken in known.values()))
        fitting = next(free, None)
        if fitting is None:
            rounds.append(fitting := {})
        fitting[file] = ids
    for together in rounds:
        seen = []
        for url in urls:
            backend = open_backend(url)
            await backend.open()
            try:
                for day in DAYS:
                    for file in together:
                        imported = imported_from(file, day)
                        turns = tuple(turn for each in imported for turn in each.turns)
                        starts = tuple(each.trajectory for each in imported)
                        await backend.write(Batch(starts=starts, turns=turns))
                    stored = [each async for each in backend.read_trajectories(TrajectoryQuery())]
                    seen.append((stored, [turn async for turn in backend.read_turns(TurnQuery())]))
                assert await backend.delete_trajectories([each.id for each in stored])
            finally:
                await backend.close()
        assert seen.count(seen[0]) == len(urls) * len(DAYS)
        sent = [
            turn.key for file in together for each in imported_from(file) for turn in each.turns
        ]
        assert [turn.key for turn in seen[0][1]] == sorted(sent)
    return sum(map(len, rounds))


def imported_from(file: Path, as_of: datetime = DAYS[0]) -> list[ImportedTrajectory]:
    everything = read_all("claude-code", file, as_of)
    return [each for each in everything if isinstance(each, ImportedTrajectory)]


def test_a_session_lands_where_a_person_would_look() -> None:
    [imported] = read("claude-code", MAIN)
    trajectory = imported.trajectory
    assert trajectory.id == derived_id("claude-code", SESSION)
    assert (trajectory.agent_name, trajectory.agent_version) == ("claude-code", "2.1.40")
    assert (trajectory.session_id, trajectory.source_format) == (SESSION, "claude-code")
    assert trajectory.status is TrajectoryStatus.COMPLETED
    assert trajectory.created_at == datetime(2026, 3, 4, 9, 0, 5, 250_000, tzinfo=UTC)
    assert trajectory.ended_at == datetime(2026, 3, 4, 9, 2, 0, 250_000, tzinfo=UTC)
    assert trajectory.metadata == {
        "cwd": "/srv/shop",
        "git_branch": "main",
        "title": "Discount in the cart",
        "summary": "The discount of the cart",
    }
    assert imported.left_out == {
        "line of the type 'file-history-snapshot'": 1,
        "line of the type 'queue-operation'": 1,
        "line that is repeated": 1,
        "signature of a thought": 1,
        "structured form of a tool result": 2,
        "summary of a session that is not in this file": 1,
    }
    assert [turn.prompt for turn in imported.turns] == [
        "The total in the cart is wrong: it ignores the discount. Can you fix it?",
        "To each line.",
        "To the whole cart, I think.",
        "thanks",
    ]


def test_a_turn_has_its_messages_calls_and_tokens() -> None:
    [imported] = read("claude-code", MAIN)
    turn = imported.turns[0]
    agent = str(derived_id("claude-code", SESSION, "agent", "7a1"))
    assert (turn.turn_number, turn.model_name, turn.stop_reason, turn.latency_ms) == (
        *(1, "claude-sonnet-4-5", "end_turn", 61_000.0),
    )
    assert turn.response.startswith("The discount is in settings.py. Should it")
    assert (turn.input_tokens, turn.output_tokens) == (23 + 280 + 470, 95)
    assert (turn.cache_write_tokens, turn.cache_read_tokens) == (280, 470)
    assert turn.metadata == {
        "uuid": "u1",
        "parent_uuid": "c2",
        "slash_commands": ["/clear"],
        "sub_agents": {"call-3": agent},
    }
    roles = "user user user user assistant tool tool assistant tool assistant"
    assert [message.role for message in turn.messages] == roles.split()
    first = turn.messages[4]
    assert first.content == "I look at the cart first."
    assert first.reasoning == "The sum is made in cart.py. Look there first."
    assert first.usage["output_tokens"] == 41
    read_, bash, task = turn.tool_calls
    assert (read_.tool_name, read_.arguments) == (*("Read", '{"file_path": "/srv/shop/cart.py"}'),)
    assert read_.result == "def total(cart):\n    return sum(line.price for line in cart)\n"
    assert (read_.is_error, bash.is_error, bash.result) == (None, True, "1 failed, 3 passed")
    assert [one.message_position for one in turn.tool_calls] == [4, 4, 7]
    assert [one.call_id for one in turn.tool_calls] == ["call-1", "call-2", "call-3"]
    assert (task.result, task.latency_ms) == ("In settings.py, as DISCOUNT.", 4200.0)
    assert turn.messages[5].call_id == "call-1"


def test_a_rewound_branch_is_kept_and_named() -> None:
    [imported] = read("claude-code", MAIN)
    _, interrupted, again, failed = imported.turns
    assert (interrupted.stop_reason, interrupted.response) == ("interrupted", "")
    content = interrupted.messages[0].content
    assert isinstance(content, list | tuple)
    assert [part["type"] for part in content] == ["text", "image"]
    assert interrupted.tool_calls[0].result is None
    assert "after_turn" not in interrupted.metadata
    assert again.metadata["after_turn"] == 1
    assert again.metadata["shell_lines"] == ["git diff --stat"]
    assert "after_turn" not in failed.metadata
    assert (failed.error, failed.model_name) == ("API Error: overloaded", None)


def test_a_sub_agent_is_a_child_whether_or_not_its_parent_is_there() -> None:
    [imported] = read("claude-code", AGENT)
    child = imported.trajectory
    parent = derived_id("claude-code", SESSION)
    assert child.id == derived_id("claude-code", SESSION, "agent", "7a1")
    assert (child.parent_trajectory_id, child.root_trajectory_id) == (parent, parent)
    assert (child.session_id, child.metadata["agent_id"]) == (SESSION, "7a1")
    [turn] = imported.turns
    assert (turn.turn_number, turn.prompt) == (1, "Where is the discount kept?")
    assert (turn.response, turn.tool_calls[0].latency_ms) == ("In settings.py, as DISCOUNT.", 12.0)


def test_nameless_sub_agents_in_the_file_of_a_session_are_told_apart_by_their_chains() -> None:
    side = {"isSidechain": True}
    main, first, second = found(
        user("u1", "go"),
        user("x1", "<system-reminder>look</system-reminder>", **side),
        user("y1", "search", **side),
        {**answer("y2", "my", text("none")), **side, "parentUuid": "y1"},
        {**answer("x2", "mx", text("seen")), **side, "parentUuid": "x1"},
        answer("a1", "m1", text("done")),
    )
    assert [each.turns[0].response for each in (main, first, second)] == ["done", "seen", "none"]
    assert first.trajectory.parent_trajectory_id == main.trajectory.id
    assert second.trajectory.parent_trajectory_id == main.trajectory.id
    assert first.trajectory.metadata == {"agent_id": "x1"}


def test_a_line_of_a_sub_agent_without_any_name_takes_no_other_with_it() -> None:
    side = {"isSidechain": True}
    nameless, named = found(user(None, "lost", **side), user("x1", "look", **side))
    assert [each.turns[0].prompt for each in (nameless, named)] == ["lost", "look"]


def test_lines_of_one_answer_are_one_message_even_around_results_and_prompts() -> None:
    usage = {"input_tokens": 5, "output_tokens": 7}
    [imported] = found(
        user("u1", "one"),
        answer("a1", "m1", text("Both."), usage={**usage, "output_tokens": 1}),
        answer("a2", "m1", call("c1")),
        user("r1", [result("c1", "1")]),
        user("u2", "two"),
        answer("a3", "m1", call("c2"), usage=usage, stop_reason="tool_use"),
        user("r2", [result("c2", [text("2"), text("3")])]),
    )
    first, second = imported.turns
    assert [each.call_id for each in first.tool_calls] == ["c1", "c2"]
    assert [each.message_position for each in first.tool_calls] == [1, 1]
    assert [each.result for each in first.tool_calls] == ["1", "2\n\n3"]
    assert (first.input_tokens, first.output_tokens, first.stop_reason) == (5, 7, "tool_use")
    assert [message.role for message in second.messages] == [Role.USER, Role.TOOL]
    assert second.input_tokens is None


def test_answers_without_an_id_are_messages_of_their_own() -> None:
    turn = one(user("u1", "go"), answer("a", None, text("1")), answer("b", None, text("2"))).turns[
        0
    ]
    assert [message.content for message in turn.messages] == ["go", "1", "2"]


@pytest.mark.parametrize(
    ("content", "more"),
    [
        ("Caveat: made by a command", {}),
        ("  <local-command-stdout>x</local-command-stdout>", {}),
        ("<bash-stdout>x</bash-stdout>", {}),
        ([text("<task-notification>x</task-notification>")], {}),
        ('<teammate-message teammate_id="a">x</teammate-message>', {}),
        ("<system-reminder>x</system-reminder>", {}),
        ("made by Claude Code", {"isMeta": True}),
        ("a summary", {"isCompactSummary": True}),
        ("<command-name>/review</command-name>", {}),
        ("<bash-input>ls</bash-input>", {}),
        ("[Request interrupted by user]", {}),
    ],
)
def test_what_nobody_typed_as_a_prompt_is_a_message(content: Any, more: dict[str, Any]) -> None:
    [turn] = one(
        user("u1", "go"), answer("a1", "m1", text("ok")), user("u2", content, **more)
    ).turns
    assert (turn.turn_number, turn.prompt) == (1, "go")
    kept = turn.messages[2]
    assert kept.role is Role.USER
    assert kept.content == (content if isinstance(content, str) else content[0]["text"])


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("<command-name>/clear</command-name>\n<command-message>clear</command-message>", "/clear"),
        ("<command-message>init is here</command-message>\n<command-name>/init</command-name>",
         "/init"),
        ("<command-message>review</command-message>", "review"),
    ],
)  # fmt: skip
def test_a_slash_command_is_listed_by_its_name(content: str, named: str) -> None:
    [turn] = one(user("u1", content), user("u2", "go")).turns
    assert turn.metadata["slash_commands"] == [named]
    assert [message.content for message in turn.messages] == [content, "go"]


def test_a_session_in_which_the_model_acts_unasked_has_a_turn_0() -> None:
    zero, first = one(
        user("c1", "<command-name>/init</command-name>"),
        answer("a1", "m1", text("I look around.")),
        user("u1", "go", parentUuid="c1"),
    ).turns
    assert (zero.turn_number, zero.prompt, zero.response) == (0, "", "I look around.")
    assert zero.metadata == {"slash_commands": ["/init"]}
    assert (first.turn_number, first.prompt) == (1, "go")


def test_a_session_without_any_prompt_keeps_what_was_said() -> None:
    [turn] = one(user("c1", "<command-name>/status</command-name>")).turns
    assert (turn.turn_number, len(turn.messages)) == (0, 1)


def test_a_person_may_go_back_to_the_beginning_and_parents_may_cycle() -> None:
    turns = one(
        user("c0", "<bash-input>ls</bash-input>", parentUuid="u2"),
        user("u1", "one", parentUuid="c0"),
        user("u2", "two", parentUuid="u1"),
        user("u3", "again", parentUuid="c0"),
        user("u4", "from elsewhere", parentUuid="gone"),
    ).turns
    assert [turn.metadata.get("after_turn") for turn in turns] == [None, None, 0, None]


def test_sessions_of_one_file_are_apart_and_a_line_without_one_belongs_to_the_last() -> None:
    first, second = found(
        user("u1", "one"),
        user("u2", "other", sessionId="s2"),
        {**user("u3", "more"), "sessionId": None},
        user("u4", "two"),
    )
    assert [turn.prompt for turn in first.turns] == ["one", "two"]
    assert [turn.prompt for turn in second.turns] == ["other", "more"]


def test_a_file_that_names_no_session_has_an_id_from_its_first_line() -> None:
    nameless = [{**user("u1", "one"), "sessionId": None}, {**user("u2", "two"), "sessionId": None}]
    first, longer, other = one(nameless[0]), one(*nameless), one(nameless[1])
    assert first.trajectory.session_id is None
    assert first.trajectory.id == longer.trajectory.id != other.trajectory.id


def test_unknown_things_are_counted_and_never_fatal() -> None:
    imported = one(
        {"type": "from-the-future", "sessionId": "s1"},
        {"type": "\x1b[31m" + "x" * 99},
        {"no": "type"},
        user("u1", "go", newKey=1, emptyKey=None),
        answer("a1", "m1", {"type": "redacted_thinking", "data": "x"}, {"type": "new", "x": 1}),
        user("u2", None),
        user("u3", 7),
        {"type": "user", "uuid": "u4", "sessionId": "s1", "message": "text"},
        user("u5", [result("nobody", "x")]),
        {"type": "attachment", "attachment": {"type": "hook_success"}, "sessionId": "s1"},
        {"type": "system", "subtype": "api_error", "sessionId": "s1"},
    )
    assert imported.left_out == {
        "line of the type 'from-the-future'": 1,
        f"line of the type '\\x1b[31m{'x' * 31}...'": 1,
        "line without a type": 1,
        "line key 'newKey'": 1,
        "thought that can't be read": 1,
        "user line without content": 3,
        "tool result without its call (kept as a message)": 1,
        "line of the type 'attachment' of 'hook_success'": 1,
        "system line 'api_error'": 1,
    }
    [turn] = imported.turns
    assert turn.messages[1].content == [{"type": "new", "x": 1}]


def test_lines_that_are_no_json_object_are_problems_and_the_session_goes_on() -> None:
    data = b"\n".join(
        [lines(user("u1", "go")), b'"text"', b'{"torn', b"[1]", lines(user("u2", "x"))]
    )
    *problems, imported = read_all("claude-code", data)
    assert [each.line for each in problems if isinstance(each, Problem)] == [2, 3, 4]
    assert isinstance(imported, ImportedTrajectory)
    assert len(imported.turns) == 2


def test_a_file_without_a_session_is_told_with_what_it_holds() -> None:
    summary = {"type": "summary", "summary": CANARY, "leafUuid": "y"}
    title = {"type": "ai-title", "aiTitle": CANARY, "sessionId": "s"}
    others = [{"type": kind} for kind in ("a", "b", "y\x1b[2J", "x", "z", "z", "w")]
    [problem] = read_all("claude-code", lines(*others))
    assert isinstance(problem, Problem)
    assert problem.line == 1
    begin = "has no line that a Claude Code session is made of; it holds: 2 x line of the type 'z'"
    assert problem.reason.startswith(begin)
    assert "1 x line of the type 'y\\x1b[2J'" in problem.reason
    assert problem.reason.endswith(", and others")
    # Claude Code keeps such files.
    assert found(summary, *others) == found(title) == []
    assert found({"type": "file-history-snapshot", "messageId": "m", "snapshot": {}}) == []
    assert len(read_all("claude-code", lines({"type": ["summary"]}))) == 1


def test_an_empty_file_and_one_of_broken_lines_are_not_told_twice() -> None:
    assert found() == []
    assert read_all("claude-code", b"\n \n") == []
    assert len(read_all("claude-code", b'{"a"\n{}}')) == 2


@pytest.mark.parametrize("form", ["pretty", "one line", "with a mark"])
def test_the_exported_form_is_the_same_session(form: str) -> None:
    documents = [user("u1", "go"), answer("a1", "m1", text("ok")), 7]
    data = json.dumps({"loglines": documents}, indent=2 if form == "pretty" else None).encode()
    [imported] = read("claude-code", b"\xef\xbb\xbf" + data if form == "with a mark" else data)
    [expected] = found(*documents[:2])
    assert imported.trajectory == expected.trajectory.replace()
    assert imported.turns == expected.turns
    assert imported.left_out == {"line that is not an object": 1}


def test_a_long_exported_form_is_refused_without_being_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "MAX_LINE_BYTES", 2**20)
    data = json.dumps({"loglines": [user("u1", "x" * 2**21)]}, indent=1).encode()
    [problem] = read_all("claude-code", data)
    assert isinstance(problem, Problem)
    assert "is longer than" in problem.reason


def test_a_session_that_grew_leaves_earlier_turns_as_they_were() -> None:
    whole = MAIN.read_bytes().splitlines()
    [final] = read("claude-code", MAIN)
    rested = whole[: next(n for n, each in enumerate(whole) if b'"uuid": "u2"' in each)]
    [early] = read("claude-code", b"\n".join(rested))
    assert early.trajectory.id == final.trajectory.id
    assert len(early.turns) == 1
    assert same_turn(early.turns[0], final.turns[0])
    [unfinished] = read("claude-code", b"\n".join(rested[:-4]))
    assert not same_turn(unfinished.turns[0], final.turns[0])


def test_turns_without_times_are_dated_in_order() -> None:
    imported = one(user("u1", "one"), user("u2", "two", timestamp="2025-13-45"))
    assert imported.trajectory.created_at == DAYS[0]
    assert imported.trajectory.ended_at is None
    assert DAYS[0] < imported.turns[0].created_at < imported.turns[1].created_at


def test_hostile_values_are_kept_as_text_or_left_out() -> None:
    deep = json.loads("[" * 80 + "]" * 80)
    imported = one(
        user("u1", f"\x1b]52;c;aGk=\x07\u202e\0 {CANARY}", cwd="x" * 5000, version=["1"]),
        answer(
            "a1",
            "m1",
            {"type": "tool_use", "id": 7, "name": {"a": 1}, "input": deep},
            {"type": "new", "deep": deep},
            usage={
                "input_tokens": 10**30,
                "output_tokens": -1,
                "cache_read_input_tokens": 2**63 - 1,
                "cache_creation_input_tokens": 2**63 - 1,
            },
            stop_reason=["x"],
        ),
    )
    [turn] = imported.turns
    assert turn.prompt == f"\x1b]52;c;aGk=\x07\u202e\ufffd {CANARY}"
    [made] = turn.tool_calls
    assert (made.tool_name, made.call_id, made.arguments) == ("unknown", None, json.dumps(deep))
    assert turn.messages[1].content == json.dumps([{"type": "new", "deep": deep}])
    assert (turn.input_tokens, turn.cache_read_tokens) == (2**63 - 1, 2**63 - 1)
    assert turn.output_tokens is None
    assert imported.trajectory.metadata == {}
    assert turn.messages[1].usage is None


def test_no_reason_and_no_count_quotes_what_was_said() -> None:
    broken = lines(user("u1", CANARY))[:-9]
    everything = read_all("claude-code", b"\n".join([broken, lines(user("u2", CANARY, x=CANARY))]))
    problem, imported = everything
    assert isinstance(problem, Problem)
    assert isinstance(imported, ImportedTrajectory)
    assert CANARY not in problem.reason + "".join(imported.left_out)


def test_mutated_sessions_never_raise() -> None:
    documents = [json.loads(each) for each in MAIN.read_bytes().splitlines()]
    documents += [json.loads(each) for each in AGENT.read_bytes().splitlines()]
    check_never_raises("claude-code", documents, as_list=False, seeds=400)


def test_mutated_exported_sessions_never_raise() -> None:
    documents = [json.loads(each) for each in MAIN.read_bytes().splitlines()[:12]]
    check_never_raises("claude-code", [{"loglines": documents}], as_list=False, seeds=100)


def test_a_stream_that_comes_in_drops_is_read_the_same() -> None:
    class Drops(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            return super().read(7)

    drops = Drops(MAIN.read_bytes())
    assert list(importer("claude-code").read(drops, as_of=DAYS[0])) == read("claude-code", MAIN)


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_persons_own_sessions_are_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by_variable: bool
) -> None:
    home = tmp_path / ("elsewhere" if by_variable else ".claude")
    monkeypatch.setenv("HOME", str(tmp_path))
    if by_variable:
        monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(home))
    else:
        monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    format_ = importer("claude-code")
    assert isinstance(format_, Findable)
    assert list(format_.find()) == []
    names = ["projects/a/2.jsonl", "projects/a/1.jsonl", "projects/a/1/subagents/agent-x.jsonl"]
    for name in [*names, "projects/a/note.md", "history.jsonl"]:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("")
    assert sorted(format_.find()) == sorted(home / name for name in names)
    assert list(format_.find()) == list(format_.find())


def test_turns_are_values_of_their_own_trajectory() -> None:
    for each in [*read("claude-code", MAIN), *read("claude-code", AGENT)]:
        assert {turn.trajectory_id for turn in each.turns} == {each.trajectory.id}
        assert all(isinstance(turn, Turn) for turn in each.turns)


@pytest.mark.parametrize(
    ("name", "variable"), [("claude-code", "CLAUDE_CONFIG_DIR"), ("codex", "CODEX_HOME")]
)
def test_without_a_home_it_is_said_what_to_set(
    monkeypatch: pytest.MonkeyPatch, name: str, variable: str
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    format_ = importer(name)
    assert isinstance(format_, Findable)
    with pytest.raises(ConfigurationError, match=f"name the files, or set {variable}"):
        list(format_.find())


def test_a_prompt_that_goes_on_from_a_line_of_another_type_has_its_place() -> None:
    """Hooks, attachments and progress stand in the chain too, also before the first prompt."""
    hook = {"type": "attachment", "uuid": "h", "sessionId": "s1", "parentUuid": None}
    progress = {"type": "progress", "uuid": "p", "sessionId": "s1", "parentUuid": "a1"}
    empty = {"type": "user", "uuid": "e", "sessionId": "s1", "parentUuid": "p"}
    imported = one(
        hook,
        user("u1", "first", parentUuid="h"),
        answer("a1", "m1", text("yes")),
        progress,
        empty,
        user("u2", "second", parentUuid="e"),
        user("u3", "instead of the second", parentUuid="p"),
        user("u4", "instead of the first", parentUuid="h"),
        user("u5", "from the line without content", parentUuid="e"),
        user("u6", "on from there", parentUuid="u5"),
    )
    places = [turn.metadata.get("after_turn") for turn in imported.turns]
    assert places == [None, None, 1, 0, 1, None]


def test_a_later_root_goes_on_from_no_turn() -> None:
    imported = one(
        user("u1", "first", parentUuid=None),
        user("u2", "anew", parentUuid=None),
        user("u3", "after a compaction", parentUuid=None, logicalParentUuid="u2"),
        user("u4", "of an older version"),
    )
    places = [turn.metadata.get("after_turn") for turn in imported.turns]
    assert places == [None, 0, None, None]


def test_a_line_between_those_of_a_sub_agent_without_a_name_begins_no_other() -> None:
    side = {"isSidechain": True}
    imported = found(
        user("u1", "go", **side, parentUuid=None),
        {"type": "progress", "uuid": "p", "sessionId": "s1", "parentUuid": "u1", **side},
        user("u2", "on", **side, parentUuid="p"),
    )
    assert [len(each.turns) for each in imported] == [2]


def test_tools_that_run_where_the_model_runs_have_their_results() -> None:
    hit = {"type": "web_search_result", "url": "https://example.org", "title": "T"}
    failed = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
    imported = one(
        user("u1", "look it up"),
        answer(
            "a1",
            "m1",
            {"type": "server_tool_use", "id": "w1", "name": "web_search", "input": {"q": "x"}},
            {"type": "web_search_tool_result", "tool_use_id": "w1", "content": [hit]},
            {"type": "server_tool_use", "id": "w2", "name": "web_search", "input": {"q": "y"}},
            {"type": "web_search_tool_result", "tool_use_id": "w2", "content": failed},
            {"type": "mcp_tool_use", "id": "w3", "name": "fetch", "input": {}},
            {
                "type": "mcp_tool_result",
                "tool_use_id": "w3",
                "is_error": False,
                "content": [text("found")],
            },
            {"type": "web_search_tool_result", "tool_use_id": "w9", "content": [hit]},
            text("done"),
        ),
    )
    [turn] = imported.turns
    search, limited, fetched = turn.tool_calls
    assert search.result is not None
    assert json.loads(search.result) == [hit]
    assert search.is_error is None
    assert limited.result is not None
    assert json.loads(limited.result) == failed
    assert limited.is_error is True
    assert (fetched.result, fetched.is_error) == ("found", False)
    assert isinstance(turn.messages[1].content, Sequence)
    assert len(turn.messages[1].content) == 5  # all that was said is in the message too


def test_an_id_that_is_used_again_costs_no_more() -> None:
    def made(many: int) -> Callable[[], object]:
        blocks = [call("same") for _ in range(many)]
        results = [user(f"r{n}", [result("same", str(n))]) for n in range(many)]
        data = lines(user("u1", "go"), answer("a1", "m1", *blocks), *results)

        def run() -> None:
            [imported] = read("claude-code", data)
            expected = [str(n) for n in range(many)]
            assert [each.result for each in imported.turns[0].tool_calls] == expected

        return run

    check_grows_with_its_input(made, 1500)
