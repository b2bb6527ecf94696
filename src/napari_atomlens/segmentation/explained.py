"""How much of an image is explained by columns at given places: a quick linear fit.

A background that is linear between nodes and a round Gaussian at every place, all heights free but
none negative, at a few widths. It measures nothing: it compares two explanations of the same
pixels, each with its own number of unknowns.
"""

from __future__ import annotations

import numpy as np
import scipy

#: Widths that are tried, in distances between nearest columns.
WIDTHS = (0.16, 0.22, 0.3)
#: Distance between the nodes of the background, in the same unit.
NODES = 3.0


def left_over(image: np.ndarray, places: np.ndarray, spacing_px: float, step_px: float) -> float:
    """Variance of what columns at places leave of an image.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    places : ndarray, shape (n, 2)
        Row and column of what may be columns.
    spacing_px : float
        Distance between nearest of them.
    step_px : float
        Distance between the nodes of the background.

    Returns
    -------
    float
        Sum of the squares over pixels less unknowns.

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.mgrid[:40, :40]
    >>> image = np.exp(-((y - 20) ** 2 + (x - 20) ** 2) / 2 / 2.2**2)
    >>> left_over(image, np.array([[20.0, 20.0]]), 10.0, 30.0) < 1e-3 * image.var()
    True
    """
    flat = image.ravel().astype(float)
    ground = _background(image.shape, step_px)
    least = _residual(flat, ground)
    for width in WIDTHS:
        here = places
        for _ in range(2):  # once more without those of negative height
            if not len(here):
                break
            columns = _columns(image.shape, here, width * spacing_px)
            both = scipy.sparse.hstack([columns, ground]).tocsr()
            height = _solve(both, flat)
            up = height[: len(here)] > 0
            if up.all():
                rest = flat - both @ height
                least = min(least, float(rest @ rest) / max(1, len(flat) - both.shape[1]))
                break
            here = here[up]
        else:
            least = min(least, _residual(flat, both))
    return least


def _residual(flat: np.ndarray, design: scipy.sparse.csr_matrix) -> float:
    rest = flat - design @ _solve(design, flat)
    return float(rest @ rest) / max(1, len(flat) - design.shape[1])


def _solve(design: scipy.sparse.csr_matrix, flat: np.ndarray) -> np.ndarray:
    normal = (design.T @ design).tocsc()
    # places on top of one another must not make it singular
    normal += scipy.sparse.identity(normal.shape[0], format="csc") * (
        1e-6 * normal.diagonal().mean()
    )
    return np.asarray(scipy.sparse.linalg.splu(normal).solve(design.T @ flat))


def _columns(shape: tuple[int, ...], places: np.ndarray, sigma: float) -> scipy.sparse.csr_matrix:
    """One Gaussian per column of the matrix, one pixel per row."""
    reach = np.arange(-int(np.ceil(3.6 * sigma)), int(np.ceil(3.6 * sigma)) + 1)
    rows = np.rint(places[:, :1]).astype(int) + reach
    cols = np.rint(places[:, 1:]).astype(int) + reach
    along_y = np.exp(-0.5 * ((rows - places[:, :1]) / sigma) ** 2)
    along_x = np.exp(-0.5 * ((cols - places[:, 1:]) / sigma) ** 2)
    inside = ((rows >= 0) & (rows < shape[0]))[:, :, None] & ((cols >= 0) & (cols < shape[1]))[
        :, None, :
    ]
    value = (along_y[:, :, None] * along_x[:, None, :])[inside]
    pixel = (rows[:, :, None] * shape[1] + cols[:, None, :])[inside]
    which = np.broadcast_to(np.arange(len(places))[:, None, None], inside.shape)[inside]
    return scipy.sparse.csr_matrix(
        (value, (pixel, which)), shape=(shape[0] * shape[1], len(places))
    )


def _background(shape: tuple[int, ...], step: float) -> scipy.sparse.csr_matrix:
    """Bilinear between nodes, one node per column of the matrix."""

    def along(n: int) -> scipy.sparse.csr_matrix:
        nodes = max(2, round(n / step) + 1)
        at = np.linspace(0, nodes - 1, n)
        low = np.minimum(at.astype(int), nodes - 2)
        part = at - low
        line = np.r_[np.arange(n), np.arange(n)]
        return scipy.sparse.csr_matrix(
            (np.r_[1 - part, part], (line, np.r_[low, low + 1])), shape=(n, nodes)
        )

    return scipy.sparse.kron(along(shape[0]), along(shape[1])).tocsr()
