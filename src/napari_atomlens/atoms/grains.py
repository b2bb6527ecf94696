"""Regions of one lattice: which atom lies on which site of which cell.

A cell that was found in one patch is grown over the whole region along the translations of
the lattice, with vectors that follow the region where it is strained or bent; so a region
ends at a grain boundary by itself. All steps are vectorised over the atoms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from napari_atomlens.atoms.cell import Cloud, Patch, find_cell, matched_to, reduced

#: Largest distance of an atom from where its site is expected, over the nearest distance.
TOLERANCE = 0.35
#: Translations a, b and a + b as multiples of a and b.
STEPS = np.array([[1, 0], [0, 1], [1, 1]])
#: A lattice that turns by more than this between neighbours is broken there ...
LEAST_TURN = np.deg2rad(1.0)
#: ... unless its atoms are so uncertain; in standard deviations of the turn between neighbours.
TURN_SIGMAS = 6.0
#: Beyond these an atom does not belong to the crystal that the typical atom belongs to:
#: rotation, and norm of the change of the cell.
MOST_TURN, MOST_CHANGE = np.deg2rad(7.0), 0.16
#: Share of the atoms that may claim the same cell of the same sublattice as another.
MOST_TWICE = 0.03
#: Parts of one region differ by less than this.
MAX_JOINED_TURN, MAX_JOINED_STRAIN = np.deg2rad(1.5), 0.04
MAX_PATCHES = 12
MAX_FAILURES = 3


@dataclass
class Grain:
    """Atoms of one region with their cells.

    Attributes
    ----------
    rows : ndarray of int, shape (k,)
        Indices into the atoms of the frame.
    cells : ndarray of int, shape (k, 2)
        Cell (m, n) of each: at m a + n b from the origin.
    sublattice : ndarray of int, shape (k,)
    cell : ndarray, shape (2, 2)
        Vectors a and b as rows (y, x).
    basis : ndarray, shape (s, 2)
        Fractional position of each sublattice.
    spacing : float
        Median distance between nearest atoms.
    """

    rows: np.ndarray
    cells: np.ndarray
    sublattice: np.ndarray
    cell: np.ndarray
    basis: np.ndarray
    spacing: float


def find_grains(
    points: np.ndarray,
    level: np.ndarray,
    *,
    min_atoms: int = 12,
    max_grains: int = 64,
    min_occupancy: float = 0.5,
    stop: Callable[[], bool] | None = None,
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
    stop : callable, optional
        Asked between regions.

    Returns
    -------
    list of Grain
        The largest first; empty where there is no lattice.
    """
    grains: list[Grain] = []
    if len(points) < max(min_atoms, 6):
        return grains
    tree = cKDTree(points)
    cloud = Cloud(points, level, np.ones(len(points), bool))
    hull = cloud.hull()
    # where looking was in vain once, it is so again
    tried = np.zeros(len(points), bool)
    failures = 0
    while len(grains) < max_grains and failures < MAX_FAILURES:
        if (stop and stop()) or cloud.free.sum() < min_atoms:
            break
        seeds = spread(points, np.flatnonzero(cloud.free & ~tried), MAX_PATCHES)
        if not len(seeds):
            break
        found = [(p, s) for s in seeds if (p := find_cell(cloud, tree, hull, points[s]))]
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
    settle_borders(points, tree, grains)
    join_parts(points, grains)
    grains = [g for g in grains if len(g.rows) >= min_atoms]
    return sorted(grains, key=lambda g: -len(g.rows))


def best_of(found: list[tuple[Patch, int]]) -> tuple[Patch, int]:
    """Choose the patch to grow from: the largest cell that several good patches agree on.

    Where two sublattices are equally bright in a part of the image (a layer of another
    material) the patches there see a smaller cell than the crystal has.
    """
    top = max(p.score for p, _ in found)
    good = [(p, s) for p, s in found if p.score >= 0.88 * top]
    area = np.array([abs(np.linalg.det(p.cell)) for p, _ in good])
    agree = (np.abs(area[:, None] / area[None] - 1) < 0.08).sum(1)
    sure = agree >= max(2, 0.2 * len(found))
    if not sure.any():
        return max(good, key=lambda f: f[0].score)
    wide = area > 0.9 * area[sure].max()
    return max((f for f, w in zip(good, wide & sure, strict=True) if w), key=lambda f: f[0].score)


def spread(points: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
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
    tree = cKDTree(points)
    near_seed = np.atleast_1d(tree.query(cloud.points[seed], k=min(40, len(rows)))[1])
    tolerance = TOLERANCE
    while tolerance > 0.4 * TOLERANCE:
        chain = follow(points, tree, cell, tolerance * spacing, near_seed)
        if chain is None:
            return None
        main, labels, frames = chain
        # where sublattices run into each other over some stray atoms, cells are taken twice
        if len(np.unique(labels[main], axis=0)) > (1 - MOST_TWICE) * len(main):
            q, known = coordinates(points, main, labels[main], frames[main], cell)
            return assign(rows, points, q, known, main, labels, spacing, min_occupancy)
        tolerance *= 0.75
    return None


def follow(
    points: np.ndarray, tree: cKDTree, cell: np.ndarray, tolerance: float, near_seed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Follow the translations of a cell from atom to atom, over one sublattice.

    Returns
    -------
    main : ndarray of int, shape (k,)
        Atoms that were reached.
    labels : ndarray of int, shape (n, 2)
        Their cells; no meaning for the others.
    frames : ndarray, shape (n, 2, 2)
        The cell vectors at each atom.
    """
    n = len(points)
    local = np.broadcast_to(cell, (n, 2, 2))
    main = np.zeros(0, int)
    labels, frames = np.zeros((n, 2), int), np.array(local)
    for k in range(12):
        i, j, step, off = translations(points, tree, local, tolerance)
        chains = components(n, i, j)
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
        if k and len(main) <= 1.01 * before:
            break
        nearest = cKDTree(points[main]).query(points)[1]
        local = frames[main][nearest]
        # with vectors that follow the region, what is off can be told from what is strained
        typical = float(np.median(edges[3])) / 1.1774
        tolerance = float(np.clip(4.5 * typical, 0.5 * tolerance, tolerance))
    return main, labels, frames


def translations(
    points: np.ndarray, tree: cKDTree, local: np.ndarray, tolerance: float
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


def components(n: int, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Connected components of n atoms, shape (n,)."""
    graph = sparse.coo_matrix((np.ones(len(i)), (i, j)), (n, n))
    return csgraph.connected_components(graph, directed=False)[1]


def integer_labels(
    n: int, main: np.ndarray, i: np.ndarray, j: np.ndarray, step: np.ndarray, off: np.ndarray
) -> np.ndarray:
    """Cells (m, n) along the tree of the best pairs, shape (n, 2); zero where not in `main`.

    The minimum spanning tree prefers pairs that fit well, so that a doubtful one decides
    nothing where there is another way.
    """
    graph = sparse.coo_matrix((off + 1e-6, (i, j)), (n, n)).tocsr()
    spanning = csgraph.minimum_spanning_tree(graph)
    order, before = csgraph.breadth_first_order(spanning, int(main[0]), directed=False)
    jump = np.zeros((n, 2), int)
    forward = sparse.coo_matrix((step + 1, (i, j)), (n, n)).tocsr()
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
    graph = sparse.coo_matrix((np.ones(2 * len(i)), (both, np.r_[j, i])), (n, n)).tocsr()
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
    jump = np.abs(angle[i] - angle[j])
    noise = 1.4826 * np.median(jump) if len(jump) else 0.0
    sound = (jump < max(LEAST_TURN, TURN_SIGMAS * noise)) & ~strange[i] & ~strange[j]
    if sound.all():
        return main, edges
    part = components(len(frames), i[sound], j[sound])
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
    gap, near = cKDTree(points[main]).query(points, k=k, distance_upper_bound=reach)
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
    smooth = ndi.gaussian_filter(counts.astype(float), blur, mode="wrap")
    top = (smooth == ndi.maximum_filter(smooth, 5, mode="wrap")) & (smooth > 0)
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


def wrapped(fraction: np.ndarray) -> np.ndarray:
    """Fractional differences to the nearest equivalent, in [-0.5, 0.5]."""
    return fraction - np.rint(fraction)


def assign(
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


def supported(grain: Grain, fewest: int = 2) -> Grain:
    """Leave out atoms with fewer than two of the six translations of their own sublattice."""
    while len(grain.rows):
        site = SiteGrid(grain.cells, grain.sublattice, len(grain.basis))
        count = np.zeros(len(grain.rows), int)
        for step in np.r_[STEPS, -STEPS]:
            count += site.find(grain.cells + step, grain.sublattice) >= 0
        good = count >= fewest
        if good.all():
            break
        grain = part_of(grain, good)
    return grain


def part_of(grain: Grain, keep: np.ndarray) -> Grain:
    """Return a region with some of its atoms."""
    return Grain(
        grain.rows[keep], grain.cells[keep], grain.sublattice[keep], grain.cell, grain.basis,
        grain.spacing,
    )  # fmt: skip


class SiteGrid:
    """Which atom is on the site (m, n, sublattice): a lookup that is vectorised.

    Parameters
    ----------
    cells : ndarray of int, shape (k, 2)
    sublattice : ndarray of int, shape (k,)
    n_sublattices : int
    pad : int
        Rows of empty cells kept round the region.
    """

    def __init__(
        self, cells: np.ndarray, sublattice: np.ndarray, n_sublattices: int, pad: int = 2
    ) -> None:
        self.low = cells.min(0) - pad
        size = cells.max(0) + pad + 1 - self.low
        self.shape = (int(size[0]), int(size[1]), n_sublattices)
        self.occupant = np.full(self.shape, -1, np.int64)
        at = cells - self.low
        self.occupant[at[:, 0], at[:, 1], sublattice] = np.arange(len(cells))

    def find(self, cells: np.ndarray, sublattice: np.ndarray) -> np.ndarray:
        """Index of the atom on each site, -1 where there is none."""
        at = cells - self.low
        inside = ((at >= 0) & (at < self.shape[:2])).all(-1)
        at = np.clip(at, 0, np.array(self.shape[:2]) - 1)
        return np.where(inside, self.occupant[at[..., 0], at[..., 1], sublattice], -1)


# ------------------------------------------------------------------------------ borders


def settle_borders(points: np.ndarray, tree: cKDTree, grains: list[Grain]) -> None:
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
    gap, at = cKDTree(members).query(points[small.rows], distance_upper_bound=reach)
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
    return Grain(rows, every[first, :2], every[first, 2], large.cell, large.basis, large.spacing)


def extended(grain: Grain, points: np.ndarray, free: np.ndarray) -> Grain:
    """Add free atoms that lie on empty sites next to a region."""
    if not len(free):
        return grain
    members = points[grain.rows]
    whole = grain.cells + grain.basis[grain.sublattice]
    k = min(4, len(members))
    gap, near = cKDTree(members).query(points[free], k=k)
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
        (distance < TOLERANCE * grain.spacing) & (gap[:, 0] < 1.3 * grain.spacing)
        & (grid.find(index, which) < 0)
    )  # fmt: skip
    picked = np.flatnonzero(good)
    picked = picked[np.argsort(distance[picked], kind="stable")]
    _, first = np.unique(np.c_[index[picked], which[picked]], axis=0, return_index=True)
    picked = picked[first]
    return Grain(
        np.r_[grain.rows, free[picked]], np.r_[grain.cells, index[picked]],
        np.r_[grain.sublattice, which[picked]], grain.cell, grain.basis, grain.spacing,
    )  # fmt: skip


# ------------------------------------------------------------------------ common naming


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
    return Grain(grain.rows, cells + whole[sub], sub, cell, relative - whole, grain.spacing)


def nearest_image(fraction: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Shortest vector (y, x) between equivalents of a fractional difference."""
    shifts = np.array([[m, n] for m in (-1, 0, 1) for n in (-1, 0, 1)])
    vectors = (wrapped(fraction) + shifts) @ cell
    size = np.linalg.norm(vectors, axis=1)
    # a bond and its equals by symmetry: the one nearest to +x, whatever the noise
    short = vectors[size < size.min() * 1.05]
    return np.asarray(short[np.argmax(np.abs(short[:, 1]))])
