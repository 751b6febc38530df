"""`trajectory list`: the newest first, a page at a time, chosen by filters that mean themselves."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hostile import HOSTILE, obeyed
from looking import LATER, answered, at, done, id_of, ran, refused, started, store, turn_of
from typer.testing import CliRunner

from trajectory import Question, ToolCall, TrajectoryStore, Violation
from trajectory.cli import app
from trajectory.cli.filters import Filters, metadata
from trajectory.door import now_utc
from trajectory.errors import ConfigurationError
from trajectory.testing.samples import NOON
from trajectory.when import instant

HARD = Question(question_text="Which?", effort_level="high")
BROKEN = Violation(preference_name="short", severity="major")


def listed(*arguments: str) -> list[str]:
    """Give the numbers of what is listed."""
    found = answered("list", *arguments)["trajectories"]
    return [str(2**127 - int(each["id"].replace("-", ""), 16)) for each in found]


def test_shows_the_newest_first_with_counts_and_score(database: str) -> None:
    store(
        database,
        [started(1, agent_name="coder", spec_id="S-1"), started(2), started(3, status="failed")],
        [
            turn_of(1, 1, token_count=1000, questions=[HARD]),
            turn_of(1, 2, input_tokens=200, output_tokens=34, violations=[BROKEN]),
            turn_of(2, 1),
        ],
    )
    head, *rows = done("list", "--db", database).splitlines()
    assert head.split() == [
        *("when", "(UTC)", "id", "agent", "spec", "status", "turns", "tokens", "score")
    ]
    assert rows == [
        f"2026-01-02 12:03  {id_of(3)}  -      -     failed         0       -   +0.1",
        f"2026-01-02 12:02  {id_of(2)}  -      -     completed      1       -   +0.1",
        f"2026-01-02 12:01  {id_of(1)}  coder  S-1   completed      2   1,234  -0.53",
    ]
    (found,) = answered("list", "--db", database, "--agent", "coder")["trajectories"]
    assert found["score"] == {
        "total": -0.53,
        "r_proact": -0.5,
        "r_pers": -0.03,
        "source": "agent",
        "formula": found["score"]["formula"],
    }
    assert (found["turns"], found["tokens"], found["spec_id"]) == (2, 1234, "S-1")
    assert datetime.fromisoformat(found["last_turn_at"]) == NOON + timedelta(minutes=1, seconds=2)


def test_scores_the_findings_of_the_source_that_is_named(tmp_path: Path) -> None:
    db = str(tmp_path / "t.db")
    found = HARD.replace(source="heuristic/1")
    store(db, [started(1)], [turn_of(1, questions=[found])])
    totals = {
        source: answered("list", "--db", db, "--source", source)["trajectories"][0]["score"][
            "total"
        ]
        for source in ("agent", "heuristic/1")
    }
    assert totals == {"agent": 0.1, "heuristic/1": -0.45}


def test_what_runs_and_has_been_silent_for_an_hour_is_interrupted(database: str) -> None:
    now = now_utc()
    early, late = now - timedelta(hours=2), now - timedelta(minutes=5)
    running: dict[str, Any] = {"status": "running", "created_at": early}
    store(
        database,
        [
            started(1, **running),
            started(2, **running),
            started(3, **running | {"created_at": late}),
            started(4, **running | {"status": "completed", "ended_at": early}),
            started(5, **running | {"status": None}),
        ],
        [turn_of(2, created_at=late)],
    )
    found = answered("list", "--db", database)["trajectories"]
    assert {str(2**127 - int(each["id"].replace("-", ""), 16)) for each in found} == set("12345")
    assert [each["id"] for each in found if each["interrupted"]] == [str(id_of(1))]
    lines = done("list", "--db", database).splitlines()[1:]
    stands = {line.split()[2]: line.split()[5] for line in lines}
    assert [stands[str(id_of(number))] for number in range(1, 6)] == [
        "interrupted",
        "running",
        "running",
        "completed",
        "-",
    ]


FILTERS: list[tuple[list[str], str]] = [
    ([], "4321"),
    (["--spec", "S-1"], "1"),
    (["--agent", "a"], "21"),
    (["--agent", "A"], ""),
    (["--run", "r"], "1"),
    (["--session", "s"], "1"),
    (["--user", "u"], "1"),
    (["--status", "failed"], "3"),
    (["--since", at(NOON + timedelta(minutes=2))], "432"),
    (["--until", at(NOON + timedelta(minutes=2))], "1"),
    (["--since", "1d"], ""),
    (["--until", "1s"], "4321"),
    (["--text", "needle"], "2"),
    (["--text", "NEEDLE"], ""),
    (["--tool", "bash"], "3"),
    (["--effort", "high"], "2"),
    (["--effort", "low"], ""),
    (["--severity", "major"], "3"),
    (["--preference", "short"], "3"),
    (["--meta", "branch.name=main"], "1"),
    (["--meta", 'branch={"name": "main"}'], "1"),
    (["--meta", '["branch", "name"]="main"'], "1"),
    (["--meta", "n=1"], "2"),
    (["--meta", 'n="1"'], "3"),
    (["--meta", "n=1.0"], ""),
    (["--meta", "branch.name=main", "--meta", "n=1"], ""),
    (["--agent", "a", "--text", "needle"], "2"),
    (["--agent", "a", "--tool", "bash"], ""),
    (["--tool", "bash", "--severity", "major"], "3"),
    (["--limit", "2"], "43"),
    (["-n", "1", "--agent", "a"], "2"),
]


def test_filters_choose(database: str) -> None:
    store(
        database,
        [
            started(
                1,
                spec_id="S-1",
                agent_name="a",
                run_id="r",
                session_id="s",
                user_id="u",
                metadata={"branch": {"name": "main"}},
            ),
            started(2, agent_name="a", metadata={"n": 1}),
            started(3, status="failed", metadata={"n": "1"}),
            started(4),
        ],
        [
            turn_of(1),
            turn_of(2, 1, response="a needle."),
            turn_of(2, 2, questions=[HARD]),
            turn_of(3, tool_calls=[ToolCall(tool_name="bash")], violations=[BROKEN]),
            turn_of(4),
        ],
    )
    chosen = {" ".join(given): "".join(listed("--db", database, *given)) for given, _ in FILTERS}
    assert chosen == {" ".join(given): wanted for given, wanted in FILTERS}


def test_pages_give_each_once(database: str) -> None:
    starts = [
        started(number, created_at=NOON + timedelta(hours=number // 3)) for number in range(8)
    ]
    store(database, starts)
    whole = [each["id"] for each in answered("list", "--db", database)["trajectories"]]
    assert len(whole) == 8
    pages: list[list[str]] = []
    after: list[str] = []
    while True:
        page = answered("list", "--db", database, "--limit", "3", *after)
        pages.append([each["id"] for each in page["trajectories"]])
        if page["next"] is None:
            break
        after = ["--after", page["next"]]
    assert pages == [whole[:3], whole[3:6], whole[6:]]
    assert answered("list", "--db", database, "--limit", "8")["next"] is None


def test_reads_and_counts_no_more_than_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = str(tmp_path / "t.db")
    store(db, [started(number) for number in range(50)])
    limits, counted = [], []
    trajectories, totals = TrajectoryStore.trajectories, TrajectoryStore.totals

    def reading(self: TrajectoryStore, query: Any) -> Any:
        limits.append((query.limit, query.ids is not None))
        return trajectories(self, query)

    def counting(self: TrajectoryStore, ids: Sequence[Any]) -> Any:
        counted.append(len(ids))
        return totals(self, ids)

    monkeypatch.setattr(TrajectoryStore, "trajectories", reading)
    monkeypatch.setattr(TrajectoryStore, "totals", counting)
    assert len(done("list", "--db", db).splitlines()) == 21
    assert limits[0] == (21, False)
    assert all(has_ids for _, has_ids in limits[1:])
    assert counted == [20]


def test_a_long_table_has_one_head(tmp_path: Path) -> None:
    db = str(tmp_path / "t.db")
    store(db, [started(number) for number in range(450)])
    head, *rows = done("list", "--db", db, "--limit", "420").splitlines()
    assert head.startswith("when")
    assert [row.split()[2] for row in rows] == [str(id_of(n)) for n in range(449, 29, -1)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--since", "yesterday"], "--since 'yesterday' is no time; give 2026-01-31"),
        (["--until", "99999999w"], "--until '99999999w' is no time"),
        (["--since", "2026-13-01"], "is no time"),
        (["--status", "done"], "'done' is not one of"),
        (["--effort", "huge"], "'huge' is not one of"),
        (["--meta", "a"], "--meta 'a' can't be read; give a path and a value"),
        (["--meta", "=1"], "can't be read"),
        (["--meta", "[]=1"], "can't be read"),
        (["--meta", "[1]=1"], "can't be read"),
        (["--meta", '["a"=1'], "can't be read"),
        (["--meta", "a={"], "can't be read"),
        (["--meta", f"a={'[' * 100_000}"], "can't be read"),
        (["--meta", f"{'[' * 100_000}=1"], "can't be read"),
        (["--meta", f"a={'[' * 70}{']' * 70}"], "nests deeper than 64 levels"),
        (["--meta", f"a={2**70}"], "beyond 64 bits"),
        (["--meta", "a=1", "--meta", "a=2"], "--meta names 'a' twice"),
        (["--after", "here"], "--after 'here' is no place in a list"),
        (["--after", f"2026-01-01_{id_of(1)}"], "is no place in a list"),
        (["--limit", "-1"], "greater than or equal to 1"),
    ],
)
def test_wrong_use_is_told(tmp_path: Path, arguments: list[str], told: str) -> None:
    db = str(tmp_path / "t.db")
    store(db, [started(1)])
    assert told in refused(2, "list", "--db", db, *arguments)
    result = ran("list", "--db", db, *arguments, "--json")
    assert result.exit_code == 2
    assert set(json.loads(result.stdout)) == {"error"}


@pytest.mark.parametrize("command", [["list"], ["show", "abcd"], ["tail"], ["stats"]], ids=str)
def test_a_database_that_is_not_there_is_told_and_not_made(
    tmp_path: Path, command: list[str]
) -> None:
    db = tmp_path / "no.db"
    assert "there is no file" in refused(2, *command, "--db", str(db))
    assert not db.exists()


def test_nothing_found_is_an_empty_table(tmp_path: Path) -> None:
    db = str(tmp_path / "t.db")
    store(db, [started(1)])
    result = ran("list", "--db", db, "--agent", "nobody")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)
    assert "no trajectory" in result.stderr
    assert answered("list", "--db", db, "--agent", "nobody") == {"trajectories": [], "next": None}


def test_hostile_labels_are_shown_and_chosen_as_they_are(database: str) -> None:
    store(
        database,
        [
            started(number, agent_name=text, spec_id=text, metadata={text: {"deep": text}})
            for number, text in enumerate(HOSTILE)
        ],
    )
    shown = done("list", "--db", database, "--limit", "1000")
    assert not obeyed(shown)
    assert len(shown.splitlines()) == len(HOSTILE) + 1
    found = answered("list", "--db", database, "--limit", "1000")["trajectories"]
    assert [each["agent_name"] for each in found] == list(reversed(HOSTILE))
    assert [each["metadata"] for each in found] == [{t: {"deep": t}} for t in reversed(HOSTILE)]
    for number in range(0, len(HOSTILE), 50):
        text = HOSTILE[number]
        assert listed("--db", database, f"--agent={text}", f"--spec={text}") == [str(number)]
    assert asyncio.run(found_by(database, HOSTILE, lambda text: Filters(agent=text))) == HOSTILE


async def found_by(
    db: str, texts: Sequence[str], choose: Callable[[str], Filters]
) -> tuple[str, ...]:
    """Look for each text; give the agents that were found."""
    async with TrajectoryStore(db) as opened:
        return tuple(
            [
                found.agent_name or ""
                for text in texts
                async for found in opened.trajectories(choose(text).trajectories())
            ]
        )


def test_hostile_keys_and_values_of_metadata_find_only_themselves(tmp_path: Path) -> None:
    db = str(tmp_path / "t.db")
    store(
        db,
        [
            started(number, agent_name=text, metadata={text: {"deep": text}, "all": text})
            for number, text in enumerate(HOSTILE)
        ],
    )

    def by_key(text: str) -> Filters:
        return Filters(meta=[f"{json.dumps([text, 'deep'])}={json.dumps(text)}"])

    def by_value(text: str) -> Filters:
        return Filters(meta=[f"all={json.dumps(text)}"])

    some = HOSTILE[::5]  # each reads all
    assert asyncio.run(found_by(db, some, by_key)) == some
    assert asyncio.run(found_by(db, some, by_value)) == some
    assert listed("--db", db, f"--meta=all={json.dumps(some[9])}") == ["45"]


def test_errors_show_what_was_given_without_obeying_it(tmp_path: Path) -> None:
    db = str(tmp_path / "t.db")
    store(db, [started(1)])
    for text in HOSTILE[::9]:
        for option in ("--since", "--after", "--meta"):
            result = ran("list", "--db", db, f"{option}={text}")
            assert not obeyed(result.output)
            assert result.exit_code in {0, 2}


def test_reads_times_and_ages() -> None:
    for text, wanted in {
        "2026-01-04": datetime(2026, 1, 4, tzinfo=UTC),
        "2026-01-04T12:00": datetime(2026, 1, 4, 12, tzinfo=UTC),
        "2026-01-04T12:00+02:00": datetime(2026, 1, 4, 10, tzinfo=UTC),
        "2026-01-04T12:00:00Z": datetime(2026, 1, 4, 12, tzinfo=UTC),
        "90s": LATER - timedelta(seconds=90),
        "5m": LATER - timedelta(minutes=5),
        "12h": LATER - timedelta(hours=12),
        "30d": LATER - timedelta(days=30),
        "2w": LATER - timedelta(weeks=2),
        "0d": LATER,
    }.items():
        assert instant(text, LATER, "--since") == wanted
    for text in ("", "d", "-1d", "1y", "1.5h", "٣d", "30 d", "0001-01-01T00:00+10:00"):
        with pytest.raises(ConfigurationError):
            instant(text, LATER, "--since")


def test_reads_paths_and_values() -> None:
    assert metadata(
        ["a.b=1", "c=text", 'd="1"', "e=", "f=NaN", '["a.b","c"]={"x":[]}', "g=a=b"]
    ) == {
        ("a", "b"): 1,
        ("c",): "text",
        ("d",): "1",
        ("e",): "",
        ("f",): "NaN",
        ("a.b", "c"): {"x": []},
        ("g",): "a=b",
    }
    for text in HOSTILE:
        with suppress(ConfigurationError):
            metadata([text])
        assert metadata([f"{json.dumps([text])}={json.dumps(text)}"]) == {(text,): text}


def test_a_limit_is_at_least_one(tmp_path: Path) -> None:
    assert "--limit" in refused(2, "list", "-n", "0", "--db", str(tmp_path / "t.db"))


@pytest.mark.parametrize(
    "name", ["", "a\ud800", "a\x00", "x" * 256], ids=["empty", "lone", "nul", "long"]
)
@pytest.mark.parametrize("command", ["list", "stats", "score", "show"])
def test_a_source_is_a_name_that_can_be_stored(database: str, command: str, name: str) -> None:
    store(database, [started(1)], [turn_of(1)])
    arguments = [command, *([str(id_of(1))] if command == "show" else []), "--db", database]
    assert "--source" in refused(2, *arguments, "--source", name)
    longest = Question(question_text="?", effort_level="low", source="x" * 255)
    assert done(*arguments, "--source", longest.source)


@pytest.mark.parametrize("command", ["list", "stats"])
@pytest.mark.parametrize("width", [80, 90, 120, 200])
def test_tables_fit_on_a_terminal(tmp_path: Path, command: str, width: int) -> None:
    """What can be done without goes, but for the score; in a pipe nothing is left out."""
    db = str(tmp_path / "t.db")
    store(
        db,
        [started(n, agent_name="agent " * 9, spec_id="spec " * 9) for n in range(1, 4)],
        [
            turn_of(n, token_count=10**n, tool_calls=[ToolCall(tool_name="t" * 90)])
            for n in range(1, 4)
        ],
    )
    screen = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(width)}
    shown = CliRunner().invoke(app, [command, "--db", db], env=screen)
    assert shown.exit_code == 0
    rows = re.sub(r"\x1b\[[0-9;]*m", "", shown.stdout).splitlines()
    assert max(map(len, rows)) <= width
    if command == "list":
        plain = done("list", "--db", db)
        assert str(id_of(1)) in plain
        assert str(id_of(1))[:13] in shown.stdout
        assert [row.split()[-1] for row in rows] == [row.split()[-1] for row in plain.splitlines()]
        assert ("spec spec" in shown.stdout) is (width >= 120)
        assert (str(id_of(1)) in shown.stdout) is (width == 200)
