"""`trajectory score`: how little agents asked of their users, how well they kept to preferences."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from trajectory.cli import lines, screen
from trajectory.cli.extraction import Extraction, extract_stored
from trajectory.cli.filters import Filters, Limit, filtered, source_name
from trajectory.cli.options import DEFAULT_DB, Db, Json
from trajectory.cli.running import run
from trajectory.errors import ConfigurationError
from trajectory.figures import COUNTS, RESULTS, Sums
from trajectory.models import AGENT
from trajectory.query import TrajectoryQuery
from trajectory.scoring import FORMULA, PPPWeights
from trajectory.scoring.effort import HEURISTIC
from trajectory.store import TrajectoryScore, TrajectoryStore
from trajectory.words import counted

FAILED = 1

_HEADS = ("id", *COUNTS, *RESULTS)
_FIGURES = frozenset(_HEADS[1:])
_SHOWN_AT_ONCE = 200
"""Rows that are printed together; their columns are as wide as they need."""

_MAX_FILE_BYTES = 2**20


@filtered
def score(
    ids: Annotated[
        list[UUID] | None, typer.Argument(metavar="[ID...]", help="Only these trajectories.")
    ] = None,
    db: Db = DEFAULT_DB,
    *,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="NAME",
            callback=source_name,
            help=f"Whose questions and violations count: {AGENT}, or with --extract {HEURISTIC}.",
        ),
    ] = None,
    extract: Annotated[
        bool,
        typer.Option("--extract", help="First look for questions in the responses, and store them"),
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FILE", help="TOML with other weights: medium = -0.2"),
    ] = None,
    limit: Limit = None,
    chosen: Filters,
    json: Json = False,
) -> None:
    """Score trajectories, the newest first: PPP (arXiv 2511.02208).

    For each the questions by effort and the violations by severity, R_Proact, R_Pers and their
    total; below, the sums of the counts and the means of the scores.

    With --extract, questions are found by rules and stored beside the turns, then scored. That may
    be repeated: what is stored already stays as it is.

    Exit codes: 0 done; 1 an ID is not there, or the database failed; 2 wrong use;
    130 interrupted.
    """
    if extract and source not in (None, HEURISTIC):
        raise ConfigurationError(
            f"--extract finds the questions of {HEURISTIC}, and --source asks for others; run it "
            f"first, then without --extract"
        )
    wanted = tuple(dict.fromkeys(ids)) if ids else None
    query = chosen.trajectories(ids=wanted, descending=True, limit=limit)
    chosen_weights = PPPWeights() if weights is None else _weights(weights)
    named = source or (HEURISTIC if extract else AGENT)
    missing = run(_score(db, query, chosen_weights, named, extracts=extract, json=json))
    for id_ in missing:
        screen.fail(f"there is no trajectory {id_}")
    if missing:
        raise typer.Exit(FAILED)


async def _score(
    db: str, query: TrajectoryQuery, weights: PPPWeights, source: str, *, extracts: bool, json: bool
) -> list[UUID]:
    """Score and print; give the ids that are not there."""
    async with TrajectoryStore(db) as store:
        extraction = await extract_stored(store, query) if extracts else None
        if extraction is not None and not json:
            _tell(extraction)
        sums = Sums()
        kept: list[dict[str, Any]] = []
        rows: list[TrajectoryScore] = []
        page = None if json else _Table()
        async with aclosing(store.scores(query, weights=weights, source=source)) as found:
            async for scored in found:
                sums.add(scored)
                if page is None:
                    kept.append(_as_json(scored))
                    continue
                rows.append(scored)
                if len(rows) == _SHOWN_AT_ONCE:
                    page.print(rows)
                    rows.clear()
        missing = await _missing(store, query.ids or ())
        if page is None:
            found_ = {"trajectories": kept, "missing": [str(id_) for id_ in missing]}
            _answer(found_, sums, weights, source, extraction)
        else:
            page.print(rows, sums)
        return missing


async def _missing(store: TrajectoryStore, ids: Sequence[UUID]) -> list[UUID]:
    return [id_ for id_ in ids if await store.get(id_) is None]


class _Table:
    def __init__(self) -> None:
        self._page = screen.Page()
        self._has_head = False

    def print(self, rows: Sequence[TrajectoryScore], sums: Sums | None = None) -> None:
        """Print some rows; with `sums`, which come last, a line of them."""
        cells = [_row(each) for each in rows]
        means = None if sums is None else sums.means
        if sums is not None and means is not None:
            cells.append(
                (
                    f"mean of {sums.number:,}",
                    *(lines.figure(sums.counts[name]) for name in COUNTS),
                    *(lines.signed(means[name]) for name in RESULTS),
                )
            )
        head, *body = lines.table(_HEADS, cells, _FIGURES)
        if not self._has_head:
            self._page.line(head, "bold")
            self._has_head = True
        for number, line in enumerate(body):
            is_last = means is not None and number + 1 == len(body)
            self._page.line(line, "bold" if is_last else "")


def _row(scored: TrajectoryScore) -> tuple[str, ...]:
    result = scored.score
    return (
        str(scored.trajectory_id),
        *(lines.figure(getattr(result.counts, name)) for name in COUNTS),
        *(lines.signed(getattr(result, name)) for name in RESULTS),
    )


def _tell(extraction: Extraction) -> None:
    found = (
        f"{counted(extraction.questions, 'question')} in {counted(extraction.turns, 'turn')}: "
        f"{extraction.new:,} new"
    )
    screen.note(found if extraction.new else f"{found}; nothing was changed")
    if extraction.differing:
        screen.note(
            f"{counted(extraction.differing, 'turn')} with other questions of {HEURISTIC}, which "
            f"were left as they are",
            "yellow",
        )


def _answer(
    told: dict[str, Any],
    sums: Sums,
    weights: PPPWeights,
    source: str,
    extraction: Extraction | None,
) -> None:
    screen.answer(
        {
            **told,
            "counts": sums.counts,
            "mean": sums.means,
            "source": source,
            "formula": FORMULA,
            "weights": {**asdict(weights), "preferences": dict(weights.preferences)},
            "extraction": None if extraction is None else asdict(extraction),
        }
    )


def _as_json(scored: TrajectoryScore) -> dict[str, Any]:
    result = scored.score
    return {
        "id": str(scored.trajectory_id),
        **{name: getattr(result.counts, name) for name in COUNTS},
        **{name: getattr(result, name) for name in RESULTS},
    }


def _weights(path: Path) -> PPPWeights:
    """Read weights from a TOML file. Raises `ConfigurationError`."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
        if len(text) > _MAX_FILE_BYTES:
            raise ConfigurationError(
                f"{path} has more than {_MAX_FILE_BYTES} bytes; give a shorter"
            )
        given = tomllib.loads(text.decode("utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"can't read the weights from {path}: {error.strerror}; check the path"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {str(error)[:200]}") from None
    known = PPPWeights.__dataclass_fields__
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise ConfigurationError(
            f"{path}: {unknown[0][:60]!r} is no weight; there are {', '.join(known)}"
        )
    try:
        return PPPWeights(**given)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None
