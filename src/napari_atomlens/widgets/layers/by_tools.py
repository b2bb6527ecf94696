"""What the user did to a layer of atoms with napari's own tools: it, against the corrections."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_atomlens.session.edits import Corrections
from napari_atomlens.widgets.layers import convert

if TYPE_CHECKING:
    from napari.layers import Points


@dataclass
class ToolChanges:
    """In what a layer and the corrections differ.

    Attributes
    ----------
    frames : ndarray of int
        Frame of every point of the layer.
    new : list of int
        Rows of the layer that are new atoms.
    gone : list of int
        Ids of atoms that the layer has no more.
    moved : list of int
        Rows of the layer that are elsewhere.
    renamed : dict
        Species -> ids of the atoms that have it now.
    """

    frames: np.ndarray
    new: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    renamed: dict[str, list[int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.new or self.gone or self.moved or self.renamed)


def changes_of_rows(layer: Points, c: Corrections, rows: np.ndarray, added: bool) -> ToolChanges:
    """Compare some rows of a layer with the corrections.

    Parameters
    ----------
    layer : napari.layers.Points
    c : Corrections
    rows : ndarray of int
    added : bool
        Whether all of them are new.
    """
    features, places = layer.features, np.asarray(layer.data, float)
    ids = features["atom_id"].to_numpy()
    found = ToolChanges(convert.frames_of(places))
    known = features["species"].astype(str).to_numpy() if "species" in features else None
    claimed: set[int] = set()
    for k in rows:
        atom_id = -1 if pd.isna(ids[k]) else int(ids[k])
        old = None
        if not added and atom_id not in claimed and (f := c.frame_of(atom_id)) >= 0:
            old = c.columns(f).row(atom_id)
        if old is None:
            found.new.append(int(k))
            continue
        claimed.add(atom_id)
        if int(c.value(old, "frame")) != found.frames[k]:  # dragged into another frame
            found.gone.append(atom_id)
            found.new.append(int(k))
            continue
        at = np.array([c.value(old, "y_px"), c.value(old, "x_px")])
        if not np.allclose(at, places[k, -2:], rtol=0, atol=1e-6):
            found.moved.append(int(k))
        if known is not None and known[k] != str(c.value(old, "species")):
            found.renamed.setdefault(str(known[k]), []).append(atom_id)
    return found


def changes_of_all(layer: Points, c: Corrections) -> ToolChanges:
    """Compare the whole layer with the corrections."""
    features, places = layer.features, np.asarray(layer.data, float)
    found = ToolChanges(convert.frames_of(places))
    if "atom_id" not in features or len(features) != len(places):
        return found
    table = c.atoms().set_index("atom_id")
    ids = pd.to_numeric(features["atom_id"], errors="coerce").fillna(-1).astype(np.int64)
    own = (ids.isin(table.index) & ~ids.duplicated()).to_numpy()
    row = table.reindex(ids[own])
    same_frame = np.zeros(len(ids), bool)
    same_frame[own] = row["frame"].to_numpy() == found.frames[own]
    found.new = np.flatnonzero(~own | ~same_frame).tolist()
    found.gone = [int(i) for i in table.index[~table.index.isin(ids[same_frame])]]
    here = np.flatnonzero(same_frame)
    row = table.reindex(ids.to_numpy()[here])
    off = np.abs(row[["y_px", "x_px"]].to_numpy(float) - places[here, -2:]).max(1, initial=0)
    found.moved = here[~(off <= 1e-6)].tolist()
    if "species" in features:
        told = features["species"].astype(object).fillna("").map(str).to_numpy()[here]
        for k in np.flatnonzero(told != row["species"].astype(str).to_numpy()):
            found.renamed.setdefault(str(told[k]), []).append(int(ids.to_numpy()[here[k]]))
    return found
