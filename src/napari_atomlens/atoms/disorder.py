"""Peaks that are no columns: blobs of an amorphous film, and lines.

An amorphous film, or noise in which one wave prevails, is densely packed with blobs that look
like columns one by one. Three things together tell them from columns: they are not round as
columns are (their curvatures along and across differ at random), no lattice goes on from one to
the next, and they lie close on all sides. Fringes have no curvature along their lines.
"""

from __future__ import annotations

import numpy as np
import scipy

from napari_atomlens import points
from napari_atomlens.atoms.refine import bin_image, binning
from napari_atomlens.atoms.surroundings import FAR, LATTICE, NEAR, mean_round, steps_of_lattice

#: Blobs of an amorphous film: the mean roundness of a neighbourhood is below the first, the steps
#: of a lattice that go on per neighbour below the second, and there are more neighbours within
#: 1.7 spacings than the third; one line of these is enough. Round columns have 0.6 to 0.95,
#: columns twice as long as wide and those beside others 0.25 to 0.6, blobs 0.2 to 0.4; a lattice
#: has 0.5 (distorted) to 2.5 steps, blobs 0.3; the honeycomb has 3 to 5 neighbours, in images of
#: few counts up to 6.5, close packing 6 to 8, blobs 5 to 10.
BLOBS = ((0.50, 0.45, 7.0), (0.40, 0.60, 8.5))
#: Below this share of the curvature across there is none along: a line. Fringes have less than
#: 0.12, columns twice as long as wide that nearly touch 0.2.
LINE = 0.15
#: Widths of the smoothing with which curvatures are measured, in spacings.
FINE, COARSE = 0.2, 0.3
#: How often the majority among neighbours decides.
ROUNDS = 4
#: With fewer atoms nobody can say whether there is a lattice.
FEWEST = 12


def curvatures(image: np.ndarray, places: np.ndarray, width: float) -> np.ndarray:
    """Curvatures of an image smoothed by a Gaussian, downwards.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    places : ndarray, shape (n, 2)
    width : float
        Standard deviation of the Gaussian in pixels.

    Returns
    -------
    ndarray, shape (2, n)
        The larger and the smaller of the two main curvatures at each place; negative where
        the image bends upwards.
    """
    reach = int(np.ceil(3.5 * width))
    offset = np.arange(-reach, reach + 1)
    centre = np.rint(places).astype(int)
    out = np.empty((3, len(places)))
    step = max(1, 2_000_000 // len(offset) ** 2)
    for first in range(0, len(places), step):
        part = slice(first, first + step)
        rows, columns = (
            np.clip(centre[part, k, None] + offset, 0, image.shape[k] - 1) for k in (0, 1)
        )
        patch = image[rows[:, :, None], columns[:, None, :]].astype(float)
        patch -= patch.mean(axis=(1, 2), keepdims=True)
        waves = []
        for k in (0, 1):
            x = (centre[part, k, None] + offset - places[part, k, None]) / width
            bell = np.exp(-(x**2) / 2)
            waves.append((bell, x * bell, (x**2 - 1) * bell))
        along_y, along_x = waves
        for k, (a, b) in enumerate(((2, 0), (0, 2), (1, 1))):
            out[k, part] = np.einsum("nij,ni,nj->n", patch, along_y[a], along_x[b])
    mean, half = (out[0] + out[1]) / 2, np.hypot((out[0] - out[1]) / 2, out[2])
    return np.stack([half - mean, -half - mean])


def _roundness(across: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Smaller over larger curvature: 1 of a round column, 0 of a line."""
    least = 1e-12 * np.abs(across).max() + 1e-300
    return np.asarray(np.clip(along / np.maximum(across, least), -0.5, 1))


def disorder(image: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """How sure it is that peaks are blobs of something amorphous, or lie on lines.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        With bright columns.
    positions : ndarray, shape (n, 2)

    Returns
    -------
    ndarray, shape (n,)
        0 to 1: the share of such among the atoms within 2.2 spacings.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, scene = al.simulate("honeycomb", (96, 96), 10.0)
    >>> float(disorder(image, np.c_[scene.y, scene.x]).max())
    0.0
    """
    n = len(positions)
    spacing = points.spacing(positions) if n >= FEWEST else np.nan
    if not np.isfinite(spacing):
        return np.zeros(n)
    factor = binning(spacing)  # as much is seen in fewer pixels
    image = bin_image(np.asarray(image, np.float32), factor)
    positions, spacing = (positions + 0.5) / factor - 0.5, spacing / factor
    reach = FAR * spacing
    across, along = curvatures(image, positions, max(0.8, FINE * spacing))
    roundness = _roundness(across, along)
    near = scipy.spatial.cKDTree(positions).query_ball_point(
        positions, 1.7 * spacing, return_length=True
    )
    dense = mean_round(positions, near - 1.0, reach)
    order = mean_round(positions, steps_of_lattice(positions, spacing), reach)
    flat = mean_round(positions, roundness, reach)
    order = order / np.maximum(dense, 1)
    blobs = np.zeros(n, bool)
    for most_round, most_order, fewest in BLOBS:
        blobs |= (flat < most_round) & (order < most_order) & (dense > fewest)
    across, along = curvatures(image, positions, max(0.8, COARSE * spacing))
    # one bright pixel or line must not outweigh all others: pooled and one by one
    ratio = _roundness(across, along)
    lines = (mean_round(positions, along, reach) < LINE * mean_round(positions, across, reach)) & (
        mean_round(positions, ratio, reach) < LINE
    )
    odd = (blobs | lines).astype(float)
    # of few atoms on their own, as in a corner, the neighbours say what they are
    for _ in range(ROUNDS if odd.any() else 0):
        close, wide = (mean_round(positions, odd, r) for r in (NEAR * spacing, reach))
        odd = ((wide > 0.8) | (wide > 0.2) & (close > 0.5)).astype(float)
    if not odd.any():
        return odd
    # what belongs to a lattice of others, as the rim of a particle, is none of these
    steps = steps_of_lattice(positions, spacing, 1 - odd)
    outside = np.clip((LATTICE - steps) / (0.5 * LATTICE), 0, 1)
    return mean_round(positions, odd, NEAR * spacing) * outside
