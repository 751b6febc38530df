"""The signs of effort: which words in a question speak for which level, and how much.

The rules see the question in lower case, without what leads to it. A change here changes scores:
it needs another number in `trajectory.scoring.effort.HEURISTIC`.
"""

from __future__ import annotations

import re
from functools import cache

from trajectory.models import EffortLevel
from trajectory.scoring.vocabulary import ASKED, ME, SAYS, THINKS, WISH
from trajectory.scoring.work import WORK

_LOW: tuple[tuple[int, str], ...] = (
    # Leave to do something: whatever it is, the user only has to nod.
    (6, rf"^(?:(?:so|and|or|ok|okay|also|then),? )*{ME}"),
    (6, r"\b(?:want|like|need|prefer) me to\b|\bmay i\b|\bdo i have your\b|\b(?:soll|darf) ich\b"),
    (6, r"\b(?:is it|would it be|are you) (?:all ?right|ok|okay|fine)\b|\bokay to\b|\bok to\b"),
    (6, r"\b(?:ist es|wäre es|geht das) (?:in ordnung|okay|ok)\b|\bsollen wir\b"),
    (4, r"^(?:ready|ok|okay|fine|good|done|agreed|correct|right|want|anything)\b"),
    (4, r"\b(?:correct|right|yes or no|oder|ok|okay|acceptable|fine)\?$|\byes or no\b"),
    # A preference, or a choice of what is named.
    (4, r"\bprefer\b|\bpreference between\b|\bwould you rather\b|\bdo you (?:want|like|mean)\b"),
    (
        4,
        (
            r"\bdid you mean\b|\bwould you like\b|\blike best\b|\bwhich (?:one )?do you (?:want"
            r"|like)\b"
        ),
    ),
    (
        4,
        (
            r"\b(?:möchtest|willst|magst) du\b|\bbevorzug|\blieber\b|\bpréfér|\bprefier"
            r"|\bvoulez-vous\b"
        ),
    ),
    (4, r"¿quieres\b|¿te parece\b|\bpasst das\b|\bd'accord\b"),
    (3, r"\bwhich of (?:the|these|those) (?:two|three|four)\b|: \S+(?: \S+)? or \S+(?: \S+)?\?$"),
    (3, r"\b(?:or|oder|ou) [^,?]{1,40}\?$"),
    # A yes or a no.
    (3, r"^(?:is|are|was|were|am|do|does|did|has|have|had|will|would|should|shall|isn't|aren't)\b"),
    (3, r"^(?:ist|sind|hast|haben|hat|soll|sollen|darf|willst|wird|est-ce|¿es|¿hay|¿está)\b"),
    # What the user has at hand.
    (
        4,
        (
            r"\b(?:which|what|welche[rsn]?|quelle?|qué)\b(?:(?:'s| is| are| was)? (?:the|your"
            r"|my))?(?: \S+){0,2}? (?:names?|title|version|file|folder|directory|path|branch"
            r"|port|city|country|language|e-?mail|address|username|budget|time ?zone|dates?|days?"
            r"|colou?r|format|currency|license|licence|size|number|url|domain|provider|database"
            r"|editor|framework|account|deadline|layout|sprache|datei|farbe|uhrzeit)\b"
        ),
    ),
    # "What name should it have" asks for a name, not for a thought.
    (
        9,
        (
            r"\b(?:what|which|your) (?:name|title|(?:\w+ )?code|phone|language|port|colou?r|version"
            r"|format|size|number|branch|file|path|currency|e-?mail|address|date|licen[cs]e|domain"
            r"|url|unit|icon|font|tag|label)\b"
        ),
    ),
    (
        9,
        (
            r"\b(?:be|it) called\?|\bwhat(?:'s| is) the (?:maximum|minimum|most|least|limit)\b"
            r"|\b(?:should|shall|do) (?:i|we) [^?]*,? \S+ or \S+\?$"
        ),
    ),
    (4, r"\bpython-version\b|\b(?:be|it) called\b|\bheißen\b|\bappeler\b|\bhow old\b"),
    (6, rf"\b{ASKED} (?:(?:me|us|also|just|quickly) )*{SAYS}\b"),
    (3, r"^(?:who|which|where|when|how many|how much|wie viele|wer|wann|wo|qui|quand)\b"),
    # A habit, a tool, a size of the user's own.
    (
        6,
        (
            r"^(?:which|what) (?:\w+ ){1,3}(?:does|do|is|are|did) (?:you|your (?!\w+s\b)|we|our)\b"
            r"(?!.*\b(?:think|believe|feel|hope|fear|value|consider|expect|care|associate|worry"
            r"|dislike|look for|suggest|recommend|rely|need|see|mean|want to)\b)[^,]*\?$"
        ),
    ),
    (
        5,
        (
            r"^(?!.*\bneed\b)how (?:many|much|long|old|big|large|tall|wide|heavy|high|far)"
            r" (?:\w+ ){0,2}(?:is|are"
            r"|do you|did you|does (?:the|your|a|an|each)) [^,]{1,40}\?$"
        ),
    ),
    (
        5,
        (
            r"^what(?:'s| is) your (?!(?:\w+ )?(?:opinion|view|goal|aim|vision|reason|strategy|plan"
            r"|priority|approach|thinking|take|philosophy|policy|idea|feeling|impression|ideal"
            r"|definition|concern|worry|problem|objection)\b)"
        ),
    ),
    (
        6,
        (
            r"^(?:is|are) there\b(?!.*\b(?:still|code)\b)"
            r"|^do(?:es)? (?:you|your \w+) (?:already |still )?(?:have|own|use)\b"
        ),
    ),
    (5, r"[,:] [^,:?]{1,30} or [^,:?]{1,30}\?$"),
)

_MEDIUM: tuple[tuple[int, str], ...] = (
    (6, r"\bhow (?:should|would|do|might|can|shall|could|far|strict|general|much \w+ could)\b"),
    (5, r"\bhow (?:important|detailed|flexible|formal|should|will|does|deep|broad)\b"),
    (
        5,
        (
            r"\bwhat (?:(?:exactly|else|kind of \w+|\w+|\w+ \w+) )?(?:should|would|could|do you"
            r"|did you)\b"
        ),
    ),
    (
        4,
        (
            r"\bwhat (?:are|is|were) (?:the|your) (?:\S+ ){0,2}(?:\w+s|problem|goal|purpose"
            r"|reason\w*)\b"
        ),
    ),
    (5, r"\bwhat (?:does|do) .{1,60} mean\b|\bmean by\b|\bverst(?:ehst|ehen) (?:du|sie) unter\b"),
    (6, r"\b(?:describe|explain|elaborate|clarify|outline|sketch|walk me through|tell me more)\b"),
    (
        6,
        (
            r"\b(?:examples?|in more detail|beschreib\w*|erklär\w*|décrire"
            r"|describ\w*)\b"
        ),
    ),
    (
        4,
        (
            r"\b(?:use cases?|criteria|requirements?|constraints?|trade-?offs?|edge cases?|goals?"
            r"|risks?|polic(?:y|ies)|priorit\w+|expect\w*|behave\w*|reasoning|responsibilit\w+"
            r"|distinguish\w*|alternatives?|anforderung\w*|kriterien|verhalten|erwart\w*|attendu"
            r"|comporta\w*|réagir|conditions?|strategy|scope|vision)\b"
        ),
    ),
    (6, r"^(?:and |but |so )?why (?:do|would|did|are|should|have) (?:you|we)\b"),
    (3, r"\b(?:not acceptable|unacceptable|feels? wrong|too \w+ for you)\b"),
    (6, r"\b(?:warum|wieso|weshalb) (?:möchtest|willst|würdest|sollte?n?) "),
    (5, r"^(?:nach|unter) welche[nrms]\b|^when should .*, and\b|^who are the\b"),
    (7, rf"\b{ASKED} (?:(?:me|us|also|just|briefly) )*{THINKS}\b"),
    (
        5,
        (
            r"^(?:which|what) .*\bdo you (?:look for|value|consider|expect|care|associate|hope"
            r"|fear)\b"
        ),
    ),
    (
        8,
        (
            r"\b(?:tell me|say) (?:how|why|what (?:a|an|makes|you))\b|\bsay (?:a bit "
            r"|a little )?more\b"
        ),
    ),
    (
        5,
        (
            r"\b(?:in (?:which|what) (?:situations?|cases?|circumstances|order)|what (?:kinds?"
            r"|sorts?|types?) of|on what grounds|in your (?:opinion|view|eyes|experience)|in mind"
            r"|point of view|draw the line|convince|missing|matters?|opinion|ideal|thinking|worth"
            r"|important|compromises?|lessons|feeling|impression|mood|tone|style|principles?|rules?"
            r"|philosophy|process|workflow)\b"
        ),
    ),
    (5, r"^(?:what|which|where|when|who|how) .*\bshould (?!(?:i|we)\b)|\bsupposed to\b"),
    (5, r"^(?:who decides|what counts|when does .* count|wann gilt|wer entscheidet)\b"),
    (5, r"^how (?:much|many|often|long|far|soon) .*\b(?:should|would|may|must|can)\b"),
    (
        5,
        (
            rf"^(?=.*{WISH})why (?:do|does|did|would|should) (?:the|a|an|your|my|people|users?"
            rf"|customers?)\b"
        ),
    ),
    (4, r"^why\b|^warum\b|^pourquoi\b|¿por qué\b|^wieso\b|^weshalb\b"),
    (4, r"^(?:wie|was)\b.*\b(?:soll|sollte|sollen|stellst|würdest|genau)\b|\bwas soll\b"),
    (
        4,
        (
            r"^comment\b|¿cómo\b|¿qué problema\b|\bimagin\w*\b|\bin what order\b|\bunder (?:which"
            r"|what)\b"
        ),
    ),
    (3, r"^(?:what|how|wie|was|que|quels?)\b"),
    (
        6,
        (
            r"\b(?:and|und|but|y|et) (?:\w+ )?(?:why|whom|what|how|which|who|when|wer|wie|was"
            r"|warum)\b"
        ),
    ),
    (3, r"\bwhen should\b|\bmatters? most\b"),
    (10, r"\bin your own words\b"),
    # What others think and do.
    (
        6,
        (
            r"^(?:what|which|how|why|where|when)\b.*\b(?:do|does|would|will) (?:people|users"
            r"|customers|readers|students|others|they|your \w+s)\b(?! have| use| need)"
        ),
    ),
    (7, r"\b(?:worse|better|(?:more|less) important) than\b"),
    # Two sides are to be weighed, though a word would answer it.
    (9, r", (?:given|considering|knowing|bearing in mind|even (?:if|though))\b"),
    (7, r", or (?:does|would|will|is) (?:that|this|it)\b|\bat what (?:level|point|price|cost)\b"),
    (6, r"^(?:which|what) .*\b(?:best|worst|strongest|weakest|hardest|biggest)\b"),
)


@cache
def rules() -> tuple[tuple[EffortLevel, int, re.Pattern[str]], ...]:
    """Give (level, points, pattern) of each sign. Made when first needed: it takes a while."""
    return tuple(
        (level, points, re.compile(pattern))
        for level, signs in (
            (EffortLevel.LOW, _LOW),
            (EffortLevel.MEDIUM, _MEDIUM),
            (EffortLevel.HIGH, WORK),
        )
        for points, pattern in signs
    )
