"""The format of the page works as a package's own, and the page tells of every exporter."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from docs.test_tables import code, table

from trajectory.formats import Exporter, ImportedTrajectory, Importer, exporter_names

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert isinstance(found, str)
    return found


@pytest.fixture
def dialog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "dialog_page.py").write_text(block("python"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "dialog_page", raising=False)
    module = __import__("dialog_page")
    assert isinstance(module, ModuleType)
    yield module.Dialog()
    del sys.modules["dialog_page"]


def test_the_class_is_both(dialog: Any) -> None:
    assert isinstance(dialog, Importer)
    assert isinstance(dialog, Exporter)


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"---\n", b"> \n---", b'< "x"\n---\n', b"> [[[[\n---\n", b'> "x"', b"\xff\xfe\n---"),
        *(b"\x1f\x8b\x08", b"> " + b"[" * 100_000 + b"\n---\n", b'> "\\ud800"\n---\n', b">"),
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_it_never_raises(dialog: Any, text: bytes) -> None:
    for each in dialog.read(io.BytesIO(text), as_of=NOON):
        assert each.line >= 1
        assert isinstance(each, ImportedTrajectory) or "ud800" not in each.reason


def test_it_works_through_its_entry_point(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    info = packages / "dialog-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / "dialog.py").write_text(block("python"))
    toml = block("toml")
    [point] = re.findall(r'^(dialog) = "(.+)"$', toml, re.MULTILINE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dialog\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[trajectory.formats]\n{} = {}\n".format(*point))
    text = '> "Add a login"\n< "Which\\nprovider?"\n> "\\u202e"\n< ""\n---\n> "Hi"\n< ""\n---\n'
    (tmp_path / "a.dialog").write_text(text)

    def ran(*arguments: str) -> str:
        clean = {name: value for name, value in os.environ.items() if "TRAJECTORY" not in name}
        return subprocess.run(
            [sys.executable, "-c", "from trajectory.cli import main; main()", *arguments],
            cwd=tmp_path,
            env={**clean, "PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    for new in (3, 0):
        told = json.loads(ran("import", "dialog", "a.dialog", "--json"))
        assert (told["trajectories"], told["turns"], told["new"]) == (2, 3, new)
    ran("export", "dialog", "-o", ".")
    assert (tmp_path / "trajectories.dialog").read_text() == text
    manifest = json.loads((tmp_path / "trajectories.dialog.manifest.json").read_text())
    assert (manifest["format"], manifest["format_version"]) == ("dialog", "1")
    assert manifest["counts"]["turns"] == 3


def test_the_page_tells_of_every_exporter() -> None:
    told = {row[0] for row in table("exporters")}
    assert told >= set(map(code, exporter_names()))
