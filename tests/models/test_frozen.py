"""What is logged is what was there at the call: values can't be changed, nor can what they hold."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from factories import MessageFactory, QuestionFactory, TrajectoryFactory, TurnFactory
from pydantic import ValidationError

from trajectory import Trajectory
from trajectory.values import FrozenDict, FrozenList, freeze_json


def test_changing_the_caller_s_values_changes_nothing() -> None:
    inner: list[Any] = [1]
    metadata: dict[str, Any] = {"list": inner, "object": {"a": 1}}
    questions = [QuestionFactory()]
    parts: list[Any] = [{"type": "text", "text": "x"}]
    tags = ["a"]
    message = MessageFactory(content=parts)
    turn = TurnFactory(metadata=metadata, questions=questions, messages=[message])
    trajectory = TrajectoryFactory(tags=tags, metadata=metadata)
    before = turn.model_dump_json(), trajectory.model_dump_json()
    inner.append(2)
    metadata["object"]["a"] = 2
    metadata["new"] = []
    questions.clear()
    parts[0]["text"] = "y"
    parts.append({})
    tags.append("b")
    assert (turn.model_dump_json(), trajectory.model_dump_json()) == before


def test_fields_can_t_be_set() -> None:
    turn = TurnFactory()
    with pytest.raises(ValidationError, match="frozen"):
        turn.prompt = "x"
    with pytest.raises(ValidationError, match="frozen"):
        del turn.prompt


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.__setitem__("k", 1),
        lambda d: d.__delitem__("k"),
        lambda d: d.__ior__({"x": 1}),
        lambda d: d.clear(),
        lambda d: d.pop("k"),
        lambda d: d.popitem(),
        lambda d: d.setdefault("x", 1),
        lambda d: d.update(x=1),
        lambda d: d["k"].append(1),
        lambda d: d["k"].extend([1]),
        lambda d: d["k"].insert(0, 1),
        lambda d: d["k"].remove(1),
        lambda d: d["k"].pop(),
        lambda d: d["k"].clear(),
        lambda d: d["k"].sort(),
        lambda d: d["k"].reverse(),
        lambda d: d["k"].__setitem__(0, 1),
        lambda d: d["k"].__delitem__(0),
        lambda d: d["k"].__iadd__([1]),
        lambda d: d["k"].__imul__(2),
    ],
)
def test_json_can_t_be_changed_at_any_level(change: Any) -> None:
    turn = TurnFactory(metadata={"k": [1, 2]})
    with pytest.raises(TypeError, match="make a new one"):
        change(turn.metadata)
    assert turn.metadata == {"k": [1, 2]}


def test_frozen_json_is_json() -> None:
    value = TurnFactory(metadata={"k": [1, {"x": None}]}).metadata
    assert json.loads(json.dumps(value)) == value == {"k": [1, {"x": None}]}
    assert isinstance(value, FrozenDict)
    assert isinstance(value["k"], FrozenList)


@pytest.mark.parametrize(
    "remake",
    [
        copy.copy,
        copy.deepcopy,
        lambda value: pickle.loads(pickle.dumps(value)),  # noqa: S301 - our own bytes
        lambda value: value.replace(),
        lambda value: value.model_copy(),
        lambda value: value.model_copy(deep=True),
    ],
    ids=["copy", "deepcopy", "pickle", "replace", "model_copy", "deep_model_copy"],
)
def test_copies_are_equal_and_as_frozen(remake: Callable[[Any], Any]) -> None:
    turn = TurnFactory(full=True, messages=[MessageFactory(content="\0", usage={"k": [1]})])
    made = remake(turn)
    assert made == turn
    assert made.model_dump_json() == turn.model_dump_json()
    for frozen in (made.metadata, made.messages[0].usage):
        assert isinstance(frozen, FrozenDict)
        with pytest.raises(TypeError, match="make a new one"):
            frozen["x"] = 1
    with pytest.raises(TypeError, match="make a new one"):
        made.messages[0].usage["k"].append(1)
    assert made.messages[0].cleaned == ("content",)


@pytest.mark.parametrize(
    "remake",
    [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))],  # noqa: S301
    ids=["copy", "deepcopy", "pickle"],
)
def test_frozen_json_alone_survives_copies(remake: Callable[[Any], Any]) -> None:
    value, _ = freeze_json({"k": [1, {"x": [None]}]})
    made = remake(value)
    assert made == value == {"k": [1, {"x": [None]}]}
    assert [type(part) for part in (made, made["k"], made["k"][1])] == [
        FrozenDict,
        FrozenList,
        FrozenDict,
    ]


def test_replace_passes_the_door_and_leaves_the_first_alone() -> None:
    turn = TurnFactory(full=True, response="first")
    other = turn.replace(response="a\0", questions=())
    assert (other.response, other.questions) == ("a\ufffd", ())
    assert (turn.response, len(turn.questions)) == ("first", 2)
    assert other.created_at == turn.created_at


def test_replace_keeps_what_was_made_by_default() -> None:
    trajectory = Trajectory(run_id="r")
    assert trajectory.replace(user_id="u").id == trajectory.id
    assert trajectory.replace(user_id="u").created_at == trajectory.created_at
