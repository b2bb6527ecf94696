"""Every table after the atoms, each made in one way: bonds, defects, tracks, dumbbells, lattice.

`NEEDS` says what follows from what. Results, sessions and the command line make later tables
here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_atomlens import graphs, tracking
from napari_atomlens import lattice as lattices
from napari_atomlens.files import Json
from napari_atomlens.lattice.lattice import LatticeParams
from napari_atomlens.progress import ProgressLike
from napari_atomlens.tracking.changes import ChangeParams
from napari_atomlens.tracking.params import DumbbellParams, LinkParams

if TYPE_CHECKING:  # a dock opens without what only its work needs
    from napari_atomlens.graphs.bonds import BondGraph
    from napari_atomlens.graphs.rules import Rules
    from napari_atomlens.lattice.lattice import Lattice
    from napari_atomlens.tracking.following import MovieResult

#: What each later table is made of; a change of one makes the others stale.
NEEDS: dict[str, tuple[str, ...]] = {
    "contours": ("atoms",),
    "bonds": ("atoms",),
    "defects": ("bonds",),
    "lattices": ("atoms",),
    "sublattices": ("lattices",),
    "distances": ("lattices",),
    "vacancies": ("lattices",),
    "holes": ("lattices",),
    "dislocations": ("lattices",),
    "tracks": ("atoms",),
    "drift": ("tracks",),
    "events": ("tracks",),
    "dumbbells": ("tracks", "contours"),
    "changes": ("dumbbells",),
}
#: Tables that following a movie gives.
FOLLOWED = ("tracks", "dumbbells", "changes", "events", "drift")
#: Tables that measuring the lattice gives.
MEASURED = ("lattices", "sublattices", "distances", "vacancies", "holes", "dislocations")


def stale_after(*changed: str) -> set[str]:
    """Names of the tables that are no longer true once some have changed."""
    stale: set[str] = set()
    todo = list(changed)
    while todo:
        source = todo.pop()
        fresh = {name for name, needs in NEEDS.items() if source in needs} - stale
        stale |= fresh
        todo += fresh
    return stale - set(changed)


def bond_graph(
    atoms: pd.DataFrame, rules: Rules | str = "auto", shape_px: tuple[int, int] | None = None
) -> tuple[BondGraph, str]:
    """Connect the atoms by rules.

    Parameters
    ----------
    atoms : pandas.DataFrame
    rules : Rules or str
        Rules, the name of a preset, or "auto" to choose them by the atoms.
    shape_px : tuple of int, optional
        Rows and columns of the image.

    Returns
    -------
    graph : BondGraph
    why : str
        Why the rules were chosen, "given" where they were given.
    """
    why = "given"
    if isinstance(rules, str) and rules == "auto":
        rules, why = graphs.choose_rules(atoms)
    graph = graphs.bond(atoms, rules, shape_px=shape_px)
    return graph, f"{why} {graph.note}".strip()


def defects(graph: BondGraph) -> pd.DataFrame:
    """Defects of a graph of bonds."""
    return graphs.find_defects(graph)


def rings(graph: BondGraph) -> pd.DataFrame:
    """Rings of a graph of bonds: frame, size, area, and their atoms in order round each."""
    found, atoms = graph.rings, graph.atoms
    ids = atoms["atom_id"].to_numpy(np.int64)
    first = found.members[:, 0] if len(found) else np.zeros(0, np.int64)
    members = [ids[found.polygon(k)] for k in range(len(found))]
    return pd.DataFrame(
        {
            "frame": atoms["frame"].to_numpy(np.int64)[first], "size": found.size,
            "area": found.area, "atom_ids": pd.Series(members, dtype=object),
        }
    )  # fmt: skip


def followed(
    atoms: pd.DataFrame,
    contours: pd.DataFrame | None,
    pixel_size_nm: tuple[float, float] | None = None,
    *,
    linking: LinkParams = LinkParams(),
    dumbbells: DumbbellParams = DumbbellParams(),
    changes: ChangeParams = ChangeParams(),
    progress: ProgressLike = None,
) -> MovieResult:
    """Link the atoms of a movie, correct the scan, measure dumbbells, look for changes."""
    return tracking.follow(
        atoms, contours, linking=linking, dumbbells=dumbbells, changes=changes,
        pixel_size_nm=pixel_size_nm, progress=progress,
    )  # fmt: skip


def lattice(
    atoms: pd.DataFrame,
    pixel_size_nm: tuple[float, float] | None = None,
    params: LatticeParams = LatticeParams(),
) -> Lattice:
    """Measure the lattice that the atoms form."""
    return lattices.measure_lattice(atoms, params, pixel_size_nm=pixel_size_nm)


def vacancies(found: Lattice) -> pd.DataFrame:
    """Vacant sites of a measured lattice, as rows of the atoms table."""
    atoms = found.atoms
    return atoms[atoms["source"] == "lattice"].reset_index(drop=True)


def shape_of(provenance: Json) -> tuple[int, int] | None:
    """Rows and columns of the image that a result is of, None where nobody knows."""
    shape: Sequence[int] = provenance.get("image_shape") or ()
    return (int(shape[1]), int(shape[2])) if len(shape) >= 3 else None
