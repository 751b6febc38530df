"""What is shipped: the contents of the archives, and a wheel that works far from its checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

import trajectory
from trajectory import migrations

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("packaging")  # built once, by one worker


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source archive, and from it alone the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
        text=True,
    )
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    [path] = built.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel in an environment that is empty but for what it depends on."""
    folder = tmp_path_factory.mktemp("installed") / "env"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    options = ["--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(wheel)],
        check=True,
        capture_output=True,
        text=True,
    )
    # The dependencies are those of this environment, not downloaded again. A path that a .pth file
    # adds is not searched for further .pth files, so an editable install of ours is not seen.
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Any:
    """Run a program of the environment in an empty folder."""

    def run(*command: str, **variables: str) -> str:
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "TRAJECTORY_URL")}
        done = subprocess.run(
            [str(installed / "bin" / command[0]), *command[1:]],
            cwd=tmp_path,
            env={**kept, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_wheel_holds_the_package_and_its_migrations(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    door = "_trajectory_pytest.py"  # of the pytest plugin
    assert tops == {"trajectory", door, f"trajectory_log-{trajectory.__version__}.dist-info"}
    scripts = {name for name in names if name.startswith("trajectory/_migrations/")}
    versions = {path.name for path in (ROOT / "alembic" / "versions").glob("*.py")}
    assert scripts == {
        "trajectory/_migrations/env.py",
        "trajectory/_migrations/script.py.mako",
        *(f"trajectory/_migrations/versions/{name}" for name in versions),
    }
    assert "trajectory/py.typed" in names
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "trajectory").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")} - scripts - {door}


def test_the_source_archive_holds_what_the_wheel_and_the_tests_need(built: Path) -> None:
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "alembic.ini",
        "alembic/env.py",
        "alembic/script.py.mako",
        "alembic/versions/0001_turns.py",
        "tests/packaging/test_wheel.py",
        "trajectory/py.typed",
        "_trajectory_pytest.py",
    } <= names
    assert not [n for n in names if "__pycache__" in n or n.endswith((".pyc", ".db"))]


def test_the_checkouts_alembic_is_no_package() -> None:
    # With an __init__.py, it would hide the installed alembic wherever the checkout is on the path.
    assert (ROOT / "alembic" / "env.py").exists()
    assert not (ROOT / "alembic" / "__init__.py").exists()


def test_an_installed_wheel_upgrades_an_empty_database(
    run: Any, tmp_path: Path, installed: Path
) -> None:
    module = run("python", "-c", "import trajectory; print(trajectory.__file__)")
    assert Path(module.strip()).is_relative_to(installed)
    assert run("trajectory", "--version") == f"trajectory {trajectory.__version__}\n"

    answer = json.loads(run("trajectory", "db", "upgrade", "--db", "new.db", "--json"))
    assert (answer["revision"], answer["usable"]) == (migrations.HEAD, True)
    assert migrations.check(str(tmp_path / "new.db")).usable
    run("trajectory", "db", "check", TRAJECTORY_URL="new.db")
    assert run("trajectory", "db", "upgrade", "--sql") == migrations.script("any.db")


def test_an_installed_wheel_upgrades_postgres(run: Any, empty_postgres_url: str) -> None:
    run("trajectory", "db", "upgrade", "--db", empty_postgres_url)
    assert migrations.check(empty_postgres_url).usable


LOG_A_TURN = """
import asyncio
from trajectory import TrajectoryLogger, TurnQuery

async def main():
    async with TrajectoryLogger("turns.db") as logger:
        async with logger.trajectory(spec_id="S-1", agent_name="a", run_id="r-1") as run:
            await run.log_turn("which provider?", "Google or GitHub?")
        await logger.flush()
        turns = [turn async for turn in logger.backend.read_turns(TurnQuery())]
    print([(turn.turn_number, turn.prompt, turn.response) for turn in turns])

asyncio.run(main())
"""


@pytest.mark.parametrize("upgraded", [True, False])
def test_an_installed_wheel_logs_a_turn(run: Any, tmp_path: Path, upgraded: bool) -> None:
    if upgraded:
        run("trajectory", "db", "upgrade", "--db", "turns.db")
    out = run("python", "-W", "error", "-c", LOG_A_TURN)
    assert out == "[(1, 'which provider?', 'Google or GitHub?')]\n"
    assert migrations.check(str(tmp_path / "turns.db")).standing is migrations.Standing.CURRENT


USES_THE_PLUGIN = """
def test_logs(sync_trajectory_logger):
    with sync_trajectory_logger.trajectory(agent_name="a") as run:
        run.log_turn("p", "r")
    assert [turn.prompt for turn in sync_trajectory_logger.turns()] == ["p"]

def test_fails(sync_trajectory_logger):
    with sync_trajectory_logger.trajectory(agent_name="a") as run:
        run.log_turn("p", "r")
        assert 1 == 2
"""


def test_an_installed_wheel_is_a_pytest_plugin(run: Any, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(USES_THE_PLUGIN)
    program = (
        "import pytest; assert pytest.main(['-q', '--trajectory-db=runs.db', '-k', '{}']) == {}"
    )
    run("python", "-c", program.format("logs", 0))
    run("python", "-c", program.format("fails", 1))
    found = json.loads(run("trajectory", "list", "--db", "runs.db", "--json", "--limit", "1"))
    [newest] = found["trajectories"]
    assert (newest["status"], newest["reward"]) == ("failed", 0.0)
