"""Which questions a response asks its user: a protocol, and rules that need no model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Protocol

from trajectory.models import EffortLevel, Question, Turn
from trajectory.scoring.effort import EffortClassifier, HeuristicClassifier, effort_of
from trajectory.scoring.markdown import Block, prose
from trajectory.scoring.sentences import sentences
from trajectory.threads import in_thread

MAX_QUESTIONS = 200
"""So many of a response are kept, the first ones: more are no conversation."""

_LONGEST = 2000

_AT_ONCE = 2000
"""A response of so many characters is read within a millisecond or two, mostly in less than one."""


class QuestionExtractor(Protocol):
    """Finds the questions in the response of a turn.

    A judge that asks a model fits as well, so it is awaited. Each question carries `source`, and
    as its `position` its place among those found, from 0: so the same turn, looked at again, gives
    the same facts under the same keys, and they are stored once.
    """

    @property
    def source(self) -> str:
        """Who finds them: `heuristic/1`, `judge:<model>`."""
        ...

    async def extract(self, turn: Turn) -> tuple[Question, ...]:
        """Give the questions of the response, in order. Other questions of the turn stay away."""
        ...


class Asked(NamedTuple):
    """A question as it was written, and the answers that a list below it offers."""

    text: str
    options: tuple[str, ...] = ()


class HeuristicExtractor:
    """Finds questions by `find_questions` and lets a classifier say how much effort they ask.

    The source is the classifier's, `heuristic/1` unless another one is put in. The event loop runs
    on: what takes longer than a millisecond is done in a thread.
    """

    def __init__(self, classifier: EffortClassifier | None = None) -> None:
        self._classifier = classifier or HeuristicClassifier()
        self._is_warm = False
        """Whether the rules are made, which takes a while."""

    @property
    def source(self) -> str:
        """The classifier's source."""
        return self._classifier.source

    async def extract(self, turn: Turn) -> tuple[Question, ...]:
        """Give the questions of the response, in order."""
        find = partial(find_questions, turn.response)
        is_short = len(turn.response) <= _AT_ONCE and self._is_warm
        found = find() if is_short else await in_thread(find)
        if type(self._classifier) is HeuristicClassifier:
            rate = partial(_rated, found)
            levels = rate() if is_short else await in_thread(rate)
        else:
            levels = [await self._classifier.classify(*asked) for asked in found]
        self._is_warm = True
        return tuple(
            Question(
                question_text=asked.text, effort_level=level, source=self.source, position=position
            )
            for position, (asked, level) in enumerate(zip(found, levels, strict=True))
        )


def _rated(found: Sequence[Asked]) -> list[EffortLevel]:
    return [effort_of(asked.text, asked.options) for asked in found]


def find_questions(response: str) -> tuple[Asked, ...]:
    """Find what a response asks its user, in order.

    A sentence that ends in a question mark (of any script) counts, and a request for an answer
    ("Please confirm that ..."). Code, quotations, headings, tables, thoughts and comments are left
    out, and questions that the response answers itself. Pure; time grows with the length alone.
    """
    blocks = [_Read.of(block) for block in prose(response)]
    found: list[Asked] = []
    for number, block in enumerate(blocks):
        below = blocks[number + 1] if number + 1 < len(blocks) else None
        for place, (text, asks) in enumerate(block.sentences):
            last = place + 1 == len(block.sentences)
            after = "" if last else block.sentences[place + 1].text
            if not asks or not any(map(str.isalpha, text)):
                continue
            if _is_rhetorical(text, after, below if last else None):
                continue
            if last and below and below.is_item and not block.is_item:
                if below.asks and _ANNOUNCES.search(text):
                    continue  # "Could you answer these?" asks nothing beside these
                options = _options(blocks, number + 1)
            else:
                options = ()
            found.append(Asked(text, options))
            if len(found) == MAX_QUESTIONS:
                return tuple(found)
    return tuple(found)


class _Sentence(NamedTuple):
    text: str
    asks: bool


class _Read(NamedTuple):
    """A block of prose, read."""

    sentences: tuple[_Sentence, ...]
    is_item: bool

    @classmethod
    def of(cls, block: Block) -> _Read:
        read = []
        for written, asks in sentences(block.text):
            text = _bare(written)
            read.append(_Sentence(text, asks or _REQUEST.match(text) is not None))
        return cls(tuple(read), block.is_item)

    @property
    def asks(self) -> bool:
        return any(sentence.asks for sentence in self.sentences)


def _bare(text: str) -> str:
    """Take emphasis and brackets off the ends."""
    text = text.strip("*_~ \t")
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1].strip("*_~ \t")
    if text.endswith(")") and text.count("(") < text.count(")"):
        text = text[:-1].rstrip("*_~ \t")
    if text.startswith("(") and text.count("(") > text.count(")"):
        text = text[1:]
    if text.count("**") % 2:
        text = text.replace("**", "")
    return text if len(text) <= _LONGEST else text[-_LONGEST:].lstrip()


def _options(blocks: Sequence[_Read], start: int) -> tuple[str, ...]:
    options = []
    for block in blocks[start : start + 20]:
        if not block.is_item or block.asks:
            break
        options.append(block.sentences[0].text)
    return tuple(options)


def _is_rhetorical(text: str, after: str, below: _Read | None) -> bool:
    """Say whether a question is put only to be answered, or to nobody."""
    if _TO_NOBODY.search(text):
        return True
    if after:
        return _answers(after, text) or bool(_TEASER.match(text) and not after.endswith("?"))
    if below is None or below.is_item or below.asks or not below.sentences:
        return False
    # A question that stands alone, and the paragraph below answers it.
    return _answers(below.sentences[0].text, text) or bool(_TEASER.match(text))


def _answers(after: str, question: str) -> bool:
    reason = _REASON.match(after) and _WHY.search(question)
    return bool(reason or _ANSWER.match(after))


_REQUEST = re.compile(
    r"(?:(?:so|also|and|then|but|first|before i (?:start|begin|continue|go on|proceed)),? )?"
    r"(?:(?:please|kindly) )?(?:just )?"
    r"(?:(?:let me know|tell me|advise|specify) (?:which|whether|who|where|in which"
    r"|what (?!you think|you find|happens|i can)|how (?:you(?:'d| would)? (?:want|like|prefer)"
    r"|many|much|should|to)|when (?!you|it|that|this|ready))"
    r"|(?<=please )(?:confirm|specify|clarify|choose|pick one|provide|describe|share|decide)\b"
    r"|bitte (?:bestätige|bestätigen sie|nenne|nennen sie|sag mir|sagen sie mir|teile mir"
    r"|wähle)\b)",
    re.IGNORECASE,
)
"""A request for an answer that has no question mark."""

_ANNOUNCES = re.compile(
    r"\b(?:following|these|a few|some|couple|questions?|things|points|folgenden?|einige"
    r"|ein paar)\b",
    re.IGNORECASE,
)

_ANSWER = re.compile(
    r"(?:simpl[ey]|easy|well|(?:short )?answer|antwort|ganz einfach)(?=\s?[,.:;!\u2013\u2014])"
    r"|(?:the (?:short )?answer|in short|it turns out|turns out)\b|a: "
    r"|not (?:really|quite|exactly|necessarily|at all)\b"
    r"|(?:yes|no|yep|nope|ja|nein|oui|non|sí)(?=\s?(?:[,.:;!\u2013\u2014]|$))(?!, or\b)",
    re.IGNORECASE,
)
"""How the sentence after a question begins if it answers it."""

_REASON = re.compile(r"(?:because|since|weil|parce que|porque)\b", re.IGNORECASE)
_WHY = re.compile(r"\b(?:why|warum|wieso|weshalb|pourquoi|por qué)\b", re.IGNORECASE)

_TEASER = re.compile(
    r"(?:(?:so|and|but|now|also|ok|okay),? )?"
    r"(?:why\?|how\?|how so\?|so what\?|why not\?|warum\?|wieso\?|und\?|pourquoi ?\?"
    r"|(?:the|my|our|one) (?:\w+ ){0,2}\w+\?|(?:das|die|der) (?:\w+ )?\w+\?"
    r"|sound familiar\?|guess what\?|you know what\?|remember\?|see\?"
    r"|(?:so |and )?(?:why|how) (?:does|did|do|is|was) (?:this|that|it|they) (?:\w+ ?){1,3}\?"
    r"|what (?:does|did) (?:this|that|it) (?:mean|do|change)(?: for (?:you|us))?\?"
    r"|what(?:'s| is) (?:new|going on|happening|the (?:problem|catch|issue|fix|idea|result))"
    r"(?: here)?\?|what (?:happened|changed|went wrong)(?: here)?\?)",
    re.IGNORECASE,
)
"""Questions that announce what the next sentence says. At the very end they do ask."""

_TO_NOBODY = re.compile(
    r"^(?:hm+|let me (?:see|think|check|look|find out|verify|first)|let's (?:see|check|find out)"
    r"|i (?:wonder(?:ed)?|asked myself|was asking myself) (?:why|what|how|where|if|whether)"
    r"|ich frage mich|mal sehen)\b"
    r"|\b(?:who knows|who wouldn't|who doesn't|what could (?:possibly )?go wrong|need i say"
    r"|how (?:cool|great|nice|hard) (?:is|can) (?:that|this|it)(?: be)?|wer weiß)\b[^?]*\?"
    r"|^(?:isn't|aren't|wasn't|don't) (?:that|this|it|they|you just) (?:\w+ )?(?:great|nice|cool"
    r"|beautiful|wonderful|amazing|love|fun|ironic)\b",
    re.IGNORECASE,
)
"""Questions to the agent itself, or to the world."""
