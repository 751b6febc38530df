"""What kind of error it was, out of a text that may hold anything."""

from __future__ import annotations

import re

from trajectory.genai.conventions import OTHER

_TYPE = re.compile(r"((?:[A-Za-z_]\w{0,63}\.){0,8}[A-Z]\w{2,79})(?::|\s*$)", re.ASCII)
_MIN_CAPITALS = 2


def error_type(error: str | None) -> str:
    """Give the type that an error's text begins with, as in `ValueError: no such day`.

    What doesn't look like a type is `_OTHER`: a word of a prompt is none. A type has two capitals.
    """
    found = _TYPE.match(error or "")
    if found is None:
        return OTHER
    last = found[1].rpartition(".")[2]
    return found[1] if sum(letter.isupper() for letter in last) >= _MIN_CAPITALS else OTHER
