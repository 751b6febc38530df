"""The SDK's client and its `query`, which record what they do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, cast

from trajectory.errors import InvalidTurnError
from trajectory.integrations import extra
from trajectory.integrations.claude_agent_sdk.offers import Offers
from trajectory.integrations.claude_agent_sdk.prompts import Prompt
from trajectory.integrations.claude_agent_sdk.recording import GUARD, Recording
from trajectory.models import Trajectory

with extra("claude-agent-sdk"):
    from claude_agent_sdk import (
        ClaudeAgentOptions,
        ClaudeSDKClient,
        HookMatcher,
        Message,
        Transport,
        query,
    )

EVENTS = (
    *("UserPromptSubmit", "PreToolUse", "PostToolUse", "PostToolUseFailure"),
    *("SubagentStop", "PreCompact", "Stop"),
)
"""The hooks that are added to the program's own."""

_OURS = frozenset({"id", "status", "error", "created_at", "ended_at", "source_format"})


class RecordedClient(ClaudeSDKClient):
    """A `ClaudeSDKClient` that records: `RecordedClient(options, logger=logger)`.

    From `connect` to `disconnect` it is one trajectory, each prompt with its answer a turn, each
    sub-agent a trajectory below it. `logger` is any of ours, open. `fields` are those of
    `Trajectory`: `spec_id`, `run_id`, `user_id`, `agent_name`, `metadata`...

    Hooks are added behind the program's own; they decide nothing. What is not read of the messages
    is not recorded, but for what the hooks tell. Nothing that fails here reaches the program.

    Raises `InvalidTurnError` for a field that is none, or is ours to set.
    """

    def __init__(
        self,
        options: ClaudeAgentOptions | None = None,
        transport: Transport | None = None,
        *,
        logger: Offers,
        **fields: Any,
    ) -> None:
        super().__init__(options, transport)
        self._logger, self._fields = logger, _checked(fields)
        self._recording: Recording | None = None
        self._ending: BaseException | None = None

    async def connect(self, prompt: str | AsyncIterable[dict[str, Any]] | None = None) -> None:
        """Connect, as `ClaudeSDKClient` does."""
        self._finish(None)
        unhooked = self.options
        recording = Recording(self._logger, unhooked, self._fields)
        self.options = hooked = _begun(recording, unhooked)
        try:
            await super().connect(_watched(recording, prompt))
        except BaseException as error:
            _end(recording, error)
            raise
        finally:
            if self.options is hooked:  # else the program has set others meanwhile
                self.options = unhooked
        self._recording, self._ending = recording, None

    async def query(
        self, prompt: str | AsyncIterable[dict[str, Any]], session_id: str = "default"
    ) -> None:
        """Send a prompt, as `ClaudeSDKClient` does."""
        recording = self._recording
        if recording is None:
            await super().query(prompt, session_id)
        elif isinstance(prompt, AsyncIterable):
            async with aclosing(_passed_on(recording, prompt)) as prompts:
                await super().query(prompts, session_id)
        else:
            with _noted(recording, prompt):
                await super().query(prompt, session_id)

    async def receive_messages(self) -> AsyncIterator[Message]:
        """Receive all messages, as `ClaudeSDKClient` does; `receive_response` uses it."""
        recording = self._recording
        try:
            async with aclosing(cast("Any", super().receive_messages())) as messages:
                if recording is not None:
                    recording.is_awaited = True
                async for message in messages:
                    self._ending = None  # it goes on
                    if recording is not None:
                        recording.is_awaited = False
                        with GUARD:
                            recording.saw(message)
                    yield message
                    if recording is not None:
                        recording.is_awaited = True
        except Exception as error:
            self._ending = error
            raise
        finally:
            if recording is not None:
                recording.is_awaited = False

    async def interrupt(self) -> None:
        """Ask for the turn to end, as `ClaudeSDKClient` does."""
        if self._recording is not None:
            with GUARD:
                self._recording.interrupts()
        await super().interrupt()

    async def disconnect(self) -> None:
        """Disconnect, as `ClaudeSDKClient` does; the trajectory ends here."""
        try:
            await super().disconnect()
        finally:
            self._finish(self._ending)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        self._ending = exc_val or self._ending
        return await super().__aexit__(exc_type, exc_val, exc_tb)

    def _finish(self, error: BaseException | None) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            _end(recording, error)


async def recorded_query(
    *,
    prompt: str | AsyncIterable[dict[str, Any]],
    options: ClaudeAgentOptions | None = None,
    transport: Transport | None = None,
    logger: Offers,
    **fields: Any,
) -> AsyncIterator[Message]:
    """Do what the SDK's `query` does, and record it as one trajectory; see `RecordedClient`."""
    options = ClaudeAgentOptions() if options is None else options
    recording = Recording(logger, options, _checked(fields))
    hooked = _begun(recording, options)
    watched = cast("Any", _watched(recording, prompt))
    ending: BaseException | None = None
    try:
        made = query(prompt=watched, options=hooked, transport=transport)
        async with aclosing(cast("Any", made)) as messages:
            recording.is_awaited = True
            async for message in messages:
                recording.is_awaited = False
                with GUARD:
                    recording.saw(message)
                yield message
                recording.is_awaited = True
    except BaseException as error:
        ending = error
        raise
    finally:
        _end(recording, ending)


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    for name in fields:
        if name in _OURS:
            raise InvalidTurnError(f"{name} is set while the client runs; leave it out")
    Trajectory(**fields)
    return {name: value for name, value in fields.items() if value is not None}


def _begun(recording: Recording, options: ClaudeAgentOptions) -> ClaudeAgentOptions:
    """Begin, and give the options with our hooks behind those that are there."""
    with GUARD:
        recording.begin()

    async def listen(told: Any, tool_use_id: str | None, _context: Any) -> Any:
        with GUARD:
            recording.hook(told, tool_use_id)
        return {}

    hooks: dict[Any, list[HookMatcher]] = {**(options.hooks or {})}
    for event in EVENTS:
        hooks[event] = [*hooks.get(event, ()), HookMatcher(hooks=[listen])]
    return replace(options, hooks=hooks)


def _watched(
    recording: Recording, prompt: str | AsyncIterable[dict[str, Any]] | None
) -> str | AsyncIterable[dict[str, Any]] | None:
    """Note each prompt as it is sent."""
    if isinstance(prompt, AsyncIterable):
        return _passed_on(recording, prompt)
    if prompt is not None:
        with GUARD:
            recording.sent(prompt)
    return prompt


async def _passed_on(
    recording: Recording, prompts: AsyncIterable[dict[str, Any]]
) -> AsyncGenerator[dict[str, Any]]:
    async for prompt in prompts:
        with _noted(recording, prompt):
            yield prompt


@contextmanager
def _noted(recording: Recording, prompt: Any) -> Iterator[None]:
    """Note a prompt, which is sent in the block; one that can't be sent is taken back.

    It is noted before: Claude Code may answer while the SDK still waits for its pipe.
    """
    noted: Prompt | None = None
    with GUARD:
        noted = recording.sent(prompt)
    try:
        yield
    except BaseException:
        if noted is not None:
            with GUARD:
                recording.took_back(noted)
        raise


def _end(recording: Recording, error: BaseException | None) -> None:
    with GUARD:
        recording.end(error)
