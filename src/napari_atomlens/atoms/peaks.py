"""From probability maps to columns: one per place, with a calibrated probability."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy

from napari_atomlens.segmentation.candidates import LEAST_HEIGHT, find_candidates
from napari_atomlens.segmentation.probabilities import Probabilities
from napari_atomlens.segmentation.zoo import columns_among

#: What stands out further is no more certain.
MOST_OUTSTANDING = 10.0
#: Closer than this, over the spacing, two peaks are one column.
ONE_PLACE = 0.45


def calibrated(evidence: np.ndarray, constants: dict[str, float]) -> np.ndarray:
    """Turn what is known of a peak into the probability that a column is there.

    Parameters
    ----------
    evidence : ndarray, shape (n, 4)
        Height of the centre peak, probability of the column classes at the centre, the
        company of other columns (see :func:`company`), and how familiar the image is there.
    constants : dict
        ``a`` to ``e`` of a logistic regression on held-out simulations (in the model);
        without them the support itself is returned.

    Returns
    -------
    ndarray, shape (n,)
    """
    height, support, near, familiar = evidence.T
    if not constants:
        return support
    logit = np.log(np.clip(height, 1e-4, 1 - 1e-4) / (1 - np.clip(height, 1e-4, 1 - 1e-4)))
    belief = np.log(np.clip(support, 1e-3, 1 - 1e-3) / (1 - np.clip(support, 1e-3, 1 - 1e-3)))
    total = (
        constants["a"] * logit
        + constants["b"] * belief
        + constants["c"]
        + constants["d"] * np.log(0.2 + near)
        + constants["e"] * familiar
    )
    return 1 / (1 + np.exp(-np.clip(total, -50, 50)))


def chance_alone(
    evidence: np.ndarray, outstanding: np.ndarray, constants: Mapping[str, float], *, quiet: bool
) -> np.ndarray:
    """Turn what is known of a peak into the probability that a single atom is there.

    Parameters
    ----------
    evidence : ndarray, shape (n, 4)
        See :func:`calibrated`; a single atom needs no company.
    outstanding : ndarray, shape (n,)
        See :func:`napari_atomlens.segmentation.isolated.outstanding_at`.
    constants : dict
        ``height``, ``support``, ``outstanding``, ``quiet``, ``offset`` of a logistic regression on
        held-out simulations (in the model); without them the height is returned.
    quiet : bool
        Nothing in the image stands out: less than usual are atoms.

    Returns
    -------
    ndarray, shape (n,)
    """
    if "outstanding" not in constants:
        return np.asarray(evidence[:, 0])
    total = np.full(len(evidence), constants["offset"] + constants["quiet"] * quiet)
    for name, values in zip(("height", "support"), evidence.T, strict=False):
        p = np.clip(values, 1e-3, 1 - 1e-3)
        total += constants[name] * np.log(p / (1 - p))
    total += constants["outstanding"] * np.clip(outstanding, 0, MOST_OUTSTANDING)
    return np.asarray(1 / (1 + np.exp(-np.clip(total, -50, 50))))


def company(positions: np.ndarray, weight: np.ndarray, spacing: float) -> np.ndarray:
    """Sum of the weight of the other peaks within 2.2 spacings: noise keeps no company."""
    if len(positions) < 2:
        return np.zeros(len(positions))
    pairs = scipy.spatial.cKDTree(positions).query_pairs(2.2 * spacing, output_type="ndarray")
    n = len(positions)
    return np.bincount(pairs[:, 0], weight[pairs[:, 1]], minlength=n) + np.bincount(
        pairs[:, 1], weight[pairs[:, 0]], minlength=n
    )


def one_per_place(positions: np.ndarray, strength: np.ndarray, distance: float) -> np.ndarray:
    """Mask of the peaks that stay when, of two closer than `distance`, the stronger wins."""
    keep = np.ones(len(positions), bool)
    if len(positions) < 2:
        return keep
    pairs = scipy.spatial.cKDTree(positions).query_pairs(distance, output_type="ndarray")
    if len(pairs):
        order = np.argsort(-np.maximum(strength[pairs[:, 0]], strength[pairs[:, 1]]), kind="stable")
        for a, b in pairs[order]:
            if keep[a] and keep[b]:
                keep[a if strength[a] < strength[b] else b] = False
    return keep


#: A column of which less than this was recorded takes no light from its neighbours either.
FLANK = 0.2


def share_recorded(positions: np.ndarray, probabilities: Probabilities) -> np.ndarray:
    """How much of the core of each column was recorded, 0 to 1; half of one that an edge halves."""
    if probabilities.recorded is None or not len(positions):
        return np.ones(len(positions))
    share = scipy.ndimage.gaussian_filter(
        probabilities.recorded.astype(np.float32), 0.15 * probabilities.spacing_px, mode="nearest"
    )
    return np.asarray(
        scipy.ndimage.map_coordinates(share, positions.T, order=1, mode="nearest"), float
    )


def find_peaks(
    probabilities: Probabilities, min_height: float = LEAST_HEIGHT
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns of one frame, before refinement.

    Returns
    -------
    positions : ndarray, shape (n, 2)
        (y, x) in pixels of the image.
    evidence : ndarray, shape (n, 4)
        See :func:`calibrated`.
    shares : ndarray, shape (n, n_kinds)
        Share of each column class there; they sum to one.
    """
    found = probabilities.candidates
    if found is None:
        maps = probabilities.centre, probabilities.soft, probabilities.strange
        found = find_candidates(*maps, columns_among(probabilities.roles), min_height)
    zoom = np.asarray(probabilities.zoom)
    network_spacing = probabilities.spacing_px * float(zoom.mean())
    # of a column and its mirror image beyond the edge of what was recorded, that stays
    share = share_recorded((found.positions + 0.5) / zoom - 0.5, probabilities)
    found, share = found[share > FLANK], share[share > FLANK]
    strength = found.height * share
    found = found[one_per_place(found.positions, strength, ONE_PLACE * network_spacing)]
    positions, support = found.positions, found.columns.sum(1)
    shares = found.columns / np.maximum(support, 1e-6)[:, None]
    near = company(positions, support**4, network_spacing)
    evidence = np.c_[found.height, support, near, found.familiar]
    return (positions + 0.5) / zoom - 0.5, evidence, shares
