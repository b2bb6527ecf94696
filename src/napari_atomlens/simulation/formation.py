"""Image formation: columns become intensity, with exact sub-pixel positions.

A column is a (possibly elliptical) Gaussian, optionally with a weaker and wider one
beneath it for the tails of the probe. Overlaps add. Row jitter of the scan is exact,
since every pixel is evaluated where the probe really was.
"""

from __future__ import annotations

import numpy as np

#: Distance between the values of a profile, in sigma.
PROFILE_STEP = 0.25


def _patches(
    shape: tuple[int, int], y: np.ndarray, x: np.ndarray, radius: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel rows, columns and the in-image mask of square patches round each position."""
    offsets = np.arange(-radius, radius + 1)
    rows = np.rint(y).astype(np.int64)[:, None, None] + offsets[None, :, None]
    cols = np.rint(x).astype(np.int64)[:, None, None] + offsets[None, None, :]
    inside = (rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1])
    return rows, cols, inside


def quadratic_form(
    dy: np.ndarray, dx: np.ndarray, sigma: np.ndarray, aspect: np.ndarray, angle: np.ndarray
) -> np.ndarray:
    """Squared Mahalanobis distance to the centre of elliptical columns.

    `sigma` is the geometric mean of the two widths, `aspect` their ratio, `angle` the
    direction of the long axis (radians, counter-clockwise from +x with y down on screen).
    """
    long, short = sigma * np.sqrt(aspect), sigma / np.sqrt(aspect)
    along = dx * np.cos(angle) - dy * np.sin(angle)
    across = dx * np.sin(angle) + dy * np.cos(angle)
    return (along / long) ** 2 + (across / short) ** 2


def render_columns(
    shape: tuple[int, int],
    y: np.ndarray,
    x: np.ndarray,
    amplitude: np.ndarray,
    sigma: np.ndarray | float,
    aspect: np.ndarray | float = 1.0,
    angle: np.ndarray | float = 0.0,
    row_shift: np.ndarray | None = None,
    reach: float = 4.2,
    profile: np.ndarray | None = None,
) -> np.ndarray:
    """Sum of Gaussian columns, or of columns of another profile.

    Parameters
    ----------
    shape : tuple of int
        (H, W) of the image.
    y, x : ndarray, shape (n,)
        Positions in pixels; the centre of the first pixel is (0, 0).
    amplitude, sigma, aspect, angle : ndarray, shape (n,), or float
        Peak intensity, width (px), aspect ratio and direction of each column.
    row_shift : ndarray, shape (H,), optional
        Where each scan row really was, along x, in pixels.
    reach : float
        Columns are cut at this many sigma.
    profile : ndarray, shape (k,), optional
        Height at 0, `PROFILE_STEP`, ... times sigma, 1 at the centre and 0 from its end on;
        `reach` has no meaning then.

    Returns
    -------
    ndarray of float64, shape (H, W)
    """
    n = len(y)
    image = np.zeros(shape[0] * shape[1])
    if n == 0:
        return image.reshape(shape)
    amplitude, sigma, aspect, angle = (
        np.broadcast_to(np.asarray(v, float), (n,)) for v in (amplitude, sigma, aspect, angle)
    )
    if profile is not None:
        reach = PROFILE_STEP * len(profile)
    radius = int(np.ceil(reach * float((sigma * np.sqrt(aspect)).max()))) + 1
    if row_shift is not None:
        radius += int(np.ceil(np.abs(row_shift).max()))
    # patches are made in chunks: memory stays bounded for large images
    per_chunk = max(1, 2_000_000 // (2 * radius + 1) ** 2)
    for start in range(0, n, per_chunk):
        part = slice(start, start + per_chunk)
        rows, cols, inside = _patches(shape, y[part], x[part], radius)
        dy = rows - y[part, None, None]
        dx = cols - x[part, None, None]
        if row_shift is not None:
            dx = dx + row_shift[np.clip(rows, 0, shape[0] - 1)]
        q = quadratic_form(
            dy, dx, sigma[part, None, None], aspect[part, None, None], angle[part, None, None]
        )
        if profile is None:
            height = np.exp(-0.5 * q)
        else:
            at = np.arange(len(profile) + 1)
            height = np.interp(np.sqrt(q) / PROFILE_STEP, at, np.append(profile, 0.0))
        values = amplitude[part, None, None] * height
        flat = (rows * shape[1] + cols)[inside]
        image += np.bincount(flat, values[inside], minlength=image.size)
    return image.reshape(shape)


def render_truth(
    shape: tuple[int, int],
    y: np.ndarray,
    x: np.ndarray,
    radius: np.ndarray,
    aspect: np.ndarray,
    angle: np.ndarray,
    brightness: np.ndarray,
    peak_sigma: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render what a network is to learn, at sub-pixel positions.

    Parameters
    ----------
    radius : ndarray, shape (n,)
        Radius of the outline (geometric mean of the half axes) in pixels.
    brightness : ndarray, shape (n,)
        1 for a column much brighter than its surroundings, 0 for an ordinary one.
    peak_sigma : float
        Width of the peak drawn at each centre, in pixels.

    Returns
    -------
    column, bright, peaks : ndarray of float32, shape (H, W)
        Coverage by ordinary and by much brighter columns (anti-aliased, together at
        most 1), and a Gaussian peak of height 1 at every centre.
    """
    size = shape[0] * shape[1]
    cover, bright, peaks = (np.zeros(size, np.float32) for _ in range(3))
    if len(y):
        reach = int(np.ceil(max(float((radius * np.sqrt(aspect)).max()), 3 * peak_sigma))) + 1
        rows, cols, inside = _patches(shape, y, x, reach)
        dy, dx = rows - y[:, None, None], cols - x[:, None, None]
        q = quadratic_form(
            dy, dx, radius[:, None, None], aspect[:, None, None], angle[:, None, None]
        )
        # a ramp one pixel wide across the outline
        part = np.clip(0.5 - (np.sqrt(q) - 1) * radius[:, None, None], 0, 1)
        peak = np.exp(-0.5 * (dy**2 + dx**2) / peak_sigma**2)
        flat = (rows * shape[1] + cols)[inside]
        weight = np.broadcast_to(brightness[:, None, None], part.shape)[inside]
        part, peak = part[inside], peak[inside]
        np.maximum.at(cover, flat, part.astype(np.float32))
        np.maximum.at(bright, flat, (part * weight).astype(np.float32))
        np.maximum.at(peaks, flat, peak.astype(np.float32))
    bright = np.minimum(bright, cover)
    return (
        (cover - bright).reshape(shape),
        bright.reshape(shape),
        peaks.reshape(shape),
    )
