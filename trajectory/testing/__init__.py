"""For authors of backends: the suite that every backend passes, and hostile ones to test with.

`BackendConformance` needs pytest and pytest-asyncio; the fakes need nothing.
"""

from trajectory.testing.fakes import (
    CommitThenDisconnectBackend,
    FailingBackend,
    GatedBackend,
    SlowBackend,
    WrappedBackend,
)

__all__ = [
    "CommitThenDisconnectBackend",
    "FailingBackend",
    "GatedBackend",
    "SlowBackend",
    "WrappedBackend",
]
