"""The layer in which regions are drawn that hold no atoms worth looking at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_atomlens.widgets.layers.roles import EXCLUDED, KEY, entry

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer, Points
    from napari.utils.events import Event


COLOUR = "#ff4d6d"
#: Corners (y, x).
Polygon = Sequence[Sequence[float]]


class Regions:
    """Shows the excluded regions of the frame that is shown, and takes new ones.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    atoms : napari.layers.Points
        The layer whose atoms are corrected.
    on_drawn : callable
        Called with the corners (n, 2) of a polygon that the user has drawn.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, atoms: Points, on_drawn: Callable[[np.ndarray], None]
    ) -> None:
        self._viewer, self._atoms, self._on_drawn = viewer, atoms, on_drawn
        self._busy = False
        self.layer = next((x for x in viewer.layers if self._is_mine(x)), None)
        self._shown: list[Polygon] = []
        if self.layer is not None:
            self.layer.events.data.connect(self._on_data)

    def _is_mine(self, layer: Layer) -> bool:
        mine = entry(layer)
        return mine.get("role") == EXCLUDED and mine.get("atoms") == str(self._atoms.name)

    def close(self) -> None:
        """Let go of the layer; it stays."""
        if self.layer is not None:
            self.layer.events.data.disconnect(self._on_data)
            self.layer = None

    def draw(self) -> None:
        """Let the user draw a polygon."""
        if self.layer is None or self.layer not in self._viewer.layers:
            self._make()
        assert self.layer is not None
        self.layer.visible = True
        self._viewer.layers.selection.active = self.layer
        self.layer.mode = "add_polygon"

    def _make(self) -> None:
        from napari.layers import Shapes

        atoms = self._atoms
        # two axes: it lies over every frame, and shows what is excluded there
        self.layer = Shapes(
            None, ndim=2, name=f"excluded · {atoms.name}", edge_color=COLOUR,
            face_color="#ff4d6d30", edge_width=1, scale=atoms.scale[-2:],
            translate=atoms.translate[-2:], units=atoms.units[-2:],
            axis_labels=atoms.axis_labels[-2:],
            metadata={KEY: {"role": EXCLUDED, "atoms": str(atoms.name)}},
        )  # fmt: skip
        self._viewer.layers.append(self.layer)
        self.layer.events.data.connect(self._on_data)

    def show(self, polygons: list[Polygon]) -> None:
        """Show the polygons of the frame that is shown."""
        if polygons == self._shown and (self.layer is None or self.layer.nshapes == len(polygons)):
            return
        if self.layer is None or self.layer not in self._viewer.layers:
            if not polygons:
                return
            self._make()
        assert self.layer is not None
        self._busy = True
        mode = str(self.layer.mode)
        try:
            self.layer.selected_data = set()
            self.layer.data = []
            if polygons:
                self.layer.add(
                    [np.asarray(p, float) for p in polygons], shape_type="polygon",
                    edge_color=COLOUR, face_color="#ff4d6d30", edge_width=1,
                )  # fmt: skip
                self.layer.selected_data = set()
        finally:
            self._busy = False
        if mode == "add_polygon":
            self.layer.mode = "pan_zoom"
        self._shown = list(polygons)

    def _on_data(self, event: Event) -> None:
        action = str(getattr(event.action, "value", event.action))
        if self._busy or self.layer is None or action not in ("added", "removed", "changed"):
            return
        if action == "added" and len(self.layer.data) > len(self._shown):
            self._on_drawn(np.asarray(self.layer.data[-1], float)[:, -2:])
        else:  # regions are taken back by undo; what was pulled about goes back
            shown, self._shown = self._shown, []
            self.show(shown)
