"""What all runs of a handler share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trajectory.draft import as_json
from trajectory.guard import Guard
from trajectory.integrations.offers import Offers


class Recorder:
    """The logger, what all trajectories have in common, and who keeps our failures in."""

    def __init__(self, logger: Offers, fields: Mapping[str, Any], guard: Guard) -> None:
        self.offer = logger.offer
        self.fields = fields
        self.guard = guard
        self._tools: Any = None

    def tools_as_json(self, tools: Any) -> Any:
        """Copy the definitions of tools; most runs have those of the last."""
        copied = self._tools
        if copied is None or copied != tools:
            # What is given is ours alone: another thread may put its own in the place at once.
            self._tools = copied = as_json(tools)
        return copied
