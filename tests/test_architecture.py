"""The rooms of the house: imports point one way, and what is heavy is loaded late."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trajectory

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "trajectory"
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the ground up. A module may import what stands above it in this list, never below.
FLOORS = [
    {"ids", "report", "values"},
    {"errors"},
    {"door"},
    {"models"},
    {"late", "merge", "query", "redaction", "settings"},
    {"backend"},
    {"buffer"},
    {"ledger", "retry"},
    {"dispatcher"},
    {"backends"},  # finds backends, and loads them late
    {"backends.memory"},
    {"backends.sql.types", "backends.sql.urls"},
    {"backends.sql.schema"},
    {"backends.sql.standing", "backends.sql.statements"},
    {"backends.sql.engine", "backends.sql.journal_mode"},
    {"backends.sql.rows", "backends.sql.translate"},
    {"backends.sql.deploy_lock"},
    {"backends.sql.environment"},
    {"backends.sql.writing"},
    {"backends.sql.transports"},
    {"backends.sql.reading"},
    {"migrations"},
    {"backends.sql.backend"},
    {"backends.sql"},
    {"run"},
    {"logger"},
    {"sync"},
    {""},  # the front door
    {"formats", "testing", "cli"},  # and what is inside them
]


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def floor_of(name: str) -> int:
    for floor, names in enumerate(FLOORS):
        if name in names:
            return floor
    return floor_of(name.partition(".")[0])


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """Give what a module imports of ours when it is loaded, and whether only for type checking."""
    tree = ast.parse(path.read_text())
    late = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in late:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                path_of = ROOT / inner.replace(".", "/")
                is_module = path_of.with_suffix(".py").exists() or path_of.is_dir()
                yield (inner if is_module else node.module), id(node) in typing


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    mine = floor_of(name_of(path))
    for imported, for_typing in imports_of(path):
        if imported.partition(".")[0] != "trajectory" or for_typing:
            continue
        theirs = floor_of(imported.removeprefix("trajectory").removeprefix("."))
        inside = theirs == mine == len(FLOORS) - 1
        assert theirs < mine or inside, f"{name_of(path)} imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_sql_stays_in_its_room(path: Path) -> None:
    name = name_of(path)
    if name == "migrations" or name.startswith("backends.sql"):
        return
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not [n for n in names if n.partition(".")[0] in ("sqlalchemy", "alembic")]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_one_noun(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 350


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_dangerous_is_used(path: Path) -> None:
    text = path.read_text()
    for pattern in (r"\bpickle\b", r"(?<![\w.])eval\(", r"(?<![\w.])exec\(", "yaml", r"text\(f"):
        assert not re.search(pattern, text), pattern
    assert "time.sleep" not in text or name_of(path) == "backends.sql.journal_mode"


HELP = """
import sys
from trajectory.cli import main

sys.argv = ["trajectory", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
"""


@pytest.mark.parametrize(
    "program",
    [
        "import trajectory",
        "import trajectory.backends.memory; trajectory.open_backend('memory://')",
        "import trajectory.testing",
        HELP,
    ],
)
def test_what_is_heavy_is_loaded_late(program: str) -> None:
    heavy = "sqlalchemy, alembic, aiosqlite, asyncpg, pytest"
    check = (
        f"{program}\nimport sys\n"
        f"loaded = [n for n in '{heavy}'.split(', ') if n in sys.modules]\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", check], check=True, stdout=subprocess.DEVNULL)


def test_the_scripts_folder_hides_no_package() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.parametrize("name", trajectory.__all__)
def test_public_names_are_documented(name: str) -> None:
    value = getattr(trajectory, name)
    if isinstance(value, str):
        return
    assert value.__doc__
    if isinstance(value, type):
        for member, found in vars(value).items():
            if not member.startswith(("_", "model_")) and callable(found):
                assert found.__doc__, f"{name}.{member}"
