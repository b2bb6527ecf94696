"""Rigid drift of a movie from its pixels: images registered on each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from napari_atomlens import arrays
from napari_atomlens.image import Pixels, recorded
from napari_atomlens.progress import ProgressLike, as_progress

#: Blur of images that are registered on their pixels; the next one where they are less alike
#: than CLEAN after it.
BLURS, CLEAN = (1.0, 3.0), 0.8


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
    stack: Pixels,
    frames: Sequence[int] | None = None,
    *,
    reach_px: float = 0.0,
    progress: ProgressLike = None,
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
    watch = as_progress(progress)
    total, before = np.zeros(2), None
    for done, f in enumerate(order):
        image = np.array(stack[f], float)
        there = recorded(image)
        image = arrays.bridge(image, there) if there.any() else np.nan_to_num(image)
        score = 1.0
        if before is not None:
            step, score = register(before, image, np.zeros(2), reach)
            total = total + step
        rows.append((f, total[0], total[1], score))
        before = image
        watch(done + 1, len(order))
    return pd.DataFrame(rows, columns=["frame", "drift_y_px", "drift_x_px", "score"])
