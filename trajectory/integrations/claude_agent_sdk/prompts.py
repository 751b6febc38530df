"""Which prompts are whose: those that a program sends, and those that Claude Code takes on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trajectory.integrations.claude_agent_sdk.reading import told_prompt

MAX_WAITING = 1_000
"""Of prompts that were sent and not answered, so many are remembered."""


class Prompt(NamedTuple):
    """What the user said."""

    text: str
    content: Any


class Taken(NamedTuple):
    """The prompts of a turn, and the answer as the hook at its end told it."""

    prompts: list[Prompt]
    answer: str | None


@dataclass(slots=True, eq=False)
class _Submitted:
    prompts: list[str] = field(default_factory=list)
    answer: str | None = None
    sure: int = 1
    """So many of the prompts are known to be of the turn that ends next."""


class Prompts:
    """Prompts that wait for the end of their turn.

    A program may send the next one while a turn runs: Claude Code then takes it into that turn, or
    begins another with it, and its hooks tell which. Without hooks each turn has one.
    """

    def __init__(self) -> None:
        self._sent: deque[Prompt] = deque(maxlen=MAX_WAITING)
        self._submitted: deque[_Submitted] = deque(maxlen=MAX_WAITING)
        self._is_stopped = True

    def __bool__(self) -> bool:
        return bool(self._sent or self._submitted)

    def sent(self, message: Any) -> Prompt:
        """Take a prompt that the program sends."""
        prompt = Prompt(*told_prompt(message))
        self._sent.append(prompt)
        return prompt

    def took_back(self, prompt: Prompt) -> None:
        """Forget a prompt that was `sent` and didn't get there."""
        for place, one in enumerate(self._sent):
            if one is prompt:
                del self._sent[place]
                return

    def submitted(self, text: str, *, is_inside: bool) -> None:
        """Take a prompt that a hook tells of.

        `is_inside`: the turn that ends next is known to run, as no message waits to be read.
        """
        if self._is_stopped:
            self._submitted.append(_Submitted())
            self._is_stopped = False
        one = self._submitted[-1]
        one.prompts.append(text)
        if is_inside:
            one.sure = len(one.prompts)

    def interrupted(self) -> None:
        """Note that the turn that runs is to end: what comes now is of the next."""
        if self._submitted:
            one = self._submitted[-1]
            one.sure = max(one.sure, len(one.prompts))

    def stopped(self, answer: str | None) -> None:
        """Take what the hook at the end of a turn tells."""
        self._is_stopped = True
        if self._submitted:
            self._submitted[-1].answer = answer

    def texts(self) -> list[str]:
        """Give the texts of those that wait."""
        told = [text for one in self._submitted for text in one.prompts]
        return told + [one.text for one in self._sent]

    def take(self, *, is_injected: bool, broke_off: bool, said: str) -> Taken:
        """Give those of the turn that ends; one that nobody asked for may have none.

        `broke_off`: it ended without the hook for that, so what came after may be of the next.
        `said`: its last words.
        """
        if not self._submitted:
            return Taken([self._sent.popleft()] if self._sent and not is_injected else [], None)
        one = self._submitted.popleft()
        if broke_off and len(one.prompts) > one.sure and not (said and said == one.answer):
            self._submitted.appendleft(_Submitted(one.prompts[one.sure :], one.answer))
            one = _Submitted(one.prompts[: one.sure])
        self._is_stopped = self._is_stopped or not self._submitted
        return Taken([self._as_sent(text) for text in one.prompts], one.answer)

    def _as_sent(self, text: str) -> Prompt:
        for one in self._sent:
            if one.text == text:
                self._sent.remove(one)
                return one
        if self._sent:
            self._sent.popleft()  # Claude Code made something else of it
        return Prompt(text, text)
