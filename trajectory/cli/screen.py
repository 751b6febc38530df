"""What commands print: answers on stdout, everything else on stderr, escapes made visible."""

from __future__ import annotations

import json
import re

import typer
from rich.console import Console
from rich.text import Text

# C0 and C1 controls, and the marks that reorder text: a terminal would obey them.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""Show what a terminal would obey as an escape (`\x1b`), so that it is read, not executed."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def say(text: str, style: str = "") -> None:
    """Print one line for a person on stdout."""
    Console(soft_wrap=True, highlight=False).print(Text(visible(text), style=style))


def note(text: str, style: str = "") -> None:
    """Print one line for a person on stderr, where it is in no program's way."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(Text(visible(text), style=style))


def fail(text: str) -> None:
    """Print why the command failed, on stderr."""
    line = Text.assemble(("error: ", "bold red"), visible(text))
    Console(stderr=True, soft_wrap=True, highlight=False).print(line)


def answer(value: object) -> None:
    """Print one JSON object on one line of stdout, plain ASCII."""
    typer.echo(json.dumps(value, ensure_ascii=True))
