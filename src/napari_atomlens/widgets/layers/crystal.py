"""The layers of a crystal that was matched: its columns over the image, and its defects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Points
from napari.utils.colormaps.standardize_color import transform_color

from napari_atomlens.points import spacing
from napari_atomlens.widgets.layers import convert, styles
from napari_atomlens.widgets.layers.roles import CRYSTAL, CRYSTAL_DEFECTS

if TYPE_CHECKING:
    from napari_atomlens.graphs.crystal_match import CrystalMatch
    from napari_atomlens.widgets.layers.layer_set import LayerSet

#: Size of a column of the crystal over the distance of nearest ones: those that the image shows,
#: and those that are too faint.
SHOWN, FAINT = 0.5, 0.25
DEFECT_COLOURS = {
    "vacancy": "#ff9f1c", "antisite": "#cc79a7", "substitution": "#f0e442", "extra": "#4cc9f0",
}  # fmt: skip


def show_crystal(layers: LayerSet, found: CrystalMatch, revision: int) -> Iterator[None]:
    """Put a match into the session of some atoms, and draw it: one layer a step.

    Parameters
    ----------
    layers : LayerSet
        Of the layer of atoms.
    found : CrystalMatch
    revision : int
        Of the session when the making began.

    Yields
    ------
    None
        After each step but the last.
    """
    session = layers.session
    if session is None:
        raise RuntimeError("these atoms have no session")
    model, defects = found.model, found.defects
    session.put_all(
        {"matched": found.columns, "matches": found.matches, "crystal model": model,
         "crystal defects": defects}, {"match": found.params}, revision,
    )  # fmt: skip
    yield
    step = _spacing(model)
    with layers.own_changes():
        _show_model(layers, model, step)
    yield
    with layers.own_changes():
        _show_defects(layers, defects, step)


def _spacing(model: pd.DataFrame) -> float:
    """Distance of nearest columns that the image shows, in pixels."""
    seen = model[model["seen"].to_numpy(bool)]
    step = spacing(seen[["y_px", "x_px"]].to_numpy(float), seen["frame"].to_numpy())
    return step if np.isfinite(step) else 10.0


def _show_model(layers: LayerSet, model: pd.DataFrame, step: float) -> None:
    colours = styles.class_colours(sorted(set(model["elements"])))
    size = np.where(model["seen"].to_numpy(bool), SHOWN, FAINT) * step
    each: dict[str, Any] = {"size": size, "border_color": _painted(model["elements"], colours)}
    layers.show(
        CRYSTAL, Points, convert.points_from_atoms(model, layers.source.ndim),
        features=model[["frame", "region", "site", "elements", "seen"]],
        style={"symbol": "disc", "face_color": "transparent", "border_width": 0.16},
        **(each if len(model) else {}),
    )  # fmt: skip


def _show_defects(layers: LayerSet, defects: pd.DataFrame, step: float) -> None:
    each: dict[str, Any] = {"border_color": _painted(defects["kind"], DEFECT_COLOURS)}
    layers.show(
        CRYSTAL_DEFECTS, Points, convert.points_from_atoms(defects, layers.source.ndim),
        features=defects[["frame", "defect_id", "formula", "kind", "score"]],
        style={
            "size": 1.1 * step, "symbol": "square", "face_color": "transparent",
            "border_width": 0.12,
        },
        **(each if len(defects) else {}),
    )  # fmt: skip


def _painted(values: pd.Series, colours: dict[str, str]) -> np.ndarray:
    """Colour of each value."""
    chosen = [transform_color(colours[str(v)])[0] for v in values]
    return np.array(chosen).reshape(-1, 4)
