"""Sites without an atom: vacancies, and gaps that are too large to be called so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from napari_atomlens.atoms.cell import site_neighbours
from napari_atomlens.atoms.grains import Grain, SiteGrid

#: An atom nearer than this to an empty site (over the nearest distance) is on it, off place.
OCCUPIED_WITHIN = 0.5


@dataclass(frozen=True)
class Gaps:
    """Empty sites inside of a region.

    Attributes
    ----------
    cells, sublattice : ndarray
        Of the vacant sites, shape (k, 2) and (k,).
    support : ndarray, shape (k,)
        Share of the sites round each one that hold an atom, each counted with its probability.
    group : ndarray of int, shape (k,)
        Vacant sites of one group touch.
    holes : list of ndarray of int, each (n, 3)
        Cells and sublattices of the sites of each larger gap.
    """

    cells: np.ndarray
    sublattice: np.ndarray
    support: np.ndarray
    group: np.ndarray
    holes: list[np.ndarray]


def find_gaps(grain: Grain, probability: np.ndarray, largest: int) -> Gaps:
    """Group the empty sites of a region and tell vacancies from holes and from the outside.

    Empty sites that share an edge of the Voronoi tessellation of the crystal form a group. A
    group that reaches the outside of the region is the outside; one of at most `largest`
    sites is made of vacancies; a larger one is a hole.

    Parameters
    ----------
    grain : Grain
    probability : ndarray, shape (k,)
        Of its atoms.
    largest : int
    """
    s = len(grain.basis)
    grid = SiteGrid(grain.cells, grain.sublattice, s, pad=3)
    links = site_neighbours(grain.cell, grain.basis)
    empty = grid.occupant < 0
    number = np.arange(empty.size).reshape(grid.shape)
    rows, cols = [], []
    size_m, size_n, _ = grid.shape
    for a, b, m, n in links:
        # slices that lay the site and its neighbour over each other
        here = (slice(max(0, -m), size_m - max(0, m)), slice(max(0, -n), size_n - max(0, n)), a)
        there = (slice(max(0, m), size_m + min(0, m)), slice(max(0, n), size_n + min(0, n)), b)
        touching = empty[here] & empty[there]
        rows.append(number[here][touching])
        cols.append(number[there][touching])
    i, j = np.concatenate(rows), np.concatenate(cols)
    graph = sparse.coo_matrix((np.ones(len(i), np.int8), (i, j)), (empty.size, empty.size))
    group = csgraph.connected_components(graph, directed=False)[1].reshape(grid.shape)
    edge = np.zeros(grid.shape, bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    outside = np.unique(group[edge & empty])
    inner = empty & ~np.isin(group, outside)
    at = np.argwhere(inner)
    if not len(at):
        none = np.zeros(0, int)
        return Gaps(np.zeros((0, 2), int), none, np.zeros(0), none, [])
    _, index, counts = np.unique(group[inner], return_inverse=True, return_counts=True)
    small = counts[index] <= largest
    cells = at[:, :2] + grid.low
    holes = [np.c_[cells[index == g], at[index == g, 2]] for g in np.flatnonzero(counts > largest)]
    vacant, sub = cells[small], at[small, 2]
    return Gaps(vacant, sub, support_of(grain, grid, links, vacant, sub, probability),
                index[small], holes)  # fmt: skip


def support_of(
    grain: Grain,
    grid: SiteGrid,
    links: np.ndarray,
    cells: np.ndarray,
    sublattice: np.ndarray,
    probability: np.ndarray,
) -> np.ndarray:
    """Mean probability of the atoms on the neighbouring sites and the next translations."""
    total, count = np.zeros(len(cells)), np.zeros(len(cells))
    known = np.where(np.isfinite(probability), probability, 1.0)
    translations = [
        (s, s, m, n)
        for s in range(len(grain.basis))
        for m, n in ((1, 0), (0, 1), (1, 1), (-1, 0), (0, -1), (-1, -1))
    ]
    for a, b, m, n in {tuple(int(v) for v in row) for row in [*links.tolist(), *translations]}:
        mine = sublattice == a
        near = grid.find(cells[mine] + [m, n], np.full(mine.sum(), b))
        total[mine] += np.where(near >= 0, known[near], 0.0)
        count[mine] += 1
    return total / np.maximum(count, 1)


def not_taken(places: np.ndarray, points: np.ndarray, spacing: float) -> np.ndarray:
    """Which empty sites have no atom near them, of whatever region or of none."""
    if not len(places) or not len(points):
        return np.ones(len(places), bool)
    return cKDTree(points).query(places)[0] > OCCUPIED_WITHIN * spacing
