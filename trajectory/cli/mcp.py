"""`trajectory mcp`: a read-only MCP server, so that an agent can look at past runs."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from trajectory.cli import screen
from trajectory.cli.options import DEFAULT_DB, Db
from trajectory.cli.running import run
from trajectory.errors import ConfigurationError


def mcp_(
    db: Db = DEFAULT_DB,
    *,
    http: Annotated[
        int | None,
        typer.Option(
            "--http",
            metavar="PORT",
            min=0,
            max=65535,
            help="Serve HTTP on 127.0.0.1 and this port; 0 takes one that is free.",
        ),
    ] = None,
) -> None:
    """Serve what is stored to an agent, by the Model Context Protocol, read-only.

    Tools list, search, show, score and count trajectories; none of them can change anything. By
    default it speaks on standard input and output, and is started by the agent's program; with
    --http it listens on this machine alone, for every user of it.

    Exit codes: 0 the client left; 1 the database failed; 2 wrong use; 130 or 143 ended by a signal.
    """
    from trajectory.integrations.mcp import serve, serve_http

    if http is None:
        if sys.stdin is None or sys.stdout is None:
            raise ConfigurationError(
                "standard input or output is closed, over which the client would speak; let the "
                "client start this, or give --http PORT"
            )
        if sys.stdin.isatty():
            screen.note("waiting for an MCP client on standard input, which should start this")
        # The thread that waits for input can't be woken, and nothing is left unfinished by this.
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            run(serve(db))
        finally:
            signal.signal(signal.SIGINT, before)
        return
    ended = run(serve_http(db, http, _tell))
    raise typer.Exit(0 if ended is None else 128 + ended)


def _tell(url: str) -> None:
    screen.note(f"serving {url} (Ctrl-C ends it)")
