"""The turns of one trajectory, put together of the calls of models and tools in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from trajectory.genai import own
from trajectory.genai.calling import Called, call_of
from trajectory.genai.lenient import amount, instant
from trajectory.genai.said import Call, Said
from trajectory.genai.steps import Step, StepKind
from trajectory.genai.usage import Tokens
from trajectory.models import Message, Role, Turn
from trajectory.values import INT64_MAX

_TOOL_REASONS = frozenset({"tool_calls", "tool_call", "tool_use", "function_call"})
_LOOKED_BACK = 8
"""So many earlier calls of models may a call go on from, where several run at once."""
_FAILURES = 20


@dataclass(slots=True)
class _Open:
    """A turn in the making."""

    number: int
    began_ns: int
    ended_ns: int
    messages: list[Message] = field(default_factory=list)
    calls: list[Called] = field(default_factory=list)
    heard: set[int] = field(default_factory=set)
    models: list[Step] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    prompt: str | None = None
    ran_tool: bool = False
    """Since the last call of a model."""

    @property
    def is_answered(self) -> bool:
        """Whether the last answer leaves nothing to do."""
        if not self.models:
            return False
        last = self.models[-1]
        if last.answer is not None:
            return not last.answer.calls
        return last.stop_reason not in _TOOL_REASONS and not self.ran_tool and not last.error


class Composing:
    """Puts the turns of one trajectory together, step by step in the order of their starts.

    `run` is the run that the steps belong to, if its span is known: the run of an agent is one
    turn. Else a turn begins where a user says something new, once the last question is answered.
    """

    def __init__(self, trajectory_id: UUID, run: Step | None, first_number: int = 1) -> None:
        self._id = trajectory_id
        self._run = run
        self._next = first_number
        self._is_one = run is not None and run.kind is StepKind.AGENT
        self._turns: dict[int, _Open] = {}
        self._turn: _Open | None = None
        self._before: list[Step] = []
        self._instructions: set[str] = set()
        self.system_prompt = run.heard.instructions if run is not None else None
        self.tools: Any = run.tools if run is not None else None
        if self.system_prompt is not None:
            self._instructions.add(self.system_prompt)

    def add(self, step: Step) -> None:
        """Add the call of a model or a tool."""
        if step.kind is StepKind.TOOL:
            self._add_tool(step)
        else:
            self._add_model(step)

    def turns(self, *, has_others: bool = False) -> Iterator[Turn]:
        """Give the turns. `has_others`: others, children or earlier turns, tell of the run too."""
        if self._run is not None and self._is_told_by(self._run, has_others=has_others):
            self._begin(self._run)
        for turn in self._turns.values():
            yield self._made(turn, has_others=has_others)

    def _is_told_by(self, run: Step, *, has_others: bool) -> bool:
        """Say whether a run in which nothing happened is a turn by what its own span tells."""
        if self._turns or run.own is not None:
            return False
        if has_others:
            return run.heard.asked is not None and run.answer is not None
        said = run.heard.asked is not None or run.answer is not None
        return said or run.tokens != Tokens() or run.error is not None

    # Calls of models.

    def _add_model(self, step: Step) -> None:
        news, goes_on = self._news(step)
        if self._begins_turn(step, news, goes_on=goes_on):
            news = self._first_of(step, news)
            self._begin(step)
        turn = self._open(step)
        if step.own is not None:
            news = self._stood(turn, step, news)
        self.tools = self.tools or step.tools
        self._instruct(turn, step)
        for said in news:
            self._hear(turn, said, step)
        turn.models.append(step)
        turn.ran_tool = False
        turn.ended_ns = max(turn.ended_ns, step.span.end_ns)
        self._before = [*self._before[1 - _LOOKED_BACK :], step]
        if step.answer is None and step.error is not None:
            if len(turn.failures) < _FAILURES:
                turn.failures.append(step.error)
            return
        if step.own is not None and own.message_position(step) is None:
            return  # a turn without messages
        answer = step.answer or Said(Role.ASSISTANT)
        at = len(turn.messages)
        turn.messages.append(
            Message(
                role=Role.ASSISTANT,
                content=answer.content,
                reasoning=answer.reasoning,
                model_name=step.model_name,
                stop_reason=step.stop_reason,
                usage=_usage(step.tokens),
                created_at=instant(step.span.end_ns),
            )
        )
        if step.own is None:
            turn.calls += (Called(call, at) for call in answer.calls)

    def _stood(self, turn: _Open, step: Step, news: list[Said]) -> list[Said]:
        """Of what a span of our own tells, give the messages that stood in the turn.

        What is more was put there for those who read spans: the prompt, results of calls.
        """
        at = own.message_position(step)
        room = 0 if at is None else max(at - len(turn.messages), 0)
        asked = next((said for said in news if said.role is Role.USER), None)
        if turn.prompt is None and asked is not None:
            turn.prompt = asked.text
        return news[:room]

    def _news(self, step: Step) -> tuple[list[Said], bool]:
        """Give what a model was told for the first time, and whether it goes on from before."""
        heard = step.heard
        if step.own is not None:
            return [said for _, said in heard.tail], False
        for before in reversed(self._before):
            known = before.heard.keys
            if known and heard.keys[: len(known)] == known:
                if len(known) == len(heard.keys) and not self._is_one and before.answer is not None:
                    break  # asked again in the same words, by one who leaves the history to others
                return [said for at, said in heard.tail if at >= len(known)], True
        turn = self._turn
        told = turn.heard if turn is not None and (self._is_one or not turn.is_answered) else ()
        return [said for _, said in heard.tail if said.key not in told], False

    def _begins_turn(self, step: Step, news: list[Said], *, goes_on: bool) -> bool:
        if (number := own.turn_number(step)) is not None:
            return number not in self._turns
        turn = self._turn
        if turn is None:
            return True
        if self._is_one:
            return False
        if not step.heard.keys:
            return turn.is_answered
        asks = any(said.role is Role.USER for said in news)
        return asks and (turn.is_answered or not goes_on)

    def _first_of(self, step: Step, news: list[Said]) -> list[Said]:
        """Give what a turn begins with: of a conversation handed over, the last question."""
        if any(said.role is Role.USER for said in news) or step.heard.asked is None:
            return news
        if self._turn is not None or step.own is not None:
            return news
        return [step.heard.asked]

    def _begin(self, step: Step) -> None:
        number = own.turn_number(step)
        if number is None:
            number = self._next
        self._next = max(self._next, number + 1)
        # The run of an agent is its turn; spans of our own have more turns in one run.
        span = (self._run if self._is_one and step.own is None and self._run else step).span
        self._turn = _Open(number, span.start_ns, max(span.end_ns, span.start_ns))
        self._turns[number] = self._turn

    def _open(self, step: Step) -> _Open:
        """Give the turn that a step belongs to."""
        number = own.turn_number(step)
        if number is not None and number in self._turns:
            self._turn = self._turns[number]
        if self._turn is None or (number is not None and number != self._turn.number):
            self._begin(step)
        assert self._turn is not None  # noqa: S101 - it has just begun
        return self._turn

    def _instruct(self, turn: _Open, step: Step) -> None:
        said = step.heard.instructions
        if said is None or said in self._instructions:
            return
        self._instructions.add(said)
        if self.system_prompt is None:
            self.system_prompt = said
        else:
            turn.messages.append(Message(role=Role.SYSTEM, content=said))

    def _hear(self, turn: _Open, said: Said, step: Step) -> None:
        turn.heard.add(said.key)
        if said.role is Role.USER and turn.prompt is None:
            turn.prompt = said.text
        if said.role is Role.TOOL and said.content is not None:
            for called in turn.calls:
                if called.call.call_id == said.call_id is not None and called.answer is None:
                    called.answer = said.text
                    break
        turn.messages.append(
            Message(
                role=said.role,
                content=said.content,
                call_id=said.call_id,
                created_at=instant(step.span.start_ns),
            )
        )

    # Calls of tools.

    def _add_tool(self, step: Step) -> None:
        turn = self._open(step)
        turn.ran_tool = True
        turn.ended_ns = max(turn.ended_ns, step.span.end_ns)
        if step.own is not None:
            call = Call(step.call_id, step.tool_name or "tool", step.arguments)
            turn.calls.append(Called(call, own.message_position(step), step))
            return
        everywhere = (called for each in self._turns.values() for called in each.calls)
        called = call_of(step, turn.calls, everywhere)
        if called is None:
            said = [at for at, m in enumerate(turn.messages) if m.role is Role.ASSISTANT]
            name = step.tool_name or "tool"
            called = Called(Call(step.call_id, name, step.arguments), said[-1] if said else None)
            turn.calls.append(called)
        called.ran(step)

    # The turn.

    def _made(self, turn: _Open, *, has_others: bool) -> Turn:
        run = self._run if len(self._turns) == 1 else None
        models = turn.models
        last = models[-1] if models else None
        tokens, count, cost = _summed(models)
        if run is not None and run.own is None:
            if tokens == Tokens() and not (has_others and not models):
                tokens = run.tokens
                count = run.token_count if count is None else count
            cost = run.cost_usd if cost is None else cost
        asked = run.heard.asked if run is not None else None
        prompt = turn.prompt if turn.prompt is not None else (asked.text if asked else "")
        error = last.error if last is not None else None
        if self._is_one and run is not None and run.own is None:
            error = run.error
        fields: dict[str, Any] = {
            "trajectory_id": self._id,
            "turn_number": turn.number,
            "prompt": prompt,
            "response": _response(models, run),
            "latency_ms": (turn.ended_ns - turn.began_ns) / 1e6,
            "created_at": instant(turn.began_ns),
            "model_name": _last(models, "model_name") or (run.model_name if run else None),
            "stop_reason": last.stop_reason if last is not None else None,
            "input_tokens": tokens.input,
            "output_tokens": tokens.output,
            "cache_read_tokens": tokens.cache_read,
            "cache_write_tokens": tokens.cache_write,
            "reasoning_tokens": tokens.reasoning,
            "token_count": count,
            "cost_usd": cost,
            "error": error,
            "messages": tuple(turn.messages),
            "tool_calls": tuple(called.tool_call() for called in sorted(turn.calls, key=_place)),
        }
        if turn.failures:
            fields["metadata"] = {"failed_model_calls": turn.failures}
        return Turn(**{**fields, **own.turn_fields(models)})


def _place(called: Called) -> int:
    """Order the calls of spans of our own by their positions; others stay in their order."""
    return (own.call_position(called.run) if called.run is not None else None) or 0


def _response(models: list[Step], run: Step | None) -> str:
    """Give the last answer; of a run that ended with a call, what the run itself gave."""
    answers = [step.answer for step in models if step.answer is not None]
    if answers and answers[-1].text and not answers[-1].calls:
        return answers[-1].text
    if run is not None and run.answer is not None and run.answer.text:
        return run.answer.text
    return next((answer.text for answer in reversed(answers) if answer.text), "")


def _last(steps: list[Step], name: str) -> Any:
    return next((found for s in reversed(steps) if (found := getattr(s, name)) is not None), None)


def _usage(tokens: Tokens) -> dict[str, int] | None:
    known = {
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_tokens": tokens.cache_write,
        "reasoning_tokens": tokens.reasoning,
    }
    return {name: count for name, count in known.items() if count is not None} or None


def _summed(steps: list[Step]) -> tuple[Tokens, int | None, float | None]:
    sums = (_sum(each) for each in zip(*(step.tokens for step in steps), strict=True))
    tokens = Tokens(*sums)
    # The total counts where nothing better is known.
    counts = [step.token_count for step in steps]
    costs = [step.cost_usd for step in steps if step.cost_usd is not None]
    cost = amount(sum(costs)) if costs else None
    is_known = tokens.input is not None or tokens.output is not None
    return tokens, None if is_known else _sum(counts), cost


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return min(sum(known), INT64_MAX) if known else None
