"""The tool that excludes a region, in this frame or in all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_atomlens.session.edits import actions
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.layout import button
from napari_atomlens.widgets.correct.desk import Desk
from napari_atomlens.widgets.layers.regions import Regions

THIS_FRAME, ALL_FRAMES = "this frame", "all frames"


class RegionTool(QWidget):
    """A button to draw a region, and in which frames it counts.

    Parameters
    ----------
    desk : Desk
    say : callable
        Called with a sentence.
    """

    def __init__(self, desk: Desk, say: Callable[[str], None]) -> None:
        super().__init__()
        self._desk, self._say = desk, say
        self._regions: Regions | None = None
        self._button = button(
            "region", "Exclude region…",
            "Draw a polygon: its atoms go, and no later run brings any there", self._on_pressed,
        )  # fmt: skip
        self._frames = fields.choice("region_frames", "", [THIS_FRAME, ALL_FRAMES])
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self._button, 1)
        line.addWidget(self._frames.native, 1)

    def follow(self) -> None:
        """Belong to the atoms that are corrected now."""
        if self._regions is not None:
            self._regions.close()
            self._regions = None
        editor = self._desk.editor
        self._button.setEnabled(editor is not None)
        self._frames.native.setVisible(self._desk.is_movie)
        if editor is not None:
            self._regions = Regions(self._desk.viewer, editor.layer, self._on_drawn)

    def show_regions(self) -> None:
        """Show the regions of the frame that is shown."""
        editor = self._desk.editor
        if editor is not None and self._regions is not None:
            self._regions.show(editor.corrections.regions(self._desk.frame))

    def _on_pressed(self) -> None:
        if self._regions is not None:
            self._say("Click the corners of the region; Escape or Enter ends it.")
            self._regions.draw()

    def _on_drawn(self, corners: np.ndarray) -> None:
        editor = self._desk.editor
        if editor is None:
            return
        one = self._frames.value == THIS_FRAME
        editor.perform(actions.exclude, corners, self._desk.frame if one else None)
        self._desk.viewer.layers.selection.active = editor.layer
