"""`python -m benchmarks.subject`: run one subject, in a process that has loaded nothing else.

What a subject measures may be memory, or how long an import takes, so this imports its module alone
and prints the figures as JSON.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module


def main() -> None:
    """Run what the one argument names: `[module.function, turns, options]`."""
    name, turns, options = json.loads(sys.argv[1])
    module, _, function = name.rpartition(".")
    figures = getattr(import_module(f"benchmarks.{module}"), function)(turns, **options)
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    main()
