"""Messages of all the shapes that instrumentations write, read as one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trajectory import Role
from trajectory.genai import older
from trajectory.genai.lenient import count, instant, label, structure, written
from trajectory.genai.said import Call, Said, joined, messages_of
from trajectory.genai.spans import Event, Span
from trajectory.genai.steps import StepKind, kind_of, step_of
from trajectory.genai.usage import Tokens

ASKED = Said(Role.USER, "Hi")
CALL = Call("c1", "look", '{"n":1}')
CALLED = Said(Role.ASSISTANT, "Let me see.", "Hm.", (CALL,))
TOLD = Said(Role.TOOL, "seen", call_id="c1")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Hi", [ASKED]),
        ("", []),
        (7, []),
        (None, []),
        ({}, [Said(Role.USER)]),
        ({"role": "user", "parts": [{"type": "text", "content": "Hi"}]}, [ASKED]),
        ({"role": "human", "content": "Hi"}, [ASKED]),
        ({"role": "nobody", "content": ["Hi"]}, [ASKED]),
        ({"role": "user", "content": {"type": "input_text", "text": "Hi"}}, [ASKED]),
        ({"role": "user", "parts": [{"text": "Hi"}]}, [ASKED]),
        (
            {"role": "assistant", "parts": [
                {"type": "reasoning", "content": "Hm."},
                {"type": "text", "content": "Let me see."},
                {"type": "tool_call", "id": "c1", "name": "look", "arguments": {"n": 1}},
            ]},
            [CALLED],
        ),
        (
            {"role": "assistant", "content": "Let me see.", "reasoning_content": "Hm.",
             "tool_calls": [{"id": "c1", "type": "function",
                             "function": {"name": "look", "arguments": '{"n":1}'}}]},
            [CALLED],
        ),
        (
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"n": 1}},
            ]},
            [CALLED],
        ),
        (
            {"role": "assistant", "function_call": {"name": "look", "arguments": "x"}},
            [Said(Role.ASSISTANT, calls=(Call(None, "look", "x"),))],
        ),
        ({"role": "assistant", "tool_calls": [7, {"function": {}}]}, [Said(Role.ASSISTANT)]),
        ({"role": "tool", "content": "seen", "tool_call_id": "c1"}, [TOLD]),
        ({"role": "function", "content": "seen", "id": "c1"}, [TOLD]),
        *(
            ({"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", key: "seen"}]},
             [TOLD])
            for key in ("response", "result")
        ),
        (
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1",
                 "content": [{"type": "text", "text": "se"}, {"type": "text", "text": "en"}]},
            ]},
            [TOLD],
        ),
        (
            {"role": "user", "parts": [
                {"type": "tool_call_response", "id": "c1", "response": "seen"},
                {"type": "text", "content": "Hi"},
            ]},
            [TOLD, ASKED],
        ),
        ({"type": "function_call_output", "call_id": "c1", "output": "seen", "role": "tool"},
         [TOLD]),
        ({"role": "tool", "parts": [{"type": "tool_call_response", "response": {"a": 1}}]},
         [Said(Role.TOOL, '{"a":1}')]),
        (
            {"role": "user", "parts": [{"type": "text", "content": "Hi"},
                                       {"type": "blob", "content": "eA=="}]},
            [Said(Role.USER, [{"type": "text", "text": "Hi"},
                              {"type": "blob", "content": "eA=="}])],
        ),
        (
            {"role": "model", "parts": [
                {"text": "Let me see."}, {"type": "reasoning", "text": "Hm."},
                {"function_call": {"id": "c1", "name": "look", "args": {"n": 1}}}]},
            [CALLED],
        ),
        ({"role": "user", "parts": [{"function_response": {"id": "c1", "response": "seen"}}]},
         [TOLD]),
        ({"role": "user", "parts": [{"type": "text", "url": "x"}]},
         [Said(Role.USER, [{"type": "json", "content": {"type": "text", "url": "x"}}])]),
        ({"role": "user", "parts": [{"type": "text", "content": ""}, {}, 7, None]},
         [Said(Role.USER)]),
    ],
)  # fmt: skip
def test_shapes_of_a_message(message: Any, said: list[Said]) -> None:
    assert messages_of([message]) == said
    assert [each.key for each in messages_of([message])] == [each.key for each in said]


def test_parts_of_one_answer_are_joined_and_of_several_the_first_is_taken() -> None:
    parts = [Said(Role.ASSISTANT, reasoning="Hm."), Said(Role.ASSISTANT, "Let me see.")]
    assert joined([*parts, Said(Role.ASSISTANT, calls=(CALL,))]) == CALLED
    choices = [Said(Role.ASSISTANT, text, stop_reason="stop") for text in ("one", "two")]
    assert joined(choices) == choices[0]
    assert joined([ASKED]) is None


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        *(({"gen_ai.operation.name": name}, StepKind.MODEL)
          for name in ("chat", "generate_content", "text_completion")),
        ({"gen_ai.operation.name": "invoke_agent"}, StepKind.AGENT),
        ({"gen_ai.operation.name": "invoke_workflow"}, StepKind.WORKFLOW),
        ({"gen_ai.operation.name": "execute_tool"}, StepKind.TOOL),
        *(({"gen_ai.operation.name": name, "gen_ai.system": "x", "gen_ai.request.model": "m"},
           StepKind.OTHER) for name in ("embeddings", "create_agent", "unknown", 7, ["chat"])),
        *(({"openinference.span.kind": name}, kind) for name, kind in (
            ("LLM", StepKind.MODEL), ("AGENT", StepKind.AGENT), ("TOOL", StepKind.TOOL),
            ("CHAIN", StepKind.OTHER), ("EMBEDDING", StepKind.OTHER), ([], StepKind.OTHER))),
        *(({"traceloop.span.kind": name}, kind) for name, kind in (
            ("workflow", StepKind.WORKFLOW), ("agent", StepKind.AGENT),
            ("tool", StepKind.TOOL), ("task", StepKind.OTHER))),
        ({"llm.request.type": "chat"}, StepKind.MODEL),
        ({"gen_ai.system": "openai", "gen_ai.request.model": "m"}, StepKind.MODEL),
        ({"gen_ai.system": "openai"}, StepKind.OTHER),
        ({}, StepKind.OTHER),
    ],
)  # fmt: skip
def test_kinds_of_spans(attributes: Any, kind: StepKind) -> None:
    assert kind_of(Span("handoff", "1", "2", attributes=attributes)) is kind


def test_a_change_of_hands_is_no_tool() -> None:
    attributes: dict[str, Any] = {"openinference.span.kind": "TOOL"}
    assert kind_of(Span("handoff to x", "1", "2", attributes=attributes)) is StepKind.OTHER
    named = {**attributes, "tool.name": "handoff to x"}
    assert kind_of(Span("handoff to x", "1", "2", attributes=named)) is StepKind.TOOL


def model_step(attributes: dict[str, Any], *events: Event) -> Any:
    told = {"gen_ai.operation.name": "chat", **attributes}
    return step_of(Span("chat", "1", "2", attributes=told, events=events))


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.input.messages": '[{"role":"user","content":"Hi"}]',
         "gen_ai.output.messages": [{"role": "assistant", "content": "Hello"}]},
        {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "Hi",
         "gen_ai.completion.0.content": "Hello", "gen_ai.prompt.name": "no message"},
        {"gen_ai.prompt.0.role": "user", "gen_ai.completion.0.content": "Hello",
         "gen_ai.prompt.0.content": '[{"type":"text","text":"Hi"}]'},
        {"gen_ai.prompt": '[{"role":"user","content":"Hi"}]', "gen_ai.completion": "Hello"},
        {"gen_ai.prompt": '{"messages":[{"role":"user","content":"Hi"}]}',
         "gen_ai.completion": '{"choices":[{"message":{"content":"Hello"}}]}'},
        {"llm.input_messages.0.message.role": "user",
         "llm.input_messages.0.message.content": "Hi",
         "llm.output_messages.0.message.contents.0.message_content.type": "text",
         "llm.output_messages.0.message.contents.0.message_content.text": "Hello"},
        {"input.value": "Hi", "output.value": "Hello"},
        {"gcp.vertex.agent.llm_request": json.dumps({"contents": [{"parts": [{"text": "Hi"}]}],
                                                    "config": {"system_instruction": "Be."}}),
         "gcp.vertex.agent.llm_response": '{"content":{"parts":[{"text":"Hello"}]}}'},
        {"input.value": '[[{"role":"user","content":"Hi"}]]',
         "output.value": '[{"output":[{"type":"message","content":"Hello"}]}]'},
    ],
)  # fmt: skip
def test_names_of_all_times_say_the_same(attributes: dict[str, Any]) -> None:
    step = model_step(attributes)
    assert step.heard.asked == ASKED
    assert step.answer is not None
    assert step.answer.text == "Hello"


@pytest.mark.parametrize(
    "events",
    [
        (Event("gen_ai.client.inference.operation.details", 0, {
            "gen_ai.input.messages": [{"role": "user", "content": "Hi"}],
            "gen_ai.output.messages": [{"role": "assistant", "content": "Hello"}]}),),
        (Event("gen_ai.user.message", 0, {"content": "Hi"}),
         Event("gen_ai.choice", 0, {"message": '{"content":"Hello"}', "finish_reason": "stop"})),
        (Event("gen_ai.content.prompt", 0, {"gen_ai.prompt": "Hi"}),
         Event("gen_ai.content.completion", 0, {"gen_ai.completion": "Hello"})),
    ],
)  # fmt: skip
def test_events_carry_content_too(events: tuple[Event, ...]) -> None:
    step = model_step({}, *events)
    assert step.heard.asked == ASKED
    assert step.answer is not None
    assert step.answer.text == "Hello"


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5,
         "gen_ai.usage.cache_read.input_tokens": 4, "gen_ai.usage.cache_write.input_tokens": 3,
         "gen_ai.usage.reasoning.output_tokens": 2},
        {"gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 5,
         "gen_ai.usage.cache_read_input_tokens": 4,
         "gen_ai.usage.cache_creation.input_tokens": 3, "gen_ai.usage.reasoning_tokens": 2},
        {"llm.token_count.prompt": 10, "llm.token_count.completion": 5.0,
         "llm.token_count.prompt_details.cache_read": 4,
         "llm.token_count.prompt_details.cache_write": 3,
         "llm.token_count.completion_details.reasoning": 2},
    ],
)  # fmt: skip
def test_figures_by_all_names(attributes: dict[str, Any]) -> None:
    assert model_step(attributes).tokens == Tokens(10, 5, 4, 3, 2)


def test_tools_by_all_names() -> None:
    schema = {"type": "function", "name": "look", "parameters": {"type": "object"}}
    found = [
        older.tools_of(attributes)
        for attributes in (
            {"gen_ai.tool.definitions": json.dumps([schema])},
            {"llm.tools.0.tool.json_schema": json.dumps(schema)},
            {
                "llm.request.functions.0.name": "look",
                "llm.request.functions.0.parameters": '{"type":"object"}',
            },
        )
    ]
    assert found == [[schema]] * 3
    assert older.tools_of({"llm.tools.0.tool": "x", "llm.tools.x": 1}) == []


@pytest.mark.parametrize("value", [None, "", "text", 7, "{", "[NaN]", "[" * 100_000, {1: 2}, b"x"])
def test_what_is_no_structure(value: Any) -> None:
    assert structure(value) is None


def test_single_values_are_looked_at_with_care() -> None:
    assert [count(value) for value in (7, 7.0, True, -1, 2**63, "7", 1.5, float("inf"))] == [
        *(7, 7, None, None, None, None, None, None),
    ]
    assert [label(value) for value in ("x", "", 7, "x" * 1025, "a\0")] == [
        *("x", None, None, None, "a\ufffd"),
    ]
    assert [written(value) for value in ("\ud800", {"a": [1]}, None, {1}, float("nan"))] == [
        *("\ufffd", '{"a":[1]}', None, None, None),
    ]
    assert instant(-1).year == 1970
    assert instant(2**70).year == 2262
