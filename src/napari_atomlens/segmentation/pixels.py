"""From whatever a user has to one clean frame of real numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_atomlens import arrays
from napari_atomlens.errors import ImageError
from napari_atomlens.image import as_pixels, grey, recorded

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


SMALLEST_PX = 16


def as_frame(image: ArrayLike) -> np.ndarray:
    """Check one image and return it as finite float32; see :func:`frame_and_mask`."""
    return frame_and_mask(image)[0]


def recorded_box(image: ArrayLike) -> np.ndarray:
    """Return the smallest part of a frame that holds all that was recorded of it."""
    frame, there = frame_and_mask(image)
    return frame if there is None else np.ascontiguousarray(frame[arrays.box_of(there)])


def frame_and_mask(image: ArrayLike) -> tuple[np.ndarray, np.ndarray | None]:
    """Check one image, return it as finite float32, and say what of it was recorded.

    What was not (see :func:`napari_atomlens.image.recorded`) is filled with the mirror image of
    what lies beside it.

    Parameters
    ----------
    image : array-like, shape (H, W), or (H, W, 3 or 4) for colour pictures of grey images
        Any real number type.

    Returns
    -------
    frame : ndarray of float32, shape (H, W)
    recorded : ndarray of bool, shape (H, W), or None
        None where all of it was recorded.

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
    there = recorded(frame)
    if not there.any():
        raise ImageError("The image holds no finite number.")
    known = frame if there.all() else frame[there]
    if known.max() == known.min():
        raise ImageError("The image is constant: every pixel has the same value.")
    if there.sum() < SMALLEST_PX**2 or min(there.any(axis).sum() for axis in (0, 1)) < SMALLEST_PX:
        raise ImageError(
            f"Only {100 * there.mean():.1g} % of the image was recorded; at least "
            f"{SMALLEST_PX} x {SMALLEST_PX} pixels are needed."
        )
    frame = arrays.bridge(frame, there)
    # huge ranges would lose everything in float32: bring the bulk to order one
    sample = frame[:: max(1, frame.shape[0] // 512), :: max(1, frame.shape[1] // 512)]
    low, high = np.percentile(sample.astype(np.float64), [1, 99])
    if high <= low:
        low, high = frame.min(), frame.max()
    if high - low > 1e30 or abs(low) > 1e5 * (high - low) or high - low < 1e-20:
        with np.errstate(over="ignore"):
            frame = np.clip((frame - low) / (high - low), -1e6, 1e6)
    return frame.astype(np.float32), None if there.all() else there
