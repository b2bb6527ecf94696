"""Make docs/images/explore_*.png: the two worked systems in a real viewer, explored.

Usage: ``scripts/with_display.sh python docs/make_contour_screenshots.py``. Without a screen it
starts a virtual display of its own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import QCheckBox, QComboBox, QPushButton

from napari_atomlens.errors import AtomLensError
from napari_atomlens.widgets.demo import PLUGIN, has_display, open_sample, virtual_display, wait_for

IMAGES = Path(__file__).parent / "images"


def until(done: Callable[[], bool], seconds: float = 120) -> None:
    """Keep the window alive until something is done."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise AtomLensError("The window was not done in time.")
        QApplication.processEvents()
        time.sleep(0.01)


def settle(seconds: float = 1.0) -> None:
    """Let the window draw."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end)


def explore(sample: str, theme: str, tab: str, steps: Callable[[Any], None], name: str) -> Path:
    """Open a sample, find atoms, describe, take some steps and save the window."""
    viewer, find = open_sample(sample, (1600, 960))
    try:
        viewer.theme = theme
        find.run()
        wait_for(find)
        viewer.window.remove_dock_widget(find.parent())
        _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Explore")
        widget.setMinimumWidth(560)
        for layer in viewer.layers:
            if layer.metadata.get("napari-atomlens", {}).get("role") == "contours":
                layer.visible = False
        widget.run()
        until(lambda: not widget.is_running)
        if not widget.sites.flagged.any():
            raise AtomLensError(f"Nothing was flagged in the sample {sample}.")
        names = [widget.tabs.tabText(i) for i in range(widget.tabs.count())]
        widget.tabs.setCurrentIndex(names.index(tab))
        settle()
        steps(widget)
        settle()
        IMAGES.mkdir(exist_ok=True)
        path = IMAGES / f"{name}.png"
        viewer.screenshot(str(path), canvas_only=False, flash=False)
    finally:
        viewer.close()
    return path


def scatter(widget: Any) -> None:
    """Strength against displacement, coloured by score, the flagged selected."""
    for name, column in (
        ("x", "raw_moved_x_px"), ("y", "raw_strength"), ("colour", "anomaly_score")
    ):  # fmt: skip
        widget.findChild(QComboBox, name).setCurrentText(column)
    widget.select(np.flatnonzero(widget.sites.flagged))


def rose(widget: Any) -> None:
    """The orientation of the flagged sites."""
    widget.findChild(QCheckBox, "flagged_rose").setChecked(True)


def classes(widget: Any) -> None:
    """Classes of the flagged sites."""
    widget.findChild(QPushButton, "classify").click()
    until(lambda: not widget.is_running)


def main() -> None:
    """Save all pictures; stop at the first that fails."""
    with contextlib.nullcontext() if has_display() else virtual_display():
        print(explore("manganite_surface", "dark", "Rose", rose, "explore_manganite"))
        print(explore("ws2_point_defects", "dark", "Scatter", scatter, "explore_ws2"))
        print(explore("ws2_point_defects", "light", "Classes", classes, "explore_classes_light"))


if __name__ == "__main__":
    main()
