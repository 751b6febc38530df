"""What the project promises of its speed, each a ratio or a difference within one run."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.groups import BATCHED, JOURNALED, ONE_BAD, SINGLE
from benchmarks.suite import Results


class Target(NamedTuple):
    """A promise beside what was seen."""

    promise: str
    unit: str
    limit: float
    seen: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether what was seen keeps the promise."""
        return self.seen >= self.limit if self.at_least else self.seen <= self.limit

    @property
    def wanted(self) -> str:
        """The limit in words."""
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g}{self.unit}"

    @property
    def found(self) -> str:
        """What was seen, in the same unit."""
        return f"{self.seen:.2f}{self.unit}"


def targets(results: Results) -> list[Target]:
    """Give the promises about what was measured; the others are left out."""
    found = []
    for name, title in (
        ("strategies-wal", "WAL"),
        ("strategies-rollback", "rollback journal"),
    ):
        if name in results:
            times = results[name][BATCHED]["turns_per_s"] / results[name][SINGLE]["turns_per_s"]
            found.append(
                Target(f"{title}: async batched over async single", "x", 10, times, at_least=True)
            )
    if "strategies-wal" in results:
        share = results["strategies-wal"][BATCHED]["ratio"]
        found.append(
            Target("WAL: async batched (queued) over bare sqlite3", "", 0.25, share, at_least=True)
        )
    if "stall" in results:
        added = results["stall"]["logging on"]["added_p999_ms"]
        found.append(
            Target(
                "event loop: lateness added at 10,000 turns/s, p99.9",
                " ms",
                2,
                added,
                at_least=False,
            )
        )
    if "hot-path" in results:
        mean = results["hot-path"]["1000 calls without a pause"]["caller_mean_us"]
        found.append(Target("log_turn: mean of 1000 calls", " us", 100, mean, at_least=False))
    if "journal" in results:
        kept = results["journal"][JOURNALED]["ratio"]
        found.append(Target("journaled over queued, turns/s", "", 0.7, kept, at_least=True))
    if "journal-call" in results:
        times = results["journal-call"][JOURNALED]["ratio"]
        found.append(
            Target("journaled over queued, median of log_turn", "x", 4, times, at_least=False)
        )
    if "bad-turn" in results:
        added = results["bad-turn"][ONE_BAD]["added_batch_ms"]
        found.append(Target("added to a batch by one bad turn", " ms", 20, added, at_least=False))
    return found
