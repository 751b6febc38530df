"""The chart of the README: bars as SVG, from the figures alone, light or dark as the page is.

The same figures give the same bytes.
"""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple

from benchmarks import writing

_WIDTH, _LEFT, _RIGHT, _MARGIN = 760, 282, 130, 16
_ROW, _BAR, _ROUND = 26, 16, 4
_TITLE, _BETWEEN = 34, 18

_STYLE = """
  .ground { fill: #fcfcfb } .line { stroke: #d8d7d0 }
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #52514e }
  .title { font-weight: 600; fill: #0b0b0b } .ours-text { font-weight: 600; fill: #0b0b0b }
  .ours { fill: #2a78d6 } .other { fill: #a3a29b } .limit { fill: #6d6c66 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #1a1a19 } .line { stroke: #3d3c39 }
    text { fill: #c3c2b7 } .title, .ours-text { fill: #ffffff }
    .ours { fill: #3987e5 } .other { fill: #7d7c76 } .limit { fill: #a9a89f }
  }
"""


_SHORT = {
    writing.QUEUED_1000: "queued, capacity 1000",
    writing.JOURNALED_1000: "journaled, capacity 1000",
    writing.BATCHED: "queued",
    writing.JOURNALED_BATCHED: "journaled",
}


class _Bar(NamedTuple):
    label: str
    value: float
    told: str
    kind: str
    """`ours`, `other` or `limit`."""


class _Panel(NamedTuple):
    title: str
    bars: list[_Bar]


def chart(run: dict[str, Any]) -> str:
    """Draw a panel beside the limits and one beside the peers, of what the run has."""
    groups = {group["name"]: group["subjects"] for group in run["groups"]}
    panels = [panel for panel in (_peers(groups), _limits(groups)) if panel.bars]
    lines: list[str] = []
    top = _MARGIN
    for panel in panels:
        drawn, top = _draw(panel, top)
        lines += drawn
        top += _BETWEEN
    height = top - _BETWEEN + _MARGIN
    told = "; ".join(
        f"{panel.title}: " + ", ".join(f"{bar.label} {bar.told}" for bar in panel.bars)
        for panel in panels
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
            f"<title>{escape(told)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="ground" width="{_WIDTH}" height="{height}" rx="6"/>',
            *lines,
            "</svg>\n",
        ]
    )


def _peers(groups: dict[str, Any]) -> _Panel:
    bars = []
    for label, figures in groups.get("peers", {}).items():
        rate, stored = figures["turns_per_s"], figures["stored_percent"]
        lost = f", {100 - stored:.0f} % lost" if stored < 99.95 else ""
        kind = "ours" if label.startswith("trajectory") else "other"
        bars.append(_Bar(label, rate, f"{rate:,.0f}{lost}", kind))
    bars.sort(key=lambda bar: -bar.value)
    return _Panel("Turns per second until stored in SQLite", bars)


def _limits(groups: dict[str, Any]) -> _Panel:
    bars = []
    for group, database, limit in (
        ("levels", "SQLite", writing.BARE),
        ("postgres", "Postgres", writing.BARE_COPY),
    ):
        for label, figures in groups.get(group, {}).items():
            if label == writing.SINGLE:
                continue
            is_limit = label == limit
            name = label if is_limit else f"{database}, {_SHORT.get(label, label)}"
            told = f"{figures['ratio']:.2f}"
            bars.append(_Bar(name, figures["ratio"], told, "limit" if is_limit else "ours"))
    return _Panel("Share of what the bare database takes in the same run", bars)


def _draw(panel: _Panel, top: int) -> tuple[list[str], int]:
    lines = [f'<text class="title" x="{_MARGIN}" y="{top + 14}">{escape(panel.title)}</text>']
    top += _TITLE
    room = _WIDTH - _LEFT - _RIGHT
    most = max(bar.value for bar in panel.bars)
    for place, bar in enumerate(panel.bars):
        middle = top + place * _ROW + _BAR // 2
        style = "ours-text" if bar.kind == "ours" else "other-text"
        width = max(1.0, room * bar.value / most)
        lines += [
            _text(style, _LEFT - 10, middle, bar.label, anchor="end"),
            _bar(bar.kind, middle - _BAR // 2, width),
            _text(style, _LEFT + width + 8, middle, bar.told, anchor="start"),
        ]
    bottom = top + len(panel.bars) * _ROW - (_ROW - _BAR)
    lines.append(f'<line class="line" x1="{_LEFT}" x2="{_LEFT}" y1="{top - 4}" y2="{bottom + 4}"/>')
    return lines, bottom


def _text(style: str, x: float, middle: int, text: str, *, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{middle + 4}" text-anchor="{anchor}"'
    return f'<text class="{style}" {place}>{escape(text)}</text>'


def _bar(kind: str, top: int, width: float) -> str:
    """Draw a bar that is square where it begins and round where it ends."""
    round_ = min(_ROUND, width)
    return (
        f'<path class="{kind}" d="M{_LEFT} {top}h{width - round_:.1f}'
        f"a{round_:.1f} {_ROUND} 0 0 1 {round_:.1f} {_ROUND}v{_BAR - 2 * _ROUND}"
        f'a{round_:.1f} {_ROUND} 0 0 1 -{round_:.1f} {_ROUND}H{_LEFT}z"/>'
    )
