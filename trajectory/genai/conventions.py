"""The names of OpenTelemetry's GenAI conventions, pinned: a table of our own, with its version.

The conventions are still "in development" and have moved once already, and packages that hold the
names mark them as deprecated. A newer version is taken over here, by hand, and `VERSION` says so.
"""

from __future__ import annotations

from enum import StrEnum

VERSION = "0.1.0"
"""Of the repository open-telemetry/semantic-conventions-genai, whose first release this is.

Since v1.41.0 of the general conventions, where these names stood before, the tokens written to a
cache have a new name, the spans of agents lost provider and version, and an output message's
`finish_reason` gave way to `gen_ai.response.finish_reasons`.
"""


class Operation(StrEnum):
    """What a span does: the values of `gen_ai.operation.name` that are known here."""

    CHAT = "chat"
    GENERATE_CONTENT = "generate_content"
    TEXT_COMPLETION = "text_completion"
    CREATE_AGENT = "create_agent"
    INVOKE_AGENT = "invoke_agent"
    INVOKE_WORKFLOW = "invoke_workflow"
    EXECUTE_TOOL = "execute_tool"
    PLAN = "plan"
    EMBEDDINGS = "embeddings"
    RETRIEVAL = "retrieval"


class PartKind(StrEnum):
    """The kinds of parts in messages: the values of their `type`."""

    TEXT = "text"
    REASONING = "reasoning"
    TOOL_CALL = "tool_call"
    TOOL_CALL_RESPONSE = "tool_call_response"
    SERVER_TOOL_CALL = "server_tool_call"
    SERVER_TOOL_CALL_RESPONSE = "server_tool_call_response"
    BLOB = "blob"
    FILE = "file"
    URI = "uri"
    COMPACTION = "compaction"


OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
CONVERSATION_ID = "gen_ai.conversation.id"

AGENT_ID = "gen_ai.agent.id"
AGENT_NAME = "gen_ai.agent.name"
AGENT_DESCRIPTION = "gen_ai.agent.description"
AGENT_VERSION = "gen_ai.agent.version"

REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_TOP_P = "gen_ai.request.top_p"
REQUEST_TOP_K = "gen_ai.request.top_k"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_SEED = "gen_ai.request.seed"
REQUEST_STOP_SEQUENCES = "gen_ai.request.stop_sequences"
REQUEST_FREQUENCY_PENALTY = "gen_ai.request.frequency_penalty"
REQUEST_PRESENCE_PENALTY = "gen_ai.request.presence_penalty"
REQUEST_CHOICE_COUNT = "gen_ai.request.choice.count"
OUTPUT_TYPE = "gen_ai.output.type"

RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
"""In seconds."""

INPUT_TOKENS = "gen_ai.usage.input_tokens"
"""Cached ones included."""
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
"""Those of reasoning included."""
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_write.input_tokens"
"""Up to v1.41.0: `gen_ai.usage.cache_creation.input_tokens`."""
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"

SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
TOOL_DEFINITIONS = "gen_ai.tool.definitions"
"""Content, like the messages: spans carry it as JSON text, events as structure."""

TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
TOOL_DESCRIPTION = "gen_ai.tool.description"
TOOL_CALL_ID = "gen_ai.tool.call.id"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_RESULT = "gen_ai.tool.call.result"

EVALUATION_EVENT = "gen_ai.evaluation.result"
EVALUATION_NAME = "gen_ai.evaluation.name"
EVALUATION_SCORE = "gen_ai.evaluation.score.value"
EVALUATION_LABEL = "gen_ai.evaluation.score.label"
EVALUATION_EXPLANATION = "gen_ai.evaluation.explanation"

DETAILS_EVENT = "gen_ai.client.inference.operation.details"
"""An event that carries the content, for those who keep it off their spans."""

# From the general conventions.
ERROR_TYPE = "error.type"
USER_ID = "user.id"
SERVICE_NAME = "service.name"
SERVER_ADDRESS = "server.address"
OTHER = "_OTHER"
"""The value for what has no better one, as an error's type or a provider."""

# Our own, for what the conventions have no name for.
TRAJECTORY_ID = "trajectory.id"
PARENT_ID = "trajectory.parent_id"
ROOT_ID = "trajectory.root_id"
SPEC_ID = "trajectory.spec_id"
RUN_ID = "trajectory.run_id"
OWN_AGENT_VERSION = "trajectory.agent_version"
STATUS = "trajectory.status"
REWARD = "trajectory.reward"
SOURCE_FORMAT = "trajectory.source_format"
TURNS = "trajectory.turns"
COST_USD = "trajectory.cost_usd"
ERROR = "trajectory.error"
TAGS = "trajectory.tags"
METADATA = "trajectory.metadata"

TURN_NUMBER = "trajectory.turn.number"
TURN_REWARD = "trajectory.turn.reward"
TURN_COST_USD = "trajectory.turn.cost_usd"
TURN_TOKENS = "trajectory.turn.token_count"
TURN_LATENCY_MS = "trajectory.turn.latency_ms"
TURN_IS_COPIED = "trajectory.turn.is_copied_context"
TURN_ERROR = "trajectory.turn.error"
TURN_METADATA = "trajectory.turn.metadata"

MESSAGE_POSITION = "trajectory.message.position"
CALL_POSITION = "trajectory.tool_call.position"

QUESTION_EVENT = "trajectory.question"
VIOLATION_EVENT = "trajectory.violation"
SOURCE = "trajectory.source"
EFFORT_LEVEL = "trajectory.effort_level"
CONFIDENCE = "trajectory.confidence"
QUESTION_TEXT = "trajectory.question_text"
PREFERENCE_NAME = "trajectory.preference_name"
SEVERITY = "trajectory.severity"
EXPECTED = "trajectory.expected"
ACTUAL = "trajectory.actual"
REASON = "trajectory.reason"
FORMULA = "trajectory.formula"
