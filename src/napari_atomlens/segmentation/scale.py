"""The lattice spacing, found in the image itself.

The network is asked at a ladder of scales how much of a crop it can explain by columns
that it is sure of; the distance between the columns that it finds then gives the spacing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
import torch
from scipy.spatial import cKDTree

from napari_atomlens import points
from napari_atomlens.arrays import peak_positions
from napari_atomlens.errors import CalibrationError
from napari_atomlens.image import recorded
from napari_atomlens.progress import Progress, ProgressLike, as_progress
from napari_atomlens.segmentation import runtime
from napari_atomlens.segmentation.forward import resample, run_network
from napari_atomlens.segmentation.isolated import atom_width
from napari_atomlens.segmentation.loading import load_network
from napari_atomlens.segmentation.network import ColumnNet
from napari_atomlens.segmentation.normalise import remove_hot_pixels, two_views
from napari_atomlens.segmentation.pixels import recorded_box
from napari_atomlens.segmentation.spacing import LARGEST_PX, SMALLEST_PX
from napari_atomlens.segmentation.zoo import ModelInfo, find_model

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


LADDER = 1.45
CROP_PX = 168
#: A shorter distance wins when it explains this share of what the best one explains.
FINER_WINS = 0.6
#: Above this the network explains the image so well that no other scale is tried: a
#: lattice seen at the wrong scale, such as dumbbells as one blob each, stays below 0.6.
SURE_SCORE = 0.85
#: Nine in ten images of pure noise stay below this at every scale (measured).
NOISE_SCORE = 0.27


def _crops(frame: np.ndarray, spacing: float, preferred: float, n: int) -> list[np.ndarray]:
    """Up to `n` crops that span CROP_PX pixels of the network at the given spacing."""
    side = round(CROP_PX * spacing / preferred)
    h, w = (min(side, s) for s in frame.shape)
    free_y, free_x = frame.shape[0] - h, frame.shape[1] - w
    places = [(0.5, 0.5), (0.1, 0.1), (0.9, 0.9), (0.1, 0.9), (0.9, 0.1)]
    corners = list(dict.fromkeys((int(free_y * a), int(free_x * b)) for a, b in places[:n]))
    return [frame[y : y + h, x : x + w] for y, x in corners]


@torch.inference_mode()
def response(
    net: ColumnNet,
    crops: list[np.ndarray],
    spacing: float,
    preferred: float,
    watch: Progress = Progress(),
) -> tuple[float, float, int]:
    """How well the network explains crops at an assumed spacing.

    Returns
    -------
    score : float
        Share of the area that belongs to columns the network is sure of, at the distance
        that it prefers.
    measured : float
        Distance between the nearest columns found, in image pixels.
    n : int
        Number of columns found.
    """
    best = (0.0, float("nan"), 0)
    for crop in crops:
        zoom = preferred / spacing
        size = (max(16, round(crop.shape[0] * zoom)), max(16, round(crop.shape[1] * zoom)))
        small = resample(torch.from_numpy(np.ascontiguousarray(crop))[None], size)
        logits = run_network(net, two_views(small), border_px=8, watch=watch)[0]
        centre = torch.sigmoid(logits[-1])
        positions, heights = peak_positions(centre.numpy(), 0.25)
        if len(positions) < 4:
            continue
        sure = np.clip((heights - 0.3) / 0.5, 0, 1)
        surest = positions[sure >= np.median(sure)]
        typical = points.spacing(surest)
        # two columns are a distance, but no lattice: noise has as much
        if len(surest) < 3 or not np.isfinite(typical) or typical < 2:
            continue
        nearest = cKDTree(positions).query(positions, k=2)[0][:, 1]
        regular = np.exp(-0.5 * (np.log(np.maximum(nearest, 1) / typical) / 0.25) ** 2)
        # share of the crop that lies within reach of a column the network is sure of
        grid = np.mgrid[2 : size[0] : 4, 2 : size[1] : 4].reshape(2, -1).T
        near, which = cKDTree(positions).query(grid, distance_upper_bound=1.7 * typical)
        explained = np.append(sure * regular, 0.0)[np.where(np.isfinite(near), which, len(sure))]
        fits = np.exp(-0.5 * (np.log(typical / preferred) / 0.45) ** 2)
        score = float(explained.mean()) * float(fits)
        if score > best[0]:
            best = (score, typical / zoom, len(positions))
    return best


def find_spacing(
    image: ArrayLike, model: str | ModelInfo = "auto", *, progress: ProgressLike = None
) -> float:
    """Find the distance between nearest columns in an image.

    For models of single atoms, which form no lattice: 3.5 times the width of an atom.

    Parameters
    ----------
    image : array-like, shape (H, W)
    model : str or ModelInfo
    progress : Progress or callable, optional
        Asked while it works whether to stop.

    Returns
    -------
    float
        Distance in pixels.

    Raises
    ------
    CalibrationError
        If no lattice can be found; the message asks for the spacing.
    StoppedError
        If it is asked to stop.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (128, 128), 11.0)
    >>> round(al.find_spacing(image))
    11
    """
    info = model if isinstance(model, ModelInfo) else find_model(model)
    watch = as_progress(progress)
    frame: np.ndarray = image if _ready(image) else remove_hot_pixels(recorded_box(image))
    if info.without_lattice:
        return atom_width(frame, watch).spacing_px
    runtime.prepare()
    net = load_network(info)
    preferred = info.preferred_spacing_px
    # the power spectrum gives a guess; where the network is sure of it, that is the answer
    guess = spectral_guess(frame)
    for _ in range(3):
        if not SMALLEST_PX <= guess <= min(frame.shape) / 2.5:
            break
        crop = _crops(frame, guess, preferred, 1)
        found, measured, n = response(net, crop, guess, preferred, watch)
        if found > SURE_SCORE and n >= 20 and abs(np.log(measured / guess)) < 0.12:
            return float(measured)
        if not np.isfinite(measured) or found < 0.3:
            break
        guess = measured
    top = min(LARGEST_PX, min(frame.shape) / 2.5)
    n = max(2, int(np.ceil(np.log(top / SMALLEST_PX / 1.2) / np.log(LADDER))) + 1)
    ladder = SMALLEST_PX * 1.2 * LADDER ** np.arange(n)
    for crops in (1, 5):
        answers = [
            response(net, _crops(frame, s, preferred, crops), s, preferred, watch) for s in ladder
        ]
        scores = np.array([a[0] for a in answers])
        if scores.max() > 0.5:
            break
    else:
        if scores.max() < NOISE_SCORE and not _agreement(answers):
            raise CalibrationError(
                "No lattice was found in this image. For single atoms take the model "
                "single-atoms; for columns set the distance between nearest ones by hand."
            )
    # dumbbells and molecules also look like one blob each from afar: of the distances that
    # explain the image about equally well, the shortest is that of the columns
    good = np.flatnonzero(scores >= min(scores.max(), max(FINER_WINS * scores.max(), NOISE_SCORE)))
    finest = min(answers[i][1] for i in good)
    same = [i for i in good if answers[i][1] < 1.25 * finest]
    best = max(same, key=lambda i: scores[i])
    spacing = answers[best][1]
    for _ in range(2):
        crop = _crops(frame, spacing, preferred, crops)
        again = response(net, crop, spacing, preferred, watch)
        if again[0] < 0.5 * scores[best] or not np.isfinite(again[1]):
            break
        change = abs(np.log(again[1] / spacing))
        spacing = again[1]
        if change < 0.06:
            break
    return float(spacing)


def _agreement(answers: list[tuple[float, float, int]]) -> bool:
    """Whether two assumed spacings lead to the same measured one.

    In noise the distance between the peaks grows with the spacing that was assumed.
    """
    return any(
        min(one[0], two[0]) > 0.7 * NOISE_SCORE and abs(np.log(one[1] / two[1])) < 0.08
        for one, two in pairwise(answers)
    )


def spectral_guess(frame: np.ndarray) -> float:
    """Spacing that belongs to the strongest period in the middle of an image, in pixels.

    The strongest period of most lattices is between 1 and 1.5 spacings; a guess within
    about 40 % is enough for the network to measure the rest.
    """
    side = min(512, *frame.shape)
    y, x = ((s - side) // 2 for s in frame.shape)
    crop = frame[y : y + side, x : x + side].astype(np.float32)
    low, high = np.quantile(crop[::3, ::3], [0.01, 0.99])
    window = np.hanning(side).astype(np.float32)
    crop = (np.clip(crop, low, high) - crop.mean()) * window[:, None] * window
    power = np.abs(np.fft.rfft2(crop)) ** 2
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    # the background lives below four periods in the crop
    power = np.where(f > 4 / side, power, 0)
    strongest = float(f.ravel()[power.argmax()])
    return 1 / strongest / 1.3 if strongest > 0 else float("nan")


def _ready(image: ArrayLike) -> TypeGuard[np.ndarray]:
    return (
        isinstance(image, np.ndarray)
        and image.dtype == np.float32
        and image.ndim == 2
        and bool(recorded(image).all())
    )
