"""Who goes into which part: always the same, and what belongs together stays together."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest
from exporting.samples import stored
from hypothesis import given
from hypothesis import strategies as st

from trajectory import Trajectory, TrajectoryQuery
from trajectory.errors import ConfigurationError
from trajectory.exporting import Split, SplitBy
from trajectory.exporting import kinship as kinship_module
from trajectory.exporting.kinship import Kinship
from trajectory.testing.samples import NOON

THREE = "train=0.8,valid=0.1,test=0.1"


def an(number: int, **fields: object) -> Trajectory:
    return Trajectory(id=UUID(int=number), created_at=NOON + timedelta(seconds=number), **fields)


async def owners(by: SplitBy, *trajectories: Trajectory, only: int | None = None) -> list[str]:
    """Name the owners of trajectories; with `only`, all are stored, and one is asked for."""
    async with stored(*((each, ()) for each in trajectories)) as store:
        asked = [each for each in trajectories if only in (None, each.id.int)]
        found = await Kinship(store, by).owners(asked)
    return [str(found[each.id]) for each in asked]


def run_of(number: int) -> str:
    return f"run:{UUID(int=number)}"


def test_a_part_is_where_it_was() -> None:
    """Invariant: no later version moves a user from training to test."""
    split = Split.of(SplitBy.USER, THREE)
    users = ("alice", "bob", "carol", "dave")
    assert [split.part_of(f"user:{name}") for name in users] == [
        *("valid", "train", "train", "valid"),
    ]
    assert [split.part_of(run_of(number)) for number in (1, 2, 3)] == ["test", "train", "test"]


def test_shares_are_kept() -> None:
    split = Split.of(SplitBy.USER, THREE)
    found = Counter(split.part_of(f"user:{number}") for number in range(20_000))
    assert {name: round(count / 20_000, 2) for name, count in found.items()} == {
        "train": 0.8,
        "valid": 0.1,
        "test": 0.1,
    }


@given(st.text())
def test_any_owner_has_a_part(label: str) -> None:
    label = label.encode(errors="replace").decode()
    split = Split.of(SplitBy.USER, THREE)
    assert split.part_of(label) == split.part_of(label)
    assert split.part_of(label) in ("train", "valid", "test")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("train=0.9,test=0.2", "add up to 1"),
        ("train=0.9", "add up to 1"),
        ("train=1", "above 0 and add up to 1"),
        ("train=1.5,test=-0.5", "add up to 1"),
        ("train,test", "add up to 1"),
        ("train=nan,test=0.5", "add up to 1"),
        ("train=Infinity,test=0.5", "add up to 1"),
        ("train=1e-999999999,test=1", "add up to 1"),
        ("a=0.5,a=0.5", "the same name"),
        ("a=0.5,A=0.5", "the same name"),
        ("../x=0.5,b=0.5", "can't be called"),
        (".=0.5,b=0.5", "can't be called"),
        ("=0.5,b=0.5", "can't be called"),
        ("\x1b[2J=0.5,b=0.5", "can't be called"),
        ("a\n=0.5,b=0.5", "add up to 1|can't be called"),
        ("", "can't be called"),
    ],
    ids=ascii,
)
def test_parts_that_can_t_be_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        Split.of(SplitBy.RUN, text)
    assert "\x1b" not in str(caught.value)


async def test_a_run_is_its_root() -> None:
    first = an(1)
    child = an(2, parent_trajectory_id=first.id)
    grandchild = an(3, parent_trajectory_id=child.id)
    rooted = an(4, parent_trajectory_id=grandchild.id, root_trajectory_id=first.id)
    own_root = an(5, root_trajectory_id=UUID(int=5))
    everyone = (first, child, grandchild, rooted, own_root)
    assert await owners(SplitBy.RUN, *everyone) == [run_of(1)] * 4 + [run_of(5)]
    for each in everyone:  # also where the others are not exported
        expected = run_of(5) if each is own_root else run_of(1)
        assert await owners(SplitBy.RUN, *everyone, only=each.id.int) == [expected]


async def test_an_ancestor_that_is_not_stored_is_the_root() -> None:
    gone = UUID(int=77)
    one, two = an(1, parent_trajectory_id=gone), an(2, root_trajectory_id=gone)
    assert await owners(SplitBy.RUN, one, two) == [run_of(77)] * 2


async def test_a_circle_is_one_run() -> None:
    ids = [UUID(int=number) for number in (1, 2, 3)]
    circle = [an(number + 1, parent_trajectory_id=ids[(number + 1) % 3]) for number in range(3)]
    hanging = an(9, parent_trajectory_id=ids[2])
    itself = an(8, parent_trajectory_id=UUID(int=8))
    assert await owners(SplitBy.RUN, hanging, itself, *circle) == [
        *(run_of(1), run_of(8), run_of(1), run_of(1), run_of(1)),
    ]


async def test_a_user_falls_back_to_the_session_and_then_the_run() -> None:
    assert await owners(
        SplitBy.USER,
        an(1, user_id="alice", session_id="s"),
        an(2, session_id="t"),
        an(3),
    ) == ["user:alice", "session:t", run_of(3)]


async def test_sub_agents_stay_with_the_user_of_their_parent() -> None:
    parent = an(1, user_id="alice", session_id="s")
    child = an(2, parent_trajectory_id=parent.id, session_id="t")
    grandchild = an(3, parent_trajectory_id=child.id, user_id="bob")
    assert await owners(SplitBy.USER, parent, child, grandchild) == [
        *("user:alice", "user:alice", "user:bob"),
    ]
    assert await owners(SplitBy.USER, parent, child, grandchild, only=2) == ["user:alice"]


async def test_ancestors_are_looked_up_together_and_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parents = [an(number) for number in range(1, 41)]
    children = [an(100 + p.id.int, parent_trajectory_id=p.id) for p in parents]
    queries: list[TrajectoryQuery] = []
    async with stored(*((each, ()) for each in (*parents, *children))) as store:
        read = store.trajectories

        def counting(query: TrajectoryQuery) -> object:
            queries.append(query)
            return read(query)

        monkeypatch.setattr(store, "trajectories", counting)
        kinship = Kinship(store, SplitBy.RUN)
        for _ in range(2):
            found = await kinship.owners(children)
            assert [str(found[each.id]) for each in children] == [
                run_of(each.id.int) for each in parents
            ]
    assert len(queries) == 1


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinship_module, "_REMEMBERED", 10)
    chain = [an(1), *(an(n, parent_trajectory_id=UUID(int=n - 1)) for n in range(2, 200))]
    async with stored(*((each, ()) for each in chain)) as store:
        kinship = Kinship(store, SplitBy.RUN)
        for start in range(0, len(chain), 20):
            found = await kinship.owners(chain[start : start + 20])
            assert {str(owner) for owner in found.values()} == {run_of(1)}
            assert len(kinship._known) <= 10


async def test_a_run_is_the_run_id_of_its_root() -> None:
    agents = [an(number, run_id="run-1") for number in range(1, 9)]
    child = an(20, parent_trajectory_id=agents[0].id)
    other = an(21, parent_trajectory_id=agents[0].id, run_id="run-2")
    everyone = [*agents, child, other]
    assert await owners(SplitBy.RUN, *everyone) == ["run:run-1"] * 10
    assert await owners(SplitBy.RUN, *everyone, only=20) == ["run:run-1"]


async def test_without_the_root_the_run_is_what_its_children_say() -> None:
    gone = UUID(int=77)
    one = an(1, parent_trajectory_id=gone, run_id="run-1")
    two = an(2, parent_trajectory_id=one.id, run_id="run-2")
    assert await owners(SplitBy.RUN, one, two, an(3, run_id="run-1")) == ["run:run-1"] * 3


async def test_a_session_goes_with_its_user() -> None:
    """Half of each session's trajectories don't say whose they are."""
    pairs = [
        [an(2 * n, session_id=f"s{n}", user_id="alice"), an(2 * n + 1, session_id=f"s{n}")]
        for n in range(1, 41)
    ]
    everyone = [each for pair in pairs for each in pair]
    assert await owners(SplitBy.USER, *everyone) == ["user:alice"] * 80
    assert await owners(SplitBy.USER, *everyone, only=3) == ["user:alice"]


async def test_a_run_goes_with_the_user_of_any_part_of_it() -> None:
    root = an(1, session_id="s")
    children = [an(2, parent_trajectory_id=root.id), an(3, root_trajectory_id=root.id)]
    known = an(4, parent_trajectory_id=UUID(int=2), user_id="bob")
    beside = an(5, session_id="s")
    everyone = (root, *children, known, beside)
    assert await owners(SplitBy.USER, *everyone) == ["user:bob"] * 5
    for each in everyone:
        assert await owners(SplitBy.USER, *everyone, only=each.id.int) == ["user:bob"]


async def test_of_several_users_of_a_session_the_first_by_name_counts() -> None:
    bob, alice = (an(n, session_id="s", user_id=u) for n, u in ((1, "bob"), (2, "alice")))
    nobody = an(3, session_id="s")
    expected = ["user:bob", "user:alice", "user:alice"]
    assert await owners(SplitBy.USER, bob, alice, nobody) == expected


async def test_users_are_learned_with_little_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinship_module, "_REMEMBERED", 3)
    monkeypatch.setattr(kinship_module, "_IDS_AT_ONCE", 2)
    root = an(1, session_id="s")
    chain = [root, *(an(n, parent_trajectory_id=UUID(int=n - 1)) for n in range(2, 30))]
    chain += [an(30, parent_trajectory_id=UUID(int=29), user_id="alice"), an(31, session_id="s")]
    assert await owners(SplitBy.USER, *chain) == ["user:alice"] * 31
