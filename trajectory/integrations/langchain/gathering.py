"""The trajectory of one run: what its models, tools and retrievers did, as one turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trajectory.door import now_utc
from trajectory.draft import ToolCallDraft, TurnDraft, as_error, as_json, as_text
from trajectory.integrations.langchain import answers, headers, reading
from trajectory.integrations.langchain.answers import Called
from trajectory.integrations.langchain.reading import Said
from trajectory.integrations.langchain.recorder import Recorder
from trajectory.integrations.langchain.steps import MODEL, Ids, Step
from trajectory.models import Trajectory, TrajectoryStatus

_MANY = 1000
"""Of failed model calls, and of different instructions, what is kept of a turn."""


class _Asked(NamedTuple):
    """A tool call that waits until a model hears what it came to."""

    call: Called
    draft: ToolCallDraft
    arguments: list[Any]
    """As JSON, once anyone asked for them."""

    def is_like(self, name: str | None, arguments: Any) -> bool:
        """Say whether a tool that runs with such arguments may be the answer."""
        if self.call.name != name:
            return False
        if not self.arguments:
            self.arguments.append(answers.parsed(self.call.arguments))
        return bool(self.arguments[0] == arguments)


class Gathering:
    """Gathers one run, and offers it to the logger.

    Nothing is offered before something of an agent's happens in the run: a model, a tool, a
    retriever or a node of a graph. Not thread-safe: the handler keeps all in the line of the run.
    """

    def __init__(self, recorder: Recorder, step: Step, outer: Gathering | None) -> None:
        self._recorder = recorder
        self._step = step
        self._outer = outer
        self._start: Trajectory | None = None
        self._turn = TurnDraft(created_at=step.began_at)
        self._heard: set[tuple[str, str]] = set()
        """What was said to the models, so that none of it is stored twice."""
        self._answers: set[str] = set()
        self._asked = ""
        self._prompt: str | None = None
        """What the first model was asked, should the inputs not tell."""
        self._calls: dict[str, _Asked] = {}
        """Those that models made and whose results no model has heard, by id."""
        self._begun: set[str] = set()
        self._results: dict[str, Any] = {}
        self._instructions: set[str] = set()
        self._found: dict[str, Any] = {}
        """Fields of the trajectory that are known late."""
        self._pauses: list[Any] = []
        self._failures: list[str] = []
        self._facts: dict[str, Any] = {}
        self.done = False

    # The start.

    @property
    def opened(self) -> bool:
        """Whether anything of the run was offered."""
        return self._start is not None

    def open(self) -> Trajectory:
        """Offer the start of the trajectory, the first time, and give it."""
        if self._start is None:
            self._start = start = headers.begun(self._step, self._recorder.fields, self._above())
            self._recorder.offer(start)
            with self._recorder.guard:
                self._read_inputs(self._step.inputs)
        return self._start

    @property
    def ids(self) -> Ids | None:
        """What begins inside later is the child of: this one, or what is around it."""
        start = self._start
        return self._step.above if start is None else _ids_of(start)

    def _above(self) -> Ids | None:
        return self._step.above if self._outer is None else _ids_of(self._outer.open())

    def _read_inputs(self, inputs: Any) -> None:
        if self._step.kind == MODEL:
            return  # what it hears is read where it begins
        if reading.resumes(inputs) or (inputs is None and self._step.is_graph):
            self._facts["resumed"] = True
        self._asked = reading.asked(inputs)
        messages = reading.messages_in(inputs)
        new = reading.news(messages)
        if not any(one.role == "user" for one in new):
            # An agent that is handed a conversation: this is what it is to answer.
            last = reading.last_of(messages, "user")
            new = [] if last is None else [last]
        for one in new:
            self._heard.add((one.role, one.text))
            self._add(one)

    def _add(self, one: Said) -> None:
        if one.role == "user" and self._prompt is None:
            self._prompt = one.text
        content = reading.content_of(one.content)
        self._turn.message(one.role, content, call_id=one.call_id)

    # Models.

    def model_begins(self, step: Step, messages: Sequence[Any], params: Mapping[str, Any]) -> None:
        """Read what a model hears: its instructions, its tools, and what is new of the messages."""
        self.open()
        tools = params.get("tools") or params.get("functions")
        if tools and "tools" not in self._found:
            self._found["tools"] = self._recorder.tools_as_json(tools)
        self._read_instructions(step, messages)
        new = reading.news(messages)
        for one in new:
            if one.role == "tool" and one.call_id in self._calls:
                self._tell(one.call_id, one)
        for call_id in [each for each in self._calls if each in self._results]:
            self._tell(call_id)
        if step is self._step:
            step.heard += new
            last = reading.last_of(messages, "user")
            self._prompt = "" if last is None else last.text
            return
        users = [one for one in new if one.role != "tool"]
        known = [(one.role, one.text) in self._heard for one in users]
        for one in users[known.index(True) if True in known else 0 :]:
            if (one.role, one.text) not in self._heard:
                self._heard.add((one.role, one.text))
                step.heard.append(one)

    def _read_instructions(self, step: Step, messages: Sequence[Any]) -> None:
        text = reading.instructions(messages)
        if not text or text in self._instructions or len(self._instructions) >= _MANY:
            return
        self._instructions.add(text)
        if len(self._instructions) == 1:
            self._found["system_prompt"] = text
        else:  # another model of the run was told something else
            step.heard.append(Said("system", text, None, None))

    def model_ends(self, step: Step, result: Any) -> None:
        """Add a model's answer, with what it had heard before it."""
        self._answer(step, answers.generation_of(result), result)

    def model_fails(self, step: Step, error: BaseException | None, result: Any) -> None:
        """Add what there is of an answer that was broken off. Another try is another call."""
        generation = answers.generation_of(result)
        if answers.has_said(generation):
            self._answer(step, generation, result)
        elif step.pieces:
            self._answer(step, None, None)
        else:
            self._add_heard(step)
        if error is not None and headers.ending(error)[1] and len(self._failures) < _MANY:
            self._failures.append(as_error(error))

    def _add_heard(self, step: Step) -> None:
        for one in step.heard:
            self._add(one)
        step.heard = []

    def _answer(self, step: Step, generation: Any, result: Any) -> None:
        self._add_heard(step)
        message = getattr(generation, "message", None)
        content = getattr(message, "content", None)
        if message is None:  # of a model without messages, or broken off
            content = getattr(generation, "text", None) or "".join(step.pieces)
        usage, counts = answers.usage_of(message, result)
        model = answers.told_of(generation, "model_name", "model") or reading.label(
            step.metadata.get("ls_model_name")
        )
        stop = answers.told_of(generation, "finish_reason", "stop_reason", "done_reason")
        self._answers.add(reading.text_of(content))
        position = self._turn.message(
            "assistant",
            reading.content_of(content),
            reasoning=answers.reasoning_of(message),
            model_name=model,
            stop_reason=stop,
            usage=usage,
        )
        self._turn.count(**counts)
        self._turn.set(model_name=model, stop_reason=stop)
        if step.first_token is not None:
            waited = (step.first_token - step.began) * 1000
            self._facts.setdefault("time_to_first_token_ms", round(waited, 3))
        for call in answers.calls_of(message):
            made = self._turn.tool_call(
                call.name, call.arguments, call_id=call.call_id, message_position=position
            )
            made.set(started_at=None)
            self._wait(call, made)

    def _wait(self, call: Called, made: ToolCallDraft) -> None:
        key = call.call_id
        if key is None or key in self._calls:
            key = f"{call.name} {len(self._calls)}"
        self._calls[key] = _Asked(call, made, [])

    # Tools and retrievers.

    def tool_begins(self, step: Step, arguments: Any) -> None:
        """Find the call that a model made, or add one that the program made."""
        self.open()
        key = step.call_id if step.call_id in self._calls else self._call_like(step, arguments)
        if key is not None:
            self._begun.add(key)
            step.call_id, step.call = key, self._calls[key].draft
            step.call.set(started_at=step.began_at)
            return
        name, text = step.name or "unknown", as_text(arguments)
        step.call = self._turn.tool_call(name, text, call_id=step.call_id)
        step.call.set(message_position=None)
        if step.call_id is not None:
            # Its model called it in an earlier run, which stopped for the user.
            self._calls[step.call_id] = _Asked(Called(name, text, step.call_id), step.call, [])

    def _call_like(self, step: Step, arguments: Any) -> str | None:
        """Find the call that a tool answers where the program runs it by hand, and gives no id."""
        read = as_json(arguments)
        likely = (
            key
            for key, asked in self._calls.items()
            if key not in self._begun and asked.is_like(step.name, read)
        )
        return next(likely, None)

    def tool_ends(self, step: Step, output: Any) -> None:
        """Add what a tool returned."""
        if step.call is None:
            return
        said = reading.tool_message(output, step.call_id)
        text = as_text(reading.plain(output)) if said is None else said.text
        if said is not None and said.failed:
            step.call.failed(text, latency_ms=step.elapsed_ms)
        else:
            step.call.succeeded(text, latency_ms=step.elapsed_ms)
        if step.call_id is not None:
            self._results[step.call_id] = text if said is None else said.content

    def tool_fails(self, step: Step, error: BaseException) -> None:
        """Add how a tool failed; one that pauses the graph, or is cancelled, has no result."""
        if step.call is None or headers.ending(error)[1] is None:
            return
        step.call.failed(error, latency_ms=step.elapsed_ms)
        if step.call_id is not None:
            self._results[step.call_id] = as_error(error)

    def _tell(self, key: str, said: Said | None = None) -> None:
        """Add the message that tells a model what its call came to."""
        call, draft, _ = self._calls.pop(key)
        content = self._results.pop(key, None)
        if said is not None:
            if content is None:  # the program ran the tool in its own way
                draft.set(result=said.text, is_error=said.failed)
            content = said.content
        self._turn.message("tool", reading.content_of(content), call_id=call.call_id)

    # The end.

    def pauses(self, values: Sequence[Any]) -> None:
        """Note what the user is asked, where a graph stops for an answer."""
        self._pauses += values[: _MANY - len(self._pauses)]

    def tries_again(self) -> None:
        """Count that a model's own code tries again."""
        self._facts["retries"] = self._facts.get("retries", 0) + 1

    def end(
        self,
        status: TrajectoryStatus | None,
        error: str | None = None,
        output: Any = None,
        inputs: Any = None,
    ) -> None:
        """Offer the turn, and the end. Without a status the end stays unknown."""
        self.done = True
        start, turn, guard = self.open(), self._turn, self._recorder.guard
        prompt: str | None = self._asked
        with guard:
            for call_id in [each for each in self._calls if each in self._results]:
                self._tell(call_id)
        with guard:
            response = self._response(output)
            if response is not None:
                turn.response = response
        with guard:
            prompt = prompt if inputs is None else reading.asked(inputs)
        if self._failures:
            self._facts["failed_model_calls"] = self._failures
        if self._pauses:
            turn.set(stop_reason="interrupt")
        latency, prompt = self._step.elapsed_ms, prompt or self._prompt or ""
        turn.set(prompt=prompt, latency_ms=latency, metadata=self._facts)
        try:
            self._recorder.offer(turn.turn(start.id, 1, error=error))
        finally:
            if status is not None:
                self._recorder.offer(self._ended(start, status, error))

    def _ended(self, start: Trajectory, status: TrajectoryStatus, error: str | None) -> Trajectory:
        end = Trajectory(
            id=start.id,
            created_at=start.created_at,
            status=status,
            error=error,
            ended_at=now_utc(),
            **self._found,
        )
        # The mark of what was cleaned in it would differ from the metadata of the start.
        return end.replace(metadata={}) if end.cleaned else end

    def _response(self, output: Any) -> str | None:
        """Give the answer; None for what the last model said."""
        if self._pauses:
            asked = [reading.plain(each) for each in self._pauses]
            return as_text(asked[0] if len(asked) == 1 else asked)
        if self._step.kind == MODEL:
            return None
        messages = reading.messages_in(output)
        last = reading.said(messages[-1]) if messages else None
        if last is not None and last.role == "assistant":
            text = last.text
            if text and text not in self._answers:
                # A node wrote it, or an inner agent said it.
                self._turn.message("assistant", reading.content_of(last.content))
                self._turn.set(stop_reason=None)
            return text
        return reading.answered(output)


def _ids_of(start: Trajectory) -> Ids:
    return start.id, start.root_trajectory_id or start.id
