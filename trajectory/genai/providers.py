"""Who serves a model, as far as its name tells."""

from __future__ import annotations

from trajectory.genai.conventions import OTHER

PROVIDERS = frozenset(
    {
        *("anthropic", "aws.bedrock", "azure.ai.inference", "azure.ai.openai", "cohere"),
        *("deepseek", "gcp.gemini", "gcp.gen_ai", "gcp.vertex_ai", "groq", "ibm.watsonx.ai"),
        *("mistral_ai", "moonshot_ai", "openai", "perplexity", "x_ai"),
    }
)
"""The values of `gen_ai.provider.name` that the conventions know."""

_BY_MODEL = (
    (("claude",), "anthropic"),
    (("gpt-", "chatgpt", "o1", "o3", "o4", "codex-"), "openai"),
    (("gemini",), "gcp.gemini"),
    (("mistral", "mixtral", "codestral", "magistral", "devstral"), "mistral_ai"),
    (("deepseek",), "deepseek"),
    (("grok",), "x_ai"),
    (("command-",), "cohere"),
    (("kimi", "moonshot"), "moonshot_ai"),
    (("sonar",), "perplexity"),
)


def provider_of(model_name: str | None) -> str:
    """Guess the provider: as named before a slash, else by the model's family, else `_OTHER`."""
    if model_name is None:
        return OTHER
    before, slash, _ = model_name.partition("/")
    if slash and before in PROVIDERS:
        return before
    name = model_name.rpartition("/")[2].lower()
    return next((known for starts, known in _BY_MODEL if name.startswith(starts)), OTHER)
