"""One connection to Claude Code, and what is logged of it.

Two sources tell of it, each at its own pace: the hooks, which Claude Code waits for, and the
messages, which come when the program asks for the next. What a hook tells of a call is kept under
the call's id until the messages catch up; a message that ends a turn is what ends it here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from trajectory.door import now_utc
from trajectory.draft import as_error, as_json, as_text
from trajectory.formats.foreign import label, members
from trajectory.guard import Guard
from trajectory.integrations.claude_agent_sdk import reading
from trajectory.integrations.claude_agent_sdk.gathering import Call, Exchange
from trajectory.integrations.claude_agent_sdk.offers import Offers
from trajectory.integrations.claude_agent_sdk.prompts import Prompt, Prompts
from trajectory.integrations.claude_agent_sdk.reading import Asked, name_of, of
from trajectory.integrations.claude_agent_sdk.results import (
    Cost,
    Outcome,
    Tokens,
    facts_of,
    outcome_of,
)
from trajectory.integrations.claude_agent_sdk.sub_agents import SubAgents
from trajectory.models import Trajectory, TrajectoryEnd, TrajectoryStatus
from trajectory.run import current

SOURCE = "claude-agent-sdk"
MAIN_AGENT = "claude-code"

GUARD = Guard("the Claude Agent SDK integration")

_NOTED = ("cwd", "permissionMode", "apiKeySource", "output_style", "tools", "agents", "skills")
_CANCELLED = TrajectoryStatus.CANCELLED
_TOOL_EVENTS = ("PreToolUse", "PostToolUse", "PostToolUseFailure")
_LABELS = ("spec_id", "run_id", "session_id", "user_id")
"""What a sub-agent's trajectory has from the one above it."""


class Recording:
    """Gathers one connection, and offers it to the logger. Called from one thread."""

    def __init__(self, logger: Offers, options: Any, fields: Mapping[str, Any]) -> None:
        self._logger = logger
        self._options = options
        self._fields = dict(fields)
        self._start: Trajectory | None = None
        self._has_session = self._is_introduced = False
        self._number = 0
        self._turn: Exchange | None = None
        self._sub_agents: SubAgents | None = None
        self._prompts = Prompts()
        self._ahead: dict[str, Call] = {}
        """Calls of the next turn, where the hooks are that far ahead of the messages."""
        self._last = Outcome()
        self._is_interrupted = False
        self.is_awaited = False
        """Whether the program waits for a message, and has so read all that there are."""
        self._tokens = Tokens()
        self._cost = Cost(is_resumed=_is_resumed(options))

    # The start.

    def begin(self) -> None:
        """Offer the start of the trajectory."""
        run = None if "parent_trajectory_id" in self._fields else current()
        options = self._options
        self._begin(
            {
                "agent_name": MAIN_AGENT,
                **({} if run is None else run.as_parent()),
                "system_prompt": _system_prompt(getattr(options, "system_prompt", None)),
                **{name: value for name, value in self._fields.items() if name != "metadata"},
            }
        )

    def _begin(self, fields: dict[str, Any]) -> None:
        self._start = start = Trajectory(source_format=SOURCE, **fields)
        labels = {name: fields[name] for name in _LABELS if fields.get(name) is not None}
        self._sub_agents = SubAgents(self._logger, start, labels)
        self._logger.offer(start)
        self._has_session = self._is_introduced = False

    def _introduce(self, session: Any, told: Mapping[str, Any]) -> None:
        """Offer what Claude Code says of itself, when it first does."""
        start = self._start
        if start is None or (self._is_introduced and self._has_session):
            return
        known: dict[str, Any] = {}
        name = label(session)
        if not self._has_session and name is not None:
            known["session_id"] = self._agents().labels.setdefault("session_id", name)
            self._has_session = True
        if told and not self._is_introduced:
            known["agent_version"] = label(told.get("claude_code_version"))
            noted = {key: told[key] for key in _NOTED if told.get(key) not in (None, [], "")}
            known["metadata"] = {**noted, **self._fields.get("metadata", {})}
            self._is_introduced = True
        if known:
            self._tell(start, known)

    def _tell(self, start: Trajectory, known: Mapping[str, Any]) -> None:
        common = {"id": start.id, "status": None, "created_at": start.created_at}
        clean = {**known, "metadata": as_json(known.get("metadata") or {})}
        self._logger.offer(Trajectory(**common, **clean))

    # What the program does.

    def sent(self, message: Any) -> Prompt:
        """Note a prompt that the program sends."""
        self._running()
        return self._prompts.sent(message)

    def took_back(self, prompt: Prompt) -> None:
        """Forget a prompt that was `sent` and didn't get there."""
        self._prompts.took_back(prompt)
        turn = self._turn
        if turn is not None and not (self._prompts or turn.said or turn.calls or turn.facts):
            self._turn = None

    def interrupts(self) -> None:
        """Note that the program has asked for the turn to end."""
        self._is_interrupted = self._turn is not None
        self._prompts.interrupted()

    # What Claude Code says.

    def saw(self, message: Any) -> None:
        """Take a message that the program gets."""
        kind = type(message).__name__
        if kind == "StreamEvent":
            if (exchange := self._exchange_of(message)) is not None:
                exchange.stream(message.event)
        elif kind == "AssistantMessage":
            self._introduce(of(message, "session_id"), {})
            exchange = self._exchange_of(message)
            if exchange is None:
                return
            exchange.assistant(message)
            if (error := of(message, "error")) is not None:
                exchange.facts["model_error"] = as_text(error)
        elif kind == "UserMessage":
            self._took(message)
        elif kind == "ResultMessage":
            self._introduce(message.session_id, {})
            self._ended(message)
        elif kind == "ConversationResetMessage":
            self._reset()
        elif kind.startswith("Task"):
            self._agents().task(message, self._turn)
        elif getattr(message, "subtype", None) == "init":
            told = members(message.data)
            self._introduce(told.get("session_id"), told)

    def _agents(self) -> SubAgents:
        assert self._sub_agents is not None  # noqa: S101 - `begin` comes first
        return self._sub_agents

    def _running(self) -> Exchange:
        if self._turn is None:
            self._turn = Exchange()
            self._turn.calls, self._ahead = self._ahead, {}
        return self._turn

    def _exchange_of(self, message: Any) -> Exchange | None:
        parent = message.parent_tool_use_id
        if parent is None:
            return self._running()
        agent = self._agents().of_call(name_of(parent), self._turn)
        return None if agent is None else agent.exchange

    def _took(self, message: Any) -> None:
        parent = message.parent_tool_use_id
        if parent is not None:
            agent = self._agents().of_call(name_of(parent), self._turn)
            if agent is not None:
                agent.exchange.user(message, (agent.prompt,))
            return
        turn = self._running()
        turn.user(message, self._prompts.texts())
        if (origin := of(message, "origin")) is not None:
            turn.facts["origin"] = as_json(origin)
        for answer in reading.spoken(message.content).results:
            self._agents().answered(answer, turn, of(message, "tool_use_result"))

    def hook(self, given: Any, tool_use_id: str | None) -> None:
        """Take what a hook is told, before the messages tell it."""
        told = members(given)
        event = told.get("hook_event_name")
        self._introduce(told.get("session_id"), {})
        if event == "UserPromptSubmit":
            text = as_text(told.get("prompt") or "")
            self._prompts.submitted(text, is_inside=self.is_awaited)
            self._running()
        elif event == "Stop":
            answer = told.get("last_assistant_message")
            self._prompts.stopped(None if answer is None else as_text(answer))
        elif event == "SubagentStop":
            self._agents().stopped(told)
        elif event == "PreCompact":
            facts = self._running().facts
            facts["compactions"] = [*facts.get("compactions", ()), as_text(told.get("trigger"))]
        elif (call_id := told.get("tool_use_id") or tool_use_id) and event in _TOOL_EVENTS:
            self._tool(event, name_of(call_id), told)

    def _tool(self, event: str, call_id: str, told: Mapping[str, Any]) -> None:
        asked = Asked(call_id, as_text(told.get("tool_name")), told.get("tool_input"))
        agent_id = label(told.get("agent_id"))
        turn = self._turn if agent_id is not None else self._running()
        call = self._agents().call(asked, agent_id, turn)
        if event == "PreToolUse":
            fresh = Call(asked)
            call.began, call.started_at, call.is_timed = fresh.began, fresh.started_at, True
        else:
            call.ran(told, failed=event == "PostToolUseFailure")

    # The end.

    def _ended(self, result: Any) -> None:
        """Take the message that ends a turn."""
        turn = self._running()
        origin = members(of(result, "origin")).get("kind")
        # Whatever can't be read of it: the turn ends here, or the next would be one with it.
        outcome = Outcome(TrajectoryStatus.FAILED, "unknown") if result.is_error else Outcome()
        tokens: Mapping[str, int] = {}
        cost = None
        with GUARD:
            outcome = outcome_of(result, asked_to_stop=self._is_interrupted)
        with GUARD:
            tokens = self._tokens.of_turn(reading.figures(result.usage), turn.heard())
        with GUARD:
            cost = self._cost.of_turn(result.total_cost_usd)
        with GUARD:
            turn.facts |= facts_of(result)
        self._last = outcome
        answer = None if result.is_error else result.result
        self._ahead = {id_: call for id_, call in turn.calls.items() if call.said is None}
        for id_ in self._ahead:
            del turn.calls[id_]
        self._offer_turn(
            turn,
            is_injected=origin not in (None, "human"),
            broke_off=outcome.status is not TrajectoryStatus.COMPLETED,
            response=answer if isinstance(answer, str) else None,
            tokens=tokens,
            error=outcome.error,
            latency_ms=result.duration_ms,
            stop_reason="interrupted" if outcome.status is _CANCELLED else result.stop_reason,
            cost_usd=cost,
        )

    def _offer_turn(
        self, turn: Exchange, *, is_injected: bool = False, broke_off: bool = False, **fields: Any
    ) -> None:
        start, outcome = self._start, self._last
        assert start is not None  # noqa: S101 - `begin` comes first
        self._turn, self._is_interrupted = None, False
        prompts, answer = self._prompts.take(
            is_injected=is_injected, broke_off=broke_off, said=turn.last_text
        )
        if fields["response"] is None and not turn.said:
            fields["response"] = answer  # the program read none of the messages
        self._agents().turn_ends(outcome)
        self._number += 1
        self._logger.offer(turn.built(start.id, self._number, prompts, **fields))

    def _reset(self) -> None:
        """Go on in another trajectory: the conversation was emptied, and gets another id."""
        start = self._start
        if start is None:
            return
        # What is open by now is of the new one: what was asked before has been answered.
        turn, prompts, ahead = self._turn, self._prompts, self._ahead
        self._turn, self._prompts, self._ahead = None, Prompts(), {}
        self.end(None)
        self._turn, self._prompts, self._ahead = turn, prompts, ahead
        kept = ("agent_name", "parent_trajectory_id", "root_trajectory_id", "system_prompt")
        fields = {name: value for name, value in self._fields.items() if name != "metadata"}
        self._begin({**{name: getattr(start, name) for name in kept}, **fields})
        self._number, self._last = 0, Outcome()
        self._tokens, self._cost = Tokens(), Cost(is_resumed=False)

    def end(self, error: BaseException | None) -> None:
        """Offer the turn that is open, with what is known of it, and the end."""
        start = self._start
        if start is None:
            return
        if isinstance(error, SystemExit) and not error.code:
            error = None
        broken = error is not None and not isinstance(error, _STOPS)
        is_open = any((self._turn is not None, self._prompts, self._ahead))
        if broken:
            told = self._last.error if type(error).__name__ == "ResultError" else None
            self._last = Outcome(TrajectoryStatus.FAILED, told or as_error(error))
        elif is_open or (error is not None and not isinstance(error, GeneratorExit)):
            self._last = Outcome(_CANCELLED)
        if is_open:
            turn = self._running()
            self._agents().end(self._last, turn)
            failure = self._last.error if broken else None
            self._offer_turn(turn, response=None, tokens=turn.heard(), error=failure)
        self._agents().end(self._last, None)
        if not self._is_introduced and self._fields.get("metadata"):
            self._tell(start, {"metadata": self._fields["metadata"]})
        self._start = None
        self._logger.offer(
            TrajectoryEnd(
                trajectory_id=start.id,
                status=self._last.status,
                error=self._last.error,
                ended_at=now_utc(),
            )
        )


_STOPS = (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)


def _system_prompt(told: Any) -> str | None:
    """Give the program's own words; those of Claude Code's own prompt are not known."""
    words = members(told).get("prompt") or members(told).get("append")
    told = told if isinstance(told, str) else words
    return told if isinstance(told, str) else None


def _is_resumed(options: Any) -> bool:
    return bool(
        getattr(options, "resume", None) or getattr(options, "continue_conversation", False)
    )
