"""Arrays of numbers: spread, maxima, parabolas through peaks, autocorrelation; no file, no atom."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi


def peak_positions(centre: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Local maxima of a map with a parabola's sub-pixel part.

    Parameters
    ----------
    centre : ndarray, shape (h, w)
        Positive numbers; the parabola goes through their logarithms.
    threshold : float
        Maxima up to this height are left out.

    Returns
    -------
    positions : ndarray, shape (n, 2)
        (y, x), in the order of the rows.
    heights : ndarray, shape (n,)
    """
    c = np.asarray(centre)
    top = ndi.maximum_filter(c, 3, mode="constant", cval=-np.inf)
    y, x = np.nonzero((c == top) & (c > threshold))
    padded = np.pad(np.log(np.maximum(c, 1e-4)), 1, mode="edge")
    here = padded[y + 1, x + 1]
    offsets = []
    for up, down in (
        (padded[y, x + 1], padded[y + 2, x + 1]),
        (padded[y + 1, x], padded[y + 1, x + 2]),
    ):
        curvature = up + down - 2 * here
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.where(curvature < -1e-6, 0.5 * (up - down) / curvature, 0.0)
        offsets.append(np.clip(shift, -0.5, 0.5))
    return np.c_[y + offsets[0], x + offsets[1]], c[y, x]
