"""Regions of one lattice: which atom lies on which site of which cell.

A cell that was found in one patch is grown over the whole region along the translations of
the lattice, with vectors that follow the region where it is strained or bent; so a region
ends at a grain boundary by itself. All steps are vectorised over the atoms.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy

from napari_atomlens.lattice.cell import Cloud
from napari_atomlens.lattice.grain import (
    LEAST_TURN,
    MAX_FAILURES,
    MAX_PATCHES,
    MOST_TWICE,
    STEPS,
    TOLERANCE,
    TURN_SIGMAS,
    Grain,
    supported,
    wrapped,
)
from napari_atomlens.lattice.joining import join_parts, peel, settle_borders
from napari_atomlens.lattice.patches import best_of, cells_at
from napari_atomlens.lattice.two_crystals import two_crystals
from napari_atomlens.points import connected
from napari_atomlens.progress import Progress, ProgressLike, as_progress

#: Beyond these an atom does not belong to the crystal that the typical atom belongs to:
#: rotation, and norm of the change of the cell.
MOST_TURN, MOST_CHANGE = np.deg2rad(7.0), 0.16
#: ... unless the pairs on the way there fit as well as others, within this factor.
SMOOTH = 1.6


def find_grains(
    points: np.ndarray,
    level: np.ndarray,
    *,
    min_atoms: int = 12,
    max_grains: int = 64,
    min_occupancy: float = 0.5,
    large_cells: bool = False,
    progress: ProgressLike = None,
) -> list[Grain]:
    """Divide the atoms of a frame into regions of one lattice each.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
    level : ndarray, shape (n,)
        Logarithm of the intensity, NaN where it is unknown: tells sublattices apart that
        differ in brightness only.
    min_atoms : int
        A smaller region is none.
    max_grains : int
        At most so many regions.
    min_occupancy : float
        A sublattice has at least this share of its sites occupied.
    large_cells : bool
        Where there is no lattice with a small cell, look for one of up to some thirty columns.
    progress : Progress or callable, optional
        Asked between regions.

    Returns
    -------
    list of Grain
        The largest first; empty where there is no lattice.
    """
    watch = as_progress(progress)
    limits = (min_atoms, max_grains, min_occupancy, large_cells)
    grains = _found(points, level, *limits, watch)
    sides = two_crystals(points, grains)
    if sides is not None:
        grains = []
        for side in (0, 1):
            rows = np.flatnonzero(sides == side)
            grains += [
                replace(g, rows=rows[g.rows])
                for g in _found(points[rows], level[rows], *limits, watch)
            ]
    tree = scipy.spatial.cKDTree(points) if grains else None
    if tree is not None:
        settle_borders(points, tree, grains)
        if sides is None:
            join_parts(points, grains)
        peel(points, tree, grains)
    grains = [g for g in grains if len(g.rows) >= min_atoms]
    return sorted(grains, key=lambda g: -len(g.rows))


def _found(
    points: np.ndarray,
    level: np.ndarray,
    min_atoms: int,
    max_grains: int,
    min_occupancy: float,
    large_cells: bool,
    watch: Progress,
) -> list[Grain]:
    """Regions as they grow one after the other."""
    grains: list[Grain] = []
    if len(points) < max(min_atoms, 6):
        return grains
    tree = scipy.spatial.cKDTree(points)
    cloud = Cloud(points, level, np.ones(len(points), bool))
    hull = cloud.hull()
    # where looking was in vain once, it is so again
    tried = np.zeros(len(points), bool)
    failures = 0
    while len(grains) < max_grains and failures < MAX_FAILURES:
        if watch.stopped or cloud.free.sum() < min_atoms:
            break
        seeds = spread_seeds(points, np.flatnonzero(cloud.free & ~tried), MAX_PATCHES)
        if not len(seeds):
            break
        found = cells_at(cloud, tree, hull, seeds, large_cells)
        if not found:
            tried[seeds] = True
            failures += 1
            continue
        patch, seed = best_of(found)
        grain = grow(cloud, patch.cell, patch.spacing, seed, min_occupancy)
        if grain is None or len(grain.rows) < min_atoms:
            tried[tree.query(points[seed], k=min(30, len(points)))[1]] = True
            failures += 1
            continue
        failures = 0
        cloud.free[grain.rows] = False
        grains.append(grain)
    return grains


def spread_seeds(points: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """Up to `n` of the rows that lie far apart, the most central of all first."""
    if len(rows) <= 1:
        return rows
    at = points[rows]
    chosen = [int(np.argmin(((at - np.median(at, 0)) ** 2).sum(1)))]
    gap = ((at - at[chosen[0]]) ** 2).sum(1)
    while len(chosen) < min(n, len(rows)):
        chosen.append(int(gap.argmax()))
        gap = np.minimum(gap, ((at - at[chosen[-1]]) ** 2).sum(1))
    return rows[chosen]


# ------------------------------------------------------------------------------ growth


def grow(
    cloud: Cloud, cell: np.ndarray, spacing: float, seed: int, min_occupancy: float
) -> Grain | None:
    """Grow a cell over the free atoms that it connects."""
    rows = np.flatnonzero(cloud.free)
    points = cloud.points[rows]
    tree = scipy.spatial.cKDTree(points)
    near_seed = np.atleast_1d(tree.query(cloud.points[seed], k=min(40, len(rows)))[1])
    tolerance = TOLERANCE
    while tolerance > 0.4 * TOLERANCE:
        chain = _follow(points, tree, cell, tolerance * spacing, near_seed)
        if chain is None:
            return None
        main, labels, frames, torn = chain
        # where sublattices run into each other over some stray atoms, cells are taken twice
        twice = len(main) - len(np.unique(labels[main], axis=0))
        if twice < MOST_TWICE * len(main) or (torn and _slipped(points, main, labels, frames)):
            q, known = coordinates(points, main, labels[main], frames[main], cell)
            grain = _assign(rows, points, q, known, main, labels, spacing, min_occupancy)
            if torn and len(grain.rows):
                at = cloud.points[grain.rows]
                near = scipy.spatial.cKDTree(points[main]).query(at)[1]
                grain = replace(grain, frames=frames[main][near])
            return grain
        tolerance *= 0.75
    return None


def _follow(
    points: np.ndarray,
    tree: scipy.spatial.cKDTree,
    cell: np.ndarray,
    tolerance: float,
    near_seed: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool] | None:
    """Follow the translations of a cell from atom to atom, over one sublattice.

    Returns
    -------
    main : ndarray of int, shape (k,)
        Atoms that were reached.
    labels : ndarray of int, shape (n, 2)
        Their cells; no meaning for the others.
    frames : ndarray, shape (n, 2, 2)
        The cell vectors at each atom.
    torn : bool
        Whether some way round does not close: there may be a dislocation.
    """
    n = len(points)
    torn = False
    local = np.broadcast_to(cell, (n, 2, 2))
    main = np.zeros(0, int)
    labels, frames = np.zeros((n, 2), int), np.array(local)
    for k in range(12):
        i, j, step, off = translations(points, tree, local, tolerance)
        chains = connected(np.c_[i, j], n)
        # of the sublattices that meet round the seed, the one with the most atoms
        sizes = np.bincount(chains)
        candidates = np.unique(chains[near_seed])
        best = int(candidates[np.argmax(sizes[candidates])])
        if sizes[best] < 5:
            return None
        before = len(main)
        main = np.flatnonzero(chains == best)
        inside = chains[i] == best
        edges = (i[inside], j[inside], step[inside], off[inside])
        frames = local_cells(points, *edges[:3], cell)
        main, edges = cut_turns(main, frames, cell, edges)
        if len(main) < 5:
            return None
        labels = integer_labels(n, main, *edges)
        i, j, step, _ = edges
        torn = bool((labels[j] - labels[i] != STEPS[step]).any())
        if k and len(main) <= 1.01 * before:
            break
        nearest = scipy.spatial.cKDTree(points[main]).query(points)[1]
        local = frames[main][nearest]
        # with vectors that follow the region, what is off can be told from what is strained
        typical = float(np.median(edges[3])) / 1.1774
        tolerance = float(np.clip(4.5 * typical, 0.5 * tolerance, tolerance))
    return main, labels, frames, torn


def _slipped(points: np.ndarray, main: np.ndarray, labels: np.ndarray, frames: np.ndarray) -> bool:
    """Whether atoms of the same cell are a lattice vector apart: the cut of a dislocation."""
    order = main[np.lexsort(labels[main].T)]
    same = (labels[order[1:]] == labels[order[:-1]]).all(1)
    i, j = order[1:][same], order[:-1][same]
    steps = np.einsum("ni,nij->nj", points[j] - points[i], np.linalg.inv(frames[i]))
    near = np.abs(wrapped(steps)).max(1) < 0.25
    return bool(near.mean() > 0.7) and len(i) < 0.2 * len(main)


def translations(
    points: np.ndarray, tree: scipy.spatial.cKDTree, local: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of atoms that a, b or a + b connects, where triangles of such pairs close.

    Returns
    -------
    i, j, step : ndarray of int, shape (e,)
        From atom, to atom, and which translation.
    off : ndarray, shape (e,)
        Distance of atom j from where it was expected.
    """
    n = len(points)
    ahead = np.full((3, n), n)  # n: there is none
    off = np.full((3, n), np.inf)
    for k, step in enumerate(STEPS):
        gap, j = tree.query(points + step @ local, distance_upper_bound=tolerance)
        # each atom is reached from one atom only: from the nearest
        order = np.lexsort((gap, j))
        first = np.ones(n, bool)
        first[1:] = j[order][1:] != j[order][:-1]
        keep = np.zeros(n, bool)
        keep[order[first]] = True
        keep &= j < n
        ahead[k, keep], off[k, keep] = j[keep], gap[keep]
    padded = np.c_[ahead, np.full((3, 1), n)]
    held = np.zeros((3, n + 1), bool)
    for one, other in ((0, 1), (1, 0)):
        middle = padded[one]
        end = padded[other][middle]
        closed = np.flatnonzero((end == padded[2]) & (end < n))
        held[one, closed] = held[2, closed] = True
        held[other, middle[closed]] = True
    step, i = np.nonzero(held[:, :n])
    return i, ahead[step, i], step, off[step, i]


def integer_labels(
    n: int, main: np.ndarray, i: np.ndarray, j: np.ndarray, step: np.ndarray, off: np.ndarray
) -> np.ndarray:
    """Cells (m, n) along the tree of the best pairs, shape (n, 2); zero where not in `main`.

    The minimum spanning tree prefers pairs that fit well, so that a doubtful one decides
    nothing where there is another way.
    """
    graph = scipy.sparse.coo_matrix((off + 1e-6, (i, j)), (n, n)).tocsr()
    spanning = scipy.sparse.csgraph.minimum_spanning_tree(graph)
    order, before = scipy.sparse.csgraph.breadth_first_order(spanning, int(main[0]), directed=False)
    jump = np.zeros((n, 2), int)
    forward = scipy.sparse.coo_matrix((step + 1, (i, j)), (n, n)).tocsr()
    up = np.arange(n)
    up[order[1:]] = before[order[1:]]
    child = order[1:]
    along = np.asarray(forward[up[child], child]).ravel()
    back = np.asarray(forward[child, up[child]]).ravel()
    jump[child[along > 0]] = STEPS[along[along > 0].astype(int) - 1]
    against = (along == 0) & (back > 0)
    jump[child[against]] = -STEPS[back[against].astype(int) - 1]
    # pointer jumping: after k rounds the sums reach 2^k steps up the tree
    while (up != up[up]).any():
        jump = jump + jump[up]
        up = up[up]
    return jump


def local_cells(
    points: np.ndarray,
    i: np.ndarray,
    j: np.ndarray,
    step: np.ndarray,
    cell: np.ndarray,
) -> np.ndarray:
    """Cell vectors at each atom, averaged over neighbours, shape (n, 2, 2).

    Least squares over the pairs round an atom; the cell of the patch counts as much as a
    quarter of a pair, which decides only where there is nothing else.
    """
    n = len(points)
    delta = STEPS[step].astype(float)
    difference = points[j] - points[i]
    ll = delta[:, :, None] * delta[:, None, :]
    lr = delta[:, :, None] * difference[:, None, :]
    both = np.r_[i, j]
    moments = np.concatenate([ll.reshape(-1, 4), lr.reshape(-1, 4)], 1)
    total = np.stack([np.bincount(both, np.r_[m, m], minlength=n) for m in moments.T], -1)
    graph = scipy.sparse.coo_matrix((np.ones(2 * len(i)), (both, np.r_[j, i])), (n, n)).tocsr()
    for _ in range(2):
        total = total + graph @ total
    left = total[:, :4].reshape(n, 2, 2) + 0.25 * np.eye(2)
    right = total[:, 4:].reshape(n, 2, 2) + 0.25 * cell
    return np.linalg.solve(left, right)


def turns(frames: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Rotation of local cells against `cell`, shape (n,)."""
    f = np.linalg.inv(cell) @ frames  # transposed deformation gradients
    return np.arctan2(f[:, 0, 1] - f[:, 1, 0], f[:, 0, 0] + f[:, 1, 1])


Edges = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def cut_turns(
    main: np.ndarray, frames: np.ndarray, cell: np.ndarray, edges: Edges
) -> tuple[np.ndarray, Edges]:
    """Cut a region where its lattice turns abruptly and keep the largest part.

    Small-angle boundaries are bridged by many pairs that fit; what tells them is the jump
    of the rotation, far above what the uncertainty of the atoms makes elsewhere. A boundary
    that many doubtful atoms blur is found by what lies behind it: a lattice that is turned or
    strained by more than any image of one crystal is.
    """
    i, j, step, off = edges
    typical = np.median(frames[main], axis=0)
    angle = turns(frames, typical)
    stretch = np.linalg.norm(frames @ np.linalg.inv(typical) - np.eye(2), axis=(1, 2))
    strange = (np.abs(angle) > MOST_TURN) | (stretch > MOST_CHANGE)
    across = strange[i] != strange[j]
    if across.any() and np.median(off[across]) < SMOOTH * np.median(off):
        strange[:] = False  # the way there is as good as anywhere: the crystal is bent
    jump = np.abs(angle[i] - angle[j])
    noise = 1.4826 * np.median(jump) if len(jump) else 0.0
    sound = (jump < max(LEAST_TURN, TURN_SIGMAS * noise)) & ~strange[i] & ~strange[j]
    if sound.all():
        return main, edges
    part = connected(np.c_[i[sound], j[sound]], len(frames))
    sizes = np.bincount(part[main])
    best = int(np.argmax(sizes))
    rest = sizes.copy()
    rest[best] = 0
    if rest.max() < 12 and not strange[main].mean() > 0.03:
        return main, edges  # no boundary, some doubtful atoms
    kept = main[part[main] == best]
    keep = (part[i] == best) & (part[j] == best)
    return kept, (i[keep], j[keep], step[keep], off[keep])


def coordinates(
    points: np.ndarray, main: np.ndarray, labels: np.ndarray, frames: np.ndarray, cell: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Position of all atoms in units of the cell, by extrapolation from the nearest of `main`.

    Returns
    -------
    q : ndarray, shape (n, 2)
    known : ndarray of bool, shape (n,)
        Whether there is an atom of `main` near enough.
    """
    reach = 1.25 * max(np.linalg.norm(cell, axis=1).max(), np.linalg.norm(cell.sum(0)))
    k = min(4, len(main))
    gap, near = scipy.spatial.cKDTree(points[main]).query(points, k=k, distance_upper_bound=reach)
    gap, near = gap.reshape(len(points), k), near.reshape(len(points), k)
    valid = near < len(main)
    near = np.minimum(near, len(main) - 1)
    difference = points[:, None] - points[main][near]
    ahead = np.einsum("nki,nkij->nkj", difference, np.linalg.inv(frames)[near])
    weight = np.where(valid, 1 / (0.1 * reach + np.where(valid, gap, 0)) ** 2, 0)
    q = (weight[..., None] * (labels[near] + ahead)).sum(1)
    return q / np.maximum(weight.sum(1), 1e-30)[:, None], valid.any(1)


def sublattices(q: np.ndarray, cell: np.ndarray, spacing: float, fewest: float) -> np.ndarray:
    """Fractional positions at which atoms gather, the origin first, shape (s, 2)."""
    side = 48
    phase = q - np.floor(q)
    at = np.floor(phase * side).astype(int) % side
    counts = np.bincount(at[:, 0] * side + at[:, 1], minlength=side * side).reshape(side, side)
    lengths = np.linalg.norm(cell, axis=1)
    blur = np.maximum(0.09 * spacing / lengths * side, 0.6)
    smooth = scipy.ndimage.gaussian_filter(counts.astype(float), blur, mode="wrap")
    top = (smooth == scipy.ndimage.maximum_filter(smooth, 5, mode="wrap")) & (smooth > 0)
    peaks = (np.argwhere(top) + 0.5) / side
    peaks = peaks[np.argsort(-smooth[top], kind="stable")]
    kept: list[np.ndarray] = [np.zeros(2)]
    for p in peaks:
        gaps = [np.linalg.norm(wrapped(p - o) @ cell) for o in kept]
        if min(gaps) > 0.6 * spacing:
            kept.append(p)
    basis = np.array(kept)
    keep = np.ones(len(basis), bool)
    for _ in range(3):
        off = wrapped(phase[:, None] - basis[None])
        gap = np.linalg.norm(off @ cell, axis=2)
        which = gap.argmin(1)
        close = gap[np.arange(len(q)), which] < TOLERANCE * spacing
        for s in range(1, len(basis)):
            mine = close & (which == s)
            keep[s] = mine.sum() >= fewest
            if mine.any():
                basis[s] += np.median(off[mine, s], axis=0)
    return basis[keep] - np.floor(basis[keep])


def _assign(
    rows: np.ndarray,
    points: np.ndarray,
    q: np.ndarray,
    known: np.ndarray,
    main: np.ndarray,
    labels: np.ndarray,
    spacing: float,
    min_occupancy: float,
) -> Grain:
    """Put every atom near enough to a site on it; one atom per site."""
    # the vectors of the whole region, from its chain of best pairs
    design = np.c_[labels[main], np.ones(len(main))]
    cell = np.linalg.lstsq(design, points[main], rcond=None)[0][:2]
    q[main] = labels[main]
    basis = sublattices(q[known], cell, spacing, max(3.0, min_occupancy * len(main)))
    off = wrapped(q[:, None] - basis[None])
    gap = np.linalg.norm(off @ cell, axis=2)
    which = gap.argmin(1)
    gap = gap[np.arange(len(q)), which]
    on = known & (gap < TOLERANCE * spacing)
    on[main] = True
    which[main] = 0
    gap[main] = 0.0
    index = np.rint(q - basis[which]).astype(int)
    picked = np.flatnonzero(on)
    picked = picked[np.argsort(gap[picked], kind="stable")]
    key = np.c_[index[picked], which[picked]]
    _, first = np.unique(key, axis=0, return_index=True)
    picked = np.sort(picked[first])
    grain = Grain(rows[picked], index[picked], which[picked], cell, basis, spacing)
    return supported(grain)


# ------------------------------------------------------------------------------ borders


# ------------------------------------------------------------------------ common naming
