"""The SDK's client and its `query`, which record what they do."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Any, cast

from trajectory.errors import InvalidTurnError
from trajectory.guard import Guard
from trajectory.integrations import extra
from trajectory.integrations.claude_agent_sdk.offers import Offers
from trajectory.integrations.claude_agent_sdk.recording import Recording
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

_guard = Guard("the Claude Agent SDK integration")


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
        self._unhooked = self.options

    async def connect(self, prompt: str | AsyncIterable[dict[str, Any]] | None = None) -> None:
        """Connect, as `ClaudeSDKClient` does."""
        self._finish(None)
        self._unhooked = self.options
        recording = Recording(self._logger, self.options, self._fields)
        self.options = _begun(recording, self.options)
        try:
            await super().connect(_watched(recording, prompt))
        except BaseException as error:
            _end(recording, error)
            raise
        self._recording, self._ending = recording, None

    async def query(
        self, prompt: str | AsyncIterable[dict[str, Any]], session_id: str = "default"
    ) -> None:
        """Send a prompt, as `ClaudeSDKClient` does."""
        if self._recording is not None:
            prompt = cast("Any", _watched(self._recording, prompt))
        await super().query(prompt, session_id)

    async def receive_messages(self) -> AsyncIterator[Message]:
        """Receive all messages, as `ClaudeSDKClient` does; `receive_response` uses it."""
        recording = self._recording
        try:
            async with aclosing(cast("Any", super().receive_messages())) as messages:
                async for message in messages:
                    if recording is not None:
                        with _guard:
                            recording.saw(message)
                    yield message
        except Exception as error:
            self._ending = error
            raise

    async def interrupt(self) -> None:
        """Ask for the turn to end, as `ClaudeSDKClient` does."""
        if self._recording is not None:
            with _guard:
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
        self.options = self._unhooked
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
            async for message in messages:
                with _guard:
                    recording.saw(message)
                yield message
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
    with _guard:
        recording.begin()

    async def listen(told: Any, tool_use_id: str | None, _context: Any) -> Any:
        with _guard:
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
        with _guard:
            recording.sent(prompt)
    return prompt


async def _passed_on(
    recording: Recording, prompts: AsyncIterable[dict[str, Any]]
) -> AsyncIterator[dict[str, Any]]:
    async for prompt in prompts:
        with _guard:
            recording.sent(prompt)
        yield prompt


def _end(recording: Recording, error: BaseException | None) -> None:
    with _guard:
        recording.end(error)
