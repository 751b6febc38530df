"""The signs of high effort: something must be looked into, made, or got out of the way.

As in `trajectory.scoring.signs`, a change here changes scores.
"""

from __future__ import annotations

from trajectory.scoring.vocabulary import ASKED, FACT, SAYS, SYMPTOM, SYSTEM, THING, THINKS

WORK: tuple[tuple[int, str], ...] = (
    # To do anything but talk is work.
    (
        7,
        (
            rf"(?<!what )(?<!when )(?<!how )(?<!which )(?<!why )"
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
            r"^(?!do you (?!see|get (?:the|an?|it)\b|observe))(?:does|do|is|did|has) .*"
            r"\b(?:persist|still|also|same|happen|occur|fail|crash|work)\w* .*"
            r"\b(?:if|when|with|without|on|after|under)\b"
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
    # Others must be set to work, or the user has to go somewhere.
    (
        9,
        (
            rf"\b{ASKED} (?:have|get|ask|let) (?:your|the|a|an|two|some\w*|any\w*) [^?]*\b(?:to"
            r"|assess|review|check|look|test|confirm|sign|approve|grant|relabel|measure)\b"
        ),
    ),
    (9, rf"\b{ASKED} (?:go|drive|travel|call|visit|speak|talk|write) (?:to|through|and|with)\b"),
    (8, rf"\b{ASKED} [^?]*\b(?:look up|find out|track down|work out|negotiate|recalibrate)\b"),
    # To be designed, or written at length.
    (9, rf"\b{ASKED} (?:(?:me|us|also|then) )*(?:write|draft|design|build|prepare|draw|model)\b"),
    (9, r"\b(?:from scratch|written out|write out|write up|business case|road ?map|end to end)\b"),
    (
        9,
        (
            r"\b(?:complete|entire|whole|full|overall|detailed) (?:\S+ ){0,2}?(?:plan|strategy"
            r"|workflow|design|architecture|product|specification|spec|model|curriculum|concept"
            r"|policy|guide|proposal|system|schema|process|story|script|programme|set|list|history"
            r"|documentation|organi[sz]ation|company|business|platform|app|code ?base)\b"
        ),
    ),
    (8, r"\bhow (?:would|should|do) (?:you|we|i) (?:design|architect|structure|organi[sz]e)\b"),
    (8, r"^(?:how|what) (?:should|would|will|does) .*\b(?:complete|entire|whole)\b"),
    # What only an investigation tells.
    (
        10,
        (
            r"^(?:(?:who|what) or )?(?:what|who)(?:'s| is| was| keeps) \w+ing (?:the|those|these"
            r"|all|our|so|up)\b|\b(?:goes|went|going) wrong\b"
        ),
    ),
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
    (7, r"\bhow (?:many|often|large|much|long) .*\b(?:affected|did(?! you)|were|covered|failed)\b"),
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
"""Points and patterns."""
