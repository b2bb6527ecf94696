"""Marching squares for many regions at once: every border is followed in step with the others.

A border is a walk along pairs of neighbouring pixels, the one to the left of the way inside
of the region, the one to the right outside. Where the border crosses between the two is
interpolated, which gives one sub-pixel vertex per pair. All regions take a step at a time,
so that the cost is that of the longest border, in numpy, not of a loop over regions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Steps (row, column) up, left, down and right: each is a left turn from the one before.
_ROWS = np.array([-1, 0, 1, 0])
_COLS = np.array([0, -1, 0, 1])


def follow_border(
    inside: Callable[[np.ndarray, np.ndarray], np.ndarray],
    crossing: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    start: np.ndarray,
    heading: np.ndarray,
    width: int,
    longest: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Follow the border of each region counter-clockwise as drawn (y down).

    Parameters
    ----------
    inside : callable
        ``inside(region, pixel)`` says for each region (index) whether its pixel (flat index)
        belongs to it. Pixels on the rim of the field must not.
    crossing : callable
        ``crossing(region, pixel, other)`` is where, as a fraction of the way from a pixel
        inside to its neighbour outside, the border lies.
    start : ndarray of int, shape (n,)
        Flat index of a pixel inside of each region.
    heading : ndarray of int, shape (n,)
        First way: 0 up, 1 left, 2 down, 3 right; the pixel to its right must be outside.
    width : int
        Pixels in a row of the field.
    longest : int
        Borders are cut after so many vertices.

    Returns
    -------
    vertices : ndarray of float32, shape (n, m, 2)
        (row, column); shorter borders repeat their last vertex.
    counts : ndarray of int, shape (n,)
        How many vertices each border has.
    """
    n = len(start)
    step = _ROWS * width + _COLS
    pixel, way = start.copy(), heading.copy()
    counts = np.zeros(n, np.int64)
    active = np.arange(n)
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    while len(active) and len(steps) < longest:
        a, k = pixel[active], way[active]
        right = (k + 3) % 4
        t = crossing(active, a, a + step[right])
        row, col = np.divmod(a, width)
        vertex = np.empty((len(active), 2), np.float32)
        vertex[:, 0] = row + t * _ROWS[right]
        vertex[:, 1] = col + t * _COLS[right]
        steps.append((active, vertex))
        counts[active] += 1
        ahead = a + step[k]
        left_in = inside(active, ahead)
        right_in = left_in & inside(active, ahead + step[right])
        # outside ahead: turn left about this pixel; else go straight on, or round the corner
        a = np.where(left_in, np.where(right_in, ahead + step[right], ahead), a)
        k = np.where(left_in, np.where(right_in, right, k), (k + 1) % 4)
        pixel[active], way[active] = a, k
        active = active[(a != start[active]) | (k != heading[active])]
    m = len(steps)
    vertices = np.zeros((n, max(m, 1), 2), np.float32)
    last = np.zeros((n, 2), np.float32)
    for i, (which, vertex) in enumerate(steps):
        last[which] = vertex
        vertices[:, i] = last
    return vertices, counts


def label_outlines(
    labels: np.ndarray, ids: np.ndarray, first: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Outline labels of an image half-way between inner and outer pixels.

    Parameters
    ----------
    labels : ndarray of int, shape (H, W)
    ids : ndarray of int, shape (n,)
        Which labels.
    first : ndarray of int, shape (n,)
        Flat index of the first pixel of each. Of a label in several pieces the one that
        holds it is outlined.

    Returns
    -------
    vertices : ndarray, shape (n, m, 2)
        See :func:`follow`.
    counts : ndarray of int, shape (n,)
    """
    padded = np.pad(np.asarray(labels), 1)
    flat, width = padded.ravel(), padded.shape[1]
    rows, cols = np.divmod(first, width - 2)

    def inside(region: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        return flat[pixel] == ids[region]

    def crossing(region: np.ndarray, pixel: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.full(len(region), 0.5, np.float32)

    # above the first pixel of a label there is none of it: go left, with the outside above
    vertices, counts = follow_border(
        inside, crossing, (rows + 1) * width + cols + 1, np.ones(len(ids), np.int64), width,
        4 * padded.size,
    )  # fmt: skip
    return vertices - 1, counts
