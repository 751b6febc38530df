"""The short way through the door, for values whose fields are all of the plainest kind.

Most turns are two texts and a few numbers, of exactly the types that are kept. To look at those
takes a third less than the whole way through Pydantic, the dearest part of logging a turn. What is
not so plain goes the whole way, which also finds the words for what is wrong. Both ways make the
same value of the same fields (tests/models/test_shortcut.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple, get_args, get_type_hints
from uuid import UUID

from pydantic import BaseModel

from trajectory.door import INT32_MAX, MAX_LABEL, Amount, Count, Instant, Label, TurnNumber
from trajectory.values import INT64_MAX, is_storable

_PLANS = 256
"""So many sets of fields are remembered: a program has a few, which stand in its code."""

_set = object.__setattr__


class _Plain(NamedTuple):
    """What is taken: exactly this type, and no more characters, or no larger a number from 0."""

    kind: type
    most: float = sys.maxsize


_KINDS: tuple[tuple[Any, _Plain], ...] = (
    (str, _Plain(str)),
    (Label, _Plain(str, MAX_LABEL)),
    (Count, _Plain(int, INT64_MAX)),
    (TurnNumber, _Plain(int, INT32_MAX)),
    (Amount, _Plain(float, sys.float_info.max)),
    (UUID, _Plain(UUID)),
    (Instant, _Plain(datetime)),
)


class _Plan(NamedTuple):
    """What must hold of the values of some fields, in their order."""

    kinds: tuple[type, ...]
    texts: tuple[tuple[int, float], ...]
    """The places of texts, and how long each may be."""
    numbers: tuple[tuple[int, float], ...]
    """The places of numbers, and how large each may be."""
    instant: int | None
    names: frozenset[str]


class Shortcut:
    """The short way into a model, for fields of the kinds above."""

    def __init__(self, model: type[BaseModel], *, now: str) -> None:
        """`now` names the field that holds the instant, unless it is given."""
        fields = model.model_fields
        hints = get_type_hints(model, include_extras=True)
        self._plain = {
            name: plain
            for name in fields
            for kind, plain in _KINDS
            if kind in (hints[name], *get_args(hints[name])[:1])
        }
        self._required = frozenset(name for name, field in fields.items() if field.is_required())
        self._now = now
        self._defaults: dict[str, Any] = {
            name: None
            if name == now or field.is_required()
            else field.get_default(call_default_factory=True, validated_data={})
            for name, field in fields.items()
        }
        self._plans: dict[tuple[str, ...], _Plan | None] = {}

    def fill(self, value: BaseModel, fields: dict[str, Any]) -> bool:
        """Fill a new value; or say that it must go the whole way, and leave it as it is."""
        names = (*fields,)
        try:
            plan = self._plans[names]
        except KeyError:
            plan = self._planned(names)
        if plan is None:
            return False
        given = (*fields.values(),)
        if (*map(type, given),) != plan.kinds:
            return False
        for place, most in plan.texts:
            text = given[place]
            if len(text) > most or "\0" in text or not (text.isascii() or is_storable(text)):
                return False
        for place, most in plan.numbers:
            if not 0 <= given[place] <= most:  # nor is NaN
                return False
        # What BaseModel.model_construct does, without a look at every field of the model.
        held = self._defaults.copy()
        held.update(fields)
        if plan.instant is None:
            held[self._now] = datetime.now(UTC)
        elif given[plan.instant].tzinfo is not UTC:
            return False
        _set(value, "__dict__", held)
        _set(value, "__pydantic_fields_set__", set(plan.names))
        _set(value, "__pydantic_extra__", None)
        _set(value, "__pydantic_private__", None)
        return True

    def _planned(self, names: tuple[str, ...]) -> _Plan | None:
        """Plan for fields of these names; None where they must go the whole way in any case."""
        plan = None
        if self._required <= set(names) <= self._plain.keys():
            plains = [self._plain[name] for name in names]
            plan = _Plan(
                kinds=tuple(plain.kind for plain in plains),
                texts=tuple(_limits(plains, (str,))),
                numbers=tuple(_limits(plains, (int, float))),
                instant=names.index(self._now) if self._now in names else None,
                names=frozenset(names),
            )
        if len(self._plans) < _PLANS:
            self._plans[names] = plan
        return plan


def _limits(plains: Iterable[_Plain], kinds: tuple[type, ...]) -> Iterable[tuple[int, float]]:
    return ((place, plain.most) for place, plain in enumerate(plains) if plain.kind in kinds)
