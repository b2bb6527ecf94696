"""Polygons by the thousand: moments, hulls, Fourier descriptors and what lies within.

Polygons are arrays (n, m, 2) of vertices (row, column); shorter ones repeat their last
vertex, which adds edges of no length and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

#: Polygons worked on at a time: few enough that the arrays stay in the cache.
LONG = 1024
#: Harmonics of the elliptic Fourier descriptors.
HARMONICS = 4
#: Directions in which the convex hull is felt.
DIRECTIONS = 32


def padded(outlines: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Outlines of any lengths as one array.

    Parameters
    ----------
    outlines : sequence of ndarray, each (m_i, 2)
        A last vertex that repeats the first does no harm.

    Returns
    -------
    vertices : ndarray, shape (n, max(m_i), 2)
    counts : ndarray of int, shape (n,)
    """
    counts = np.fromiter((len(o) for o in outlines), np.int64, len(outlines))
    if not len(counts):
        return np.zeros((0, 1, 2)), counts
    if counts.min() == 0:
        raise ValueError("an outline has no vertex")
    flat = np.concatenate([np.asarray(o, float) for o in outlines])
    index = np.minimum(np.arange(counts.max()), counts[:, None] - 1)
    return flat[index + (np.cumsum(counts) - counts)[:, None]], counts


def ragged(vertices: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    """Return the polygons as a list of arrays, each with its own number of vertices."""
    out: list[np.ndarray] = []
    for i in range(0, len(counts), LONG):
        some, many = vertices[i : i + LONG], counts[i : i + LONG]
        keep = np.arange(some.shape[1]) < many[:, None]
        out += np.split(some[keep], np.cumsum(many)[:-1])
    return out


def moments(vertices: np.ndarray, order: int = 2) -> np.ndarray:
    """Moments of polygons about the origin, exact.

    Parameters
    ----------
    vertices : ndarray, shape (n, m, 2)
    order : int
        Highest order, p + q.

    Returns
    -------
    ndarray, shape (n, order + 1, order + 1)
        ``[:, p, q]`` is the integral of row^p column^q over the polygon, positive for
        either sense of rotation; zero where p + q exceeds the order.

    References
    ----------
    C. Steger, "On the calculation of arbitrary moments of polygons", TU Munich report
    FGBV-96-05 (1996).
    """
    y, x = vertices[..., 0], vertices[..., 1]
    y1, x1 = np.roll(y, -1, 1), np.roll(x, -1, 1)
    cross = y * x1 - x * y1
    n = len(vertices)
    powers = [[np.ones_like(v), v] for v in (y, y1, x, x1)]
    for known in powers:
        for _ in range(2, order + 1):
            known.append(known[-1] * known[1])
    py, py1, px, px1 = powers
    out = np.zeros((n, order + 1, order + 1))
    for p in range(order + 1):
        for q in range(order + 1 - p):
            total = np.zeros_like(y)
            for k in range(p + 1):
                for m in range(q + 1):
                    weight = comb(k + m, m) * comb(p + q - k - m, q - m)
                    total += weight * (py[k] * py1[p - k]) * (px[m] * px1[q - m])
            scale = (p + q + 2) * (p + q + 1) * comb(p + q, p)
            out[:, p, q] = np.einsum("nm,nm->n", total, cross) / scale
    sign = np.where(out[:, :1, :1] < 0, -1.0, 1.0)
    return out * sign


def central(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centroids, and the moments of second and third order about them.

    Parameters
    ----------
    raw : ndarray, shape (n, order + 1, order + 1)
        From :func:`moments`, about any origin near the shape.

    Returns
    -------
    centroid : ndarray, shape (n, 2)
        NaN for shapes without area.
    mu : ndarray, shape (n, order + 1, order + 1)
    """
    order = raw.shape[1] - 1
    area = raw[:, 0, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        centroid = (
            np.stack([raw[:, 1, 0], raw[:, 0, 1]], 1) / np.where(area > 0, area, np.nan)[:, None]
        )
    mu = np.zeros_like(raw)
    cy, cx = centroid[:, 0], centroid[:, 1]
    for p in range(order + 1):
        for q in range(order + 1 - p):
            for i in range(p + 1):
                for j in range(q + 1):
                    mu[:, p, q] += (
                        comb(p, i) * comb(q, j) * (-cy) ** (p - i) * (-cx) ** (q - j) * raw[:, i, j]
                    )
    return centroid, mu


def from_moments(mu: np.ndarray) -> dict[str, np.ndarray]:
    """Axes, orientation and Hu's invariants from central moments (row, column).

    ``major_px`` and ``minor_px`` are the full axes of the ellipse with the same second
    moments. ``hu_1`` to ``hu_7`` are Hu's invariants of the normalised moments
    mu_pq / mu_00^(1 + (p + q) / 2), of rows and columns in this order.

    References
    ----------
    M.-K. Hu, "Visual pattern recognition by moment invariants", IRE Trans. Inf. Theory 8,
    179 (1962).
    """
    area = mu[:, 0, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        safe = np.where(area > 0, area, np.nan)
        yy, xx, xy = (mu[:, p, q] / safe for p, q in ((2, 0), (0, 2), (1, 1)))
        spread = np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
        mean = (xx + yy) / 2
        major, minor = mean + spread, np.maximum(mean - spread, 0)
        # y points down on screen: the angle as drawn has the opposite sign
        angle = -0.5 * np.arctan2(2 * xy, xx - yy)
        out = {
            "area_px2": area,
            "equivalent_diameter_px": 2 * np.sqrt(area / np.pi),
            "major_px": 4 * np.sqrt(major),
            "minor_px": 4 * np.sqrt(minor),
            "eccentricity": np.sqrt(np.clip(1 - minor / major, 0, 1)),
            "aspect": np.sqrt(major / np.where(minor > 0, minor, np.nan)),
            "orientation_rad": np.where(angle <= -np.pi / 2, np.pi / 2, angle),
            "stretch_x": (xx - yy) / (xx + yy),
            "stretch_diagonal": -2 * xy / (xx + yy),
        }
        if mu.shape[1] > 3:
            out |= _hu(mu, safe)
    return out


def _hu(mu: np.ndarray, area: np.ndarray) -> dict[str, np.ndarray]:
    e = {(p, q): mu[:, p, q] / area ** (1 + (p + q) / 2) for p in range(4) for q in range(4 - p)}
    s, d = e[3, 0] + e[1, 2], e[2, 1] + e[0, 3]
    a, b = e[3, 0] - 3 * e[1, 2], 3 * e[2, 1] - e[0, 3]
    u, v = s * s - 3 * d * d, 3 * s * s - d * d
    return {
        "hu_1": e[2, 0] + e[0, 2],
        "hu_2": (e[2, 0] - e[0, 2]) ** 2 + 4 * e[1, 1] ** 2,
        "hu_3": a * a + b * b,
        "hu_4": s * s + d * d,
        "hu_5": a * s * u + b * d * v,
        "hu_6": (e[2, 0] - e[0, 2]) * (s * s - d * d) + 4 * e[1, 1] * s * d,
        "hu_7": b * s * u - a * d * v,
    }


def hull_area(vertices: np.ndarray) -> np.ndarray:
    """Area of the convex hull.

    Felt in 32 directions, then once more on each edge of the hull found: what reaches beyond
    an edge adds a triangle to it. What is missed after that is less than 0.3 % of the area.
    """
    angle = np.pi * np.arange(DIRECTIONS // 2) / (DIRECTIONS // 2)
    normal = np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)
    flat = np.ascontiguousarray(vertices.transpose(0, 2, 1), np.float32)
    reach = normal @ flat
    # the least along a direction is the most along the opposite one
    index = np.concatenate([reach.argmax(2), reach.argmin(2)], axis=1)
    far = np.take_along_axis(vertices, index[:, :, None], axis=1)
    y, x = far[..., 0], far[..., 1]
    y1, x1 = np.roll(y, -1, 1), np.roll(x, -1, 1)
    cross = y * x1 - x * y1
    # the way out of an edge, times its length
    out = np.stack([x1 - x, y - y1], axis=2) * np.sign(cross.sum(1))[:, None, None]
    beyond = (out.astype(np.float32) @ flat).max(2) - (out[..., 0] * y + out[..., 1] * x)
    return 0.5 * (np.abs(cross.sum(1)) + np.maximum(beyond, 0).sum(1))


def fourier(vertices: np.ndarray) -> dict[str, np.ndarray]:
    """Invariants of the elliptic Fourier descriptors.

    The outline as a function of its arc length is a sum of ellipses, one per harmonic;
    their half axes do not depend on where the outline starts, on its rotation or its place,
    and divided by the major half axis of the first not on its size either.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        ``fourier_1_minor`` (minor over major half axis of the first harmonic), then
        ``fourier_k_major`` and ``fourier_k_minor`` for k = 2 to 4, all over the major half
        axis of the first.

    References
    ----------
    F. P. Kuhl and C. R. Giardina, "Elliptic Fourier features of a closed contour",
    Comput. Graph. Image Process. 18, 236 (1982).
    """
    z = vertices[..., 1] - 1j * vertices[..., 0]
    dz = np.roll(z, -1, 1) - z
    length = np.abs(dz)
    after = np.cumsum(length, axis=1)
    total = after[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = np.where(length > 0, dz / length, 0)
        turn = np.exp(-2j * np.pi * after / total)
    axes = []
    phase = np.ones_like(turn)
    for k in range(1, HARMONICS + 1):
        phase = phase * turn
        change = phase - np.concatenate([np.ones((len(z), 1)), phase[:, :-1]], axis=1)
        # coefficients of exp(+ik..) and, through the conjugate, of exp(-ik..)
        forward = np.abs(np.einsum("nm,nm->n", slope, change))
        backward = np.abs(np.einsum("nm,nm->n", slope, change.conj()))
        scale = total[:, 0] / (2 * np.pi * k) ** 2
        axes.append((scale * (forward + backward), scale * np.abs(forward - backward)))
    with np.errstate(invalid="ignore", divide="ignore"):
        first = axes[0][0]
        out = {"fourier_1_minor": axes[0][1] / first}
        for k, (major, minor) in enumerate(axes[1:], start=2):
            out |= {f"fourier_{k}_major": major / first, f"fourier_{k}_minor": minor / first}
    return out


def basic_shape(vertices: np.ndarray, order: int = 2) -> dict[str, np.ndarray]:
    """Shape of polygons: moments, perimeter, solidity and circularity.

    Parameters
    ----------
    vertices : ndarray, shape (n, m, 2)
    order : int
        3 adds Hu's invariants.
    """
    parts = []
    for i in range(0, len(vertices), LONG):
        v = np.asarray(vertices[i : i + LONG], float)
        origin = v[:, :1].copy()
        v = v - origin
        centroid, mu = central(moments(v, order))
        part = from_moments(mu)
        edge = np.roll(v, -1, 1) - v
        perimeter = np.sqrt(np.einsum("nmk,nmk->nm", edge, edge)).sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            part |= {
                "perimeter_px": perimeter,
                "solidity": np.clip(part["area_px2"] / hull_area(v), 0, 1),
                "circularity": np.minimum(4 * np.pi * part["area_px2"] / perimeter**2, 1),
                "centroid_y_px": centroid[:, 0] + origin[:, 0, 0],
                "centroid_x_px": centroid[:, 1] + origin[:, 0, 1],
            }
        if order > 2:
            part |= fourier(v)
        parts.append(part)
    if not parts:
        return {k: v[:0] for k, v in basic_shape(np.zeros((1, 3, 2)), order).items()}
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def fill_polygons(
    vertices: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels whose centres lie in polygons (even-odd rule).

    Parameters
    ----------
    vertices : ndarray, shape (n, m, 2)
    shape : tuple of int
        (H, W); what lies outside is left out.

    Returns
    -------
    which, rows, cols : ndarray of int, shape (n_pixels,)
        Polygon and place of each pixel, polygon by polygon and row by row.
    """
    y, x = vertices[..., 0], vertices[..., 1]
    y1, x1 = np.roll(y, -1, 1), np.roll(x, -1, 1)
    low, high = np.minimum(y, y1), np.maximum(y, y1)
    # rows r with low <= r < high cross the edge
    first = np.maximum(np.ceil(low), 0).astype(np.int64)
    last = np.minimum(np.ceil(high), shape[0]).astype(np.int64)
    n_rows = np.maximum(last - first, 0)
    edge = np.repeat(np.arange(n_rows.size), n_rows.ravel())
    count = n_rows.ravel()
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first.ravel()[edge]
    dy = (y1 - y).ravel()[edge]
    at = x.ravel()[edge] + (row - y.ravel()[edge]) / dy * (x1 - x).ravel()[edge]
    which = edge // y.shape[1]
    span = float(shape[1]) + 4 + 2 * float(np.abs(at).max(initial=0))
    order = np.argsort((which * shape[0] + row) * span + at, kind="stable")
    which, row, at = which[order], row[order], at[order]
    left = np.maximum(np.ceil(at[0::2]), 0).astype(np.int64)
    right = np.minimum(np.ceil(at[1::2]), shape[1]).astype(np.int64)
    width = np.maximum(right - left, 0)
    total = np.repeat(np.arange(len(width)), width)
    cols = np.arange(len(total)) - np.repeat(np.cumsum(width) - width, width) + left[total]
    return which[0::2][total], row[0::2][total], cols


def integrate(image: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Integral of an image over polygons, to parts of a pixel.

    By Green's theorem: the integral of F along the outline, where F is the image summed up
    along its columns. Each pixel is a square of constant value, so that a polygon along
    pixel edges gives the sum of its pixels; outside of the image there is nothing.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    vertices : ndarray, shape (n, m, 2)

    Returns
    -------
    ndarray, shape (n,)
    """
    h, w = image.shape
    # about its mean, so that the sums stay small; pixels that are not numbers count as the mean
    level = float(np.mean(image))
    if not np.isfinite(level):
        sound = np.isfinite(image)
        level = float(np.mean(image[sound])) if sound.any() else 0.0
        image = np.where(sound, image, level)
    sums = np.zeros((h + 1, w))
    np.subtract(image, level, out=sums[1:])
    np.cumsum(sums, axis=0, out=sums)
    out = np.empty(len(vertices))
    for i in range(0, len(vertices), LONG):
        v = vertices[i : i + LONG]
        y = np.clip(v[..., 0] + 0.5, 0, h)
        x = np.clip(v[..., 1] + 0.5, 0, w)
        dy, dx = np.roll(y, -1, 1) - y, np.roll(x, -1, 1) - x
        total = np.zeros(len(v))
        longest = float(np.max(np.maximum(np.abs(dy), np.abs(dx)), initial=0.0))
        parts = 1 if longest < 1.5 else int(np.ceil(longest))
        # two Gauss points on each piece of an edge, pieces about a pixel long
        for k in range(parts):
            for t in (0.2113248654, 0.7886751346):
                s = (k + t) / parts
                yy, xx = y + s * dy, x + s * dx
                row = np.minimum(yy.astype(np.int64), h - 1)
                col = np.minimum(xx.astype(np.int64), w - 1)
                low = sums[row, col]
                value = low + (yy - row) * (sums[row + 1, col] - low)
                total += np.einsum("nm,nm->n", value, dx)
        signed = 0.5 * np.einsum("nm,nm->n", y, np.roll(x, -1, 1)) - 0.5 * np.einsum(
            "nm,nm->n", x, np.roll(y, -1, 1)
        )
        total /= 2 * parts
        out[i : i + LONG] = np.where(signed < 0, -total, total) + level * np.abs(signed)
    return out


def sample(image: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Bilinear interpolation with the border repeated."""
    h, w = image.shape
    y, x = np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)
    top = np.minimum(y.astype(np.int64), max(h - 2, 0))
    left = np.minimum(x.astype(np.int64), max(w - 2, 0))
    below, beside = min(1, h - 1), min(1, w - 1)
    v, u = y - top, x - left
    upper = image[top, left] * (1 - u) + image[top, left + beside] * u
    lower = image[top + below, left] * (1 - u) + image[top + below, left + beside] * u
    return upper * (1 - v) + lower * v


def highest(image: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Highest pixel whose centre lies in each polygon, NaN where there is none."""
    out = np.full(len(vertices), np.nan)
    for i in range(0, len(vertices), LONG):
        which, rows, cols = fill_polygons(vertices[i : i + LONG], (image.shape[0], image.shape[1]))
        if len(which):
            first = np.flatnonzero(np.r_[True, which[1:] != which[:-1]])
            out[i + which[first]] = np.maximum.reduceat(image[rows, cols], first)
    return out


def ring_median(
    image: np.ndarray, vertices: np.ndarray, centre: np.ndarray, factor: float
) -> np.ndarray:
    """Median of the image along polygons grown by a factor about their centres.

    The median, since a neighbour may stand on part of the ring.
    """
    out = np.empty(len(vertices))
    for i in range(0, len(vertices), LONG):
        # sixteen places round each are enough for a median
        v = vertices[i : i + LONG]
        some = np.linspace(0, v.shape[1], 16, endpoint=False).astype(int)
        middle = centre[i : i + LONG, None]
        grown = np.nan_to_num(middle + factor * (v[:, some] - middle))
        out[i : i + LONG] = np.nanmedian(sample(image, grown[..., 0], grown[..., 1]), axis=1)
    return out
