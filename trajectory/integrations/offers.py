"""What a logger is to an integration."""

from __future__ import annotations

from typing import Protocol

from trajectory.models import Logged


class Offers(Protocol):
    """Takes values without waiting or failing: any of our loggers."""

    def offer(self, value: Logged) -> None:
        """Take a value."""
        ...
