"""The background of a scan: surfaces, facets and lines fitted and subtracted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_atomlens import arrays
from napari_atomlens.errors import ImageError
from napari_atomlens.image import as_pixels, recorded
from napari_atomlens.segmentation.pixels import as_frame

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def finite_image(image: ArrayLike, smallest: int = 8) -> np.ndarray:
    """Return a scan as float64 (H, W), with NaN where nothing was recorded.

    Raises
    ------
    ImageError
        If it is no image, too small, or holds no number.
    """
    array = as_pixels(image)
    if array.ndim != 2:
        raise ImageError(f"A scan has two axes, but this has {array.ndim}.")
    if min(array.shape) < smallest:
        raise ImageError(f"A scan needs at least {smallest} x {smallest} pixels.")
    array = array.astype(np.float64)
    array[~recorded(array)] = np.nan
    if np.isnan(array).all():
        raise ImageError("The scan holds no finite number.")
    return array


def bridged(image: np.ndarray) -> np.ndarray:
    """Return a float64 copy without NaN."""
    return np.asarray(as_frame(image), np.float64) if np.isnan(image).any() else image


def _powers(shape: tuple[int, int], degree: int) -> np.ndarray:
    """Terms of a polynomial surface of total degree `degree`, (H, W, n), coordinates -1 to 1."""
    y = np.linspace(-1, 1, shape[0])[:, None]
    x = np.linspace(-1, 1, shape[1])[None]
    return np.stack(
        [(y**i) * (x**j) for i in range(degree + 1) for j in range(degree + 1 - i)], axis=-1
    )


def fit_surface(image: np.ndarray, degree: int, use: np.ndarray | None = None) -> np.ndarray:
    """Fit a polynomial surface robustly (bisquare weights) and return it.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    degree : int
        1 is a plane.
    use : ndarray of bool, shape (H, W), optional
        Pixels that count.
    """
    terms = _powers(image.shape, degree)
    valid = np.isfinite(image) if use is None else np.isfinite(image) & use
    step = max(1, int(np.sqrt(image.size / 40000)))  # a smooth surface needs few pixels
    thin = np.zeros(image.shape, bool)
    thin[::step, ::step] = True
    pick = valid & thin
    if pick.sum() < 2 * terms.shape[-1]:
        pick = valid
    if pick.sum() < terms.shape[-1]:
        raise ImageError("Too few pixels are left to level this scan.")
    a, z = terms[pick], image[pick]
    weight = np.ones(len(z))
    for _ in range(8):
        w = np.sqrt(weight)
        found = np.linalg.lstsq(a * w[:, None], z * w, rcond=None)[0]
        rest = z - a @ found
        spread = arrays.spread(rest)
        if spread <= 1e-12 * max(float(np.abs(z).max()), 1e-300):
            break
        weight = np.clip(1 - (rest / (4.7 * spread)) ** 2, 0, 1) ** 2
    return np.asarray(terms @ found)


#: Differences that tell the most frequent slope well enough to look near it.
ENOUGH = 40_000


def facet_slope(image: np.ndarray, lag: int = 0) -> tuple[float, float]:
    """Most frequent slope along y and x, per pixel: that of the terraces, not of the staircase.

    The median of differences over a distance, repeated for what lies near it: differences
    across a step are the minority and do not count.
    """
    out = []
    for axis in (0, 1):
        n = lag or max(2, image.shape[axis] // 16)
        d = np.take(image, range(n, image.shape[axis]), axis) - np.take(
            image, range(image.shape[axis] - n), axis
        )
        d = d[np.isfinite(d)]
        # a share of all places is enough to find the neighbourhood (an odd step meets all columns)
        some = d[:: 2 * (len(d) // ENOUGH // 2) + 1]
        centre = np.median(some)
        for _ in range(12):
            width = arrays.spread(some, centre=centre)
            near = some[np.abs(some - centre) <= 2 * width]
            if width == 0 or not len(near):
                break
            before, centre = centre, near.mean()
            if abs(centre - before) < 1e-3 * width:
                centre = d[np.abs(d - centre) <= 2 * width].mean()
                break
        out.append(float(centre) / n)
    return out[0], out[1]


def subtract_facet(image: np.ndarray) -> np.ndarray:
    """Subtract the plane with the most frequent slope (see :func:`facet_slope`)."""
    dy, dx = facet_slope(image)
    y = np.arange(image.shape[0])[:, None] - (image.shape[0] - 1) / 2
    x = np.arange(image.shape[1])[None] - (image.shape[1] - 1) / 2
    return np.asarray(image - dy * y - dx * x)


def level_lines(
    image: np.ndarray, method: str = "median", degree: int = 1, base: np.ndarray | None = None
) -> np.ndarray:
    """Level line by line.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    method : str
        "median" of each line; "difference": the median step to the line before, which keeps
        terraces at their height; "polynomial" in each line, robustly.
    degree : int
        Of the polynomial.
    base : ndarray, shape (H, W), optional
        Model of the surface (terraces): offsets are those of the image minus it.
    """
    rest = image if base is None else image - base
    with np.errstate(all="ignore"):
        if method == "median":
            shift = line_median(rest)[:, None]
        elif method == "difference":
            steps = line_median(np.diff(rest, axis=0))
            offset = np.concatenate([[0.0], np.cumsum(steps)])
            # a slope of the sample down the scan is no offset of lines
            t = np.arange(len(offset))
            shift = (offset - np.polyval(np.polyfit(t, offset, 1), t))[:, None]
        elif method == "polynomial":
            shift = _line_polynomials(rest, degree)
        else:
            return image.copy()
    return np.asarray(image - shift)


def line_median(rest: np.ndarray) -> np.ndarray:
    """Median of each line, that of its neighbours where it holds no number."""
    valid = np.isfinite(rest)
    empty = ~valid.any(1)
    filled = np.where(empty[:, None], 0.0, rest)
    out = np.nanmedian(filled, axis=1)
    if empty.any() and not empty.all():
        out[empty] = np.interp(np.flatnonzero(empty), np.flatnonzero(~empty), out[~empty])
    return np.asarray(out)


def _line_polynomials(rest: np.ndarray, degree: int) -> np.ndarray:
    """Robust polynomial of every line, all lines at once."""
    x = np.linspace(-1, 1, rest.shape[1])
    terms = np.polynomial.legendre.legvander(x, degree)
    valid = np.isfinite(rest)
    z = np.where(valid, rest, 0.0)
    weight = valid.astype(float)
    for _ in range(5):
        normal = np.einsum("rx,xi,xj->rij", weight, terms, terms)
        normal += 1e-9 * np.eye(degree + 1)
        right = np.einsum("rx,xi,rx->ri", weight, terms, z)
        model = np.linalg.solve(normal, right[..., None])[..., 0] @ terms.T
        off = np.abs(z - model)
        spread = 1.4826 * np.nanmedian(np.where(valid, off, np.nan)) + 1e-300
        weight = valid * np.clip(1 - (off / (4.7 * spread)) ** 2, 0, 1) ** 2
    return np.asarray(model)
