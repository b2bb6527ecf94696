"""Noise of the pixels of a frame: its model, and how it is found from residuals."""

from __future__ import annotations

import numpy as np

#: Least variance of a pixel, in units of the range of the image: even the best images have
#: errors of the model that large, and without it images free of noise have no weights.
LEAST = 1e-6


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


def _scatter(
    mean: np.ndarray, residual: np.ndarray, valid: np.ndarray | None, rim: int
) -> tuple[np.ndarray, ...]:
    """Mean value, variance and number of pixels in bins of the expected value."""
    h, w = mean.shape
    inner = (slice(None),) * 2
    if min(h, w) > 4 * rim:
        inner = slice(rim, h - rim), slice(rim, w - rim)
    m, r = mean[inner].ravel(), residual[inner].ravel()
    if valid is not None:
        keep = valid[inner].ravel() > 0
        m, r = m[keep], r[keep]
    stride = max(1, m.size // 100_000)
    m, r = m[::stride], r[::stride]
    edges = np.quantile(m, np.linspace(0, 1, 25)[1:-1])
    where = np.searchsorted(edges, m)
    # one wild pixel must not make a bin: clipped at six standard deviations of the bin
    count = np.bincount(where, minlength=24)
    variance = np.bincount(where, r**2, minlength=24) / np.maximum(count, 1)
    cut = np.minimum(r**2, 36 * variance[where])
    variance = np.bincount(where, cut, minlength=24) / np.maximum(count, 1)
    centre = np.bincount(where, m, minlength=24) / np.maximum(count, 1)
    use = (count > 30) & (variance > 0)
    return centre[use], variance[use], count[use]


def find_noise(
    mean: np.ndarray,
    residual: np.ndarray,
    valid: np.ndarray | None,
    rim: int,
    parameters_per_pixel: float,
) -> Noise:
    """Estimate variance = a + b mean from the residuals.

    `rim` pixels along the border are left out: there the columns beyond the border are
    missing in the model.
    """
    centre, variance, count = _scatter(mean, residual, valid, rim)
    variance = variance / max(1 - parameters_per_pixel, 0.3)
    overall = float(np.average(variance, weights=count)) if len(variance) else 1.0
    if len(variance) < 4:
        return Noise(max(overall, LEAST), 0.0, LEAST)
    from scipy.optimize import nnls

    low = float(centre.min())
    model = variance.copy()
    a = b = 0.0
    for _ in range(4):
        weight = np.sqrt(count) / model
        (a, b), _ = nnls(np.c_[weight, weight * (centre - low)], weight * variance)
        model = np.maximum(a + b * (centre - low), 1e-3 * overall)
    if b * float(np.ptp(centre)) < 0.05 * overall:
        return Noise(max(overall, LEAST), 0.0, LEAST)
    # a is the variance at the lowest mean value; back to mean value zero
    return Noise(a - b * low, b, max(0.3 * float(variance.min()), 1e-3 * overall, LEAST))


def inflation(
    residual: np.ndarray, weight: np.ndarray, sigma: float, share: float, lags: int = 4
) -> float:
    """How much larger variances are because the noise of neighbouring pixels goes together.

    Images that were smoothed, resampled or recorded with a slow detector have correlated
    noise: the variance of a score is then the sum over lags of the autocorrelation of the
    noise times that of the derivative of a column, here averaged over both axes. The fit,
    with `share` parameters per pixel, absorbs more of slow noise than of white noise.
    """
    h, w = residual.shape
    if min(h, w) < 8 * lags:
        return 1.0
    side = min(512, h, w)
    y, x = (h - side) // 2, (w - side) // 2
    part = slice(y, y + side), slice(x, x + side)
    white = residual[part] * np.sqrt(weight[part])
    white = np.clip(white - white.mean(), -5, 5)
    n = 1 << int(np.ceil(np.log2(side + lags)))
    power = np.abs(np.fft.rfft2(white, (n, n))) ** 2
    correlation = np.fft.irfft2(power, (n, n))
    lag = np.arange(-lags, lags + 1)
    correlation = correlation[lag[:, None], lag] / max(float(correlation[0, 0]), 1e-30)
    r2 = (lag[:, None] ** 2 + lag**2) / (4 * sigma**2)
    kernel = (1 - r2) * np.exp(-r2)
    # what fitting itself takes out of the residuals makes small negative values
    correlation[np.abs(correlation) < 0.04] = 0
    left = max(1 - share * float(correlation.sum()), 0.25) / max(1 - share, 0.25)
    return max(1.0, float((correlation * kernel).sum()) / min(left, 1.0))
