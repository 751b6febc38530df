"""The rules of ATIF: each is found where it is broken, and nothing is found in a good document."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from formats.mutated import mutated
from recorded import Described, described

from trajectory.formats.atif_rules import VERSIONS, broken_rules, is_part

CANARY = "CANARY-7f3a"


def good() -> dict[str, Any]:
    """Make a document that has all that ATIF knows."""
    return {
        "schema_version": "ATIF-v1.8",
        "session_id": "run-1",
        "trajectory_id": "t-1",
        "notes": "made by hand",
        "agent": {
            "name": "a",
            "version": "1",
            "model_name": "m",
            "tool_definitions": [{"type": "function"}],
            "extra": {},
        },
        "steps": [
            {"step_id": 1, "source": "system", "message": "", "timestamp": "2026-01-02"},
            {
                "step_id": 2,
                "source": "user",
                "message": [
                    {"type": "text", "text": ""},
                    {"type": "image", "source": {"media_type": "image/png", "path": "a.png"}},
                    {
                        "type": "audio",
                        "source": {
                            "media_type": " Audio/MP3",
                            "path": "https://example.org/a",
                            "duration_sec": 0,
                        },
                    },
                ],
                "timestamp": "2026-01-02T03:04:05Z",
                "observation": {"results": [{"content": None}]},
            },
            {
                "step_id": 3,
                "source": "agent",
                "message": "m",
                "model_name": "m",
                "reasoning_effort": 0.5,
                "reasoning_content": "r",
                "tool_calls": [
                    {"tool_call_id": "c1", "function_name": "f", "arguments": {}, "extra": {}},
                    {"tool_call_id": "c2", "function_name": "f", "arguments": {"a": [1]}},
                ],
                "observation": {
                    "results": [
                        {"source_call_id": "c1", "content": "x", "extra": {}},
                        {
                            "content": [{"type": "text", "text": "x"}],
                            "subagent_trajectory_ref": [
                                {"trajectory_id": "t-2", "session_id": "run-1", "extra": {}},
                                {"trajectory_path": "other.json"},
                            ],
                        },
                    ]
                },
                "metrics": {
                    "prompt_tokens": 5,
                    "completion_tokens": 2,
                    "cached_tokens": 5,
                    "cost_usd": 0.01,
                    "prompt_token_ids": [1, 2],
                    "completion_token_ids": [],
                    "logprobs": [-0.5, 0],
                    "extra": {},
                },
                "is_copied_context": False,
                "llm_call_count": 1,
                "extra": {"anything": [None]},
            },
            {"step_id": 4, "source": "agent", "message": "", "llm_call_count": 0},
        ],
        "final_metrics": {
            "total_prompt_tokens": 5,
            "total_completion_tokens": 2,
            "total_cached_tokens": 5,
            "total_cost_usd": 0.01,
            "total_steps": 4,
            "extra": {},
        },
        "continued_trajectory_ref": "next.json",
        "subagent_trajectories": [
            {
                "schema_version": "ATIF-v1.7",
                "trajectory_id": "t-2",
                "agent": {"name": "b", "version": "1"},
                "steps": [{"step_id": 1, "source": "user", "message": "x"}],
            }
        ],
        "extra": {},
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    """Put a value at a path like `steps.2.metrics`; `...` takes it away."""
    document = good()
    holder: Any = document
    *way, last = (int(key) if key.isdecimal() else key for key in path.split("."))
    for key in way:
        holder = holder[key]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    return document


def found(document: Any) -> set[tuple[str, str]]:
    return {(broken.path, broken.reason) for broken in broken_rules(document)}


def test_a_good_document_breaks_no_rule() -> None:
    assert broken_rules(good()) == []
    for version in VERSIONS:
        assert broken_rules(changed("schema_version", version)) == []


def test_what_is_optional_may_be_null_or_absent() -> None:
    needed = {"step_id", "source", "message", "name", "version", "steps", "agent", "type", "text"}
    needed |= {"schema_version", "tool_call_id", "function_name", "arguments", "results"}
    needed |= {"media_type", "path", "trajectory_id", "trajectory_path"}

    def without(value: Any, *, null: bool) -> Any:
        if isinstance(value, list):
            return [without(each, null=null) for each in value]
        if not isinstance(value, dict):
            return value
        return {
            key: without(each, null=null) if key in needed or isinstance(each, list) else None
            for key, each in value.items()
            if null or key in needed
        }

    assert broken_rules(without(good(), null=True)) == []
    assert broken_rules(without(good(), null=False)) == []


STEP = "steps.2."
CALL = "steps.2.tool_calls.0."
RESULT = "steps.2.observation.results.0."
METRICS = "steps.2.metrics."
PART = "steps.1.message."
CHILD = "subagent_trajectories.0."
REQUIRED = "is required"
NOT_TEXT = "is not text"
NOT_OBJECT = "is not an object"
NOT_LIST = "is not a list"
NEGATIVE = "is negative"
NOT_WHOLE = "is not a whole number"
NOT_NUMBER = "is not a number"
NO_TIME = "is not an ISO 8601 time in a text"
NO_CONTENT = "is neither text nor a list of parts"
AGENT_ONLY = "has its place in steps of an agent only"

TABLE: list[tuple[str, Any, str, str]] = [
    ("schema_version", ..., "$.schema_version", REQUIRED),
    ("schema_version", "ATIF-v1.9", "$.schema_version", f"is not one of {', '.join(VERSIONS)}"),
    ("schema_version", 1, "$.schema_version", f"is not one of {', '.join(VERSIONS)}"),
    ("agent", ..., "$.agent", REQUIRED),
    ("agent", "a", "$.agent", NOT_OBJECT),
    ("agent.name", ..., "$.agent.name", REQUIRED),
    ("agent.version", None, "$.agent.version", REQUIRED),
    ("agent.version", 1, "$.agent.version", NOT_TEXT),
    ("agent.model_name", 1, "$.agent.model_name", NOT_TEXT),
    ("agent.tool_definitions", {}, "$.agent.tool_definitions", NOT_LIST),
    ("agent.tool_definitions.0", "f", "$.agent.tool_definitions[0]", NOT_OBJECT),
    ("agent.extra", [], "$.agent.extra", NOT_OBJECT),
    ("agent.more", None, "$.agent", "has the unknown key 'more'"),
    ("steps", ..., "$.steps", REQUIRED),
    ("steps", {}, "$.steps", NOT_LIST),
    ("steps", [], "$.steps", "is empty"),
    ("steps.0", None, "$.steps[0]", NOT_OBJECT),
    ("session_id", 1, "$.session_id", NOT_TEXT),
    ("trajectory_id", 1, "$.trajectory_id", NOT_TEXT),
    ("notes", [], "$.notes", NOT_TEXT),
    ("continued_trajectory_ref", 1, "$.continued_trajectory_ref", NOT_TEXT),
    ("extra", "x", "$.extra", NOT_OBJECT),
    ("metadata", {}, "$", "has the unknown key 'metadata'"),
    ("steps.0.step_id", ..., "$.steps[0].step_id", REQUIRED),
    ("steps.0.step_id", "1", "$.steps[0].step_id", NOT_WHOLE),
    ("steps.0.step_id", 2, "$.steps[0].step_id", "is not 1"),
    ("steps.3.step_id", 5, "$.steps[3].step_id", "is not 4"),
    ("steps.0.source", ..., "$.steps[0].source", REQUIRED),
    ("steps.0.source", "tool", "$.steps[0].source", "is not one of system, user, agent"),
    ("steps.0.source", [], "$.steps[0].source", "is not one of system, user, agent"),
    ("steps.0.message", ..., "$.steps[0].message", REQUIRED),
    ("steps.0.message", None, "$.steps[0].message", REQUIRED),
    ("steps.0.message", {}, "$.steps[0].message", NO_CONTENT),
    ("steps.0.timestamp", 1767312003.0, "$.steps[0].timestamp", NO_TIME),
    ("steps.0.timestamp", "today", "$.steps[0].timestamp", NO_TIME),
    ("steps.0.more", 1, "$.steps[0]", "has the unknown key 'more'"),
    ("steps.0.model_name", "m", "$.steps[0].model_name", AGENT_ONLY),
    ("steps.1.reasoning_effort", "high", "$.steps[1].reasoning_effort", AGENT_ONLY),
    ("steps.1.reasoning_content", "", "$.steps[1].reasoning_content", AGENT_ONLY),
    ("steps.1.tool_calls", [], "$.steps[1].tool_calls", AGENT_ONLY),
    ("steps.1.metrics", {}, "$.steps[1].metrics", AGENT_ONLY),
    (STEP + "model_name", 1, "$.steps[2].model_name", NOT_TEXT),
    (STEP + "reasoning_effort", True, "$.steps[2].reasoning_effort",
     "is neither text nor a number"),
    (STEP + "reasoning_content", [], "$.steps[2].reasoning_content", NOT_TEXT),
    (STEP + "tool_calls", {}, "$.steps[2].tool_calls", NOT_LIST),
    (STEP + "observation", [], "$.steps[2].observation", NOT_OBJECT),
    (STEP + "observation.results", ..., "$.steps[2].observation.results", REQUIRED),
    (STEP + "is_copied_context", 1, "$.steps[2].is_copied_context", "is not true or false"),
    (STEP + "llm_call_count", -1, "$.steps[2].llm_call_count", NEGATIVE),
    (STEP + "llm_call_count", 1.0, "$.steps[2].llm_call_count", NOT_WHOLE),
    (STEP + "llm_call_count", 0, "$.steps[2].metrics", "has no place where llm_call_count is 0"),
    ("steps.3.reasoning_content", "r", "$.steps[3].reasoning_content",
     "has no place where llm_call_count is 0"),
    (STEP + "extra", [], "$.steps[2].extra", NOT_OBJECT),
    (CALL + "tool_call_id", ..., "$.steps[2].tool_calls[0].tool_call_id", REQUIRED),
    (CALL + "tool_call_id", 1, "$.steps[2].tool_calls[0].tool_call_id", NOT_TEXT),
    (CALL + "tool_call_id", "c2", "$.steps[2].tool_calls[1].tool_call_id",
     "stands twice in the document"),
    (CALL + "function_name", ..., "$.steps[2].tool_calls[0].function_name", REQUIRED),
    (CALL + "arguments", ..., "$.steps[2].tool_calls[0].arguments", REQUIRED),
    (CALL + "arguments", "{}", "$.steps[2].tool_calls[0].arguments", NOT_OBJECT),
    (CALL + "id", "x", "$.steps[2].tool_calls[0]", "has the unknown key 'id'"),
    ("steps.3.tool_calls", [{"tool_call_id": "c1", "function_name": "f", "arguments": {}}],
     "$.steps[3].tool_calls[0].tool_call_id", "stands twice in the document"),
    ("steps.3.observation", {"results": [{"source_call_id": "c1"}]},
     "$.steps[3].observation.results[0].source_call_id", "names no call of its step"),
    ("steps.1.observation.results.0.source_call_id", "c1",
     "$.steps[1].observation.results[0].source_call_id", "names no call of its step"),
    (RESULT + "source_call_id", 1, "$.steps[2].observation.results[0].source_call_id", NOT_TEXT),
    (RESULT + "content", {}, "$.steps[2].observation.results[0].content", NO_CONTENT),
    (RESULT + "is_error", 1, "$.steps[2].observation.results[0]", "has the unknown key 'is_error'"),
    (RESULT + "subagent_trajectory_ref", {},
     "$.steps[2].observation.results[0].subagent_trajectory_ref", NOT_LIST),
    (RESULT + "subagent_trajectory_ref", [{"session_id": "run-1"}],
     "$.steps[2].observation.results[0].subagent_trajectory_ref[0]",
     "has neither a trajectory_id nor a trajectory_path"),
    (METRICS + "prompt_tokens", -1, "$.steps[2].metrics.prompt_tokens", NEGATIVE),
    (METRICS + "completion_tokens", "2", "$.steps[2].metrics.completion_tokens", NOT_WHOLE),
    (METRICS + "completion_tokens", True, "$.steps[2].metrics.completion_tokens", NOT_WHOLE),
    (METRICS + "cached_tokens", 6, "$.steps[2].metrics.cached_tokens",
     "is more than the prompt had"),
    (METRICS + "cost_usd", -0.5, "$.steps[2].metrics.cost_usd", NEGATIVE),
    (METRICS + "cost_usd", float("nan"), "$.steps[2].metrics.cost_usd", NOT_NUMBER),
    (METRICS + "prompt_token_ids", [1.5], "$.steps[2].metrics.prompt_token_ids[0]", NOT_WHOLE),
    (METRICS + "completion_token_ids", ["1"], "$.steps[2].metrics.completion_token_ids[0]",
     NOT_WHOLE),
    (METRICS + "logprobs", [None], "$.steps[2].metrics.logprobs[0]", NOT_NUMBER),
    (METRICS + "reasoning_tokens", 1, "$.steps[2].metrics",
     "has the unknown key 'reasoning_tokens'"),
    ("final_metrics.total_prompt_tokens", -1, "$.final_metrics.total_prompt_tokens", NEGATIVE),
    ("final_metrics.total_cached_tokens", 9, "$.final_metrics.total_cached_tokens",
     "is more than the prompt had"),
    ("final_metrics.total_cost_usd", "0", "$.final_metrics.total_cost_usd", NOT_NUMBER),
    ("final_metrics.total_steps", 1.0, "$.final_metrics.total_steps", NOT_WHOLE),
    (PART + "0.text", ..., "$.steps[1].message[0].text", "is required in a part of the type text"),
    (PART + "0.source", {"media_type": "image/png", "path": "a"}, "$.steps[1].message[0].source",
     "has no place in a part of the type text"),
    (PART + "0.type", "video", "$.steps[1].message[0].type", "is not one of text, image, audio"),
    (PART + "0", "text", "$.steps[1].message[0]", NOT_OBJECT),
    (PART + "1.source", ..., "$.steps[1].message[1].source",
     "is required in a part of the type image"),
    (PART + "1.text", "x", "$.steps[1].message[1].text",
     "has no place in a part of the type image"),
    (PART + "1.source.path", ..., "$.steps[1].message[1].source.path", REQUIRED),
    (PART + "1.source.media_type", ..., "$.steps[1].message[1].source.media_type", REQUIRED),
    (PART + "1.source.media_type", "image/tiff", "$.steps[1].message[1].source.media_type",
     "is not a known type of image"),
    (PART + "1.source.media_type", "audio/wav", "$.steps[1].message[1].source.media_type",
     "is not a known type of image"),
    (PART + "1.source.duration_sec", 1, "$.steps[1].message[1].source.duration_sec",
     "has no place in an image"),
    (PART + "2.source.media_type", "image/png", "$.steps[1].message[2].source.media_type",
     "is not a known type of audio"),
    (PART + "2.source.duration_sec", -1, "$.steps[1].message[2].source.duration_sec", NEGATIVE),
    ("subagent_trajectories", {}, "$.subagent_trajectories", NOT_LIST),
    ("subagent_trajectories.0", "x", "$.subagent_trajectories[0]", NOT_OBJECT),
    (CHILD + "trajectory_id", ..., "$.subagent_trajectories[0].trajectory_id",
     "is required where it is embedded"),
    (CHILD + "steps.0.step_id", 2, "$.subagent_trajectories[0].steps[0].step_id", "is not 1"),
    (CHILD + "subagent_trajectories", [{}],
     "$.subagent_trajectories[0].subagent_trajectories[0].agent", REQUIRED),
]  # fmt: skip
"""A change, the path of the rule that it breaks, and what is said of it."""


@pytest.mark.parametrize(
    ("at", "value", "path", "reason"),
    TABLE,
    ids=[f"{number}-{row[2]}" for number, row in enumerate(TABLE)],
)
def test_a_broken_rule_is_found_where_it_is(at: str, value: Any, path: str, reason: str) -> None:
    assert (path, reason) in found(changed(at, value))


def test_total_steps_may_differ_where_notes_say_why() -> None:
    document = changed("final_metrics.total_steps", 9)
    assert broken_rules(document) == []
    del document["notes"]
    reason = "is not the number of steps, and no notes say why"
    assert found(document) == {("$.final_metrics.total_steps", reason)}


def test_siblings_have_ids_of_their_own_and_calls_may_share_theirs_with_a_child() -> None:
    document = good()
    child = document["subagent_trajectories"][0]
    child["steps"].append(
        {
            "step_id": 2,
            "source": "agent",
            "message": "",
            "tool_calls": [{"tool_call_id": "c1", "function_name": "f", "arguments": {}}],
        }
    )
    assert broken_rules(document) == []
    document["subagent_trajectories"].append(copy.deepcopy(child))
    assert found(document) == {
        ("$.subagent_trajectories[1].trajectory_id", "stands twice among its siblings")
    }


@pytest.mark.parametrize("document", [None, [], "x", 1, {}, {"steps": [[]]}])
def test_other_values_are_no_documents(document: Any) -> None:
    assert broken_rules(document)


def test_each_type_at_each_place_and_random_ones_are_looked_at_without_an_error() -> None:
    for seed in range(300):
        for document in mutated([good()], seed):
            for path, reason in broken_rules(document):
                assert CANARY not in path + reason
                assert (path + reason).isprintable()


def test_no_value_and_no_odd_key_is_quoted() -> None:
    document = good()
    document[CANARY + "\x1b[31m" + "x" * 500] = 1
    document["steps"][0]["source"] = CANARY
    document["steps"][0]["message"] = [CANARY]
    document["steps"][2]["observation"]["results"][0]["source_call_id"] = CANARY
    said = found(document)
    assert len(said) == 4
    for path, reason in said:
        assert len(path + reason) < 150
        assert "\x1b" not in path + reason
    assert CANARY not in str([each for each in said if "unknown key" not in each[1]])


def test_documents_may_be_embedded_as_deep_as_json_goes() -> None:
    document = inner = good()
    for _ in range(500):
        inner["subagent_trajectories"] = [good() | {"subagent_trajectories": []}]
        inner = inner["subagent_trajectories"][0]
    assert broken_rules(document) == []
    inner["notes"] = 1
    [(path, reason)] = found(document)
    assert path.endswith("[0].notes")
    assert reason == NOT_TEXT


def test_parts_are_told_from_others() -> None:
    assert is_part({"type": "text", "text": "x"})
    assert not is_part({"type": "image_url", "image_url": {"url": "x"}})
    assert not is_part("x")


@pytest.mark.parametrize("file", described("atif"))
def test_real_documents_break_no_rule(file: Described) -> None:
    assert broken_rules(json.loads(file.path.read_bytes())) == []
