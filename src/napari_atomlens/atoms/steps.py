"""Steps of the background: edges of supports and films, which nodes far apart cannot follow.

A step is the same all along its edge: what it adds to the background is a function of the distance
from the edge. This function is fitted together with the columns and the smooth background, so that
a column beside the edge neither takes up the step nor gives light away to it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import scipy

from napari_atomlens import arrays
from napari_atomlens.atoms.background import Background
from napari_atomlens.atoms.patches import TERMS, Field, factors

#: Pixels to which columns add less than this part of their usual height show the background.
BARE = 0.3
#: A background that the nodes cannot follow is off by more than this part of that height.
STEP = 0.12
#: An edge is at least so many spacings long.
LONG = 5.0
#: Over so many spacings to either side an edge may be a parabola.
STRAIGHT = (2.5, 5.0, 10.0)
#: Where the profile of a step has its knots, in spacings from the edge; it is 0 at the outermost.
KNOTS = (0.0, 0.15, 0.3, 0.5, 0.75, 1.05, 1.4, 1.9, 2.5, 3.3, 4.5, 6.0)
#: Along an edge the profile changes over so many spacings.
ALONG = 14.0
#: Heights of a step are of order one: how weakly they are tied to 0.
TIE = 1e-2


class InFit(Protocol):
    """What is needed of the columns of a frame (see :class:`System`)."""

    field: Field
    nodes: Background
    y: np.ndarray
    x: np.ndarray
    amplitude: np.ndarray
    log_sigma: np.ndarray
    weight: np.ndarray


class EdgeProfiles:
    """Profiles of steps, and how they go together with columns and nodes.

    Parameters
    ----------
    away : ndarray, shape (H, W)
        Distance from the nearest edge in spacings, positive on the high side; NaN far away.
    spacing : float
        In pixels.
    """

    def __init__(self, away: np.ndarray, spacing: float) -> None:
        self.shape, self.away = away.shape, away
        knots = np.r_[-np.array(KNOTS[:0:-1]), KNOTS]
        self.pixels = np.flatnonzero(np.abs(away.ravel()) < KNOTS[-1])
        s = away.ravel()[self.pixels]
        low = np.clip(np.searchsorted(knots, s, side="right") - 1, 0, len(knots) - 2)
        part = (s - knots[low]) / (knots[low + 1] - knots[low])
        along = Background((away.shape[0], away.shape[1]), ALONG * spacing)
        self.rows, self.cols = y, x = np.divmod(self.pixels, away.shape[1])
        (ky, ty), (kx, tx) = along.cell(y, 0), along.cell(x, 1)
        n, (_, across) = len(knots) - 2, along.n
        rows, cols, data = [], [], []
        for k, share in ((low, 1 - part), (low + 1, part)):
            inside = (k > 0) & (k <= n)
            for dy, wy in ((0, 1 - ty), (1, ty)):
                for dx, wx in ((0, 1 - tx), (1, tx)):
                    value = share * wy * wx
                    use = inside & (value > 0)
                    rows.append(np.flatnonzero(use))
                    cols.append((((ky + dy) * across + kx + dx) * n + k - 1)[use])
                    data.append(value[use])
        used, column = np.unique(np.concatenate(cols), return_inverse=True)
        self.n = len(used)
        self.basis = scipy.sparse.csr_array(
            (np.concatenate(data), (np.concatenate(rows), column)),
            shape=(len(self.pixels), self.n),
        )
        self.values, self.gradient = np.zeros(self.n), np.zeros(self.n)

    def add_to(self, image: np.ndarray) -> None:
        """Add the steps to an image in place."""
        image[self.rows, self.cols] += (self.basis @ self.values).astype(image.dtype)

    def collect(self, image: np.ndarray) -> np.ndarray:
        """Sum of the image times what each value adds."""
        return np.asarray(self.basis.T @ image[self.rows, self.cols].astype(float))

    def at(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """What the steps add at positions."""
        image = np.zeros(self.shape)
        self.add_to(image)
        return np.asarray(
            scipy.ndimage.map_coordinates(image, np.stack([y, x]), order=1, mode="nearest")
        )

    def distance(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Spacings from the nearest edge, infinite far away."""
        rows, cols = (
            np.clip(np.rint(v).astype(int), 0, s - 1)
            for v, s in zip((y, x), self.shape, strict=True)
        )
        return np.abs(np.nan_to_num(self.away[rows, cols], nan=np.inf))

    def fisher(self, system: InFit) -> None:
        """Fisher matrix of the values, and of them with columns and with nodes."""
        heavy = self._beside_nodes(system.nodes, system.weight)
        self.with_columns = (self._derivatives(system).T @ heavy).tocsr()

    def _beside_nodes(self, nodes: Background, weight: np.ndarray) -> scipy.sparse.csr_array:
        """Fisher matrix of the values, and of them with nodes; return the weighted basis."""
        heavy = self.basis.multiply(weight[self.rows, self.cols].astype(float)[:, None]).tocsr()
        own = (self.basis.T @ heavy).tocsc()
        self.own = own + scipy.sparse.diags_array(np.full(self.n, TIE), format="csc")
        (ky, ty), (kx, tx) = nodes.cell(self.rows, 0), nodes.cell(self.cols, 1)
        index = np.concatenate([(ky + dy) * nodes.n[1] + kx + dx for dy in (0, 1) for dx in (0, 1)])
        share = np.concatenate([wy * wx for wy in (1 - ty, ty) for wx in (1 - tx, tx)])
        row = np.tile(np.arange(len(self.pixels)), 4)
        hats = scipy.sparse.csr_array(
            (share, (row, index)), shape=(len(self.pixels), nodes.n[0] * nodes.n[1])
        )
        self.with_nodes = (hats.T @ heavy).tocsr()
        return heavy

    def together(
        self, node_matrix: scipy.sparse.csr_array, lift: np.ndarray
    ) -> scipy.sparse.linalg.SuperLU:
        """Solver of nodes and steps together, with the columns as they are."""
        matrix = scipy.sparse.block_array(
            [
                [node_matrix + scipy.sparse.diags_array(lift), self.with_nodes],
                [self.with_nodes.T, self.own],
            ]
        )
        return scipy.sparse.linalg.splu(matrix.tocsc())

    def level(
        self, residual: np.ndarray, weight: np.ndarray, nodes: Background
    ) -> tuple[np.ndarray, np.ndarray]:
        """Change of nodes and of steps that explains a residual best, the columns as they are."""
        self._beside_nodes(nodes, weight)
        part = weight * residual
        gradient = np.r_[nodes.collect(part), self.collect(part) - TIE * self.values]
        lift = np.full(nodes.n[0] * nodes.n[1], 1.0)
        both = self.together(nodes.matrix(weight), lift)
        change = both.solve(gradient)
        return change[: len(lift)], change[len(lift) :]

    def _derivatives(self, system: InFit) -> scipy.sparse.csr_array:
        """What each parameter of each column changes in the pixels that steps reach."""
        f, (h, w) = system.field, self.shape
        place = np.full(h * w, -1)
        place[self.pixels] = np.arange(len(self.pixels))
        n = len(system.y)
        inner = np.clip(np.rint(system.y).astype(int), 0, h - 1) * w + np.clip(
            np.rint(system.x).astype(int), 0, w - 1
        )
        near = np.flatnonzero(place[inner] >= 0)
        rows, cols, data = [], [], []
        offsets = np.arange(f.size)
        for start in range(0, len(near), 256):
            c = near[start : start + 256]
            sigma = np.exp(system.log_sigma[c])
            y0, x0 = f.first(system.y[c]), f.first(system.x[c])
            gy, gx = f.axis(y0, system.y[c], sigma), f.axis(x0, system.x[c], sigma)
            factor = factors(system.amplitude[c], sigma)
            row, col = y0[:, None] + offsets, x0[:, None] + offsets
            there = ((row >= 0) & (row < h))[:, :, None] & ((col >= 0) & (col < w))[:, None]
            pixel = np.where(there, row[:, :, None] * w + col[:, None], 0)
            where = np.where(there, place[pixel], -1)
            use = where >= 0
            for p, terms in enumerate(TERMS):
                value = sum(gy[:, a, :, None] * gx[:, b, None] for a, b in terms)
                value = value * factor[:, p, None, None]
                rows.append(where[use])
                cols.append(np.broadcast_to((4 * c + p)[:, None, None], use.shape)[use])
                data.append(value[use])
        if not rows:
            return scipy.sparse.csr_array((len(self.pixels), 4 * n))
        return scipy.sparse.csr_array(
            (np.concatenate(data).astype(float), (np.concatenate(rows), np.concatenate(cols))),
            shape=(len(self.pixels), 4 * n),
        )


def find_edges(
    data: np.ndarray,
    light: np.ndarray,
    spacing: float,
    height: float,
    valid: np.ndarray | None = None,
) -> np.ndarray | None:
    """Distance of each pixel from the nearest step of the background, None where there is none.

    Parameters
    ----------
    data, light : ndarray, shape (H, W)
        The image, and what the columns add to it.
    spacing, height : float
        Distance between nearest columns in pixels, and their usual height.
    valid : ndarray, shape (H, W), optional
        0 where a pixel does not count.

    Returns
    -------
    ndarray of float, shape (H, W), or None
        In spacings, positive on the high side; NaN far from every edge.
    """
    side = max(2, round(0.16 * spacing))
    if min(data.shape) // side < 8:
        return None
    bare = _left_between(data, light, valid, side, height)
    # medians of as much as a spacing keep an edge and forget a column that nobody knows of
    ground = _median_around(bare, max(1, round(0.5 * spacing / side)))
    known = np.isfinite(ground)
    if known.mean() < 0.5:
        return None
    ground = arrays.bridge(ground, known)
    beside = 2 * max(1, round(0.7 * spacing / side)) + 1
    high = scipy.ndimage.maximum_filter(ground, beside)
    low = scipy.ndimage.minimum_filter(ground, beside)
    rise = high - low
    usual = float(np.median(rise))
    sharp = rise - usual > max(STEP * height, 4 * arrays.spread(rise))
    upper = ground > 0.5 * (high + low)
    edge = sharp & (upper ^ scipy.ndimage.binary_erosion(upper, border_value=1))
    label, n = scipy.ndimage.label(scipy.ndimage.binary_dilation(edge), np.ones((3, 3)))
    # the length of an edge in spacings
    length = np.bincount(label[edge], minlength=n + 1) * side / spacing
    edge &= (length > LONG)[label]
    if not edge.any():
        return None
    return _away(ground, edge, side, spacing, (data.shape[0], data.shape[1]))


def _away(
    ground: np.ndarray, edge: np.ndarray, side: int, spacing: float, shape: tuple[int, int]
) -> np.ndarray:
    """Distance of every pixel from an edge, by the pixels of the edge and the slope there."""
    slope = np.stack(
        [
            scipy.ndimage.gaussian_filter(ground, 0.5 * spacing / side, order=o)
            for o in ((1, 0), (0, 1))
        ]
    )
    slope /= np.maximum(np.hypot(*slope), 1e-12)
    # of the blocks at the edge: those just above it, whose lower side is the edge itself
    y, x = np.nonzero(edge)
    normal = slope[:, y, x].T
    place = (np.c_[y, x] + 0.5) * side - 0.5 - 0.5 * side * normal
    place = _straight(place, normal, spacing)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    pixel = np.c_[rows.ravel(), cols.ravel()]
    tree = scipy.spatial.cKDTree(place)
    far, which = tree.query(pixel, k=1, distance_upper_bound=KNOTS[-1] * spacing)
    out = np.full(len(pixel), np.nan)
    near = np.isfinite(far)
    gap = pixel[near] - place[which[near]]
    along = np.einsum("ij,ij->i", gap, normal[which[near]])
    # right beside the edge the foot of the perpendicular lies between two of its points
    close = far[near] < 1.5 * spacing
    out[near] = np.where(close, along, np.sign(along) * far[near]) / spacing
    return out.reshape(shape)


def _straight(place: np.ndarray, normal: np.ndarray, spacing: float) -> np.ndarray:
    """Move the points of an edge, known to a block, onto parabolas through their neighbours.

    The more neighbours, the better; but an edge may be bent.
    """
    best, rough = place, np.inf
    for reach in STRAIGHT:
        shift = _off_parabola(place, normal, reach * spacing)
        scatter = float(np.sqrt(np.mean(shift**2)))
        if scatter > 1.2 * rough + 0.02 * spacing:
            break
        best, rough = place + shift[:, None] * normal, min(rough, scatter)
    return best


def _off_parabola(place: np.ndarray, normal: np.ndarray, reach: float) -> np.ndarray:
    """How far each point lies below a parabola through those within reach."""
    out = np.zeros(len(place))
    for i, near in enumerate(scipy.spatial.cKDTree(place).query_ball_point(place, reach)):
        gap = place[near] - place[i]
        off = gap @ normal[i]
        along = gap @ np.array([-normal[i, 1], normal[i, 0]]) / reach
        terms = np.stack([np.ones_like(along), along, along**2], axis=1)
        weight = np.ones(len(off))
        for _ in range(4):
            fit = np.linalg.lstsq(terms * weight[:, None], off * weight, rcond=None)[0]
            left = np.abs(off - terms @ fit)
            # what belongs to another edge, or juts out, counts little
            weight = 1 / np.maximum(left, max(float(np.median(left)), 1e-3 * reach))
        out[i] = np.clip(fit[0], -0.5 * reach, 0.5 * reach)
    return out


def _left_between(
    data: np.ndarray, light: np.ndarray, valid: np.ndarray | None, side: int, height: float
) -> np.ndarray:
    """What columns leave in squares of `side` pixels between them; NaN under them."""
    h, w = (s // side for s in data.shape)

    def blocks(image: np.ndarray) -> np.ndarray:
        part = image[: h * side, : w * side].reshape(h, side, w, side)
        return np.asarray(part.transpose(0, 2, 1, 3).reshape(h, w, side * side), float)

    bare = blocks(light) < BARE * height
    if valid is not None:
        bare &= blocks(valid) > 0
    count = bare.sum(2)
    total = np.where(bare, blocks(data) - blocks(light), 0).sum(2)
    return np.where(count >= 2, total / np.maximum(count, 1), np.nan)


def _median_around(values: np.ndarray, reach: int = 1) -> np.ndarray:
    """Median of what is known of the blocks round each, as far as `reach`; NaN where nothing is."""
    padded = np.pad(values, reach, constant_values=np.nan)
    size = 2 * reach + 1
    around = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    around = np.sort(around.reshape(*values.shape, size**2), axis=2)  # NaN last
    n = np.isfinite(around).sum(2)
    low, high = (np.maximum(k, 0)[:, :, None] for k in ((n - 1) // 2, n // 2))
    pair = np.take_along_axis(around, low, 2) + np.take_along_axis(around, high, 2)
    return np.where(n > 0, 0.5 * pair[:, :, 0], np.nan)
