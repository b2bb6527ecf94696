"""The layer in which regions are drawn that hold no atoms worth looking at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes

from napari_atomlens.widgets.base.timers import once
from napari_atomlens.widgets.layers.registry import layers_of
from napari_atomlens.widgets.layers.roles import EXCLUDED

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Points
    from napari.utils.events import Event

LOOK: dict[str, Any] = {"edge_color": "#ff4d6d", "face_color": "#ff4d6d30", "edge_width": 1}
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
        self._atoms, self._on_drawn = atoms, on_drawn
        self._layers = layers_of(viewer, atoms)
        self._wanted: list[Polygon] = []
        self._shown: list[Polygon] = []
        # napari still works on a shape when it says that there is a new one: not now, but next
        self._next = once(0, self._settle)
        self._layers.found.connect(self._on_found)
        self._layers.lost.connect(self._on_lost)
        known = self._layers.layer(EXCLUDED)
        if known is not None:
            self._on_found(EXCLUDED, known)

    @property
    def layer(self) -> Any:
        """The layer of the regions, None where there is none."""
        return self._layers.layer(EXCLUDED)

    def close(self) -> None:
        """Let go of the layer; it stays."""
        self._next.stop()
        self._layers.found.disconnect(self._on_found)
        self._layers.lost.disconnect(self._on_lost)
        if self.layer is not None:
            self._on_lost(EXCLUDED, self.layer)

    def _on_found(self, role: str, layer: Any) -> None:
        if role == EXCLUDED:
            layer.events.data.disconnect(self._on_data)  # never twice
            layer.events.data.connect(self._on_data)

    def _on_lost(self, role: str, layer: Any) -> None:
        if role == EXCLUDED:
            layer.events.data.disconnect(self._on_data)
            self._shown = []

    # -------------------------------------------------------------------------- drawn

    def draw(self) -> None:
        """Let the user draw a polygon."""
        layer = self.layer
        if layer is None:
            # two axes: it lies over every frame, and shows what is excluded there
            layer = Shapes(None, ndim=2, **self._layers.common(EXCLUDED, ndim=2))
            layer.current_edge_color = LOOK["edge_color"]
            layer.current_face_color = LOOK["face_color"]
            self._layers.add(EXCLUDED, layer)
        layer.visible = True
        self._layers.viewer_layers.selection.active = layer
        layer.mode = "add_polygon"

    def _is_drawing(self) -> bool:
        """Whether the user is in the middle of a polygon."""
        layer = self.layer
        return (
            layer is not None
            and str(layer.mode).startswith("add")
            and len(layer.data) > len(self._shown)
        )

    def _on_data(self, event: Event) -> None:
        action = str(getattr(event.action, "value", event.action))
        if not self._layers.is_busy and action in ("added", "removed", "changed"):
            self._next.start()

    def _settle(self) -> None:
        """Take a polygon that is complete; let the layer be as the session says."""
        layer = self.layer
        if layer is None:
            return
        fresh = layer.data[len(self._shown) :]
        if str(layer.mode).startswith("add"):
            layer.mode = "pan_zoom"  # the next click must not exclude more
            if self._atoms in self._layers.viewer_layers:
                self._layers.viewer_layers.selection.active = self._atoms
        if len(fresh):
            self._on_drawn(np.asarray(fresh[-1], float)[:, -2:])
        # regions are taken back by undo; what was pulled about goes back
        self._redraw()

    # -------------------------------------------------------------------------- shown

    def show(self, polygons: list[Polygon]) -> None:
        """Show the polygons of the frame that is shown."""
        self._wanted = list(polygons)
        layer = self.layer
        same = self._wanted == self._shown and (layer is None or len(layer.data) == len(polygons))
        if not same and not self._is_drawing() and not self._next.isActive():
            self._redraw()

    def _redraw(self) -> None:
        polygons = [np.asarray(p, float) for p in self._wanted]
        with self._layers.own_changes():
            self._layers.show(EXCLUDED, Shapes, polygons, ndim=2, **LOOK)
        self._shown = list(self._wanted)
