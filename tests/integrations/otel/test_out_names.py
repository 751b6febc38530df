"""The pinned table of names, held against what OpenTelemetry's own package knows."""

from __future__ import annotations

import warnings
from enum import Enum

from trajectory.genai import conventions
from trajectory.genai.conventions import Operation
from trajectory.genai.providers import PROVIDERS

NEVER = {
    conventions.CACHE_WRITE_TOKENS,  # in all its versions: cache_creation
    conventions.EVALUATION_EVENT,  # events, of which it has no constants
    conventions.DETAILS_EVENT,
}
LATER = {
    *("gen_ai.agent.version", "gen_ai.request.stream", "gen_ai.response.time_to_first_chunk"),
    *("gen_ai.evaluation.name", "gen_ai.evaluation.score.value", "gen_ai.evaluation.score.label"),
    *("gen_ai.evaluation.explanation", "gen_ai.tool.definitions"),
    *("gen_ai.tool.call.arguments", "gen_ai.tool.call.result"),
    *("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.reasoning.output_tokens"),
}
"""Not in the oldest version that is supported."""


def _known() -> tuple[set[str], set[str], set[str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as package

        names = {value for value in vars(package).values() if isinstance(value, str)}
        operations, providers = (
            {each.value for each in found}
            for found in (package.GenAiOperationNameValues, package.GenAiProviderNameValues)
            if issubclass(found, Enum)
        )
    return names, operations, providers


def _ours() -> dict[str, str]:
    return {
        name: value
        for name, value in vars(conventions).items()
        if name.isupper() and isinstance(value, str)
    }


def test_every_name_of_the_conventions_is_one_that_the_package_knows() -> None:
    names, operations, providers = _known()
    told = {value for value in _ours().values() if value.startswith("gen_ai.")}
    assert told - names >= NEVER
    assert told - names - NEVER in (set(), LATER)
    later = {"plan", "retrieval", "invoke_workflow"}
    assert {each.value for each in Operation} - operations <= later
    assert PROVIDERS - providers <= {"moonshot_ai"}


def test_names_of_our_own_are_in_our_own_space_and_none_is_there_twice() -> None:
    ours = _ours()
    assert len(set(ours.values())) == len(ours)
    for name, value in ours.items():
        if name not in {"VERSION", "OTHER"}:
            assert value.startswith(
                ("gen_ai.", "trajectory.", "error.", "user.", "service.", "server.")
            ), name
