"""Forward and backward trace of one scan, compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy

from napari_atomlens import arrays
from napari_atomlens.errors import ImageError
from napari_atomlens.stm.background import (
    bridged,
    finite_image,
    level_lines,
    subtract_facet,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Comparison:
    """What two traces of one scan agree on.

    Attributes
    ----------
    shift_px : tuple of float
        (y, x) by which the backward trace must be moved onto the forward one.
    correlation : float
        Of the levelled traces after the shift, -1 to 1.
    noise : float
        Standard deviation of the noise of one trace, in units of the image.
    mean : ndarray, shape (H, W)
        Mean of both, levelled; NaN where the shift leaves nothing.
    difference : ndarray, shape (H, W)
        Forward minus shifted backward.
    disagree : ndarray of bool, shape (H, W)
        Where the two differ by more than five robust spreads: tip changes, moved adsorbates.
    """

    shift_px: tuple[float, float]
    correlation: float
    noise: float
    mean: np.ndarray
    difference: np.ndarray
    disagree: np.ndarray


def compare_traces(forward: ArrayLike, backward: ArrayLike) -> Comparison:
    """Compare the forward with the backward trace of a scan, both the right way round.

    Raises
    ------
    ImageError
        If they are not of one shape, or constant.
    """
    a, b = finite_image(forward), finite_image(backward)
    if a.shape != b.shape:
        raise ImageError(f"The traces have {a.shape} and {b.shape} pixels; they must be alike.")
    from skimage.registration import phase_cross_correlation

    a, b = (level_lines(subtract_facet(bridged(t)), "median") for t in (a, b))
    if a.std() == 0 or b.std() == 0:
        raise ImageError("A trace is constant; there is nothing to compare.")
    window = np.hanning(a.shape[0])[:, None] * np.hanning(a.shape[1])[None]
    smooth = [scipy.ndimage.gaussian_filter(t, 1.0) for t in (a, b)]
    # without normalisation: noise has no say in the shift
    coarse, _, _ = phase_cross_correlation(
        smooth[0] * window, smooth[1] * window, upsample_factor=50, normalization=None
    )
    shift = (float(coarse[0]), float(coarse[1]))
    moved = scipy.ndimage.shift(b, shift, order=3, mode="constant", cval=np.nan)
    both = np.isfinite(moved)
    if both.sum() < 16:
        raise ImageError("The traces do not overlap.")
    difference = a - moved
    difference -= np.nanmedian(difference)
    spread = 1.4826 * float(np.nanmedian(np.abs(difference)))
    smoothed = scipy.ndimage.gaussian_filter(np.where(both, difference, 0), 1.0)
    local = arrays.spread(smoothed, centre=0.0) or 1.0
    return Comparison(
        shift, float(np.corrcoef(a[both], moved[both])[0, 1]), spread / np.sqrt(2),
        np.where(both, (a + moved) / 2, np.nan), difference, (np.abs(smoothed) > 5 * local) & both,
    )  # fmt: skip
