"""How well a list of positions agrees with the truth of a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class Score:
    """Counts of one comparison; add scores to pool images."""

    hits: int
    missed: int
    false: int

    @property
    def recall(self) -> float:
        """Share of the true columns that were found."""
        return self.hits / max(1, self.hits + self.missed)

    @property
    def precision(self) -> float:
        """Share of the found columns that are true."""
        return self.hits / max(1, self.hits + self.false)

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision; 1 where there is nothing and nothing was found."""
        total = 2 * self.hits + self.missed + self.false
        return 2 * self.hits / total if total else 1.0

    def __add__(self, other: Score) -> Score:
        return Score(self.hits + other.hits, self.missed + other.missed, self.false + other.false)


def match(found: np.ndarray, true: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Pair found with true positions one to one, nearest in total, within `radius`.

    Returns
    -------
    found_index, true_index : ndarray of int, shape (n_pairs,)
    """
    none = np.zeros(0, int)
    if not len(found) or not len(true):
        return none, none
    near = cKDTree(found).sparse_distance_matrix(cKDTree(true), radius, output_type="coo_matrix")
    if not near.nnz:
        return none, none
    n = len(found)
    graph = coo_matrix((np.ones(near.nnz), (near.row, near.col + n)), shape=(n + len(true),) * 2)
    _, label = connected_components(graph, directed=False)
    group = label[near.row]
    order = np.argsort(group, kind="stable")
    pairs: list[tuple[int, int]] = []
    for part in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if len(part) == 1:
            pairs.append((near.row[part[0]], near.col[part[0]]))
            continue
        rows, r = np.unique(near.row[part], return_inverse=True)
        cols, c = np.unique(near.col[part], return_inverse=True)
        cost = np.full((len(rows), len(cols)), 1e6)
        cost[r, c] = near.data[part]
        for i, j in zip(*linear_sum_assignment(cost), strict=True):
            if cost[i, j] < 1e6:
                pairs.append((rows[i], cols[j]))
    a, b = np.array(pairs, int).reshape(-1, 2).T
    return a, b


def score(
    found: np.ndarray, true: np.ndarray, radius: float, shape: tuple[int, int], margin: float
) -> Score:
    """Compare positions one to one; what lies within `margin` of the border does not count.

    A column inside of the margin may still pair with one outside, so that nothing is
    counted as wrong only because the border cuts between the two.
    """
    a, b = match(found, true, radius)

    def inner(p: np.ndarray) -> np.ndarray:
        if not len(p):
            return np.zeros(0, bool)
        return np.all((p >= margin) & (p <= np.asarray(shape) - 1 - margin), axis=1)

    in_found, in_true = inner(found), inner(true)
    paired_found, paired_true = np.zeros(len(found), bool), np.zeros(len(true), bool)
    paired_found[a], paired_true[b] = True, True
    return Score(
        hits=int((in_true & paired_true).sum()),
        missed=int((in_true & ~paired_true).sum()),
        false=int((in_found & ~paired_found).sum()),
    )
