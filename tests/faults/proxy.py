"""Stands between the library and a server: counts connections, and cuts them from their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

_COMMIT = b"COMMIT"


class Proxy:
    """Passes everything on."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections: list[float] = []
        """When each was tried, by the loop's clock."""
        self.cutting = False
        """Whether the answers to the next COMMIT are lost, with the connection."""
        self.cuts = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve; give the URL to use instead of the server's own."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}{self._target.path}"
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections.append(asyncio.get_running_loop().time())
        try:
            await self._pass_on(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._target.hostname
        try:
            up = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            return  # as a server that is away: the connection ends at once
        up_reader, up_writer = up
        is_cut = False

        async def down() -> None:
            while data := await up_reader.read(65536):
                if is_cut:
                    return  # the server has answered, and nobody will hear it
                writer.write(data)
                await writer.drain()

        async def send() -> None:
            nonlocal is_cut
            while data := await reader.read(65536):
                if self.cutting and _COMMIT in data:
                    is_cut = True
                    self.cutting = False
                    self.cuts += 1
                up_writer.write(data)
                await up_writer.drain()

        tasks = [asyncio.create_task(down()), asyncio.create_task(send())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            up_writer.close()
            with suppress(OSError):
                await up_writer.wait_closed()
