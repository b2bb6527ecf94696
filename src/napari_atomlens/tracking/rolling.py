"""Low dose: sums of neighbouring frames, laid onto each other, show what a single one hides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_atomlens.image import Pixels
from napari_atomlens.tracking.register import register

#: Windows that are tried, one after the other, each about twice as long as the last.
WINDOWS = (1, 3, 7, 15, 31, 63)
#: A longer window must show this part more than a shorter one to be worth its blur.
WORTH = 0.02
#: Frames that correlate less than this once shifted are added as they are.
ALIKE = 0.05


def rolling_mean(stack: Pixels, frame: int, window: int) -> np.ndarray:
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
    mean = (total / count).astype(np.float32)
    if count > 2:  # the first steps were measured between single frames: all of them once more
        step, score = register(mean, centre, np.zeros(2), reach)
        if score > ALIKE and np.hypot(*step) < reach:
            mean = moved(mean, step, order=1, mode="nearest")
    return mean


def choose_window(stack: Pixels, certainty: Callable[[np.ndarray], float]) -> int:
    """How many frames must be summed so that more of them would show nothing more.

    The dose decides: frames with plenty of it need no neighbours, and a window longer than it
    must be blurs what moves.

    Parameters
    ----------
    stack : array-like, shape (T, H, W)
    certainty : callable
        How much is found for sure in an image, such as the number of atoms; any unit.

    Returns
    -------
    int
        One of :data:`WINDOWS`; 1 where nothing is found with any window.
    """
    n = int(stack.shape[0])
    middle = n // 2
    tried = [w for w in WINDOWS if w <= n]
    found: list[float] = []
    for window in tried:
        found.append(float(certainty(rolling_mean(stack, middle, window))))
        # two windows that show no more than the one before them: the top is reached
        if len(found) > 2 and max(found[-2:]) <= (1 + WORTH) * max(found[:-2]) > 0:
            break
    top = max(found, default=0.0)
    if not top > 0:
        return 1
    return next(w for w, v in zip(tried, found, strict=False) if v >= top / (1 + WORTH))
