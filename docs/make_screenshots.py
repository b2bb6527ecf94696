"""Make docs/images/*.png: every sample in a real viewer, its atoms found, the window saved.

Usage: ``make screenshots``, or ``python docs/make_screenshots.py [SAMPLE...]``.
Without a screen it starts a virtual display of its own.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from napari_atomlens.widgets.demo import (
    PLUGIN,
    has_display,
    save_window,
    virtual_display,
    wait_for,
)

SAMPLES = ("graphene_si", "ws2_vacancies", "perovskite", "silicon_110_movie", "h_si_100", "measure")
#: Movies: sample, frame, tab of the Movie widget, picture.
MOVIES = (
    ("silicon_110_defects", 15, "Dumbbell", "movie_dumbbell"),
    ("silicon_110_defects", 15, "Row", "movie_row"),
)
IMAGES = Path(__file__).parent / "images"


def measured(path: Path) -> Path:
    """Save a picture of the Measure widget on the perovskite whose right half is polar."""
    import time

    import numpy as np
    from qtpy.QtWidgets import QApplication, QComboBox

    from napari_atomlens.widgets.demo import PLUGIN, open_sample, wait_for

    viewer, finder = open_sample("perovskite", (1500, 940))
    try:
        finder.run()
        wait_for(finder)
        _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Measure")
        viewer.window.remove_dock_widget(finder)
        widget.draw_reference()
        shapes = viewer.layers.selection.active
        shapes.add_rectangles(np.array([[2, 2], [2, 235], [509, 235], [509, 2]], float))
        shapes.mode = "pan_zoom"
        for name, text in (("arrows", "polar"), ("map", "polar displacement")):
            widget.findChild(QComboBox, name).setCurrentText(text)
        widget.run()
        wait_for(widget)
        for layer in viewer.layers:
            if layer.name.startswith(("contours", "atoms")):
                layer.visible = False
        until = time.monotonic() + 1
        while time.monotonic() < until:
            QApplication.processEvents()
            time.sleep(0.01)
        viewer.screenshot(str(path), canvas_only=False, flash=False)
    finally:
        viewer.close()
    return path


def save_movie(sample: str, frame: int, tab: str, path: Path) -> Path:
    """Follow a sample movie and save the window with one of the plots."""
    import napari
    from napari.layers import Layer

    from napari_atomlens.widgets.open_save import samples

    viewer = napari.Viewer(title="napari with AtomLens")
    viewer.window.resize(1500, 940)
    for layer_tuple in samples.layers_of(sample):
        viewer.add_layer(Layer.create(*layer_tuple))
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Movie")
    try:
        widget.run()
        wait_for(widget)
        names = [widget._tabs.tabText(k) for k in range(widget._tabs.count())]
        widget._tabs.setCurrentIndex(names.index(tab))
        widget.go_to_frame(frame)
        wait_for(widget)  # a second for all that follows the slider
        viewer.screenshot(str(path), canvas_only=False, flash=False)
    finally:
        viewer.close()
    return path


def main(samples: list[str]) -> None:
    """Save a picture of each sample; stop at the first that fails."""
    with contextlib.nullcontext() if has_display() else virtual_display():
        for sample in samples:
            if sample == "measure":
                print(measured(IMAGES / "measure.png"))
            elif sample in SAMPLES:
                print(save_window(sample, IMAGES / f"{sample}.png"))
        for sample, frame, tab, name in MOVIES:
            if sample in samples:
                print(save_movie(sample, frame, tab, IMAGES / f"{name}.png"))


if __name__ == "__main__":
    main(sys.argv[1:] or [*SAMPLES, *dict.fromkeys(m[0] for m in MOVIES)])
