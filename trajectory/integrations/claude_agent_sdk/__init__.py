"""The Claude Agent SDK (extra `claude-agent-sdk`): what agents do as trajectories, and a store.

`RecordedClient` and `recorded_query` are the SDK's own two ways in, and record;
`TrajectorySessionStore` keeps the sessions themselves, so that they can be resumed anywhere.
"""

from __future__ import annotations

from trajectory.integrations.claude_agent_sdk.client import RecordedClient, recorded_query
from trajectory.integrations.claude_agent_sdk.session_store import TrajectorySessionStore

__all__ = ["RecordedClient", "TrajectorySessionStore", "recorded_query"]
