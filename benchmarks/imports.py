"""What it takes to load the library, and what the command loads to say how it is used."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.work import Figures

_IMPORT = """
import sys
from time import perf_counter
began = perf_counter()
import {modules}
took = perf_counter() - began
import json
print(json.dumps([took, len(sys.modules)]))
"""
_HELP = """
import sys
from time import perf_counter
began = perf_counter()
from trajectory.cli import main
sys.argv = ["trajectory", "--help"]
try:
    main()
except SystemExit:
    pass
took = perf_counter() - began
import json
heavy = sorted({"sqlalchemy", "alembic"} & sys.modules.keys())
sys.stderr.write(json.dumps([took, len(sys.modules), heavy]))
"""


def imported(turns: int, *, modules: str) -> Figures:
    """Import modules in a fresh interpreter; `turns` is not used."""
    del turns
    seconds, loaded = json.loads(_python(_IMPORT.format(modules=modules)).stdout)
    return {"import_ms": seconds * 1e3, "modules": loaded}


def help_shown(turns: int) -> Figures:
    """Show `trajectory --help` in a fresh interpreter, and look what it loaded."""
    del turns
    seconds, loaded, heavy = json.loads(_python(_HELP).stderr)
    return {"import_ms": seconds * 1e3, "modules": loaded, "heavy_modules": len(heavy)}


def _python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
