"""Sub-pixel outlines of atoms in the probability map, all atoms of a frame at once.

Rays are cast from every centre; where the probability of a column falls through the
level, linear interpolation gives a sub-pixel vertex. A ray never passes the border to
the nearest neighbours (the perpendicular bisector), so that touching atoms keep apart.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_atomlens import tables

N_RAYS = 24
#: Neighbours whose bisectors limit an outline.
N_NEIGHBOURS = 8
CHUNK = 512


def outline(
    probabilities: np.ndarray, atoms: pd.DataFrame, *, frame: int = 0, level: float = 0.5
) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Outline every atom of one frame.

    Parameters
    ----------
    probabilities : ndarray, shape (n_classes, H, W)
        Class probabilities, background first and contamination last.
    atoms : pandas.DataFrame
        Atoms table of the frame.
    frame : int
        Value for the column ``frame``.
    level : float
        Probability of a column on the outline. Where an atom's own probability is below
        it at the centre, half of that probability is taken instead.

    Returns
    -------
    contours : pandas.DataFrame
        Contours table, in the order of `atoms`.
    outlines : list of ndarray, each (24, 2)
        Vertices (row, column) in pixels, counter-clockwise as drawn from +x; the last
        vertex joins the first.
    """
    if not len(atoms):
        return tables.empty("contours"), []
    centres = atoms[["y_px", "x_px"]].to_numpy(float)
    columns = np.asarray(probabilities[1:-1], np.float32).sum(0)
    polygons = cast_rays(columns, centres, level)
    table = {
        "frame": frame,
        "atom_id": atoms["atom_id"].to_numpy(),
        **describe(polygons, centres),
    }
    return tables.make("contours", table, len(atoms)), list(polygons)


def cast_rays(columns: np.ndarray, centres: np.ndarray, level: float) -> np.ndarray:
    """Vertices where rays from each centre fall through the level, shape (n, N_RAYS, 2)."""
    n, (h, w) = len(centres), columns.shape
    angle = 2 * np.pi * np.arange(N_RAYS) / N_RAYS
    direction = np.c_[-np.sin(angle), np.cos(angle)].astype(np.float32)
    if n > 1:
        distance, near = cKDTree(centres).query(centres, k=min(N_NEIGHBOURS + 1, n))
        distance, near = distance[:, 1:], near[:, 1:]
        typical = float(np.median(distance[:, 0]))
    else:
        distance, near = np.zeros((1, 0)), np.zeros((1, 0), int)
        typical = min(h, w) / 2.0
    # outlines are drawn at most 0.7 of the typical distance from the centre
    farthest = 0.7 * typical
    steps = int(np.clip(np.ceil(farthest / 0.75), 6, 48))
    fraction = np.linspace(0, 1, steps + 1, dtype=np.float32)
    radius = np.empty((n, N_RAYS), np.float32)

    def cast(c: slice) -> None:
        # along a ray u the bisector to a neighbour at d is at |d|^2 / (2 u.d)
        d = (centres[near[c]] - centres[c, None]).astype(np.float32)
        ahead = np.maximum(d @ direction.T, 1e-6)
        bisector = (distance[c] ** 2).astype(np.float32)[:, :, None] / (2 * ahead)
        limit = np.minimum(bisector.min(1, initial=np.inf), farthest)
        along = limit[:, :, None] * fraction
        start = centres[c].astype(np.float32)
        y = start[:, 0, None, None] + direction[:, 0][None, :, None] * along
        x = start[:, 1, None, None] + direction[:, 1][None, :, None] * along
        values = _bilinear(columns, y, x)
        own = values[:, :1, :1]
        target = np.where(own > level, level, 0.5 * own)
        below = values < target
        below[:, :, 0] = False
        first = below.argmax(2)
        crossed = below.any(2)
        index = np.maximum(first, 1)[:, :, None]
        after = np.take_along_axis(values, index, 2)[:, :, 0]
        before = np.take_along_axis(values, index - 1, 2)[:, :, 0]
        part = (before - target[:, :, 0]) / np.maximum(before - after, 1e-9)
        at = (index[:, :, 0] - 1 + np.clip(part, 0, 1)) / steps
        radius[c] = limit * np.where(crossed, at, 1.0)

    slices = [slice(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
    with ThreadPoolExecutor(max_workers=min(4, len(slices))) as pool:
        list(pool.map(cast, slices))
    vertices = centres[:, None] + radius[:, :, None] * direction
    return np.clip(vertices, -0.5, [h - 0.5, w - 0.5])


def _bilinear(image: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Bilinear interpolation with the border repeated; float32 throughout."""
    h, w = image.shape
    y, x = np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)
    top = np.minimum(y.astype(np.int32), max(h - 2, 0))
    left = np.minimum(x.astype(np.int32), max(w - 2, 0))
    v, u = y - top, x - left
    at = top * np.int32(w) + left
    flat = image.ravel()
    upper = flat[at] * (1 - u) + flat[at + 1] * u
    lower = flat[at + w] * (1 - u) + flat[at + w + 1] * u
    return upper * (1 - v) + lower * v


def describe(polygons: np.ndarray, centres: np.ndarray) -> dict[str, np.ndarray]:
    """Shape descriptors of closed polygons, exact for the polygon (Green's theorem).

    Parameters
    ----------
    polygons : ndarray, shape (n, m, 2)
        Vertices (row, column).
    centres : ndarray, shape (n, 2)
        Positions of the atoms, from which the offset is measured.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        Columns of the contours table. ``major_px`` and ``minor_px`` are the axes of the
        ellipse with the same second moments; ``orientation_rad`` is the direction of the
        major axis in (-pi/2, pi/2], counter-clockwise from +x as drawn.
    """
    p = polygons - centres[:, None]
    y, x = p[..., 0], p[..., 1]
    y1, x1 = np.roll(y, -1, 1), np.roll(x, -1, 1)
    cross = x * y1 - x1 * y
    signed = 0.5 * cross.sum(1)
    area = np.abs(signed)
    safe = np.where(np.abs(signed) > 1e-12, signed, np.nan)
    cx = ((x + x1) * cross).sum(1) / (6 * safe)
    cy = ((y + y1) * cross).sum(1) / (6 * safe)
    xx = ((x**2 + x * x1 + x1**2) * cross).sum(1) / (12 * safe) - cx**2
    yy = ((y**2 + y * y1 + y1**2) * cross).sum(1) / (12 * safe) - cy**2
    xy = ((x * y1 + 2 * x * y + 2 * x1 * y1 + x1 * y) * cross).sum(1) / (24 * safe) - cx * cy
    spread = np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    mean = (xx + yy) / 2
    major, minor = mean + spread, np.maximum(mean - spread, 0)
    # y points down on screen: the angle as drawn has the opposite sign
    orientation = -0.5 * np.arctan2(2 * xy, xx - yy)
    hull = _hull_area(p)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "area_px2": area,
            "perimeter_px": np.hypot(y1 - y, x1 - x).sum(1),
            "major_px": 4 * np.sqrt(major),
            "minor_px": 4 * np.sqrt(minor),
            "eccentricity": np.sqrt(np.clip(1 - minor / major, 0, 1)),
            "orientation_rad": np.where(orientation <= -np.pi / 2, np.pi / 2, orientation),
            "solidity": np.clip(area / hull, 0, 1),
            "offset_y_px": cy,
            "offset_x_px": cx,
        }


def _hull_area(p: np.ndarray) -> np.ndarray:
    """Area of the convex hull, from the support function in 96 directions.

    A hull is the intersection of the half planes that touch it. With h the support
    function, its area is 1/2 of the integral of h (h + h'') over the angle; the sum over
    the corners between neighbouring half planes is exact for a polygon with these normals.
    """
    angle = 2 * np.pi * np.arange(96) / 96
    normal = np.c_[np.sin(angle), np.cos(angle)]
    h = np.concatenate([(p[i : i + CHUNK] @ normal.T).max(1) for i in range(0, len(p), CHUNK)])
    following = np.roll(h, -1, 1)
    before = np.roll(h, 1, 1)
    step = angle[1]
    side = (following + before - 2 * h * np.cos(step)) / np.sin(step)
    return 0.5 * (h * np.maximum(side, 0)).sum(1)


def label_image(outlines: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Fill outlines into a label image: the i-th outline becomes i + 1.

    Parameters
    ----------
    outlines : list of ndarray, each (m, 2)
    shape : tuple of int
        (H, W).

    Returns
    -------
    ndarray of int32, shape (H, W)
    """
    from skimage.draw import polygon

    labels = np.zeros(shape, np.int32)
    for i, vertices in enumerate(outlines):
        rows, cols = polygon(vertices[:, 0], vertices[:, 1], shape)
        labels[rows, cols] = i + 1
    return labels
