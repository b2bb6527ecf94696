"""The vacant sites of a crystal beside its graph: where they are, and what they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy

from napari_atomlens.graphs.finding import join_labels
from napari_atomlens.points import inside_polygon

if TYPE_CHECKING:
    from napari_atomlens.graphs.bonds import BondGraph

#: An open bond so deep below the convex hull, over the usual length of a bond, may point at a
#: vacant site; the outermost atoms have open bonds anyway.
INSIDE = 1.2
#: An atom more likely than this is there.
LIKELY = 0.5
NOTHING_VACANT = pd.DataFrame(
    {"frame": np.zeros(0, np.int64), "y_px": [], "x_px": [], "species": np.zeros(0, object)}
)


class Vacancies:
    """Vacant sites of the lattice, and the odd ring that each lies in."""

    def __init__(self, graph: BondGraph, odd: np.ndarray, under: np.ndarray) -> None:
        # to measure the lattice takes long, and without open bonds nothing is made of its sites
        look = graph.knows_vacant or _open_inside(graph, under)
        table = graph.vacant if look else NOTHING_VACANT
        self.frame = table["frame"].to_numpy(np.int64)
        self.place = table[["y_px", "x_px"]].to_numpy(float)
        self.species = table["species"].to_numpy(object)
        #: Position in `odd` of the ring round each site, -1 where there is none.
        self.ring = np.full(len(table), -1)
        #: Atoms of the table that chemistry left out: no place of theirs is vacant.
        self.left_out = _left_out(graph)
        if not len(table):
            return
        atoms = graph.atoms[["y_px", "x_px"]].to_numpy(float)
        frame = graph.atoms["frame"].to_numpy(np.int64)
        for k, i in enumerate(odd.tolist()):
            rows = graph.rings.polygon(i)
            mine = np.flatnonzero((self.frame == frame[rows[0]]) & (self.ring < 0))
            self.ring[mine[inside_polygon(self.place[mine], atoms[rows])]] = k

    def taken(self, frame: int, polygon: np.ndarray) -> bool:
        """Whether an atom that has no bonds lies in a ring."""
        mine = self.left_out[self.left_out[:, 0] == frame, 1:]
        return bool(len(mine)) and bool(inside_polygon(mine, polygon).any())

    def name(self, which: np.ndarray, host: tuple[str, ...]) -> str:
        """Name of vacant sites by what is missing there."""
        kinds = [str(s) for s in self.species[which]]
        if all(k in host for k in kinds):
            return join_labels([f"V_{k}" for k in kinds])
        return f"{len(kinds)}V" if len(kinds) > 1 else "V"


def _left_out(graph: BondGraph) -> np.ndarray:
    """Frame and place of the atoms that are likely, and yet have no bond; shape (n, 3)."""
    given = graph.given
    if given is None or "atom_id" not in given or "probability" not in given:
        return np.zeros((0, 3))
    bonded = graph.atoms["atom_id"][graph.degree > 0]
    out = ~given["atom_id"].isin(bonded) & (given["probability"] > LIKELY)
    if "source" in given:
        out &= given["source"].astype(str) != "lattice"
    frame = given["frame"] if "frame" in given else pd.Series(0, index=given.index)
    return np.column_stack([frame[out], given.loc[out, ["y_px", "x_px"]].to_numpy(float)])


def _open_inside(graph: BondGraph, under: np.ndarray) -> bool:
    """Whether an atom with an open bond lies deeper inside than the outermost atoms."""
    if not len(graph.pairs) or not under.any():
        return False
    reach = INSIDE * float(np.median(graph.bonds["length_px"]))
    points = graph.atoms[["y_px", "x_px"]].to_numpy(float)
    frame = graph.atoms["frame"].to_numpy(np.int64)
    for f in np.unique(frame[under]):
        here = frame == f
        try:
            hull = scipy.spatial.ConvexHull(points[here])
        except scipy.spatial.QhullError:  # too few atoms, or all on a line
            return True
        depth = -(points[here & under] @ hull.equations[:, :2].T + hull.equations[:, 2])
        if (depth.min(axis=1) > reach).any():
            return True
    return False
