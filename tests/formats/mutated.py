"""Documents with something wrong at a random place: importers must never raise for them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from formats.stored import read_all

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 2**63, 10**30, -(10**40), 1e308),
    *("", " ", "\0", "\ud800", "\x1b[31m\x1b]52;c;aGk=\x07", "\u202egnp.exe", "=1+1", "x" * 2000),
    *("2026-13-99T99:99:99Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"),
    *("message", "user", "assistant", "human", "function_call", "{", '{"name": 1}', "[[[["),
    *([], {}, [None], [[]], [{}], ["x"], [1, {}], {"": 0}, {"text": {}}, {"type": []}),
    json.loads("[" * 80 + "]" * 80),
    json.loads('{"a":' * 80 + "1" + "}" * 80),
)
"""Values of every type, wherever they don't belong."""


def mutated(documents: list[Any], seed: int) -> list[Any]:
    """Change one to four places of a copy."""
    random = Random(seed)
    changed = copy.deepcopy(documents)
    for _ in range(random.randint(1, 4)):
        places = list(_places(changed))
        holder, key = random.choice(places)
        action = random.random()
        if action < 0.15:
            del holder[key]
        elif action < 0.25 and isinstance(holder, dict):
            holder[random.choice(["type", "role", "x\x1b[2J", "\ud800", "id"])] = holder.pop(key)
        elif action < 0.35:
            other_holder, other_key = random.choice(places)
            try:
                other = copy.deepcopy(other_holder[other_key])
            except (KeyError, IndexError):
                continue
            holder[key] = other
        else:
            holder[key] = copy.deepcopy(random.choice(ODD))
        if not changed:
            return [None]
    return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = range(len(value)) if isinstance(value, list) else list(value)
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def check_never_raises(format_: str, documents: list[Any], *, as_list: bool, seeds: int) -> None:
    """Read many mutated forms of documents, and cut and broken bytes of them as well."""
    for seed in range(seeds):
        changed = mutated(documents, seed)
        lines = [json.dumps(document).encode() for document in changed]
        data = b"[" + b",\n".join(lines) + b"]" if as_list else b"\n".join(lines)
        read_all(format_, data)
        random = Random(seed)
        at = random.randrange(len(data) + 1)
        read_all(format_, data[:at])
        read_all(format_, data[:at] + bytes([random.randrange(256)]) + data[at + 1 :])
