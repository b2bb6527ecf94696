"""Physical evidence of each candidate: what its probability is decided from."""

from __future__ import annotations

import numpy as np
import scipy

from napari_atomlens.atoms.fitted import Fit
from napari_atomlens.atoms.surroundings import LATTICE, NEAR, mean_round, steps_of_lattice

#: What is known of a candidate, in the order of the columns of :func:`gather`.
NAMES = (
    "network", "snr", "place error", "goodness", "width", "width over spacing", "height",
    "height over strongest", "strange", "strange round it", "steps", "steps round it",
    "nearest", "shift", "fit", "border", "snr of the image", "lattice of the image",
    "strange image", "network of the image",
)  # fmt: skip
#: Columns that are asked for the ordinary height round a candidate.
ROUND = 8
#: So many columns of a lattice have figures of their own.
FEWEST = 12


def _log(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Logarithm within bounds; the lower one where a value is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        out = np.log(np.asarray(values, float))
    return np.clip(np.where(np.isfinite(out), out, low), low, high)


def _of_the_image(
    log_snr: np.ndarray, lattice: np.ndarray, strange: np.ndarray, network: np.ndarray
) -> list[np.ndarray]:
    """What is usual in the image: for columns of a lattice, in the part that the lattice covers.

    A particle is the same on a film that fills the rest of the image with blobs.
    """
    everywhere = (
        np.median(log_snr), lattice.mean(), strange.mean(), np.median(network)
    )  # fmt: skip
    out = [np.full(len(lattice), float(v)) for v in everywhere]
    if lattice.sum() >= FEWEST:
        inside = (
            np.median(log_snr[lattice]), 1.0, strange[lattice].mean(), np.median(network[lattice])
        )  # fmt: skip
        for values, value in zip(out, inside, strict=True):
            values[lattice] = value
    return out


def _heights_beside(beside: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether there are neighbours (n, k), their usual height, and that of the highest."""
    n = len(beside)
    known = np.isfinite(beside).any(1) if beside.shape[1] else np.zeros(n, bool)
    typical, strongest = np.ones(n), np.ones(n)
    if known.any():
        typical[known] = np.nanmedian(beside[known], 1)
        strongest[known] = np.nanmax(beside[known], 1)
    return known, typical, strongest


def gather(
    positions: np.ndarray,
    chance: np.ndarray,
    strange: np.ndarray,
    fit: Fit,
    spacing: float,
    shape: tuple[int, int],
) -> np.ndarray:
    """What is known of each candidate once it was fitted.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
        Where the network saw them.
    chance : ndarray, shape (n,)
        Probability by the network.
    strange : ndarray, shape (n,)
        The unfamiliar-region map there.
    fit : Fit
    spacing : float
        Distance between nearest columns in pixels.
    shape : tuple of int
        Of the image.

    Returns
    -------
    ndarray, shape (n, len(NAMES))
        Numbers without a unit: ratios to the spacing, to neighbours, to errors.
    """
    n = len(positions)
    if n == 0:
        return np.zeros((0, len(NAMES)))
    places = np.c_[fit.y, fit.x]
    placed = fit.places()
    good = placed if placed.any() else np.ones(n, bool)
    snr = fit.amplitude / np.maximum(fit.amplitude_err, 1e-30)
    distance, near = scipy.spatial.cKDTree(places).query(places, k=min(ROUND + 1, n))
    distance, near = distance.reshape(n, -1)[:, 1:], near.reshape(n, -1)[:, 1:]
    beside = np.where(distance < 2.6 * spacing, fit.amplitude[near], np.nan)
    known, typical, strongest = _heights_beside(beside)
    nothing = ~known | ~np.isfinite(fit.amplitude)
    steps = steps_of_lattice(places, spacing)
    round_it = mean_round(places, steps, NEAR * spacing)
    shift = np.hypot(*(places - positions).T) / spacing
    rim = np.minimum.reduce([fit.y, fit.x, shape[0] - 1 - fit.y, shape[1] - 1 - fit.x])
    chance = np.clip(chance, 1e-4, 1 - 1e-4)
    network = np.log(chance / (1 - chance))
    log_snr = _log(snr, -2, 6)
    columns = (
        network,
        log_snr,
        _log(np.hypot(fit.y_err, fit.x_err) / spacing, -7, 0),
        _log(fit.chi2 if fit.chi2 is not None else np.ones(n), -1.5, 3),
        _log(fit.sigma / np.median(fit.sigma[good]), -1.5, 1.5),
        _log(fit.sigma / spacing, -3, 0),
        np.where(nothing, 0, _log(fit.amplitude / np.maximum(typical, 1e-30), -4, 3)),
        np.where(nothing, 0, _log(fit.amplitude / np.maximum(strongest, 1e-30), -4, 3)),
        strange,
        mean_round(places, strange, NEAR * spacing),
        steps,
        round_it,
        np.clip(distance[:, 0] / spacing, 0, 3) if distance.shape[1] else np.full(n, 3.0),
        np.clip(shift, 0, 0.6),
        placed,
        np.clip(rim / spacing, -0.5, 1.5),
        *_of_the_image(log_snr, round_it >= LATTICE, strange, network),
    )
    return np.column_stack([np.asarray(c, float) for c in columns])
