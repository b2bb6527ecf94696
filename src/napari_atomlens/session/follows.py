"""What is made together with what, and how: the tables after atoms as a session keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_atomlens import graphs, lattice
from napari_atomlens.lattice.lattice import LatticeParams
from napari_atomlens.progress import ProgressLike
from napari_atomlens.runs import derived

if TYPE_CHECKING:
    from napari_atomlens.graphs.bonds import BondGraph
    from napari_atomlens.lattice.lattice import Lattice

#: Table -> those that it is made from; as for results, and what only a window shows.
FROM: dict[str, tuple[str, ...]] = {
    **derived.NEEDS,
    "sites": ("lattices",),
    "rings": ("bonds",),
    "defect tracks": ("defects", "tracks"),
    "classes of defects": ("surface defects",),
    "flips": ("molecule tracks",),
    "defect events": ("defect tracks",),
}
#: What is made from the pixels alone: an edit of the atoms does not change it.
OF_PIXELS = frozenset((
    "terraces", "step edges", "dimers", "surface defects", "classes of defects", "molecules",
    "molecule tracks", "flips",
))  # fmt: skip
#: What is made in one go, and what the button *Update* calls it.
GROUPS: dict[str, tuple[str, ...]] = {
    "contours": ("contours",),
    "lattice": (*derived.MEASURED, "sites"),
    "bonds and defects": ("bonds", "rings", "defects"),
    "tracks and dumbbells": (
        "tracks", "drift", "events", "dumbbells", "changes", "defect tracks", "defect events",
    ),
}  # fmt: skip


def group_of(name: str) -> str:
    """What a table is made together with; itself where it is of somebody else's making."""
    return next((g for g, names in GROUPS.items() if name in names), name)


def sources_of(name: str) -> set[str]:
    """Every table that one follows from."""
    found: set[str] = set()
    todo = [name]
    while todo:
        new = set(FROM.get(todo.pop(), ())) - found
        found |= new
        todo += new
    return found


@dataclass(frozen=True)
class Ground:
    """What tables are made from.

    Attributes
    ----------
    atoms, contours : pandas.DataFrame
    pixel_size_nm : tuple of float or None
        (y, x).
    shape_px : tuple of int or None
        (H, W) of the image.
    before : mapping
        Provenance of the tables as they were made before: the parameters stay.
    """

    atoms: pd.DataFrame
    contours: pd.DataFrame
    pixel_size_nm: tuple[float, float] | None = None
    shape_px: tuple[int, int] | None = None
    before: Mapping[str, Any] = field(default_factory=dict)


Made = dict[str, pd.DataFrame]


def make_lattice(ground: Ground, progress: ProgressLike = None) -> Made:
    """Lattices, sublattices, distances, holes, vacancies and sites, measured as before."""
    before = ground.before
    names = [f.name for f in fields(LatticeParams) if f.name in before]
    found = lattice.measure_lattice(
        ground.atoms, LatticeParams(**{n: before[n] for n in names}),
        reference=before.get("reference", "region"),
        pixel_size_nm=ground.pixel_size_nm or before.get("pixel_size_nm"), progress=progress,
    )  # fmt: skip
    return lattice_tables(found)


def lattice_tables(found: Lattice) -> Made:
    """Tables of a measured lattice as a session keeps them."""
    return {
        "lattices": found.lattices, "sublattices": found.sublattices,
        "distances": found.distances, "holes": found.holes,
        "dislocations": found.dislocations,
        "vacancies": derived.vacancies(found), "sites": found.atoms,
    }  # fmt: skip


def make_bonds(ground: Ground, progress: ProgressLike = None) -> Made:
    """Bonds and defects by the rules of before, else by those that fit the atoms."""
    known = ground.before.get("rules")
    rules = graphs.Rules.from_dict(known) if known else "auto"
    graph, _ = derived.bond_graph(ground.atoms, rules, ground.shape_px)
    return bonded_tables(graph, derived.defects(graph))


def bonded_tables(graph: BondGraph, defects: pd.DataFrame) -> Made:
    """Tables of a graph of bonds as a session keeps them."""
    return {"bonds": graph.bonds, "rings": derived.rings(graph), "defects": defects}


def make_tracks(ground: Ground, progress: ProgressLike = None) -> Made:
    """Tracks, drift, events, dumbbells and their changes."""
    contours = ground.contours if len(ground.contours) else None
    f = derived.followed(ground.atoms, contours, ground.pixel_size_nm, progress=progress)
    return {
        "tracks": f.tracks, "drift": f.drift, "events": f.events, "dumbbells": f.dumbbells,
        "changes": f.changes,
    }  # fmt: skip


#: How a group is made where no dock has made it by parameters of its own.
MAKERS: dict[str, Callable[[Ground, ProgressLike], Made]] = {
    "lattice": make_lattice,
    "bonds and defects": make_bonds,
    "tracks and dumbbells": make_tracks,
}
