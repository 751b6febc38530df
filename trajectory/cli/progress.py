"""What a command shows and asks only when a person is there: a progress bar, a question."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def can_be_asked() -> bool:
    """Say whether a person can see a question and answer it."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


@contextmanager
def watched(label: str, total: int | None) -> Iterator[Callable[[int, int], None]]:
    """Show how far a command is; the function it gives takes bytes read and turns stored."""
    if not sys.stderr.isatty():
        yield lambda _bytes, _turns: None
        return
    # Loaded only when it is shown: it takes longer than a short command.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[turns]:,} turns"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total, turns=0)
        yield lambda done, turns: progress.update(task, completed=done, turns=turns)
