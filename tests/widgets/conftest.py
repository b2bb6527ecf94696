"""Fixtures of the widget tests."""

from __future__ import annotations

import pytest
from fake_analysis import FakeAnalysis

from napari_atomlens.runs import frame as loop


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeAnalysis:
    """Replace the analysis by local maxima."""
    stand_in = FakeAnalysis()
    monkeypatch.setattr(loop, "analyze_frames", stand_in)
    return stand_in
