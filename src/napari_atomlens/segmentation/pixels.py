"""From whatever a user has to one clean frame of real numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy

from napari_atomlens.errors import ImageError
from napari_atomlens.image import as_pixels, grey

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


SMALLEST_PX = 16


def as_frame(image: ArrayLike) -> np.ndarray:
    """Check one image and return it as finite float32.

    Not-a-number and infinite pixels take the value of the nearest finite pixel.

    Parameters
    ----------
    image : array-like, shape (H, W), or (H, W, 3 or 4) for colour pictures of grey images
        Any real number type.

    Returns
    -------
    ndarray of float32, shape (H, W)

    Raises
    ------
    ImageError
        With one sentence that says what is wrong.
    """
    array = as_pixels(image)
    if array.ndim == 3 and array.shape[-1] in (3, 4) and min(array.shape[:2]) >= SMALLEST_PX:
        array = grey(array)
    if array.ndim != 2:
        raise ImageError(f"One frame must have two dimensions, but this has {array.ndim}.")
    if array.size == 0:
        raise ImageError("The image is empty.")
    if min(array.shape) < SMALLEST_PX:
        raise ImageError(
            f"The image has {array.shape[0]} x {array.shape[1]} pixels; "
            f"at least {SMALLEST_PX} x {SMALLEST_PX} are needed."
        )
    # single precision holds the pixels of every detector; wider types are kept for now
    narrow = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    frame = array.astype(np.float32 if narrow else np.float64)
    bad = ~np.isfinite(frame)
    if bad.all():
        raise ImageError("The image holds no finite number.")
    if bad.any():
        where = scipy.ndimage.distance_transform_edt(
            bad, return_distances=False, return_indices=True
        )
        frame = frame[tuple(where)]
    if frame.max() == frame.min():
        raise ImageError("The image is constant: every pixel has the same value.")
    # huge ranges would lose everything in float32: bring the bulk to order one
    sample = frame[:: max(1, frame.shape[0] // 512), :: max(1, frame.shape[1] // 512)]
    low, high = np.percentile(sample.astype(np.float64), [1, 99])
    if high <= low:
        low, high = frame.min(), frame.max()
    if high - low > 1e30 or abs(low) > 1e5 * (high - low) or high - low < 1e-20:
        with np.errstate(over="ignore"):
            frame = np.clip((frame - low) / (high - low), -1e6, 1e6)
    return frame.astype(np.float32)
