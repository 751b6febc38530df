"""ATIF as its authors' own models see it: an optional leg, run where `harbor` is installed.

`pip install harbor` needs Python 3.12 or newer. Everywhere else our own rules stand for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drawn import conversations
from formats.mutated import mutated
from formats.stored import read_all
from formats.test_atif_rules import TABLE, changed, good
from formats.written import Conversation, written
from hypothesis import given, settings
from recorded import TESTS, real

from trajectory.formats import ImportedTrajectory
from trajectory.formats.atif_rules import broken_rules
from trajectory.testing.samples import full_trajectory, full_turn

published = pytest.importorskip(
    "harbor.models.trajectories.trajectory", reason="harbor is not installed"
)

OURS = ("atif", "claude-code", "codex", "openai-chat", "sharegpt", "swe-agent")
NOT_WHOLE = "is not a whole number"
LENIENT = {
    # Rules that are not checked there.
    ("steps.3.tool_calls", "stands twice in the document"),
    ("steps.2.metrics.prompt_tokens", "is negative"),
    ("steps.2.metrics.cost_usd", "is negative"),
    ("final_metrics.total_prompt_tokens", "is negative"),
    ("steps.2.metrics.cached_tokens", "is more than the prompt had"),
    ("final_metrics.total_cached_tokens", "is more than the prompt had"),
    # Other types are turned into the right one, NaN is a number, and a default is filled in.
    ("schema_version", "is required"),
    ("steps.0.step_id", NOT_WHOLE),
    ("steps.2.llm_call_count", NOT_WHOLE),
    ("steps.2.metrics.completion_tokens", NOT_WHOLE),
    ("steps.2.metrics.completion_token_ids", NOT_WHOLE),
    ("final_metrics.total_steps", NOT_WHOLE),
    ("steps.2.metrics.cost_usd", "is not a number"),
    ("final_metrics.total_cost_usd", "is not a number"),
    ("steps.2.reasoning_effort", "is neither text nor a number"),
    ("steps.2.is_copied_context", "is not true or false"),
}
"""What the published models let pass, and our rules don't."""


def takes(document: Any) -> bool:
    """Say whether the published models take a document."""
    try:
        published.Trajectory.model_validate(document)
    except ValueError:
        return False
    return True


def check(exported: list[Conversation]) -> int:
    data, _ = written("atif", exported)
    for line in data.splitlines():
        published.Trajectory.model_validate(json.loads(line))
    return data.count(b"\n")


def imported(format_: str, file: Path) -> Iterator[Conversation]:
    for found in read_all(format_, file):
        if isinstance(found, ImportedTrajectory):
            yield found.trajectory, found.turns


@settings(max_examples=300, deadline=None)
@given(conversations())
def test_exports_of_any_values_are_taken(conversation: Conversation) -> None:
    check([conversation])


def test_a_full_sample_is_taken() -> None:
    trajectory = full_trajectory()
    assert check([(trajectory, [full_turn(trajectory.id)])]) == 1


@pytest.mark.parametrize("format_", OURS)
def test_exports_of_our_files_of_other_formats_are_taken(format_: str) -> None:
    files = [each for each in (TESTS / "fixtures").rglob("*") if format_ in str(each)]
    found = [
        conversation
        for file in sorted(files)
        if file.is_file()
        for conversation in imported(format_, file)
    ]
    assert check(found) == len(found) > 0


@pytest.mark.parametrize("format_", OURS)
def test_exports_of_real_files_are_taken(format_: str) -> None:
    found = 0
    for file in sorted(real(format_).rglob("*")):
        if file.suffix in {".json", ".jsonl", ".traj"}:
            found += check(list(imported(format_, file)))
    assert found > 0


def test_real_documents_are_taken_as_they_stand() -> None:
    files = list(real("atif").rglob("*.json"))
    assert len(files) == 5
    assert all(takes(json.loads(file.read_bytes())) for file in files)


def test_broken_documents_are_refused_there_as_well() -> None:
    assert takes(good())
    taken = {(at, reason) for at, value, _, reason in TABLE if takes(changed(at, value))}
    assert taken == LENIENT


def test_what_our_rules_let_pass_is_taken() -> None:
    passed = 0
    for seed in range(3000):
        [document] = mutated([good()], seed)
        if not broken_rules(document):
            passed += 1
            assert takes(document)
    assert passed > 100
