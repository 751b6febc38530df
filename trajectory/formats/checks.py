"""Checks of JSON values, put together from small ones: what a format's rules are written in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from math import isfinite
from typing import Any, NamedTuple

from trajectory.formats.foreign import shown


class BrokenRule(NamedTuple):
    """What is wrong with a document. Neither part holds a value of it."""

    path: str
    """Where, as a JSON path: `$.steps[2].metrics`."""
    reason: str


Check = Callable[[Any, str], Iterator[BrokenRule]]
"""Looks at a value; the text is its path."""


def is_a(kind: type, what: str) -> Check:
    """Check the type."""

    def check(value: Any, path: str) -> Iterator[BrokenRule]:
        if not isinstance(value, kind):
            yield BrokenRule(path, f"is not {what}")

    return check


text = is_a(str, "text")
free = is_a(dict, "an object")
flag = is_a(bool, "true or false")


def is_number(value: object) -> bool:
    """Say whether a value is a number as JSON has them: no boolean, not infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or isfinite(value)


def count(value: Any, path: str) -> Iterator[BrokenRule]:
    """Check a whole number from 0."""
    if isinstance(value, bool) or not isinstance(value, int):
        yield BrokenRule(path, "is not a whole number")
    elif value < 0:
        yield BrokenRule(path, "is negative")


def amount(value: Any, path: str) -> Iterator[BrokenRule]:
    """Check a number from 0."""
    if not is_number(value):
        yield BrokenRule(path, "is not a number")
    elif value < 0:
        yield BrokenRule(path, "is negative")


def number(value: Any, path: str) -> Iterator[BrokenRule]:
    """Check a number."""
    if not is_number(value):
        yield BrokenRule(path, "is not a number")


def whole(value: Any, path: str) -> Iterator[BrokenRule]:
    """Check a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        yield BrokenRule(path, "is not a whole number")


def text_or_number(value: Any, path: str) -> Iterator[BrokenRule]:
    """Check what is text or a number."""
    if not isinstance(value, str) and not is_number(value):
        yield BrokenRule(path, "is neither text nor a number")


def timestamp(value: Any, path: str) -> Iterator[BrokenRule]:
    """Check a time."""
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        yield BrokenRule(path, "is not an ISO 8601 time in a text")


def one_of(*values: str) -> Check:
    """Check a word."""

    def check(value: Any, path: str) -> Iterator[BrokenRule]:
        if value not in values:
            yield BrokenRule(path, f"is not one of {', '.join(values)}")

    return check


def list_of(check: Check, *, at_least: int = 0) -> Check:
    """Check a list, and each of its members."""

    def check_list(value: Any, path: str) -> Iterator[BrokenRule]:
        if not isinstance(value, list):
            yield BrokenRule(path, "is not a list")
            return
        if len(value) < at_least:
            yield BrokenRule(path, "is empty")
        for at, member in enumerate(value):
            yield from check(member, f"{path}[{at}]")

    return check_list


def object_of(
    required: Mapping[str, Check], optional: Mapping[str, Check], more: Check | None = None
) -> Check:
    """Check an object: what it must have, may have, and (`more`) how its members fit together."""
    known = {**required, **optional}

    def check(value: Any, path: str) -> Iterator[BrokenRule]:
        if not isinstance(value, dict):
            yield BrokenRule(path, "is not an object")
            return
        for key in required:
            if value.get(key) is None:
                yield BrokenRule(f"{path}.{key}", "is required")
        for key, member in value.items():
            if key not in known:
                yield BrokenRule(path, f"has the unknown key {shown(key)}")
            elif member is not None:
                yield from known[key](member, f"{path}.{key}")
        if more is not None:
            yield from more(value, path)

    return check
