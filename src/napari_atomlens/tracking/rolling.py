"""Low dose: sums of neighbouring frames, laid onto each other, show what a single one hides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_atomlens import arrays
from napari_atomlens.image import Pixels, recorded
from napari_atomlens.tracking.register import register

#: Windows that are tried, one after the other, each about twice as long as the last.
WINDOWS = (1, 3, 7, 15, 31, 63)
#: A longer window must show this part more than a shorter one to be worth its blur.
WORTH = 0.02
#: Frames that correlate less than this once shifted are added as they are.
ALIKE = 0.05
#: A pixel of a sum of which less than this part of one frame was recorded was not.
LEAST_WEIGHT = 0.5


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
        Not-a-number where no frame was recorded.
    """
    from scipy.ndimage import shift as moved

    n = int(stack.shape[0])
    width = min(int(window), n)
    first = min(max(frame - width // 2, 0), n - width)
    centre, weight = _bridged(stack, frame)
    total, count = centre * weight, 1
    reach = max(4.0, min(centre.shape[-2:]) / 16)
    for side in (range(frame - 1, first - 1, -1), range(frame + 1, first + width)):
        # outwards, each against the sum so far: it is less noisy than any single frame
        at = np.zeros(2)
        for f in side:
            image, there = _bridged(stack, f)
            step, score = register(_mean(total, weight), image, at, reach)
            if score > ALIKE and np.hypot(*(step - at)) < reach:
                at = step
            total += moved(image * there, -at, order=1, mode="nearest")
            whole = bool(there.all())
            weight += there if whole else moved(there, -at, order=1, mode="nearest")
            count += 1
    mean, known = _mean(total, weight), weight >= LEAST_WEIGHT
    if count > 2:  # the first steps were measured between single frames: all of them once more
        step, score = register(mean, centre.astype(np.float32), np.zeros(2), reach)
        if score > ALIKE and np.hypot(*step) < reach:
            mean = moved(mean, step, order=1, mode="nearest")
            if not known.all():
                known = moved(known.astype(float), step, order=1, mode="nearest") > 0.5
    return mean if known.all() else np.where(known, mean, np.float32(np.nan))


def _bridged(stack: Pixels, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame without gaps, and 1.0 where it was recorded, 0.0 elsewhere; both float64."""
    image = np.array(stack[frame], np.float32)
    there = recorded(image)
    if there.any():
        arrays.bridge(image, there)
    else:
        image[:] = 0
    return image.astype(float), there.astype(float)


def _mean(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted mean, float32, bridged where no frame was recorded."""
    known = weight >= LEAST_WEIGHT
    mean = (total / np.where(known, weight, 1.0)).astype(np.float32)
    return mean if known.all() or not known.any() else arrays.bridge(mean, known)


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
