"""Pixels that are not square: looked at on square ones, told in the image's own.

Networks and fits take columns for round. An image whose pixels are higher than wide is spread
over square pixels of the finer size, and what is found is brought back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens.image import Stack
from napari_atomlens.segmentation.probabilities import Probabilities

#: Pixels whose sides differ by less are square: calibrations differ as much.
SQUARE = 1.02
#: Sides that differ by more are no image of a lattice but a series of lines.
MOST = 16.0
Stretch = tuple[float, float]


def stretch_of(pixel_size_nm: tuple[float, float] | None) -> Stretch:
    """How many square pixels a pixel becomes, (y, x); (1, 1) where it is square or unknown.

    Examples
    --------
    >>> stretch_of((0.03, 0.01))
    (3.0, 1.0)
    >>> stretch_of((0.01, 0.01))
    (1.0, 1.0)
    """
    if pixel_size_nm is None:
        return 1.0, 1.0
    fine = min(pixel_size_nm)
    y, x = (round(s / fine, 6) for s in pixel_size_nm)
    return (y, x) if SQUARE < max(y, x) <= MOST else (1.0, 1.0)


def stretched(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Images (..., H, W) at another size, cubic between pixels; centres keep (i + 0.5) / n."""
    for axis, n in zip((-2, -1), size, strict=True):
        old = image.shape[axis]
        if n == old:
            continue
        at = (np.arange(n) + 0.5) * old / n - 0.5
        low = np.floor(at).astype(int)
        t = (at - low).astype(np.float32 if image.dtype.itemsize <= 4 else np.float64)
        # cubic convolution through the pixels (Keys, 1981)
        weights = (
            ((-0.5 * t + 1.0) * t - 0.5) * t, (1.5 * t - 2.5) * t * t + 1.0,
            ((-1.5 * t + 2.0) * t + 0.5) * t, (0.5 * t - 0.5) * t * t,
        )  # fmt: skip
        turned = np.moveaxis(image, axis, -1)
        image = np.moveaxis(
            sum(
                w * turned[..., np.clip(low + k, 0, old - 1)]
                for k, w in zip((-1, 0, 1, 2), weights, strict=True)
            ), -1, axis,
        )  # fmt: skip
    return image


class _Squared:
    """Frames of a movie on square pixels, each made when it is asked for."""

    def __init__(self, movie: Stack, stretch: Stretch) -> None:
        self._movie = movie
        n, h, w = movie.shape
        self.shape = (n, round(h * stretch[0]), round(w * stretch[1]))
        self.ndim, self.dtype = 3, np.dtype(np.float64 if movie.dtype.itemsize > 4 else np.float32)

    def __getitem__(self, frame: Any) -> np.ndarray:
        given = self._movie[frame]
        values = np.ma.filled(np.ma.asarray(given).astype(self.dtype), np.nan)
        return stretched(np.asarray(values), self.shape[1:])


def squared(movie: Stack, stretch: Stretch) -> Stack:
    """Return a movie on square pixels; the movie itself where it is."""
    return movie if stretch == (1.0, 1.0) else Stack(_Squared(movie, stretch))


def atoms_in_pixels(atoms: pd.DataFrame, seen: tuple[int, ...], own: tuple[int, ...]) -> None:
    """Bring atoms that were found on square pixels back, in place.

    Parameters
    ----------
    atoms : pandas.DataFrame
    seen, own : tuple of int
        Height and width of the image on square pixels, and on its own.
    """
    ky, kx = (s / o for s, o in zip(seen, own, strict=True))
    for k, names in (
        (ky, ("y_px", "seen_y_px", "site_y_px")),
        (kx, ("x_px", "seen_x_px", "site_x_px")),
    ):
        for name in names:
            atoms[name] = (atoms[name] + 0.5) / k - 0.5
    atoms["y_err_px"] /= ky
    atoms["x_err_px"] /= kx
    # an area is that of a round column still
    atoms["sigma_px"] /= np.sqrt(ky * kx)
    for name in ("volume", "volume_err"):
        if name in atoms:
            atoms[name] /= ky * kx


def copies_of(own: tuple[int, ...], seen: tuple[int, ...]) -> float:
    """How many square pixels share the noise of one that was recorded."""
    copies = 1.0
    for old, new in zip(own, seen, strict=True):
        if old != new:  # between pixels noise is lower by what it is averaged over
            one = np.eye(16, dtype=np.float32)
            row = stretched(one, (16, round(16 * new / old)))
            copies *= new / old / float((row**2).sum(0).mean())
    return copies


def maps_in_pixels(probabilities: Probabilities, own: tuple[int, int]) -> Probabilities:
    """Return what the network says on square pixels at the size of the image."""

    def back(maps: np.ndarray) -> np.ndarray:
        return np.clip(stretched(maps.astype(np.float32), own), 0, 1).astype(np.float16)

    there = probabilities.recorded
    return replace(
        probabilities, maps=back(probabilities.maps), unfamiliar=back(probabilities.unfamiliar),
        recorded=None if there is None else back(there) > 0.5,
    )  # fmt: skip
