"""Arrays of numbers: spread, maxima, parabolas through peaks, autocorrelation; no file, no atom."""

from __future__ import annotations

from typing import overload

import numpy as np
import scipy
from numpy.typing import ArrayLike

from napari_atomlens.errors import ImageError


@overload
def spread(values: ArrayLike, axis: None = None, *, centre: ArrayLike | None = None) -> float:  # noqa: D418
    """Of all values."""


@overload
def spread(values: ArrayLike, axis: int, *, centre: ArrayLike | None = None) -> np.ndarray:  # noqa: D418
    """Along an axis."""


def spread(
    values: ArrayLike, axis: int | None = None, *, centre: ArrayLike | None = None
) -> float | np.ndarray:
    """Standard deviation of most of the values, whatever the others are: 1.4826 times the MAD.

    Parameters
    ----------
    values : array-like
        NaN makes the spread NaN.
    axis : int, optional
        Along this axis; of all values by default.
    centre : float or array-like, optional
        What they spread about, by default their median. Of values that are deviations it is 0.

    Returns
    -------
    float or ndarray

    Examples
    --------
    >>> spread([1.0, 2.0, 3.0, 1000.0], centre=2.0)
    1.4826
    """
    x = np.asarray(values)
    if axis is None:
        middle = np.median(x) if centre is None else centre
        return 1.4826 * float(np.median(np.abs(x - middle)))
    middle = np.median(x, axis=axis, keepdims=True) if centre is None else centre
    return np.asarray(1.4826 * np.median(np.abs(x - middle), axis=axis))


def peak_positions(centre: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Local maxima of a map with a parabola's sub-pixel part.

    Parameters
    ----------
    centre : ndarray, shape (h, w)
        Positive numbers; the parabola goes through their logarithms.
    threshold : float
        Maxima up to this height are left out.

    Returns
    -------
    positions : ndarray, shape (n, 2)
        (y, x), in the order of the rows.
    heights : ndarray, shape (n,)
    """
    c = np.asarray(centre)
    top = scipy.ndimage.maximum_filter(c, 3, mode="constant", cval=-np.inf)
    y, x = np.nonzero((c == top) & (c > threshold))
    padded = np.pad(np.log(np.maximum(c, 1e-4)), 1, mode="edge")
    here = padded[y + 1, x + 1]
    offsets = []
    for up, down in (
        (padded[y, x + 1], padded[y + 2, x + 1]),
        (padded[y + 1, x], padded[y + 1, x + 2]),
    ):
        curvature = up + down - 2 * here
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.where(curvature < -1e-6, 0.5 * (up - down) / curvature, 0.0)
        offsets.append(np.clip(shift, -0.5, 0.5))
    return np.c_[y + offsets[0], x + offsets[1]], c[y, x]


def box_of(mask: np.ndarray) -> tuple[slice, slice]:
    """Smallest box that holds all true values of a mask, all of it where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> box_of(np.eye(4, dtype=bool)[1:3])
    (slice(0, 2, None), slice(1, 3, None))
    """
    if not mask.any():
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    rows, cols = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


def bridge(pixels: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Fill what was not recorded by the mirror image of what lies nearest, in place.

    A network sees there what it sees beyond the border of every image: no step, no streaks.

    Parameters
    ----------
    pixels : ndarray of float, shape (H, W)
    there : ndarray of bool, shape (H, W)
        What was recorded; at least one pixel.

    Returns
    -------
    ndarray
        The same array.
    """
    if there.all():
        return pixels
    nearest = scipy.ndimage.distance_transform_edt(
        ~there, return_distances=False, return_indices=True
    )
    bad = np.nonzero(~there)
    edge = np.stack([n[bad] for n in nearest])
    at, filled = np.stack(bad), np.zeros(len(bad[0]), bool)
    place = at.copy()
    for _ in range(4):  # a hole deeper than what lies beside it: folded once more
        mirrored = 2 * edge - place
        for k, side in enumerate(pixels.shape):
            period = max(2 * (side - 1), 1)
            folded = np.mod(mirrored[k], period)
            mirrored[k] = np.minimum(folded, period - folded)
        place = np.where(filled, place, mirrored)
        filled |= there[place[0], place[1]]
        if filled.all():
            break
        again = ~filled
        edge[:, again] = np.stack([n[place[0][again], place[1][again]] for n in nearest])
    place = np.where(filled, place, np.stack([n[bad] for n in nearest]))
    pixels[bad] = pixels[place[0], place[1]]
    return pixels


def as_mask(mask: object, of_what: str) -> np.ndarray:
    """Return a mask that was given as an array of bool.

    Parameters
    ----------
    mask : array-like
    of_what : str
        For the sentence of the error.

    Raises
    ------
    ImageError
        If it is no array of numbers.

    Examples
    --------
    >>> as_mask([[0, 1]], "of what is excluded")
    array([[False,  True]])
    """
    try:
        found = np.asarray(mask)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        found = np.zeros(0, object)
    if found.dtype.kind not in "buif":
        raise ImageError(f"The mask {of_what} is no array of yes and no.")
    return found.astype(bool)
