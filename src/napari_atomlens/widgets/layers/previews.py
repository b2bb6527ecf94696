"""Rings that compare what two models find, beside the atoms that there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Points

from napari_atomlens.widgets.layers import placing
from napari_atomlens.widgets.layers.roles import KEY, entry

if TYPE_CHECKING:
    import napari.viewer

BEFORE, AFTER = "before", "after"
COLOURS = {BEFORE: "#ff9f1c", AFTER: "#3ddc97"}
ROLE = "preview "


def show_previews(
    viewer: napari.viewer.Viewer, atoms: Points, frame: int, found: Mapping[str, np.ndarray]
) -> None:
    """Show what models find in a frame as rings of their own colour.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    atoms : napari.layers.Points
        Whose place in the world they have.
    frame : int
    found : mapping of str to ndarray
        "before" and "after", (n, 2) in pixels.
    """
    for name, places in found.items():
        data = np.column_stack([np.full(len(places), float(frame)), places])[:, -atoms.ndim :]
        viewer.layers.append(
            Points(
                data.reshape(-1, atoms.ndim), ndim=atoms.ndim, name=f"{name} adapting",
                size=float(atoms.current_size) * (1.5 if name == BEFORE else 1.0),
                face_color="transparent", border_color=COLOURS[name], border_width=0.15,
                metadata={KEY: {"role": f"{ROLE}{name}"}}, **placing.place_of(atoms, atoms.ndim),
            )
        )  # fmt: skip


def remove_previews(viewer: napari.viewer.Viewer) -> None:
    """Take them out of the viewer again."""
    for layer in list(viewer.layers):
        if str(entry(layer).get("role", "")).startswith(ROLE):
            viewer.layers.remove(layer)
