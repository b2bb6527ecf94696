"""Smooth background of a frame: bilinear between nodes a few spacings apart."""

from __future__ import annotations

import numpy as np
from scipy import sparse


class Background:
    """Bilinear background: nodes `step` pixels apart, the first on the first pixel.

    The nodes of a window of a larger image, which begins at pixel `origin` of it, are some
    of the nodes of that image.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        step: float,
        whole: tuple[int, int] | None = None,
        origin: tuple[int, int] = (0, 0),
    ) -> None:
        sides = whole or shape
        n = tuple(max(2, round((s - 1) / step) + 1) for s in sides)
        #: distance between nodes along each axis: the last lies on the last pixel
        self.step = tuple(max(s - 1, 1) / (k - 1) for s, k in zip(sides, n, strict=True))
        first = tuple(min(int(o / s), k - 2) for o, s, k in zip(origin, self.step, n, strict=True))
        #: how far the first pixel is past the first node
        self.offset = tuple(o - f * s for o, f, s in zip(origin, first, self.step, strict=True))
        self.n = tuple(
            int(np.clip(np.ceil((o + s - 1) / d - 1e-9) - f + 1, 2, k - f))
            for o, s, d, f, k in zip(origin, shape, self.step, first, n, strict=True)
        )
        self.hat_y, self.hat_x = (self._hats(shape[k], k) for k in (0, 1))
        self.hat_yt, self.hat_xt = self.hat_y.T.tocsr(), self.hat_x.T.tocsr()

    def _hats(self, side: int, axis: int) -> sparse.csr_array:
        n = self.n[axis]
        t = np.minimum((np.arange(side) + self.offset[axis]) / self.step[axis], n - 1)
        k = np.minimum(t.astype(int), n - 2)
        part = t - k
        rows = np.repeat(np.arange(side), 2)
        data = np.c_[1 - part, part].ravel().astype(np.float32)
        return sparse.csr_array((data, (rows, np.c_[k, k + 1].ravel())), shape=(side, n))

    def image(self, values: np.ndarray) -> np.ndarray:
        """Background of every pixel, float32 (H, W)."""
        rows = self.hat_x @ values.reshape(self.n).T.astype(np.float32)  # (W, ny)
        return self.hat_y @ np.ascontiguousarray(rows.T)

    def collect(self, image: np.ndarray) -> np.ndarray:
        """Sum of the image times the hat of each node, (ny * nx,)."""
        rows = self.hat_yt @ image
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
        t = np.clip((where + self.offset[axis]) / self.step[axis], 0, n - 1)
        k = np.minimum(t.astype(int), n - 2)
        return k, t - k

    def matrix(self, weight: np.ndarray) -> sparse.csr_array:
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
        return sparse.csr_array(
            (np.concatenate(data).astype(float), (np.concatenate(rows), np.concatenate(cols))),
            shape=(ny * nx, ny * nx),
        )
