"""What the message at the end of a turn tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from trajectory.draft import as_error, as_json, as_text
from trajectory.formats.foreign import label
from trajectory.integrations.claude_agent_sdk.reading import of
from trajectory.models import TrajectoryStatus


class Outcome(NamedTuple):
    """How something ended."""

    status: TrajectoryStatus = TrajectoryStatus.COMPLETED
    error: str | None = None


def outcome_of(result: Any, *, asked_to_stop: bool) -> Outcome:
    """Say how a turn ended. `asked_to_stop`: the program had asked for its end."""
    fails = result.is_error or result.subtype != "success"
    aborted = (label(of(result, "terminal_reason")) or "").startswith("aborted")
    if aborted or (asked_to_stop and fails):
        return Outcome(TrajectoryStatus.CANCELLED)
    if not fails:
        return Outcome()
    told = of(result, "errors") or []
    errors = [as_text(each) for each in (told if isinstance(told, list) else [told])]
    text = "; ".join(errors) or (result.result if isinstance(result.result, str) else "")
    kind = as_text(result.subtype)
    if kind != "success":
        text = f"{kind}: {text}" if text else kind
    return Outcome(TrajectoryStatus.FAILED, as_error(text or "unknown"))


def facts_of(result: Any) -> dict[str, Any]:
    """Give what a result tells and a turn has no field for."""
    reason = of(result, "terminal_reason")
    told = {
        "requests": result.num_turns,
        "duration_api_ms": result.duration_api_ms,
        "subtype": None if result.subtype == "success" else result.subtype,
        "terminal_reason": None if reason == "completed" else reason,
        "api_error_status": of(result, "api_error_status"),
        "structured_output": of(result, "structured_output"),
        "permission_denials": of(result, "permission_denials") or None,
    }
    return {name: as_json(value) for name, value in told.items() if value is not None}


class Cost:
    """The cost of each turn, of a Claude Code that tells its own so far."""

    def __init__(self, *, is_resumed: bool) -> None:
        # A newer one counts on from what the session cost earlier, an older one doesn't.
        self._before: float | None = None if is_resumed else 0.0

    def of_turn(self, total: Any) -> float | None:
        """Give the cost of the turn that ends; None where it can't be told."""
        if isinstance(total, bool) or not isinstance(total, int | float):
            return None
        before, self._before = self._before, float(total)
        if before is None:
            return None
        return self._before - before if self._before >= before else self._before


class Tokens:
    """The tokens of each turn."""

    def __init__(self) -> None:
        self._before: Mapping[str, int] = {}

    def of_turn(self, now: Mapping[str, int], heard: Mapping[str, int]) -> Mapping[str, int]:
        """Give the figures of the turn that ends: of its result, else of what was `heard`.

        A result's are its turn's, but for a Claude Code that counts on from result to result. What
        the model's own messages say was read tells which it is; what they wrote is known at a
        message's end alone.
        """
        if not now:
            return heard
        before, self._before = self._before, now
        read = heard.get("input_tokens")
        if before and read is not None and now.get("input_tokens") != read:
            rest = {name: figure - before.get(name, 0) for name, figure in now.items()}
            if rest.get("input_tokens") == read and min(rest.values()) >= 0:
                return rest
        return now
