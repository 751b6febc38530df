"""How the server is reached: standard input and output, or HTTP on this machine alone."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings

from trajectory.errors import ConfigurationError
from trajectory.integrations.mcp.server import server_of
from trajectory.store import TrajectoryStore

HOST: Final = "127.0.0.1"
"""The only address that is served: it can't be reached from other machines."""

PATH: Final = "/mcp"

_MAX_REQUEST_BYTES = 2**20


_LAST_S = 5
"""So long calls that are at work may take once the end is asked for."""


async def serve(db: str) -> None:
    """Serve a database, read-only, on standard input and output until the client leaves.

    Nothing but the protocol goes to standard output meanwhile, whoever prints. Raises what opening
    the store does.
    """
    async with TrajectoryStore(db, read_only=True) as store:
        server = server_of(store)
        try:
            async with stdio_server() as (incoming, outgoing):
                await server.run(incoming, outgoing, server.create_initialization_options())
        except* BrokenPipeError:
            pass  # the client went away in the middle of an answer


async def serve_http(db: str, port: int, ready: Callable[[str], object]) -> signal.Signals | None:
    """Serve a database, read-only, by HTTP on this machine alone, until a signal; say which.

    `port` 0 takes one that is free; `ready` is told the URL. Raises what opening the store does,
    and `ConfigurationError` for a port that can't be had. Call it from the main thread.
    """
    async with TrajectoryStore(db, read_only=True) as store:
        return await _listen(server_of(store), port, ready)


async def _listen(
    server: Server[Any], port: int, ready: Callable[[str], object]
) -> signal.Signals | None:
    with _listening(port) as listener:
        bound = listener.getsockname()[1]
        places = [f"{name}:{bound}" for name in (HOST, "localhost")]
        app = server.streamable_http_app(
            streamable_http_path=PATH,
            stateless_http=True,  # nothing is kept of a client between its calls
            json_response=True,
            max_request_body_size=_MAX_REQUEST_BYTES,
            # A page in a browser may make its own name resolve to this address; then the name
            # stands in these headers.
            transport_security=TransportSecuritySettings(
                enable_dns_rebinding_protection=True,
                allowed_hosts=places,
                allowed_origins=[f"http://{place}" for place in places],
            ),
        )
        config = uvicorn.Config(
            app, log_config=None, access_log=False, timeout_graceful_shutdown=_LAST_S
        )
        http = _Http(config)
        with _ended_by_signals(http) as ended:
            ready(f"http://{HOST}:{bound}{PATH}")
            await http.serve(sockets=[listener])
        return ended[0] if ended else None


class _Http(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to us: repeated at its end, they would break the closing of the store."""
        yield


@contextmanager
def _ended_by_signals(http: uvicorn.Server) -> Iterator[list[signal.Signals]]:
    loop, ended = asyncio.get_running_loop(), []

    def end(by: signal.Signals) -> None:
        ended.append(by)
        http.should_exit = True

    signals = (signal.SIGINT, signal.SIGTERM)
    for each in signals:
        loop.add_signal_handler(each, end, each)
    try:
        yield ended
    finally:
        for each in signals:
            loop.remove_signal_handler(each)


def _listening(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else "no such port"
        raise ConfigurationError(
            f"can't listen on port {port} of {HOST}: {reason}; give another, or 0 for one that is "
            f"free"
        ) from error
    return listener
