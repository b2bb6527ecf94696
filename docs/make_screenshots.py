"""Make docs/images/*.png: every sample in a real viewer, its atoms found, the window saved.

Usage: ``make screenshots``, or ``python docs/make_screenshots.py [SAMPLE...]``.
Without a screen it starts a virtual display of its own.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from napari_atomlens.widgets.demo import has_display, save_window, virtual_display

SAMPLES = ("graphene_si", "ws2_vacancies", "perovskite", "silicon_110_movie", "h_si_100", "measure")
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


def main(samples: list[str]) -> None:
    """Save a picture of each sample; stop at the first that fails."""
    with contextlib.nullcontext() if has_display() else virtual_display():
        for sample in samples:
            path = IMAGES / f"{sample}.png"
            print(measured(path) if sample == "measure" else save_window(sample, path))


if __name__ == "__main__":
    main(sys.argv[1:] or list(SAMPLES))
