"""A window with the Movie dock, hands to use it, and movies whose atoms are known."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hand import Hand
from napari.layers import Image
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel, QPushButton, QTabWidget

from napari_atomlens import tables
from napari_atomlens.runs.frame import IDS_PER_FRAME
from napari_atomlens.session.registry import SESSIONS
from napari_atomlens.session.session import Session
from napari_atomlens.simulation import movies
from napari_atomlens.widgets.layers import convert
from napari_atomlens.widgets.layers.roles import KEY

WAIT = 30_000
needs_canvas = pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
)


class Bench:
    """A viewer with the widget docked, and hands to use it."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.dock, self.widget = viewer.window.add_plugin_dock_widget("napari-atomlens", "Movie")

    def hand(self) -> Hand:
        """Mouse and keys of the canvas, once everything is in its place."""
        self.viewer.reset_view()
        self.qtbot.wait(100)
        return Hand(self.viewer)

    def open(self, name: str) -> Any:
        """Open another dock."""
        _, widget = self.viewer.window.add_plugin_dock_widget("napari-atomlens", name)
        return widget

    def close(self) -> None:
        """Close the dock as the cross of its tab does."""
        self.dock.destroyOnClose()
        self.qtbot.wait(50)

    def reopen(self) -> None:
        """Open the dock again."""
        self.dock, self.widget = self.viewer.window.add_plugin_dock_widget(
            "napari-atomlens", "Movie"
        )

    def child(self, kind: type, name: str, of: Any = None) -> Any:
        """Part of the dock, by its name."""
        found = (of or self.widget).findChild(kind, name)
        assert found is not None, name
        return found

    def click(self, name: str = "run", of: Any = None) -> None:
        """Press a button."""
        self.qtbot.mouseClick(self.child(QPushButton, name, of), Qt.MouseButton.LeftButton)

    def run(self) -> None:
        """Follow the movie, and wait until it is done."""
        with self.qtbot.waitSignal(self.widget.finished, timeout=WAIT):
            self.click()
        assert not self.widget.is_running

    def tab(self, title: str) -> Any:
        """Turn to a tab."""
        tabs = self.child(QTabWidget, "tabs")
        at = [tabs.tabText(k) for k in range(tabs.count())].index(title)
        tabs.setCurrentIndex(at)
        return tabs.currentWidget()

    @property
    def status(self) -> str:
        """What the status line says."""
        return str(self.child(QLabel, "status").text())

    def layer(self, role: str) -> Any:
        """Our layer with a role."""
        found = [x for x in self.viewer.layers if x.metadata.get(KEY, {}).get("role") == role]
        assert len(found) <= 1
        return found[0] if found else None

    def session(self, source: Image) -> Session:
        """Session of the movie."""
        found = SESSIONS.get(str(source.unique_id))
        assert found is not None
        return found

    def go_to(self, frame: int) -> None:
        """Move the slider, and wait until what is drawn has followed."""
        self.viewer.dims.set_current_step(self.viewer.dims.ndim - 3, frame)
        self.qtbot.wait(200)


def click_plot(plot: Any, x: float, y: float) -> None:
    """Click into a plot at a place of its axes."""
    at = _place(plot, x, y)
    QTest.mouseMove(plot.viewport(), at)
    QTest.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=at)
    QTest.qWait(50)


def _place(plot: Any, x: float, y: float) -> QPoint:
    """Where a place of the axes is in the window, once a plot that may just have come rests."""
    at, equal, tries = QPoint(), 0, 0
    while equal < 3 and tries < 100:
        plot.viewport().repaint()  # an axis takes its width from what it painted
        QTest.qWait(20)
        before, at = at, plot.mapFromScene(plot.getViewBox().mapViewToScene(QPointF(x, y)))
        equal = equal + 1 if at == before and plot.viewport().rect().contains(at) else 0
        tries += 1
    return at


def silicon(bench: Bench, n_frames: int = 20) -> tuple[Image, movies.Movie, pd.DataFrame]:
    """A silicon movie with its atoms as the Find atoms widget leaves them."""
    movie = movies.silicon_110(160, n_frames, drift_px=(0.5, 0.3), seed=8, render=False)
    t = movie.truth
    first = t[t["frame"] == 0]
    middle = first["id"].iloc[int(np.hypot(first["y_px"] - 75, first["x_px"] - 75).argmin())]
    far = (t["id"] == middle) & (t["frame"] >= 10)
    columns = pd.concat(
        [
            pd.DataFrame(
                {"frame": t["frame"], "id": t["id"], "y_px": t[f"{e}y_px"], "x_px": t[f"{e}x_px"]}
            ).assign(y_px=t[f"{e}y_px"] + (1.6 if e == "b" else 0.0) * far)
            for e in "ab"
        ]
    )
    atoms = movies.detections(columns, 160, np.random.default_rng(0), jitter_px=0.15, false=0.0)
    atoms["atom_id"] = atoms["frame"] * IDS_PER_FRAME + atoms.groupby("frame").cumcount()
    known = {c: atoms[c].to_numpy() for c in atoms if c != "id"}
    full = tables.make("atoms", known | {"sigma_px": 3.3, "species": "column"}, len(atoms))
    source = bench.viewer.add_image(
        np.random.default_rng(0).random((n_frames, 160, 160), np.float32), name="silicon",
        scale=(0.5, 0.0136, 0.0136), units=("s", "nm", "nm"), axis_labels=("t", "y", "x"),
    )  # fmt: skip
    bench.viewer.add_points(
        convert.points_from_atoms(full, 3), features=convert.features_from_atoms(full, ["column"]),
        scale=source.scale, units=source.units, axis_labels=source.axis_labels,
        metadata={KEY: {"role": "atoms", "source_id": str(source.unique_id),
                        "source_name": "silicon", "spacing_px": 10.0}},
    )  # fmt: skip
    return source, movie, full
