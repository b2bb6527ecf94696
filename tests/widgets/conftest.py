"""Fixtures of the widget tests."""

from __future__ import annotations

import pytest
from fake_analysis import FakeAnalysis

from napari_atomlens import analysis


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeAnalysis:
    """Replace the analysis by local maxima."""
    stand_in = FakeAnalysis()
    monkeypatch.setattr(analysis, "analyze_frames", stand_in)
    return stand_in
