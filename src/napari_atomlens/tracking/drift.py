"""Rigid drift of the sample between frames, from the atoms and from the pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_atomlens.tables import need_columns

#: Fewer atoms than this that go together are no drift, they are atoms that move.
FEWEST = 8
#: The same drift carries at least this part of the atoms, else shifts are voted on.
AGREE = 0.55
#: Blur of images that are registered on their pixels; the next one where they are less alike
#: than CLEAN after it.
BLURS, CLEAN = (1.0, 3.0), 0.8


def vote(
    before: np.ndarray, after: cKDTree, guess: np.ndarray, reach: float, bin_px: float
) -> np.ndarray | None:
    """Shift that most pairs of points agree on, the one nearest to `guess` of equal ones.

    A lattice fits onto itself at every lattice vector, with some votes lost at the border;
    of shifts with at least 0.8 of the most votes the one nearest to the guess is taken.
    """
    near = after.query_ball_point(before + guess, reach)
    counts = np.fromiter((len(v) for v in near), int, len(near))
    if not counts.sum():
        return None
    j = np.concatenate([np.asarray(v, int) for v in near if v])
    d = after.data[j] - np.repeat(before, counts, axis=0) - guess
    n = int(np.ceil(2 * reach / bin_px)) + 1
    edges = np.linspace(-reach, reach, n)
    votes, _, _ = np.histogram2d(d[:, 0], d[:, 1], bins=[edges, edges])
    padded = np.pad(votes, 1)
    m = len(votes)
    votes = np.sum([padded[a : a + m, b : b + m] for a in range(3) for b in range(3)], axis=0)
    middle = 0.5 * (edges[1:] + edges[:-1])
    good = np.argwhere(votes >= 0.8 * votes.max())
    places = middle[good]
    best = places[np.argmin((places**2).sum(1))]
    close = np.hypot(*(d - best).T) < 2 * bin_px
    return guess + (np.median(d[close], axis=0) if close.any() else best)


def common_shift(
    before: np.ndarray, after: cKDTree, guess: np.ndarray, spacing: float
) -> tuple[np.ndarray, float]:
    """Shift that carries most of the points of one frame onto those of the next.

    Parameters
    ----------
    before : ndarray, shape (n, 2)
        Positions in one frame.
    after : cKDTree
        Of the positions in the next.
    guess : ndarray, shape (2,)
        First guess, right within half of the distance between nearest points.
    spacing : float
        Distance between nearest points.

    Returns
    -------
    shift : ndarray, shape (2,)
        `guess`, where too few points agree.
    error : float
        Standard error of the shift per axis, NaN where it is the guess.
    """
    if len(before) < FEWEST or after.n < FEWEST or not np.isfinite(spacing):
        return guess, float("nan")
    shift = guess
    for attempt in range(2):
        moved = np.zeros(2)
        for _ in range(2):
            gap, j = after.query(before + shift, distance_upper_bound=0.5 * spacing)
            seen = np.isfinite(gap)
            if seen.sum() < FEWEST:
                break
            d = after.data[j[seen]] - before[seen]
            middle = np.median(d, axis=0)
            off = np.hypot(d[:, 0] - middle[0], d[:, 1] - middle[1])
            close = off < max(3 * float(np.median(off)), 1e-9)
            tight = (off < 0.17 * spacing).mean() * seen.mean()
            moved, shift = d[close].mean(axis=0) - shift, d[close].mean(axis=0)
            if np.abs(moved).max() < 0.08 * spacing:  # the partners would be the same
                break
        if seen.sum() >= FEWEST and (tight >= AGREE or attempt):
            spread = float(np.sqrt(np.mean((d[close] - shift) ** 2)))
            good = tight >= 0.3
            return (shift, spread / np.sqrt(close.sum())) if good else (guess, float("nan"))
        if attempt:
            break
        # a wrong shift also finds partners, but all over the place
        voted = vote(before, after, guess, 2.2 * spacing, 0.1 * spacing)
        if voted is None:
            break
        shift = voted
    return guess, float("nan")


def estimate_drift(atoms: pd.DataFrame, guess: pd.DataFrame | None = None) -> pd.DataFrame:
    """Rigid drift of a movie, from the atoms.

    Every frame is laid onto the mean of the frames before it, so that errors do not add up
    along the movie where a lattice stays in view.

    Parameters
    ----------
    atoms : pandas.DataFrame
        With ``frame``, ``y_px`` and ``x_px``.
    guess : pandas.DataFrame, optional
        Drift known from elsewhere (:func:`image_drift`), right within half a spacing.

    Returns
    -------
    pandas.DataFrame
        Per frame: ``frame``, ``drift_y_px``, ``drift_x_px`` relative to the first frame, and
        ``drift_err_px``, the standard error of the last step per axis (NaN where the drift
        could not be found and the movement of the frames before was continued).
    """
    from napari_atomlens.tracking.linking import LinkParams, link_arrays, prepare

    table = prepare(atoms)
    return link_arrays(table, LinkParams(motion="last"), guess).drift


def remove_drift(table: pd.DataFrame, drift: pd.DataFrame) -> pd.DataFrame:
    """Add ``y_corr_px`` and ``x_corr_px``, the positions less the drift; raw ones stay."""
    need_columns(table, ("frame", "y_px", "x_px"), "atoms")
    need_columns(drift, ("frame", "drift_y_px", "drift_x_px"), "drift")
    at = drift.set_index("frame").reindex(table["frame"])
    return table.assign(
        y_corr_px=table["y_px"].to_numpy() - at["drift_y_px"].to_numpy(),
        x_corr_px=table["x_px"].to_numpy() - at["drift_x_px"].to_numpy(),
    )


def register(
    one: np.ndarray, two: np.ndarray, guess: np.ndarray, reach: float
) -> tuple[np.ndarray, float]:
    """Shift from image `one` to image `two`, below a pixel.

    The peak of the phase correlation within `reach` of the guess, and from there least
    squares on the pixels (Lucas and Kanade, 1981).

    Returns
    -------
    shift : ndarray, shape (2,)
    score : float
        Correlation of the overlapping parts once shifted, -1 to 1.
    """
    from scipy import fft, ndimage

    shape = one.shape
    window = np.outer(np.hanning(shape[0] + 2)[1:-1], np.hanning(shape[1] + 2)[1:-1])
    a, b = ((v - v.mean()) * window for v in (one, two))
    product = np.conj(fft.rfft2(a)) * fft.rfft2(b)
    # a square root of whitening: a lattice keeps its peaks, a gradient does not hide them
    correlation = fft.irfft2(product / np.sqrt(np.maximum(np.abs(product), 1e-12)), s=shape)
    lags = [fft.fftfreq(n, 1 / n) for n in shape]
    far = np.hypot(lags[0][:, None] - guess[0], lags[1][None] - guess[1]) > reach
    correlation[far] = -np.inf
    k = np.unravel_index(int(np.argmax(correlation)), shape)
    shift = np.array([lags[0][k[0]], lags[1][k[1]]])
    score = 0.0
    # noise that is interpolated becomes smaller, which pulls to half pixels: where the images
    # are noisy they are blurred more, to about the width of a column
    for blur in BLURS:
        smooth = [ndimage.gaussian_filter(v.astype(float), blur) for v in (one, two)]
        shift, score = _refine_shift(smooth[0], smooth[1], shift)
        if score > CLEAN:
            break
    return shift, score


def _refine_shift(one: np.ndarray, two: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, float]:
    """Least squares on the pixels from a first guess: the shift, and how alike both are then."""
    from scipy import ndimage

    gradient = np.stack(np.gradient(two), -1)
    rim, score = 4, 0.0
    for _ in range(20):
        low = [int(max(0, np.ceil(-s))) + rim for s in shift]
        high = [int(min(n, np.floor(n - s))) - rim for n, s in zip(one.shape, shift, strict=True)]
        if min(h - w for h, w in zip(high, low, strict=True)) < 16:
            break
        part = tuple(slice(w, h) for w, h in zip(low, high, strict=True))
        grid = np.mgrid[part].astype(float) + shift[:, None, None]
        moved = ndimage.map_coordinates(two, grid, order=1)
        g = np.stack(
            [ndimage.map_coordinates(gradient[..., k], grid, order=1) for k in (0, 1)], -1
        ).reshape(-1, 2)
        target = one[part]
        difference = (target - target.mean()) - (moved - moved.mean())
        step = np.linalg.lstsq(g - g.mean(0), difference.ravel(), rcond=None)[0]
        score = float(np.corrcoef(target.ravel(), moved.ravel())[0, 1])
        shift = shift + np.clip(step, -1, 1)
        if np.hypot(*step) < 1e-3:
            break
    return shift, score


def image_drift(
    stack: Any,
    frames: Sequence[int] | None = None,
    *,
    reach_px: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Rigid drift of a movie, from the pixels.

    Parameters
    ----------
    stack : array-like, shape (T, H, W)
        Frames are read one at a time.
    frames : sequence of int, optional
        Which frames, in order; all by default.
    reach_px : float
        Largest step between frames; 0 takes an eighth of the shorter side. A perfect lattice
        can be told from itself only up to half of its period.
    progress : callable, optional
        Called with (frames done, frames in all).

    Returns
    -------
    pandas.DataFrame
        As :func:`estimate_drift`, with ``score``, the correlation of each frame with the one
        before once shifted.
    """
    order = list(range(stack.shape[0])) if frames is None else [int(f) for f in frames]
    reach = reach_px or min(stack.shape[-2:]) / 8
    rows: list[tuple[int, float, float, float]] = []
    total, before = np.zeros(2), None
    for done, f in enumerate(order):
        image = np.nan_to_num(np.asarray(stack[f], float))
        score = 1.0
        if before is not None:
            step, score = register(before, image, np.zeros(2), reach)
            total = total + step
        rows.append((f, total[0], total[1], score))
        before = image
        if progress:
            progress(done + 1, len(order))
    return pd.DataFrame(rows, columns=["frame", "drift_y_px", "drift_x_px", "score"])
