"""What counts as a question to the user, and what only looks like one."""

from __future__ import annotations

import time
from uuid import UUID

import pytest
from factories import TurnFactory
from hypothesis import given
from hypothesis import strategies as st
from scoring.labelled import responses

from trajectory import EffortLevel, Question, TrajectoryLogger, Turn, TurnQuery
from trajectory.scoring import (
    Asked,
    Counts,
    HeuristicExtractor,
    QuestionExtractor,
    effort_of,
    find_questions,
    score_turns,
)
from trajectory.scoring.extraction import MAX_QUESTIONS


def turn(response: str, **fields: object) -> Turn:
    return Turn(trajectory_id=UUID(int=1), turn_number=1, prompt="p", response=response, **fields)


def texts(response: str) -> list[str]:
    return [asked.text for asked in find_questions(response)]


@pytest.mark.parametrize(
    ("response", "found"),
    [
        # Sentences.
        ("", []),
        ("Done: see auth.py.", []),
        ("Which provider: Google or GitHub?", ["Which provider: Google or GitHub?"]),
        ("Hi! Which one? I can do both.", ["Which one?"]),
        ("Google? Or GitHub?", ["Google?", "Or GitHub?"]),
        ("I read it.\nShould I go on\nwith step two?", ["Should I go on with step two?"]),
        ("Should I go on?!", ["Should I go on?!"]),
        ("Really??? Fine.", ["Really???"]),
        ("Use a library, e.g. Authlib? Or none?", ["Use a library, e.g. Authlib?", "Or none?"]),
        ("It is v1.2. Is 3.11 fine?", ["Is 3.11 fine?"]),
        ("I waited... Are you there?", ["Are you there?"]),
        ("**Which provider should I use?**", ["Which provider should I use?"]),
        ("All set. (Should I add tests?)", ["Should I add tests?"]),
        ("Do you (or does your team?) need it?", ["Do you (or does your team?) need it?"]),
        ("? ?? \N{THINKING FACE}?", []),
        ("Windows:\r\nIs it 11?\r\n\r\nOr 10?", ["Is it 11?", "Or 10?"]),
        # Lists.
        (
            "Before I start:\n1. Which port?\n2. Is TLS needed?\n\nThanks.",
            ["Which port?", "Is TLS needed?"],
        ),
        ("- [ ] Which port?\n- [x] TLS: on", ["Which port?"]),
        ("* **Port**: which one? I suggest 80.", ["Port: which one?"]),
        (
            "1) Which port\n   do you use?\n2) And which host?",
            ["Which port do you use?", "And which host?"],
        ),
        ("- a\n\n    Is this paragraph in the item?", ["Is this paragraph in the item?"]),
        ("Could you answer these?\n- Which port?\n- Which host?", ["Which port?", "Which host?"]),
        # Code.
        ("```python\n# why?\nx = a if b else c  # ok?\n```\nRun it?", ["Run it?"]),
        ("~~~\nWhy?\n```\nStill code?\n~~~\nDone.", []),
        ("```\nnever closed?\n\nReally?", []),
        ("- item\n  ```\n  why?\n  ```\n- Which port?", ["Which port?"]),
        ("1. Look:\n\n    ```py\n    why?\n    ```\n\n2. Which port?", ["Which port?"]),
        ("Look:\n\n    x = y ? 1 : 2\n\n    why?\n\nOk?", ["Ok?"]),
        ("Use `a?.b` and `why?` here.", []),
        ("Should I use `a ?? b` here?", ["Should I use `a ?? b` here?"]),
        ("Does https://example.org/?q=why work?", ["Does https://example.org/?q=why work?"]),
        ("See https://example.org/?q=1 for more.", []),
        ("See [why?](https://example.org/?a=b).", []),
        ("Then x ? 1 : 2 is taken.", []),
        # Quotations, headings, tables, thoughts.
        ("> Which provider?\nstill quoted?\n\nGoogle it is.", []),
        ('You asked "which provider?" and I chose Google.', []),
        ("The form says \u201eWirklich löschen?\u201c and waits.", []),
        ("It prints 'Sure?' and stops.", []),
        ("It's the users' fault; isn't it ours?", ["It's the users' fault; isn't it ours?"]),
        ('Should the title be "What is new?"?', ['Should the title be "What is new?"?']),
        ("## Why two caches?\nThey differ.", []),
        ("Why two caches?\n---\nThey differ.", []),
        ("- Which port?\n---\nThanks.", ["Which port?"]),
        ("Is it so?\n- \n- yes", ["Is it so?"]),
        ("| Safe? | Fast? |\n|---|---|\n| yes | no |", []),
        ("<think>\nShould I ask?\n\nWhy?\n</think>\nWhich port?", ["Which port?"]),
        ("Fine.<!-- is it? --> Which port?", ["Which port?"]),
        ("It supports this (?) somehow.", []),
        # Rhetorical.
        ("Why does it fail? Because the port is taken.", []),
        ("Is it safe? Yes, it holds a lock.", []),
        ("Should I go on? Yes or no.", ["Should I go on?"]),
        ("Which port? Since 80 is taken, 81 may do.", ["Which port?"]),
        ("Shall I go on? No file was changed so far.", ["Shall I go on?"]),
        ("Do you want it? Well-known clients need it.", ["Do you want it?"]),
        ("Does it work? Not really.", []),
        ("Is it fast?\n\nNo.", []),
        ("Warum ist das so? Weil der Port belegt ist.", []),
        ("The result? A tenth of the time.", []),
        ("Why? The lock was held twice.", []),
        ("I would drop it. Why?", ["Why?"]),
        ("What does this mean?\n\nThe cache is never read.", []),
        ("Q: Is it fast?\nA: It is.", []),
        ("Let me see, where is the parser? Found it.", []),
        ("Isn't that great?", []),
        ("What could possibly go wrong?", []),
        ("So what happened?", ["So what happened?"]),
        # Asked without a question mark.
        ("Please confirm that the port is 80.", ["Please confirm that the port is 80."]),
        ("Let me know which port to use.", ["Let me know which port to use."]),
        ("Let me know if you need anything else.", []),
        ("Let me know what you think.", []),
        ("Please note that it is slow.", []),
        # Other languages.
        ("Soll ich z. B. Redis nehmen? Danke.", ["Soll ich z. B. Redis nehmen?"]),
        ("Bitte bestätige den Port.", ["Bitte bestätige den Port."]),
        ("Ça marche. Je continue ?", ["Je continue ?"]),
        ("Listo. ¿Quieres que guarde?", ["¿Quieres que guarde?"]),
        ("好的。你要用哪个端口\uff1f谢谢。", ["你要用哪个端口\uff1f"]),
        ("أي منفذ تستخدم؟", ["أي منفذ تستخدم؟"]),
    ],
)  # fmt: skip
def test_questions_are_told_from_what_looks_like_them(response: str, found: list[str]) -> None:
    assert texts(response) == found


def test_a_list_below_a_question_offers_answers() -> None:
    response = "How should I retry?\n\n1. at once\n2. with a pause\n\nI'd take the second."
    assert find_questions(response) == (Asked("How should I retry?", ("at once", "with a pause")),)


async def test_questions_become_facts_of_a_source_in_order() -> None:
    extractor: QuestionExtractor = HeuristicExtractor()
    response = "Which port?\n\nWhat is the root cause of the crash?"
    expected = (
        Question(question_text="Which port?", effort_level="low", source="heuristic/1", position=0),
        Question(
            question_text="What is the root cause of the crash?",
            effort_level="high",
            source="heuristic/1",
            position=1,
        ),
    )
    assert await extractor.extract(turn(response)) == expected
    # What was found before, by it or by others, changes nothing.
    again = turn(response, questions=(*expected, Question(question_text="x?", effort_level="high")))
    assert await extractor.extract(again) == expected
    assert await extractor.extract(TurnFactory(response="Done.")) == ()


async def test_another_classifier_brings_its_source() -> None:
    class Judge:
        source = "judge:m"

        def __init__(self) -> None:
            self.asked: list[tuple[str, tuple[str, ...]]] = []

        async def classify(self, question: str, options: object = ()) -> EffortLevel:
            assert isinstance(options, tuple)
            self.asked.append((question, options))
            return EffortLevel.MEDIUM

    judge = Judge()
    extractor = HeuristicExtractor(judge)
    [question] = await extractor.extract(turn("Which one?\n- a\n- b"))
    assert (question.source, question.effort_level) == ("judge:m", "medium")
    assert judge.asked == [("Which one?", ("a", "b"))]


async def test_findings_are_stored_once_and_scored_apart() -> None:
    extractor = HeuristicExtractor()
    async with TrajectoryLogger("memory://") as logger:
        async with logger.trajectory() as run:
            logged = await run.log_turn("p", "Which port? What is the root cause of the crash?")
            for _ in range(2):  # as a job does that is started again
                for question in await extractor.extract(logged):
                    await logger.log_question(run.id, logged.turn_number, question)
        await logger.flush()
        stored = [turn async for turn in logger.backend.read_turns(TurnQuery(ids=(run.id,)))]
    assert score_turns(stored, source="heuristic/1").counts == Counts(low=1, high=1)
    assert score_turns(stored).counts == Counts()


def test_a_flood_of_questions_is_cut() -> None:
    found = texts("\n\n".join(f"Is it {number}?" for number in range(MAX_QUESTIONS + 5)))
    assert found == [f"Is it {number}?" for number in range(MAX_QUESTIONS)]


def test_a_sentence_without_an_end_keeps_its_last_part() -> None:
    [text] = texts("so " * 5000 + "which port?")
    assert len(text) <= 2000
    assert text.endswith("so which port?")


MARKUP = st.lists(
    st.sampled_from(
        [*"?!.`'\"*_->#|()[]<:~ \n\tab1", "```", "\n\n", "<!--", "-->", "<think>", "Why?", "\n1. "]
    ),
    max_size=60,
).map("".join)


@given(st.one_of(st.text(max_size=200), MARKUP))
def test_any_response_is_read_and_twice_the_same(response: str) -> None:
    found = find_questions(response)
    assert find_questions(response) == found
    written = filter(str.isalnum, response)
    for asked in found:  # each stands in the response, in this order, but for what was hidden
        assert all(letter in written for letter in filter(str.isalnum, asked.text))
    assert all(any(map(str.isalpha, asked.text)) for asked in found)


@pytest.mark.parametrize(
    "piece",
    [
        *("`", "?", ".", "'a ", '"', "](", "<!--", "<think>\n", "\n- ", "a? ", "- ", "*", "("),
        *("\u201e", " ? a :", "\n>", "a ", "https://a", "Can you "),
    ],
)
def test_time_grows_with_the_length_alone(piece: str) -> None:
    """A pattern that tries all ways of reading this would take minutes."""
    started = time.process_time()
    for asked in find_questions(piece * (200_000 // len(piece)) + "x"):
        effort_of(asked.text, asked.options)
    effort_of(piece * 1000 + "?")
    assert time.process_time() - started < 5


def test_the_questions_of_whole_responses_are_found_and_little_else() -> None:
    asked = found = both = 0
    for response in responses():
        labelled = {one.question.rstrip("?.").casefold() for one in response.asks}
        texts = [one.text.casefold() for one in find_questions(response.text)]
        asked += len(labelled)
        found += len(texts)
        both += sum(any(label in text for text in texts) for label in labelled)
    assert both / asked >= 0.98
    assert both / found >= 0.98
