"""The page on the MCP server: its tools, limits and settings of clients are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trajectory.cli import app
from trajectory.integrations.mcp import arguments, bounds, server, showing, telling

PAGE = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text(encoding="utf-8")
CONFIGS = re.findall(r"^```json config\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def rows(table: str) -> list[list[str]]:
    """Give the rows of a table, without its head."""
    found = PAGE.partition(f"<!-- table: {table} -->")[2].lstrip().partition("\n\n")[0]
    lines = found.splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_tools_are_those_of_the_server() -> None:
    assert [row[0].strip("`") for row in rows("tools")] == list(server.TOOLS)


def test_the_filters_are_all_named() -> None:
    listed = PAGE.partition("under the names that the answers have:")[2].partition(". ")[0]
    assert re.findall(r"`(\w+)`", listed) == list(arguments.Filters.model_fields)


def test_the_limits_are_those_of_the_code() -> None:
    told = [int(re.sub(r"\D.*", "", row[1].replace(",", ""))) for row in rows("limits")]
    assert told == [
        bounds.ANSWER,
        arguments.MAX_ROWS,
        showing.TURNS_AT_ONCE,
        showing.TEXT,
        arguments.MAX_TEXT,
        telling.FEW,
        server.CALL_S,
        server.AT_ONCE,
    ]


@pytest.mark.parametrize("config", CONFIGS)
def test_settings_of_clients_start_the_command(config: str) -> None:
    given = json.loads(config)["mcpServers"]["trajectory"]
    if "url" in given:
        assert given["url"].endswith(":8765/mcp")
        return
    assert given["command"] == "trajectory"
    command, *options = given["args"]
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert all(each in shown.output for each in options if each.startswith("--"))
    assert all(name in shown.output for name in given.get("env", {}))


def test_there_are_settings_for_each_way() -> None:
    assert len(CONFIGS) == 3
