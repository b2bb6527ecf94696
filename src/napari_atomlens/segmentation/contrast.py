"""Whether the columns of an image are bright or dark, told by what explains the image.

Mean and skewness do not tell it, and a network that is sure does not either: a honeycomb of dark
columns has bright sites between them that are a lattice too. But columns are peaks, and what lies
between them is not: both ways the network says where it sees columns, the same pixels are fitted
with a Gaussian at each of these places, and what the fit leaves is compared. Only where dark
columns leave clearly less, they are dark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy
import torch

from napari_atomlens import points
from napari_atomlens.arrays import peak_positions
from napari_atomlens.errors import CalibrationError
from napari_atomlens.progress import Progress, ProgressLike, as_progress
from napari_atomlens.segmentation import runtime
from napari_atomlens.segmentation.explained import NODES, left_over
from napari_atomlens.segmentation.forward import resample, run_network
from napari_atomlens.segmentation.loading import load_network
from napari_atomlens.segmentation.network import ColumnNet
from napari_atomlens.segmentation.normalise import remove_hot_pixels, two_views
from napari_atomlens.segmentation.pixels import recorded_box
from napari_atomlens.segmentation.scale import (
    FINER_WINS,
    LADDER,
    SURE_SCORE,
    _crops,
    find_spacing,
    response,
    spectral_guess,
)
from napari_atomlens.segmentation.spacing import LARGEST_PX, SMALLEST_PX, check_spacing
from napari_atomlens.segmentation.zoo import ModelInfo, find_model

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Dark columns must leave less than this share of what bright ones leave.
CLEARLY_LESS = 0.8
#: A difference below this share of the variance of the image tells nothing.
LITTLE = 0.03
#: The network explains this much of an image in whose sign it is right; see `response`.
SEEN = 0.5
#: Fewer columns are no lattice: holes between molecules are as many.
FEWEST = 20
#: Side of the part that is fitted, in distances between columns, and its pixels between them.
PART, FINE_PX = 13.0, 7.0


@dataclass(frozen=True)
class ImageContrast:
    """Whether columns are dark, and what tells it.

    Attributes
    ----------
    dark : bool
    bright_explains, dark_explains : float
        Share of the variance of the image, beyond its background, that columns of either sign
        explain; NaN where it was not looked at.
    spacing_px : float
        Distance of nearest columns of that sign, 0 where none was found.
    """

    dark: bool
    bright_explains: float = float("nan")
    dark_explains: float = float("nan")
    spacing_px: float = 0.0


@dataclass(frozen=True)
class _Sign:
    """An image as one of both signs shows it."""

    frame: np.ndarray
    spacing: float = 0.0
    score: float = 0.0


def judge_contrast(
    image: ArrayLike,
    model: str | ModelInfo = "universal",
    spacing_px: float = 0.0,
    *,
    progress: ProgressLike = None,
) -> ImageContrast:
    """Tell whether the columns of an image are dark.

    Parameters
    ----------
    image : array-like, shape (H, W)
    model : str or ModelInfo
    spacing_px : float
        Distance of nearest columns in pixels; 0 finds it, for either sign.
    progress : Progress or callable, optional
        Asked while it works whether to stop.

    Returns
    -------
    ImageContrast
        Bright columns in any doubt.

    Raises
    ------
    ImageError
        If the image cannot be used.
    StoppedError
        If it is asked to stop.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> judge_contrast(image).dark, judge_contrast(-image).dark
    (False, True)
    """
    info = model if isinstance(model, ModelInfo) else find_model(model)
    watch = as_progress(progress)
    frame = remove_hot_pixels(recorded_box(image))
    runtime.prepare()
    net, preferred = load_network(info), info.preferred_spacing_px
    given = check_spacing(spacing_px, frame.shape)
    bright = _bright(frame, net, info, given, watch)
    dark = _dark(-frame, bright, net, preferred, given, watch)
    if dark.score < SEEN:
        return ImageContrast(False, spacing_px=bright.spacing)
    total, left, noise = _compared(bright, dark, net, preferred, watch)
    if not total > 0:
        return ImageContrast(False, spacing_px=bright.spacing)
    # no column explains the noise: of faint columns it is most of the image
    least = LITTLE * total
    more, less = (max(value - noise, least) for value in left)
    turned = less < CLEARLY_LESS * more
    return ImageContrast(
        turned, 1 - left[0] / total, 1 - left[1] / total, (dark if turned else bright).spacing
    )


def _bright(
    frame: np.ndarray, net: ColumnNet, info: ModelInfo, given: float, watch: Progress
) -> _Sign:
    """As bright columns, at the distance that is given or found."""
    try:
        spacing = given or check_spacing(find_spacing(frame, info, progress=watch), frame.shape)
    except CalibrationError:
        return _Sign(frame)
    return _Sign(frame, spacing, _score(frame, net, info.preferred_spacing_px, spacing, watch)[0])


def _score(
    frame: np.ndarray, net: ColumnNet, preferred: float, spacing: float, watch: Progress
) -> tuple[float, float]:
    """How well the network explains the middle of a frame, and the distance it measures."""
    score, measured, _ = response(
        net, _crops(frame, spacing, preferred, 1), spacing, preferred, watch
    )
    return score, measured


def _dark(
    frame: np.ndarray,
    bright: _Sign,
    net: ColumnNet,
    preferred: float,
    given: float,
    watch: Progress,
) -> _Sign:
    """As dark columns, near the distances that the image has anyway: a look, no search."""
    if given:
        return _Sign(frame, given, _score(frame, net, preferred, given, watch)[0])
    top = min(LARGEST_PX, min(frame.shape) / 2.5)
    seen: list[tuple[float, float]] = []
    guesses = [spectral_guess(frame), *(bright.spacing * k for k in (1.0, 0.57, 1.75))]
    if bright.score < SEEN:  # nothing is seen yet: every distance is worth a look
        guesses += list(SMALLEST_PX * 1.2 * LADDER ** np.arange(14))
    for guess in guesses:
        at = guess
        for _ in range(2):
            if not SMALLEST_PX <= at <= top:
                break
            score, measured = _score(frame, net, preferred, at, watch)
            if not np.isfinite(measured):
                break
            seen.append((score, measured))
            at = measured
        if seen and max(seen)[0] > SURE_SCORE:
            break
    # where the strongest period is that of dumbbells, half of it is that of their columns
    for score, measured in sorted(seen)[-1:]:
        half = _score(frame, net, preferred, 0.5 * measured, watch) if measured > 8 else (0.0, 0.0)
        if half[0] > FINER_WINS * score:
            seen.append((1.01 * score, half[1]))
    if not seen:
        return _Sign(frame)
    best = max(seen)[0]
    score, spacing = min((s for s in seen if s[0] > 0.8 * best), key=lambda s: s[1])
    return _Sign(frame, spacing, score)


def _compared(
    bright: _Sign, dark: _Sign, net: ColumnNet, preferred: float, watch: Progress
) -> tuple[float, tuple[float, float], float]:
    """Variance of the middle of the image, what columns of either sign leave of it, its noise."""
    spacings = [s.spacing for s in (bright, dark) if s.score >= 0.5 * dark.score]
    wide = max(spacings)
    h, w = (min(s, max(96, round(PART * wide))) for s in bright.frame.shape)
    y, x = (bright.frame.shape[0] - h) // 2, (bright.frame.shape[1] - w) // 2
    block = max(1, int(min(spacings) // FINE_PX))
    left = []
    for sign in (bright, dark):
        part = np.ascontiguousarray(sign.frame[y : y + h, x : x + w])
        small = _binned(part, block)
        flat = left_over(small, np.zeros((0, 2)), 1.0, NODES * wide / block)
        left.append(flat)
        places = _places(part, net, preferred, sign.spacing, watch)
        # a lattice, and no speckle: columns are several pixels apart
        if len(places) >= (FEWEST if sign is dark else 3) and len(places) < small.size / 25:
            at = (places + 0.5) / block - 0.5
            left[-1] = left_over(small, at, points.spacing(at), NODES * wide / block)
    return flat, (left[0], left[1]), min(_noise(small), *left)


def _places(
    part: np.ndarray, net: ColumnNet, preferred: float, spacing: float, watch: Progress
) -> np.ndarray:
    """Where the network sees columns, in pixels of the part."""
    if not spacing:
        return np.zeros((0, 2))
    h, w = (max(16, round(s * preferred / spacing)) for s in part.shape)
    logits = run_network(
        net, two_views(resample(torch.from_numpy(part)[None], (h, w))), border_px=8, watch=watch
    )
    places, _ = peak_positions(torch.sigmoid(logits[0, -1]).numpy(), 0.3)
    return (places + 0.5) * (part.shape[0] / h, part.shape[1] / w) - 0.5


def _noise(image: np.ndarray) -> float:
    """Variance of noise: of what curves in both directions from pixel to pixel (Immerkaer 1996)."""
    mask = np.array([1.0, -2.0, 1.0])
    bent = scipy.ndimage.convolve1d(scipy.ndimage.convolve1d(image, mask, 0), mask, 1)
    return float(np.median(np.square(bent[1:-1, 1:-1]))) / 36 / 0.455


def _binned(image: np.ndarray, block: int) -> np.ndarray:
    h, w = (s // block * block for s in image.shape)
    return image[:h, :w].reshape(h // block, block, w // block, block).mean((1, 3))
