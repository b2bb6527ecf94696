"""How good the atoms of a frame are, beside their number: four shares that need no truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import points
from napari_atomlens.atoms.ghosts import surrounded
from napari_atomlens.atoms.refine import bin_image, binning
from napari_atomlens.atoms.surroundings import FAR, NEIGHBOURS, SLACK
from napari_atomlens.familiar import familiar

#: Nearer than this, in spacings, two atoms are a short pair.
SHORT = 0.6
#: A site of a lattice is empty where no atom is nearer than this, in spacings.
EMPTY = 0.4
#: So many rows of atoms must lead to an empty site.
ROWS = 4
#: An atom, or a maximum, has none of the other within this part of the spacing.
APART = 0.25
#: Width of the smoothing in which maxima are sought, in spacings.
SMOOTH = 0.18
#: A maximum is as high as those of atoms above this share of their usual height.
HIGH = 0.5
#: With fewer atoms there is nothing to say.
FEWEST = 12
#: Of a larger frame the middle is judged: memory must not follow its size.
MOST_PX = 4096


@dataclass(frozen=True)
class Quality:
    """Four shares, 0 to 1, that are small where the atoms are right.

    Attributes
    ----------
    short_pairs : float
        Of the atoms, those that have another nearer than 0.6 spacings.
    gaps : float
        Of the sites of the lattice that are surrounded by atoms, those without one: vacancies,
        or atoms that were missed.
    off_maximum : float
        Of the atoms, those without a maximum of the image within a quarter of a spacing.
    off_peak : float
        Of the maxima of the image that are as high as those of atoms, those without an atom.
    """

    short_pairs: float
    gaps: float
    off_maximum: float
    off_peak: float

    def sentence(self) -> str:
        """Say the four in one line."""
        shares = [f"{100 * getattr(self, f.name):.1f} %" for f in fields(self)]
        return (
            f"Quality: short pairs {shares[0]}, gaps in the lattice {shares[1]}, atoms off a "
            f"maximum {shares[2]}, maxima without an atom {shares[3]}."
        )


def mean_quality(found: Iterable[Quality | None]) -> Quality | None:
    """Mean over frames; None where nothing can be said of any."""
    known = [astuple(q) for q in found if q is not None]
    return Quality(*(float(v) for v in np.mean(known, 0))) if known else None


def gaps(positions: np.ndarray, spacing: float) -> np.ndarray:
    """Empty sites of the lattice that have atoms on all sides.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
    spacing : float
        Distance between nearest atoms in the same unit.

    Returns
    -------
    ndarray, shape (m, 2)
        Where several rows of at least three atoms lead to a place without one. A honeycomb has
        no such rows along its bonds, so that the middle of its rings is no gap.
    """
    n = len(positions)
    if n < FEWEST:
        return np.zeros((0, 2))
    tree = scipy.spatial.cKDTree(positions)
    k = min(NEIGHBOURS + 1, n)
    near = tree.query(positions, k=k, distance_upper_bound=FAR * spacing)[1][:, 1:]
    a, b = np.repeat(np.arange(n), k - 1), near.ravel()
    a, b = a[b < n], b[b < n]
    step = positions[b] - positions[a]
    before, third = tree.query(positions[a] - step, distance_upper_bound=SLACK * spacing)
    row = np.isfinite(before)
    # the step of the whole row is known better than that between two atoms
    step = (positions[b] - positions[np.minimum(third, n - 1)])[row] / 2
    goal = positions[b[row]] + step
    empty = tree.query(goal)[0] > EMPTY * spacing
    goal, start = goal[empty], b[row][empty]
    if not len(goal):
        return np.zeros((0, 2))
    pairs = scipy.spatial.cKDTree(goal).query_pairs(2 * SLACK * spacing, output_type="ndarray")
    label = points.connected(pairs, len(goal))
    # each row once, whatever the number of atoms in it
    rows = np.unique(np.c_[label, start], axis=0)[:, 0]
    votes = np.bincount(rows, minlength=label.max() + 1)
    middle = np.stack([np.bincount(label, goal[:, c]) / np.bincount(label) for c in (0, 1)], axis=1)
    middle = middle[votes >= ROWS]
    if not len(middle):
        return middle
    middle = middle[surrounded(middle, positions, 1.8 * spacing)]
    return middle[tree.query(middle)[0] > EMPTY * spacing] if len(middle) else middle


def maxima(image: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Places of the maxima of an image (n, 2), and their heights over what lies round them."""
    smooth = scipy.ndimage.gaussian_filter(np.asarray(image, np.float32), SMOOTH * spacing)
    size = 2 * max(1, round(APART * spacing)) + 1
    peak = smooth == scipy.ndimage.maximum_filter(smooth, size, mode="nearest")
    peak &= smooth > scipy.ndimage.minimum_filter(smooth, size, mode="nearest")
    places = np.argwhere(peak)
    wide = 2 * max(1, round(0.6 * spacing)) + 1
    low = scipy.ndimage.minimum_filter(smooth, wide, mode="nearest")[tuple(places.T)]
    return places.astype(float), smooth[tuple(places.T)] - low


def quality(
    atoms: pd.DataFrame,
    image: np.ndarray,
    *,
    recorded: np.ndarray | None = None,
    dark: bool = False,
) -> Quality | None:
    """How good the atoms of one frame are, as far as the frame itself can tell.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table of one frame; those in unfamiliar neighbourhoods are left out.
    image : ndarray, shape (H, W)
    recorded : ndarray of bool, shape (H, W), optional
        Pixels that were recorded; all by default. Elsewhere there are no gaps and no maxima.
    dark : bool
        Columns are darker than what lies between them.

    Returns
    -------
    Quality or None
        None where there are too few atoms to say anything.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0, counts=1e4)
    >>> quality(al.analyze(image, spacing_px=10.0).atoms, image).short_pairs
    0.0
    """
    places = familiar(atoms)[["y_px", "x_px"]].to_numpy(float)
    spacing = points.spacing(places) if len(places) >= FEWEST else np.nan
    if not np.isfinite(spacing):
        return None
    first = np.maximum(0, (np.array(image.shape) - MOST_PX) // 2)
    middle = tuple(slice(int(k), int(k) + MOST_PX) for k in first)
    image, places = np.asarray(image[middle], np.float32), places - first
    places = places[((places > -1) & (places < image.shape)).all(1)]
    recorded = np.isfinite(image) if recorded is None else recorded[middle]
    if len(places) < FEWEST or not recorded.any():
        return None
    image = np.where(recorded, image, np.median(image[recorded])) * (-1 if dark else 1)
    factor = binning(spacing)
    there = bin_image(recorded.astype(np.float32), factor) > 0.99
    places = (places + 0.5) / factor - 0.5
    return _judged(places, bin_image(image, factor), there, spacing / factor)


def _judged(places: np.ndarray, image: np.ndarray, there: np.ndarray, spacing: float) -> Quality:
    """Quality of atoms at places of an image with bright columns."""
    # what was not recorded, and what lies within half a spacing of it or of the border, is silent
    depth = scipy.ndimage.distance_transform_edt(np.pad(there, 1))[1:-1, 1:-1]

    def inside(where: np.ndarray) -> np.ndarray:
        pixel = np.clip(np.rint(where).astype(int), 0, np.array(depth.shape) - 1)
        return np.asarray(depth[tuple(pixel.T)] > 0.5 * spacing)

    tree = scipy.spatial.cKDTree(places)
    short = tree.query(places, k=2)[0][:, 1] < SHORT * spacing
    vacant = gaps(places, spacing)
    vacant = vacant[inside(vacant)]
    tops, height = maxima(image, spacing)
    if not len(tops):
        return Quality(float(short.mean()), len(vacant) / (len(vacant) + len(places)), 1.0, 0.0)
    away, own = scipy.spatial.cKDTree(tops).query(places)
    judged = inside(places)
    off = judged & (away > APART * spacing)
    usual = float(np.median(height[own[judged & ~off]])) if (judged & ~off).any() else np.inf
    high = inside(tops) & (height > HIGH * usual)
    alone = tree.query(tops)[0] > APART * spacing
    return Quality(
        float(short.mean()),
        len(vacant) / (len(vacant) + len(places)),
        float(off.sum() / max(1, judged.sum())),
        float((high & alone).sum() / max(1, high.sum())),
    )
