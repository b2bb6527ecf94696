"""The layers of a watched folder: its newest image with what was found in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Points

from napari_atomlens.widgets.layers.registry import layers_of
from napari_atomlens.widgets.layers.roles import KEY, entry
from napari_atomlens.widgets.layers.surface import kind_colours, limits

if TYPE_CHECKING:
    import napari.viewer

    from napari_atomlens.runs.hooks import Event

IMAGE, ATOMS, DEFECTS = "watched image", "watched atoms", "watched defects"
#: Size of the rings round atoms of silicon, other atoms, and defects, in pixels.
SILICON_PX, ATOM_PX, DEFECT_PX = 3.0, 4.0, 14.0


def show_watched(viewer: napari.viewer.Viewer, event: Event) -> None:
    """Show the newest file; its layers take the place of those of the one before.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    event : Event
        Of a file that was analysed; others are not shown.
    """
    done = event.result
    if done is None:
        return
    size, pixels = done.pixel_size_nm, np.asarray(done.image, np.float32)
    for layer in [x for x in viewer.layers if entry(x).get("role") in (IMAGE, ATOMS, DEFECTS)]:
        viewer.layers.remove(layer)
    image = Image(
        pixels, name=event.name, contrast_limits=limits(pixels), colormap="gray",
        scale=size or (1.0, 1.0), units=("nm", "nm") if size else ("pixel", "pixel"),
        axis_labels=("y", "x"), metadata={KEY: {"role": IMAGE, "file": event.name}},
    )  # fmt: skip
    viewer.add_layer(image)
    layers, note = layers_of(viewer, image), {"file": event.name}
    look: dict[str, Any] = {"face_color": "transparent", "border_width": 0.12}
    atoms, defects = done.tables.get("atoms"), done.tables.get("defects")
    if atoms is not None:
        width = SILICON_PX if done.kind == "silicon" else ATOM_PX
        layers.show(
            ATOMS, Points, atoms[["y_px", "x_px"]].to_numpy(float), features=atoms,
            name=f"atoms: {event.name}", style={**look, "size": width, "border_color": "#4cc9f0"},
            note=note,
        )  # fmt: skip
    if defects is not None:
        colours = kind_colours()
        defects = defects[defects["kind"] != "step edge"].reset_index(drop=True)
        each = [colours.get(k, "#ffffff") for k in defects["kind"]]
        layers.show(
            DEFECTS, Points, defects[["y_px", "x_px"]].to_numpy(float), features=defects,
            name=f"defects: {event.name}", style={**look, "size": DEFECT_PX, "border_color": each},
            note=note,
        )  # fmt: skip
