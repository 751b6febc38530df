"""Formats of other tools, one a file, found by name.

A package adds formats by entry points of the group `trajectory.formats`: the name of the format,
and a class that is an `Importer`, an `Exporter` or both.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from trajectory.errors import ConfigurationError
from trajectory.formats.base import (
    Exporter,
    Findable,
    Gathered,
    ImportedTrajectory,
    Importer,
    Problem,
    Writing,
)

GROUP = "trajectory.formats"

_IMPORTERS = {
    "atif": "trajectory.formats.atif:Atif",
    "claude-code": "trajectory.formats.claude_code:ClaudeCode",
    "codex": "trajectory.formats.codex:Codex",
    "jsonl": "trajectory.formats.jsonl:JsonLines",
    "openai-chat": "trajectory.formats.openai_chat:OpenAIChat",
    "otlp": "trajectory.formats.otlp_read:OtlpImport",
    "sharegpt": "trajectory.formats.sharegpt:ShareGPT",
    "swe-agent": "trajectory.formats.swe_agent:SWEAgent",
}
_EXPORTERS: dict[str, str] = {
    "atif": "trajectory.formats.atif:Atif",
    "csv": "trajectory.formats.csv_:Csv",
    "jsonl": "trajectory.formats.jsonl:JsonLines",
    "openai-chat": "trajectory.formats.openai_chat_write:OpenAIChatExport",
    "otlp": "trajectory.formats.otlp_write:Otlp",
    "otlp-with-content": "trajectory.formats.otlp_write:OtlpWithContent",
    "parquet": "trajectory.formats.parquet:Parquet",
    "sharegpt": "trajectory.formats.sharegpt:ShareGPT",
    "trl": "trajectory.formats.trl:TRL",
    "trl-prompt-completion": "trajectory.formats.trl:TRLPromptCompletion",
}

__all__ = [
    "Exporter",
    "Findable",
    "Gathered",
    "ImportedTrajectory",
    "Importer",
    "Problem",
    "Writing",
    "exporter",
    "exporter_names",
    "importer",
    "importer_names",
]


def importer_names() -> tuple[str, ...]:
    """Name the formats of this package that can be imported."""
    return tuple(sorted(_IMPORTERS))


def exporter_names() -> tuple[str, ...]:
    """Name the formats of this package that can be exported."""
    return tuple(sorted(_EXPORTERS))


def importer(name: str) -> Importer:
    """Find an importer by its format's name. Raises `ConfigurationError` for an unknown one."""
    found = _found(name, _IMPORTERS, "importer")
    if not isinstance(found, Importer):
        raise ConfigurationError(f"the format {name!r} can be exported, but not imported")
    return found


def exporter(name: str) -> Exporter:
    """Find an exporter by its format's name. Raises `ConfigurationError` for an unknown one."""
    found = _found(name, _EXPORTERS, "exporter")
    if not isinstance(found, Exporter):
        raise ConfigurationError(f"the format {name!r} can be imported, but not exported")
    return found


def _found(name: str, ours: dict[str, str], what: str) -> object:
    if name in ours:
        module, _, attribute = ours[name].partition(":")
        made: object = getattr(import_module(module), attribute)()
        return made
    plugins = {point.name: point for point in entry_points(group=GROUP)}
    if name in plugins:
        return _loaded(plugins[name])
    known = ", ".join(sorted({*ours, *plugins}))
    raise ConfigurationError(f"no {what} for the format {name!r}; known formats: {known}")


def _loaded(point: EntryPoint) -> object:
    try:
        made: object = point.load()()
    except Exception as error:
        raise ConfigurationError(
            f"the format {point.name!r} of the entry point {point.value!r} can't be loaded: "
            f"{type(error).__name__}; reinstall or remove its package"
        ) from error
    return made
