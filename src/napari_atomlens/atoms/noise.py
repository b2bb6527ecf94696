"""Noise of the pixels of a frame: its model, and how it is found from residuals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_atomlens import arrays
from napari_atomlens.atoms.background import strips

#: Least variance of a pixel, in units of the range of the image: even the best images have
#: errors of the model that large, and without it images free of noise have no weights.
LEAST = 1e-6


#: Blocks whose noise is less than this part of that of the columns are quiet.
QUIET = 0.02
#: What a column may have where the model has nothing, over its height.
TAIL = 2e-3
#: Levels of the expected value between which wild pixels are told apart.
LEVELS = 8


class Noise:
    """Variance of a pixel as a + b times its expected value, and weights from it."""

    def __init__(self, a: float, b: float, least: float) -> None:
        self.a, self.b, self.least = a, b, least

    def weight(self, mean: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """One over the variance; outliers beyond 4.5 standard deviations count less."""
        if self.b == 0:
            weight = np.full(mean.shape, np.float32(1 / self.a))
        else:
            variance = np.maximum(mean * np.float32(self.b) + np.float32(self.a), self.least)
            weight = np.float32(1) / variance
        far = np.flatnonzero((residual * residual * weight).ravel() > 20.0)
        if len(far):
            w, r = weight.ravel(), residual.ravel()[far].astype(float)
            deviance: np.ndarray = r**2 * w[far]
            if self.b:
                # of counts: the deviance, which knows that counts are skew
                expected = 1 / (w[far] * self.b**2)
                seen = np.maximum(expected + r / self.b, 0)
                with np.errstate(divide="ignore", invalid="ignore"):
                    log = np.where(seen > 0, seen * np.log(seen / expected), 0)
                deviance = 2 * (log - (seen - expected))
            w[far] *= np.minimum(1, 4.5 / np.sqrt(np.maximum(deviance, 1e-12)))
        return weight


def _most(
    mean: np.ndarray, residual: np.ndarray, valid: np.ndarray | None
) -> Callable[[np.ndarray], np.ndarray]:
    """Largest square of a residual that is no wild pixel, as a function of the expected value.

    One wild pixel must not make a block; but of sparse counts, and where most of the frame is
    empty, the median of all squares knows nothing of the noise of the columns.
    """
    step = max(1, residual.size // 50_000)
    level, square = mean.ravel()[::step].astype(float), residual.ravel()[::step].astype(float) ** 2
    if valid is not None:
        good = valid.ravel()[::step] > 0
        level, square = level[good], square[good]
    if not len(level):
        return lambda values: np.full(values.shape, np.inf, np.float32)
    low, high = np.quantile(level, [0.001, 0.999])
    edges = np.linspace(low, high, LEVELS + 1)[1:-1]
    which = np.searchsorted(edges, level)
    whole = 36 * max(float(np.median(square)) / 0.4549, 0.0)
    limit = np.full(LEVELS, whole)
    for k in range(LEVELS):
        mine = square[which == k]
        if len(mine) >= 40:
            limit[k] = 36 * max(float(np.median(mine)) / 0.4549, float(mine.mean()))
    # a level of few pixels has at least the noise of the one below
    limit = np.maximum.accumulate(limit).astype(np.float32)
    inner = edges.astype(np.float32)
    return lambda values: limit[np.searchsorted(inner, values)]


def find_noise(
    mean: np.ndarray,
    residual: np.ndarray,
    valid: np.ndarray | None,
    typical: float,
    parameters_per_pixel: float,
    *,
    dark: bool = False,
) -> tuple[Noise, np.ndarray]:
    """Estimate variance = a + b mean from the residuals, where the model fits.

    The squares of the residuals are averaged in blocks of a third of a spacing. Regions
    where they are larger than anywhere else at that mean value, such as contamination,
    which no model of columns describes, say nothing about the noise and are left out, and
    so is the border, where columns beyond it may be missing in the model.

    Parameters
    ----------
    mean, residual : ndarray, shape (H, W)
    valid : ndarray, shape (H, W), optional
        0 where the detector was saturated.
    typical : float
        Distance between nearest columns in pixels.
    parameters_per_pixel : float
    dark : bool
        The image holds minus the counts: the variance falls with the mean.

    Returns
    -------
    noise : Noise
    trusted : ndarray of bool, shape (H, W)
        Where the model fits.
    """
    from scipy.ndimage import uniform_filter
    from scipy.optimize import nnls

    side = max(3, round(0.3 * typical))
    h, w = (s // side * side for s in mean.shape)

    def average(image: np.ndarray) -> np.ndarray:
        out = np.empty((h // side, w // side))
        for rows in strips((h, w), side):
            blocks = image[rows, :w].reshape(-1, side, w // side, side)
            out[rows.start // side : rows.stop // side] = blocks.mean(axis=(1, 3))
        return out

    up = -1 if dark else 1
    most = _most(up * mean, residual, valid)
    part = np.ones((h // side, w // side))
    v = np.empty_like(part)
    for rows in strips((h, w), side):
        square = np.minimum(residual[rows] ** 2, most(up * mean[rows]))
        if valid is not None:
            square *= valid[rows]
        square = square[:, :w].reshape(-1, side, w // side, side)
        v[rows.start // side : rows.stop // side] = square.mean(axis=(1, 3))
    if valid is not None:
        part = average(valid)
    rim = max(1, round(0.8 * typical / side))
    inner = np.zeros(part.shape, bool)
    inner[rim : -rim or None, rim : -rim or None] = True
    if inner.sum() < 50:
        inner[:] = True
    m, v = up * average(mean), v / np.maximum(part, 1e-6)
    use = inner & (part > 0.5)
    v = v / max(1 - parameters_per_pixel, 0.3)
    if not use.any():
        return Noise(1.0, 0.0, LEAST), np.ones(mean.shape, bool)
    near = max(3, round(typical / side) | 1)
    # the background in a vacuum is not known to be flat: its least value is no level
    low = float(np.quantile(m[use], 0.1))
    keep, a, b = use.copy(), float(v[use].mean()), 0.0
    for turn in range(6):
        model = np.maximum(a + b * (m - low), 1e-3 * float(v[keep].mean()) + 1e-30)
        if turn:
            # a vacuum has hardly any noise: what is usual there says nothing of the columns
            loud = float(np.sum(model[use] ** 2) / np.sum(model[use]))
            model = np.maximum(model, 0.1 * QUIET * loud)
            quiet = use & (model < QUIET * loud)
            if quiet.sum() > 0.1 * use.sum():
                low = float(np.median(m[quiet]))
            smooth = uniform_filter(np.where(use, v / model, 1.0), near)
            fresh = use.copy()
            for some in (quiet, use & ~quiet):
                middle = float(np.median(smooth[some])) if some.any() else 0.0
                if middle > 0:
                    spread = arrays.spread(smooth[some], centre=middle)
                    fresh &= ~some | (smooth < middle + max(5 * spread, 0.15 * middle))
            if turn > 2 and np.array_equal(fresh, keep):
                break
            keep = fresh if fresh.sum() > 0.1 * use.sum() else keep
        # weighted least squares of two unknowns that are not negative
        weight = 1 / model[keep]
        design = np.stack([weight, weight * (m[keep] - low)])
        normal = np.linalg.cholesky(design @ design.T + 1e-12 * np.eye(2))
        (a, b), _ = nnls(normal.T, np.linalg.solve(normal, design @ (weight * v[keep])))
    overall = float(v[keep].mean())
    trusted = np.ones(mean.shape, bool)
    for rows in strips((h, w), side):
        there = (keep | ~use)[rows.start // side : rows.stop // side]
        trusted[rows, :w] = np.repeat(np.repeat(there, side, axis=0), side, axis=1)
    if b * float(np.ptp(m[keep])) < 0.05 * overall:
        return Noise(max(overall, LEAST), 0.0, LEAST), trusted
    # a is the variance at a low mean value; back to mean value zero
    # a column has a tail that no Gaussian describes: where the model is nothing, not all is
    top = float(np.quantile(m[keep], 0.98)) - low
    least = max(0.3 * a, 1e-3 * overall, TAIL * b * top, LEAST)
    return Noise(a - b * low, up * b, least), trusted


def inflation(
    residual: np.ndarray,
    weight: np.ndarray,
    trusted: np.ndarray,
    positions: np.ndarray,
    sigma: float,
    share: float,
) -> tuple[float, float]:
    """How much larger variances are because the noise of neighbouring pixels goes together.

    Images that were smoothed, resampled or recorded with a slow detector have correlated
    noise: the variance of a score is then the sum over lags of the autocorrelation of the
    noise times that of the derivative of a column, here averaged over both axes. The fit,
    with `share` parameters per pixel, absorbs more of slow noise than of white noise.
    Only pixels where the model is `trusted` count, and what the residuals round all columns
    (at `positions`) have in common is taken off: a profile that is not quite Gaussian is
    wrong in the same way for every column and moves none.

    Returns
    -------
    tuple of float
        By what the residual shows, and by its short waves alone: where columns are two, or lie
        over others, what the model misses goes together as noise does, but no short waves are lost.
    """
    h, w = residual.shape
    # the derivative of a column sums to zero: slow structure, such as a background that the
    # model does not follow, moves no column, but only lags this far show that
    lags = int(np.ceil(4 * sigma))
    if min(h, w) < 4 * lags:
        return 1.0, 1.0
    side = min(256, h, w)
    y, x = (h - side) // 2, (w - side) // 2
    part = slice(y, y + side), slice(x, x + side)
    mask = trusted[part].astype(float)
    if mask.mean() < 0.1:
        return 1.0, 1.0
    white = residual[part] * np.sqrt(weight[part])
    white = white - _common(white, mask, positions - (y, x), lags)
    white = np.clip(white - (white * mask).sum() / mask.sum(), -5, 5) * mask
    n = 1 << int(np.ceil(np.log2(side + lags)))
    lag = np.arange(-lags, lags + 1)

    def autocorrelation(image: np.ndarray) -> np.ndarray:
        return np.fft.irfft2(np.abs(np.fft.rfft2(image, (n, n))) ** 2, (n, n))[lag[:, None], lag]

    pairs = np.maximum(autocorrelation(mask), 1.0)
    correlation = autocorrelation(white) / pairs
    correlation /= max(float(correlation[lags, lags]), 1e-30)
    r2 = (lag[:, None] ** 2 + lag**2) / (4 * sigma**2)
    kernel = (1 - r2) * np.exp(-r2)
    # the scatter of an estimate from so many pixels
    correlation[np.abs(correlation) < 3 / np.sqrt(pairs)] = 0
    left = max(1 - share * float(correlation.sum()), 0.25) / max(1 - share, 0.25)
    sure = smoothed(white, mask, sigma)
    return max(1.0, float((correlation * kernel).sum()) / min(left, 1.0), sure), sure


#: Waves shorter than 2.5 widths of a column: the fit cannot follow them, so that they are noise.
SHORT = 0.4
#: An image is taken for smoothed where long waves are so much stronger than noise of pixels is.
SMOOTHED = 1.3


def smoothed(white: np.ndarray, mask: np.ndarray, sigma: float) -> float:
    """How much stronger the noise is in the waves that move columns than in all pixels.

    What the fit of columns leaves has lost these waves. Those just too short for columns are
    all noise: from their strength and how it falls towards shorter ones, as that of an image
    that was smoothed or enlarged does, follows what the fit took.

    Parameters
    ----------
    white : ndarray, shape (n, n)
        Residual over the standard deviation of a pixel.
    mask : ndarray, shape (n, n)
        1 where it counts.
    sigma : float
        Width of a column in pixels.

    Returns
    -------
    float
        1 where the noise is white.
    """
    first = SHORT / sigma
    if 1.8 * first > 0.5:
        return 1.0
    window = np.hanning(len(white))[:, None] * np.hanning(len(white)) * mask
    power = np.abs(np.fft.rfft2(white * window)) ** 2 / max(float((window**2).sum()), 1e-30)
    square = (
        np.fft.fftfreq(len(white))[:, None] ** 2 + np.fft.rfftfreq(len(white))[None] ** 2
    ) / first**2  # fmt: skip
    strength, where, fewest = [], [], len(white) ** 2
    for low, high in ((1.0, 1.35), (1.35, 1.8)):
        ring = (square >= low**2) & (square < high**2)
        # spots of a lattice must not count: power of noise has a median of log 2
        strength.append(max(float(np.median(power[ring])) / np.log(2), 1e-12))
        where.append(float(square[ring].mean()))
        fewest = min(fewest, int(ring.sum()))
    fall = np.log(strength[0] / strength[1]) / (where[1] - where[0])
    of_columns = 2 / (2 * np.pi * SHORT) ** 2
    there = strength[0] * np.exp(np.clip(fall, 0, 3) * (where[0] - of_columns))
    sure = SMOOTHED + 6 / np.sqrt(fewest)  # the scatter of so few waves
    return float(there) if there > sure and fall > 0 else 1.0


def _common(image: np.ndarray, mask: np.ndarray, positions: np.ndarray, reach: int) -> np.ndarray:
    """Mean of an image round all columns, laid round each of them; (H, W) like the image."""
    from scipy.spatial import cKDTree

    side = image.shape[0]
    rows, cols = np.mgrid[:side, :side].reshape(2, -1)
    distance, which = cKDTree(positions).query(np.c_[rows, cols], distance_upper_bound=reach)
    near = np.isfinite(distance)
    offset = np.rint(np.c_[rows, cols][near] - positions[which[near]]).astype(int) + reach
    width = 2 * reach + 1
    flat = offset[:, 0] * width + offset[:, 1]
    good = mask.ravel()[near]
    total = np.bincount(flat, image.ravel()[near] * good, minlength=width**2)
    count = np.bincount(flat, good, minlength=width**2)
    # a mean of few would take off the noise itself
    mean = np.where(count >= 20, total / np.maximum(count, 1), 0.0)
    out = np.zeros(image.size)
    out[near] = mean[flat]
    return out.reshape(image.shape)
