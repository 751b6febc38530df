"""Traces are gathered until they are whole, in bounds; spans that came before change nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from trajectory import TrajectoryStatus
from trajectory.genai.gathering import Gathering
from trajectory.genai.reading import Told
from trajectory.genai.spans import Span
from trajectory.merge import merge_trajectory

AGENT = {"gen_ai.operation.name": "invoke_agent"}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": '["Hi"]'}


def gathering(**given: Any) -> Gathering:
    return Gathering(**{"grace_s": 2.0, "idle_s": 100.0, **given})


def run(trace: int = 1, number: int = 1, parent: int | None = None) -> Span:
    above = None if parent is None else f"{parent:016x}"
    return Span("run", f"{trace:032x}", f"{number:016x}", above, start_ns=number, attributes=AGENT)


def chat(number: int, trace: int = 1, parent: int = 1, text: str = "Hi") -> Span:
    attributes = {**CHAT, "gen_ai.output.messages": f'["{text}"]'}
    ids = f"{trace:032x}", f"{number:016x}", f"{parent:016x}"
    return Span("chat", *ids, start_ns=number, attributes=attributes)


def turns(found: list[Told]) -> list[int]:
    return [turn.turn_number for told in found for turn in told.turns]


def test_a_trace_is_read_when_its_grace_is_over() -> None:
    held = gathering()
    assert list(held.add(chat(2), 10)) == []
    assert held.due_at == 110  # when nothing comes for so long
    assert list(held.due(50)) == []
    assert list(held.add(run(), 60)) == []
    assert held.due_at == 62
    assert list(held.due(61.9)) == []
    [told] = held.due(62)
    assert len(told.turns) == 1
    assert (held.waiting, held.size) == (0, 0)
    due_at: float | None = held.due_at
    assert due_at is None


def test_those_that_ended_first_are_read_first() -> None:
    held = gathering()
    for now, trace in enumerate((3, 1, 2)):
        list(held.add(run(trace), now))
    list(held.add(chat(7, trace=3), 2.5))  # heard of again, and ended all the same
    assert [told.trace_id for told in held.due(3)] == [f"{3:032x}", f"{1:032x}"]
    assert [told.trace_id for told in held.due(4)] == [f"{2:032x}"]


def test_a_second_root_gives_it_time_again() -> None:
    held = gathering()
    list(held.add(run(), 0))
    list(held.add(run(number=5), 1))
    assert held.due_at == 3


def test_a_trace_without_a_root_is_read_when_nothing_comes_for_long() -> None:
    held = gathering()
    list(held.add(chat(2), 0))
    list(held.add(chat(3), 50))
    assert list(held.due(149)) == []
    [told] = held.due(150)
    assert told.trajectory is not None
    assert told.trajectory.ended_at is None


def test_what_comes_later_is_read_after_a_grace_of_its_own() -> None:
    held = gathering()
    first = [*held.add(run(), 0), *held.add(chat(2), 0), *held.due(2)]
    assert list(held.add(chat(3), 5)) == []
    late = list(held.due(7))
    assert turns(first) == [1]
    assert turns(late) == [2]
    assert first[0].trajectory_id == late[0].trajectory_id


def test_spans_that_came_before_change_nothing() -> None:
    held = gathering()
    for now in (0, 0.5):
        list(held.add(run(), now))
        list(held.add(chat(2), now))
    assert turns(list(held.due(3))) == [1]
    assert [*held.add(run(), 4), *held.add(chat(2), 4), *held.due(9)] == []
    assert held.left_out["span that came before"] == 4


def test_beyond_its_traces_the_one_that_waited_longest_is_read() -> None:
    held = gathering(max_traces=2)
    list(held.add(run(1), 0))
    list(held.add(run(2), 1))
    list(held.add(chat(7, trace=1), 2))
    [told] = held.add(run(3), 3)
    assert told.trace_id == f"{2:032x}"
    assert held.waiting == 2


def test_beyond_its_bytes_too_even_of_one_trace() -> None:
    held = gathering(max_bytes=100_000)
    found = [told for n in range(2, 10) for told in held.add(chat(n, text="x" * 30_000), n)]
    assert [len(told.turns) for told in found] == [4, 4]
    assert turns(found) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert held.size < 100_000
    assert held.due_at is None  # its root is still to come
    start = found[0].trajectory
    assert start is not None
    assert start.status is TrajectoryStatus.RUNNING
    list(held.add(Span("GET /", f"{1:032x}", f"{1:016x}", end_ns=7_000_000_000), 20))
    [end] = held.due(30)
    assert end.trajectory is not None
    assert (end.trajectory_id, end.trajectory.status) == (start.id, TrajectoryStatus.COMPLETED)
    assert end.trajectory.ended_at == start.created_at + timedelta(seconds=7)
    merged, differing = merge_trajectory(start, end.trajectory)
    assert (merged.status, differing) == (TrajectoryStatus.COMPLETED, ())
    assert held.size == 0


def test_what_is_remembered_is_bounded() -> None:
    held = gathering(max_remembered=10)
    for trace in range(1, 31):
        list(held.add(run(trace), trace))
        assert len(list(held.due(trace + 2))) == 1
    assert held._remembered <= 10
    assert len(held._read) <= 10
    assert list(held.add(run(30), 100)) == []  # remembered
    list(held.add(run(1), 101))  # not any more: the same trajectory again
    assert len(list(held.due(200))) == 1


@pytest.mark.parametrize("how", ["due", "ended", "all"])
def test_other_traces_are_let_go(how: str) -> None:
    held = gathering()
    other = Span("GET /", "1" * 32, "1" * 16)
    list(held.add(other, 0))
    found = {"due": lambda: held.due(5), "ended": held.ended, "all": held.all}[how]
    assert list(found()) == []
    assert (held.waiting, held.size, held._remembered) == (0, 0, 1)
    assert held.left_out == {"span of another kind": 1}


def test_what_goes_on_behind_a_trace_that_told_nothing_waits_for_no_root() -> None:
    held = gathering()
    assert [*held.add(Span("POST /", f"{1:032x}", f"{9:016x}"), 0), *held.due(2)] == []
    list(held.add(chat(2), 10))
    assert list(held.due(13)) == []
    list(held.add(run(parent=9), 20))
    assert held.due_at == 22
    [told] = held.due(22)
    assert len(told.turns) == 1


def test_a_trace_is_not_whole_while_a_parent_is_to_come() -> None:
    held = gathering()
    list(held.add(run(number=9), 0))
    list(held.add(chat(2, parent=5), 1))
    assert [*held.due(50), *held.ended()] == []
    list(held.add(run(number=5, parent=9), 60))
    assert held.due_at == 62
    assert [len(told.turns) for told in held.due(62)] == [0, 1]


def test_the_parent_of_a_root_is_not_waited_for() -> None:
    held = gathering()
    list(held.add(run(number=5, parent=77), 0, is_root=True))
    assert len(list(held.due(2))) == 1


def test_what_is_remembered_of_one_trace_is_bounded_too() -> None:
    held = gathering(max_remembered=10)
    list(held.add(run(), 0))
    for number in range(2, 40):
        list(held.due(10 * number))
        list(held.add(chat(number), 10 * number))
    [read] = held._read.values()
    assert held._remembered == len(read.seen) == 10
    assert len(read.known.owners) <= 11


def test_asked_for_what_has_ended_it_gives_no_other() -> None:
    held = gathering()
    list(held.add(run(1), 0))
    list(held.add(chat(2, trace=2), 0))
    assert [told.trace_id for told in held.ended()] == [f"{1:032x}"]
    assert [told.trace_id for told in held.all()] == [f"{2:032x}"]
