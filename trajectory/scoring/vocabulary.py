"""The words that the signs of effort are made of, as pieces of patterns."""

from __future__ import annotations

ASKED = (
    r"(?:(?:can|could|would|will) you(?! like| prefer| rather| want)(?: please| also| maybe"
    r"| perhaps| possibly)?|please|(?:kannst|könntest) du|(?:können|könnten) sie|bitte"
    r"|pouvez-vous|peux-tu|puedes|podrías|puede usted)"
)
"""The user is asked to do something."""

SAYS = (
    r"(?:provide|confirm|tell me|tell us|choose|select|pick|enter|name|say|let me know|give me"
    r"|specify|live with|accept|wait|agree|decide|approve|sign|bestätigen|sagen|nennen"
    r"|send me your|share your)"
)
"""To say a word is no work."""

THINKS = (
    r"(?:describe|explain|elaborate|clarify|outline|sketch|summari[sz]e|walk me|walk us"
    r"|tell me more|give (?:me|us) (?:an? |some |a few )?(?:\w+ )?examples?|imagine|justify|rank"
    r"|prioriti[sz]e|illustrate|define|think|expand|detail|characteri[sz]e|rephrase|spell out"
    r"|talk me|list|suggest|propose|beschreib|erklär|erläuter|skizzier|décrire|expliquer"
    r"|describir|explicar)\w*"
)
"""To put a thought into words is some."""

ME = r"(?:can|could|may|might|shall|should|must) (?:i|we)\b"
"""The agent asks for leave."""

WISH = (
    r"\b(?:should|shall|want|wants|would|like|likes|prefer|prefers|supposed|ought|expect|need"
    r"|needs|must|may|you|your|soll|sollen|sollte|sollten|möchte\w*|willst|du|dein\w*|debería)\b"
)
"""The question is about a wish or a rule, not about how something is."""

FACT = (
    rf"^(?!.*{WISH})(?:since |by |at |in |on |from )?"
    r"(?:what|which|where|when|who|why|how|was|welche\w*|wie|wo|warum|seit wann)\b"
)
"""What is so, and nobody's wish: somebody has to look."""

SYMPTOM = (
    r"\b(?:fail|crash|hang|trigger|caus|persist|ris|rose|grow|grew|drop|leak|break|broke|los"
    r"|lost|stuck|slow|chang|com|came|show|return|answer|respond|print|report|consum|us(?=[ei])"
    r"|tak|lock|block|affect|call|read|writ|differ|miss|stop|start|happen|time|throw|rais|exceed"
    r"|contain|stor|run|occur|delet|remov|add|touch|modif|introduc|load|send|sent|receiv|reach"
    r"|reject|refus)(?:s|es|ed|d|e|ing|ning|ping|ging|n|en)?\b"
)
"""What things do that somebody has to look into."""

SYSTEM = (
    r"\b(?:errors?|rates?|traffic|disks?|servers?|production|workers?|jobs?|process(?:es)?"
    r"|requests?|responses?|apis?|tokens?|caches?|memory|cpu|gpu|networks?|latency|throughput"
    r"|load|queues?|tables?|index(?:es)?|quer(?:y|ies)|databases?|replicas?|clusters?|nodes?"
    r"|services?|pipelines?|builds?|deploy\w*|releases?|metrics?|extensions?|plug-?ins?|modules?"
    r"|packages?|librar(?:y|ies)|drivers?|devices?|sensors?|kernels?|firewalls?|prox(?:y|ies)"
    r"|logs?|threads?|locks?|sessions?|connections?|timeouts?|crash(?:es)?|bugs?|exceptions?"
    r"|records?|rows?|clients?|machines?|hosts?|tests?|functions?|endpoints?|handlers?|codebase"
    r"|versions?|bank|vendor|supplier|contract)\b"
)
"""Where they do it."""

THING = (
    r"\b(?:output|logs?|traces?|profiles?|dumps?|metrics|schema|statements?|samples?"
    r"|screenshots?|reproduction|reports?|recordings?|measurements?|results?|numbers|credentials"
    r"|certificate|(?<!can )(?<!have )access|key|permissions?|captures?|history|configuration"
    r"|contents?)\b"
)
"""What has to be fetched before it can be handed over."""
