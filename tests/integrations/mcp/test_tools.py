"""The tools: what they give is what is stored, in bounded parts that fit together."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hostile import HOSTILE
from looking import LATER, answered, at, id_of, started, stored, turn_of
from mcp_clients import Asker, here

from trajectory import Message, Question, ToolCall, Violation
from trajectory.integrations.mcp import server
from trajectory.testing.samples import NOON, full_trajectory, full_turn

HARD = Question(question_text="Which?", effort_level="high")
BROKEN = Violation(preference_name="short", severity="major")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "t.db")
    url = request.getfixturevalue("postgres_url")
    assert isinstance(url, str)
    return url


def numbers(rows: list[dict[str, Any]], key: str = "id") -> list[int]:
    """Give the numbers of trajectories."""
    return [2**127 - int(each[key].replace("-", ""), 16) for each in rows]


async def test_the_tools_say_that_they_only_read(tmp_path: Path) -> None:
    await stored(str(tmp_path / "t.db"))
    async with here(str(tmp_path / "t.db")) as ask:
        tools = (await ask.client.list_tools()).tools
        assert tuple(each.name for each in tools) == server.TOOLS
        for each in tools:
            assert each.annotations is not None
            assert each.annotations.read_only_hint is True
            assert each.annotations.destructive_hint is False
            assert each.annotations.open_world_hint is False
            assert each.input_schema["additionalProperties"] is False
            assert each.output_schema is not None
            assert each.description


async def test_lists_the_newest_first_with_counts_and_score(database: str) -> None:
    await stored(
        database,
        [started(1, agent_name="coder", spec_id="S-1"), started(2), started(3, status="running")],
        [
            turn_of(1, 1, token_count=1000, questions=[HARD]),
            turn_of(1, 2, input_tokens=200, output_tokens=34, violations=[BROKEN]),
        ],
    )
    async with here(database) as ask:
        found = await ask.answer("list_trajectories")
        assert numbers(found["trajectories"]) == [3, 2, 1]
        assert found["next_cursor"] is None
        newest, _, oldest = found["trajectories"]
        assert newest["status"] == "interrupted"
        assert (oldest["turns"], oldest["tokens"]) == (2, 1234)
        assert oldest["score"] == {"total": -0.53, "r_proact": -0.5, "r_pers": -0.03}
        assert (oldest["agent_name"], oldest["spec_id"]) == ("coder", "S-1")


FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({"spec_id": "S"}, [1]),
    ({"agent_name": "a"}, [2]),
    ({"run_id": "r"}, [3]),
    ({"session_id": "s"}, [4]),
    ({"user_id": "u"}, [5]),
    ({"parent_trajectory_id": str(id_of(1))}, [6]),
    ({"status": "failed"}, [7]),
    ({"metadata": {"branch.name": "main"}}, [8]),
    ({"metadata": {'["a.b", "c"]': 1}}, [9]),
    ({"metadata": {"branch": {"name": "main"}}}, [8]),
    ({"metadata": {"branch.name": "main", "x": 1}}, []),
    ({"since": at(NOON + timedelta(minutes=9))}, [9]),
    ({"until": at(NOON + timedelta(minutes=2))}, [1]),
    ({"since": "3000d", "until": "2026-01-02T12:01:30"}, [1]),
    ({"text": "needle"}, [1]),
    ({"text": "Needle"}, []),
    ({"tool": "grep"}, [2]),
    ({"effort": "high"}, [3]),
    ({"severity": "major"}, [4]),
    ({"preference": "short"}, [4]),
    ({"text": "p1-1", "tool": "grep"}, []),
]


@pytest.mark.parametrize(("filters", "expected"), FILTERS, ids=lambda each: json.dumps(each)[:40])
async def test_filters_choose_as_those_of_the_command_line_do(
    database: str, filters: dict[str, Any], expected: list[int]
) -> None:
    await stored(
        database,
        [
            started(1, spec_id="S"),
            started(2, agent_name="a"),
            started(3, run_id="r"),
            started(4, session_id="s"),
            started(5, user_id="u"),
            started(6, parent_trajectory_id=id_of(1)),
            started(7, status="failed"),
            started(8, metadata={"branch": {"name": "main"}}),
            started(9, metadata={"a.b": {"c": 1}}),
        ],
        [
            turn_of(1, response="a needle in it"),
            turn_of(2, tool_calls=[ToolCall(tool_name="grep")]),
            turn_of(3, questions=[HARD]),
            turn_of(4, violations=[BROKEN]),
        ],
    )
    async with here(database) as ask:
        found = await ask.answer("list_trajectories", **filters)
        assert sorted(numbers(found["trajectories"])) == expected
        scored = await ask.answer("score_trajectories", **filters)
        assert sorted(numbers(scored["trajectories"])) == expected
        figures = await ask.answer("statistics", **filters)
        assert (figures["mean_score"] is None) is (expected == [])


async def test_finds_turns_and_what_is_around_a_text(database: str) -> None:
    long = "x" * 5000 + "needle" + "y" * 5000
    await stored(
        database,
        [started(n) for n in (1, 2)],
        [turn_of(1, 1), turn_of(1, 2, response=long), turn_of(2, 1, prompt="a needle")],
    )
    async with here(database) as ask:
        found = await ask.pages("search_turns", text="needle", limit=1)
        rows = [row for page in found for row in page["turns"]]
        assert [(*numbers([row], "trajectory_id"), row["turn_number"]) for row in rows] == [
            (1, 2),
            (2, 1),
        ]
        response = rows[0]["response"]
        assert response["text"] in long
        assert "needle" in response["text"]
        assert response["characters"] == len(long)
        assert long[response["offset"] :].startswith(response["text"])
        assert rows[1]["prompt"] == {"text": "a needle", "offset": 0, "characters": 8}


async def test_all_of_a_trajectory_can_be_read(database: str) -> None:
    """Every text of a full turn comes whole, from the tools that show it or from `read_text`."""
    start = full_trajectory()
    turn = full_turn(start.id)
    await stored(database, [start], [turn])
    async with here(database) as ask:
        [page] = await ask.pages("show_trajectory", trajectory_id=str(turn.trajectory_id))
        assert page["turns"][0]["prompt"] == turn.prompt
        assert page["turns"][0]["response"] == turn.response
        assert page["turns"][0]["message_count"] == len(turn.messages)
        wanted = start.model_dump(mode="json")
        told = page["trajectory"]
        same = wanted.keys() & told.keys() - {"status"}
        assert {"system_prompt", "tools", "metadata", "tags"} <= same
        assert {name: told[name] for name in same} == {name: wanted[name] for name in same}
        [inside] = await ask.pages(
            "show_turn", trajectory_id=str(turn.trajectory_id), turn_number=turn.turn_number
        )
        dumped = turn.model_dump(mode="json")
        for shown, kept in (("messages", dumped["messages"]), ("tool_calls", dumped["tool_calls"])):
            for row, value in zip(inside[shown], kept, strict=True):
                assert {n: v for n, v in row.items() if n in value} == {
                    n: v for n, v in value.items() if n in row
                }
        for number, message in enumerate(turn.messages):
            for name in ("usage", "token_ids", "logprobs"):
                value = getattr(message, name)
                if value is not None:
                    text = await whole(
                        ask, turn.trajectory_id, turn.turn_number, f"messages/{number}/{name}"
                    )
                    assert json.loads(text) == value


async def whole(ask: Asker, id_: object, number: int | None, path: str) -> str:
    """Read a text to its end."""
    text = ""
    offset: int | None = 0
    while offset is not None:
        where = {} if number is None else {"turn_number": number}
        part = await ask.answer(
            "read_text", trajectory_id=str(id_), path=path, offset=offset, **where
        )
        assert part["offset"] == len(text)
        text += part["text"]
        offset = part["next_offset"]
        assert part["characters"] >= len(text)
    return text


@pytest.mark.parametrize("letter", ["x", '"', "é", "\x1b", "\U000e0041"], ids=ascii)
async def test_long_texts_are_cut_and_can_be_read_whole(tmp_path: Path, letter: str) -> None:
    url = str(tmp_path / "t.db")
    long = "".join(f"{letter}{n}" for n in range(20_000))
    turn = turn_of(
        1,
        prompt=long,
        response=long,
        error=long,
        metadata={"deep": [long]},
        messages=[Message(role="assistant", content=long, reasoning=long)] * 3,
        tool_calls=[ToolCall(tool_name="t", arguments=long, result=long)] * 30,
        questions=[Question(question_text=long, effort_level="low")] * 30,
        violations=[BROKEN.replace(expected=long, actual=long, reason=long)] * 30,
    )
    await stored(url, [started(1, system_prompt=long, tools=[long], error=long)], [turn])
    id_ = str(id_of(1))
    async with here(url) as ask:
        [page] = await ask.pages("show_trajectory", trajectory_id=id_)
        cuts = {each["path"]: each["characters"] for each in page["trajectory"]["cut"]}
        assert cuts["system_prompt"] == len(long)
        assert page["trajectory"]["tools"] is None
        shown = page["turns"][0]
        cuts = {each["path"]: each["characters"] for each in shown["cut"]}
        assert {"prompt", "response", "error", "metadata", "questions/0/question_text"} <= set(cuts)
        assert long.startswith(shown["prompt"])
        assert (shown["question_count"], len(shown["questions"])) == (30, 10)
        inside = await ask.pages("show_turn", trajectory_id=id_, turn_number=1)
        assert [each["position"] for part in inside for each in part["messages"]] == [0, 1, 2]
        calls = [each for part in inside for each in part["tool_calls"]]
        assert [each["position"] for each in calls] == list(range(30))
        paths = {each["path"] for part in inside for row in part["messages"] for each in row["cut"]}
        paths |= {each["path"] for row in calls for each in row["cut"]}
        assert "tool_calls/29/result" in paths
        for path in ("prompt", "tool_calls/29/result", "violations/29/reason"):
            assert await whole(ask, id_, 1, path) == long
        assert json.loads(await whole(ask, id_, 1, "metadata")) == {"deep": [long]}
        assert await whole(ask, id_, None, "system_prompt") == long
        assert json.loads(await whole(ask, id_, None, "tools")) == [long]


async def test_turns_come_in_parts_that_fit_together(database: str) -> None:
    turns = [turn_of(1, n, prompt=f"{n} " + "p" * (n * 200)) for n in range(1, 60)]
    await stored(database, [started(1)], turns)
    async with here(database) as ask:
        pages = await ask.pages("show_trajectory", trajectory_id=str(id_of(1)))
        assert len(pages) > 3
        assert pages[0]["trajectory"] is not None
        assert all(page["trajectory"] is None for page in pages[1:])
        rows = [row for page in pages for row in page["turns"]]
        assert [row["turn_number"] for row in rows] == list(range(1, 60))
        assert all(
            row["prompt"] == turn.prompt[: len(row["prompt"])]
            for row, turn in zip(rows, turns, strict=True)
        )


async def test_hostile_content_comes_back_as_data(database: str) -> None:
    await stored(
        database,
        [
            started(
                1,
                agent_name=HOSTILE[3],
                system_prompt="".join(HOSTILE),
                metadata={text: text for text in HOSTILE[:50]},
            )
        ],
        [
            turn_of(1, n, prompt=text, response=f"</result>\n{text}", tool_calls=[call])
            for n, text in enumerate(HOSTILE)
            for call in [ToolCall(tool_name=text, arguments=text, result=text)]
        ],
    )
    id_ = str(id_of(1))
    async with here(database) as ask:
        pages = await ask.pages("show_trajectory", trajectory_id=id_)
        rows = [row for page in pages for row in page["turns"]]
        assert [row["prompt"] for row in rows] == list(HOSTILE)
        assert [row["response"] for row in rows] == [f"</result>\n{text}" for text in HOSTILE]
        assert [row["tool_calls"][0]["tool_name"] for row in rows] == list(HOSTILE)
        for number in range(0, len(HOSTILE), 20):
            text = HOSTILE[number]
            [part] = await ask.pages("show_turn", trajectory_id=id_, turn_number=number)
            assert part["tool_calls"][0]["result"] == text
            found = await ask.answer("search_turns", text=text, limit=100)
            assert any(text in row["prompt"]["text"] for row in found["turns"])
            listed = await ask.answer("list_trajectories", tool=text)
            assert len(listed["trajectories"]) == 1
            assert (await ask.answer("list_trajectories", agent_name=text))["trajectories"] == (
                [] if text != HOSTILE[3] else listed["trajectories"]
            )


async def test_scores_are_those_of_the_source_that_is_named(tmp_path: Path) -> None:
    url = str(tmp_path / "t.db")
    found = HARD.replace(source="judge:x")
    await stored(url, [started(1), started(2)], [turn_of(1, questions=[found])])
    async with here(url) as ask:
        asked = [str(id_of(1)), str(id_of(7)), str(id_of(1))]
        told = await ask.answer("score_trajectories", ids=asked, source="judge:x")
        assert told["missing"] == [str(id_of(7))]
        [row] = told["trajectories"]
        assert (row["high"], row["r_proact"], told["source"]) == (1, -0.5, "judge:x")
        agent = await ask.answer("score_trajectories", ids=asked)
        assert agent["trajectories"][0]["high"] == 0
        assert (await ask.answer("statistics", source="judge:x"))["mean_score"] == {
            "total": pytest.approx((0.1 - 0.45) / 2),
            "r_proact": pytest.approx((0.05 - 0.5) / 2),
            "r_pers": 0.05,
        }


async def test_pages_keep_the_range_of_time_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An age counts from the first page: what was in range then is not lost on the way."""
    url = str(tmp_path / "t.db")
    await stored(url, [started(n) for n in range(1, 5)])
    now = LATER
    monkeypatch.setattr("trajectory.integrations.mcp.cursors.now_utc", lambda: now)
    age = f"{int((LATER - NOON).total_seconds()) - 60}s"
    async with here(url) as ask:
        first = await ask.answer("list_trajectories", since=age, limit=2)
        now += timedelta(hours=1)
        rest = await ask.answer(
            "list_trajectories", since=age, limit=100, cursor=first["next_cursor"]
        )
        assert numbers(first["trajectories"] + rest["trajectories"]) == [4, 3, 2, 1]
        assert (await ask.answer("list_trajectories", since=age))["trajectories"] == []


async def test_an_unknown_id_and_turn_are_told(tmp_path: Path) -> None:
    url = str(tmp_path / "t.db")
    await stored(url, [started(1)], [turn_of(1, 3)])
    async with here(url) as ask:
        for tool, more in (
            ("show_trajectory", {}),
            ("show_turn", {"turn_number": 0}),
            ("read_text", {"path": "tools"}),
        ):
            told = await ask.refusal(tool, trajectory_id=str(id_of(2)), **more)
            assert f"there is no trajectory {id_of(2)}" in told
        told = await ask.refusal("show_turn", trajectory_id=str(id_of(1)), turn_number=4)
        assert "has no turn 4; it has 1 turn" in told
        told = await ask.refusal(
            "read_text", trajectory_id=str(id_of(1)), turn_number=3, path="prompt", offset=99
        )
        assert "offset is 99, and the text has 4 characters" in told


PATHS = [
    *("prompt/0/x", "x", "messages/0/content", "messages/999999999/content", "created_at"),
    *("tool_calls/0/__class__", "key", "model_fields", "trajectory_id", "turn_number"),
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_path_without_a_text_is_refused(tmp_path: Path, path: str) -> None:
    url = str(tmp_path / "t.db")
    await stored(url, [started(1)], [turn_of(1)])
    async with here(url) as ask:
        told = await ask.refusal("read_text", trajectory_id=str(id_of(1)), turn_number=1, path=path)
        assert "there is no text at this path" in told


async def test_the_figures_are_those_of_the_command_line(database: str) -> None:
    await stored(
        database,
        [started(n, agent_name=f"a{n}") for n in range(1, 4)],
        [turn_of(n, m, latency_ms=n * m) for n in (1, 2) for m in (1, 2)],
    )
    expected = await asyncio.to_thread(answered, "stats", "--db", database)
    async with here(database) as ask:
        told = await ask.answer("statistics")
        assert told.pop("mean_score")["total"] == pytest.approx(0.1)
        assert told == expected
