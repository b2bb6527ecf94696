"""Low dose: sums of neighbouring frames, laid onto each other, show what a single one hides."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_atomlens.tracking.drift import register

#: Frames that correlate less than this once shifted are added as they are.
ALIKE = 0.05


def rolling_mean(stack: Any, frame: int, window: int) -> np.ndarray:
    """Mean of the frames round one, each laid onto it.

    Parameters
    ----------
    stack : array-like, shape (T, H, W)
    frame : int
        The frame onto which the others are laid.
    window : int
        How many frames; at the ends of the movie the window slides inwards, so that the dose
        stays the same.

    Returns
    -------
    ndarray of float32, shape (H, W)
    """
    from scipy.ndimage import shift as moved

    n = int(stack.shape[0])
    width = min(int(window), n)
    first = min(max(frame - width // 2, 0), n - width)
    centre = np.nan_to_num(np.asarray(stack[frame], np.float32))
    total, count = centre.astype(float), 1
    reach = max(4.0, min(centre.shape[-2:]) / 16)
    for side in (range(frame - 1, first - 1, -1), range(frame + 1, first + width)):
        # outwards, each against the sum so far: it is less noisy than any single frame
        at = np.zeros(2)
        for f in side:
            image = np.nan_to_num(np.asarray(stack[f], np.float32))
            step, score = register((total / count).astype(np.float32), image, at, reach)
            if score > ALIKE and np.hypot(*(step - at)) < reach:
                at = step
            total += moved(image.astype(float), -at, order=1, mode="nearest")
            count += 1
    return (total / count).astype(np.float32)
