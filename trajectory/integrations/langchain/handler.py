"""The callback handler, for runs of both kinds, with `await` and without."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Self
from uuid import UUID

from trajectory.forks import forget_in_child
from trajectory.guard import Guard
from trajectory.integrations import extra
from trajectory.integrations.langchain import headers, reading
from trajectory.integrations.langchain.recorder import Recorder
from trajectory.integrations.langchain.runs import Runs
from trajectory.integrations.langchain.steps import (
    CHAIN,
    MODEL,
    RETRIEVER,
    TOOL,
    Step,
    beneath_tool,
    outer,
)
from trajectory.integrations.offers import Offers

with extra("langchain"):
    from langchain_core.callbacks import BaseCallbackHandler


class Deaf(BaseCallbackHandler):
    """What is asked for a handler at the instant in which none is attached any more: no handler."""

    def on_chat_model_start(self, *_about: Any, **_told: Any) -> None:
        """Hear nothing; the base would have it told in another way."""


class TrajectoryCallbackHandler(Deaf):
    """Records what runs with it: `config={"callbacks": [TrajectoryCallbackHandler(logger)]}`.

    One serves `invoke` and `ainvoke`, any number of runs at once, in any threads. It neither blocks
    nor raises. `fields` are those of `Trajectory` that all have (`spec_id`, `agent_name`,
    `agent_version`, `session_id`, `user_id`, `tags`, `metadata`), and win over what is found in the
    run, but for the `agent_name` of inner trajectories; a wrong one raises `InvalidTurnError` here.
    """

    run_inline = True  # an executor's threads would bring what happens in another order
    raise_error = False

    def __init__(self, logger: Offers, **fields: Any) -> None:
        super().__init__()
        self._guard = Guard("the LangChain integration")
        self._runs = Runs(Recorder(logger, headers.checked_fields(fields), self._guard))
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: the runs are the parent's, and so is who is at work on one."""
        self._runs.forget()

    def __copy__(self) -> Self:
        return self  # a copy of a config is for the same runs

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self

    @property
    def ignore_custom_event(self) -> bool:
        """What a program dispatches of its own has no place in a trajectory."""
        return True

    # Chains, graphs, and the nodes of graphs.

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **told: Any) -> None:
        """Begin a chain, a graph or a node of one."""
        with self._guard:
            self._runs.begin(CHAIN, run_id, serialized, inputs, told, then=self._chain_begins)

    def _chain_begins(self, step: Step) -> None:
        if step.is_node:
            if step.parent is not None:
                # Its parent is a graph; nothing else tells that of an inner one.
                step.parent.is_graph = True
                self._runs.own(step.parent).open()
        elif step.parent is None and step.metadata.get("ls_integration") == "langgraph":
            step.is_graph = True
            self._runs.own(step).open()

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **told: Any) -> None:
        """End a chain, a graph or a node of one."""
        with self._guard:
            self._end(run_id, self._chain_ends, outputs, None, told.get("inputs"))

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        """End one that failed, was cancelled, or pauses."""
        with self._guard:
            self._end(run_id, self._chain_ends, None, error, told.get("inputs"))

    def _chain_ends(
        self, step: Step, output: Any, error: BaseException | None, inputs: Any
    ) -> None:
        with self._guard:
            if error is not None and step.is_node and (above := outer(step)) is not None:
                above.pauses(headers.pauses(error))
        self._runs.finish(step, output=output, error=error, inputs=inputs)

    # Models.

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, **told: Any
    ) -> None:
        """Begin a chat model's call."""
        with self._guard:
            self._begin_model(run_id, serialized, messages[0], told)

    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: UUID, **told: Any) -> None:
        """Begin a call of a model that completes text."""
        with self._guard:
            self._begin_model(run_id, serialized, prompts[:1], told)

    def _begin_model(
        self, run_id: UUID, serialized: Any, heard: Sequence[Any], told: dict[str, Any]
    ) -> None:
        params = told.get("invocation_params")
        params = params if isinstance(params, Mapping) else {}
        then = partial(self._model_begins, heard=heard, params=params)
        self._runs.begin(MODEL, run_id, serialized, None, told, then=then)

    def _model_begins(self, step: Step, heard: Sequence[Any], params: Mapping[str, Any]) -> None:
        below = beneath_tool(step)
        step.target = outer(step) if below is None else self._runs.own(below)
        if step.gathering is not None:
            step.target = step.gathering
        if step.target is not None and not step.target.done:
            step.target.model_begins(step, heard, params)

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **_told: Any) -> None:
        """Keep a piece of a streamed answer, should there be no more than its pieces."""
        with self._guard:
            step = self._runs.get(run_id)
            if step is not None:
                step.token(token)

    def on_llm_end(self, response: Any, *, run_id: UUID, **_told: Any) -> None:
        """End a model's call."""
        with self._guard:
            self._end(run_id, self._model_ends, response)

    def _model_ends(self, step: Step, response: Any) -> None:
        with self._guard:
            if step.target is not None and not step.target.done:
                step.target.model_ends(step, response)
        self._runs.finish(step)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        """End a model's call that failed, was cancelled, or whose stream nobody reads on."""
        with self._guard:
            self._end(run_id, self._model_fails, error, told.get("response"))

    def _model_fails(self, step: Step, error: BaseException, response: Any) -> None:
        with self._guard:
            if step.target is not None and not step.target.done:
                step.target.model_fails(step, error, response)
        self._runs.finish(step, error=error)

    def on_retry(self, retry_state: Any, *, run_id: UUID, **_told: Any) -> None:  # noqa: ARG002
        """Count that a model's own code tries again."""
        with self._guard:
            step = self._runs.get(run_id)
            if step is not None:
                step.line.do(self._tries_again, step)

    def _tries_again(self, step: Step) -> None:
        if step.target is not None and not step.target.done:
            step.target.tries_again()

    # Tools and retrievers.

    def on_tool_start(self, serialized: Any, input_str: Any, *, run_id: UUID, **told: Any) -> None:
        """Begin a tool."""
        with self._guard:
            inputs = told.get("inputs")
            arguments = input_str if inputs is None else inputs
            self._begin_tool(TOOL, run_id, serialized, arguments, told)

    def on_tool_end(self, output: Any, *, run_id: UUID, **_told: Any) -> None:
        """End a tool."""
        with self._guard:
            self._end(run_id, self._tool_ends, output, None)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **_told: Any) -> None:
        """End a tool that failed."""
        with self._guard:
            self._end(run_id, self._tool_ends, None, error)

    def on_retriever_start(self, serialized: Any, query: Any, *, run_id: UUID, **told: Any) -> None:
        """Begin a retriever."""
        with self._guard:
            self._begin_tool(RETRIEVER, run_id, serialized, {"query": query}, told)

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **_told: Any) -> None:
        """End a retriever."""
        with self._guard:
            self._end(run_id, self._tool_ends, documents, None)

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **_told: Any) -> None:
        """End a retriever that failed."""
        with self._guard:
            self._end(run_id, self._tool_ends, None, error)

    def _begin_tool(
        self, kind: str, run_id: UUID, serialized: Any, arguments: Any, told: dict[str, Any]
    ) -> None:
        call_id = reading.label(told.get("tool_call_id"))
        then = partial(self._tool_begins, arguments=arguments, call_id=call_id)
        self._runs.begin(kind, run_id, serialized, arguments, told, then=then)

    def _tool_begins(self, step: Step, arguments: Any, call_id: str | None) -> None:
        step.call_id = call_id
        # What a tool does inside is its own affair, but for models: see `_model_begins`.
        if beneath_tool(step) is None:
            step.target = step.gathering or outer(step)
        if step.target is not None and not step.target.done:
            step.target.tool_begins(step, arguments)

    def _tool_ends(self, step: Step, output: Any, error: BaseException | None) -> None:
        with self._guard:
            if step.target is None or step.target.done:
                pass
            elif error is None:
                step.target.tool_ends(step, output)
            else:
                step.target.tool_fails(step, error)
        self._runs.finish(step, output=output, error=error)

    # The end of any.

    def _end(self, run_id: UUID, ends: Callable[..., None], *about: Any) -> None:
        step = self._runs.get(run_id)
        if step is not None:
            step.ended = perf_counter()
            step.line.do(self._retire, step, ends, *about)

    def _retire(self, step: Step, ends: Callable[..., None], *about: Any) -> None:
        if self._runs.retire(step):
            ends(step, *about)
