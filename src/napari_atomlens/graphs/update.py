"""Bonds, rings and defects of some frames made anew, those of the others kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from napari_atomlens.graphs.bonds import BondGraph, bond
from napari_atomlens.graphs.defects import DefectParams, find_defects
from napari_atomlens.graphs.rings import Rings


def rebuild_frames(
    graph: BondGraph,
    defects: pd.DataFrame,
    atoms: pd.DataFrame,
    frames: Iterable[int],
    params: DefectParams = DefectParams(),
) -> tuple[BondGraph, pd.DataFrame]:
    """Follow a change of the atoms of some frames.

    Parameters
    ----------
    graph : BondGraph
        As it was.
    defects : pandas.DataFrame
        Its defects table.
    atoms : pandas.DataFrame
        Atoms table as it is now; only the rows of `frames` are looked at.
    frames : iterable of int
        Where the atoms have changed.
    params : DefectParams
        As they were for `defects`.

    Returns
    -------
    graph : BondGraph
        With the rules of the old one. What :func:`napari_atomlens.graphs.bond` takes from
        all frames (typical brightness; the unit of length where the pixel size is unknown)
        is taken from the changed ones for these.
    defects : pandas.DataFrame
        Numbered anew.

    Raises
    ------
    ParameterError
        If the atoms cannot be bonded.
    """
    which = np.unique(np.fromiter((int(f) for f in frames), np.int64))
    fresh = bond(atoms[atoms["frame"].isin(which)], graph.rules, shape_px=graph.shape_px)
    kept, rest = without(graph, which), ~defects["frame"].isin(which).to_numpy()
    found = find_defects(fresh, params)
    parts = [t for t in (defects[rest], found) if len(t)]
    table = pd.concat(parts, ignore_index=True) if parts else found
    table = table.sort_values(["frame", "y_px", "x_px"], kind="stable", ignore_index=True)
    table["defect_id"] = np.arange(len(table))
    return join(kept, fresh), table


def without(graph: BondGraph, frames: np.ndarray) -> BondGraph:
    """Leave the atoms of some frames out of a graph."""
    stay = ~graph.atoms["frame"].isin(frames).to_numpy()
    number = np.where(stay, np.cumsum(stay) - 1, -1)
    given = graph.given
    bonded = stay[graph.pairs[:, 0]] if len(graph.pairs) else np.zeros(0, bool)
    out = replace(
        graph,
        atoms=graph.atoms[stay].reset_index(drop=True),
        bonds=graph.bonds[bonded].reset_index(drop=True),
        places_nm=graph.places_nm[stay],
        drawn_nm=graph.drawn_nm[stay],
        pairs=number[graph.pairs[bonded]],
        given=None if given is None else given[~given["frame"].isin(frames)],
    )
    rings = graph.rings
    inside = stay[rings.members[:, 0]] if len(rings) else np.zeros(0, bool)
    members = rings.members[inside]
    members = np.where(members >= 0, number[members], -1)
    # cached_property keeps its value there: rings of other frames are not traced again
    out.__dict__["rings"] = Rings(members, rings.size[inside], rings.area[inside])
    return out


def _given(graph: BondGraph) -> pd.DataFrame:
    return graph.atoms if graph.given is None else graph.given


def join(one: BondGraph, two: BondGraph) -> BondGraph:
    """Put graphs of different frames together, in the order of the frames."""
    if not len(one.atoms):
        return two
    if not len(two.atoms):
        return one
    atoms = pd.concat([one.atoms, two.atoms], ignore_index=True)
    order = np.argsort(atoms["frame"].to_numpy(), kind="stable")
    number = np.argsort(order)
    pairs = np.concatenate([one.pairs, two.pairs + len(one.atoms)])
    pairs = number[pairs]
    bonds = pd.concat([one.bonds, two.bonds], ignore_index=True)
    sequence = np.argsort(bonds["frame"].to_numpy(), kind="stable")
    out = replace(
        one,
        atoms=atoms.iloc[order].reset_index(drop=True),
        bonds=bonds.iloc[sequence].reset_index(drop=True),
        places_nm=np.concatenate([one.places_nm, two.places_nm])[order],
        drawn_nm=np.concatenate([one.drawn_nm, two.drawn_nm])[order],
        pairs=pairs[sequence],
        calibrated=one.calibrated and two.calibrated,
        given=pd.concat([_given(one), _given(two)], ignore_index=True),
    )
    longest = max(one.rings.members.shape[1], two.rings.members.shape[1])

    def wide(rings: Rings, shift: int) -> np.ndarray:
        members = np.where(rings.members >= 0, rings.members + shift, -1)
        return np.pad(members, ((0, 0), (0, longest - members.shape[1])), constant_values=-1)

    members = np.concatenate([wide(one.rings, 0), wide(two.rings, len(one.atoms))])
    members = np.where(members >= 0, number[members], -1)
    frame = out.atoms["frame"].to_numpy()[members[:, 0]] if len(members) else np.zeros(0)
    turn = np.argsort(frame, kind="stable")
    size = np.concatenate([one.rings.size, two.rings.size])
    area = np.concatenate([one.rings.area, two.rings.area])
    out.__dict__["rings"] = Rings(members[turn], size[turn], area[turn])
    return out
