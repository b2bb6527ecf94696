"""Dislocations: where a way round does not close over the lattice, and by which vector.

The atoms of a region are joined to triangles. Along each edge the difference of cells follows
from the vectors there; round a triangle these add up to nothing, unless it holds the core of a
dislocation. What is left is (minus) the Burgers vector, in whole vectors of the lattice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy

from napari_atomlens.lattice.grain import TOLERANCE, Grain, wrapped
from napari_atomlens.points import connected

#: An edge longer than this many vectors is no way to count cells along.
LONGEST = 2.5
#: Triangles that do not close belong to one core if they are so many vectors apart.
ONE_CORE = 1.7


@dataclass(frozen=True)
class Core:
    """A dislocation that is seen end on.

    Attributes
    ----------
    place : ndarray, shape (2,)
        (y, x).
    burgers : ndarray of int, shape (2,)
        Whole vectors a and b by which the displacement of the atoms grows on a way round the
        core, counter-clockwise as drawn.
    """

    place: np.ndarray
    burgers: np.ndarray


@dataclass(frozen=True)
class Mesh:
    """Triangles between atoms, and the cells that each edge leads over.

    Attributes
    ----------
    triangles : ndarray of int, shape (t, 3)
        Counter-clockwise as drawn, without those with an edge too long to count along.
    steps : ndarray of int, shape (t, 3, 2)
        Cells from corner k to corner k + 1.
    off : ndarray, shape (t, 3)
        Distance of each edge from that many vectors.
    rim : ndarray of bool, shape (n,)
        Atoms at the border of the triangles.
    """

    triangles: np.ndarray
    steps: np.ndarray
    off: np.ndarray
    rim: np.ndarray


def mesh_of(
    points: np.ndarray, frames: np.ndarray, fraction: np.ndarray, longest: float
) -> Mesh | None:
    """Join atoms to triangles and count the cells along their edges.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
    frames : ndarray, shape (n, 2, 2)
        Vectors at each atom.
    fraction : ndarray, shape (n, 2)
        Where each atom lies in its cell.
    longest : float
        Of the vectors.
    """
    try:
        triangles = scipy.spatial.Delaunay(points).simplices.astype(int)
    except (scipy.spatial.QhullError, ValueError):
        return None
    p = points[triangles]
    first, second = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    left = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] > 0  # y points down
    triangles[~left] = triangles[~left][:, [0, 2, 1]]
    start, end = triangles, np.roll(triangles, -1, axis=1)
    difference = points[end] - points[start]
    keep = np.linalg.norm(difference, axis=2).max(1) < LONGEST * longest
    if not keep.any():
        return None
    triangles, difference = triangles[keep], difference[keep]
    start, end = start[keep], end[keep]
    inverse = np.linalg.inv(frames)
    middle = 0.5 * (inverse[start] + inverse[end])
    step = np.einsum("tki,tkij->tkj", difference, middle) - (fraction[end] - fraction[start])
    whole = np.rint(step).astype(int)
    off = np.linalg.norm(np.einsum("tki,tkij->tkj", step - whole, frames[start]), axis=2)
    n = len(points)
    key = np.minimum(start, end) * n + np.maximum(start, end)
    edge, counts = np.unique(key, return_counts=True)
    once = edge[counts == 1]
    rim = np.zeros(n, bool)
    rim[once // n] = rim[once % n] = True
    return Mesh(triangles, whole, off, rim)


def cores_of(points: np.ndarray, mesh: Mesh, longest: float) -> list[Core]:
    """Find cores: groups of triangles round which the cells do not add up to nothing."""
    left = mesh.steps.sum(1)
    open_ = np.flatnonzero((left != 0).any(1))
    if not len(open_):
        return []
    centre = points[mesh.triangles[open_]].mean(1)
    pairs = scipy.spatial.cKDTree(centre).query_pairs(ONE_CORE * longest, output_type="ndarray")
    group = connected(pairs, len(open_))
    cores = []
    for g in np.unique(group):
        mine = open_[group == g]
        total = left[mine].sum(0)
        # at the border of the region a part of the way round is missing
        if not total.any() or mesh.rim[mesh.triangles[mine]].any():
            continue
        weight = np.abs(left[mine]).sum(1)
        place = np.average(centre[group == g], axis=0, weights=weight)
        cores.append(Core(place, -total))
    return cores


def cut_edges(
    points: np.ndarray, start: np.ndarray, end: np.ndarray, place: np.ndarray, along: np.ndarray
) -> np.ndarray:
    """Whether edges cross the ray from a place along a unit vector."""
    across = np.array([-along[1], along[0]])
    one, other = points[start] - place, points[end] - place
    s, t = one @ across, other @ across
    crosses = (s > 0) != (t > 0)
    share = np.where(crosses, s / np.where(crosses, s - t, 1), 0)
    return np.asarray(crosses & ((one + share[:, None] * (other - one)) @ along > 0))


def unwound(grain: Grain, points: np.ndarray, free: np.ndarray) -> tuple[Grain, list[Core]]:
    """Find the dislocations of a region and count its cells anew, without crossing their cuts.

    From every core a cut leads to the border, along its Burgers vector: the rows on both sides
    are complete there, so that no cell is taken twice nor left empty. Atoms that were left out
    because their cell seemed to be taken come back.

    Parameters
    ----------
    grain : Grain
        With the vectors at each atom.
    points : ndarray, shape (n, 2)
        All atoms of the frame.
    free : ndarray of int
        Atoms of no region.
    """
    assert grain.frames is not None
    for _ in range(4):
        before = len(grain.rows)
        grain = _with_free(grain, points, np.setdiff1d(free, grain.rows))
        if len(grain.rows) == before:
            break
    assert grain.frames is not None
    p = points[grain.rows]
    longest = float(np.linalg.norm(grain.cell, axis=1).max())
    mesh = mesh_of(p, grain.frames, grain.basis[grain.sublattice], longest)
    if mesh is None:
        return replace(grain, frames=None), []
    cores = cores_of(p, mesh, longest)
    start, end = mesh.triangles.ravel(), np.roll(mesh.triangles, -1, axis=1).ravel()
    step, off = mesh.steps.reshape(-1, 2), mesh.off.ravel()
    whole = ~_cut(grain, p, cores, start, end)
    labels, reached = _counted(len(p), start[whole], end[whole], step[whole], off[whole])
    fit = np.full(len(p), np.inf)
    np.minimum.at(fit, start, off)
    order = np.flatnonzero(reached)[np.argsort(fit[reached], kind="stable")]
    _, first = np.unique(np.c_[labels, grain.sublattice][order], axis=0, return_index=True)
    keep = np.sort(order[first])
    torn = bool(cores) or bool((labels[end] - labels[start] != step).any())
    return replace(
        grain, rows=grain.rows[keep], cells=labels[keep], sublattice=grain.sublattice[keep],
        frames=grain.frames[keep] if torn else None,
    ), cores  # fmt: skip


def _cut(
    grain: Grain, p: np.ndarray, cores: list[Core], start: np.ndarray, end: np.ndarray
) -> np.ndarray:
    """Which edges cross the cut of a core: along its vector, to the nearer border."""
    assert grain.frames is not None
    cut = np.zeros(len(start), bool)
    tree = scipy.spatial.cKDTree(p)
    longest = float(np.linalg.norm(grain.cell, axis=1).max())
    for core in cores:
        along = core.burgers @ grain.frames[tree.query(core.place)[1]]
        along = along / np.linalg.norm(along)
        beside = np.abs((p - core.place) @ [-along[1], along[0]]) < longest
        reach = (p[beside] - core.place) @ along
        if reach.max(initial=0) > -reach.min(initial=0):
            along = -along
        cut |= cut_edges(p, start, end, core.place, along)
    return cut


def _with_free(grain: Grain, points: np.ndarray, free: np.ndarray) -> Grain:
    """Add free atoms that most of the atoms next to them expect on a site of some sublattice."""
    assert grain.frames is not None
    if not len(free):
        return grain
    members = points[grain.rows]
    k = min(5, len(members))
    gap, near = scipy.spatial.cKDTree(members).query(points[free], k=k)
    gap, near = gap.reshape(len(free), k), near.reshape(len(free), k)
    inverse = np.linalg.inv(grain.frames)[near]
    step = np.einsum("fki,fkij->fkj", points[free][:, None] - members[near], inverse)
    step = step + grain.basis[grain.sublattice[near]]
    off = wrapped(step[:, :, None] - grain.basis[None, None]) @ grain.cell
    expected = np.linalg.norm(off, axis=3) < TOLERANCE * grain.spacing
    votes = expected.sum(1)
    which = votes.argmax(1)
    good = (votes.max(1) >= 0.6 * k) & (gap[:, 0] > 0.5 * grain.spacing)
    good &= gap[:, 0] < 1.3 * grain.spacing
    return replace(
        grain, rows=np.r_[grain.rows, free[good]],
        cells=np.r_[grain.cells, grain.cells[near[good, 0]]],
        sublattice=np.r_[grain.sublattice, which[good]],
        frames=np.r_[grain.frames, grain.frames[near[good, 0]]],
    )  # fmt: skip


def _counted(
    n: int, start: np.ndarray, end: np.ndarray, step: np.ndarray, off: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cells along the tree of the best edges, shape (n, 2), and which atoms they reach."""
    key = start * n + end
    key = np.r_[key, end * n + start]
    step, off = np.r_[step, -step], np.r_[off, off]
    key, first = np.unique(key, return_index=True)
    step, off = step[first], off[first]
    graph = scipy.sparse.coo_matrix((off + 1e-6, (key // n, key % n)), (n, n)).tocsr()
    part = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
    reached = part == np.bincount(part).argmax()
    spanning = scipy.sparse.csgraph.minimum_spanning_tree(graph)
    root = int(np.flatnonzero(reached)[0])
    order, before = scipy.sparse.csgraph.breadth_first_order(spanning, root, directed=False)
    up, jump = np.arange(n), np.zeros((n, 2), int)
    child = order[1:]
    up[child] = before[child]
    jump[child] = step[np.searchsorted(key, up[child] * n + child)]
    # pointer jumping: after k rounds the sums reach 2^k steps up the tree
    while (up != up[up]).any():
        jump = jump + jump[up]
        up = up[up]
    return jump, reached
