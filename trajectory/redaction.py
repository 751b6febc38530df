"""Taking out what must not be stored, before anything keeps the turn."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable

from trajectory.errors import ConfigurationError
from trajectory.models import Turn

_log = logging.getLogger(__name__)

Redact = Callable[[Turn], Turn]
"""Gives the turn without what must not be stored, under the same key. `Turn.replace` makes it."""

PLACEHOLDER = "[not stored: the redaction hook failed]"


def checked_hook(redact: object) -> Redact | None:
    """Refuse at once what could only fail at each turn. Raises `ConfigurationError`."""
    if redact is None:
        return None
    if not callable(redact) or inspect.iscoroutinefunction(redact):
        raise ConfigurationError("redact must be a plain function that takes and gives a Turn")
    return redact


def redacted(turn: Turn, redact: Redact) -> Turn:
    """Run the hook; fail closed.

    If it raises or returns anything but a turn with the same key, a turn without content is
    logged in its place: it is missed, and the raw text is nowhere.
    """
    try:
        answer: object = redact(turn)
    except Exception as error:  # noqa: BLE001 - whatever it raises, the raw text must not pass
        reason = type(error).__name__
    else:
        if isinstance(answer, Turn) and answer.key == turn.key:
            return answer
        reason = f"a {type(answer).__name__} in place of a turn with the same key"
    _log.error(
        "redact failed for turn %s/%d (%s); its content is left out",
        turn.trajectory_id,
        turn.turn_number,
        reason,
    )
    return Turn(
        trajectory_id=turn.trajectory_id,
        turn_number=turn.turn_number,
        prompt=PLACEHOLDER,
        response=PLACEHOLDER,
        created_at=turn.created_at,
        error="the redaction hook failed",
    )
