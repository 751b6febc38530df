"""The suite that the SDK ships for session stores, whole, on each database."""

from __future__ import annotations

from claude_agent_sdk import SessionStore
from claude_agent_sdk.testing import run_session_store_conformance

from trajectory import StorageBackend, TrajectoryQuery, TrajectoryStore
from trajectory.integrations.claude_agent_sdk import TrajectorySessionStore

OPTIONAL = ("list_sessions", "list_session_summaries", "delete", "list_subkeys")


async def test_it_has_every_optional_method() -> None:
    for name in OPTIONAL:
        assert getattr(TrajectorySessionStore, name) is not getattr(SessionStore, name)


async def test_it_passes(backend: StorageBackend) -> None:
    made = 0

    async def empty() -> TrajectorySessionStore:
        """Make a store in the same database, emptied: each contract wants one of its own."""
        nonlocal made
        made += 1
        async with TrajectoryStore(backend) as store:
            found = [each.id async for each in store.trajectories(TrajectoryQuery())]
        await backend.delete_trajectories(found)
        return TrajectorySessionStore(backend)

    await run_session_store_conformance(empty)
    assert made == 15  # the probe, and the 14 contracts
