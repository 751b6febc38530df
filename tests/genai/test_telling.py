"""Trajectories told as spans: whole, with the same ids each time, and without content unasked."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from drawn import conversations
from hypothesis import given, settings

from trajectory import (
    Message,
    Question,
    ToolCall,
    Trajectory,
    TrajectoryStatus,
    Turn,
    Violation,
    score_turns,
)
from trajectory.genai import conventions as names
from trajectory.genai.instants import LAST_NS
from trajectory.genai.spans import Span, SpanKind, StatusCode
from trajectory.genai.telling import Telling, tell
from trajectory.testing.samples import full_trajectory, full_turn

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
NOON_NS = 1_767_355_200_000_000_000
SECOND = 1_000_000_000
ID = UUID("018f0000-0000-7000-8000-000000000001")
PARENT = UUID("018f0000-0000-7000-8000-000000000002")
CANARY = "canary-51f0"


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def ns(seconds: int) -> int:
    return NOON_NS + seconds * SECOND


def a_trajectory(**fields: Any) -> Trajectory:
    given = {"id": ID, "created_at": NOON, "status": TrajectoryStatus.COMPLETED, **fields}
    return Trajectory(**given)


def a_turn(number: int = 1, **fields: Any) -> Turn:
    given = {"prompt": "p", "response": "r", "created_at": at(1), **fields}
    return Turn(trajectory_id=ID, turn_number=number, **given)


def of_kind(spans: list[Span], operation: str) -> list[Span]:
    return [span for span in spans if span.attributes[names.OPERATION] == operation]


def chat_of(turn: Turn, *, content: bool = False) -> Span:
    [span] = of_kind(tell(a_trajectory(), [turn], content=content), "chat")
    return span


def messages(span: Span, name: str) -> Any:
    found = span.attributes.get(name)
    return None if found is None else json.loads(found)


# What is told of a whole run.


def scripted() -> tuple[Trajectory, list[Turn]]:
    trajectory = a_trajectory(
        agent_name="travel",
        agent_version="7",
        session_id="talk-1",
        user_id="u-1",
        run_id="run-1",
        spec_id="S-1",
        system_prompt="Be kind.",
        tools=[{"type": "function", "function": {"name": "weather", "parameters": {"a": 1}}}],
        tags=["x"],
        reward=0.5,
        ended_at=at(30),
        metadata={"k": 1},
    )
    first = a_turn(
        prompt="Rain in Paris?",
        response="It rains. Which day?",
        created_at=at(10),
        latency_ms=8000,
        model_name="gpt-5-mini",
        input_tokens=30,
        output_tokens=12,
        cost_usd=0.25,
        questions=[Question(question_text="Which day?", effort_level="medium")],
        violations=[Violation(preference_name="brief", severity="minor", expected="1 line")],
        messages=[
            Message(role="user", content="Rain in Paris?", created_at=at(2)),
            Message(
                role="assistant",
                reasoning="Look it up.",
                stop_reason="tool_calls",
                usage={"input_tokens": 10, "output_tokens": 5},
                created_at=at(4),
            ),
            Message(role="tool", content="rain", call_id="c1", created_at=at(6)),
            Message(
                role="assistant",
                content="It rains. Which day?",
                stop_reason="stop",
                usage={"prompt_tokens": 20, "completion_tokens": 7},
                created_at=at(10),
            ),
        ],
        tool_calls=[
            ToolCall(
                tool_name="weather",
                arguments='{"city": "Paris"}',
                result="rain",
                call_id="c1",
                message_position=1,
                started_at=at(4),
                latency_ms=1500,
            ),
            ToolCall(
                tool_name="map",
                arguments="no json",
                result="MapNotFoundError: Atlantis",
                call_id="c2",
                message_position=1,
                is_error=True,
                started_at=at(4),
                latency_ms=2000,
            ),
        ],
    )
    second = a_turn(2, prompt="Today.", response="Take a coat.", created_at=at(25), latency_ms=5000)
    return trajectory, [first, second]


COMMON = {
    "trajectory.id": str(ID),
    "gen_ai.agent.name": "travel",
    "gen_ai.conversation.id": "talk-1",
}
IN_TURN_1 = {**COMMON, "trajectory.turn.number": 1}


def test_a_run_is_told_whole() -> None:
    trajectory, turns = scripted()
    spans = tell(trajectory, turns, resource={"service.name": "x"})
    assert {span.trace_id for span in spans} == {ID.hex}
    assert len({span.span_id for span in spans}) == len(spans)
    assert all(dict(span.resource) == {"service.name": "x"} for span in spans)
    root = spans[-1]
    assert {span.parent_span_id for span in spans[:-1]} == {root.span_id}
    assert root.parent_span_id is None
    assert [
        (span.name, span.kind, span.start_ns, span.end_ns, span.status) for span in spans
    ] == [
        ("chat gpt-5-mini", SpanKind.CLIENT, ns(2), ns(4), StatusCode.UNSET),
        (
            "execute_tool weather", SpanKind.INTERNAL, ns(4) + 1, ns(4) + 1 + 1_500_000_000,
            StatusCode.UNSET,
        ),
        ("execute_tool map", SpanKind.INTERNAL, ns(4) + 2, ns(6) + 2, StatusCode.ERROR),
        ("chat gpt-5-mini", SpanKind.CLIENT, ns(6) + 5, ns(10), StatusCode.UNSET),
        ("chat", SpanKind.CLIENT, ns(20), ns(25), StatusCode.UNSET),
        ("invoke_agent travel", SpanKind.INTERNAL, ns(0), ns(30), StatusCode.UNSET),
    ]  # fmt: skip
    assert [dict(span.attributes) for span in spans] == [
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-5-mini",
            "gen_ai.response.finish_reasons": ["tool_calls"],
            "gen_ai.usage.input_tokens": 10,
            "gen_ai.usage.output_tokens": 5,
            **IN_TURN_1,
            "trajectory.message.position": 1,
        },
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "weather",
            "gen_ai.tool.call.id": "c1",
            **IN_TURN_1,
            "trajectory.tool_call.position": 0,
            "trajectory.message.position": 1,
        },
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "map",
            "gen_ai.tool.call.id": "c2",
            **IN_TURN_1,
            "trajectory.tool_call.position": 1,
            "trajectory.message.position": 1,
            "error.type": "MapNotFoundError",
        },
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-5-mini",
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.input_tokens": 20,
            "gen_ai.usage.output_tokens": 7,
            **IN_TURN_1,
            "trajectory.message.position": 3,
            "trajectory.turn.cost_usd": 0.25,
            "trajectory.turn.latency_ms": 8000.0,
        },
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "_OTHER",
            **COMMON,
            "trajectory.turn.number": 2,
            "trajectory.turn.latency_ms": 5000.0,
        },
        {
            "gen_ai.operation.name": "invoke_agent",
            **COMMON,
            "user.id": "u-1",
            "trajectory.spec_id": "S-1",
            "trajectory.run_id": "run-1",
            "trajectory.agent_version": "7",
            "trajectory.status": "completed",
            "trajectory.reward": 0.5,
            "trajectory.turns": 2,
            "gen_ai.usage.input_tokens": 30,
            "gen_ai.usage.output_tokens": 12,
        },
    ]


def test_findings_are_events_of_the_answer_and_scores_those_of_the_run() -> None:
    trajectory, turns = scripted()
    spans = tell(trajectory, turns)
    assert [(each.name, each.time_ns, dict(each.attributes)) for each in spans[3].events] == [
        (
            "trajectory.question",
            ns(10),
            {"trajectory.source": "agent", "trajectory.effort_level": "medium"},
        ),
        (
            "trajectory.violation",
            ns(10),
            {
                "trajectory.source": "agent",
                "trajectory.preference_name": "brief",
                "trajectory.severity": "minor",
            },
        ),
    ]
    score = score_turns(turns)
    assert [(each.name, each.time_ns, dict(each.attributes)) for each in spans[-1].events] == [
        (
            "gen_ai.evaluation.result",
            ns(30),
            {
                "gen_ai.evaluation.name": name,
                "gen_ai.evaluation.score.value": value,
                "gen_ai.evaluation.explanation": "questions: 0 low, 1 medium, 0 high; violations: "
                "1 minor, 0 major, 0 critical",
                "trajectory.source": "agent",
                "trajectory.formula": score.formula,
            },
        )
        for name, value in (
            ("R_Proact", score.r_proact),
            ("R_Pers", score.r_pers),
            ("PPP", score.total),
        )
    ]
    assert not any(span.events for span in (*spans[:3], spans[4]))


def test_content_is_told_when_asked() -> None:
    trajectory, turns = scripted()
    spans = tell(trajectory, turns, content=True)
    assert messages(spans[0], names.INPUT_MESSAGES) == [
        {"role": "user", "parts": [{"type": "text", "content": "Rain in Paris?"}]}
    ]
    assert messages(spans[0], names.OUTPUT_MESSAGES) == [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "Look it up."},
                {
                    "type": "tool_call",
                    "id": "c1",
                    "name": "weather",
                    "arguments": {"city": "Paris"},
                },
                {"type": "tool_call", "id": "c2", "name": "map", "arguments": "no json"},
            ],
        }
    ]
    assert messages(spans[3], names.INPUT_MESSAGES) == [
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": "c1", "response": "rain"}],
        },
        {
            "role": "tool",
            "parts": [
                {
                    "type": "tool_call_response",
                    "id": "c2",
                    "response": "MapNotFoundError: Atlantis",
                }
            ],
        },
    ]
    assert messages(spans[3], names.OUTPUT_MESSAGES) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "It rains. Which day?"}]}
    ]
    assert spans[1].attributes[names.TOOL_ARGUMENTS] == '{"city": "Paris"}'
    assert spans[1].attributes[names.TOOL_RESULT] == "rain"
    assert spans[2].status_message == "MapNotFoundError: Atlantis"
    assert spans[3].events[0].attributes[names.QUESTION_TEXT] == "Which day?"
    assert spans[3].events[1].attributes[names.EXPECTED] == "1 line"
    assert messages(spans[4], names.INPUT_MESSAGES) == [
        {"role": "user", "parts": [{"type": "text", "content": "Today."}]}
    ]
    assert messages(spans[4], names.OUTPUT_MESSAGES) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Take a coat."}]}
    ]
    root = spans[-1]
    assert messages(root, names.SYSTEM_INSTRUCTIONS) == [{"type": "text", "content": "Be kind."}]
    assert messages(root, names.TOOL_DEFINITIONS) == [
        {"type": "function", "name": "weather", "parameters": {"a": 1}}
    ]
    assert messages(root, names.INPUT_MESSAGES) == [
        {"role": "user", "parts": [{"type": "text", "content": "Rain in Paris?"}]}
    ]
    assert messages(root, names.OUTPUT_MESSAGES) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Take a coat."}]}
    ]
    assert messages(root, names.TAGS) == ["x"]
    assert messages(root, names.METADATA) == {"k": 1}


def test_content_changes_nothing_else() -> None:
    trajectory, turns = scripted()
    without, with_ = (tell(trajectory, turns, content=content) for content in (False, True))
    for one, other in zip(without, with_, strict=True):
        assert (one.name, one.span_id, one.start_ns, one.end_ns, one.kind, one.status) == (
            *(other.name, other.span_id, other.start_ns, other.end_ns, other.kind, other.status),
        )
        assert one.attributes.items() <= other.attributes.items()


def test_no_content_is_told_unasked() -> None:
    trajectory = a_trajectory(
        status="failed",
        error=f"{CANARY} said the user",
        system_prompt=CANARY,
        tools=[{"name": CANARY}],
        tags=[CANARY],
        metadata={"k": CANARY},
    )
    turn = a_turn(
        prompt=CANARY,
        response=CANARY,
        error=f"{CANARY}: no",
        metadata={"k": CANARY},
        questions=[Question(question_text=CANARY, effort_level="low")],
        violations=[
            Violation(
                preference_name="p", severity="minor", expected=CANARY, actual=CANARY, reason=CANARY
            )
        ],
        messages=[
            Message(role="user", content=CANARY),
            Message(
                role="assistant",
                content=[{"type": "text", "text": CANARY}],
                reasoning=CANARY,
                usage={CANARY: CANARY},
                logprobs=[CANARY],
            ),
        ],
        tool_calls=[ToolCall(tool_name="t", arguments=CANARY, result=CANARY, is_error=True)],
    )
    telling = Telling(trajectory)
    spans = [*telling.turn(turn), telling.end()]
    assert CANARY not in repr(spans)
    assert telling.left_out == {
        **{f"trajectory.{name}": 1 for name in ("error", "system_prompt", "tools", "tags")},
        **{f"turn.{name}": 1 for name in ("prompt", "response", "error", "metadata")},
        "trajectory.metadata": 1,
        "question.question_text": 1,
        **{f"violation.{name}": 1 for name in ("expected", "actual", "reason")},
        "message.content": 2,
        "message.reasoning": 1,
        "message.usage": 1,
        "message.logprobs": 1,
        "tool_call.arguments": 1,
        "tool_call.result": 1,
    }
    asked = Telling(trajectory, content=True)
    told = repr([*asked.turn(turn), asked.end()])
    assert told.count(CANARY) >= 15
    assert asked.left_out == {"message.usage": 1, "message.logprobs": 1}


# Ids and places.


def test_a_child_is_in_the_trace_of_its_root_below_its_parent() -> None:
    root = tell(a_trajectory(id=PARENT), [])[-1]
    child = tell(a_trajectory(parent_trajectory_id=PARENT, root_trajectory_id=PARENT), [])[-1]
    assert (child.trace_id, child.parent_span_id) == (root.trace_id, root.span_id)
    without_root = tell(a_trajectory(parent_trajectory_id=PARENT), [])[-1]
    assert (without_root.trace_id, without_root.parent_span_id) == (root.trace_id, root.span_id)


def test_ids_never_change() -> None:
    """Whoever changes them makes doubles of all that was ever exported."""
    trajectory, turns = scripted()
    assert [span.span_id for span in tell(trajectory, turns)] == [
        "46f4da72177947f4",
        "5509e4e557389c5f",
        "47b3aea99652d1e2",
        "63061c89faa3eda5",
        "f5d8c85365111d2f",
        "0f7a1cedf057aeed",
    ]


def test_ids_are_never_zero_and_a_trajectory_is_not_its_own_parent() -> None:
    nil = UUID(int=0)
    spans = tell(Trajectory(id=nil, parent_trajectory_id=nil, created_at=NOON), [])
    assert int(spans[-1].trace_id, 16)
    assert spans[-1].parent_span_id is None


def test_the_same_turn_in_another_trajectory_has_other_ids() -> None:
    other = Turn(trajectory_id=PARENT, turn_number=1, prompt="p", response="r", created_at=NOON)
    ids = [chat_of(a_turn()).span_id, tell(a_trajectory(id=PARENT), [other])[0].span_id]
    assert len(set(ids)) == 2


# Times.


@pytest.mark.parametrize(
    ("fields", "start", "end"),
    [
        ({"created_at": at(10)}, 10, 10),
        ({"created_at": at(10), "latency_ms": 4000}, 6, 10),
        ({"created_at": at(1), "latency_ms": 4000}, 1, 5),
        (
            {
                "created_at": at(10),
                "latency_ms": 4000,
                "tool_calls": [ToolCall(tool_name="t", started_at=at(12))],
            },
            *(10, 14),
        ),
        (
            {
                "created_at": at(10),
                "latency_ms": 1000,
                "messages": [Message(role="user", content="p", created_at=at(3))],
            },
            *(3, 10),
        ),
    ],
    ids=["no-latency", "ended-then", "began-then", "something-came-later", "something-came-before"],
)
def test_a_turn_lasts_from_its_first_known_instant_to_its_last(
    fields: dict[str, Any], start: int, end: int
) -> None:
    trajectory = a_trajectory()
    told = Telling(trajectory)
    list(told.turn(a_turn(**fields)))
    root = told.end()
    assert (root.start_ns, root.end_ns // SECOND * SECOND) == (ns(0), ns(end))
    [chat] = of_kind(tell(trajectory, [a_turn(**fields)]), "chat")
    assert (chat.start_ns // SECOND * SECOND, chat.end_ns) == (ns(start), ns(end))


@pytest.mark.parametrize(
    ("second", "start", "end"),
    [(13, 9, 13), (12.9, 8.9, 12.9), (10.9, 10.9, 14.9), (9, 9, 13)],
    ids=["ended-then", "ended-then-a-bit-early", "began-then", "began-at-once"],
)
def test_a_turn_hardly_begins_before_the_one_before_it_ended(
    second: float, start: float, end: float
) -> None:
    turns = [
        a_turn(1, created_at=at(9), latency_ms=4000),
        a_turn(2, created_at=at(second), latency_ms=4000),
    ]
    first, last = of_kind(tell(a_trajectory(), turns), "chat")
    assert (first.start_ns, first.end_ns) == (ns(5), ns(9))
    assert (last.start_ns - NOON_NS) / SECOND == pytest.approx(start)
    assert (last.end_ns - NOON_NS) / SECOND == pytest.approx(end)


def test_parts_without_times_keep_their_order_and_the_last_answer_takes_the_time() -> None:
    turn = a_turn(
        created_at=at(10),
        latency_ms=6000,
        messages=[
            Message(role="assistant", content="a"),
            Message(role="tool", content="x", call_id="1"),
            Message(role="assistant", content="b"),
            Message(role="assistant", content="c"),
        ],
        tool_calls=[
            ToolCall(tool_name="t", call_id="1", message_position=0, latency_ms=1000),
            ToolCall(tool_name="u", call_id="2", message_position=2),
        ],
    )
    spans = tell(a_trajectory(), [turn])[:-1]
    assert [span.name for span in spans] == [
        *("chat", "execute_tool t", "chat", "execute_tool u", "chat"),
    ]
    assert [span.start_ns for span in spans] == sorted(span.start_ns for span in spans)
    assert len({span.start_ns for span in spans}) == 5
    lasted = [(span.end_ns - span.start_ns) / SECOND for span in spans]
    assert lasted == pytest.approx([0, 1, 0, 0, 5], abs=1e-6)
    assert spans[-1].end_ns == ns(10)


def test_an_answer_without_a_time_ends_where_its_call_begins() -> None:
    turn = a_turn(
        created_at=at(10),
        latency_ms=8000,
        messages=[Message(role="assistant", content="a"), Message(role="assistant", content="b")],
        tool_calls=[ToolCall(tool_name="t", message_position=0, started_at=at(5), latency_ms=1000)],
    )
    first, tool, last = tell(a_trajectory(), [turn])[:-1]
    assert (first.start_ns, first.end_ns) == (ns(2), ns(5))
    assert (tool.start_ns - 1, tool.end_ns - 1) == (ns(5), ns(6))
    assert last.end_ns == ns(10)


def test_a_call_without_a_latency_ends_with_its_answer() -> None:
    turn = a_turn(
        created_at=at(9),
        messages=[
            Message(role="assistant", created_at=at(2)),
            Message(role="tool", content="x", call_id="1", created_at=at(5)),
        ],
        tool_calls=[ToolCall(tool_name="t", call_id="1", message_position=0)],
    )
    [tool] = of_kind(tell(a_trajectory(), [turn]), "execute_tool")
    assert (tool.start_ns - 1, tool.end_ns) == (ns(2), ns(5))


def test_instants_that_no_clock_of_nanoseconds_has_are_bounded() -> None:
    turn = a_turn(
        created_at=datetime(9999, 1, 1, tzinfo=UTC),
        latency_ms=1e300,
        messages=[Message(role="assistant", created_at=datetime(1, 1, 3, tzinfo=UTC))],
        tool_calls=[ToolCall(tool_name="t", message_position=0, latency_ms=1e308)],
    )
    for span in tell(a_trajectory(created_at=datetime(1, 1, 3, tzinfo=UTC)), [turn]):
        assert 0 <= span.start_ns <= span.end_ns <= LAST_NS


# Messages.


def test_a_turn_without_messages_is_one_call_with_its_tools_before_it() -> None:
    turn = a_turn(
        stop_reason="stop",
        token_count=9,
        reward=1.0,
        is_copied_context=True,
        tool_calls=[ToolCall(tool_name="t", result="x"), ToolCall(tool_name="u")],
    )
    spans = tell(a_trajectory(), [turn], content=True)
    assert [span.name for span in spans] == [
        *("execute_tool t", "execute_tool u", "chat", "invoke_agent"),
    ]
    chat = spans[2]
    assert chat.attributes[names.FINISH_REASONS] == ["stop"]
    assert chat.attributes[names.TURN_TOKENS] == 9
    assert chat.attributes[names.TURN_REWARD] == 1.0
    assert chat.attributes[names.TURN_IS_COPIED] is True
    assert [part["type"] for part in messages(chat, names.OUTPUT_MESSAGES)[0]["parts"]] == [
        *("text", "tool_call", "tool_call"),
    ]


def test_a_prompt_that_no_message_tells_is_the_first_input() -> None:
    turn = a_turn(messages=[Message(role="system", content="s"), Message(role="assistant")])
    chat = chat_of(turn, content=True)
    assert messages(chat, names.INPUT_MESSAGES) == [
        {"role": "system", "parts": [{"type": "text", "content": "s"}]},
        {"role": "user", "parts": [{"type": "text", "content": "p"}]},
    ]
    assert messages(chat, names.OUTPUT_MESSAGES) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "r"}]}
    ]


def test_only_what_is_new_is_an_input() -> None:
    turn = a_turn(
        messages=[
            Message(role="user", content="one"),
            Message(role="assistant", content="two"),
            Message(role="user", content="three"),
            Message(role="assistant", content="four"),
            Message(role="user", content="never answered"),
        ]
    )
    telling = Telling(a_trajectory(), content=True)
    inputs = [messages(span, names.INPUT_MESSAGES) for span in telling.turn(turn)]
    assert [[part["content"] for part in each[0]["parts"]] for each in inputs] == [
        *(["one"], ["three"]),
    ]
    assert telling.left_out == {"message behind the last answer": 1}


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("a", [{"type": "text", "content": "a"}]),
        ("", None),
        ([], None),
        (["a", {"text": "b"}], [{"type": "text", "content": each} for each in "ab"]),
        (
            [
                {"type": "output_text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "u"}},
            ],
            [{"type": "text", "content": "a"}, {"type": "image_url", "image_url": {"url": "u"}}],
        ),
        (
            [{"type": "text", "text": 5}, {"type": 1}, 7, None],
            [
                {"type": "json", "content": each}
                for each in ({"type": "text", "text": 5}, {"type": 1}, 7, None)
            ],
        ),
    ],
    ids=["text", "empty", "no-parts", "texts", "other-kinds", "odd"],
)
def test_parts_of_a_content(content: Any, parts: Any) -> None:
    turn = a_turn(
        prompt="",
        response="",
        messages=[
            Message(role="user", content=content),
            Message(role="assistant", content=content),
        ],
    )
    chat = chat_of(turn, content=True)
    found = messages(chat, names.INPUT_MESSAGES)
    assert found == [{"role": "user", "parts": parts or []}]
    found = messages(chat, names.OUTPUT_MESSAGES)
    assert found == (None if parts is None else [{"role": "assistant", "parts": parts}])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"a": 1.50}', {"a": 1.5}),
        ("[1]", "[1]"),
        ("{", "{"),
        ('{"a": NaN}', '{"a": NaN}'),
        ('{"a": 1e999}', '{"a": 1e999}'),
        (f'{{"a": {"9" * 5000}}}', f'{{"a": {"9" * 5000}}}'),
        ('{"a":' * 100 + "1" + "}" * 100, '{"a":' * 100 + "1" + "}" * 100),
        ("[" * 100_000, "[" * 100_000),
        (None, None),
    ],
    ids=["object", "list", "broken", "nan", "infinite", "huge", "deep", "deeper", "none"],
)
def test_arguments_are_an_object_where_they_are_one(arguments: Any, told: Any) -> None:
    turn = a_turn(tool_calls=[ToolCall(tool_name="t", arguments=arguments)])
    [output] = messages(chat_of(turn, content=True), names.OUTPUT_MESSAGES)
    assert output["parts"][-1]["arguments"] == told


# Figures, errors, providers.


def with_usage(*usages: Any, **fields: Any) -> list[dict[str, Any]]:
    turn = a_turn(messages=[Message(role="assistant", usage=each) for each in usages], **fields)
    spans = of_kind(tell(a_trajectory(), [turn]), "chat")
    return [
        {key: value for key, value in span.attributes.items() if key.startswith("gen_ai.usage")}
        for span in spans
    ]


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"input_tokens": 5, "output_tokens": 2}, (5, 2, None, None, None)),
        (
            {
                "input_tokens": 5,
                "output_tokens": 2,
                "cache_read_input_tokens": 10,
                "cache_creation_input_tokens": 20,
            },
            (35, 2, 10, 20, None),
        ),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 3},
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
            (5, 4, 3, None, 1),
        ),
        (
            {
                "input_tokens": 5,
                "output_tokens": 4,
                "input_token_details": {"cache_read": 2},
                "output_token_details": {"reasoning": 3},
            },
            (5, 4, 2, None, 3),
        ),
        (
            {
                "input_tokens": 5,
                "cache_read_tokens": 1,
                "cache_write_tokens": 2,
                "reasoning_tokens": 0,
            },
            (5, None, 1, 2, 0),
        ),
        (
            {"input_tokens": 2**63 - 1, "cache_read_input_tokens": 5},
            (2**63 - 1, None, 5, None, None),
        ),
    ],
    ids=["plain", "anthropic", "openai", "langchain", "ours", "huge"],
)
def test_usage_in_the_shapes_of_providers(usage: Any, told: tuple[int | None, ...]) -> None:
    keys = (
        *(names.INPUT_TOKENS, names.OUTPUT_TOKENS, names.CACHE_READ_TOKENS),
        *(names.CACHE_WRITE_TOKENS, names.REASONING_TOKENS),
    )
    expected = {key: count for key, count in zip(keys, told, strict=True) if count is not None}
    assert with_usage(usage) == [expected]


@pytest.mark.parametrize(
    "odd", [None, {}, 5, {"input_tokens": "5"}, {"input_tokens": -1}, {"input_tokens": True}]
)
def test_figures_of_the_turn_stand_at_its_last_answer_where_not_all_have_some(odd: Any) -> None:
    found = with_usage({"input_tokens": 1}, odd, input_tokens=10, reasoning_tokens=3)
    assert found == [
        {},
        {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.reasoning.output_tokens": 3},
    ]


def test_sums_are_bounded() -> None:
    turns = [a_turn(number, input_tokens=2**63 - 1) for number in (1, 2)]
    assert tell(a_trajectory(), turns)[-1].attributes[names.INPUT_TOKENS] == 2**63 - 1


def test_the_model_of_a_run_is_told_if_there_is_one() -> None:
    one = [a_turn(number, model_name="claude-x") for number in (1, 2)]
    root = tell(a_trajectory(), one)[-1]
    assert root.attributes[names.REQUEST_MODEL] == "claude-x"
    two = [*one, a_turn(3, model_name="o3")]
    assert names.REQUEST_MODEL not in tell(a_trajectory(), two)[-1].attributes


@pytest.mark.parametrize(
    ("error", "type_"),
    [
        ("ValueError: no", "ValueError"),
        ("openai.APITimeoutError", "openai.APITimeoutError"),
        ("MaxTurnsExceeded: 5\nmore", "MaxTurnsExceeded"),
        ("Paris: capital of France", "_OTHER"),
        ("the user said: ValueError: no", "_OTHER"),
        ("Dear MrSmith", "_OTHER"),
        ("", "_OTHER"),
        ("A" * 10_000, "_OTHER"),
        ("ÄußererFehler: x", "_OTHER"),
    ],
    ids=ascii,
)
def test_the_type_of_an_error_is_told_and_no_word_of_its_text(error: str, type_: str) -> None:
    chat = chat_of(a_turn(error=error))
    assert (chat.attributes[names.ERROR_TYPE], chat.status) == (type_, StatusCode.ERROR)
    assert chat.status_message == ""
    assert chat_of(a_turn(error=error), content=True).status_message == error


@pytest.mark.parametrize(
    ("status", "error", "code", "type_"),
    [
        ("failed", "ValueError: x", StatusCode.ERROR, "ValueError"),
        ("failed", None, StatusCode.ERROR, "_OTHER"),
        ("cancelled", "CancelledError", StatusCode.UNSET, "CancelledError"),
        ("completed", None, StatusCode.UNSET, None),
        (None, None, StatusCode.UNSET, None),
    ],
)
def test_how_a_run_ended(
    status: Any, error: str | None, code: StatusCode, type_: str | None
) -> None:
    root = tell(a_trajectory(status=status, error=error), [])[-1]
    assert (root.status, root.attributes.get(names.ERROR_TYPE)) == (code, type_)
    assert root.attributes.get(names.STATUS) == status


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("claude-opus-5", "anthropic"),
        ("gpt-5", "openai"),
        ("o4-mini", "openai"),
        ("azure.ai.openai/gpt-5", "azure.ai.openai"),
        ("bedrock/Claude-3", "anthropic"),
        ("gemini-3", "gcp.gemini"),
        ("grok-5", "x_ai"),
        ("my-model", "_OTHER"),
        ("", "_OTHER"),
        (None, "_OTHER"),
    ],
)
def test_the_provider_as_far_as_the_model_tells_it(model: str | None, provider: str) -> None:
    assert chat_of(a_turn(model_name=model)).attributes[names.PROVIDER] == provider


def test_scores_of_each_source_the_agent_s_first() -> None:
    judged = a_turn(
        questions=[
            Question(question_text="q", effort_level="high", source="judge:b"),
            Question(question_text="q", effort_level="low", source="human:a"),
        ]
    )
    events = tell(a_trajectory(), [judged, a_turn(2)])[-1].events
    told = [(e.attributes[names.SOURCE], e.attributes[names.EVALUATION_SCORE]) for e in events]
    expected = []
    for source in ("agent", "human:a", "judge:b"):
        score = score_turns([judged], source=source)
        expected += [(source, value) for value in (score.r_proact, score.r_pers, score.total)]
    assert told == expected


# Whatever is stored.


def _check(span: Span) -> None:
    assert len(span.trace_id) == 32
    assert int(span.trace_id, 16)
    assert len(span.span_id) == 16
    assert int(span.span_id, 16)
    assert 0 <= span.start_ns <= span.end_ns <= LAST_NS
    for attributes in (span.attributes, *(event.attributes for event in span.events)):
        for key, value in attributes.items():
            assert key
            assert isinstance(value, str | bool | int | float) or all(
                isinstance(each, str) for each in value
            )
    for name in (names.INPUT_MESSAGES, names.OUTPUT_MESSAGES):
        for message in messages(span, name) or []:
            assert message.keys() == {"role", "parts"}
            assert all(isinstance(part["type"], str) for part in message["parts"])


@settings(max_examples=150, deadline=None)
@given(conversations())
def test_any_trajectory_can_be_told(conversation: tuple[Trajectory, list[Turn]]) -> None:
    trajectory, turns = conversation
    for content in (False, True):
        spans = tell(trajectory, turns, content=content)
        assert spans == tell(trajectory, turns, content=content)
        for span in spans:
            _check(span)
        assert len({span.span_id for span in spans}) == len(spans)
        calls = sum(len(turn.tool_calls) for turn in turns)
        assert len(of_kind(spans, "execute_tool")) == calls
        root = spans[-1]
        assert root.start_ns == min(span.start_ns for span in spans)
        assert root.end_ns == max(span.end_ns for span in spans)


def test_the_fullest_turn_can_be_told() -> None:
    trajectory = full_trajectory()
    for span in tell(trajectory, [full_turn(trajectory.id)], content=True):
        _check(span)
