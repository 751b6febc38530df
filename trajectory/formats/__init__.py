"""Formats of other tools, one a file, found by name."""

from __future__ import annotations

from importlib import import_module

from trajectory.errors import ConfigurationError
from trajectory.formats.base import ImportedTrajectory, Importer, Problem

_IMPORTERS = {
    "openai-chat": "trajectory.formats.openai_chat:OpenAIChat",
}

__all__ = ["ImportedTrajectory", "Importer", "Problem", "importer", "importer_names"]


def importer_names() -> tuple[str, ...]:
    """Name the formats that can be imported."""
    return tuple(sorted(_IMPORTERS))


def importer(name: str) -> Importer:
    """Find an importer by its format's name. Raises `ConfigurationError` for an unknown one."""
    if name not in _IMPORTERS:
        known = ", ".join(importer_names())
        raise ConfigurationError(f"no importer for the format {name!r}; known formats: {known}")
    module, _, attribute = _IMPORTERS[name].partition(":")
    found: Importer = getattr(import_module(module), attribute)()
    return found
