"""Columns drawn one by one, with nothing of the package: an independent generator."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree


def square(shape: tuple[int, int], spacing: float, turn: float = 0.12) -> np.ndarray:
    """Positions (n, 2) of a square lattice that covers a frame and somewhat more."""
    n = int(2 * max(shape) / spacing)
    i, j = np.mgrid[-n : n + 1, -n : n + 1].reshape(2, -1)
    c, s = spacing * np.cos(turn), spacing * np.sin(turn)
    places = np.c_[3.3 + c * i - s * j, 1.7 + s * i + c * j]
    near = (places > -spacing) & (places < np.array(shape) - 1 + spacing)
    return places[near.all(axis=1)]


def drawn(
    shape: tuple[int, int], places: np.ndarray, height: float | np.ndarray, sigma: float
) -> np.ndarray:
    """Round Gaussians of these heights and this width."""
    y, x = np.arange(shape[0]), np.arange(shape[1])
    heights = np.broadcast_to(height, len(places))
    gy = np.exp(-0.5 * ((y - places[:, :1]) / sigma) ** 2) * heights[:, None]
    gx = np.exp(-0.5 * ((x - places[:, 1:]) / sigma) ** 2)
    return gy.T @ gx


def pairs(found: np.ndarray, true: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of found and true places that are nearest to each other and nearer than `reach`."""
    gap, which = cKDTree(true).query(found)
    back = cKDTree(found).query(true)[1]
    same = (gap < reach) & (back[which] == np.arange(len(found)))
    return np.flatnonzero(same), which[same]
