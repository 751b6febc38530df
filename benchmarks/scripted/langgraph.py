"""A program on LangGraph with a scripted model: nothing leaves the process.

A conversation has three runs of one graph on one thread, whose checkpoints hold the history: two
tools, of which one fails; a streamed answer; and a handoff to a sub-graph that has another graph
as a tool.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any, NamedTuple

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import InjectedToolCallId, tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from trajectory import TrajectoryLogger
from trajectory.integrations.langchain import attach

MODEL = "scripted-1"
SUPPORT = "You look after orders."
BILLING = "You look after bills."
TRANSLATOR = "You translate."


class Call(NamedTuple):
    """A tool call as the model writes it."""

    name: str
    arguments: str


class Reply(NamedTuple):
    """What the model says: text, calls, or both."""

    text: str
    calls: tuple[Call, ...] = ()
    reasoning: str | None = None


PROMPTS = ("Where is order 7? And refund it.", "Thanks!", "I want to pay the bill.")
ANSWERS = (
    "Order 7 is on its way; the refund failed.",
    "You are welcome.",
    "Your invoice is paid.",
)
# Spaces and numbers that JSON written anew would not have.
LOOKUP = Call("lookup_order", '{ "order_id":7 }')
REFUND = Call("refund", '{"order_id": 7, "amount": 1.50}')
TRANSLATE = Call("translate", '{"word":  "Rechnung"}')
HANDOFF = Call("transfer_to_billing", "{}")
REFUND_ERROR = "the till is closed"
LOOKUP_RESULT = "order 7: on its way"
TRANSFERRED = "Transferred to billing."


def script(messages: Sequence[BaseMessage]) -> Reply:
    """Answer as the three agents of the program do."""
    system, last = str(messages[0].content), messages[-1]
    if system == TRANSLATOR:
        return Reply("Invoice")
    if system == BILLING:
        if isinstance(last, ToolMessage) and last.content == "Invoice":
            return Reply(ANSWERS[2])
        return Reply("", (TRANSLATE,))
    if isinstance(last, ToolMessage):
        return Reply(ANSWERS[0])
    if last.content == PROMPTS[0]:
        return Reply("Let me look.", (LOOKUP, REFUND), reasoning="Two tools will do.")
    return Reply(ANSWERS[1]) if last.content == PROMPTS[1] else Reply("", (HANDOFF,))


def usage(messages: int) -> dict[str, Any]:
    """Give the usage of a call with so many messages."""
    return {
        "input_tokens": 10 * messages,
        "output_tokens": 5,
        "total_tokens": 10 * messages + 5,
        "input_token_details": {"cache_read": messages},
        "output_token_details": {"reasoning": 2},
    }


def call_id(call: Call, messages: int) -> str:
    """Give the id of a call that is made after so many messages."""
    return f"{call.name}-{messages}"


class Scripted(BaseChatModel):
    """Says what `script` does. Stateless: one may serve many runs at once."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        """Bind tools, as models with tools do."""
        return self.bind(tools=[convert_to_openai_tool(each) for each in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> ChatResult:
        reply, count = script(messages), len(messages)
        extra: dict[str, Any] = {}
        if reply.calls:
            extra["tool_calls"] = [
                {
                    "id": call_id(call, count),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in reply.calls
            ]
        if reply.reasoning:
            extra["reasoning_content"] = reply.reasoning
        message = AIMessage(
            reply.text,
            additional_kwargs=extra,
            tool_calls=[
                {"name": call.name, "args": json.loads(call.arguments), "id": call_id(call, count)}
                for call in reply.calls
            ],
            usage_metadata=usage(count),
            response_metadata=_beside(reply),
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        await asyncio.sleep(0)  # as a model behind a network would
        return self._generate(messages, stop, **kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in _chunks(script(messages), len(messages)):
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(script(messages), len(messages)):
            await asyncio.sleep(0)
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


def _beside(reply: Reply) -> dict[str, Any]:
    return {
        "model_name": MODEL,
        "finish_reason": "tool_calls" if reply.calls else "stop",
    }


def _chunks(reply: Reply, count: int) -> Iterator[ChatGenerationChunk]:
    for word in reply.text.split(" ") if reply.text else ():
        text = word if word == reply.text.split(" ")[0] else f" {word}"
        yield ChatGenerationChunk(message=AIMessageChunk(content=text))
    for index, call in enumerate(reply.calls):
        half = len(call.arguments) // 2
        for part, name in ((call.arguments[:half], call.name), (call.arguments[half:], None)):
            chunk = tool_call_chunk(
                name=name,
                args=part,
                id=call_id(call, count) if name else None,
                index=index,
            )
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[chunk]))
    last = AIMessageChunk(content="", usage_metadata=usage(count), response_metadata=_beside(reply))
    yield ChatGenerationChunk(message=last)


@tool
async def lookup_order(order_id: int) -> str:
    """Look an order up."""
    return f"order {order_id}: on its way"


@tool
async def refund(order_id: int, amount: float) -> str:  # noqa: ARG001
    """Pay an order back."""
    raise RuntimeError(REFUND_ERROR)


@tool
async def transfer_to_billing(call: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Hand the conversation to billing."""
    done = ToolMessage(TRANSFERRED, tool_call_id=call, name="transfer_to_billing")
    return Command(goto="billing", update={"messages": [done]})


def _agent(system: str, tools: Sequence[Any]) -> StateGraph[Any]:
    model: Runnable[Any, Any] = Scripted()
    if tools:
        model = model.bind_tools(tools)  # type: ignore[attr-defined]

    async def agent(state: MessagesState) -> dict[str, Any]:
        answer = await model.ainvoke([SystemMessage(system), *state["messages"]])
        return {"messages": [answer]}

    def after(state: MessagesState) -> str:
        return "tools" if getattr(state["messages"][-1], "tool_calls", None) else END

    graph = StateGraph(MessagesState)
    graph.add_node("agent", agent)
    graph.add_edge(START, "agent")
    if tools:
        graph.add_node("tools", ToolNode(tools, handle_tool_errors=_told))
        graph.add_conditional_edges("agent", after, ["tools", END])
    return graph


def _told(error: RuntimeError) -> str:
    return f"It failed: {error}"


def _translator() -> Any:
    return _agent(TRANSLATOR, ()).compile(name="translator")


_TRANSLATOR = _translator()


@tool
async def translate(word: str) -> str:
    """Translate a word."""
    state = await _TRANSLATOR.ainvoke({"messages": [("user", word)]})
    return str(state["messages"][-1].content)


def _support() -> Any:
    billing = _agent(BILLING, (translate,))
    billing.add_edge("tools", "agent")
    tools = (lookup_order, refund, transfer_to_billing)
    graph = _agent(SUPPORT, tools)

    def after(state: MessagesState) -> str:
        last = state["messages"][-1]
        return "agent" if getattr(last, "name", None) != "transfer_to_billing" else END

    graph.add_conditional_edges("tools", after, ["agent", END])
    graph.add_node("billing", billing.compile(name="billing"))
    return graph.compile(checkpointer=InMemorySaver(), name="support")


async def conversation(thread: str, graph: Any | None = None, **config: Any) -> list[str]:
    """Hold one conversation on a thread: three runs of the graph. Give the answers."""
    graph = graph or _support()
    settings = {"configurable": {"thread_id": thread}, **config}
    said = []
    for prompt in PROMPTS:
        asked = {"messages": [("user", prompt)]}
        if prompt == PROMPTS[1]:
            streamed = graph.astream(asked, settings, stream_mode="messages")
            said.append("".join([str(chunk.content) async for chunk, _ in streamed]))
        else:
            state = await graph.ainvoke(asked, settings)
            said.append(str(state["messages"][-1].content))
    return said


async def program(runs: int) -> list[list[str]]:
    """Hold so many conversations, one after another."""
    graph = _support()
    return [await conversation(f"thread-{n}", graph) for n in range(runs)]


async def at_once(runs: int) -> list[list[str]]:
    """Hold so many conversations at the same time."""
    graph = _support()
    return await asyncio.gather(*(conversation(f"thread-{n}", graph) for n in range(runs)))


def attached(logger: TrajectoryLogger) -> AbstractContextManager[Any]:
    """Record in this block what the program does."""
    return attach(logger)
