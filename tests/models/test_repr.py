"""What was said stands in no repr: neither of a value nor of what holds one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import get_annotations

import pytest
from factories import (
    MessageFactory,
    QuestionFactory,
    ToolCallFactory,
    TrajectoryFactory,
    TurnFactory,
    ViolationFactory,
)

from trajectory.door import Value
from trajectory.models import (
    Fact,
    Message,
    Question,
    ToolCall,
    Trajectory,
    TrajectoryEnd,
    Turn,
    Violation,
)

CANARY = "canary-91ce"
MODELS = (Message, ToolCall, Question, Violation, Turn, Trajectory, TrajectoryEnd, Fact)


def text_fields() -> Iterator[tuple[type[Value], str]]:
    """Give every field that takes a text or JSON, but for labels, which are names."""
    for model in MODELS:
        told = {
            name: kind for each in model.__mro__ for name, kind in get_annotations(each).items()
        }
        for name in model.model_fields:
            if re.search(r"\b(str|Any|Object|Parts)\b", told[name]):
                yield model, name


@pytest.mark.parametrize(
    ("model", "name"),
    [pytest.param(*each, id=f"{each[0].__name__}.{each[1]}") for each in text_fields()],
)
def test_content_is_in_no_repr(model: type[Value], name: str) -> None:
    assert name in model._content_fields


def test_there_are_such_fields() -> None:
    found = {f"{model.__name__}.{name}" for model, name in text_fields()}
    assert {"Turn.prompt", "Turn.metadata", "Message.content", "ToolCall.result"} <= found
    assert "Turn.model_name" not in found


@pytest.mark.parametrize(
    "value",
    [
        MessageFactory(full=True, content=CANARY),
        MessageFactory(content=[{"type": "text", "text": CANARY}], usage={CANARY: 1}),
        ToolCallFactory(full=True, arguments=CANARY, result=CANARY),
        QuestionFactory(full=True, question_text=CANARY),
        ViolationFactory(full=True, expected=CANARY, actual=CANARY, reason=CANARY),
        TrajectoryFactory(full=True, system_prompt=CANARY, tags=[CANARY], tools={CANARY: 1}),
        TurnFactory(
            prompt=CANARY,
            response=CANARY,
            error=CANARY,
            metadata={CANARY: CANARY},
            questions=[QuestionFactory(question_text=CANARY)],
            messages=[MessageFactory(content=CANARY)],
            tool_calls=[ToolCallFactory(result=CANARY)],
            violations=[ViolationFactory(actual=CANARY)],
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_was_said_is_not_shown(value: Value) -> None:
    assert CANARY in value.model_dump_json()
    for shown in (repr(value), str(value), f"{value}", repr([value]), repr({"v": value})):
        assert CANARY not in shown


def test_what_names_a_value_is_shown() -> None:
    turn = TurnFactory(turn_number=1, prompt="four", response="", model_name="model-1")
    shown = repr(turn)
    assert f"trajectory_id={turn.trajectory_id!r}" in shown
    assert "turn_number=1" in shown
    assert "prompt=<4 characters>" in shown
    assert "response=''" in shown
    assert "model_name='model-1'" in shown
