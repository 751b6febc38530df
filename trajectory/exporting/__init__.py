"""From what is stored to files for others: whole or not at all, and the same bytes each time."""

from trajectory.exporting.export import Exported, export
from trajectory.exporting.output import Output, Stream, Target
from trajectory.exporting.parts import Part, Split, SplitBy

__all__ = [
    "Exported",
    "Output",
    "Part",
    "Split",
    "SplitBy",
    "Stream",
    "Target",
    "export",
]
