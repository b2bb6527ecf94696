"""The columns of a region on the sites of the crystal that was matched, and its vacant sites."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import scipy

from napari_atomlens.graphs.poses import LatticeRegion, Pose
from napari_atomlens.lattice.grain import Grain
from napari_atomlens.lattice.vacancies import find_gaps, not_taken

#: Columns whose displacements say where a site near them is.
NEIGHBOURS = 8
#: A column farther from its site than this, over the nearest distance of sites, is not on it.
ON_SITE = 0.4
#: Columns of the crystal that fewer atoms show are faint: their empty sites are not vacant.
FOUND_SHARE = 0.6
#: ... and of columns fainter than the first, over the brightest, fewer than the second.
LIGHT, LIGHT_SHARE = 0.25, 0.95
#: Faint columns of which so few are found are not shown by the image.
SHOWN_SHARE = 0.15
#: Rounds of the fit of the crystal to the columns, and where their weight falls.
ROUNDS, HUBER = 6, 2.0


@dataclass(frozen=True, eq=False)
class OnSites:
    """Columns of a region on the sites of a crystal.

    Attributes
    ----------
    rows : ndarray of int, shape (k,)
        Of the columns of the frame that belong to the region.
    column : ndarray of int, shape (k,)
        Column of the view, -1 on no site.
    cells : ndarray of int, shape (k, 2)
        Cell of the crystal.
    site : ndarray, shape (k, 2)
        Ideal place, in the unit of the points.
    vacant_column, vacant_cells, vacant_site : ndarray
        Of the vacant sites.
    support : ndarray
        Share of the sites round each vacant one that hold a column.
    vacant_group : ndarray of int
        Vacant sites of one group touch.
    pose : Pose
        Fitted to all columns.
    found : ndarray, shape (n,)
        Share of the sites of each column of the view that hold one.
    rms : float
        Of the columns about their local sites, per axis.
    """

    rows: np.ndarray
    column: np.ndarray
    cells: np.ndarray
    site: np.ndarray
    vacant_column: np.ndarray
    vacant_cells: np.ndarray
    vacant_site: np.ndarray
    support: np.ndarray
    vacant_group: np.ndarray
    pose: Pose
    found: np.ndarray
    rms: float


def fitted(pose: Pose, measured: LatticeRegion) -> Pose:
    """Fit the crystal to the columns of the region, with any strain; far ones lose weight."""
    on = pose.column >= 0
    points = measured.points[on]
    inverse = np.linalg.inv(pose.matrix)
    places = pose.view.columns.places_nm[pose.column[on]]
    cell = pose.view.columns.cell_nm
    # the displacement of the region's lattice is no wrong cell: it is taken off first
    grain, fit = measured.grain, measured.fit
    ideal = fit.sites(grain.cells, grain.sublattice)[on]
    where = (ideal - pose.origin) @ inverse
    index = np.rint((where - places) @ np.linalg.inv(cell))
    model = places + index @ cell
    design = np.c_[model, np.ones(len(model))]
    weight = np.ones(len(model))
    solved = np.zeros((3, 2))
    for _ in range(ROUNDS):
        root = np.sqrt(weight)[:, None]
        solved = np.linalg.lstsq(design * root, points * root, rcond=None)[0]
        size = np.linalg.norm(points - design @ solved, axis=1)
        typical = max(float(np.median(size)), 1e-9)
        weight = 1 / np.maximum(1.0, size / (HUBER * typical))
    return replace(pose, matrix=solved[:2], origin=solved[2])


def put_on_sites(
    pose: Pose, measured: LatticeRegion, points: np.ndarray, rows: np.ndarray, largest_gap: int
) -> OnSites:
    """Give every column of a region its site in the crystal.

    Parameters
    ----------
    pose : Pose
    measured : LatticeRegion
    points : ndarray, shape (n, 2)
        All columns of the frame.
    rows : ndarray of int, shape (k,)
        Those of the region, and those near it that are of none.
    largest_gap : int
        More vacant sites that touch are a hole.
    """
    pose = fitted(pose, measured)
    view, inverse = pose.view, np.linalg.inv(pose.matrix)
    cell, places = view.columns.cell_nm, view.columns.places_nm
    to_cell = np.linalg.inv(cell)
    grain, fit = measured.grain, measured.fit
    moved = measured.points - fit.sites(grain.cells, grain.sublattice)
    tree = scipy.spatial.cKDTree(measured.points)

    def local(at: np.ndarray) -> np.ndarray:
        """Displacement of the columns round places."""
        k = min(NEIGHBOURS, len(moved))
        near = tree.query(at, k=k)[1].reshape(len(at), k)
        return np.asarray(np.median(moved[near], axis=1))

    mine = points[rows]
    inside = (mine - local(mine) - pose.origin) @ inverse @ to_cell
    column, index = _seated(pose, inside)
    site = (index @ cell + places[np.maximum(column, 0)]) @ pose.matrix + pose.origin
    found = _found_share(column, index, len(places))
    # what is on a site of columns that the image does not show is there by chance
    stray = ~pose.seen & (found < SHOWN_SHARE)
    column = np.where(stray[np.maximum(column, 0)], -1, column)
    weights = view.weights(pose.exponent)
    least = np.where(weights < LIGHT * weights.max(), LIGHT_SHARE, FOUND_SHARE)
    vacant, support, group = _vacant(pose, column, index, points[rows], found >= least, largest_gap)
    ideal = (vacant[:, :2] @ cell + places[vacant[:, 2]]) @ pose.matrix + pose.origin
    if len(ideal):
        free = not_taken(ideal + local(ideal), points, grain.spacing)
        vacant, ideal, support, group = vacant[free], ideal[free], support[free], group[free]
    rest = (mine - local(mine) - site)[column >= 0]
    rms = float(np.sqrt((rest**2).mean())) if len(rest) else float("nan")
    return OnSites(
        rows, column, index, site, vacant[:, 2], vacant[:, :2], ideal, support, group, pose, found,
        rms,
    )  # fmt: skip


def _seated(pose: Pose, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column and cell of each place, given in cells of the crystal; one place for each site.

    Returns
    -------
    column : ndarray of int, shape (k,)
        -1 on no site.
    cells : ndarray of int, shape (k, 2)
    """
    view = pose.view
    cell = view.columns.cell_nm
    off = inside[:, None] - (view.columns.places_nm @ np.linalg.inv(cell))[None]
    gap = np.linalg.norm((off - np.rint(off)) @ cell, axis=-1)
    # a column that is seen takes precedence over a faint one nearby
    reach = ON_SITE * view.nearest_nm()
    column = np.where(pose.seen, gap, gap + 0.5 * reach).argmin(1)
    each = np.arange(len(inside))
    gap = gap[each, column]
    index = np.rint(off[each, column]).astype(int)
    on = gap < max(reach, 0.02)
    order = np.flatnonzero(on)[np.argsort(gap[on], kind="stable")]
    _, first = np.unique(np.c_[index[order], column[order]], axis=0, return_index=True)
    kept = np.zeros(len(inside), bool)
    kept[order[first]] = True
    return np.where(kept, column, -1), index


def _found_share(column: np.ndarray, index: np.ndarray, n: int) -> np.ndarray:
    """Share of the sites of each column, within the cells that hold any, that are taken."""
    on = column >= 0
    cells = np.unique(index[on], axis=0)
    # cells all of whose neighbours hold columns: not those that the border cuts
    known = {tuple(c) for c in cells.tolist()}
    inner = np.array(
        [all((a + i, b + j) in known for i, j in product((-1, 0, 1), repeat=2))
         for a, b in cells.tolist()], bool,
    )  # fmt: skip
    total = int(inner.sum())
    if not total:
        return np.bincount(column[on], minlength=n) / max(len(cells), 1)
    chosen = {tuple(c) for c in cells[inner].tolist()}
    mine = np.array([tuple(c) in chosen for c in index[on].tolist()], bool)
    return np.bincount(column[on][mine], minlength=n) / total


def _vacant(
    pose: Pose,
    column: np.ndarray,
    index: np.ndarray,
    points: np.ndarray,
    usual: np.ndarray,
    largest: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells and columns of the vacant sites, how many columns surround each, and their groups."""
    of_interest = np.flatnonzero(usual & pose.seen)
    none = np.zeros((0, 3), int), np.zeros(0), np.zeros(0, int)
    if not len(of_interest):
        return none
    number = np.full(len(usual), -1)
    number[of_interest] = np.arange(len(of_interest))
    chosen = np.flatnonzero((column >= 0) & (number[np.maximum(column, 0)] >= 0))
    if len(chosen) < 4:
        return none
    basis = (pose.view.columns.places_nm @ np.linalg.inv(pose.view.columns.cell_nm))[of_interest]
    cell = pose.view.columns.cell_nm @ pose.matrix
    grain = Grain(chosen, index[chosen], number[column[chosen]], cell, basis, 0.0)
    gaps = find_gaps(grain, np.ones(len(chosen)), largest)
    return np.c_[gaps.cells, of_interest[gaps.sublattice]].astype(int), gaps.support, gaps.group
