"""Weak maxima between strong columns: tails that meet on hollow sites, no columns."""

from __future__ import annotations

import numpy as np
import scipy

#: A candidate is weak below this share of the strong columns round it.
WEAK = 0.4
#: A lattice of weak ones whose typical height is below this share is one of ghosts.
GHOST = 0.155
#: Strong columns stand round a hollow site within so many spacings of it ...
BESIDE = 1.25
#: ... at least three, with no wider gap than this between their directions.
WIDEST_GAP = np.deg2rad(200.0)
#: Weak ones within so many spacings share one typical height.
AROUND = 5.0


def surrounded(places: np.ndarray, strong: np.ndarray, reach: float) -> np.ndarray:
    """Mask of the places that have at least three strong ones round them, on all sides."""
    out = np.zeros(len(places), bool)
    if len(strong) < 3:
        return out
    k = min(8, len(strong))
    distance, near = scipy.spatial.cKDTree(strong).query(places, k=k, distance_upper_bound=reach)
    there = np.isfinite(distance)
    step = strong[np.where(there, near, 0)] - places[:, None]
    angle = np.where(there, np.arctan2(step[..., 0], step[..., 1]), np.inf)
    angle = np.sort(angle, axis=1)
    count = there.sum(1)
    for n in range(3, k + 1):
        rows = np.flatnonzero(count == n)
        some = angle[rows, :n]
        gaps = np.diff(np.c_[some, some[:, :1] + 2 * np.pi], axis=1)
        out[rows] = gaps.max(1) < WIDEST_GAP
    return out


def ghosts(places: np.ndarray, amplitude: np.ndarray, ok: np.ndarray, spacing: float) -> np.ndarray:
    """Which candidates are weak maxima between columns that are much stronger.

    Parameters
    ----------
    places : ndarray, shape (n, 2)
    amplitude : ndarray, shape (n,)
        Fitted together, so that the tails of neighbours are taken off as far as columns are
        Gaussian.
    ok : ndarray of bool, shape (n,)
        Whose amplitude can be trusted; the others are neither ghosts nor strong.
    spacing : float

    Returns
    -------
    ndarray of bool, shape (n,)

    Notes
    -----
    Tails and rings of real probes meet where strong columns stand on all sides, and make maxima
    of 5 to 15 %. A sublattice of light columns is told from them by its typical height: a single
    chalcogen among pairs, or a dopant in a light sublattice, stays.
    """
    out = np.zeros(len(places), bool)
    trusted = ok & np.isfinite(amplitude)
    if trusted.sum() < 8:
        return out
    tree = scipy.spatial.cKDTree(places[trusted])
    k = min(9, int(trusted.sum()))
    near = tree.query(places, k=k, distance_upper_bound=1.7 * spacing)[1]
    heights = np.r_[amplitude[trusted], np.nan]
    beside = heights[near]
    with np.errstate(invalid="ignore"):
        level = np.sort(np.where(np.isfinite(beside), beside, -np.inf), axis=1)[:, -3]
    weak = trusted & np.isfinite(level) & (amplitude < WEAK * level)
    strong = trusted & ~weak
    if not weak.any():
        return out
    rows = np.flatnonzero(weak)
    rows = rows[surrounded(places[rows], places[strong], BESIDE * spacing)]
    if not len(rows):
        return out
    share = amplitude[rows] / level[rows]
    sets = scipy.spatial.cKDTree(places[rows]).query_ball_point(places[rows], AROUND * spacing)
    typical = np.array([np.median(share[s]) for s in sets])
    out[rows] = typical < GHOST
    return out
