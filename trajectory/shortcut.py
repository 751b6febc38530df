"""The short way through the door, for values whose fields are all of the plainest kind.

Most turns are two texts and a few numbers, of exactly the types that are kept. To look at those
takes a third less than the whole way through Pydantic, the dearest part of logging a turn. What is
not so plain goes the whole way, which also finds the words for what is wrong. Both ways make the
same value of the same fields (tests/models/test_shortcut.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple, get_args, get_type_hints
from uuid import UUID

from pydantic import BaseModel

from trajectory.door import INT32_MAX, MAX_LABEL, Amount, Count, Instant, Label, TurnNumber
from trajectory.values import INT64_MAX, is_storable

_PLANS = 256
"""So many sets of fields are remembered: a program has a few, which stand in its code."""

_JOINED = 64 * 1024
"""So many characters are looked at in one text; to join more costs more than to look at each."""

_now = datetime.now
# A slot's own setter costs a third less than `object.__setattr__`, which looks for it each time.
_set_dict, _set_given, _set_extra, _set_private = (
    vars(BaseModel)[name].__set__
    for name in (
        "__dict__",
        "__pydantic_fields_set__",
        "__pydantic_extra__",
        "__pydantic_private__",
    )
)


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

    kinds: list[type]
    texts: Callable[[dict[str, Any]], tuple[str, ...]]
    """Gives all texts: there are two at least, the prompt and the response."""
    labels: tuple[tuple[str, float], ...]
    """The texts that have a limit, and it."""
    numbers: tuple[tuple[str, float], ...]
    """The numbers, and how large each may be."""
    has_instant: bool
    names: set[str]


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
        # Whatever can be is done for all fields in one call: that halves the instructions.
        names = (*fields,)
        try:
            plan = self._plans[names]
        except KeyError:
            plan = self._planned(names)
        if plan is None or [*map(type, fields.values())] != plan.kinds:
            return False
        texts = plan.texts(fields)
        if len(texts[-1]) + len(texts[-2]) > _JOINED:
            if not all(map(is_storable, texts)):
                return False
        else:
            joined = "".join(texts)
            if "\0" in joined or not (joined.isascii() or is_storable(joined)):
                return False
        for name, most in plan.labels:
            if len(fields[name]) > most:
                return False
        for name, most in plan.numbers:
            if not 0 <= fields[name] <= most:  # nor is NaN
                return False
        # What BaseModel.model_construct does, without a look at every field of the model.
        held = self._defaults | fields
        if not plan.has_instant:
            held[self._now] = _now(UTC)
        elif held[self._now].tzinfo is not UTC:
            return False
        _set_dict(value, held)
        _set_given(value, plan.names.copy())
        _set_extra(value, None)
        _set_private(value, None)
        return True

    def _planned(self, names: tuple[str, ...]) -> _Plan | None:
        """Plan for fields of these names; None where they must go the whole way in any case."""
        plan = None
        if self._required <= set(names) <= self._plain.keys():
            plains = {name: self._plain[name] for name in names}
            texts = [name for name, plain in plains.items() if plain.kind is str]
            texts.sort(key=lambda name: plains[name].most)  # those that may be long come last
            plan = _Plan(
                kinds=[plain.kind for plain in plains.values()],
                texts=itemgetter(*texts),
                labels=tuple((n, plains[n].most) for n in texts if plains[n].most < sys.maxsize),
                numbers=tuple((n, p.most) for n, p in plains.items() if p.kind in {int, float}),
                has_instant=self._now in plains,
                names=set(names),
            )
        if len(self._plans) >= _PLANS:
            self._plans.clear()  # so that those in use are soon remembered again
        self._plans[names] = plan
        return plan
