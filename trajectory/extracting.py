"""Questions on the way in: found in what was stored, off the hot path, and logged as facts.

**When.** A turn is looked at once it is stored, by one task that lives while there is something to
look at. So a turn that was refused gets no facts, and one that is replayed from a journal does.

**Promise.** No turn is lost, late or changed by it. The facts of a turn are named by their places,
so looking again changes nothing. What was not looked at can be later (`trajectory score
--extract`). It is counted, where the extractor failed, was so slow that too much waited for it, or
had no time left, and where the turn was deleted meanwhile. After a kill it is counted nowhere: who
replays the journal knows neither which turns were stored before nor which were looked at.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from trajectory.buffer import Buffered
from trajectory.errors import ConfigurationError, TrajectoryError, TurnKey
from trajectory.models import Fact, Question, Turn
from trajectory.scoring.extraction import MAX_QUESTIONS, HeuristicExtractor, QuestionExtractor
from trajectory.sizes import value_bytes
from trajectory.words import counted

_log = logging.getLogger(__name__)

_GRACE_S = 1.0
"""How long an extractor may take to notice that it is cancelled."""

Accept = Callable[[Fact, int], Awaitable[int]]
"""Takes a fact and its bytes, waiting for room; gives its number among all that was accepted.

Raises once nothing is stored any more.
"""


class _Checked:
    """An extractor whose source was read once: it can neither change nor fail later."""

    def __init__(self, extractor: QuestionExtractor, source: str) -> None:
        self.source = source
        self._extract = extractor.extract

    async def extract(self, turn: Turn) -> tuple[Question, ...]:
        return await self._extract(turn)


@dataclass(slots=True)
class _Look:
    """What became of a turn: it is looked at, was looked at, or was left out for a reason."""

    key: TurnKey
    is_counted: bool = False
    reason: str | None = None


def checked_extractor(extractor: object, *, wanted: bool) -> QuestionExtractor | None:
    """Give the extractor; where none is given and one is wanted, the rules.

    Refuses at once what could only fail at each turn. Raises `ConfigurationError`.
    """
    if extractor is None:
        return HeuristicExtractor() if wanted else None
    try:
        source, extract = getattr(extractor, "source", None), getattr(extractor, "extract", None)
    except Exception as error:
        raise ConfigurationError(
            f"the extractor's source can't be read: it raised {type(error).__name__}"
        ) from error
    if isinstance(extractor, type) or not inspect.iscoroutinefunction(extract):
        raise ConfigurationError(
            "extractor must be a QuestionExtractor: an object with a `source` and an "
            "`async def extract(turn)`"
        )
    try:
        Question(question_text="", effort_level="low", source=source)
    except TrajectoryError as error:
        raise ConfigurationError(f"the extractor's source can't be used: {error}") from None
    return _Checked(extractor, source)  # type: ignore[arg-type]


class Extracting:
    """Looks for questions in stored turns, one after another; without an extractor, for none.

    Belongs to one event loop.
    """

    def __init__(self, extractor: QuestionExtractor | None, max_bytes: int, accept: Accept) -> None:
        self._extractor = extractor
        self._max_bytes = max_bytes
        self._accept = accept
        # All mutable state. Only the loop's thread touches it.
        # Between steps, _taken == _looked_at + _left_out + len(_waiting).
        self._waiting: deque[tuple[Turn, int]] = deque()
        # Facts that were found and are not settled: their numbers, ascending, and whose they are.
        self._found: deque[tuple[int, _Look]] = deque()
        self._bytes = 0
        self._taken = 0
        self._looked_at = 0
        self._left_out = 0
        self._told: set[str] = set()
        self._untold = 0
        self._over = False
        self._task: asyncio.Task[None] | None = None
        self._step = asyncio.Event()

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many stored turns were looked at, still wait for it, and were left out."""
        return self._looked_at, len(self._waiting), self._left_out

    def note_stored(self, values: Sequence[Buffered], settled: int) -> None:
        """Look at these turns too, soon. Called by the writer, which it doesn't keep waiting.

        `settled` says how many of the accepted values are settled.
        """
        if self._extractor is None:
            return
        while self._found and self._found[0][0] <= settled:
            self._found.popleft()
        writer = asyncio.current_task()
        if writer is not None and writer.cancelling():
            self._over = True  # the loop ends: a new task would never be run to its end
        for value, size, _time in values:
            if not isinstance(value, Turn):
                continue
            self._taken += 1
            if self._over:
                self._leave_out(value.key, _ENDING)
            elif self._waiting and self._bytes + size > self._max_bytes:
                self._leave_out(
                    value.key, f"more than channel_bytes = {self._max_bytes} waited for it"
                )
            else:
                self._waiting.append((value, size))
                self._bytes += size
        if self._waiting and self._task is None:
            self._task = asyncio.create_task(
                self._run(self._extractor), name="trajectory-extracting"
            )

    def note_refused(self, number: int) -> bool:
        """Say whether the accepted value of this number was found here; its turn is left out then.

        Called by the writer, in ascending order, as the database refuses it.
        """
        while self._found and self._found[0][0] < number:
            self._found.popleft()
        if not self._found or self._found[0][0] > number:
            return False
        _number, look = self._found.popleft()
        if look.reason is None:
            look.reason = "the database refused what was found, as it does for a deleted turn"
            if look.is_counted:
                self._looked_at -= 1
                self._leave_out(look.key, look.reason)
        return True

    def note_replayed(self) -> None:
        """Give a hint: what a dead process had stored and not looked at, nobody knows."""
        if self._extractor is not None:
            _log.warning(
                "a process that ended early left a journal; it may have stored turns just before "
                "in which questions were not looked for; %s",
                _HINT,
            )

    async def finish(self, deadline: float) -> bool:
        """Wait until the turns that were stored so far are looked at; say whether they are.

        `deadline` is a time of the loop.
        """
        target = self._taken
        try:
            async with asyncio.timeout_at(deadline):
                while self._done < target:
                    await self._step.wait()
        except TimeoutError:
            pass
        return self._done >= target

    def stop(self) -> None:
        """Look at no more turns: what is found from now on is not accepted."""
        self._over = True
        if self._task is not None:
            self._task.cancel()

    async def end(self) -> None:
        """After `stop`: wait a moment for the extractor to notice, and say what is left."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_GRACE_S)
        if self._untold:
            _log.warning(
                "questions were not looked for in %s more; %s", counted(self._untold, "turn"), _HINT
            )
            self._untold = 0

    def forget(self) -> None:
        """In a forked child: the task is the parent's."""
        self._over = True
        self._waiting.clear()
        if self._task is not None:
            self._task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
            self._task.cancel()

    @property
    def _done(self) -> int:
        return self._looked_at + self._left_out

    async def _run(self, extractor: QuestionExtractor) -> None:
        try:
            while self._waiting and not _is_cancelled():
                turn, size = self._waiting[0]
                look = _Look(turn.key)
                reason = await self._look(turn, extractor, look)
                # No await from here on: the counts change at once.
                self._waiting.popleft()
                self._bytes -= size
                look.reason = look.reason or reason
                if look.reason is None:
                    self._looked_at += 1
                    look.is_counted = True
                else:
                    self._leave_out(turn.key, look.reason)
                self._wake()
                await asyncio.sleep(0)  # an extractor that never waits must not stop the loop
        finally:
            # Else it was cancelled, or nothing is stored any more.
            self._over = self._over or bool(self._waiting)
            while self._waiting:
                self._leave_out(self._waiting.popleft()[0].key, _ENDING)
            self._bytes = 0
            self._task = None
            self._wake()

    async def _look(self, turn: Turn, extractor: QuestionExtractor, look: _Look) -> str | None:
        """Log the questions of a turn as facts; say why not, if they can't be."""
        source = extractor.source
        if any(question.source == source for question in turn.questions):
            return None  # it brought them along
        try:
            facts = list(facts_of(turn, source, await extractor.extract(turn)))
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            return "the extractor raised CancelledError"
        except Exception as error:  # noqa: BLE001 - whatever it raises, it costs no turn
            return f"the extractor raised {type(error).__name__}"
        if _is_cancelled():
            return _ENDING  # the extractor took no notice, and comes too late
        try:
            for fact in facts:
                self._found.append((await self._accept(fact, value_bytes(fact)), look))
        except TrajectoryError as error:
            return f"its questions could not be logged ({type(error).__name__})"
        return None

    def _leave_out(self, key: TurnKey, reason: str) -> None:
        self._left_out += 1
        if reason in self._told:
            self._untold += 1
            return
        self._told.add(reason)
        _log.warning(
            "questions were not looked for in turn %s/%d, since %s; %s",
            *key,
            reason,
            _HINT,
        )

    def _wake(self) -> None:
        self._step.set()
        self._step = asyncio.Event()


def facts_of(turn: Turn, source: str, questions: object) -> Iterator[Fact]:
    """Make facts of what an extractor gave: its source and the places are ours to give."""
    if not isinstance(questions, Sequence):
        raise TypeError("an extractor gives a tuple of questions")
    now = datetime.now(UTC)
    for place, question in enumerate(questions[:MAX_QUESTIONS]):
        if not isinstance(question, Question):
            raise TypeError("an extractor gives questions")
        yield Fact(
            trajectory_id=turn.trajectory_id,
            turn_number=turn.turn_number,
            finding=question.replace(
                source=source, position=place, created_at=question.created_at or now
            ),
        )


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


_ENDING = "the logger was ending"
_HINT = "`trajectory score --extract` does it later"
