"""Scars: parts of scan lines on which the tip jumped and came back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy

from napari_atomlens import arrays
from napari_atomlens.stm.background import finite_image, line_median

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def find_scars(
    image: ArrayLike, *, threshold: float = 6.0, shortest_px: int = 12, thickest_px: int = 3
) -> np.ndarray:
    """Find scars.

    A scar lies above (or below) both the lines before and after it by more than `threshold`
    robust spreads of such differences, over at least `shortest_px` pixels along the scan.

    Parameters
    ----------
    image : array-like, shape (H, W)
    threshold : float
        In robust standard deviations.
    shortest_px, thickest_px : int
        Shortest length along the scan; most lines that a scar is thick.

    Returns
    -------
    ndarray of bool, shape (H, W)
    """
    z = finite_image(image)
    z = z - line_median(z)[:, None]
    z = np.where(np.isfinite(z), z, 0.0)
    found = np.zeros(z.shape, bool)
    for thick in range(1, min(thickest_px, z.shape[0] // 3) + 1):
        before = np.roll(z, 1, 0)
        before[0] = z[0]
        after = np.roll(z, -thick, 0)
        after[-thick:] = z[-1]
        band = np.stack([np.roll(z, -k, 0) for k in range(thick)])
        for sign in (1.0, -1.0):
            # how far every line of the band is beyond both of its sides
            over = np.minimum(sign * (band - before), sign * (band - after)).min(0)
            over[0] = 0
            over[-thick:] = 0
            spread = arrays.spread(over)
            if spread <= 0:
                spread = np.abs(over).max() / threshold / 2 or 1.0
            # along the scan a scar is long: the noise of single pixels averages out
            run = scipy.ndimage.uniform_filter1d(over, shortest_px // 2, axis=1)
            hot = scipy.ndimage.binary_opening(
                (run > 0.5 * threshold * spread) & (over > 1.5 * spread), np.ones((1, 3))
            )
            hot = scipy.ndimage.binary_closing(hot, np.ones((1, 5)))
            hot = scipy.ndimage.binary_opening(hot, np.ones((1, shortest_px)))
            for k in range(thick):
                found |= np.roll(hot, k, 0)
    # a step or an island is thicker than any scar
    thin = ~scipy.ndimage.binary_opening(found, np.ones((thickest_px + 1, 1)))
    return np.asarray(found & thin)


def remove_scars(image: ArrayLike, scars: np.ndarray | None = None) -> np.ndarray:
    """Bridge scars by the lines before and after them; everything else stays as it is."""
    z = finite_image(image)
    mask = find_scars(z) if scars is None else scars
    if not mask.any() or mask.all(0).any():
        return z
    rows = np.arange(z.shape[0], dtype=float)
    out = z.copy()
    for column in np.flatnonzero(mask.any(0)):
        bad = mask[:, column]
        good = ~bad & np.isfinite(z[:, column])
        if good.any():
            out[bad, column] = np.interp(rows[bad], rows[good], z[good, column])
    return out
