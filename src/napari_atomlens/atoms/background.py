"""Smooth background of a frame: bilinear between nodes a few spacings apart."""

from __future__ import annotations

import numpy as np
import scipy

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
