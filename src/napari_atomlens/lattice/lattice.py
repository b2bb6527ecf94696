"""The measured lattice of atoms: its parameters, its tables, the columns that it adds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import tables
from napari_atomlens.cards import Card
from napari_atomlens.lattice.grain import STEPS, Grain, SiteGrid
from napari_atomlens.lattice.latticefit import LatticeFit
from napari_atomlens.lattice.strain import LocalFit, local_fit, torn_fit
from napari_atomlens.lattice.superstructures import Order
from napari_atomlens.params import Params, param

#: Columns that :func:`measure_lattice` adds to the atoms table, beside its own.
MEASURED: dict[str, str] = {
    "region": tables.I,
    "cell_m": tables.I,
    "cell_n": tables.I,
    **{
        name: tables.F
        for name in (
            "dy_px", "dx_px", "dy_nm", "dx_nm",
            "exx", "eyy", "exy", "rotation_rad",
            "exx_err", "eyy_err", "exy_err", "rotation_err_rad",
            "polar_dy_px", "polar_dx_px", "polar_dy_err_px", "polar_dx_err_px",
            "polar_dy_nm", "polar_dx_nm", "nn_px", "nn_nm",
        )
    },
}  # fmt: skip
#: Ids of vacant sites of a frame start here, after those of the machine and of the user.
FIRST_VACANCY = tables.IDS_PER_FRAME * 3 // 4


@dataclass(frozen=True)
class LatticeParams(Params):
    """How to measure a lattice.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, truth = al.simulate("honeycomb", (128, 128), 10.0, seed=2)
    >>> atoms = al.find_atoms(al.segment(image, spacing_px=10.0))
    >>> lattice = al.measure_lattice(atoms, al.LatticeParams(vacancies=False))
    >>> bool((lattice.atoms["source"] == "lattice").any())
    False
    """

    min_atoms: int = param(12, "a region with fewer atoms is no lattice", ge=6, le=100_000)
    min_occupancy: float = param(
        0.5, "least share of its sites that a sublattice has occupied", ge=0.05, le=1
    )
    strain_window: float = param(
        1.5, "radius of the window for strain, in lattice vectors (the longer one)", ge=1, le=20
    )
    sites: Literal["region", "local"] = param(
        "region",
        "ideal sites: of the lattice of the region, or as the atoms round each site put them",
    )
    against: int = param(
        -1, "sublattice that polar displacements refer to; -1 is the brightest other one",
        ge=-1, le=99,
    )  # fmt: skip
    vacancies: bool = param(True, "add a row for each vacant site")
    largest_vacancy: int = param(
        8, "a gap of more sites that touch is a hole, not vacancies", unit="sites", ge=1, le=1000
    )
    unfamiliar: bool = param(
        False, "take in atoms whose neighbourhood is unlike what the model was trained on"
    )


@dataclass(frozen=True, repr=False, eq=False)
class Lattice(Card):
    """What :func:`measure_lattice` found.

    Attributes
    ----------
    atoms : pandas.DataFrame
        The atoms with ``sublattice``, ``site_y_px`` and ``site_x_px`` filled and the columns of
        :data:`MEASURED` added; vacant sites follow the atoms of each frame.
    lattices, sublattices, distances, holes, dislocations : pandas.DataFrame
        See :mod:`napari_atomlens.tables` and ``docs/measure.md``.
    messages : list of str
        Sentences for the user.
    params : dict
        Parameters, reference and pixel size.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, truth = al.simulate("honeycomb", (128, 128), 10.0, seed=2)
    >>> atoms = al.find_atoms(al.segment(image, spacing_px=10.0))
    >>> al.measure_lattice(atoms)
    Lattice
      regions: 1
      sites: ..., of which 0 are vacant
      sublattices: 2
    """

    atoms: pd.DataFrame
    lattices: pd.DataFrame
    sublattices: pd.DataFrame
    distances: pd.DataFrame
    holes: pd.DataFrame
    dislocations: pd.DataFrame
    messages: list[str] = field(default_factory=list)
    params: dict[str, object] = field(default_factory=dict)

    def _title(self) -> str:
        return "Lattice"

    def _facts(self) -> dict[str, object]:
        vacant = int((self.atoms["source"] == "lattice").sum())
        return {
            "regions": f"{len(self.lattices):,}",
            "sites": f"{len(self.atoms):,}, of which {vacant:,} are vacant",
            "sublattices": f"{len(self.sublattices):,}",
            "dislocations": f"{len(self.dislocations):,}" if len(self.dislocations) else "",
            "messages": " ".join(self.messages),
        }


@dataclass
class FrameLattice:
    """Tables of one frame."""

    frame: int
    atoms: pd.DataFrame
    lattices: list[dict[str, object]] = field(default_factory=list)
    sublattices: list[dict[str, object]] = field(default_factory=list)
    distances: list[pd.DataFrame] = field(default_factory=list)
    holes: list[dict[str, float]] = field(default_factory=list)
    dislocations: list[dict[str, object]] = field(default_factory=list)
    fits: list[LatticeFit] = field(default_factory=list)
    orders: list[Order | None] = field(default_factory=list)
    message: str = ""
    hidden: int = 0
    faint: int = 0
    referred: bool = False


def local_sites(
    grain: Grain,
    fit: LatticeFit,
    position: np.ndarray,
    cells: np.ndarray,
    sublattice: np.ndarray,
    params: LatticeParams,
    leave_out_self: bool,
) -> LocalFit:
    """Fit the surroundings of sites of a region."""
    ideal = fit.sites(grain.cells, grain.sublattice)
    radius = params.strain_window * float(np.linalg.norm(fit.cell, axis=1).max()) * 1.02
    if grain.frames is not None:
        wanted = fit.sites(cells, sublattice)
        if cells is grain.cells:
            at, frames = position, grain.frames
        else:
            at, frames = places_of(grain, grain.frames, position, cells, sublattice, wanted)
        found = torn_fit(
            grain, fit.cell, fit.origin, position, at, sublattice, frames, radius,
            fit.field, leave_out_self=leave_out_self,
        )  # fmt: skip
        return replace(found, predicted=found.predicted + at - wanted)
    return local_fit(
        ideal, position - ideal, grain.sublattice, fit.sites(cells, sublattice), sublattice,
        len(grain.basis), radius, leave_out_self=leave_out_self,
    )  # fmt: skip


def places_of(
    grain: Grain,
    frames: np.ndarray,
    position: np.ndarray,
    cells: np.ndarray,
    sublattice: np.ndarray,
    otherwise: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Where sites lie as the atoms of their sublattice next to them say, and the vectors there."""
    grid = SiteGrid(grain.cells, grain.sublattice, len(grain.basis))
    said = np.full((6, len(cells), 2), np.nan)
    for k, step in enumerate(np.r_[STEPS, -STEPS]):
        near = grid.find(cells + step, sublattice)
        there = near >= 0
        said[k, there] = position[near[there]] - step @ frames[near[there]]
    known = np.isfinite(said).any((0, 2))
    at = otherwise.copy()
    if known.any():
        at[known] = np.nanmedian(said[:, known], axis=0)
    return at, frames[scipy.spatial.cKDTree(position).query(at)[1]]


def by_sublattice(grain: Grain, values: np.ndarray) -> np.ndarray:
    """Median of the values of each sublattice, NaN where there is none, shape (s,)."""
    found = np.full(len(grain.basis), np.nan)
    for s in range(len(grain.basis)):
        mine = values[grain.sublattice == s]
        if np.isfinite(mine).any():
            found[s] = np.nanmedian(mine)
    return found
