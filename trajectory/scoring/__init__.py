"""PPP scores: how little an agent asked of its user, and how well it kept to their preferences.

Findings are counted, counts are weighed; questions can be found in responses by rules. Knows the
values alone, and no database.
"""

from trajectory.scoring.effort import EffortClassifier, HeuristicClassifier, effort_of
from trajectory.scoring.extraction import (
    Asked,
    HeuristicExtractor,
    QuestionExtractor,
    find_questions,
)
from trajectory.scoring.score import Counts, Score, count_findings, score_turns, weigh
from trajectory.scoring.weights import FORMULA, PPPWeights

__all__ = [
    "FORMULA",
    "Asked",
    "Counts",
    "EffortClassifier",
    "HeuristicClassifier",
    "HeuristicExtractor",
    "PPPWeights",
    "QuestionExtractor",
    "Score",
    "count_findings",
    "effort_of",
    "find_questions",
    "score_turns",
    "weigh",
]
