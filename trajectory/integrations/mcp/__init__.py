"""An MCP server over a store: an agent looks at past runs, and can change nothing.

`trajectory mcp` serves it; `server_of` makes one for a transport of your own.
"""

from __future__ import annotations

from trajectory.integrations import extra

with extra("mcp"):
    import mcp  # noqa: F401 - whose absence is told here, by the name of the extra

from trajectory.integrations.mcp.server import server_of
from trajectory.integrations.mcp.serving import serve, serve_http

__all__ = ["serve", "serve_http", "server_of"]
