"""What a forked child must let go of: it shares files, locks and sockets with its parent.

The parent goes on as if nothing had happened, and stores what it had accepted. The child forgets
all of that, and begins anew at its next call.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forgets(Protocol):
    """What holds something that a child must not use."""

    def forget(self) -> None:
        """Let go, in the child: free no lock, close no connection, write nothing."""


_holders: weakref.WeakSet[Forgets] = weakref.WeakSet()


def forget_in_child(holder: Forgets) -> None:
    """Call `holder.forget` in every child that is forked while it lives."""
    _holders.add(holder)


def _in_child() -> None:
    for holder in list(_holders):
        holder.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
