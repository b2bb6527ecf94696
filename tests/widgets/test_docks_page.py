"""The dock that the developers' page shows: short, complete, and it works in a real window."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hand import Hand
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDoubleSpinBox, QLabel, QPushButton

from napari_atomlens import tables
from napari_atomlens.widgets.layers.atoms import editor_of
from napari_atomlens.widgets.layers.roles import KEY, STALE, entry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "docks.md"
MOST_LINES = 80
WAIT = 20_000
N = 8


def code() -> str:
    """The dock as the page shows it."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 1
    return str(blocks[0])


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The page's dock as a module."""
    path = tmp_path / "neighbours.py"
    path.write_text(code(), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("neighbours", path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "neighbours", made)
    spec.loader.exec_module(made)
    return made


def test_it_is_short() -> None:
    assert len(code().splitlines()) <= MOST_LINES


@pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
)
def test_it_works(make_napari_viewer: Callable[..., Any], qtbot: Any, module: ModuleType) -> None:
    viewer = make_napari_viewer()
    viewer.window.show()
    viewer.add_image(np.zeros((100, 100)), name="gold")
    places = 10.0 * np.argwhere(np.ones((N, N))) + 10
    atoms = tables.make(
        "atoms", {"atom_id": np.arange(N * N), "y_px": places[:, 0], "x_px": places[:, 1],
                  "species": "column", "source": "fit"}, N * N,
    )  # fmt: skip
    points = viewer.add_points(
        places, features=atoms, name="atoms · gold",
        metadata={KEY: {"role": "atoms", "source_id": str(viewer.layers[0].unique_id),
                        "source_name": "gold"}},
    )  # fmt: skip
    emitters = [viewer.layers.events.removed, viewer.layers.events.inserted, viewer.events.theme]
    before = [len(e.callbacks) for e in emitters]
    widget = module.NeighboursWidget(viewer)
    dock = viewer.window.add_dock_widget(widget, name="Neighbours")
    widget.findChild(QDoubleSpinBox, "reach_px").setValue(11)
    button = widget.findChild(QPushButton, "run")
    with qtbot.waitSignal(widget.finished, timeout=WAIT):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    mean = 2 * 2 * N * (N - 1) / N**2
    assert widget.findChild(QLabel, "status").text() == f"{mean:.2f} neighbours on average."
    layer = next(x for x in viewer.layers if entry(x).get("role") == "neighbours")
    assert sorted(set(layer.features["neighbours"])) == [2, 3, 4]
    session = editor_of(points).session
    assert len(session.table("neighbours")) == N * N and not session.is_stale("neighbours")
    cross = dock.titleBarWidget().close_button
    qtbot.mouseClick(cross, Qt.MouseButton.LeftButton)
    viewer.layers.selection.active = points
    points.selected_data = {9}
    Hand(viewer).press("Delete")
    assert session.is_stale("neighbours") and layer.name.endswith(STALE)
    qtbot.waitUntil(
        lambda: all(len(e.callbacks) <= n + 1 for e, n in zip(emitters, before, strict=True)),
        timeout=WAIT,
    )
