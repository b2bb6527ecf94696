"""Scans of heights in nm are levelled though none of them is below zero; steps are in nm."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_atomlens.runs import scan as scan_module
from napari_atomlens.runs.params import WatchParams
from napari_atomlens.runs.scan import scan_file, stamp_of

sys.path.append(str(Path(__file__).parents[1] / "io"))
from small_files import FRAME, gsf


class Seen:
    """Stands for an analysis that keeps what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images: list[np.ndarray] = []
        monkeypatch.setattr(scan_module, "analyze", self)
        monkeypatch.setattr(scan_module, "_kind_of", lambda *_: "atoms")

    def __call__(self, image: np.ndarray, **_: Any) -> Any:
        self.images.append(np.asarray(image))
        return type("Result", (), {"atoms": pd.DataFrame(), "messages": ()})


@pytest.mark.parametrize(("unit", "levelled"), [("m", True), ("V", False)])
def test_a_tilted_scan_of_positive_heights_is_levelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str, levelled: bool
) -> None:
    seen = Seen(monkeypatch)
    tilted = 0.01 * FRAME + np.linspace(20, 60, FRAME.shape[1], dtype=np.float32)
    path = tmp_path / "a.gsf"
    gsf(path, tilted * (1e-9 if unit == "m" else 1.0), unit=unit)
    scan_file(path, stamp_of(path), WatchParams(), 1)
    (image,) = seen.images
    assert (np.ptp(image) < 5) == levelled
