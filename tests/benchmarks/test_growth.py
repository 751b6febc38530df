"""The benchmark of growth runs, and gives a figure for each question at each size."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import growth


def test_it_measures_each_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "CALLS", 2)
    monkeypatch.setattr(growth, "FIRST_CALLS", 1)
    least = growth.PAGE * growth.TURNS_EACH
    seen = growth.measure(tmp_path, least, 2 * least)
    assert set(seen) == {least, 2 * least}
    names = {"get_ms", "score_ms", "list_ms", "export_turns_per_s", "export_peak_mib"}
    for figures in seen.values():
        assert set(figures) == names
        assert all(figure > 0 for figure in figures.values())
    assert not list(tmp_path.glob("*.jsonl"))
