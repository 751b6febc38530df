"""`python -m benchmarks.proxy URL MS`: stands before a server, and makes it so far away.

Each chunk is passed on in order, half the time later in either direction, so that a round trip
takes that much longer and the bandwidth stays what it was. Prints its port; ends with its input.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

_CHUNK = 256 * 1024
_IN_FLIGHT = 256
"""Chunks on their way in one direction; then the sender waits, as at a full pipe."""


async def _delayed(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
) -> None:
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)

    async def arrive() -> None:
        while True:
            due, chunk = await under_way.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not chunk:
                break
            writer.write(chunk)
            await writer.drain()

    arriving = asyncio.create_task(arrive())
    try:
        chunk = b"-"
        while chunk:
            chunk = await reader.read(_CHUNK)
            await under_way.put((loop.time() + seconds, chunk))
        await arriving
    finally:
        arriving.cancel()
        writer.close()


async def _serve(url: str, delay_ms: float) -> None:
    server_url = urlsplit(url)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            up_reader, up_writer = await asyncio.open_connection(
                server_url.hostname, server_url.port
            )
            one_way = delay_ms / 2000
            await asyncio.gather(
                _delayed(reader, up_writer, one_way),
                _delayed(up_reader, writer, one_way),
                return_exceptions=True,
            )

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until whoever started us is gone
    server.close()


@contextmanager
def far(url: str, delay_ms: float) -> Iterator[str]:
    """Give the URL of a server behind a proxy, which runs in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.proxy", url, str(delay_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        port = int(process.stdout.readline())
        parts = urlsplit(url)
        user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        yield parts._replace(netloc=f"{user}127.0.0.1:{port}").geturl()
    finally:
        process.communicate()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], float(sys.argv[2])))
