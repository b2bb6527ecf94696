"""A bond graph as layers: bonds as Vectors, rings as polygons, defects as Points. No Qt here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from napari_atomlens.graphs.bonds import BondGraph

#: Colour-blind safe: few atoms in warm colours, the perfect ring without colour, many in cold.
RING_COLOURS = {
    3: "#d73027",
    4: "#f46d43",
    5: "#fdae61",
    6: "#8d8d8d",
    7: "#74add1",
    8: "#4575b4",
    9: "#5e3c99",
}
MORE_ATOMS = "#762a83"
KIND_COLOURS = ("#ff9f1c", "#3ddc97", "#4cc9f0", "#cc79a7", "#f0e442", "#e8590c", "#7b9ff2")
#: Rings of the perfect crystal are left out of the polygons where there are more than this.
MOST_POLYGONS = 3000


def frame_column(frame: np.ndarray, ndim: int) -> np.ndarray:
    """Frames as the first coordinate of a movie's layer; no column for an image."""
    return np.asarray(frame, float).reshape(-1, 1)[:, : ndim - 2]


def vectors_from_bonds(graph: BondGraph, ndim: int) -> np.ndarray:
    """Bonds as napari Vectors, shape (n, 2, ndim): start, and the way to the end."""
    places = graph.atoms[["y_px", "x_px"]].to_numpy(float)
    a, b = graph.pairs[:, 0], graph.pairs[:, 1]
    frame = frame_column(graph.atoms["frame"].to_numpy()[a], ndim)
    start = np.column_stack([frame, places[a]])
    way = np.column_stack([np.zeros_like(frame), places[b] - places[a]])
    return np.stack([start, way], axis=1)


def polygons_from_rings(
    graph: BondGraph, frame: int, ndim: int
) -> tuple[list[np.ndarray], list[int]]:
    """Rings of one frame as polygons (n, ndim), and their sizes.

    Where there are too many, those of the perfect crystal are left out.
    """
    rings = graph.rings
    if not len(rings):
        return [], []
    of_frame = graph.atoms["frame"].to_numpy()[rings.members[:, 0]] == frame
    chosen = np.flatnonzero(of_frame)
    if len(chosen) > MOST_POLYGONS:
        chosen = chosen[rings.size[chosen] != graph.rules.ring_size][:MOST_POLYGONS]
    places = graph.atoms[["y_px", "x_px"]].to_numpy(float)
    polygons = []
    for ring in chosen.tolist():
        corners = places[rings.polygon(ring)]
        polygons.append(
            np.column_stack([frame_column(np.full(len(corners), frame), ndim), corners])
        )
    return polygons, [int(s) for s in rings.size[chosen]]


def ring_colour(size: int) -> str:
    """Colour of a ring of so many atoms."""
    return RING_COLOURS.get(size, MORE_ATOMS)


def points_from_defects(defects: pd.DataFrame, ndim: int) -> np.ndarray:
    """Defects as points, shape (n, ndim)."""
    frame = frame_column(defects["frame"].to_numpy(), ndim)
    return np.column_stack([frame, defects[["y_px", "x_px"]].to_numpy(float)])


def features_of_defects(defects: pd.DataFrame) -> pd.DataFrame:
    """Defects table as the features of a layer: the atoms in one text."""
    ids = [" ".join(map(str, i)) for i in defects["atom_ids"]]
    return defects.reset_index(drop=True).assign(atom_ids=ids)


def defect_colours(formulas: Iterable[str]) -> dict[str, str]:
    """Colour of each formula, the most frequent first."""
    names = list(pd.Series(list(formulas), dtype=object).value_counts().index)
    return {n: KIND_COLOURS[k % len(KIND_COLOURS)] for k, n in enumerate(names)}
