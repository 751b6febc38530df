"""The part of the suite about counts: a backend that counts finds what reading finds."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from uuid import UUID

from trajectory.backend import Batch
from trajectory.counts import Counting, Totals, counts_of, findings_of, totals_of
from trajectory.models import Fact, Question, Trajectory, Turn, Violation
from trajectory.testing.fakes import WrappedBackend
from trajectory.testing.samples import NOON, Suite

_SOURCES = ("agent", "heuristic/1", "'; --")
_PREFERENCES = ("concise", "ä", '"', "")
_TOKENS: tuple[dict[str, int], ...] = (
    *({}, {"token_count": 7}, {"input_tokens": 5}, {"output_tokens": 3}),
    *({"input_tokens": 2, "output_tokens": 1}, {"token_count": 0, "input_tokens": 9}),
    *({"token_count": 2**62}, {"input_tokens": 2**63 - 1, "output_tokens": 2**63 - 1}),
)


def _turn(id_: UUID, number: int) -> Turn:
    """Make a turn whose findings and tokens its number decides."""
    levels, severities = ("low", "medium", "high"), ("minor", "major", "critical")
    return Turn(
        trajectory_id=id_,
        turn_number=number,
        prompt="p",
        response="r",
        created_at=NOON + timedelta(seconds=number % 4, microseconds=number),
        questions=[
            Question(question_text="q", effort_level=levels[(number + n) % 3], source=source)
            for n, source in enumerate(_SOURCES[: number % 4])
        ],
        violations=[
            Violation(preference_name=name, severity=severities[number % 3], source=source)
            for name, source in product(_PREFERENCES[: number % 5], _SOURCES[: number % 3])
        ],
        **_TOKENS[number % len(_TOKENS)],
    )


class CountingConformance(Suite):
    """What a backend that is `Counting` must give; one that isn't passes by reading."""

    async def test_counts_are_those_of_what_is_read(self) -> None:
        async with self.new_backend() as backend:
            ids = [UUID(int=n << 96 | n) for n in range(1, 6)]
            starts = tuple(Trajectory(id=id_, created_at=NOON) for id_ in ids)
            turns = [_turn(id_, n * 7 + k) for n, id_ in enumerate(ids[:4]) for k in range(n * 6)]
            late = Question(question_text="late", effort_level="high")
            fact = Fact(trajectory_id=ids[3], turn_number=turns[-1].turn_number, finding=late)
            await backend.write(Batch(starts=starts, turns=tuple(turns), facts=(fact,)))
            plain = WrappedBackend(backend)  # has no more than the contract asks for
            assert not isinstance(plain, Counting)
            assert await counts_of(backend) == await counts_of(plain)
            for wanted in (ids, ids[:1], ids[1:3], [], [ids[3], UUID(int=99)]):
                assert await totals_of(backend, wanted) == await totals_of(plain, wanted)
                for source in (*_SOURCES, "nobody"):
                    assert await findings_of(backend, wanted, source) == (
                        await findings_of(plain, wanted, source)
                    )

    async def test_what_has_nothing_is_counted_too(self) -> None:
        async with self.new_backend() as backend:
            start = Trajectory(created_at=NOON)
            await backend.write(Batch(starts=(start,)))
            assert await totals_of(backend, [start.id]) == {start.id: Totals(0, None, None)}
            [counts] = (await findings_of(backend, [start.id], "agent")).values()
            assert (counts.questions, counts.violations) == (0, 0)
