"""Whether an image shows a lattice at all: many columns have another at the same displacement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from scipy.spatial import cKDTree

from napari_atomlens import points
from napari_atomlens.arrays import peak_positions
from napari_atomlens.errors import CalibrationError
from napari_atomlens.progress import Progress, ProgressLike, as_progress
from napari_atomlens.segmentation import runtime
from napari_atomlens.segmentation.forward import resample, run_network
from napari_atomlens.segmentation.isolated import STANDS_OUT, atom_width
from napari_atomlens.segmentation.loading import load_network
from napari_atomlens.segmentation.network import ColumnNet
from napari_atomlens.segmentation.normalise import remove_hot_pixels, two_views
from napari_atomlens.segmentation.pixels import recorded_box
from napari_atomlens.segmentation.scale import _crops, find_spacing, response
from napari_atomlens.segmentation.spacing import check_spacing
from napari_atomlens.segmentation.zoo import find_model

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Displacements between columns that are compared: the shortest and longest, and how well they
#: must agree, in spacings.
NEAR, FAR, AGREE = 0.7, 4.2, 0.13
#: Fewer columns tell no lattice by themselves; so much the network explains where there is one.
FEWEST, EXPLAINED = 10, 0.6
#: Nothing tells single atoms from columns in an image with fewer spacings along a side.
ROOM = 6
#: Where there is a lattice, at least this share of the columns has another at the same
#: displacement, counted less two standard deviations: 0.65 to 0.9; places at random have 0 to 0.15.
LATTICE = 0.34
#: ... and this, where their distance is that of a known material, as near as it is found in images
#: of few counts: places at random seldom have both.
SOME_ORDER, ROUGHLY = 0.1, 0.15


@dataclass(frozen=True)
class LatticeEvidence:
    """Whether an image shows a lattice.

    Attributes
    ----------
    found : bool
    spacing_px : float
        Distance between nearest columns; 0 where there is no lattice.
    share : float
        Of the columns, those that have another at the commonest displacement, in the part of the
        image where most do.
    looked_px : float
        Distance between nearest columns if there should be a lattice.
    """

    found: bool
    spacing_px: float = 0.0
    share: float = 0.0
    looked_px: float = 0.0


def known_distance(
    seen: LatticeEvidence,
    pixel_size_nm: tuple[float, float] | None,
    known_nm: list[float],
) -> bool:
    """Whether columns in some order are as far apart as those of a material that is known."""
    if pixel_size_nm is None or seen.share < SOME_ORDER:
        return False
    distance = seen.looked_px * float(np.mean(pixel_size_nm))
    return any(abs(distance / s - 1) < ROUGHLY for s in known_nm)


def common_displacement(places: np.ndarray, spacing: float) -> float:
    """Share of places that have another at one and the same displacement.

    Parameters
    ----------
    places : ndarray, shape (n, 2)
    spacing : float
        Distance between nearest places.

    Returns
    -------
    float
        Of the commonest displacement, less two standard deviations of the count: few places
        agree by chance.
    """
    n = len(places)
    if n < FEWEST:
        return 0.0
    pairs = cKDTree(places).query_pairs(FAR * spacing, output_type="ndarray")
    step = places[pairs[:, 1]] - places[pairs[:, 0]]
    step = step[np.hypot(*step.T) > NEAR * spacing]
    step = np.concatenate([step, -step])
    edges = np.arange(-FAR - AGREE, FAR + 2 * AGREE, AGREE) * spacing
    count = np.histogram2d(step[:, 0], step[:, 1], [edges, edges])[0]
    count = np.maximum(uniform_filter(count, 3, mode="constant") * 9, 0)
    # of the columns near the border the displaced ones lie outside
    size = np.maximum(np.ptp(places, axis=0), spacing)
    middle = 0.5 * (edges[:-1] + edges[1:])
    inside = np.clip(1 - np.abs(middle[:, None] / size), 0.2, 1)
    expected = n * inside[:, 0][:, None] * inside[:, 1][None]
    return float(np.max((count - 2 * np.sqrt(count)) / expected))


@torch.inference_mode()
def judge_lattice(
    image: ArrayLike, spacing_px: float = 0.0, *, progress: ProgressLike = None
) -> LatticeEvidence:
    """Tell whether an image shows a lattice.

    Parameters
    ----------
    image : array-like, shape (H, W)
    spacing_px : float
        Distance between nearest columns in pixels; 0 finds it.
    progress : Progress or callable, optional
        Asked while it works whether to stop.

    Returns
    -------
    LatticeEvidence

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
    >>> judge_lattice(image).found
    True
    """
    info, watch = find_model("universal"), as_progress(progress)
    frame = remove_hot_pixels(recorded_box(image))
    runtime.prepare()
    net, preferred = load_network(info), info.preferred_spacing_px
    try:
        spacing = check_spacing(spacing_px, frame.shape) or find_spacing(
            frame, info, progress=watch
        )
    except CalibrationError:
        return LatticeEvidence(False)
    most, counted = 0.0, 0
    for crop in _crops(frame, spacing, preferred, 5):
        places = _places(net, crop, preferred / spacing, watch)
        counted = max(counted, len(places))
        if len(places) < FEWEST:
            continue
        most = max(most, common_displacement(places, points.spacing(places)))
        if most > 2 * LATTICE:
            break
    found = most >= LATTICE
    if counted < FEWEST:  # too few to compare: a lattice, unless it is single atoms that stand out
        crops = _crops(frame, spacing, preferred, 1)
        width = atom_width(frame, watch)
        found = response(net, crops, spacing, preferred, watch)[0] > EXPLAINED
        found |= width.bright - width.dark < STANDS_OUT
    found |= min(frame.shape) < ROOM * spacing
    return LatticeEvidence(found, spacing if found else 0.0, most, spacing)


def _places(net: ColumnNet, crop: np.ndarray, zoom: float, watch: Progress) -> np.ndarray:
    """Where the network sees columns in a crop, at its own sampling."""
    size = (max(16, round(crop.shape[0] * zoom)), max(16, round(crop.shape[1] * zoom)))
    small = resample(torch.from_numpy(np.ascontiguousarray(crop))[None], size)
    logits = run_network(net, two_views(small), border_px=8, watch=watch)[0]
    return peak_positions(torch.sigmoid(logits[-1]).numpy(), 0.4)[0]
