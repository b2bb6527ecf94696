"""A distance between columns that was given by hand."""

from __future__ import annotations

import numpy as np

from napari_atomlens.errors import CalibrationError

SMALLEST_PX, LARGEST_PX = 3.0, 400.0


def check_spacing(spacing_px: float, shape: tuple[int, ...]) -> float:
    """Return a spacing that was given by hand, 0 where there is none.

    Raises
    ------
    CalibrationError
        If it is not a number, or absurd for an image of this shape.
    """
    if isinstance(spacing_px, bool) or not isinstance(spacing_px, (int, float, np.number)):
        raise CalibrationError(f"The spacing must be a number of pixels, not {spacing_px!r}.")
    if not spacing_px:
        return 0.0
    if not abs(spacing_px) < 1e9:
        raise CalibrationError("The spacing must be a number of pixels that can be meant.")
    largest = min(shape) / 1.5
    if not SMALLEST_PX * 0.66 <= spacing_px <= largest:
        raise CalibrationError(
            f"A spacing of {spacing_px:g} px does not fit an image of {shape[1]} x {shape[0]} px: "
            f"it must lie between 2 and {largest:.0f} px."
        )
    return float(spacing_px)
