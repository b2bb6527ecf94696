"""Where exactly: the local peak under a click, fitted together with its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy

from napari_atomlens.atoms.refine import FitParams, fit_columns
from napari_atomlens.errors import ImageError

#: Side of the piece of image that is fitted, in spacings to each side.
REACH = 2.0
#: A click is drawn to a peak at most so many spacings away.
CATCH = 0.5


def nearest_peak(image: np.ndarray, y: float, x: float, spacing_px: float) -> tuple[float, float]:
    """Return the local maximum of the smoothed image that a click belongs to.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    y, x : float
        The click, in pixels.
    spacing_px : float
        Distance between nearest columns.

    Returns
    -------
    tuple of float
        (y, x); the click itself where there is no peak within half a spacing.
    """
    radius = max(1.0, CATCH * spacing_px)
    crop, corner = _crop(image, y, x, 2 * radius)
    smooth = scipy.ndimage.gaussian_filter(crop, max(0.6, 0.12 * spacing_px))
    size = 2 * max(1, round(0.25 * spacing_px)) + 1
    top = np.argwhere(smooth == scipy.ndimage.maximum_filter(smooth, size))
    inner = np.all((top > 0) & (top < np.array(crop.shape) - 1), axis=1)
    top = top[inner]
    if not len(top):
        return float(y), float(x)
    d = np.hypot(*(top + corner - (y, x)).T)
    if d.min() > radius:
        return float(y), float(x)
    # of the peaks in reach the one that is high and near
    near = top[d <= radius]
    height = smooth[tuple(near.T)]
    span = float(np.ptp(smooth)) or 1.0
    best = near[np.argmax(height / span - 0.5 * d[d <= radius] / radius)]
    top_y, top_x = _parabola(smooth, int(best[0]), int(best[1])) + corner
    return float(top_y), float(top_x)


def _parabola(image: np.ndarray, row: int, column: int) -> np.ndarray:
    """Vertex of the parabolas through a pixel and its neighbours."""
    out = np.array([row, column], float)
    here = image[row, column]
    for axis, (low, high) in enumerate(
        (
            (image[row - 1, column], image[row + 1, column]),
            (image[row, column - 1], image[row, column + 1]),
        )
    ):
        bend = low + high - 2 * here
        if bend < 0:
            out[axis] += float(np.clip(0.5 * (low - high) / bend, -0.5, 0.5))
    return out


def _crop(image: np.ndarray, y: float, x: float, reach: float) -> tuple[np.ndarray, np.ndarray]:
    h, w = image.shape
    top, left = max(0, int(np.floor(y - reach))), max(0, int(np.floor(x - reach)))
    low, far = min(h, int(np.ceil(y + reach)) + 1), min(w, int(np.ceil(x + reach)) + 1)
    if top >= low or left >= far:
        raise ImageError("This place is outside of the image.")
    part = np.asarray(image[top:low, left:far], np.float32)
    bad = ~np.isfinite(part)
    if bad.all():
        raise ImageError("There are no finite pixels at this place.")
    if bad.any():
        part = np.where(bad, np.median(part[~bad]), part)
    return part, np.array([top, left], float)


def measure(
    image: np.ndarray,
    places: Sequence[Sequence[float]],
    others: np.ndarray,
    spacing_px: float,
    *,
    dark: bool = False,
) -> list[dict[str, Any]]:
    """Fit atoms together with their neighbours.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    places : sequence of (y, x)
        The atoms, in pixels.
    others : ndarray, shape (n, 2)
        Atoms that are there already.
    spacing_px : float
    dark : bool
        The image holds minus the grey values of dark columns.

    Returns
    -------
    list of dict
        For each place "y_px" and "x_px" and, where the fit worked, what it measured under
        the names of the atoms table. A fit that runs away by more than half a spacing
        counts as none.
    """
    spots = np.asarray(places, float).reshape(-1, 2)
    plain = [{"y_px": float(y), "x_px": float(x)} for y, x in spots]
    middle = spots.mean(0)
    reach = REACH * spacing_px + 0.5 * float(np.ptp(spots, axis=0).max())
    crop, corner = _crop(image, float(middle[0]), float(middle[1]), reach)
    if min(crop.shape) < 6 or crop.max() == crop.min():
        return plain
    around = np.asarray(others, float).reshape(-1, 2)
    around = around[np.all(np.abs(around - middle) < reach + 0.5 * spacing_px, axis=1)]
    if len(around):
        gap = np.hypot(*(around[:, None] - spots[None]).transpose(2, 0, 1)).min(1)
        around = around[gap > 0.05 * spacing_px]
    start = np.r_[spots, around] - corner
    fit = fit_columns(crop, start, spacing_px, FitParams(steps=8), dark=dark)
    out, placed, floor = [], fit.places(), -fit.background if dark else fit.background
    for k, guess in enumerate(plain):
        y, x = fit.y[k] + corner[0], fit.x[k] + corner[1]
        near = np.hypot(y - guess["y_px"], x - guess["x_px"]) < CATCH * spacing_px
        if not (placed[k] and near and np.isfinite([y, x]).all()):
            out.append(guess)
            continue
        chi2 = np.nan if fit.chi2 is None else float(fit.chi2[k])
        out.append(
            {
                "y_px": float(y), "x_px": float(x), "amplitude": float(fit.amplitude[k]),
                "sigma_px": float(fit.sigma[k]), "background": float(floor[k]),
                "y_err_px": float(fit.y_err[k]), "x_err_px": float(fit.x_err[k]),
                "fit_ok": bool(fit.ok[k]), "chi2": chi2,
                "volume": float(fit.volume[k]), "volume_err": float(fit.volume_err[k]),
            }
        )  # fmt: skip
    return out


def snap(
    image: np.ndarray, y: float, x: float, others: np.ndarray, spacing_px: float
) -> dict[str, Any]:
    """Return the atom under a click: drawn to the local peak, then fitted with its neighbours."""
    return measure(image, [nearest_peak(image, y, x, spacing_px)], others, spacing_px)[0]


def halves(
    image: np.ndarray, y: float, x: float, spacing_px: float, axis_rad: float = float("nan")
) -> list[tuple[float, float]]:
    """Two places into which an atom splits: along its longer axis, found in the image.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    y, x : float
        The atom.
    spacing_px : float
    axis_rad : float, optional
        Direction of the longer axis, counter-clockwise from +x as drawn.
    """
    crop, corner = _crop(image, y, x, 0.5 * spacing_px)
    rows, cols = np.mgrid[: crop.shape[0], : crop.shape[1]]
    dy, dx = rows + corner[0] - y, cols + corner[1] - x
    window = np.exp(-(dy**2 + dx**2) / (2 * (0.3 * spacing_px) ** 2))
    weight = np.clip(crop - np.median(crop), 0, None) * window
    total = float(weight.sum())
    apart = 0.2 * spacing_px
    if total > 0:
        cov = np.array(
            [[np.sum(weight * dx * dx), -np.sum(weight * dx * dy)],
             [-np.sum(weight * dx * dy), np.sum(weight * dy * dy)]]
        ) / total  # fmt: skip
        value, vector = np.linalg.eigh(cov)
        # two equal blobs at +-d have a variance larger by d^2 along the line between them
        longer = np.sqrt(max(value[1] - value[0], 0))
        apart = float(np.clip(longer, 0.2 * spacing_px, 0.4 * spacing_px))
        if not np.isfinite(axis_rad):
            axis_rad = float(np.arctan2(vector[1, 1], vector[0, 1]))
    if not np.isfinite(axis_rad):
        axis_rad = 0.0
    step = apart * np.array([-np.sin(axis_rad), np.cos(axis_rad)])
    return [(float(y - step[0]), float(x - step[1])), (float(y + step[0]), float(x + step[1]))]
