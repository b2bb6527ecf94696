"""Smooth background of a frame: bilinear between nodes a few spacings apart."""

from __future__ import annotations

import numpy as np
import scipy

from napari_atomlens import arrays

#: Pixels of a strip: images up to 2048 x 2048 are one.
STRIP_PX = 1 << 22


def strips(shape: tuple[int, ...], height: int = 1) -> list[slice]:
    """Slices of rows of a large image, so that what is made from them stays small.

    Each begins at a multiple of `height`.
    """
    rows = max(1, STRIP_PX // max(shape[1], 1) // height) * height
    return [slice(y, min(y + rows, shape[0])) for y in range(0, shape[0], rows)]


class Background:
    """Bilinear background: nodes `step` pixels apart, the first on the first pixel."""

    def __init__(self, shape: tuple[int, int], step: float) -> None:
        self.n = tuple(max(2, round((s - 1) / step) + 1) for s in shape)
        #: distance between nodes along each axis: the last lies on the last pixel
        self.step = tuple(max(s - 1, 1) / (k - 1) for s, k in zip(shape, self.n, strict=True))
        self.hat_y, self.hat_x = (self._hats(shape[k], k) for k in (0, 1))
        self.hat_yt, self.hat_xt = self.hat_y.T.tocsr(), self.hat_x.T.tocsr()

    def _hats(self, side: int, axis: int) -> scipy.sparse.csr_array:
        n = self.n[axis]
        t = np.minimum(np.arange(side) / self.step[axis], n - 1)
        k = np.minimum(t.astype(int), n - 2)
        part = t - k
        rows = np.repeat(np.arange(side), 2)
        data = np.c_[1 - part, part].ravel().astype(np.float32)
        return scipy.sparse.csr_array((data, (rows, np.c_[k, k + 1].ravel())), shape=(side, n))

    def image(self, values: np.ndarray) -> np.ndarray:
        """Background of every pixel, float32 (H, W)."""
        out = np.zeros((self.hat_y.shape[0], self.hat_x.shape[0]), np.float32)
        self.add_to(out, values)
        return out

    def add_to(self, image: np.ndarray, values: np.ndarray) -> None:
        """Add the background to an image in place."""
        rows = self.hat_x @ values.reshape(self.n).T.astype(np.float32)  # (W, ny)
        rows = np.ascontiguousarray(rows.T)
        for part in strips(image.shape):
            image[part] += self.hat_y[part] @ rows

    def collect(self, image: np.ndarray) -> np.ndarray:
        """Sum of the image times the hat of each node, (ny * nx,)."""
        rows = np.zeros((self.n[0], image.shape[1]), np.float32)
        for part in strips(image.shape):
            rows += self.hat_yt[:, part] @ image[part]
        return (self.hat_xt @ np.ascontiguousarray(rows.T)).T.ravel().astype(float)

    def at(self, values: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Values of the field at positions."""
        v = values.reshape(self.n)
        (ky, ty), (kx, tx) = self.cell(y, 0), self.cell(x, 1)
        low = v[ky, kx] * (1 - tx) + v[ky, kx + 1] * tx
        high = v[ky + 1, kx] * (1 - tx) + v[ky + 1, kx + 1] * tx
        return low * (1 - ty) + high * ty

    def cell(self, where: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Node below each position along an axis, and how far the position is past it."""
        n = self.n[axis]
        t = np.clip(where / self.step[axis], 0, n - 1)
        k = np.minimum(t.astype(int), n - 2)
        return k, t - k

    def matrix(self, weight: np.ndarray) -> scipy.sparse.csr_array:
        """Fisher matrix of the nodes, (m, m)."""
        ny, nx = self.n
        rows, cols, data = [], [], []
        node = np.arange(ny * nx).reshape(ny, nx)
        # hat times hat of the same or of the next node, along each axis
        axis_y = [self.hat_yt.power(2), self.hat_yt[:-1].multiply(self.hat_yt[1:]).tocsr()]
        axis_x = [self.hat_xt.power(2), self.hat_xt[:-1].multiply(self.hat_xt[1:]).tocsr()]
        for dy in (0, 1):
            part = np.ascontiguousarray((axis_y[dy] @ weight).T)
            for dx in (0, 1):
                value = (axis_x[dx] @ part).T
                a = node[: ny - dy, : nx - dx], node[dy:, dx:]
                b = node[dy:, : nx - dx], node[: ny - dy, dx:]
                for one, two in (a, b) if dy and dx else (a,):
                    rows.append(one.ravel())
                    cols.append(two.ravel())
                    data.append(value.ravel())
                    if dy or dx:
                        rows.append(two.ravel())
                        cols.append(one.ravel())
                        data.append(value.ravel())
        return scipy.sparse.csr_array(
            (np.concatenate(data).astype(float), (np.concatenate(rows), np.concatenate(cols))),
            shape=(ny * nx, ny * nx),
        )


#: Pixels to which columns add less than this part of their usual height show the background.
BARE = 0.3
#: A background that the nodes cannot follow is off by more than this part of that height.
STEP = 0.12
#: Squares of the spacing that a step covers at least.
LONG_STEP = 6.0
#: Spacings round a step in which the background is taken from the pixels between the columns.
BESIDE_STEP = 3.5


def beside_steps(
    data: np.ndarray,
    light: np.ndarray,
    smooth: np.ndarray,
    spacing: float,
    height: float,
    valid: np.ndarray | None = None,
    nodes: tuple[float, ...] | None = None,
) -> np.ndarray | None:
    """What a background with steps has over a smooth one, None where it has no step.

    A film ends, a support has an edge: nodes a few spacings apart cannot follow, and the columns
    beside the edge would take up the difference. Medians of the pixels between the columns
    follow a step, whatever its direction.

    Parameters
    ----------
    data, light, smooth : ndarray, shape (H, W)
        The image, what the columns add to it, and the smooth background.
    spacing, height : float
        Distance between nearest columns in pixels, and their usual height.
    valid : ndarray, shape (H, W), optional
        0 where a pixel does not count.
    nodes : tuple of float, optional
        Distance between nodes: what they can follow is no step.

    Returns
    -------
    ndarray of float32, shape (H, W), or None
        0 far from steps.
    """
    side = max(2, round(0.16 * spacing))
    if min(data.shape) // side < 8:
        return None
    mean = _left_between(data - smooth, light, valid, side, height)
    off = _median_around(mean)
    known = np.isfinite(off)
    if known.mean() < 0.5:
        return None
    off = arrays.bridge(off, known)
    sharp = off - np.median(off)
    if nodes is not None:
        sharp = off - scipy.ndimage.gaussian_filter(off, [0.5 * n / side for n in nodes])
    spread = arrays.spread(sharp)
    far = np.abs(sharp) > max(6 * spread, STEP * height)
    # a step is long; what is as large as a column may be one that was taken for another
    label, n = scipy.ndimage.label(far)
    size = np.bincount(label.ravel(), minlength=n + 1)
    large = (size > LONG_STEP * (spacing / side) ** 2) & (np.arange(n + 1) > 0)
    if not large.any():
        return None
    gap = scipy.ndimage.distance_transform_edt(~large[label]) * side / spacing
    weight = np.clip(BESIDE_STEP + 1 - gap, 0, 1)
    rows, cols = ((np.arange(s) + 0.5) / side - 0.5 for s in data.shape)
    grid = np.meshgrid(rows, cols, indexing="ij")
    found = scipy.ndimage.map_coordinates(weight * off, grid, order=1, mode="nearest")
    return np.asarray(found, np.float32)


def _left_between(
    rest: np.ndarray, light: np.ndarray, valid: np.ndarray | None, side: int, height: float
) -> np.ndarray:
    """What columns and smooth background leave in squares of `side` pixels between the columns."""
    h, w = (s // side for s in rest.shape)

    def blocks(image: np.ndarray) -> np.ndarray:
        part = image[: h * side, : w * side].reshape(h, side, w, side)
        return np.asarray(part.transpose(0, 2, 1, 3).reshape(h, w, side * side), float)

    bare = blocks(light) < BARE * height
    if valid is not None:
        bare &= blocks(valid) > 0
    count = bare.sum(2)
    total = np.where(bare, blocks(rest) - blocks(light), 0).sum(2)
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
