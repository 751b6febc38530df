"""The plan of the house, checked: imports point one way, and nothing dangerous is called."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import trajectory

PACKAGE = Path(__file__).parents[1] / "trajectory"
MAX_LINES = 350

VALUES = {
    *("words", "threads", "report", "values", "ids", "errors", "door", "shortcut", "models"),
    "sizes",
}
CONTRACT = {*VALUES, "query", "merge", "backend", "counts"}
WAY_IN = {
    *CONTRACT,
    *("settings", "forks", "late", "redaction", "admission"),
    *("journal", "dead_letters", "placement", "buffer", "ledger", "isolation", "spill"),
    *("retry", "delivery", "writer", "extracting", "settlement", "intake", "dispatcher"),
}
FRONT = {
    *WAY_IN,
    *("backends", "scoring", "lifecycle", "resume", "guard", "offering", "logger", "run"),
    *("handed", "draft", "ending", "open_turn", "observed", "observe", "carrying"),
}

MAY_IMPORT: dict[str, set[str]] = {
    "words": set(),
    "threads": set(),
    "report": set(),
    "values": set(),
    "ids": set(),
    "errors": {"report"},
    "door": {"errors", "values"},
    "shortcut": {"door", "values"},
    "models": {"door", "errors", "ids", "shortcut", "values"},
    # A turn in the making, of whatever a framework hands over.
    "handed": {"door", "errors", "models", "values"},
    "draft": {"door", "errors", "handed", "models", "values"},
    "sizes": {"door", "models", "values"},
    "journal": VALUES,
    "settings": {"errors"},
    "query": {"door", "errors", "models", "values"},
    "merge": {"door", "errors", "models", "values"},
    "forks": set(),
    "late": {"models"},
    "redaction": {"errors", "models"},
    "backend": {"models", "query"},
    "counts": {"backend", "models", "query", "scoring"},
    "buffer": {"words", "backend", "models"},
    "admission": {"sizes", "errors", "late", "models", "redaction"},
    "ledger": {"models", "report"},
    "dead_letters": {"errors", "models", "threads"},
    "placement": {"backend", "errors", "settings"},
    "isolation": {"backend", "buffer", "errors", "models"},
    "spill": {"journal", "threads"},
    "retry": {"backend", "dead_letters", "errors", "settings"},
    # The way in knows the contract, and no backend.
    "delivery": {
        *("words", "threads", "backend", "errors", "models", "settings", "buffer"),
        *("dead_letters", "isolation", "journal", "ledger", "retry", "spill"),
    },
    "writer": {"words", "errors", "report", "settings", "buffer", "delivery", "ledger"},
    "extracting": {"sizes", "words", "buffer", "errors", "models", "scoring"},
    "settlement": {"words", "extracting", "journal", "ledger", "writer"},
    "intake": {
        *("errors", "models", "report", "settings", "buffer", "journal", "ledger"),
        *("settlement", "spill", "writer"),
    },
    "dispatcher": {
        *("words", "backend", "errors", "models", "report", "settings", "buffer"),
        "dead_letters",
        *("delivery", "extracting", "intake", "journal", "ledger", "scoring", "settlement"),
        *("spill", "writer"),
    },
    # Backends know the contract, and nothing of the way in.
    "backends": CONTRACT,
    "backends.sql": {*CONTRACT, "backends", "forks", "migrations", "scoring"},
    "migrations": {"errors", "backends.sql"},
    "resume": {"backend", "query"},
    "lifecycle": {*WAY_IN, "backends", "scoring"},
    "guard": {"errors"},
    "offering": {"admission", "errors", "forks", "guard", "intake", "lifecycle", "models"},
    "logger": FRONT - {"logger"},
    "open_turn": {"door", "draft", "errors", "models", "run"},
    "ending": {"errors", "handed", "models"},
    "run": FRONT
    - {"run", "backends", "lifecycle", "resume", "offering", "observe", "observed", "carrying"},
    "carrying": {"run"},
    "observed": {
        *("carrying", "draft", "ending", "errors", "guard", "handed", "logger", "models"),
        *("open_turn", "run"),
    },
    "observe": {"errors", "guard", "logger", "models", "observed"},
    "sync_run": {*FRONT, "sync"},
    "sync": {*FRONT, "sync_run"},
    # The way out knows nothing of the way in.
    "sieve": {"backend", "models", "query"},
    "store": {
        "sieve",
        *("backend", "backends", "counts", "errors", "forks", "models", "query"),
        *("placement", "retention", "scoring"),
    },
    # What is read, summed up for people and programs.
    "when": {"errors"},
    "measures": set(),
    "summary": {"counts", "models", "query", "retention", "scoring", "store"},
    "figures": {"sizes", "counts", "measures", "models", "query", "store"},
    # Pure functions over the values.
    "scoring": {"models", "errors", "values", "door", "words", "threads"},
    # By hand, beside the way in: what lies in the folders of journals.
    "survey": {"journal", "models"},
    "recovery": {
        *("backend", "errors", "buffer", "dead_letters", "isolation", "journal", "placement"),
        "survey",
    },
    "erasure": {"backend", "errors", "models", "dead_letters", "recovery", "survey"},
    "retention": {
        *("backend", "counts", "dead_letters", "erasure", "errors", "models", "query"),
    },
    "finding": set(),
    "disk": {"finding"},
    "checkup": {
        *("backend", "backends", "errors", "settings", "dead_letters", "journal", "placement"),
        *("survey", "finding", "disk", "migrations"),
    },
    # Spans, as plain values: what they are called, and what is told and read in them.
    "genai": {*VALUES, "scoring"},
    "formats": {*VALUES, "genai", "scoring"},
    "exporting": {*VALUES, "query", "store", "formats", "journal"},
    # Beside the agent's framework: what logs, and what reads.
    "integrations": {
        *FRONT,
        *("erasure", "exporting", "formats", "genai", "query", "store", "scoring", "sync", ""),
        *("figures", "measures", "summary", "when"),
    },
    "testing": {*CONTRACT, "backends", "retention", "store"},
    "cli": {
        *FRONT,
        *("figures", "measures", "summary", "when"),
        "integrations",
        "formats",
        "exporting",
        "query",
        "retention",
        "store",
        "scoring",
        "migrations",
        "survey",
        "recovery",
        "erasure",
        "finding",
        "checkup",
        "",
    },
    "": {*FRONT, "retention", "scoring", "store", "sync", "sync_run"},
}
"""Room -> the rooms it may import from; the empty name is the front door, `trajectory` itself."""

SQL_ROOMS = {"backends.sql", "migrations"}
SQL_PACKAGES = {"sqlalchemy", "alembic", "aiosqlite", "asyncpg"}
BANNED_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__"}


@dataclass(frozen=True)
class Module:
    name: str
    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        """The part of the house: `backends.sql` is a room of its own in `backends`."""
        parts = self.name.split(".")[1:]
        if parts[:2] == ["backends", "sql"]:
            return "backends.sql"
        return parts[0] if parts else ""


@dataclass(frozen=True)
class Import:
    target: str
    line: int
    at_import: bool  # when the module is loaded, not later and not for the type checker alone


def _modules() -> list[Module]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found.append(Module(name, path, ast.parse(path.read_text(encoding="utf-8"))))
    return found


MODULES = _modules()
NAMES = {module.name: module for module in MODULES}
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)


def _imports(node: ast.AST, *, at_import: bool = True) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        typing_only = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_import)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                target = whole if whole in NAMES else child.module or ""
                yield Import(target, child.lineno, at_import)
        else:
            yield from _imports(child, at_import=at_import and not later and not typing_only)


def test_every_room_has_its_place_in_the_plan() -> None:
    assert {module.room for module in MODULES} == MAY_IMPORT.keys()


@each_module
def test_imports_point_one_way(module: Module) -> None:
    for found in _imports(module.tree):
        target = NAMES.get(found.target)
        if target is not None and target.room != module.room:
            assert target.room in MAY_IMPORT[module.room], (
                f"{module.path}:{found.line}: {module.name} imports {found.target}"
            )


def test_no_module_needs_itself_to_be_imported() -> None:
    graph = {
        module.name: {
            found.target
            for found in _imports(module.tree)
            if found.at_import and found.target in NAMES and found.target != module.name
        }
        for module in MODULES
    }
    order = tuple(TopologicalSorter(graph).static_order())  # raises for a circle, and shows it
    assert set(order) >= NAMES.keys()


@each_module
def test_databases_are_imported_in_their_rooms_alone(module: Module) -> None:
    for found in _imports(module.tree):
        if found.target.partition(".")[0] in SQL_PACKAGES:
            assert module.room in SQL_ROOMS, f"{module.path}:{found.line}: {found.target}"


HELP = """
from trajectory.cli import main
import sys

sys.argv = ["trajectory", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
"""


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        ("import trajectory, trajectory.backends", {*SQL_PACKAGES, "pytest", "typer", "rich"}),
        ("import trajectory; trajectory.open_backend('memory://')", SQL_PACKAGES),
        ("import trajectory.testing", {*SQL_PACKAGES, "pytest"}),
        ("import trajectory.migrations", {"alembic", "asyncpg"}),
        (HELP, {*SQL_PACKAGES, "pytest"}),
    ],
    ids=["package", "memory", "testing", "migrations", "help"],
)
def test_what_is_heavy_is_loaded_late(program: str, unwanted: set[str]) -> None:
    check = f"import sys; print([n for n in {sorted(unwanted)} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{check}"],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


@each_module
def test_a_module_is_short_enough_for_one_job(module: Module) -> None:
    assert len(module.path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@each_module
def test_nothing_loads_code_from_data(module: Module) -> None:
    for found in _imports(module.tree):
        assert found.target.partition(".")[0] not in BANNED_MODULES
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in BANNED_CALLS, f"{module.path}:{node.lineno}"


@each_module
def test_nothing_blocks_the_event_loop(module: Module) -> None:
    assert "time.sleep" not in module.path.read_text(encoding="utf-8")


@each_module
def test_no_sql_is_built_from_pieces(module: Module) -> None:
    """What reaches `text()` or a driver's `execute` is written out, or compiled by SQLAlchemy."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if isinstance(node.func, ast.Name):
            called = node.func.id
        if called in {"text", "execute", "executemany", "exec_driver_sql", "executescript"}:
            assert not _is_built(node.args[0]), f"{module.path}:{node.lineno}"


def _is_built(node: ast.AST) -> bool:
    """Say whether a text is put together where it is used. A pragma may be: it binds nothing."""
    if isinstance(node, ast.JoinedStr):
        start = node.values[0]
        pragma = isinstance(start, ast.Constant) and str(start.value).startswith("PRAGMA ")
        return not pragma
    return isinstance(node, ast.BinOp) or (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"format", "join"}
    )


@pytest.mark.parametrize(
    ("code", "built"),
    [
        ("'SELECT 1'", False),
        ("statement", False),
        ("f'PRAGMA journal_mode={mode}'", False),
        ("f'SELECT {column}'", True),
        ("f'{verb} 1'", True),
        ("'SELECT ' + column", True),
        ("'SELECT %s' % column", True),
        ("'SELECT {}'.format(column)", True),
        ("' '.join(parts)", True),
    ],
)
def test_built_sql_is_recognised(code: str, built: bool) -> None:
    assert _is_built(ast.parse(code, mode="eval").body) is built


def test_the_alembic_folder_does_not_hide_the_installed_package() -> None:
    assert not (PACKAGE.parent / "alembic" / "__init__.py").exists()


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.parametrize("name", [n for n in trajectory.__all__ if n != "__version__"])
def test_public_names_are_documented(name: str) -> None:
    value = getattr(trajectory, name)
    assert value.__doc__
    for member, found in vars(value).items() if isinstance(value, type) else ():
        if not member.startswith(("_", "model_")) and callable(found):
            assert found.__doc__, f"{name}.{member}"
