"""Which column is much brighter: the network's view and the fitted intensity, in context."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree


def intensity_ratio(positions: np.ndarray, intensity: np.ndarray) -> np.ndarray:
    """Intensity of each column over the ordinary columns round it.

    The ordinary level is the 30th percentile of the eight nearest columns, the same
    definition that the training scenes use.
    """
    n = len(positions)
    if n < 5:
        return np.ones(n)
    _, near = cKDTree(positions).query(positions, k=min(9, n))
    ordinary = np.percentile(intensity[near[:, 1:]], 30, axis=1)
    floor = 1e-6 * max(float(np.median(intensity)), 1e-30)
    return intensity / np.maximum(ordinary, floor)


def bright_probability(
    positions: np.ndarray, amplitude: np.ndarray, share: np.ndarray, fitted: np.ndarray
) -> np.ndarray:
    """Probability that each column is much brighter than its surroundings.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
    amplitude : ndarray, shape (n,)
        Fitted peak intensity above the local background.
    share : ndarray, shape (n,)
        Share of the bright class in the network's answer at the column.
    fitted : ndarray of bool, shape (n,)
        Where the amplitude can be trusted; elsewhere the network decides alone.

    Returns
    -------
    ndarray, shape (n,)
        Mean, on the logit scale, of both views.
    """
    ratio = intensity_ratio(positions, np.where(fitted, amplitude, np.median(amplitude)))
    by_fit = np.clip(6.0 * np.log(np.maximum(ratio, 1e-3) / 1.6), -4, 4)
    by_network = np.log(np.clip(share, 0.02, 0.98) / (1 - np.clip(share, 0.02, 0.98)))
    logit = np.where(fitted, 0.5 * (by_fit + by_network), by_network)
    return 1 / (1 + np.exp(-logit))
