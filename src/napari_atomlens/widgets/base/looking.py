"""Which frame the viewer shows, and what is in the middle of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer
    from numpy.typing import ArrayLike


def show_frame(viewer: napari.viewer.Viewer, layer: Layer, frame: int) -> None:
    """Let the viewer show a frame of a layer (t, y, x)."""
    world = layer.data_to_world((frame, *np.zeros(layer.ndim - 1)))[0]
    viewer.dims.set_point(viewer.dims.ndim - 3, float(world))


def look_at(viewer: napari.viewer.Viewer, layer: Layer, place: ArrayLike) -> None:
    """Show the frame of a place in the pixels of a layer, and bring it to the middle."""
    world = np.asarray(layer.data_to_world(np.asarray(place, float)), float)
    if layer.ndim > 2:
        viewer.dims.set_point(viewer.dims.ndim - 3, float(world[-3]))
    viewer.scene.camera.center = (0.0, float(world[-2]), float(world[-1]))
