"""Reads back what was recorded, without what differs from run to run, and makes small graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.graph import START, MessagesState, StateGraph

from trajectory import StorageBackend, TrajectoryStore, TurnQuery

Recorded = list[dict[str, Any]]

_TIMES = ("created_at", "started_at")


async def recorded(backend: StorageBackend) -> Recorded:
    """Give all trajectories, each with its turn, whole but for times and made-up ids.

    `parent` and `root` are the names of the agents above.
    """
    found: Recorded = []
    names: dict[UUID, str | None] = {}
    order: list[tuple[datetime, int]] = []
    async with TrajectoryStore(backend) as store:
        trajectories = [each async for each in store.trajectories()]
        for each in trajectories:
            names[each.id] = each.agent_name
            turns = [turn async for turn in store.turns(TurnQuery(ids=(each.id,)))]
            assert [turn.turn_number for turn in turns] == [1] * len(turns)
            order.append((each.created_at, len(order)))
            found.append({**_trajectory(each), "turn": _turn(turns[0]) if turns else None})
    for one in found:
        for key in ("parent", "root"):
            if key in one:
                one[key] = names.get(one[key], one[key])
    return [found[index] for _, index in sorted(order)]


def _trajectory(trajectory: Any) -> dict[str, Any]:
    fields = _plain(trajectory)
    assert fields.pop("source_format") == "langchain"
    UUID(fields.pop("run_id"))
    created, ended = fields.pop("created_at"), fields.pop("ended_at", None)
    assert ended is None or created <= ended
    fields.pop("id")
    for old, new in (("parent_trajectory_id", "parent"), ("root_trajectory_id", "root")):
        if old in fields:
            fields[new] = fields.pop(old)
    return fields


def _turn(turn: Any) -> dict[str, Any]:
    fields = _plain(turn)
    for name in ("trajectory_id", "turn_number", "created_at"):
        fields.pop(name)
    assert fields.pop("latency_ms") >= 0
    first = fields.get("metadata", {}).pop("time_to_first_token_ms", None)
    if first is not None:
        assert first >= 0
        fields["streamed"] = True
    if not fields.get("metadata"):
        fields.pop("metadata", None)
    fields["messages"] = [_child(one) for one in turn.messages]
    fields["tool_calls"] = [_child(one) for one in turn.tool_calls]
    for call in fields["tool_calls"]:
        ran = call.pop("latency_ms", None)
        assert ran is None or ran >= 0
    return {name: value for name, value in fields.items() if value not in ([], ())}


def _child(value: Any) -> dict[str, Any]:
    return {name: one for name, one in _plain(value).items() if name not in _TIMES}


def _plain(value: Any) -> dict[str, Any]:
    return {
        name: str(one) if name in ("role", "status") else one
        for name, one in value.model_dump(exclude_defaults=True).items()
        if one is not None
    }


class Model(BaseChatModel):
    """Answers as a function of the messages does."""

    answer: Callable[[list[BaseMessage]], AIMessage | str]

    @property
    def _llm_type(self) -> str:
        return "tested"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self.bind(tools=[convert_to_openai_tool(each) for each in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        said = self.answer(messages)
        message = AIMessage(said) if isinstance(said, str) else said
        return ChatResult(generations=[ChatGeneration(message=message)])


def graph_of(name: str = "graph", checkpointer: Any = None, **nodes: Any) -> Any:
    """Make a graph of messages whose nodes follow each other."""
    made = StateGraph(MessagesState)
    before = START
    for node, function in nodes.items():
        made.add_node(node, function)
        made.add_edge(before, node)
        before = node
    return made.compile(name=name, checkpointer=checkpointer)


def user(text: str) -> dict[str, Any]:
    """Give the message of a user as it is stored."""
    return {"role": "user", "content": text}


def assistant(text: str, **fields: Any) -> dict[str, Any]:
    """Give the message of a model as it is stored."""
    return {"role": "assistant", "content": text, **fields}
