"""Terraces as regions with heights, and the step edges between them as lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import arrays
from napari_atomlens.points import connected
from napari_atomlens.stm.background import (
    bridged,
    facet_slope,
    finite_image,
    fit_surface,
    line_median,
    subtract_facet,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Terraces:
    """Terraces of a scan.

    Attributes
    ----------
    labels : ndarray of int, shape (H, W)
        Terrace of every pixel, 0 the lowest.
    table : pandas.DataFrame
        One row per terrace: ``terrace``, ``height`` over the lowest (units of the image),
        ``area_px2``, ``rms``.
    edges : pandas.DataFrame
        One row per edge: ``edge_id``, ``lower``, ``upper`` (terraces), ``height``,
        ``length_px``.
    lines : list of ndarray, each (n, 2)
        The edges, (row, column) in pixels, in the order of the rows of `edges`.
    levelled : ndarray, shape (H, W)
        The scan without slope and offsets of lines, every terrace at its height.
    flat : ndarray, shape (H, W)
        The same with all terraces at height zero.
    """

    labels: np.ndarray
    table: pd.DataFrame
    edges: pd.DataFrame
    lines: list[np.ndarray]
    levelled: np.ndarray
    flat: np.ndarray


def find_terraces(
    image: ArrayLike,
    *,
    pixel_size_nm: float | None = None,
    min_step: float = 0.0,
    smooth_px: float = 0.0,
    min_area_px2: float = 0.0,
) -> Terraces:
    """Find terraces and step edges.

    Regions without strong slope are grown until they meet; neighbours whose heights along
    their common border differ by less than a step are one. Heights, slope and offsets of
    lines are then fitted together, so that a line that crosses a step is levelled rightly.

    Parameters
    ----------
    image : array-like, shape (H, W)
    pixel_size_nm : float, optional
        Pixel size; sets the smoothing to 0.35 nm.
    min_step : float
        Smallest step, in units of the image; 0 takes it from the image.
    smooth_px : float
        Smoothing that hides the lattice; 0 chooses.
    min_area_px2 : float
        Smaller regions are no terraces (contaminants); 0 chooses.

    Returns
    -------
    Terraces
    """
    from skimage.segmentation import watershed

    z = finite_image(image, 16)
    missing = ~np.isfinite(z)
    z = subtract_facet(bridged(z))
    # offsets of lines over a short distance; the slow part cannot be told from the surface yet
    jumps = np.concatenate([[0.0], np.cumsum(line_median(np.diff(z, axis=0)))])
    jumps -= scipy.ndimage.gaussian_filter1d(jumps, max(3.0, z.shape[0] / 40), mode="nearest")
    z = z - jumps[:, None]
    sigma = smooth_px or (0.35 / pixel_size_nm if pixel_size_nm else min(z.shape) / 120)
    sigma = float(np.clip(sigma, 1.0, min(z.shape) / 12))
    area = min_area_px2 or max(60.0, 0.004 * z.size)
    s = scipy.ndimage.gaussian_filter(z, sigma)
    slope = np.hypot(
        scipy.ndimage.gaussian_filter(z, sigma, (0, 1)),
        scipy.ndimage.gaussian_filter(z, sigma, (1, 0)),
    )
    to_step = sigma * np.sqrt(2 * np.pi)  # peak slope of a smoothed step of height one
    noise = arrays.spread(slope) + np.median(slope)
    step = min_step or max(4.0 * noise * to_step, 1e-12 * max(np.abs(z).max(), 1e-300))
    quiet = scipy.ndimage.binary_opening(slope < 0.45 * step / to_step, iterations=1)
    markers, n = scipy.ndimage.label(quiet)
    sizes = np.bincount(markers.ravel(), minlength=n + 1)
    keep = sizes >= area
    keep[0] = False
    labels = np.zeros(z.shape, int)
    if keep.sum() >= 2:
        # borders are found on a coarser grid, which the smoothing allows; lines on the full one
        f = max(1, int(sigma / 2))
        coarse = (slice(f // 2, None, f), slice(f // 2, None, f))
        number = np.where(keep, np.cumsum(keep), 0)
        found = watershed(slope[coarse], number[markers[coarse]]) - 1
        found = _merge(found, s[coarse], step, sigma / f, quiet[coarse])
        found = _refine(found, s[coarse], sigma / f)
        heights, plane, lines = _fit(z, _fine(found, f, z.shape), quiet)
        flat = z - plane - lines[:, None]
        if found.max():
            found = _refine(found, scipy.ndimage.gaussian_filter(flat, sigma)[coarse], sigma / f)
        labels = _fine(np.unique(found, return_inverse=True)[1].reshape(found.shape), f, z.shape)
    heights, plane, lines = _fit(z, labels, quiet)
    flat = z - plane - lines[:, None] - heights[labels]
    order = np.argsort(heights, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    labels, heights = rank[labels], heights[order] - heights[order[0]]
    levelled = flat + heights[labels]
    edges, paths = _edges(
        labels, heights, scipy.ndimage.gaussian_filter(levelled, 0.6 * sigma), sigma
    )
    k = np.arange(len(heights))
    table = pd.DataFrame(
        {
            "terrace": k, "height": heights,
            "area_px2": np.bincount(labels.ravel(), minlength=len(k)),
            "rms": [arrays.spread(flat[labels == t], centre=0.0) for t in k],
        }
    )  # fmt: skip
    levelled[missing] = np.nan
    flat[missing] = np.nan
    return Terraces(labels, table, edges, paths, levelled, flat)


def _fine(labels: np.ndarray, f: int, shape: tuple[int, int]) -> np.ndarray:
    """Labels of a grid that is `f` times coarser, on the grid of the image."""
    rows = np.minimum(np.arange(shape[0]) // f, labels.shape[0] - 1)
    cols = np.minimum(np.arange(shape[1]) // f, labels.shape[1] - 1)
    return np.asarray(labels[rows[:, None], cols[None]])


def _pairs(labels: np.ndarray) -> np.ndarray:
    """Pairs of labels that touch, each once, (n, 2) with the smaller first."""
    both = np.concatenate([
        np.stack([labels[:-1].ravel(), labels[1:].ravel()], 1),
        np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], 1),
    ])  # fmt: skip
    both = both[both[:, 0] != both[:, 1]]
    return np.unique(np.sort(both, axis=1), axis=0)


def _merge(
    labels: np.ndarray, s: np.ndarray, step: float, sigma: float, quiet: np.ndarray
) -> np.ndarray:
    """Join regions whose heights differ by less than a step along their common border."""
    for _ in range(4):
        pairs = _pairs(labels)
        joined = []
        for a, b in pairs:
            in_a, in_b = labels == a, labels == b
            reach = 6 * sigma
            near_a = in_a & quiet & (scipy.ndimage.distance_transform_edt(~in_b) < reach)
            near_b = in_b & quiet & (scipy.ndimage.distance_transform_edt(~in_a) < reach)
            if near_a.sum() < 5 or near_b.sum() < 5:
                near_a, near_b = in_a, in_b
            if abs(np.median(s[near_a]) - np.median(s[near_b])) < 0.6 * step:
                joined.append((a, b))
        if not joined:
            break
        n = labels.max() + 1
        labels = connected(np.array(joined), n)[labels]
    return labels


def _refine(labels: np.ndarray, s: np.ndarray, sigma: float) -> np.ndarray:
    """Move borders to where the height is midway between the terraces."""
    out = labels.copy()
    for a, b in _pairs(labels):
        in_a, in_b = labels == a, labels == b
        da, db = (
            scipy.ndimage.distance_transform_edt(~in_a),
            scipy.ndimage.distance_transform_edt(~in_b),
        )
        side_a = in_a & (db > 2 * sigma) & (db < 10 * sigma)
        side_b = in_b & (da > 2 * sigma) & (da < 10 * sigma)
        if side_a.sum() < 5 or side_b.sum() < 5:
            continue
        ha, hb = np.median(s[side_a]), np.median(s[side_b])
        band = (in_a | in_b) & (da < 3.5 * sigma) & (db < 3.5 * sigma)
        nearer_a = np.abs(s - ha) < np.abs(s - hb)
        out[band] = np.where(nearer_a[band], a, b)
    # no islands of a few pixels: a pixel belongs with most of its surroundings
    names = np.unique(out)
    if len(names) < 2:
        return out
    share = np.stack(
        [
            scipy.ndimage.uniform_filter((out == k).astype(np.float32), 2 * int(sigma) + 1)
            for k in names
        ]
    )
    return names[share.argmax(0)]


def _fit(
    z: np.ndarray, labels: np.ndarray, quiet: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heights of the terraces, plane and offsets of the lines, by turns."""
    n = labels.max() + 1
    heights, lines = np.zeros(n), np.zeros(z.shape[0])
    plane = np.zeros(z.shape)
    use = quiet if quiet.mean() > 0.2 else np.ones(z.shape, bool)
    index = np.arange(n)
    for _ in range(6):
        rest = z - plane - lines[:, None]
        thin = (slice(None, None, 3), slice(None, None, 3))
        heights = np.asarray(scipy.ndimage.median(rest[thin], labels[thin], index))
        rest = z - lines[:, None] - heights[labels]
        y, x = facet_slope(np.where(use, rest - plane, np.nan), max(2, min(z.shape) // 8))
        dy = np.arange(z.shape[0])[:, None] - (z.shape[0] - 1) / 2
        dx = np.arange(z.shape[1])[None] - (z.shape[1] - 1) / 2
        plane = plane + y * dy + x * dx
        rest = z - plane - heights[labels]
        lines = line_median(np.where(use, rest, np.nan))
        if n > 1:  # a slope of the offsets down the scan belongs to the plane
            t = np.arange(len(lines))
            lines = lines - np.polyval(np.polyfit(t, lines, 1), t)
    if n == 1:
        plane = fit_surface(z - lines[:, None] - heights[0], 1, use)
    return heights, plane, lines


def _edges(
    labels: np.ndarray, heights: np.ndarray, s: np.ndarray, sigma: float
) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Edges between neighbouring terraces, at half the height of the step."""
    from skimage.measure import find_contours

    rows: list[tuple[int, int, int, float, float]] = []
    paths = []
    for a, b in _pairs(labels):
        band = scipy.ndimage.binary_dilation(labels == a, iterations=int(2 * sigma) + 1)
        band &= scipy.ndimage.binary_dilation(labels == b, iterations=int(2 * sigma) + 1)
        mid = (heights[a] + heights[b]) / 2
        # far from the step, and where something lies upon it, the border of the labels counts
        border = (
            scipy.ndimage.gaussian_filter(
                np.where(labels == b, 1.0, np.where(labels == a, 0.0, 0.5)), 1.0
            )
            - 0.5
        )
        height = (s - mid) / max(heights[b] - heights[a], 1e-300)
        trust = np.abs(height) < 0.75
        field = np.where(trust, 0.5 * height + 0.5 * border, border)
        for line in find_contours(field, 0.0, mask=band):
            length = float(np.hypot(*np.diff(line, axis=0).T).sum())
            if length < 4 * sigma:
                continue
            rows.append((len(rows), int(a), int(b), float(heights[b] - heights[a]), length))
            paths.append(line)
    names = ["edge_id", "lower", "upper", "height", "length_px"]
    return pd.DataFrame(rows, columns=names), paths
