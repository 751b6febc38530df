"""What the filters of a query mean, said in Python."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from factories import EPOCH, TrajectoryFactory, TurnFactory
from pydantic import ValidationError

from trajectory import (
    InvalidQueryError,
    TrajectoryCursor,
    TrajectoryQuery,
    TurnCursor,
    TurnQuery,
)

TICK = timedelta(microseconds=1)


def turn(**fields: Any) -> tuple[Any, Any]:
    made = TurnFactory(created_at=EPOCH, **fields)
    return made, made.trajectory_id


def trajectory(**fields: Any) -> tuple[Any, Any]:
    made = TrajectoryFactory(created_at=EPOCH, **fields)
    return made, made.id


@pytest.mark.parametrize(("query", "make"), [(TurnQuery, turn), (TrajectoryQuery, trajectory)])
class TestFilters:
    def test_no_filter_matches_everything(self, query: Any, make: Any) -> None:
        assert query().matches(make()[0])

    def test_ids(self, query: Any, make: Any) -> None:
        value, id_ = make()
        assert query(ids=[uuid4(), id_]).matches(value)
        assert not query(ids=[uuid4()]).matches(value)
        assert not query(ids=[]).matches(value)

    def test_since_is_from_then_on_and_until_is_before_then(self, query: Any, make: Any) -> None:
        value, _ = make()
        assert query(since=EPOCH).matches(value)
        assert not query(since=EPOCH + TICK).matches(value)
        assert query(until=EPOCH + TICK).matches(value)
        assert not query(until=EPOCH).matches(value)
        assert not query(since=EPOCH, until=EPOCH).matches(value)

    def test_all_filters_must_match(self, query: Any, make: Any) -> None:
        value, id_ = make()
        assert query(ids=[id_], since=EPOCH, until=EPOCH + TICK).matches(value)
        assert not query(ids=[uuid4()], since=EPOCH, until=EPOCH + TICK).matches(value)
        assert not query(ids=[id_], since=EPOCH + TICK).matches(value)

    def test_order_cursor_and_limit_are_no_filters(self, query: Any, make: Any) -> None:
        value, _ = make()
        assert query(after=query.cursor(value), limit=0, descending=True).matches(value)

    def test_instants_of_any_zone_are_compared(self, query: Any, make: Any) -> None:
        value, _ = make()
        assert query(since=EPOCH.astimezone(timezone(timedelta(hours=-7)))).matches(value)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"since": datetime(2026, 1, 1)},  # noqa: DTZ001
            {"limit": -1},
            {"limit": 1.5},
            {"ids": ["x"]},
            {"after": 3},
            {"promt": "x"},
        ],
        ids=lambda wrong: next(iter(wrong)),
    )
    def test_what_makes_no_sense_is_refused(
        self, query: Any, make: Any, wrong: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidQueryError, match=next(iter(wrong))):
            query(**wrong)

    def test_a_query_is_a_value(self, query: Any, make: Any) -> None:
        ids = [uuid4()]
        made = query(ids=ids)
        ids.clear()
        assert len(made.ids) == 1
        assert made == query(ids=made.ids)
        assert hash(made) == hash(query(ids=made.ids))
        with pytest.raises(ValidationError, match="frozen"):
            made.limit = 3


def test_cursors_are_places_in_the_order() -> None:
    one, other = TurnFactory(turn_number=3), TrajectoryFactory()
    assert TurnQuery.cursor(one) == TurnCursor(one.trajectory_id, 3) == one.key
    assert TrajectoryQuery.cursor(other) == TrajectoryCursor(other.created_at, other.id)
    assert TurnQuery(after=TurnQuery.cursor(one)).after == one.key
    assert isinstance(TurnQuery(after=one.key).after, TurnCursor)
