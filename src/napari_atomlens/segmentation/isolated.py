"""Atoms without a lattice: their scale is the width of the probe, found in the image.

A Laplacian of a Gaussian, over its spread in the dark half nearby, is looked at for a set of
widths. Noise and speckle have as many bright as dark extremes; atoms are bright only. At the width
where the bright ones stand out most, the mean of the strongest is fitted with a Gaussian: the
Laplacian is widest where atoms still stand out from the speckle round them, the mean atom is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy

from napari_atomlens.progress import Progress
from napari_atomlens.segmentation.pixels import recorded_box

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: What takes the part of a distance between columns, in widths of an atom (standard deviation).
SPACING_OF_WIDTH = 3.5
#: Widths that are tried, in pixels: the narrowest, the widest, and the step between two.
NARROWEST, WIDEST, STEP = 1.4, 14.0, 1.22
#: Less than this stands out of any noise; then an atom is taken to be as wide as is usual, and
#: narrower than this is none.
STANDS_OUT, USUAL, LEAST = 1.0, 3.0, 1.3
#: Of the maxima this share is looked at, so many at least and at most.
STRONGEST, FEWEST, MOST = 0.02, 8, 60
#: A spread below this part of what is usual in the image counts as that.
VACUUM = 0.35
#: How far round a place the spread is measured, in widths.
NEARBY = 8.0
#: Of a larger image the middle is looked at.
SIDE_PX = 1024
#: Width of the Laplacian with which atoms stand out most, in their widths.
WIDER = 1.25
#: Widths that the image is averaged down to before it is filtered.
FINE = 3.5


@dataclass(frozen=True)
class AtomWidth:
    """Width of the atoms of an image, and how much speaks for it.

    Attributes
    ----------
    width_px : float
        Standard deviation of an atom.
    bright, dark : float
        Mean of the strongest maxima and of the strongest minima, in standard deviations.
    """

    width_px: float
    bright: float
    dark: float

    @property
    def spacing_px(self) -> float:
        """What takes the part of the distance between columns."""
        return SPACING_OF_WIDTH * self.width_px


def standing_out(image: np.ndarray, width: float) -> np.ndarray:
    """Laplacian of a Gaussian over its spread in the dark half nearby.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    width : float
        Of the Gaussian in pixels.

    Returns
    -------
    ndarray of float32, shape (H, W)
        In standard deviations; the bright half does not count in them, so that atoms do not
        hide each other.
    """
    response = -scipy.ndimage.gaussian_laplace(np.asarray(image, np.float32), width)
    dark = (response < 0).astype(np.float32)
    reach = NEARBY * width
    # the spread is smooth: every few pixels tell it
    skip = max(1, int(width))
    square, share = (
        scipy.ndimage.gaussian_filter(v[::skip, ::skip], reach / skip)
        for v in (np.square(response) * dark, dark)
    )
    spread = np.sqrt(square / np.maximum(share, 1e-3))
    # in a vacuum every single count would stand out
    floor = VACUUM * float(np.quantile(spread, 0.8)) + 1e-12
    at = [np.minimum(np.arange(s) // skip, spread.shape[k] - 1)
          for k, s in enumerate(response.shape)]  # fmt: skip
    return np.asarray(response / np.maximum(spread, floor)[np.ix_(*at)], np.float32)


def outstanding_at(
    image: np.ndarray, places: np.ndarray, spacing_px: float
) -> tuple[np.ndarray, bool]:
    """How far places stand out of what lies round them, and whether nothing in the image does.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    places : ndarray, shape (n, 2)
    spacing_px : float
        That of :class:`AtomWidth`.

    Returns
    -------
    height : ndarray, shape (n,)
        In standard deviations.
    quiet : bool
        The strongest maxima of the image hardly stand out further than its minima.
    """
    width = WIDER * spacing_px / SPACING_OF_WIDTH
    out = standing_out(image, width)
    height = scipy.ndimage.map_coordinates(out, places.T, order=1, mode="nearest")
    _, _, bright, dark = _extremes(out, width)
    return np.asarray(height, float), bright - dark < STANDS_OUT


def _extremes(outstanding: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Places and heights of the strongest maxima; mean of these and of the strongest minima."""
    size = 2 * max(1, round(1.5 * width)) + 1
    margin = min(int(4 * width), min(outstanding.shape) // 4)
    found = []
    for turned in (outstanding, -outstanding):
        top = scipy.ndimage.maximum_filter(turned, size)
        inner = (turned == top)[margin : -margin or None, margin : -margin or None]
        places = np.argwhere(inner & (top[margin : -margin or None, margin : -margin or None] > 0))
        places += margin
        heights = turned[tuple(places.T)]
        found.append((places, heights))
    n = int(np.clip(STRONGEST * len(found[0][1]), FEWEST, MOST))
    order = np.argsort(-found[0][1])[:n]
    dark = np.sort(found[1][1])[::-1][:n]
    if not len(order) or not len(dark):
        return np.zeros((0, 2), int), np.zeros(0), 0.0, 0.0
    places, heights = found[0][0][order], found[0][1][order]
    return places, heights, float(heights.mean()), float(dark.mean())


def _mean_width(image: np.ndarray, places: np.ndarray, width: float) -> float:
    """Width of the median of the surroundings of places; NaN where they are too few."""
    reach = int(np.ceil(3 * width))
    inside = ((places >= reach) & (places < np.array(image.shape) - reach)).all(1)
    places = places[inside]
    if len(places) < 3:
        return float("nan")
    off = np.arange(-reach, reach + 1)
    patches = image[places[:, 0, None, None] + off[:, None], places[:, 1, None, None] + off]
    patches = patches - np.median(patches, axis=(1, 2))[:, None, None]
    mean = np.median(patches, axis=0).ravel()
    y, x = (v.ravel() for v in np.meshgrid(off, off, indexing="ij"))
    square = y.astype(float) ** 2 + x.astype(float) ** 2
    root = np.exp(-square / 4 / (1.5 * width) ** 2)
    best = (np.inf, float("nan"))
    for tried in width * np.geomspace(0.45, 2.0, 24):
        parts = np.c_[np.exp(-0.5 * square / tried**2), np.ones(len(square)), y, x] * root[:, None]
        solved = np.linalg.lstsq(parts, mean * root, rcond=None)[0]
        left = float(np.square(parts @ solved - mean * root).sum())
        if solved[0] > 0:
            best = min(best, (left, float(tried)))
    return best[1]


def atom_width(image: ArrayLike, progress: Progress = Progress()) -> AtomWidth:
    """Find the width of the atoms of an image that need no lattice.

    Parameters
    ----------
    image : array-like, shape (H, W)
    progress : Progress
        Asked while it works whether to stop.

    Returns
    -------
    AtomWidth

    Raises
    ------
    ImageError
        If the image cannot be used.
    StoppedError
        If it is asked to stop.
    """
    frame = recorded_box(image)
    first = np.maximum(0, (np.array(frame.shape) - SIDE_PX) // 2)
    frame = frame[tuple(slice(int(k), int(k) + SIDE_PX) for k in first)]
    # of few counts the noise itself has higher bright than dark extremes; of their root it has not
    low = float(np.quantile(frame[::3, ::3], 0.001))
    even = np.sqrt(np.clip(frame - low, 0, None))
    top = min(WIDEST, min(frame.shape) / 16)
    n = max(1, int(np.log(max(top, NARROWEST) / NARROWEST) / np.log(STEP)) + 1)
    best, at = AtomWidth(NARROWEST, 0.0, 0.0), -np.inf
    for width in NARROWEST * STEP ** np.arange(n):
        progress.check()
        block = max(1, int(width / FINE))
        small = _binned(frame, block)
        out = standing_out(_binned(even, block), width / block)
        places, _, bright, dark = _extremes(out, width / block)
        if bright - dark > at:
            at = bright - dark
            measured = _mean_width(small, places, width / block) * block
            # a pixel is a mean over its area
            measured = np.sqrt(max(measured**2 - (block**2 - 1) / 12, 0.3)) if measured else 0.0
            best = AtomWidth(float(measured if measured > 0 else width / WIDER), bright, dark)
    if best.bright - best.dark < STANDS_OUT:
        return AtomWidth(USUAL, best.bright, best.dark)
    return AtomWidth(max(best.width_px, LEAST), best.bright, best.dark)


def _binned(image: np.ndarray, block: int) -> np.ndarray:
    if block == 1:
        return image
    h, w = (s // block * block for s in image.shape)
    return np.asarray(image[:h, :w].reshape(h // block, block, w // block, block).mean((1, 3)))
