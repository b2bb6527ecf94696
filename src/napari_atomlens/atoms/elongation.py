"""Whether the columns of an image are elongated: the mean column after a fit of round ones.

Tilt and astigmatism draw all columns out in one direction. A round fit is then wrong in the same
way for every column; the mean of them all shows it, where a single one is lost in noise.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy

#: Columns that are averaged at most, and at least.
MOST, FEWEST = 400, 30
#: Points of the mean column lie so many widths apart, as far as its height is so large a part.
STEP, REACH, HIGH = 0.25, 1.75, 0.3
#: Mean columns of ordinary images are rounder than this, those of hardly split dumbbells too.
ELONGATED = 1.35


def mean_aspect(frame: np.ndarray, atoms: pd.DataFrame) -> float:
    """Length over width of the mean column, beyond what its neighbours explain.

    Parameters
    ----------
    frame : ndarray, shape (H, W)
    atoms : pandas.DataFrame
        Of a fit of round columns.

    Returns
    -------
    float
        NaN where there are too few columns.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (128, 128), 11.0)
    >>> probabilities = al.segment(image, spacing_px=11.0)
    >>> bool(mean_aspect(probabilities.frame, al.find_atoms(probabilities)) < 1.1)
    True
    """
    names = ["y_px", "x_px", "amplitude", "sigma_px", "background"]
    good = atoms["fit_ok"].to_numpy(bool) & (atoms["amplitude"] > 0).to_numpy()
    place = atoms.loc[good, names].to_numpy(float)
    if len(place) < FEWEST:
        return float("nan")
    sigma = float(np.median(place[:, 3]))
    far = (REACH + 1) * sigma
    inside = np.all((place[:, :2] > far) & (place[:, :2] < np.array(frame.shape) - 1 - far), axis=1)
    chosen = np.flatnonzero(inside)[:: max(1, int(inside.sum()) // MOST)]
    if len(chosen) < FEWEST:
        return float("nan")
    steps = np.arange(-REACH, REACH + 1e-6, STEP) * sigma
    dy, dx = (v.ravel() for v in np.meshgrid(steps, steps, indexing="ij"))
    tree = scipy.spatial.cKDTree(place[:, :2])
    profiles = np.empty((len(chosen), len(dy)))
    for k, i in enumerate(chosen):
        y, x, height, _, ground = place[i]
        seen = scipy.ndimage.map_coordinates(frame, [y + dy, x + dx], order=1) - ground
        for j in tree.query_ball_point((y, x), 6 * sigma):
            if j != i:
                r2 = (y + dy - place[j, 0]) ** 2 + (x + dx - place[j, 1]) ** 2
                seen -= place[j, 2] * np.exp(-0.5 * r2 / place[j, 3] ** 2)
        profiles[k] = seen / height
    whole, *halves = (_elongation(p, dy, dx) for p in (profiles, profiles[::2], profiles[1::2]))
    # by how much both halves of the columns differ is noise
    noise = float(np.hypot(*(halves[0] - halves[1])))
    return float(np.exp(max(float(np.hypot(*whole)) - noise, 0.0))) if np.isfinite(noise) else 1.0


def _elongation(profiles: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """Logarithm of length over width of the mean of some columns, in twice its direction."""
    mean = np.median(profiles, axis=0)
    high = mean > HIGH * mean.max()
    if high.sum() < 12:
        return np.full(2, np.nan)
    # the logarithm of a Gaussian is a parabola, whatever its shape
    terms = np.stack([np.ones_like(dy), dy, dx, dy**2, dy * dx, dx**2], axis=1)[high]
    weight = mean[high]
    fit = np.linalg.lstsq(terms * weight[:, None], np.log(mean[high]) * weight, rcond=None)[0]
    curved, axes = np.linalg.eigh([[-fit[3], -fit[4] / 2], [-fit[4] / 2, -fit[5]]])
    if curved[0] <= 0:
        return np.full(2, np.nan)
    twice = 2 * np.arctan2(axes[0, 0], axes[1, 0])
    return 0.5 * float(np.log(curved[1] / curved[0])) * np.array([np.cos(twice), np.sin(twice)])
