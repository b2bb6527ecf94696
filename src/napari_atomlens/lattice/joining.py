"""Grains that are joined, extended and told apart at their borders."""

from __future__ import annotations

import numpy as np
import scipy

from napari_atomlens.lattice.cell import matched_to, reduced
from napari_atomlens.lattice.grain import (
    STEPS,
    TOLERANCE,
    Grain,
    SiteGrid,
    nearest_image,
    part_of,
    supported,
    vectors_at,
    wrapped,
)

#: Parts of one region differ by less than this.
MAX_JOINED_TURN, MAX_JOINED_STRAIN = np.deg2rad(1.5), 0.04


def settle_borders(points: np.ndarray, tree: scipy.spatial.cKDTree, grains: list[Grain]) -> None:
    """Give atoms at the border of two regions to the one whose lattice they continue, in place.

    A region that was grown first takes what fits by chance from its neighbour. An atom goes
    over where more of its six nearest atoms belong to the other region.
    """
    owner = np.full(len(points), -1)
    for g, grain in enumerate(grains):
        owner[grain.rows] = g
    if len(grains) < 2:
        return
    rows = np.flatnonzero(owner >= 0)
    near = tree.query(points[rows], k=min(9, len(points)))[1]
    votes = np.stack([(owner[near] == g).sum(1) for g in range(len(grains))], -1)
    mine = votes[np.arange(len(rows)), owner[rows]]
    leaves = rows[mine < 0.4 * near.shape[1]]
    if not len(leaves):
        return
    for g, grain in enumerate(grains):
        keep = ~np.isin(grain.rows, leaves)
        grains[g] = supported(part_of(grain, keep))
    held = np.full(len(points), -1)
    for g, grain in enumerate(grains):
        held[grain.rows] = g
    free = np.flatnonzero(held < 0)
    for g, grain in enumerate(grains):
        if not len(grain.rows) or not len(free):
            continue
        grains[g] = extended(grain, points, free[owner[free] != g])
        free = np.setdiff1d(free, grains[g].rows, assume_unique=True)


def join_parts(points: np.ndarray, grains: list[Grain]) -> None:
    """Join regions that touch and continue the same lattice, in place.

    A narrow bridge of missing or doubtful atoms divides a region in two while it grows. Two
    parts are one region where they are not turned or strained against each other and the
    atoms of one lie on the extrapolated sites of the other.
    """
    grains.sort(key=lambda g: -len(g.rows))
    k = 0
    while k < len(grains):
        for h in range(len(grains) - 1, k, -1):
            whole = joined(grains[k], grains[h], points)
            if whole is not None:
                grains[k] = whole
                del grains[h]
        k += 1


def joined(large: Grain, small: Grain, points: np.ndarray) -> Grain | None:
    """Return two parts as one region, None where they do not continue each other."""
    if not len(large.rows) or not len(small.rows):
        return None
    near, angle, strain = matched_to(large.cell, small.cell)
    if abs(angle) > MAX_JOINED_TURN or strain > MAX_JOINED_STRAIN:
        return None
    reach = 1.3 * np.linalg.norm(large.cell, axis=1).max()
    members = points[large.rows]
    gap, at = scipy.spatial.cKDTree(members).query(points[small.rows], distance_upper_bound=reach)
    touch = np.flatnonzero(np.isfinite(gap))
    if len(touch) < 5:
        return None
    inverse = np.linalg.inv(large.cell)
    known = large.cells[at[touch]] + large.basis[large.sublattice[at[touch]]]
    q = known + (points[small.rows[touch]] - members[at[touch]]) @ inverse
    off = wrapped(q[:, None] - large.basis[None])
    distance = np.linalg.norm(off @ large.cell, axis=2).min(1)
    if (distance < TOLERANCE * large.spacing).mean() < 0.75:
        return None
    # cells of the small part in those of the large one
    change = np.rint(small.cell @ np.linalg.inv(near)).astype(int)
    own = (small.cells + small.basis[small.sublattice]) @ change
    own = own + np.median(q - own[touch], axis=0)
    off = own[:, None] - large.basis[None]
    which = np.linalg.norm(wrapped(off) @ large.cell, axis=2).argmin(1)
    cells = np.rint(own - large.basis[which]).astype(int)
    every = np.c_[np.r_[large.cells, cells], np.r_[large.sublattice, which]]
    _, first = np.unique(every, axis=0, return_index=True)
    first.sort()
    rows = np.r_[large.rows, small.rows][first]
    frames = None
    if large.frames is not None or small.frames is not None:
        theirs = np.linalg.inv(change) @ vectors_at(small)
        frames = np.concatenate([vectors_at(large), theirs])[first]
    return Grain(
        rows, every[first, :2], every[first, 2], large.cell, large.basis, large.spacing, frames
    )


#: An atom at the border is off if the rows that end at it miss it by more than so many times what
#: is usual, and by more than this part of the distance of nearest atoms.
OFF_SIGMAS, OFF_SPACING = 6.0, 0.12
#: ... and so large a part of the atoms round it do not belong to the region.
STRANGERS = 0.25


def peel(points: np.ndarray, tree: scipy.spatial.cKDTree, grains: list[Grain]) -> None:
    """Take atoms off the borders of regions whose rows do not lead to them, in place.

    Atoms of the next crystal lie near enough to a site by chance. Rows of the region that end at
    such an atom miss it, while others that go through an atom displaced in the crystal go on.
    """
    owner = np.full(len(points), -1)
    for g, grain in enumerate(grains):
        owner[grain.rows] = g
    loose: list[np.ndarray] = []
    for g, grain in enumerate(grains):
        for _ in range(6):
            # across the cut of a dislocation rows seem to end
            if len(grain.rows) < 12 or grain.frames is not None:
                break
            miss, usual = misses(grain, points[grain.rows])
            off = np.flatnonzero(miss > max(OFF_SIGMAS * usual, OFF_SPACING * grain.spacing))
            if not len(off):
                break
            near = tree.query(points[grain.rows[off]], k=min(9, len(points)))[1]
            off = off[(owner[near] != g).mean(1) > STRANGERS]
            if not len(off):
                break
            keep = np.ones(len(grain.rows), bool)
            keep[off] = False
            left = supported(part_of(grain, keep))
            gone = np.setdiff1d(grain.rows, left.rows, assume_unique=True)
            owner[gone] = -1
            loose.append(gone)
            grain = left
        grains[g] = grain
    free = np.unique(np.concatenate(loose)) if loose else np.zeros(0, int)
    for g, grain in enumerate(grains):
        free = free[owner[free] < 0]
        if len(free) and len(grain.rows):
            grains[g] = extended(grain, points, free, OFF_SPACING)
            owner[grains[g].rows] = g


def misses(grain: Grain, position: np.ndarray) -> tuple[np.ndarray, float]:
    """How far rows that end at an atom miss it: of each atom (0 where none ends), and usually.

    Returns
    -------
    miss : ndarray, shape (k,)
    usual : float
        Of rows that go through an atom and its next two, as a standard deviation.
    """
    grid = SiteGrid(grain.cells, grain.sublattice, len(grain.basis), pad=3)
    miss, straight = np.zeros(len(position)), []
    for step in STEPS:
        ahead, behind = (grid.find(grain.cells + s, grain.sublattice) for s in (step, -step))
        for one, other, way in ((ahead, behind, step), (behind, ahead, -step)):
            next_ = grid.find(grain.cells + 2 * way, grain.sublattice)
            known = (one >= 0) & (next_ >= 0)
            gap = np.zeros(len(position))
            gap[known] = np.linalg.norm(
                2 * position[one[known]] - position[next_[known]] - position[known], axis=1
            )
            ends = known & (other < 0)
            miss[ends] = np.maximum(miss[ends], gap[ends])
            straight.append(gap[known & (other >= 0)])
    every = np.concatenate(straight)
    return miss, float(np.median(every)) / 1.1774 if len(every) else 0.0


def extended(
    grain: Grain, points: np.ndarray, free: np.ndarray, tolerance: float = TOLERANCE
) -> Grain:
    """Add free atoms that lie on empty sites next to a region."""
    if not len(free):
        return grain
    members = points[grain.rows]
    whole = grain.cells + grain.basis[grain.sublattice]
    k = min(4, len(members))
    gap, near = scipy.spatial.cKDTree(members).query(points[free], k=k)
    gap, near = gap.reshape(len(free), k), near.reshape(len(free), k)
    inverse = np.linalg.inv(grain.cell)
    q = (whole[near] + (points[free][:, None] - members[near]) @ inverse).mean(1)
    off = wrapped(q[:, None] - grain.basis[None])
    distance = np.linalg.norm(off @ grain.cell, axis=2)
    which = distance.argmin(1)
    distance = distance[np.arange(len(free)), which]
    index = np.rint(q - grain.basis[which]).astype(int)
    grid = SiteGrid(grain.cells, grain.sublattice, len(grain.basis))
    good = (
        (distance < tolerance * grain.spacing) & (gap[:, 0] < 1.3 * grain.spacing)
        & (grid.find(index, which) < 0)
    )  # fmt: skip
    picked = np.flatnonzero(good)
    picked = picked[np.argsort(distance[picked], kind="stable")]
    _, first = np.unique(np.c_[index[picked], which[picked]], axis=0, return_index=True)
    picked = picked[first]
    return Grain(
        np.r_[grain.rows, free[picked]], np.r_[grain.cells, index[picked]],
        np.r_[grain.sublattice, which[picked]], grain.cell, grain.basis, grain.spacing,
        None if grain.frames is None else np.r_[grain.frames, grain.frames[near[picked, 0]]],
    )  # fmt: skip


def renamed(grain: Grain, amplitude: np.ndarray, like: np.ndarray | None = None) -> Grain:
    """Name vectors and sublattices the same way in every region.

    The cell becomes the reduced one (or that nearest to `like`, the cell of another frame),
    sublattice 0 is the brightest and the origin. Sublattices as bright as each other (within
    15 %) are ordered by where they lie: from 0 to 1 goes towards +x as drawn.

    Parameters
    ----------
    grain : Grain
    amplitude : ndarray, shape (k,)
        Of the atoms of the region, NaN where unknown.
    like : ndarray, shape (2, 2), optional
    """
    cell = reduced(grain.cell)
    if like is not None:
        near, angle, strain = matched_to(like, cell)
        if abs(angle) < 0.2 and strain < 0.1:
            cell = near
    change = np.rint(grain.cell @ np.linalg.inv(cell)).astype(int)  # old = change @ new
    cells, basis = grain.cells @ change, grain.basis @ change
    n = len(basis)
    bright = np.full(n, np.nan)
    for s in range(n):
        values = amplitude[grain.sublattice == s]
        if np.isfinite(values).any():
            bright[s] = np.nanmedian(values)
    count = np.bincount(grain.sublattice, minlength=n)
    order = list(np.lexsort((-count, -np.nan_to_num(bright, nan=0.0))))
    known = np.isfinite(bright).all() and n > 1
    if n > 1 and (not known or bright[order[1]] > 0.85 * bright[order[0]]):
        first, second = order[0], order[1]
        step = nearest_image(basis[second] - basis[first], cell)
        if (step[1], -step[0]) < (0.0, 0.0):
            order[0], order[1] = second, first
    origin = basis[order[0]].copy()
    relative = basis[order] - origin
    whole = np.floor(relative + 1e-6).astype(int)
    place = np.empty(n, int)
    place[order] = np.arange(n)
    sub = place[grain.sublattice]
    frames = None if grain.frames is None else np.linalg.inv(change) @ grain.frames
    return Grain(grain.rows, cells + whole[sub], sub, cell, relative - whole, grain.spacing, frames)
