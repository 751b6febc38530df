"""SWE-agent's `.traj` files: one JSON object, one task, one turn.

`history` becomes the messages, byte for byte: the first one of the user is the task and the turn's
prompt, later ones are what the environment answered. Messages of a demonstration (`is_demo`) are
left out and counted. Actions are tool calls where the history has `tool_calls`; in the older
variants they stand in the text, and stay there. A thought is `reasoning` only where the text
doesn't hold it. The steps of `trajectory` repeat the history; their durations go to the tool calls.

Tokens and cost are those of `info.model_stats`; replays say 0, which is taken as unknown. The rest
of `info` is kept in the metadata, `replay_config` is not (it is the agent's settings, keys and
all), but for the name of the model and the id of the task, which is `spec_id`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, BinaryIO

from trajectory.formats.base import ImportedTrajectory, Problem
from trajectory.formats.documents import Make, read_documents
from trajectory.formats.foreign import (
    amount,
    count,
    digest,
    label,
    members,
    shown,
    storable,
    text,
    written,
)
from trajectory.formats.jsonlines import BadLineError, Line, parse_object
from trajectory.ids import derived_id
from trajectory.models import Message, Role, ToolCall, Trajectory, TrajectoryStatus, Turn

NAME = "swe-agent"

_ROLES = {role.value: role for role in Role}
_KEYS = frozenset({"history", "trajectory", "info", "environment", "replay_config"})
_MESSAGE_KEYS = frozenset(
    {"role", "content", "agent", "message_type", "is_demo", "thought", "action"}
    | {"tool_calls", "tool_call_ids", "thinking_blocks"}
)


class SWEAgent:
    """Reads trajectories of SWE-agent."""

    name = NAME
    suffixes = (".traj",)

    def read(self, stream: BinaryIO, *, as_of: datetime) -> Iterator[ImportedTrajectory | Problem]:
        """Read a stream to its end: one object, or several. The form has no times."""
        return read_documents(stream, as_of, _take)


def _take(document: dict[str, Any]) -> tuple[str, Make]:
    task = _Task(document)

    def make(line: int, own: tuple[str, str], dated: datetime) -> list[ImportedTrajectory]:
        return [task.imported(line, key=own, created_at=dated)]

    return digest(task.history), make


class _Task:
    """One file, taken apart message by message."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._info = members(document.get("info"))
        self._system: list[str] = []
        self._prompt: str | None = None
        self._response = ""
        self._messages: list[Message] = []
        self._calls: list[dict[str, Any]] = []
        self._waiting: dict[str | None, list[dict[str, Any]]] = {}
        self._left_out: Counter[str] = Counter()
        history = document.get("history")
        if not isinstance(history, list):
            raise BadLineError("has no list of `history`")
        self.history: list[Any] = history
        self._durations = iter(_durations(document.get("trajectory")))
        self._note_keys("", document, _KEYS)
        if document.get("replay_config"):
            self._left_out["replay_config (but for model and task)"] += 1
        for index, message in enumerate(history):
            if not isinstance(message, dict):
                raise BadLineError(f"history[{index}] is not an object")
            if message.get("is_demo") is True:
                self._left_out["message of a demonstration"] += 1
            else:
                self._take(message)
        if not self._messages and not self._system:
            raise BadLineError("has no message of a known role in its `history`")

    def _take(self, message: Mapping[str, Any]) -> None:
        role = message.get("role")
        known = _ROLES.get(role) if isinstance(role, str) else None
        if known is None:
            self._left_out[f"message of unknown role {shown(role)}"] += 1
            return
        self._note_keys("message ", message, _MESSAGE_KEYS)
        content = message.get("content")
        if content is not None and not (isinstance(content, list) and storable(content)):
            content = written(content)
        said = _text_of(content)
        if known in (Role.SYSTEM, Role.DEVELOPER) and not self._messages:
            self._system.append(said)
            return
        call_ids: list[str] = []
        if known is Role.USER and self._prompt is None:
            self._prompt = said
        elif known is Role.ASSISTANT:
            self._response = said or self._response
            self._call(message)
        elif known is Role.TOOL:
            call_ids = self._answer(message.get("tool_call_ids"), said)
        self._messages.append(
            Message(
                role=known,
                content=content,
                call_id=call_ids[0] if call_ids else None,
                reasoning=_reasoning(message, said),
            )
        )

    def _call(self, message: Mapping[str, Any]) -> None:
        """Take an action: its tool calls share the time that the step took."""
        seconds = next(self._durations, None)
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            function = members(members(call).get("function"))
            name = label(function.get("name"))
            if name is None:
                self._left_out["tool call without a name"] += 1
                continue
            id_ = label(call.get("id"))
            took = seconds if isinstance(calls, list) and len(calls) == 1 else None
            made: dict[str, Any] = {
                "tool_name": name,
                "arguments": written(function.get("arguments")),
                "call_id": id_,
                "message_position": len(self._messages),
                "latency_ms": None if took is None else amount(took * 1000),
            }
            self._calls.append(made)
            self._waiting.setdefault(id_, []).append(made)
        action = text(message.get("action"))
        if action and not calls and action.strip() not in _text_of(message.get("content")):
            self._left_out["action that the text doesn't hold"] += 1

    def _answer(self, ids: Any, result: str) -> list[str]:
        """Give a result to the calls it answers; of those with the same id to the newest."""
        names = [name for id_ in (ids if isinstance(ids, list) else ()) if (name := label(id_))]
        answered = [waiting.pop() for name in names if (waiting := self._waiting.get(name))]
        for call in answered:
            call["result"] = result
        if not answered:
            self._left_out["tool result without its call (kept as a message)"] += 1
        return names

    def _note_keys(self, what: str, document: Mapping[str, Any], known: frozenset[str]) -> None:
        for key in document.keys() - known:
            if document[key] not in (None, [], {}, ""):
                self._left_out[f"{what}key {shown(key)}"] += 1

    def imported(
        self, line: int, *, key: tuple[str, str], created_at: datetime
    ) -> ImportedTrajectory:
        """Make the values. Raises `InvalidTurnError`."""
        id_ = derived_id(NAME, *key)
        config = _config(self._document.get("replay_config"))
        model = members(members(config.get("agent")).get("model")).get("name")
        stats = members(self._info.get("model_stats"))
        exit_status = text(self._info.get("exit_status"))
        status = self._status(exit_status)
        trajectory = Trajectory(
            id=id_,
            spec_id=label(members(config.get("problem_statement")).get("id")),
            agent_name=NAME,
            agent_version=label(self._info.get("swe_agent_version")),
            status=status,
            error=exit_status if status is TrajectoryStatus.FAILED else None,
            system_prompt="\n\n".join(self._system) if self._system else None,
            source_format=NAME,
            created_at=created_at,
            metadata=self._metadata(),
        )
        turn = Turn(
            trajectory_id=id_,
            turn_number=0 if self._prompt is None else 1,
            prompt=self._prompt or "",
            response=self._response,
            created_at=created_at,
            model_name=label(model),
            input_tokens=count(stats.get("tokens_sent")) or None,
            output_tokens=count(stats.get("tokens_received")) or None,
            cost_usd=amount(stats.get("instance_cost")) or None,
            messages=tuple(self._messages),
            tool_calls=tuple(ToolCall(**call) for call in self._calls),
        )
        turns = (turn,) if self._messages else ()
        return ImportedTrajectory(line, trajectory, turns, dict(self._left_out))

    def _status(self, exit_status: str | None) -> TrajectoryStatus:
        """Say how it ended; a file that tells of a run, but of no end, is of one that runs."""
        if exit_status is None:
            return TrajectoryStatus.RUNNING if self._info else TrajectoryStatus.COMPLETED
        submitted = exit_status.startswith("submitted")
        return TrajectoryStatus.COMPLETED if submitted else TrajectoryStatus.FAILED

    def _metadata(self) -> dict[str, Any]:
        kept = {"environment": self._document.get("environment"), "info": dict(self._info)}
        metadata = {}
        for key, value in kept.items():
            if value and storable({key: value}) is None:
                self._left_out[f"{key} that can't be stored"] += 1
            elif value:
                metadata[key] = value
        return metadata


def _config(value: Any) -> Mapping[str, Any]:
    """Give the settings, which newer versions write as JSON in a text."""
    if isinstance(value, str):
        try:
            return parse_object(Line(2, value.encode(errors="replace")))
        except BadLineError:
            return {}
    return members(value)


def _durations(steps: Any) -> list[float | None]:
    found: Sequence[Any] = steps if isinstance(steps, list) else ()
    return [amount(members(step).get("execution_time")) for step in found]


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts: Sequence[Any] = content if isinstance(content, list) else ()
    return "".join(text(members(part).get("text")) or "" for part in parts)


def _reasoning(message: Mapping[str, Any], said: str) -> str | None:
    blocks = message.get("thinking_blocks")
    found = [
        thought
        for block in (blocks if isinstance(blocks, list) else ())
        if (thought := text(members(block).get("thinking")))
    ]
    thought = text(message.get("thought"))
    if thought and thought.strip() not in said:
        found.append(thought)
    return "\n\n".join(found) or None
