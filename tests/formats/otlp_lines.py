"""Lines of OTLP/JSON, taken apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from trajectory.genai.spans import Span
from trajectory.genai.wire import line_of


def spans_of(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                yield from scope["spans"]


def wired(spans: Iterable[Span]) -> list[dict[str, Any]]:
    """Give spans as they stand in a line, wherever they come from."""
    return [span for each in spans for span in spans_of(line_of([replace(each, resource={})]))]
