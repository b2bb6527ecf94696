"""The surroundings of every atom: neighbours, bond-orientational order, expected place."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy

#: Neighbours that are looked at, at most.
MOST = 12
#: Symmetries of the bond-orientational order.
FOLDS = (3, 4, 6)


def nearest(
    positions: np.ndarray, frame: np.ndarray, most: int = MOST
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nearest atoms of the same frame, all frames at once.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
    frame : ndarray of int, shape (n,)
    most : int

    Returns
    -------
    distance : ndarray, shape (n, k)
        Infinite where there are fewer.
    index : ndarray of int, shape (n, k)
        `n` where there are fewer.
    typical : ndarray, shape (n,)
        Median distance to the nearest atom of the atom's frame, NaN where it is alone.
    """
    n = len(positions)
    if n < 2:
        return np.full((n, 1), np.inf), np.full((n, 1), n), np.full(n, np.nan)
    # frames so far apart that no neighbour is found across them
    apart = 4 * float(np.ptp(positions, axis=0).sum()) + 1
    _, level = np.unique(frame, return_inverse=True)
    space = np.column_stack([level * apart, positions])
    distance, index = scipy.spatial.cKDTree(space).query(
        space, k=min(most, n - 1) + 1, distance_upper_bound=0.5 * apart
    )
    distance, index = distance[:, 1:], index[:, 1:]
    first = pd.Series(np.where(np.isfinite(distance[:, 0]), distance[:, 0], np.nan))
    typical = first.groupby(level).transform("median").to_numpy(float)
    return distance, index, typical


def surroundings(
    positions: np.ndarray, frame: np.ndarray, cutoff: float = 1.25
) -> dict[str, np.ndarray]:
    """Neighbourhood of each atom.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
        (row, column) in pixels.
    frame : ndarray of int, shape (n,)
    cutoff : float
        Atoms within so many times the median nearest distance of their frame are neighbours.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        ``n_neighbours``; ``psi_3``, ``psi_4``, ``psi_6`` (modulus of the bond-orientational
        order); ``neighbour_distance_px`` and ``neighbour_distance_std_px`` (mean and
        standard deviation); ``neighbour_angle_std_rad`` (of the angles between one neighbour
        and the next round the atom); ``expected_y_px`` and ``expected_x_px``, the middle of the
        neighbours, which stands in for the lattice site where no lattice was measured. It is
        right where the first shell is balanced (square, hexagonal, honeycomb, perovskite), and
        NaN where there are fewer than three neighbours or the shell is not closed, as at the
        border of the image.

    References
    ----------
    D. R. Nelson and B. I. Halperin, "Dislocation-mediated melting in two dimensions",
    Phys. Rev. B 19, 2457 (1979): psi_n is the mean of exp(i n theta) over the neighbours.
    """
    n = len(positions)
    distance, index, typical = nearest(positions, frame)
    near = distance <= (cutoff * typical)[:, None]
    index = np.where(near, index, 0)
    count = near.sum(1)
    d = positions[index] - positions[:, None] if n else np.zeros((0, 1, 2))
    bond = np.where(near, d[..., 1] - 1j * d[..., 0], 0)
    length = np.where(near, np.abs(bond), 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.where(near, bond / np.where(length > 0, length, 1), 0)
        some = np.where(count > 0, count, np.nan)
        mean = length.sum(1) / some
        spread = np.sqrt(np.where(near, (length - mean[:, None]) ** 2, 0).sum(1) / some)
    out = {"n_neighbours": count.astype(np.int64)}
    out |= {f"psi_{k}": np.abs((unit**k).sum(1)) / some for k in FOLDS}
    angle = np.where(near, np.angle(bond), np.inf)
    angle.sort(axis=1)
    with np.errstate(invalid="ignore"):
        gap = np.diff(angle, axis=1, append=np.inf)
    last = np.arange(near.shape[1]) == (count - 1)[:, None]
    top = np.take_along_axis(angle, np.maximum(count - 1, 0)[:, None], 1)[:, 0]
    closing = np.where(count > 0, angle[:, 0] + 2 * np.pi - np.where(count > 0, top, 0), 0)
    gap = np.where(last, closing[:, None], gap)
    inner = np.arange(near.shape[1]) < count[:, None]
    with np.errstate(invalid="ignore"):
        fair = 2 * np.pi / some
        deviation = np.where(inner, np.where(inner, gap, 0) - fair[:, None], 0)
    out["neighbour_distance_px"] = mean
    out["neighbour_distance_std_px"] = spread
    out["neighbour_angle_std_rad"] = np.sqrt((deviation**2).sum(1) / some)
    with np.errstate(invalid="ignore"):
        balance = np.abs(unit.sum(1)) / some
        # a missing bond of n leaves 1/(n - 1) of a unit vector; a displaced atom far less
        closed = (count >= 3) & (balance < 0.6 / np.maximum(count - 1, 1))
        middle = bond.sum(1) / some
    out["expected_y_px"] = np.where(closed, positions[:, 0] - middle.imag, np.nan)
    out["expected_x_px"] = np.where(closed, positions[:, 1] + middle.real, np.nan)
    return out
