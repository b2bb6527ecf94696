"""The regions of a frame with what is measured of each as a whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy

from napari_atomlens.lattice.cell import matched_to
from napari_atomlens.lattice.dislocations import Core, unwound
from napari_atomlens.lattice.grain import (
    TOLERANCE,
    Grain,
    vectors_at,
    without_empty_sublattices,
    wrapped,
)
from napari_atomlens.lattice.joining import renamed
from napari_atomlens.lattice.lattice import LatticeParams, local_sites
from napari_atomlens.lattice.latticefit import LatticeFit, fit_lattice
from napari_atomlens.lattice.reference import without_dislocations
from napari_atomlens.lattice.superstructures import Order, with_superstructure

#: Regions turned or strained more against each other are not told apart by dislocations.
MOST_TURNED, MOST_STRAINED = np.deg2rad(15.0), 0.1
#: A part of this size of a region with dislocations is a splinter of it.
SPLINTER = 0.06


def fitted_regions(
    found: list[Grain],
    points: np.ndarray,
    known: np.ndarray,
    amplitude: np.ndarray,
    level: np.ndarray,
    params: LatticeParams,
    like: np.ndarray | None,
) -> tuple[list[tuple[Grain, LatticeFit]], list[list[Core]], list[Order | None]]:
    """Fit the vectors of each region, and find its dislocations and its superstructure."""
    measured, cores, orders = [], [], []
    found = [replace(g, rows=known[g.rows]) for g in found]
    found, taken = absorbed(found, points)
    free = np.setdiff1d(known, np.concatenate([g.rows for g in found])) if found else known
    for k, one in enumerate(found):
        grain = renamed(without_empty_sublattices(one), amplitude[one.rows], like)
        mine: list[Core] = []
        if grain.frames is not None:
            grain, mine = unwound(grain, points, np.r_[free, taken[k]])
        grain, order = with_superstructure(grain, points[grain.rows], level[grain.rows])
        if order is not None:
            grain = renamed(grain, amplitude[grain.rows], like)
        fit = fit_lattice(grain, points[grain.rows])
        if fit is not None and grain.frames is not None:
            p = points[grain.rows]
            around = local_sites(grain, fit, p, grain.cells, grain.sublattice, params, False)
            fit = without_dislocations(grain, p, fit, around, mine)
            if fit.field is not None:
                mine = [replace(c, place=q) for c, q in zip(mine, fit.field.places, strict=True)]
        if fit is not None:
            measured.append((grain, fit))
            cores.append(mine)
            orders.append(order)
            free = np.setdiff1d(free, grain.rows)
    return measured, cores, orders


def absorbed(grains: list[Grain], points: np.ndarray) -> tuple[list[Grain], list[np.ndarray]]:
    """Leave out splinters of regions with dislocations; also their atoms, for each of the rest.

    Between the cores of a wall, and between a core and the border, a piece of the crystal hangs
    on by a few atoms only while the region grows.
    """
    kept: list[Grain] = []
    taken: list[np.ndarray] = []
    for grain in sorted(grains, key=lambda g: -len(g.rows)):
        home = -1
        for k, large in enumerate(kept):
            if large.frames is None or len(grain.rows) > SPLINTER * len(large.rows):
                continue
            # the mean of a region that is torn is not its cell
            _, angle, strain = matched_to(np.median(vectors_at(large), axis=0), grain.cell)
            if abs(angle) < MOST_TURNED and strain < MOST_STRAINED:
                reach = 1.5 * float(np.linalg.norm(large.cell, axis=1).max())
                gap = scipy.spatial.cKDTree(points[large.rows]).query(points[grain.rows])[0]
                home = k if (gap < reach).sum() >= 3 else home
        if home >= 0:
            taken[home] = np.r_[taken[home], grain.rows]
        else:
            kept.append(grain)
            taken.append(np.zeros(0, int))
    return kept, taken


def cores_between(
    grains: list[Grain], cores: list[list[Core]], points: np.ndarray, known: np.ndarray
) -> list[tuple[Core, int, int]]:
    """Dislocations between regions that are little turned against each other.

    A wall of them is a small-angle boundary.

    Returns
    -------
    list of (Core, int, int)
        With the regions: the larger one, in whose vectors it is told, and the other.
    """
    found: list[tuple[Core, int, int]] = []
    if len(grains) < 2:
        return found
    free = np.setdiff1d(known, np.concatenate([g.rows for g in grains]))
    for g, one in enumerate(grains):
        for h in range(g + 1, len(grains)):
            whole = both_as_one(one, grains[h])
            if whole is None:
                continue
            longest = float(np.linalg.norm(one.cell, axis=1).max())
            trees = [scipy.spatial.cKDTree(points[x.rows]) for x in (one, grains[h])]
            if not trees[0].count_neighbors(trees[1], 1.5 * longest):
                continue
            seen = [c.place for c in cores[g] + cores[h]] + [c.place for c, _, _ in found]
            for core in unwound(whole, points, free)[1]:
                gaps = [t.query(core.place)[0] for t in trees]
                new = all(np.linalg.norm(core.place - q) > 2 * longest for q in seen)
                if max(gaps) < 2.5 * longest and new:
                    found.append((core, g, h))
    return found


def both_as_one(one: Grain, other: Grain) -> Grain | None:
    """Two regions in the vectors of the first, None where their cells are not the same."""
    near, angle, strain = matched_to(one.cell, other.cell)
    if abs(angle) > MOST_TURNED or strain > MOST_STRAINED or len(one.basis) != len(other.basis):
        return None
    change = np.rint(other.cell @ np.linalg.inv(near)).astype(int)
    for first in range(len(other.basis)):
        basis = (other.basis - other.basis[first]) @ change
        off = np.linalg.norm(wrapped(basis[:, None] - one.basis[None]) @ one.cell, axis=2)
        which = off.argmin(1)
        if (off.min(1) < TOLERANCE * one.spacing).all() and len(set(which)) == len(which):
            return replace(
                one, rows=np.r_[one.rows, other.rows],
                cells=np.r_[one.cells, other.cells @ change],
                sublattice=np.r_[one.sublattice, which[other.sublattice]],
                frames=np.concatenate(
                    [vectors_at(one), np.linalg.inv(change) @ vectors_at(other)]
                ),
            )  # fmt: skip
    return None
