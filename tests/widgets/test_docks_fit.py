"""Every dock can be read and reached in a small window and at 150 %, in both themes.

The docks are those of the manifest: a new one is looked at from the day it is there.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from docks_in_window import names
from fit import in_window, misfits
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDockWidget,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QPushButton,
    QScrollArea,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base import plots as base_plots
from napari_atomlens.widgets.base.histograms import bare_plot
from napari_atomlens.widgets.movie.plots import Axes

#: (size of the window in pixels of the screen, scale)
SCREENS = {"small": ("1366x728", "1"), "scaled": ("1920x1080", "1.5")}
#: Docks that do not fit yet, on which screens. Whoever mends one takes its name away.
ALL = "all together"
NOT_YET: dict[str, tuple[str, ...]] = {}


@functools.cache
def seen(screen: str) -> dict[str, list[str]]:
    """What was found wrong with each dock, in a process of its own for each scale."""
    size, scale = SCREENS[screen]
    script = Path(__file__).with_name("docks_in_window.py")
    done = subprocess.run(
        [sys.executable, str(script), size],
        env=os.environ | {"QT_SCALE_FACTOR": scale, "PYTHONFAULTHANDLER": "1"},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    told = [x for x in done.stdout.splitlines() if x.startswith("{")]
    assert told, f"{done.returncode}\n{done.stderr[-3000:]}"
    found: dict[str, list[str]] = json.loads(told[-1])
    return found


@pytest.mark.timeout(1000)
@pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen", reason="a window needs a display"
)
@pytest.mark.parametrize("dock", [*names(), ALL])
@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_is_cut(screen: str, dock: str, request: pytest.FixtureRequest) -> None:
    if screen in NOT_YET.get(dock, ()):
        request.applymarker(pytest.mark.xfail(reason="is to be rebuilt", strict=True))
    assert seen(screen)[dock] == []


# ------------------------------------------------------------- the checker itself


@pytest.fixture
def toy(qtbot: object) -> Iterator[QWidget]:
    """A dock with room for what is in it."""
    window = QMainWindow()
    dock, inner = QDockWidget(window), QWidget()
    inner.setObjectName("toy")
    QVBoxLayout(inner)
    dock.setWidget(inner)
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
    window.setCentralWidget(QWidget())
    window.resize(900, 600)
    qtbot.addWidget(window)  # type: ignore[attr-defined]
    window.show()
    yield inner
    window.close()


def put(toy: QWidget, *widgets: QWidget) -> list[str]:
    for widget in widgets:
        toy.layout().addWidget(widget)
        widget.show()
    toy.window().grab()  # lays everything out
    return misfits(toy)


def test_what_fits_is_not_found(toy: QWidget) -> None:
    combo = QComboBox()
    combo.addItems(["a", "something long"])
    sentence = QLabel("One sentence that goes on and on. " * 8)
    sentence.setWordWrap(True)
    tabs = QTabWidget()
    tabs.addTab(QLabel("one"), "First")
    tabs.addTab(QLabel("two"), "Second")
    fine = [QPushButton("Find && see"), QCheckBox("A long enough text"), QLabel("<b>bold</b>")]
    assert put(toy, *fine, combo, sentence, tabs) == []


def test_a_clipped_button_is_found(toy: QWidget) -> None:
    button = QPushButton("Follow flips through the movie")
    button.setFixedWidth(80)
    (told,) = put(toy, button, QPushButton("short"))
    assert "Follow flips" in told and "the text needs" in told


@pytest.mark.parametrize("kind", [QCheckBox, QLabel])
def test_other_clipped_texts_are_found(toy: QWidget, kind: type[QWidget]) -> None:
    widget = kind("The text of something else")  # type: ignore[call-arg, arg-type]
    widget.setFixedWidth(60)
    (told,) = put(toy, widget)
    assert "the text needs" in told


def test_a_cut_combo_is_found(toy: QWidget) -> None:
    combo = QComboBox()
    combo.setObjectName("colour")
    combo.addItems(["anomaly score", "strain"])
    combo.setFixedWidth(50)
    (told,) = put(toy, combo)
    assert "QComboBox colour" in told and "a choice needs" in told
    combo.clear()
    combo.addItem("a")  # short ones need less
    assert put(toy, combo) == []


def test_a_sentence_without_room_is_found(toy: QWidget) -> None:
    sentence = QLabel("One sentence that goes on and on. " * 8)
    sentence.setWordWrap(True)
    sentence.setFixedSize(120, 30)
    (told,) = put(toy, sentence)
    assert "the lines need" in told


def test_an_overflow_is_found(toy: QWidget) -> None:
    """As the scan's dock was: a page wider than what scrolls it, and no bar."""
    page = QWidget()
    row = QHBoxLayout(page)
    wide = QPushButton("wide")
    wide.setFixedWidth(900)
    row.addWidget(wide)
    area = QScrollArea()
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidgetResizable(True)
    area.setFixedWidth(300)
    area.setWidget(page)
    assert any("reaches from 0 to" in told for told in put(toy, area))


def test_a_dock_behind_another_is_not_in_the_window(toy: QWidget) -> None:
    window = toy.window()
    assert isinstance(window, QMainWindow)
    other = QDockWidget(window)
    other.setWidget(QWidget())
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, other)
    window.grab()
    assert in_window(toy)
    window.tabifyDockWidget(toy.parentWidget(), other)  # type: ignore[arg-type]
    other.show()
    other.raise_()
    window.grab()
    assert not in_window(toy)


def plots() -> list[Callable[[], Any]]:
    return [base_plots.Scatter, base_plots.Histogram, base_plots.Curves, lambda: Axes("left"),
            bare_plot]  # fmt: skip


@pytest.mark.parametrize("make", plots(), ids=["scatter", "histogram", "curves", "axes", "bare"])
def test_the_label_below_a_plot_is_seen_whole(make: Callable[[], Any], qtbot: Any) -> None:
    """Feet of letters and underscores were cut off: y_px was y px."""
    plot = make()
    qtbot.addWidget(plot)
    plot.resize(300, 200)
    plot.setLabel("bottom", "y_px, (pm)")
    plot.show()
    qtbot.waitExposed(plot)
    label = plot.getPlotItem().getAxis("bottom").label

    def lowest() -> float:
        return float(label.mapRectToScene(label.boundingRect()).bottom())

    qtbot.waitUntil(lambda: lowest() > 100)
    assert lowest() <= plot.viewport().height()


def ticks(plot: Any) -> list[str]:
    """Numbers below a plot."""
    axis = plot.getPlotItem().getAxis("bottom")
    low, high = axis.range
    return [t for s, at in axis.tickValues(low, high, axis.width())
            for t in axis.tickStrings(at, 1.0, s)]  # fmt: skip


@pytest.mark.parametrize("n", [1, 3, 40])
def test_a_frame_is_a_whole_number(n: int, qtbot: Any) -> None:
    """There was a frame -0.4 below the plot of an image, and 500 of them on each side."""
    for plot in (base_plots.Curves(), Axes("atoms")):
        qtbot.addWidget(plot)
        plot.resize(360, 200)
        plot.show()
        qtbot.waitExposed(plot)
        if isinstance(plot, base_plots.Curves):
            plot.show_curves(np.arange(n), {"atoms": np.ones(n)}, {"atoms": "#ffffff"})
            qtbot.waitUntil(lambda: np.ptp(plot.getPlotItem().getAxis("bottom").range) < 2 * n + 2)  # noqa: B023
        else:
            plot.setXRange(0, max(n - 1, 1))
        assert ticks(plot) and all(t.lstrip("-").isdigit() for t in ticks(plot))


def test_the_number_at_the_top_of_a_plot_is_seen_whole(qtbot: Any) -> None:
    """Half of it was cut off."""
    plot = Axes("atoms")
    qtbot.addWidget(plot)
    plot.resize(300, 200)
    plot.setYRange(0, 1, padding=0)
    plot.show()
    qtbot.waitExposed(plot)
    view = plot.getPlotItem().getViewBox()
    half = plot.fontMetrics().height() / 2
    qtbot.waitUntil(lambda: view.height() > 100)
    assert view.mapRectToScene(view.boundingRect()).top() >= half - 1


@pytest.mark.parametrize(("unit", "many"), [("frames", "2 frames"), ("sites", "2 sites")])
def test_one_of_something_has_no_plural(unit: str, many: str, qtbot: Any) -> None:
    box = fields.number("n", "N", 0, 9, value=1, decimals=0, step=1, unit=unit)
    assert box.native.text() == many.replace("2", "1")[:-1]
    QTest.keyClick(box.native, Qt.Key.Key_Up)
    assert box.native.text() == many
