"""The sub-agents of a connection: each a trajectory below the one that started it.

A sub-agent is known by the tool call that started it, which every message of it names. Hooks name
it by an id of its own, which is found out where a message or a result tells both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from trajectory.door import now_utc
from trajectory.draft import as_text
from trajectory.formats.foreign import amount, count, label, members
from trajectory.integrations.claude_agent_sdk import reading
from trajectory.integrations.claude_agent_sdk.gathering import Call, Exchange
from trajectory.integrations.claude_agent_sdk.offers import Offers
from trajectory.integrations.claude_agent_sdk.reading import Answered, Asked
from trajectory.integrations.claude_agent_sdk.results import Outcome
from trajectory.models import Trajectory, TrajectoryEnd, TrajectoryStatus

MAX_OPEN = 200
"""So many sub-agents at once are followed; of more the oldest are closed as they are."""
MAX_CLOSED = 1_000
"""Of sub-agents that have ended, so many are remembered, so that none begins a second time."""

_SETTLED = {
    "completed": TrajectoryStatus.COMPLETED,
    "failed": TrajectoryStatus.FAILED,
    "stopped": TrajectoryStatus.CANCELLED,
    "killed": TrajectoryStatus.CANCELLED,
}
_LAUNCHED = "async_launched"


class SubAgent:
    """One sub-agent, and its only turn."""

    def __init__(self, call_id: str, call: Call | None, start: Trajectory) -> None:
        self.call_id = call_id
        self.start = start
        self.exchange = Exchange()
        self.agent_id: str | None = None
        told = members(None if call is None else call.asked.input)
        self.prompt = as_text(told.get("prompt") or "")
        self.is_background = told.get("run_in_background") is True
        self.structured: Mapping[str, Any] = {}
        self.response: str | None = None


class SubAgents:
    """Those that run, of one trajectory."""

    def __init__(self, logger: Offers, main: Trajectory, labels: dict[str, Any]) -> None:
        """`labels` are fields of a sub-agent's trajectory; more may be set as they are known."""
        self._logger = logger
        self._main = main
        self.labels = labels
        self._running: dict[str, SubAgent] = {}
        self._early: dict[str, dict[str, Call]] = {}
        """By id of a sub-agent: calls in it that hooks told before it was known whose they are."""
        self._last_words: dict[str, str] = {}
        self._closed: dict[str, None] = {}
        """The last calls whose sub-agents are stored: nothing can be added to those."""

    def of_call(self, call_id: str, turn: Exchange | None) -> SubAgent | None:
        """Find the sub-agent that a call started, or begin it; None for one that has ended.

        `turn`: the one that runs.
        """
        agent = self._running.get(call_id)
        if agent is None:
            if call_id in self._closed:
                return None
            owner, call = self._owner(call_id, turn)
            agent = SubAgent(call_id, call, self._started(owner, call))
            self._running[call_id] = agent
            self._logger.offer(agent.start)
            exchange = turn if owner is None else owner.exchange
            if exchange is not None:
                noted = exchange.facts.setdefault("sub_agents", {})
                noted[call_id] = str(agent.start.id)
            if len(self._running) > MAX_OPEN:
                self._close(next(iter(self._running.values())), TrajectoryStatus.CANCELLED)
        return agent

    def _owner(self, call_id: str, turn: Exchange | None) -> tuple[SubAgent | None, Call | None]:
        if turn is not None and call_id in turn.calls:
            return None, turn.calls[call_id]
        for agent in self._running.values():
            if call_id in agent.exchange.calls:
                return agent, agent.exchange.calls[call_id]
        return None, None

    def _started(self, owner: SubAgent | None, call: Call | None) -> Trajectory:
        told = members(None if call is None else call.asked.input)
        above = self._main if owner is None else owner.start
        metadata = {"description": told.get("description"), "tool_use_id": None}
        if call is not None:
            metadata["tool_use_id"] = call.asked.call_id
        return Trajectory(
            agent_name=label(told.get("subagent_type")) or "sub-agent",
            parent_trajectory_id=above.id,
            root_trajectory_id=above.root_trajectory_id or above.id,
            source_format=self._main.source_format,
            metadata={name: as_text(value) for name, value in metadata.items() if value},
            **self.labels,
        )

    def call(self, asked: Asked, agent_id: str | None, turn: Exchange | None) -> Call:
        """Find a call that a hook tells of, or begin it where it belongs."""
        if agent_id is None and turn is not None:
            return turn.call(asked)
        for agent in self._running.values():
            if (call := agent.exchange.calls.get(asked.call_id)) is not None:
                return call
            if agent.agent_id == agent_id:
                return agent.exchange.call(asked)
        calls = self._early.setdefault(agent_id or "", {})
        if len(self._early) > MAX_OPEN:
            del self._early[next(iter(self._early))]
        return calls.setdefault(asked.call_id, Call(asked))

    def task(self, message: Any, turn: Exchange | None) -> None:
        """Take a message about a task: which sub-agent it is, or how it ended."""
        told = reading.of(message, "tool_use_id")
        call_id = None if told is None else reading.name_of(told)
        agent = None if call_id is None else self._running.get(call_id)
        task = label(message.task_id)
        if agent is None and type(message).__name__ == "TaskStartedMessage":
            if call_id is None or (message.task_type or "local_agent") != "local_agent":
                return  # a shell in the background, and the like
            agent = self.of_call(call_id, turn)
        if agent is None:
            agent = next((one for one in self._running.values() if one.agent_id == task), None)
        if agent is None or task is None:
            return
        self._is_known_as(agent, task)
        status = _SETTLED.get(as_text(getattr(message, "status", None)))
        if agent.is_background and status is not None:
            agent.response = agent.exchange.last_text or as_text(getattr(message, "summary", ""))
            self._close(agent, status)

    def _is_known_as(self, agent: SubAgent, agent_id: str) -> None:
        agent.agent_id = agent_id
        for call_id, early in self._early.pop(agent_id, {}).items():
            agent.exchange.calls.setdefault(call_id, early)

    def stopped(self, told: Mapping[str, Any]) -> None:
        """Take what the hook at a sub-agent's end tells."""
        agent_id = label(told.get("agent_id"))
        if agent_id is not None:
            self._last_words[agent_id] = as_text(told.get("last_assistant_message") or "")
            if len(self._last_words) > MAX_OPEN:
                del self._last_words[next(iter(self._last_words))]

    def answered(self, answer: Answered, turn: Exchange, structured: Any) -> None:
        """Take the result of a call: it ends the sub-agent that the call started."""
        call = turn.calls.get(answer.call_id)
        told = members(structured) or members(None if call is None else call.structured)
        agent_id = label(told.get("agentId"))
        agent = self._running.get(answer.call_id)
        if agent is None:
            if agent_id is None or call is None or call.asked.name not in reading.DELEGATES:
                return
            agent = self.of_call(answer.call_id, turn)
        if agent is None:
            return
        if agent_id is not None:
            self._is_known_as(agent, agent_id)
        if told.get("status") == _LAUNCHED or agent.is_background:
            agent.is_background = True
            return
        agent.structured, agent.response = told, answer.text
        failed = TrajectoryStatus.FAILED if answer.is_error else TrajectoryStatus.COMPLETED
        self._close(agent, failed, answer.text if answer.is_error else None)

    def turn_ends(self, outcome: Outcome) -> None:
        """Close those that the turn has left, but for those in the background."""
        for agent in [one for one in self._running.values() if not one.is_background]:
            self._close(agent, *outcome)

    def end(self, outcome: Outcome, turn: Exchange | None) -> None:
        """Close all; calls of sub-agents that no message told of go to the turn, if one runs."""
        for agent in list(self._running.values()):
            self._close(agent, *outcome)
        if turn is not None:
            for calls in self._early.values():
                turn.calls = {**calls, **turn.calls}
        self._early.clear()

    def _close(self, agent: SubAgent, status: TrajectoryStatus, error: str | None = None) -> None:
        del self._running[agent.call_id]
        self._closed[agent.call_id] = None
        if len(self._closed) > MAX_CLOSED:
            del self._closed[next(iter(self._closed))]
        exchange, told = agent.exchange, agent.structured
        words = self._last_words.pop(agent.agent_id or "", "")
        response = words or agent.response
        if agent.agent_id is not None:
            exchange.facts["agent_id"] = agent.agent_id
        id_: UUID = agent.start.id
        self._logger.offer(
            exchange.built(
                id_,
                1,
                [(agent.prompt, agent.prompt)] if agent.prompt else [],
                response=response if error is None else None,
                tokens=exchange.heard(),
                error=error,
                latency_ms=amount(told.get("totalDurationMs")),
                token_count=count(told.get("totalTokens")),
            )
        )
        self._logger.offer(
            TrajectoryEnd(trajectory_id=id_, status=status, error=error, ended_at=now_utc())
        )
