"""For authors of backends: the suite that every backend passes, and hostile ones to test with.

`BackendConformance` needs pytest and pytest-asyncio, which are loaded when it is asked for.
"""

from typing import TYPE_CHECKING, Any

from trajectory.testing.fakes import (
    CommitThenDisconnectBackend,
    FailingBackend,
    GatedBackend,
    SlowBackend,
    WrappedBackend,
)

if TYPE_CHECKING:
    from trajectory.testing.conformance import BackendConformance

__all__ = [
    "BackendConformance",
    "CommitThenDisconnectBackend",
    "FailingBackend",
    "GatedBackend",
    "SlowBackend",
    "WrappedBackend",
]


def __getattr__(name: str) -> Any:
    """Load the suite when it is asked for: the fakes don't need pytest."""
    if name == "BackendConformance":
        from trajectory.testing.conformance import BackendConformance

        return BackendConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
