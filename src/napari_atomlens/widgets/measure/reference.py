"""The region of a perfect lattice that the user draws, against which strain is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Shapes

from napari_atomlens.errors import TableError
from napari_atomlens.widgets.layers.roles import KEY, entry

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Points

#: Role of the layer in which the reference region is drawn.
REFERENCE = "reference region"


def draw_reference(viewer: napari.viewer.Viewer, atoms: Points) -> Shapes:
    """Return a Shapes layer over the atoms, made where there is none, ready to draw in."""
    key = str(atoms.unique_id)
    layer: Shapes | None = next(
        (
            x for x in viewer.layers
            if entry(x).get("role") == REFERENCE and entry(x).get("source_id") == key
        ),
        None,
    )  # fmt: skip
    if layer is None:
        layer = Shapes(
            None, ndim=2, name=REFERENCE, scale=atoms.scale[-2:], translate=atoms.translate[-2:],
            units=atoms.units[-2:], axis_labels=atoms.axis_labels[-2:], edge_color="#f0e442",
            face_color="transparent", edge_width=2,
            metadata={
                KEY: {"role": REFERENCE, "source_id": key, "source_name": str(atoms.name)}
            },
        )  # fmt: skip
        viewer.add_layer(layer)
    viewer.layers.selection.active = layer
    layer.mode = "add_rectangle"
    return layer


def reference_corners(shapes: Shapes, atoms: Points) -> np.ndarray:
    """Vertices (k, 2) of the selected shape, else of the first, in pixels of the atoms.

    Raises
    ------
    TableError
        If the layer holds no area.
    """
    for k in sorted(shapes.selected_data) or range(len(shapes.data)):
        kind = shapes.shape_type[k]
        if kind in ("rectangle", "polygon", "ellipse"):
            corners = np.asarray(shapes.data[k], float)
            return _between(shapes, atoms, _ellipse(corners) if kind == "ellipse" else corners)
    raise TableError("Draw a rectangle or polygon in the reference layer first.")


def _ellipse(corners: np.ndarray) -> np.ndarray:
    """Vertices of the ellipse in four corners (4, n)."""
    centre = corners.mean(0)
    u, v = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]
    return np.asarray(centre + np.cos(angle) * u + np.sin(angle) * v)


def _between(shapes: Shapes, atoms: Points, corners: np.ndarray) -> np.ndarray:
    """Vertices (k, 2) in pixels of the atoms layer, wherever the shapes layer lies."""
    found = []
    for corner in corners:
        world = np.asarray(shapes.data_to_world(corner), float)[-2:]
        whole = np.r_[np.zeros(atoms.ndim - 2), world]
        found.append(np.asarray(atoms.world_to_data(whole), float)[-2:])
    return np.array(found)
