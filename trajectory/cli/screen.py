"""What commands print: answers on stdout, everything else on stderr, escapes made visible."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.text import Text

from trajectory.errors import TrajectoryError

# C0 and C1 controls, line ends of other kinds, and the marks that reorder text: a terminal would
# obey them. Lone surrogates, which stand in the names of files, can't be printed at all.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class OutputError(TrajectoryError):
    """Standard output takes no more."""


class _Console(Console):
    """The console of stdout."""

    def on_broken_pipe(self) -> None:
        """Leave it to the command line to end, where Rich would exit by itself."""
        raise  # noqa: PLE0704 - called while the error is handled


def visible(text: str) -> str:
    r"""Show what a terminal would obey as an escape (`\x1b`), so that it is read, not executed."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def say(text: str, style: str = "") -> None:
    """Print one line for a person on stdout. Raises `OutputError`."""
    with _to_stdout():
        _Console(soft_wrap=True, highlight=False).print(Text(printable(visible(text)), style=style))


class Page:
    """Prints line after line for a person on stdout; faster than `say` where there are many.

    Where nobody watches, lines are written block by block, the last at the end of the program; with
    `at_once` each when it is printed.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self._at_once = at_once
        self._console = _Console(soft_wrap=True, highlight=False)
        self.is_watched = self._console.is_terminal
        """Whether a person watches, as far as can be known."""
        self.width = self._console.width if self.is_watched else None
        """Columns of the terminal; None where there is none."""

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line. Raises `OutputError`."""
        shown = printable(visible(text))
        with _to_stdout(flushes=self._at_once or self.is_watched):
            if self.is_watched:
                self._console.print(Text(shown, style=style))
            elif sys.stdout is not None:  # the console takes many times as long, for the same
                sys.stdout.write(shown + "\n")


def printable(text: str) -> str:
    """Write what standard output has no letters for as escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def note(text: str, style: str = "") -> None:
    """Print one line for a person on stderr, where it is in no program's way."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(Text(visible(text), style=style))


def fail(text: str) -> None:
    """Print why the command failed, on stderr."""
    line = Text.assemble(("error: ", "bold red"), visible(text))
    Console(stderr=True, soft_wrap=True, highlight=False).print(line)


def answer(value: object) -> None:
    """Print one JSON object on one line of stdout, plain ASCII. Raises `OutputError`."""
    out(json.dumps(value, ensure_ascii=True) + "\n")


def out(text: str) -> None:
    """Print a text as it is on stdout. Raises `OutputError`."""
    with _to_stdout():
        typer.echo(text, nl=False)


@contextlib.contextmanager
def _to_stdout(*, flushes: bool = True) -> Iterator[None]:
    try:
        yield
        if flushes and sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise  # nobody reads any more, and nobody wants to hear of it
    except OSError as error:
        raise OutputError(unwritten(error)) from error


def unwritten(error: OSError) -> str:
    """Say why standard output takes no more."""
    return f"the answer could not be written: {error.strerror}"
