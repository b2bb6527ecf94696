"""What the scan does to coordinates: slow shear and stretch of frames, and jitter of rows.

Atoms that sit still tell it: what they all do together in a frame, as a linear function of
place, is distortion of the frame; what atoms in the same scan rows do together is jitter of
those rows. An atom is never corrected by its own reading.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from napari_atomlens import arrays
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.tables import need_columns

#: Correlation length of the jitter felt by columns, over their width: each column averages
#: the rows that it covers, and two columns share rows while they are about this far apart.
ROW_LENGTH = 1.15
#: Rows are corrected where the shared jitter stands out of its own error this clearly.
CLEAR = 5.0


def site_means(values: np.ndarray, who: np.ndarray) -> np.ndarray:
    """Mean over all frames of each track, for each of its rows; shape as `values`."""
    count = np.bincount(who)
    return np.stack([(np.bincount(who, v) / np.maximum(count, 1))[who] for v in values.T], axis=1)


def _affine(off: np.ndarray, place: np.ndarray, group: np.ndarray, n: int) -> np.ndarray:
    """Linear part of the offsets of every frame by least squares, clipped once; (rows, 2)."""
    middle = np.median(place, axis=0)
    scale = max(float(place.std()), 1e-9)
    basis = np.c_[np.ones(len(place)), (place - middle) / scale]
    weight = np.ones(len(place))
    out = np.zeros_like(off)
    for _ in range(2):
        normal = np.zeros((n, 3, 3))
        right = np.zeros((n, 3, 2))
        for p in range(3):
            for q in range(3):
                normal[:, p, q] = np.bincount(
                    group, weight * basis[:, p] * basis[:, q], minlength=n
                )
            for c in range(2):
                right[:, p, c] = np.bincount(group, weight * basis[:, p] * off[:, c], minlength=n)
        # a frame of few atoms has no shear: pulled to zero by the weight of two atoms
        ridge = np.diag([1e-9, 2.0, 2.0])
        solution = np.linalg.solve(normal + ridge, right)
        out = np.einsum("rp,rpc->rc", basis, solution[group])
        rest = np.abs(off - out)
        limit = 4 * 1.4826 * np.median(rest, axis=0)
        weight = (rest <= np.maximum(limit, 1e-12)).all(1).astype(float)
    return out


def row_jitter(
    y: np.ndarray, off: np.ndarray, group: np.ndarray, noise: np.ndarray, length: float
) -> tuple[np.ndarray, float]:
    """Shift that atoms in the same rows share, for each atom from all the others.

    A Gaussian process in y with the correlation length of the columns, its strength from the
    products of the offsets of neighbours in y; leave-one-out prediction in closed form
    (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4.2).

    Parameters
    ----------
    y, off : ndarray, shape (n,)
        Row of each atom and its offset along x.
    group : ndarray of int, shape (n,)
        Frame of each, 0 to n_frames - 1.
    noise : ndarray, shape (n,)
        Error of each offset.
    length : float
        Correlation length in pixels.

    Returns
    -------
    shift : ndarray, shape (n,)
        Zero where there is no clear jitter.
    strength : float
        Rms jitter of a column in pixels.
    """
    order = np.lexsort((y, group))
    starts = np.r_[0, np.flatnonzero(np.diff(group[order])) + 1, len(order)]
    parts = [order[a:b] for a, b in itertools.pairwise(starts)]
    limit = 5 * arrays.spread(off, centre=0.0)
    clipped = np.clip(off, -limit, limit)
    top, low, squares = 0.0, 0.0, 0.0
    for rows in parts:
        if len(rows) < 4:
            continue
        kernel = np.exp(-0.5 * ((y[rows, None] - y[rows]) / length) ** 2)
        np.fill_diagonal(kernel, 0)
        v = clipped[rows]
        top += float(v @ kernel @ v)
        low += float((kernel**2).sum())
        squares += float((v**2) @ kernel**2 @ (v**2))
    if low <= 0 or squares <= 0:
        return np.zeros(len(off)), 0.0
    variance = top / low
    if variance <= 0 or top < CLEAR * np.sqrt(2 * squares):
        return np.zeros(len(off)), 0.0
    shift = np.zeros(len(off))
    own = np.maximum(noise, 1e-6) ** 2
    for rows in parts:
        if len(rows) < 4:
            continue
        kernel = variance * np.exp(-0.5 * ((y[rows, None] - y[rows]) / length) ** 2)
        inverse = np.linalg.inv(kernel + np.diag(own[rows]))
        shift[rows] = clipped[rows] - (inverse @ clipped[rows]) / np.diag(inverse)
    return shift, float(np.sqrt(variance))


def correct_scan(
    linked: pd.DataFrame,
    *,
    rows: bool = True,
    progress: ProgressLike = None,
) -> pd.DataFrame:
    """Remove drift, slow distortion of the frames and jitter of the scan rows from coordinates.

    Parameters
    ----------
    linked : pandas.DataFrame
        What :func:`napari_atomlens.tracking.link` returned, of atoms that mostly sit still.
    rows : bool
        Also look for jitter of the rows.
    progress : callable, optional
        Called with (stages done, stages in all).

    Returns
    -------
    pandas.DataFrame
        The table with ``y_corr_px`` and ``x_corr_px`` improved; raw ``y_px`` and ``x_px`` stay.
        ``attrs["row_jitter_px"]`` is the rms jitter of a column that was found.
    """
    need_columns(linked, ("frame", "track_id", "y_px", "x_px", "y_corr_px", "x_corr_px"), "tracks")
    tell = as_progress(progress)
    if len(linked) < 12:
        return linked
    frames, group = np.unique(linked["frame"].to_numpy(), return_inverse=True)
    who = np.unique(linked["track_id"].to_numpy(), return_inverse=True)[1]
    often = np.bincount(who)[who] >= max(3, 0.2 * len(frames))
    corrected = linked[["y_corr_px", "x_corr_px"]].to_numpy(float).copy()
    if often.sum() < 12 or len(frames) < 3:
        return linked
    raw_y = linked["y_px"].to_numpy(float)
    noise = np.full(len(linked), np.nan)
    if "x_err_px" in linked:
        noise = linked["x_err_px"].to_numpy(float).copy()
    width = float("nan")
    if "sigma_px" in linked and linked["sigma_px"].notna().any():
        width = float(linked["sigma_px"].median())
    strength = 0.0
    k = np.flatnonzero(often)
    for done in range(3):  # the sites become sharper as the frames do
        site = site_means(corrected[k], who[k])
        off = corrected[k] - site
        linear = _affine(off, site, group[k], len(frames))
        # every row of the frame is corrected, the rare ones by the fit of the others
        every = np.zeros_like(corrected)
        every[k] = linear
        rare = np.flatnonzero(~often)
        if len(rare):
            every[rare] = _frame_mean(linear, group[k], len(frames))[group[rare]]
        corrected -= every
        if rows and np.isfinite(width):
            off = corrected[k] - site_means(corrected[k], who[k])
            spread = arrays.spread(off[:, 1], centre=0.0)
            error = np.where(np.isfinite(noise[k]), noise[k], spread)
            shift, found = row_jitter(raw_y[k], off[:, 1], group[k], error, ROW_LENGTH * width)
            corrected[k, 1] -= shift
            strength = float(np.hypot(strength, found)) if done else found
        tell(done + 1, 3)
    out = linked.assign(y_corr_px=corrected[:, 0], x_corr_px=corrected[:, 1])
    out.attrs["row_jitter_px"] = strength
    return out


def _frame_mean(values: np.ndarray, group: np.ndarray, n: int) -> np.ndarray:
    """Mean of the values of each frame, shape (n, 2): for atoms that had no part in the fit."""
    count = np.maximum(np.bincount(group, minlength=n), 1)
    return np.stack([np.bincount(group, v, minlength=n) / count for v in values.T], axis=1)
