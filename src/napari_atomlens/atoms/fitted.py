"""What the fit says of the columns of a frame, and how far it is to be believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_atomlens import arrays
from napari_atomlens.atoms.system import System


@dataclass
class Fit:
    """Columns after refinement, each attribute an array of shape (n,), in image pixels.

    ``chi2`` is the goodness of fit: mean squared residual over its expected variance, in
    the pixels of the column weighted by its profile; 1 where model and noise are right. Where
    it is far above that of the other columns ``ok`` is False, the position is that of the fit
    (``placed``), and its error is larger by the root of that excess. ``volume_part`` is the
    standard error of the volume over the volume. ``lean`` (n, 2) is what round columns leave of
    their length over width: its logarithm along y less that along x, and along the diagonals;
    ``lean_err`` is its error, and ``lean_noise`` that by the noise of pixels alone.
    Of elliptic columns ``sigma`` is the geometric mean of both widths, ``aspect`` their
    ratio (>= 1) and ``axis_rad`` the direction of the longer one, counter-clockwise from +x
    as drawn, in [0, pi); errors take the neighbours' shapes as known.
    """

    y: np.ndarray
    x: np.ndarray
    amplitude: np.ndarray
    sigma: np.ndarray
    background: np.ndarray
    y_err: np.ndarray
    x_err: np.ndarray
    amplitude_err: np.ndarray
    ok: np.ndarray
    sigma_err: np.ndarray | None = None
    chi2: np.ndarray | None = None
    aspect: np.ndarray | None = None
    aspect_err: np.ndarray | None = None
    axis_rad: np.ndarray | None = None
    placed: np.ndarray | None = None
    volume_part: np.ndarray | None = None
    lean: np.ndarray | None = None
    lean_err: np.ndarray | None = None
    lean_noise: np.ndarray | None = None

    @property
    def volume(self) -> np.ndarray:
        """Sum of what a column adds to the image, in grey values times square pixels."""
        return np.asarray(2 * np.pi * self.amplitude * self.sigma**2)

    @property
    def volume_err(self) -> np.ndarray:
        """Standard error of :attr:`volume`, NaN where it was not measured."""
        if self.volume_part is None:
            return np.full(len(self.y), np.nan)
        return np.asarray(self.volume * self.volume_part)

    def places(self) -> np.ndarray:
        """Columns whose position is that of the fit, whether or not it explains the image."""
        return self.ok if self.placed is None else self.placed


def faint(relative: np.ndarray) -> np.ndarray:
    """How much larger the errors of the position are than the bound, of columns hardly seen.

    The information is that of the height that was found, and of faint columns those are found
    whose noise made them higher; the bound itself is not reached there. By simulations of 20 to
    400 counts on backgrounds of 0 to 8 counts per pixel.

    Parameters
    ----------
    relative : ndarray
        Standard error of the height over the height.
    """
    square = np.clip(relative, 0, 1) ** 2
    return np.asarray(np.sqrt(1 + 5 * square + 25 * square**2))


def misfits(
    goodness: np.ndarray, sigma: np.ndarray, placed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Columns that the model does not explain as it does the others.

    Parameters
    ----------
    goodness, sigma : ndarray, shape (n,)
        Mean squared residual over its variance, and width in pixels.
    placed : ndarray of bool, shape (n,)
        Columns whose fit made sense: what is usual is that of these.

    Returns
    -------
    odd : ndarray of bool, shape (n,)
    times : ndarray, shape (n,)
        By how much the variance of these columns is larger than that of the others; 1 elsewhere.
    """
    usual = goodness[placed]
    if not len(usual):
        return np.zeros(len(goodness), bool), np.ones(len(goodness))
    middle = float(np.median(usual))
    # of so many independent pixels in a profile
    chance = np.sqrt(2 / (4 * np.pi * np.maximum(sigma, 0.5) ** 2)) * middle
    spread = np.maximum(arrays.spread(usual, centre=middle), chance)
    odd = goodness > middle + np.maximum(6 * spread, 0.5 * middle)
    return odd, np.where(odd, np.maximum(goodness / max(middle, 1e-12), 1.0), 1.0)


def volume_variance(system: System, covariance: np.ndarray) -> np.ndarray:
    """Variance of the volumes over their squares, from that of height and log width together."""
    part = covariance[:, 2, 2] / system.amplitude**2
    if covariance.shape[1] > 3:
        part = part + 4 * covariance[:, 3, 3] + 4 * covariance[:, 2, 3] / system.amplitude
    else:  # of a width that a group shares; about half is left once the other parameters are free
        known = np.bincount(system.group, system.diagonal[:, 3, 3])[system.group]
        part = part + 4 * 2 / np.maximum(known, 1e-12)
    return np.asarray(np.maximum(part, 0))
