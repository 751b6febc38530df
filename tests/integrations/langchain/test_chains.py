"""Chains, models, tools and retrievers that are no agent: one turn each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from integrations.langchain.conftest import Stored
from integrations.langchain.stored import Model, assistant, user
from langchain_core.documents import Document
from langchain_core.language_models.fake import FakeListLLM, FakeStreamingListLLM
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import tool

PROMPT = ChatPromptTemplate.from_messages([("system", "be {mood}"), ("human", "about {topic}")])
INPUTS = {"topic": "bears", "mood": "short"}
AS_TEXT = '{"topic":"bears","mood":"short"}'


def talking(text: str) -> GenericFakeChatModel:
    """Make a model that streams its words."""
    return GenericFakeChatModel(messages=iter([AIMessage(text)]))


def chain(text: str) -> Any:
    return PROMPT | talking(text) | StrOutputParser()


async def test_a_chain_is_one_turn(stored: Stored) -> None:
    assert await chain("big bears").ainvoke(INPUTS) == "big bears"
    assert await stored() == [
        {
            "agent_name": "RunnableSequence",
            "status": "completed",
            "system_prompt": "be short",
            "turn": {
                "prompt": AS_TEXT,
                "response": "big bears",
                "messages": [user("about bears"), assistant("big bears")],
            },
        }
    ]


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_is_recorded_when_it_ends(stored: Stored, way: str) -> None:
    if way == "stream":
        assert "".join(chain("big bears").stream(INPUTS)) == "big bears"
    else:
        assert [one async for one in chain("big bears").astream(INPUTS)] == ["big", " ", "bears"]
    [only] = await stored()
    assert only["status"] == "completed"
    assert only["turn"] == {
        "prompt": AS_TEXT,
        "response": "big bears",
        "streamed": True,
        "messages": [user("about bears"), assistant("big bears")],
    }


@pytest.mark.parametrize("way", ["stream", "astream", "model"])
async def test_an_abandoned_stream_is_stored_as_far_as_it_was_read(
    stored: Stored, way: str
) -> None:
    if way == "astream":
        stream = chain("big brown bears").astream(INPUTS)
        async for _ in stream:
            break
        await stream.aclose()
        await asyncio.sleep(0)  # the loop closes what is inside of it
    else:
        broken_off = chain("big brown bears").stream(INPUTS)
        if way == "model":
            broken_off = talking("big brown bears").stream("about bears")
        next(broken_off)
        broken_off.close()
    [only] = await stored()
    assert only["status"] == "cancelled"
    assert only["turn"]["response"] == "big"
    assert only["turn"]["messages"] == [user("about bears"), assistant("big")]
    assert only["turn"]["prompt"] == ("about bears" if way == "model" else AS_TEXT)


async def test_a_stream_that_breaks_has_failed_with_what_it_said(stored: Stored) -> None:
    class Breaking(Model):
        def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
            yield from talking("big")._stream(*args, **kwargs)
            raise ConnectionError("lost")

    with pytest.raises(ConnectionError):
        list(Breaking(answer=lambda _: "").stream("go"))
    [only] = await stored()
    assert only["status"] == "failed"
    assert only["error"] == "ConnectionError: lost"
    assert only["turn"]["messages"] == [user("go"), assistant("big")]
    assert only["turn"]["metadata"] == {"failed_model_calls": ["ConnectionError: lost"]}


async def test_a_model_is_tried_again(stored: Stored) -> None:
    failures = [ConnectionError("one"), ConnectionError("two")]

    def answer(_heard: Any) -> str:
        if failures:
            raise failures.pop(0)
        return "fine"

    model = Model(answer=answer).with_retry(wait_exponential_jitter=False)
    assert (await model.ainvoke("go")).content == "fine"
    [only] = await stored()
    assert only["status"] == "completed"
    assert only["turn"] == {
        "prompt": "go",
        "response": "fine",
        "messages": [user("go"), assistant("fine")],
        "metadata": {"failed_model_calls": ["ConnectionError: one", "ConnectionError: two"]},
    }


async def test_another_model_takes_over(stored: Stored) -> None:
    def breaks(_heard: Any) -> str:
        raise ConnectionError("lost")

    model = Model(answer=breaks).with_fallbacks([Model(answer=lambda _: "fine")])
    await model.ainvoke("go")
    [only] = await stored()
    assert only["status"] == "completed"
    assert only["turn"]["messages"] == [user("go"), assistant("fine")]


async def test_branches_of_a_chain_are_one_turn(stored: Stored) -> None:
    both = RunnableParallel(a=Model(answer=lambda _: "A"), b=Model(answer=lambda _: "B"))
    await both.ainvoke("go")
    [only] = await stored()
    assert only["turn"]["response"] == '{"a":"A","b":"B"}'
    messages = only["turn"]["messages"]
    assert messages[0] == user("go")
    assert sorted(one["content"] for one in messages[1:]) == ["A", "B"]


async def test_only_the_last_question_of_a_history_is_new(stored: Stored) -> None:
    history = [("system", "be kind"), ("human", "one"), ("ai", "1"), ("human", "two")]
    await Model(answer=lambda _: "2").ainvoke(history)
    [only] = await stored()
    assert only["system_prompt"] == "be kind"
    assert only["turn"] == {
        "prompt": "two",
        "response": "2",
        "messages": [user("two"), assistant("2")],
    }


class Shelf(BaseRetriever):
    """Has one document, or fails."""

    fails: bool = False

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        if self.fails:
            raise KeyError(query)
        return [Document("a bear", metadata={"page": 1})]


FOUND = '[{"page_content":"a bear","metadata":{"page":1}}]'


async def test_a_retriever_is_a_tool(stored: Stored) -> None:
    context = RunnableParallel(context=Shelf(), question=RunnableLambda(lambda x: x))
    prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
    await (context | prompt | Model(answer=lambda _: "big")).ainvoke("what?")
    await Shelf().ainvoke("alone")
    with pytest.raises(KeyError):
        await Shelf(fails=True).ainvoke("broken")
    first, alone, broken = await stored()
    assert first["turn"]["tool_calls"] == [
        {"tool_name": "Shelf", "arguments": '{"query":"what?"}', "result": FOUND}
        | {"is_error": False},
    ]
    assert first["turn"]["response"] == "big"
    assert (alone["turn"]["prompt"], alone["turn"]["response"]) == ("alone", FOUND)
    assert broken["status"] == "failed"
    assert broken["turn"]["tool_calls"][0]["is_error"]


async def test_what_a_model_inside_of_a_tool_says_is_a_child(stored: Stored) -> None:
    model = RunnableLambda(lambda x: x) | Model(answer=lambda _: "inner")

    @tool
    async def helper(question: str) -> str:
        """Help."""
        await Shelf().ainvoke(question)  # of no interest to the conversation outside
        return str((await model.ainvoke(question)).content)

    async def ask(question: str) -> str:
        return str(await helper.ainvoke({"question": question}))

    await RunnableLambda(ask).ainvoke("go")
    outside, inside = await stored()
    assert outside["turn"] == {
        "prompt": "go",
        "response": "inner",
        "tool_calls": [
            {"tool_name": "helper", "arguments": '{"question":"go"}', "result": "inner"}
            | {"is_error": False}
        ],
    }
    assert inside["parent"] == inside["root"] == outside["agent_name"]
    assert inside["metadata"] == {"tool_name": "helper"}
    assert inside["turn"]["messages"] == [user("go"), assistant("inner")]


async def test_a_tool_alone_is_a_turn(stored: Stored) -> None:
    @tool
    def half(number: int) -> float:
        """Halve."""
        return number / 2

    half.invoke({"number": 3})
    [only] = await stored()
    assert only["agent_name"] == "half"
    assert (only["turn"]["prompt"], only["turn"]["response"]) == ('{"number":3}', "1.5")


async def test_models_that_complete_text(stored: Stored) -> None:
    FakeListLLM(responses=["one", "two"]).batch(["a", "b"], {"max_concurrency": 1})
    assert "".join(FakeStreamingListLLM(responses=["three"]).stream("c")) == "three"
    turns = [one["turn"] for one in await stored()]
    assert [(one["prompt"], one["response"]) for one in turns] == [
        *(("a", "one"), ("b", "two"), ("c", "three"))
    ]
    assert turns[0]["messages"] == [user("a"), assistant("one")]


async def test_what_is_no_agent_at_all_is_not_recorded_unless_it_fails(stored: Stored) -> None:
    assert RunnableLambda(lambda x: x).invoke("go") == "go"
    PROMPT.invoke(INPUTS)
    with pytest.raises(KeyError):
        await chain("never").ainvoke({"topic": "bears"})
    [only] = await stored()
    assert only["status"] == "failed"
    assert only["error"].startswith("KeyError: ")
    assert only["turn"]["prompt"] == "bears"
