"""Questions on the way in: found in what was stored, off the hot path, and logged as facts.

**When.** A turn is looked at once it is stored, by one task that lives while there is something to
look at. So a turn that was refused gets no facts, and one that is replayed from a journal does.

**Promise.** No turn is lost, late or changed by it. The facts of a turn are named by their places,
so looking again changes nothing. What was not looked at is counted, and can be later: the process
ended first, the extractor failed, or it was so slow that too much waited for it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime

from trajectory.buffer import Buffered
from trajectory.errors import ConfigurationError, TrajectoryError
from trajectory.models import Fact, Question, Turn, value_bytes
from trajectory.scoring.extraction import MAX_QUESTIONS, HeuristicExtractor, QuestionExtractor
from trajectory.words import counted

_log = logging.getLogger(__name__)

_GRACE_S = 1.0
"""How long an extractor may take to notice that it is cancelled."""

Accept = Callable[[Fact, int], Awaitable[None]]
"""Takes a fact and its bytes, waiting for room. Raises once nothing is stored any more."""


def checked_extractor(extractor: object, *, wanted: bool) -> QuestionExtractor | None:
    """Give the extractor; where none is given and one is wanted, the rules.

    Refuses at once what could only fail at each turn. Raises `ConfigurationError`.
    """
    if extractor is None:
        return HeuristicExtractor() if wanted else None
    source, extract = getattr(extractor, "source", None), getattr(extractor, "extract", None)
    if isinstance(extractor, type) or not inspect.iscoroutinefunction(extract):
        raise ConfigurationError(
            "extractor must be a QuestionExtractor: an object with a `source` and an "
            "`async def extract(turn)`"
        )
    try:
        Question(question_text="", effort_level="low", source=source)
    except TrajectoryError as error:
        raise ConfigurationError(f"the extractor's source can't be used: {error}") from None
    return extractor  # type: ignore[return-value]


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

    def note_stored(self, values: Sequence[Buffered]) -> None:
        """Look at these turns too, soon. Called by the writer, which it doesn't keep waiting."""
        if self._extractor is None:
            return
        writer = asyncio.current_task()
        if writer is not None and writer.cancelling():
            self._over = True  # the loop ends: a new task would never be run to its end
        for value, size, _time in values:
            if not isinstance(value, Turn):
                continue
            self._taken += 1
            if self._over:
                self._leave_out(value, "the logger was ending")
            elif self._waiting and self._bytes + size > self._max_bytes:
                self._leave_out(value, f"more than channel_bytes = {self._max_bytes} waited for it")
            else:
                self._waiting.append((value, size))
                self._bytes += size
        if self._waiting and self._task is None:
            self._task = asyncio.create_task(
                self._run(self._extractor), name="trajectory-extracting"
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

    async def end(self) -> None:
        """Look at no more turns, and say what is left."""
        self._over = True
        if self._task is not None:
            self._task.cancel()
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
            while self._waiting:
                turn, size = self._waiting[0]
                reason = await self._look(turn, extractor)
                # No await from here on: the counts change at once.
                self._waiting.popleft()
                self._bytes -= size
                if reason is None:
                    self._looked_at += 1
                else:
                    self._leave_out(turn, reason)
                self._wake()
                await asyncio.sleep(0)  # an extractor that never waits must not stop the loop
        finally:
            # Else it was cancelled, or nothing is stored any more.
            self._over = self._over or bool(self._waiting)
            while self._waiting:
                self._leave_out(self._waiting.popleft()[0], "the logger was ending")
            self._bytes = 0
            self._task = None
            self._wake()

    async def _look(self, turn: Turn, extractor: QuestionExtractor) -> str | None:
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
        try:
            for fact in facts:
                await self._accept(fact, value_bytes(fact))
        except TrajectoryError as error:
            return f"its questions could not be logged ({type(error).__name__})"
        return None

    def _leave_out(self, turn: Turn, reason: str) -> None:
        self._left_out += 1
        if reason in self._told:
            self._untold += 1
            return
        self._told.add(reason)
        _log.warning(
            "questions were not looked for in turn %s/%d, since %s; %s",
            turn.trajectory_id,
            turn.turn_number,
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


_HINT = "`trajectory score --extract` does it later"
