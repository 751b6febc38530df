"""Ids: ordered, unique, of the right version, and derived the same way everywhere."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import pairwise
from operator import and_, or_
from uuid import RFC_4122, UUID

import pytest

from trajectory.ids import derived_id, uuid7


def milliseconds(id_: UUID) -> int:
    return id_.int >> 80


def test_it_is_a_version_7_id_of_now() -> None:
    before = time.time_ns() // 1_000_000
    id_ = uuid7()
    after = time.time_ns() // 1_000_000
    assert (id_.version, id_.variant) == (7, RFC_4122)
    # Ids that were made faster than the clock ticks run ahead of it, by much less than this.
    assert before <= milliseconds(id_) <= after + 1000


def test_they_ascend_however_fast_they_are_made() -> None:
    made = [uuid7() for _ in range(20_000)]
    assert all(earlier < later for earlier, later in pairwise(made))
    assert all(earlier.bytes < later.bytes for earlier, later in pairwise(made))
    assert all(str(earlier) < str(later) for earlier, later in pairwise(made))


@pytest.mark.parametrize("step", [0, -1, -10_000_000_000], ids=["stands", "steps", "jumps"])
def test_they_ascend_while_the_clock_goes_wrong(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    last, now = uuid7(), time.time_ns()
    clock = iter(range(now, now + 100 * step, step)) if step else iter([now] * 100)
    monkeypatch.setattr("trajectory.ids.time.time_ns", lambda: next(clock))
    made = [last, *(uuid7() for _ in range(100))]
    assert all(earlier < later for earlier, later in pairwise(made))
    assert {(id_.version, id_.variant) for id_ in made} == {(7, RFC_4122)}


def test_threads_get_different_ids_each_in_ascending_order() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: [uuid7() for _ in range(2000)], range(8)))
    assert all(earlier < later for ids in made for earlier, later in pairwise(ids))
    assert len({id_ for ids in made for id_ in ids}) == 16_000


def test_the_random_part_is_random() -> None:
    made = [uuid7().int & (1 << 62) - 1 for _ in range(1000)]
    assert len(set(made)) == 1000
    assert reduce(or_, made) == (1 << 62) - 1  # each bit is set somewhere,
    assert reduce(and_, made) == 0  # and nowhere always


def test_a_derived_id_is_the_same_in_every_release() -> None:
    assert derived_id("openai-chat", "x") == UUID("b48379c6-09d7-537e-a82b-2ed8bb351d91")
    assert derived_id("a", "b") != derived_id("ab") != derived_id("b", "a")
    assert derived_id("a", "b").version == 5
