"""The value rule: what every backend can store and give back unchanged.

Databases disagree about NUL, lone surrogates, NaN, huge integers and deep nesting, and the quiet
disagreements break later reads. So a value is cleaned or refused once, before anything is
accepted: `clean_text` and `freeze_json` are that door.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NoReturn, Self

MAX_DEPTH = 64
"""How deep JSON may nest."""

MAX_VALUES = 500_000
"""So many values may one JSON field hold: to copy them takes half a second."""

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

REPLACEMENT = "\ufffd"
_SLICE = 64 * 1024
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class RefusedValueError(ValueError):
    """Why a value can't be stored, in words that hold none of its content."""


def is_storable(text: str) -> bool:
    """Say whether a text holds neither NUL nor a lone surrogate."""
    if "\0" in text:
        return False
    if not text.isascii():
        try:
            # Ten times faster than searching for the surrogates.
            _ = text.encode() if len(text) <= _SLICE else text_bytes(text)
        except UnicodeEncodeError:
            return False
    return True


def clean_text(text: str) -> str:
    """Replace each NUL and each lone surrogate by U+FFFD."""
    return _UNSTORABLE.sub(REPLACEMENT, text)


def freeze_json(value: Any, *, depth: int = MAX_DEPTH) -> tuple[Any, bool]:
    """Copy a JSON value into an immutable, storable one; say whether text had to be cleaned.

    The copy holds `FrozenDict` and `FrozenList` at every level, so what is logged can't change
    afterwards. Tuples become lists.

    Raises `RefusedValueError` for NaN, infinity, integers beyond 64 bits, keys that are not text,
    keys that become equal by cleaning, nesting deeper than `depth`, more than `MAX_VALUES` values,
    and types JSON doesn't have.
    """
    if type(value) in {FrozenDict, FrozenList} and depth == MAX_DEPTH:
        return value, False  # it came through here before
    return _freeze(value, depth, [MAX_VALUES])


def _freeze(value: Any, depth: int, left: list[int]) -> tuple[Any, bool]:
    if value is None or value is True or value is False:
        return value, False
    if isinstance(value, str):
        return (str(value), False) if is_storable(value) else (clean_text(value), True)
    if isinstance(value, int):
        if not INT64_MIN <= value <= INT64_MAX:
            raise RefusedValueError("holds an integer beyond 64 bits")
        return int(value), False
    if isinstance(value, float):
        if not isfinite(value):
            raise RefusedValueError("holds NaN or infinity, which JSON doesn't have")
        return float(value), False
    if depth <= 0:
        raise RefusedValueError(f"nests deeper than {MAX_DEPTH} levels")
    dirty = False
    if isinstance(value, Mapping | list | tuple):
        left[0] -= len(value)
        if left[0] < 0:  # before the first of them is looked at
            raise RefusedValueError(f"holds more than {MAX_VALUES:,} values")
    if isinstance(value, Mapping):
        pairs: dict[str, Any] = {}
        for key, member in value.items():
            if not isinstance(key, str):
                raise RefusedValueError(
                    f"has a key of type {type(key).__name__}; JSON keys are text"
                )
            clean_key = str(key) if is_storable(key) else clean_text(key)
            if clean_key in pairs:
                raise RefusedValueError("has keys that differ only in NUL or lone surrogates")
            pairs[clean_key], member_dirty = _freeze(member, depth - 1, left)
            dirty = dirty or member_dirty or clean_key != key
        return FrozenDict(pairs), dirty
    if isinstance(value, list | tuple):
        if _all_plain(value):
            return FrozenList(value), False
        members = []
        for member in value:
            frozen, member_dirty = _freeze(member, depth - 1, left)
            members.append(frozen)
            dirty = dirty or member_dirty
        return FrozenList(members), dirty
    raise RefusedValueError(f"holds a {type(value).__name__}, which JSON doesn't have")


def _all_plain(values: Sequence[Any]) -> bool:
    """Say whether these are numbers that need no change, as token ids are: thirty times faster."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return bool(min(values) >= INT64_MIN and max(values) <= INT64_MAX)
    return kinds == {float} and all(map(isfinite, values))


def same_json(one: Any, other: Any) -> bool:
    """Compare JSON values as JSON does: `1`, `1.0` and `true` are three values."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            same_json(value, other[key]) for key, value in one.items()
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return _kind(one) == _kind(other) and bool(one == other)


def _kind(value: Any) -> int:
    if isinstance(value, bool):
        return 1
    return 2 if isinstance(value, int) else 3 if isinstance(value, float) else 0


def json_bytes(value: Any) -> int:
    """Estimate the bytes that a frozen JSON value takes as text; cheap, and never far below."""
    if isinstance(value, str):
        return text_bytes(value) + 2
    if isinstance(value, dict):
        return 2 + sum(text_bytes(key) + 4 + json_bytes(item) for key, item in value.items())
    if isinstance(value, list):
        return 2 + sum(2 + json_bytes(item) for item in value)
    return 8 if isinstance(value, int | None) else 24


def text_bytes(text: str) -> int:
    """Count the UTF-8 bytes of a text. Raises `UnicodeEncodeError` for a lone surrogate."""
    if text.isascii():
        return len(text)
    if len(text) <= _SLICE:
        return len(text.encode())
    # Fresh memory for all of a large one would take longer than the encoding.
    return sum(len(text[at : at + _SLICE].encode()) for at in range(0, len(text), _SLICE))


def _refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
    raise TypeError("a logged value can't be changed; make a new one instead")


class _Frozen:
    """What frozen containers share: copies are the value itself, every change is refused."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self


class FrozenDict(_Frozen, dict[str, Any]):
    """A dict (equal to a plain one, accepted by `json.dumps`) that can't be changed."""

    __slots__ = ()

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return (FrozenDict, (dict(self),))


class FrozenList(_Frozen, list[Any]):
    """A list (equal to a plain one, accepted by `json.dumps`) that can't be changed."""

    __slots__ = ()

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return (FrozenList, (list(self),))
