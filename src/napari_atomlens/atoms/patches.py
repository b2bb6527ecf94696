"""Patches of pixels round columns, and sums over them, for many columns at a time.

A round Gaussian and each of its derivatives is a sum of products of a function of y and
one of x, so that all sums over the pixels of a column are small matrix products.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import numpy as np

T = TypeVar("T")
#: Columns per batch: small enough for the cache, large enough for numpy.
CHUNK = 1024


class Crew:
    """Threads that share the columns of a frame, as many as PyTorch may use here.

    Frames of a movie are fitted side by side, each with a crew of one.
    """

    def __init__(self) -> None:
        import torch

        self.size = torch.get_num_threads()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Crew:
        if self.size > 1:
            import torch

            # small products in this thread gain nothing from more threads, which spin
            torch.set_num_threads(1)
            self._pool = ThreadPoolExecutor(
                self.size, initializer=torch.set_num_threads, initargs=(1,)
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._pool:
            import torch

            self._pool.shutdown()
            torch.set_num_threads(self.size)

    def each(self, work: Callable[[slice], None], n: int) -> None:
        """Run `work` on slices of n columns; the slices do not depend on the crew."""
        slices = [slice(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
        if self._pool is None or len(slices) == 1:
            for s in slices:
                work(s)
        else:
            list(self._pool.map(work, slices))

    def pick(self, work: Callable[[slice], T], n: int) -> Iterator[T]:
        """Yield what `work` returns for slices of n columns, in order; few wait at a time."""
        slices = [slice(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
        if self._pool is None or len(slices) == 1:
            yield from map(work, slices)
            return
        waiting: deque[Future[T]] = deque()
        for s in slices:
            waiting.append(self._pool.submit(work, s))
            if len(waiting) > 2 * self.size:
                yield waiting.popleft().result()
        for future in waiting:
            yield future.result()


def product(first: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Product of stacks of small matrices, from left to right.

    By PyTorch: numpy's goes through a lock for every matrix, and threads stand in line.
    """
    import torch

    total = torch.from_numpy(first)
    for other in others:
        total = torch.bmm(total, torch.from_numpy(other))
    return total.numpy()


class Field:
    """The padded pixels of a frame, and where the patches of columns lie in them."""

    def __init__(self, shape: tuple[int, int], radius: int, pad: int) -> None:
        self.shape, self.radius, self.pad = shape, radius, pad
        self.size = 2 * radius + 1
        self.padded = (shape[0] + 2 * pad, shape[1] + 2 * pad)

    def put(self, image: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Pad an image with zeros."""
        out = np.zeros(self.padded, np.float32) if out is None else out
        out[self.inner] = image
        return out

    @property
    def inner(self) -> tuple[slice, slice]:
        """Where the image lies in the padded one."""
        p = self.pad
        return slice(p, p + self.shape[0]), slice(p, p + self.shape[1])

    def first(self, centre: np.ndarray) -> np.ndarray:
        """First pixel of each patch along one axis, in pixels of the image."""
        return np.rint(centre).astype(np.int64) - self.radius

    def patches(self, padded: np.ndarray, y0: np.ndarray, x0: np.ndarray) -> np.ndarray:
        """Patches with the given first pixels, (n, size, size)."""
        view = np.lib.stride_tricks.sliding_window_view(padded, (self.size, self.size))
        return view[y0 + self.pad, x0 + self.pad]

    def axis(self, first: np.ndarray, centre: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """g, g d and g d^2 along one axis, with d in widths; (n, 3, pixels)."""
        d = (first - centre)[:, None] + np.arange(self.size)
        d = (d / sigma[:, None]).astype(np.float32)
        out = np.empty((len(d), 3, self.size), np.float32)
        np.multiply(d, d, out=out[:, 2])
        np.exp(-0.5 * out[:, 2], out=out[:, 0])
        np.multiply(out[:, 0], d, out=out[:, 1])
        np.multiply(out[:, 1], d, out=out[:, 2])
        return out


#: The derivatives by y, x, amplitude and log sigma as sums of products of an axis
#: function of y and one of x (powers of the distance in widths).
TERMS = (((1, 0),), ((0, 1),), ((0, 0),), ((2, 0), (0, 2)))


def factors(amplitude: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """What multiplies the terms of each derivative, (n, 4)."""
    slope = amplitude / sigma
    return np.stack([slope, slope, np.ones_like(slope), amplitude], axis=1)


def blocks(moments: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Blocks of the Fisher matrix from moments[n, a, b, c, d].

    a, b are the powers of y of the left and right column, c, d those of x.
    """
    out = np.empty((len(moments), 4, 4))
    for p, terms in enumerate(TERMS):
        for q, others in enumerate(TERMS):
            total = sum(moments[:, a, b, c, d] for a, c in terms for b, d in others)
            out[:, p, q] = total * left[:, p] * right[:, q]
    return out


#: Powers of the products of two axis functions of the same column: a + b.
POWER = np.add.outer(np.arange(3), np.arange(3))
