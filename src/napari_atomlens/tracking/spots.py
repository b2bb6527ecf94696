"""Foreign atoms of a movie from its pixels: what stands out of the lattice in frame after frame.

A single bright atom in a lattice that noise hides is there to be seen long before any atom of the
lattice is: it is looked for by itself, and followed in the frame of the lattice, whose waves tell
the drift where its atoms do not.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import arrays
from napari_atomlens.image import Pixels, recorded
from napari_atomlens.progress import ProgressLike, as_progress

#: A spot stands out of all local maxima of its frame by so many of their robust standard
#: deviations; its track by more in the middle.
FAINT, CLEAR = 5.0, 7.0
#: Widths (sigma) of spots that are tried, px.
WIDTHS = (2.0, 3.0, 4.5, 6.5)
#: What is as bright in a neighbourhood so many times as wide is no atom.
WIDE = 3.0
EXTENDED = 0.45
#: Spots nearer to the border than this many widths are cut by it.
RIM = 2.0
#: Most spots of a frame: of more none is foreign.
MOST = 12


def _clean(image: np.ndarray) -> np.ndarray:
    there = recorded(image)
    return arrays.bridge(image, there) if there.any() else np.nan_to_num(image)


def _response(image: np.ndarray, sigma: float) -> np.ndarray:
    """How much brighter than its neighbourhood each place is, at a width."""
    near = scipy.ndimage.gaussian_filter(image, sigma)
    return np.asarray(near - scipy.ndimage.gaussian_filter(image, 2.5 * sigma))


def _frame_spots(image: np.ndarray, sigma: float) -> np.ndarray:
    """Spots of a frame: y, x, score, extent; brightest first."""
    seen = _response(image, sigma)
    size = 2 * round(1.5 * sigma) + 1
    top = (seen == scipy.ndimage.maximum_filter(seen, size)) & (seen > 0)
    rim = int(np.ceil(RIM * sigma))
    inside = np.zeros_like(top)
    inside[rim:-rim, rim:-rim] = True
    y, x = np.nonzero(top & inside)
    if len(y) < 8:
        return np.zeros((0, 4))
    height = seen[y, x]
    middle = float(np.median(height))
    spread = max(arrays.spread(height, centre=middle), 1e-12)
    score = (height - middle) / spread
    wide = _response(image, WIDE * sigma)[y, x] / np.maximum(height, 1e-12)
    keep = np.flatnonzero((score > FAINT) & (wide < EXTENDED))
    keep = keep[np.argsort(-score[keep])]
    rows = [(*_centre(seen, y[k], x[k], sigma), score[k], wide[k]) for k in keep[: MOST + 1]]
    return np.array(rows).reshape(-1, 4)


def _centre(seen: np.ndarray, y: int, x: int, sigma: float) -> tuple[float, float]:
    """Place of a maximum below a pixel: parabolas through the points half a width away."""
    step = max(1, round(0.7 * sigma))
    place = []
    for k, line in ((y, seen[:, x]), (x, seen[y])):
        if not step <= k < len(line) - step:
            place.append(float(k))
            continue
        a, b, c = line[k - step], line[k], line[k + step]
        bent = a - 2 * b + c
        place.append(k + float(np.clip(0.5 * (a - c) / bent if bent < 0 else 0, -1, 1)) * step)
    return place[0], place[1]


def find_spots(
    stack: Pixels, *, width_px: float = 0.0, progress: ProgressLike = None
) -> pd.DataFrame:
    """Bright spots that stand out of the other atoms and the noise of their frame.

    Parameters
    ----------
    stack : array-like, shape (T, H, W)
        Frames are read one at a time.
    width_px : float
        Width (sigma) of a spot; 0 takes that with which the clearest ones stand out most.
    progress : callable, optional
        Called with (frames done, frames in all).

    Returns
    -------
    pandas.DataFrame
        ``frame``, ``spot_id``, ``y_px``, ``x_px``, ``score`` (robust standard deviations above
        the maxima of the frame). Frames in which more stand out than could be foreign atoms give
        none.
    """
    n = int(stack.shape[0])
    watch = as_progress(progress)
    widths = [width_px] if width_px > 0 else list(WIDTHS)
    found: dict[float, list[np.ndarray]] = {w: [] for w in widths}
    for f in range(n):
        if watch.stopped:
            n = f
            break
        image = _clean(np.array(stack[f], float))
        for w in widths:
            rows = _frame_spots(image, w)
            found[w].append(rows if len(rows) <= MOST else rows[:0])
        watch(f + 1, n)

    def clearness(w: float) -> float:
        best = [rows[0, 2] if len(rows) else 0.0 for rows in found[w]]
        return float(np.median(best)) + 0.05 * float(np.mean(best))

    # the narrowest of those that are about as clear: its places are the sharpest
    clear = {w: clearness(w) for w in widths}
    best = min(w for w in widths if clear[w] >= 0.9 * max(clear.values()))
    counts = [len(rows) for rows in found[best]]
    every = np.concatenate(found[best]) if sum(counts) else np.zeros((0, 4))
    return pd.DataFrame(
        {"frame": np.repeat(np.arange(n), counts), "spot_id": np.arange(len(every)),
         "y_px": every[:, 0], "x_px": every[:, 1], "score": every[:, 2]}
    )  # fmt: skip
