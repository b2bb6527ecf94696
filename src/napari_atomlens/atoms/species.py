"""Which column is much brighter: the network's view and the fitted intensity, in context."""

from __future__ import annotations

import numpy as np
import scipy

#: Columns further away than this many spacings say nothing about the ordinary level here.
NEIGHBOURHOOD = 2.6
#: Fewer neighbours than this do not make a level.
FEWEST = 4


def intensity_ratio(
    positions: np.ndarray, intensity: np.ndarray, spacing_px: float, trusted: np.ndarray
) -> np.ndarray:
    """Intensity of each column over the ordinary columns round it.

    The ordinary level is the 30th percentile of the eight nearest columns, the same
    definition that the training scenes use. Columns whose intensity is not `trusted`, or
    that are far away, do not count; NaN where too few are left.
    """
    n = len(positions)
    if n <= FEWEST:
        return np.full(n, np.nan)
    distance, near = scipy.spatial.cKDTree(positions).query(positions, k=min(9, n))
    near = near[:, 1:]
    use = trusted[near] & (distance[:, 1:] < NEIGHBOURHOOD * spacing_px)
    # percentile of the trusted ones of each row; numpy's nanpercentile goes row by row
    around = np.sort(np.where(use, intensity[near], np.inf), axis=1)
    place = 0.3 * (use.sum(1) - 1)
    low = np.clip(place.astype(int), 0, None)
    row = np.arange(n)
    high = np.minimum(low + 1, around.shape[1] - 1)
    enough = use.sum(1) >= FEWEST
    with np.errstate(invalid="ignore"):
        ordinary = around[row, low] + (place - low) * (around[row, high] - around[row, low])
    floor = 1e-6 * max(float(np.median(intensity)), 1e-30)
    return np.where(enough, intensity / np.maximum(ordinary, floor), np.nan)


#: A foreign atom in graphene this many times as bright as carbon is heavier than silicon, for
#: which (14 / 6)^1.7 is 4.2 and detectors show 3 to 7.
HEAVIER_THAN_SI = 10.0


def silicon_or_heavier(
    species: np.ndarray,
    positions: np.ndarray,
    amplitude: np.ndarray,
    fitted: np.ndarray,
    spacing_px: float,
) -> np.ndarray:
    """Tell Si from heavier atoms by the fitted brightness over the carbon round them.

    Both look alike to a network that sees neither the zero nor the scale of the detector.
    Atoms that are neither, or were not fitted, keep their species.
    """
    ratio = intensity_ratio(positions, amplitude, spacing_px, fitted)
    foreign = np.isin(species, ("Si", "heavy")) & fitted & np.isfinite(ratio)
    return np.where(foreign, np.where(ratio > HEAVIER_THAN_SI, "heavy", "Si"), species)


def bright_probability(
    positions: np.ndarray,
    amplitude: np.ndarray,
    amplitude_err: np.ndarray,
    share: np.ndarray,
    fitted: np.ndarray,
    spacing_px: float,
) -> np.ndarray:
    """Probability that each column is much brighter than its surroundings.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
    amplitude, amplitude_err : ndarray, shape (n,)
        Fitted peak intensity above the local background, and its standard error.
    share : ndarray, shape (n,)
        Share of the bright class in the network's answer at the column.
    fitted : ndarray of bool, shape (n,)
        Where the amplitude can be trusted; elsewhere, and where too few neighbours are
        trusted, the network decides alone.
    spacing_px : float
        Distance between nearest columns.

    Returns
    -------
    ndarray, shape (n,)
        Mean, on the logit scale, of both views. The fit's view is as steep as the noise
        allows; in heavy noise, where chance alone makes bright columns, both are doubted.
    """
    typical = np.median(amplitude[fitted]) if fitted.any() else np.median(amplitude)
    ratio = intensity_ratio(positions, np.where(fitted, amplitude, typical), spacing_px, fitted)
    fitted = fitted & np.isfinite(ratio)
    ratio = np.where(fitted, ratio, 1.0)
    relative = np.where(fitted, amplitude_err, typical) / np.maximum(amplitude, 1e-30)
    noise = np.sqrt(relative**2 + 0.11**2)
    by_fit = np.clip(0.7 * np.log(np.maximum(ratio, 1e-3) / 1.6) / noise, -4, 4)
    by_network = np.log(np.clip(share, 0.02, 0.98) / (1 - np.clip(share, 0.02, 0.98)))
    doubt = 1.5 * np.minimum(relative / 0.3, 1.0)
    logit = np.where(fitted, 0.5 * (by_fit + by_network) - doubt, by_network - 1.0)
    return 1 / (1 + np.exp(-logit))


#: Share of the chalcogen columns that lack one atom, before anything is measured.
SINGLES = 0.03


def single_or_pair(
    species: np.ndarray,
    positions: np.ndarray,
    amplitude: np.ndarray,
    amplitude_err: np.ndarray,
    fitted: np.ndarray,
    spacing_px: float,
) -> np.ndarray:
    """Tell a single chalcogen from a pair by the fitted brightness over the pairs round it.

    A single one has half of the brightness, a pair all of it, each within the error of the fit,
    or the spread of the pairs round it where that is more (mixed chalcogens), and 15 %; what is
    more likely wins. Columns that are no chalcogens, or were not fitted, keep their species.
    """
    chalcogen = np.isin(species, ("chalcogen pair", "single chalcogen"))
    rows = np.flatnonzero(chalcogen & fitted & (amplitude_err > 0))
    if len(rows) < 8:
        return species
    k = min(13, len(rows))
    distance, near = scipy.spatial.cKDTree(positions[rows]).query(positions[rows], k=k)
    around = np.where(distance[:, 1:] < 6 * spacing_px, amplitude[rows][near[:, 1:]], np.nan)
    enough = np.isfinite(around).sum(1) >= FEWEST
    rows, around = rows[enough], around[enough]
    usual = np.maximum(np.nanmedian(around, axis=1), 1e-12) if len(rows) else np.zeros(0)
    spread = 1.4826 * np.nanmedian(np.abs(around - usual[:, None]), axis=1) if len(rows) else usual
    ratio = amplitude[rows] / usual
    noise = np.maximum(amplitude_err[rows], spread) / usual
    cost = []
    for level in (0.5, 1.0):
        width = np.sqrt(noise**2 + (0.15 * level) ** 2)
        cost.append(0.5 * ((ratio - level) / width) ** 2 + np.log(width))
    single = cost[1] - cost[0] + np.log(SINGLES / (1 - SINGLES)) > 0
    out = species.copy()
    # brighter than a pair is a pair all the same
    out[rows] = np.where(single & (ratio < 1), "single chalcogen", "chalcogen pair")
    return out
