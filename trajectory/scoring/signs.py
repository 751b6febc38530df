"""The signs of effort: which words in a question speak for which level, and how much.

The rules see the question in lower case, without what leads to it. A change here changes scores:
it needs another number in `trajectory.scoring.effort.HEURISTIC`.
"""

from __future__ import annotations

import re
from functools import cache

from trajectory.models import EffortLevel
from trajectory.scoring.vocabulary import (
    ASKED,
    FACT,
    ME,
    SAYS,
    SYMPTOM,
    SYSTEM,
    THING,
    THINKS,
    WISH,
)

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
            r"|my))?(?: \S+){0,2}? (?:name|names|title|version|file|folder|directory|path|branch"
            r"|port|city|country|language|e-?mail|address|username|budget|time ?zone|date|day"
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
            r"\b(?:examples?|in more detail|in your own words|beschreib\w*|erklär\w*|décrire"
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
)

_HIGH: tuple[tuple[int, str], ...] = (
    # To do anything but talk is work.
    (
        7,
        (
            rf"\b(?:can|could|would|will) (?:you|some(?:one|body)|any(?:one|body))\b(?! (?:like"
            rf"|prefer|rather|want|mind|be|have|need|say|use|pay|go|spend|see yourself|bring"
            rf"|take)\b)(?! (?:\w+ ){{0,3}}?(?:{SAYS}|{THINKS})\b)"
        ),
    ),
    (5, rf"\b(?:kannst|könntest|können|könnten) (?:du|sie)\b(?!.*\b(?:{SAYS}|{THINKS})\b)"),
    (
        7,
        (
            rf"\b{ASKED} (?:(?:me|us|also) )*(?:send|attach|upload|paste|share|provide|post|show"
            rf"|pull|get)\b.*{THING}"
        ),
    ),
    (7, rf"{FACT}.*{SYMPTOM}"),
    (
        9,
        (
            rf"{FACT}(?<=how) (?:does|do|did|is|are|was) .*\b(?:calculat|comput|handl|encod"
            r"|determin|implement|generat|pars|validat|connect|authenticat|schedul)\w*"
        ),
    ),
    (3, rf"{FACT}.*{SYSTEM}"),
    (5, rf"{FACT}.*\b(?:did|ran|got|went|made|wrote|took|gave|said|kept|came|became|owns?)\b"),
    (6, r"\b(?:on|in|at) your (?:data|machine|side|system|end|network|site|hardware|office)\b"),
    (
        6,
        (
            r"^(?:does|do|is|did|has) .*\b(?:persist|still|also|same|happen|occur|fail|crash"
            r"|work)\w* .*\b(?:if|when|with|without|on|after|under)\b"
        ),
    ),
    (7, r"\bwhat happens (?:if|when)\b|\bwhat do you (?:see|get)\b|\bactual\b|\bunder load\b"),
    (
        8,
        (
            r"\b(?:can't|cannot|can not|unable to) (?:continue|proceed|go on|go ahead|start|finish"
            r"|deploy|reach|access)\b|\bwho can (?:give|grant|renew|open|create|unlock)\b"
            r"|\bwithout access\b"
        ),
    ),
    # The user is asked to go and find out.
    (
        8,
        (
            rf"\b{ASKED} (?:\S+ ){{0,3}}?(?:reproduc\w*|run|rerun|execute|benchmark|profile|measure"
            r"|bisect|trace|debug|diagnose|investigate|inspect|analy[sz]e|audit|check|verify|test"
            r"|find|look (?:up|into|at|for)|dig|search|research|compare|collect|capture|gather"
            r"|export|determine|monitor|contact|ask|request|reinstall|install|set up|reverse"
            r"|go through|work out|figure out|count|confirm with (?:the|your)|unblock|grant"
            r"|get (?:me|us)|obtain|dump|record|track down|query|consult|scan|simulate)\b"
        ),
    ),
    (8, r"\b(?:herausfinden|nachfragen|nachsehen|reproduzieren|messen|prüfen|verschaffen)\b"),
    (
        8,
        (
            r"\b(?:überprüfen|untersuchen|ausführen|reproduire|vérifier|revisar|comprobar"
            r"|averiguar)\b"
        ),
    ),
    # What only an investigation tells.
    (
        8,
        (
            r"\b(?:root cause|stack ?trace|(?:core|heap) dumps?|query plan|profiler|percentile"
            r"|regression|bisect|memory leak|deadlock|reproduction|packet trace|ursache|causa raíz"
            r"|fuite de mémoire|is causing|caused|cause de)\b"
        ),
    ),
    (
        7,
        (
            r"\b(?:server|production|the|error|access|system|build|full|complete)[ -]logs?\b"
            r"|\blogs? (?:say|show)"
        ),
    ),
    (6, r"\bin production\b|\bon the ci\b|\bci[ -](?:runner|server)\b|\bpeak (?:time|load)\b"),
    (6, r"\b(?:outage|latency|throughput|lag|usage|figures|analytics)\b"),
    (
        7,
        (
            r"\bwhy (?:does|is|are|did|was) (?:the|this|it|that|my|our)\b.*\b(?:fail|crash|grow"
            r"|hang|slow|break|twice|only|timeout|error|not (?:work|start|build|connect|respond"
            r"|trust))\w*\b|\bwarum (?:schlägt|stürzt|bricht)\b"
        ),
    ),
    (7, r"\bhow (?:many|often|large|much|long) .*\b(?:affected|did|does|were|covered|failed)\b"),
    (
        5,
        (
            r"\bwhich of (?:the|your|our) (?:\d+|\w+s|\w+' \w+|suppliers)\b.*\b(?:still|allow"
            r"|really)\b"
        ),
    ),
    (
        6,
        (
            r"\bwhere in the (?:code|repo|source)\w*\b|\bwhich commit\b|\bwhat error\b"
            r"|\bundocumented\b"
        ),
    ),
    (5, r"\b(?:dependencies|(?:production|build|remote) (?:host|machine|agent|system|server)s?)\b"),
    (6, r"\bwhat (?:did|has|have) (?:the|your) .{1,40} (?:change|do|done|say|break|delete)\w*\b"),
    (9, r"\bwhen you (?:re-?run|run|try|repeat|execute|measure)\b|\bwhat numbers\b"),
    (5, r"\baccording to\b|\bthe exact\b|\bword for word\b|\bat the moment of\b|\bright now\b"),
    # Nothing goes on before it is there.
    (
        8,
        (
            r"\b(?:i am|i'm|we are|we're) (?:blocked|stuck)\b|\bno access\b|\bcan't go on\b"
            r"|\bzugang\b"
        ),
    ),
    (5, r"\b(?:credentials|api key|permission denied|vpn|certificate)\b"),
)


@cache
def rules() -> tuple[tuple[EffortLevel, int, re.Pattern[str]], ...]:
    """Give (level, points, pattern) of each sign. Made when first needed: it takes a while."""
    return tuple(
        (level, points, re.compile(pattern))
        for level, signs in (
            (EffortLevel.LOW, _LOW),
            (EffortLevel.MEDIUM, _MEDIUM),
            (EffortLevel.HIGH, _HIGH),
        )
        for points, pattern in signs
    )
