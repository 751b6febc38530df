"""The OpenAI Agents SDK (extra `openai-agents`): its traces as trajectories, and a session.

`TrajectoryProcessor` records what agents do; `TrajectorySession` gives them a memory.
"""

from __future__ import annotations

from trajectory.integrations.openai_agents.session import TrajectorySession
from trajectory.integrations.openai_agents.tracing import TrajectoryProcessor

__all__ = ["TrajectoryProcessor", "TrajectorySession"]
