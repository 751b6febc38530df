"""`trajectory doctor`: whether all is well, and what to do where it isn't."""

from __future__ import annotations

from typing import Any

import typer

from trajectory.checkup import check_up
from trajectory.cli import screen, variables
from trajectory.cli.alarms import Alarms
from trajectory.cli.options import DEFAULT_DB, Db, JournalDir, Json
from trajectory.finding import Finding, Verdict

_STYLES = {Verdict.OK: "", Verdict.WARNING: "yellow", Verdict.PROBLEM: "bold red"}


def doctor(db: Db = DEFAULT_DB, *, journal_dir: JournalDir = None, json: Json = False) -> None:
    """Check a database, its journals and the disk, and say what to do.

    Changes nothing. Each line is ok, a warning, or a problem: turns can't be stored, or are in
    danger. Works where the database is away.

    Exit codes: 0 no problem; 1 at least one; 2 wrong use.
    """
    given: dict[str, Any] = {} if journal_dir is None else {"journal_dir": journal_dir}
    with Alarms() as alarms:
        findings = check_up(db, variables.settings(**given))
        alarms.tell()
    worst = max((finding.verdict for finding in findings), key=list(Verdict).index)
    if json:
        screen.answer({"verdict": worst.value, "findings": [_as_json(each) for each in findings]})
    else:
        for finding in findings:
            line = f"{finding.verdict:<8} {finding.check}: {finding.told}"
            screen.say(line, _STYLES[finding.verdict])
            if finding.advice is not None:
                screen.say(f"         {finding.advice}")
    raise typer.Exit(1 if worst is Verdict.PROBLEM else 0)


def _as_json(finding: Finding) -> dict[str, str | None]:
    return {
        "check": finding.check,
        "verdict": finding.verdict.value,
        "found": finding.told,
        "advice": finding.advice,
    }
