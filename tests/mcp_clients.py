"""Clients of the MCP server: in this process, of a child by its standard streams, or by HTTP."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import CallToolResult, TextContent

from trajectory import TrajectoryStore
from trajectory.integrations.mcp import server_of

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-c", "from trajectory.cli import main; main()", "mcp")


def environment() -> dict[str, str]:
    """Give an environment for a child, without settings of ours."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("TRAJECTORY_")}
    return {**clean, "PYTHONPATH": str(ROOT)}


class Asker:
    """Calls tools; the client itself checks each answer against the schema that was told."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def result(self, tool: str, /, **arguments: Any) -> CallToolResult:
        """Call a tool."""
        found = await self.client.call_tool(tool, arguments)
        assert isinstance(found, CallToolResult)
        return found

    async def answer(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool that has to succeed; its text says the same as its structured answer."""
        found = await self.result(tool, **arguments)
        [content] = found.content
        assert isinstance(content, TextContent)
        assert not found.is_error, content.text
        assert json.loads(content.text) == found.structured_content
        assert content.text.isprintable()
        assert len(content.text) <= 41_000
        assert isinstance(found.structured_content, dict)
        return found.structured_content

    async def refusal(self, tool: str, /, **arguments: Any) -> str:
        """Call a tool that has to refuse; give its reason."""
        found = await self.result(tool, **arguments)
        [content] = found.content
        assert isinstance(content, TextContent)
        assert found.is_error
        assert found.structured_content is None
        assert content.text.isprintable()
        return content.text

    async def pages(self, tool: str, /, **arguments: Any) -> list[dict[str, Any]]:
        """Call a tool until it has no more to give."""
        answers = [await self.answer(tool, **arguments)]
        while (cursor := answers[-1]["next_cursor"]) is not None:
            answers.append(await self.answer(tool, **arguments, cursor=cursor))
        return answers


@asynccontextmanager
async def here(url: str) -> AsyncIterator[Asker]:
    """Ask a server in this process."""
    async with TrajectoryStore(url, read_only=True) as store, Client(server_of(store)) as client:
        yield Asker(client)


@asynccontextmanager
async def of_child(db: str, cwd: Path | None = None) -> AsyncIterator[Asker]:
    """Ask a server that is a child of this process, by its standard input and output."""
    program, *arguments = (*COMMAND, "--db", db)
    server = StdioServerParameters(command=program, args=arguments, env=environment(), cwd=cwd)
    async with Client(stdio_client(server), read_timeout_seconds=60) as client:
        yield Asker(client)
