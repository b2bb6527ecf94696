"""A region that is two crystals: one lies on the other, and its cell is a little larger.

Rows go on from one to the other, so that a region grows over both. What tells is the size of the
cell: of one crystal it is the same everywhere or changes little by little, of two it has two
values. One that is strained only across the interface is the same crystal (a layer that was grown
on it): there the strain is what one wants to know.
"""

from __future__ import annotations

import numpy as np
import scipy

from napari_atomlens import arrays
from napari_atomlens.lattice.grain import Grain, SiteGrid

#: Atoms that are looked at, and those round each over which the cell is averaged.
SAMPLE, AROUND = 500, 24
#: Least difference of the cells (lengths), and over the spread of each.
LEAST_CHANGE, LEAST_RATIO = 0.012, 8.0
#: Either crystal has at least this share of the atoms.
LEAST_SHARE = 0.06


def two_crystals(points: np.ndarray, grains: list[Grain]) -> np.ndarray | None:
    """Which of two crystals each atom belongs to, shape (n,), None where no region holds two."""
    for grain in grains:
        if len(grain.rows) < 100:
            continue
        found = _sides(grain, points[grain.rows])
        if found is not None:
            places, side = found
            return np.asarray(side[scipy.spatial.cKDTree(places).query(points)[1]])
    return None


def _sides(grain: Grain, position: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Places spread over a region, and which of two crystals is there (0 or 1)."""
    rng = np.random.default_rng(0)
    n = len(position)
    chosen = rng.choice(n, min(SAMPLE, n), replace=False)
    k = min(AROUND, n)
    near = scipy.spatial.cKDTree(position).query(position[chosen], k=k)[1]
    used, back = np.unique(near, return_inverse=True)
    shape = _shapes(grain, position, used)[back].reshape(len(chosen), k, 3)
    known = np.isfinite(shape).all(2).sum(1) >= 6
    places, near = position[chosen[known]], near[known]
    if known.sum() < 40:
        return None
    shape = np.nanmean(shape[known], axis=1)
    typical = np.median(shape, axis=0)
    scale = np.sqrt(typical[0] * typical[1])
    strain = (shape - typical) / scale / np.array([2, 2, 1])
    # along the direction in which they differ most
    values = strain @ np.linalg.svd(strain - strain.mean(0), full_matrices=False)[2][0]
    middle = 0.5 * (values.min() + values.max())
    for _ in range(12):
        high = values > middle
        if not LEAST_SHARE < high.mean() < 1 - LEAST_SHARE:
            return None
        levels = [float(np.median(values[high == s])) for s in (False, True)]
        middle = 0.5 * (levels[0] + levels[1])
    high = values > middle
    spread = max(arrays.spread(values[high == s], centre=levels[int(s)]) for s in (False, True))
    apart = levels[1] - levels[0]
    if apart < LEAST_CHANGE or apart < LEAST_RATIO * spread:
        return None
    change = np.median(shape[high], axis=0) - np.median(shape[~high], axis=0)
    if abs(_along_interface(grain, places, high, change)) < LEAST_CHANGE:
        return None  # strained, but as wide as the other: one crystal
    # single places of the other kind are noise
    votes = scipy.spatial.cKDTree(places).query(places, k=7)[1]
    return places, (high[votes].mean(1) > 0.5).astype(int)


def _along_interface(
    grain: Grain, places: np.ndarray, high: np.ndarray, change: np.ndarray
) -> float:
    """How much longer the cells of one side are along the line between the two sides."""
    design = np.c_[places - places.mean(0), np.ones(len(places))]
    across = np.linalg.lstsq(design, 2.0 * high - 1, rcond=None)[0][:2]
    line = np.array([-across[1], across[0]]) / max(float(np.linalg.norm(across)), 1e-12)
    a, b = line @ np.linalg.inv(grain.cell)
    return float(change @ [a * a, b * b, 2 * a * b]) / 2


def _shapes(grain: Grain, position: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Metric (a a, b b, a b) of the cell at some atoms, NaN where it is not known, shape (k, 3)."""
    grid = SiteGrid(grain.cells, grain.sublattice, len(grain.basis))
    vectors = []
    for step in ((1, 0), (0, 1)):
        one, other = (
            grid.find(grain.cells[rows] + sign * np.array(step), grain.sublattice[rows])
            for sign in (1, -1)
        )
        ahead = np.where((one >= 0)[:, None], position[one] - position[rows], np.nan)
        behind = np.where((other >= 0)[:, None], position[rows] - position[other], np.nan)
        both = 0.5 * (ahead + behind)
        both = np.where(np.isfinite(both), both, np.where(np.isfinite(ahead), ahead, behind))
        vectors.append(both)
    a, b = vectors
    return np.stack([(a * a).sum(1), (b * b).sum(1), (a * b).sum(1)], -1)
