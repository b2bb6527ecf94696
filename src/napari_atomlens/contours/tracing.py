"""Sub-pixel outlines of atoms in the probability map, all atoms of a frame at once.

Marching squares (:mod:`napari_atomlens.contours.follow`) on a patch round every atom. An
atom's region is where the probability of a column lies above the level, on the atom's side
of the perpendicular bisectors to its neighbours, so that touching atoms keep apart.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import tables
from napari_atomlens.contours.follow import follow_border
from napari_atomlens.contours.polygons import (
    LONG,
    basic_shape,
    fill_polygons,
    padded,
    ragged,
)
from napari_atomlens.errors import ImageError
from napari_atomlens.image import as_pixels
from napari_atomlens.params import number_between
from napari_atomlens.progress import Progress, ProgressLike, as_progress

#: Neighbours whose bisectors limit an outline.
N_NEIGHBOURS = 8
#: Outlines are drawn at most so far from the centre, over the distance between neighbours.
FARTHEST = 0.7
#: Atoms closer together than this (px) are outlined on a map of twice the sampling.
COARSE = 16.0
#: Sampling is made so many times finer at most.
MOST_ZOOM = 16
#: Pixels of the patches that are worked on at a time.
CHUNK_PIXELS = 1 << 18
#: Pixels of a band of a large map; maps up to 2048 x 2048 are one.
BAND_PIXELS = 1 << 22


def _checked_map(probability: object, frame: object, level: object) -> np.ndarray:
    """Return the map of one frame, if it and what goes with it can be used."""
    found = as_pixels(probability).astype(np.float32)
    if found.ndim != 2 or not found.size:
        raise ImageError(f"A map of one frame has two axes, but this has {found.ndim}.")
    number_between("frame", frame, -1, 2**40, whole=True)
    number_between("level", level, 1e-6, 1)
    return found


def outline(
    probability: np.ndarray,
    atoms: pd.DataFrame,
    *,
    frame: int = 0,
    level: float = 0.5,
    which: np.ndarray | None = None,
    progress: ProgressLike = None,
) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Outline every atom of one frame.

    Parameters
    ----------
    probability : ndarray, shape (H, W)
        Probability of a column (:attr:`napari_atomlens.segmentation.Probabilities.columns`).
    atoms : pandas.DataFrame
        Atoms table of the frame.
    frame : int
        Value for the column ``frame``.
    level : float
        Probability of a column on the outline. Where an atom's own probability is below
        it at the centre, half of that probability is taken instead.
    which : ndarray of int, optional
        Rows of `atoms` to outline; the others are only their neighbours. All by default.
    progress : Progress or callable, optional
        Asked while it works whether to stop.

    Returns
    -------
    contours : pandas.DataFrame
        Contours table, in the order of `atoms` or of `which`;
        :func:`napari_atomlens.describe_contours` adds the other descriptors.
    outlines : list of ndarray, each (n_vertices, 2)
        Vertices (row, column) in pixels, counter-clockwise as drawn from about +x; the last
        vertex joins the first.

    Raises
    ------
    StoppedError
        If it is asked to stop.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> probabilities = al.segment(image, spacing_px=10.0)
    >>> atoms = al.find_atoms(probabilities)
    >>> contours, outlines = al.outline(probabilities.columns, atoms)
    >>> len(contours) == len(outlines)
    True
    """
    atoms = tables.check_table(atoms, ("y_px", "x_px", "atom_id"))
    probability = _checked_map(probability, frame, level)
    which = None if which is None else tables.chosen_rows(which, len(atoms))
    if not len(atoms) or (which is not None and not len(which)):
        return tables.empty("contours"), []
    centres, watch = atoms[["y_px", "x_px"]].to_numpy(float), as_progress(progress)
    vertices, counts = trace(probability, centres, level, watch, which)
    watch.check()
    rows = slice(None) if which is None else which
    ids = atoms["atom_id"].to_numpy()[rows]
    table = {"frame": frame, "atom_id": ids, **outline_shapes(vertices, centres[rows])}
    return tables.make("contours", table, len(vertices)), ragged(vertices, counts)


def trace(
    probability: np.ndarray,
    centres: np.ndarray,
    level: float = 0.5,
    watch: Progress = Progress(),
    which: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Outlines round centres in one map.

    Parameters
    ----------
    probability : ndarray, shape (H, W)
        Probability of a column.
    centres : ndarray, shape (n, 2)
        (row, column) in pixels.
    level : float
        See :func:`outline`.
    watch : Progress
        Asked before each chunk of atoms whether to stop.
    which : ndarray of int, optional
        Rows of the centres to outline; the others are only their neighbours.

    Returns
    -------
    vertices : ndarray, shape (n, m, 2)
        Of all, or of `which`. Shorter outlines repeat their last vertex.
    counts : ndarray of int, shape (n,)
    """
    n = len(centres)
    if n > 1:
        distance, near = scipy.spatial.cKDTree(centres).query(centres, k=min(N_NEIGHBOURS + 1, n))
        distance, near = distance[:, 1:], near[:, 1:]
        apart = distance[:, 0][distance[:, 0] > 0]  # atoms may lie on one another
        typical = float(np.median(apart)) if len(apart) else min(probability.shape) / 2.0
    else:
        distance, near = np.zeros((1, 0)), np.zeros((1, 0), int)
        typical = min(probability.shape) / 2.0
    zoom = 1
    while (
        zoom * typical < COARSE and zoom < MOST_ZOOM
    ):  # small atoms: vertices a pixel apart would cut their corners
        zoom *= 2
    places, distance = zoom * centres, zoom * distance
    farthest = max(FARTHEST * zoom * typical, 1.5)
    radius = int(np.ceil(farthest)) + 1
    chunk = max(1, CHUNK_PIXELS // (2 * radius + 1) ** 2)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    rows = np.arange(n) if which is None else np.asarray(which)
    # frames side by side have one thread each, which is then no matter for a pool
    torch = sys.modules.get("torch")
    workers = min(4, len(rows) // chunk, torch.get_num_threads() if torch else 4)
    with ThreadPoolExecutor(workers) if workers > 1 else nullcontext() as pool:
        for here, low, high in _bands(centres[rows], probability.shape, 2 * radius // zoom + 4):
            fine = probability[low:high]
            for _ in range(zoom.bit_length() - 1):
                fine = between(fine)
            rimmed = np.pad(fine, radius, mode="edge")
            shift = np.array([zoom * low, 0])

            def one(
                k: np.ndarray, rimmed: np.ndarray = rimmed, shift: np.ndarray = shift
            ) -> tuple[np.ndarray, np.ndarray]:
                watch.check()
                c = rows[k]
                around = places[near[c]] - places[c, None]
                vertices, counts = _trace_patches(
                    rimmed, places[c] - shift, around, distance[c], radius, farthest, level
                )
                return vertices + shift.astype(vertices.dtype), counts

            chunks = [here[i : i + chunk] for i in range(0, len(here), chunk)]
            done = pool.map(one, chunks) if pool else map(one, chunks)
            found += [(k, *part) for k, part in zip(chunks, done, strict=True)]
    longest = max(v.shape[1] for _, v, _ in found)
    vertices = np.empty((len(rows), longest, 2), found[0][1].dtype)
    counts = np.empty(len(rows), np.int64)
    while found:  # of large images every copy counts
        k, some, many = found.pop()
        vertices[k], counts[k] = lengthened(some, longest), many
    vertices /= zoom
    return vertices, counts


def _bands(
    centres: np.ndarray, shape: tuple[int, ...], margin: int
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yield the atoms of a band of rows, and the rows that their surroundings need."""
    height = max(1, BAND_PIXELS // shape[1])
    band = np.clip(centres[:, 0] // height, 0, (shape[0] - 1) // height).astype(int)
    for k in np.unique(band):
        low, high = max(0, k * height - margin), min(shape[0], (k + 1) * height + margin)
        here = np.flatnonzero(band == k)
        y = np.clip(centres[here, 0], 0, shape[0] - 1)
        top, bottom = y.min() - margin, y.max() + margin + 2
        yield here, max(int(low), int(top)), min(int(high), int(bottom))


def lengthened(vertices: np.ndarray, m: int) -> np.ndarray:
    """Polygons (n, k, 2) with their last vertex repeated until there are `m`."""
    more = np.repeat(vertices[:, -1:], m - vertices.shape[1], axis=1)
    return np.concatenate([vertices, more], axis=1)


def between(image: np.ndarray) -> np.ndarray:
    """Image at twice the sampling: cubic in between, pixel (2 i, 2 j) is the old (i, j)."""
    for axis in (0, 1):
        moved = np.moveaxis(np.asarray(image, np.float32), axis, 0)
        rim = np.concatenate([moved[:1], moved, moved[-1:]])
        fine = np.empty((2 * len(moved) - 1, *moved.shape[1:]), np.float32)
        fine[::2] = moved
        inner = rim[1:-2] + rim[2:-1]
        fine[1::2] = 0.5625 * inner - 0.0625 * (rim[:-3] + rim[3:])
        image = np.moveaxis(fine, 0, axis)
    return np.ascontiguousarray(image)


def _trace_patches(
    rimmed: np.ndarray,
    centres: np.ndarray,
    neighbours: np.ndarray,
    distance: np.ndarray,
    radius: int,
    farthest: float,
    level: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Trace the outlines of some atoms; `rimmed` is the map with a rim of `radius` pixels."""
    n, size = len(centres), 2 * radius + 1
    h, w = rimmed.shape[0] - 2 * radius, rimmed.shape[1] - 2 * radius
    corner = np.clip(np.rint(centres).astype(np.int64), 0, [h - 1, w - 1])
    view: np.ndarray = np.lib.stride_tricks.sliding_window_view(rimmed, (size, size))
    value = view[corner[:, 0], corner[:, 1]]
    # distance of each pixel from the centre, by axis, and to what limits the atom's region
    offset = (corner - centres).astype(np.float32)
    axis = np.arange(-radius, radius + 1, dtype=np.float32)
    dy, dx = offset[:, :1] + axis, offset[:, 1:] + axis
    reach = np.float32(farthest)
    room = reach - np.sqrt((dy**2)[:, :, None] + (dx**2)[:, None, :])
    # past the image there is nothing: the border lies half a pixel beyond the last one
    y, x = (corner[:, :1] + axis).astype(np.float32), (corner[:, 1:] + axis).astype(np.float32)
    edge_y, edge_x = np.minimum(y + 0.5, h - 0.5 - y), np.minimum(x + 0.5, w - 0.5 - x)
    cut = np.flatnonzero((edge_y.min(1) < 0) | (edge_x.min(1) < 0))
    if len(cut):
        frame = np.minimum(edge_y[cut, :, None], edge_x[cut, None, :])
        room[cut] = np.minimum(room[cut], frame)
    for k in range(neighbours.shape[1]):
        # only those near enough to take something away
        some = np.flatnonzero((distance[:, k] < 2 * farthest) & (distance[:, k] > 1e-6))
        if not len(some):
            break
        half = (0.5 * distance[some, k]).astype(np.float32)
        unit = (neighbours[some, k] / distance[some, k, None]).astype(np.float32)
        along_y = half[:, None] - dy[some] * unit[:, :1]
        along_x = dx[some] * unit[:, 1:]
        bisector = along_y[:, :, None] - along_x[:, None, :]
        if len(some) == n:
            np.minimum(room, bisector, out=room)
        else:
            room[some] = np.minimum(room[some], bisector)
    own = _at_centre(value, -offset, radius)
    value = value - np.where(own > level, level, 0.5 * own)[:, None, None]
    start = _start(value, room, radius)
    each = np.arange(n)
    rows, cols = np.divmod(start, size)
    value[each, rows, cols] = np.maximum(value[each, rows, cols], 1e-6)
    room[each, rows, cols] = np.maximum(room[each, rows, cols], 1e-3)
    within = (value > 0) & (room > 0)
    flat, area = within.ravel(), size * size
    values, rooms = value.ravel(), room.ravel()

    def inside(which: np.ndarray, region: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        return flat[which[region] * area + pixel]

    def crossing(
        which: np.ndarray, region: np.ndarray, pixel: np.ndarray, other: np.ndarray
    ) -> np.ndarray:
        a, b = which[region] * area + pixel, which[region] * area + other
        t = np.ones(len(region), np.float32)
        for field in (values, rooms):
            first, second = field[a], field[b]
            falls = second <= 0
            t = np.where(falls, np.minimum(t, first / np.maximum(first - second, 1e-12)), t)
        return t

    # to the right of the start, the first pixel that is outside: up, with it to the right
    row = within[each, rows]
    row = row | (np.arange(size) <= cols[:, None])
    vertices: np.ndarray = np.zeros((n, 1, 2), np.float32)
    counts = np.zeros(n, np.int64)
    left = each
    for _ in range(4):
        begin = rows[left] * size + np.argmin(row[left], axis=1) - 1
        some, many = follow_border(
            partial(inside, left), partial(crossing, left), begin,
            np.zeros(len(left), np.int64), size, 4 * area,
        )  # fmt: skip
        longest: int = max(vertices.shape[1], some.shape[1])  # type: ignore[misc]
        vertices = lengthened(vertices, longest)
        vertices[left] = lengthened(some, longest)
        counts[left] = many
        # clockwise: the border of a hole; look behind it
        y1, x1 = vertices[left, :, 0], vertices[left, :, 1]
        turn = (y1 * np.roll(x1, -1, 1) - x1 * np.roll(y1, -1, 1)).sum(1)
        left = left[turn < 0]
        if not len(left):
            break
        gap = np.argmin(row[left], axis=1)
        behind = within[left, rows[left]] & (np.arange(size) > gap[:, None])
        again = np.where(behind.any(1), np.argmax(behind, axis=1), gap)
        row[left] |= np.arange(size) <= again[:, None]
    vertices += (corner - radius).astype(np.float32)[:, None]
    return vertices.astype(float), counts


def _at_centre(value: np.ndarray, delta: np.ndarray, radius: int) -> np.ndarray:
    """Bilinear value `delta` (at most a pixel) from the middle of each patch."""
    each = np.arange(len(value))
    delta = np.clip(delta, -1, 1)
    low = np.minimum(np.floor(delta).astype(np.int64), 0)
    v, u = (delta - low).T
    r, c = (low + radius).T
    upper = value[each, r, c] * (1 - u) + value[each, r, c + 1] * u
    lower = value[each, r + 1, c] * (1 - u) + value[each, r + 1, c + 1] * u
    return upper * (1 - v) + lower * v


def _start(value: np.ndarray, room: np.ndarray, radius: int) -> np.ndarray:
    """Flat index of a pixel inside of each region, next to the middle of its patch."""
    size = value.shape[1]
    near = slice(radius - 1, radius + 2)
    some = np.where(room[:, near, near] > 0, value[:, near, near], -np.inf).reshape(len(value), 9)
    row, col = np.divmod(some.argmax(1), 3)
    best = (row + radius - 1) * size + col + radius - 1
    middle = radius * size + radius
    return np.where(np.isfinite(some.max(1)), best, middle)


def outline_shapes(vertices: np.ndarray, centres: np.ndarray) -> dict[str, np.ndarray]:
    """Shape of closed polygons, exact for the polygon (Green's theorem).

    Parameters
    ----------
    vertices : ndarray, shape (n, m, 2)
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
    shape = basic_shape(vertices)
    return {
        name: shape[name]
        for name in (
            "area_px2", "perimeter_px", "major_px", "minor_px", "eccentricity",
            "orientation_rad", "solidity",
        )
    } | {
        "offset_y_px": shape["centroid_y_px"] - centres[:, 0],
        "offset_x_px": shape["centroid_x_px"] - centres[:, 1],
    }  # fmt: skip


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
    labels = np.zeros(shape, np.int32)
    if len(outlines):
        for part in range(0, len(outlines), LONG):
            which, rows, cols = fill_polygons(padded(outlines[part : part + LONG])[0], shape)
            labels[rows, cols] = part + which + 1
    return labels
