"""What stands round an atom: a lattice that goes on, or an image that the model does not know."""

from __future__ import annotations

import numpy as np
import scipy

#: Neighbours beyond so many spacings say nothing of the image at an atom.
NEAR = 2.2
#: Neighbours that are asked whether the lattice goes on, and how far away they may be.
NEIGHBOURS, FAR = 14, 3.2
#: How far, in spacings, an atom may be from where the lattice would go on.
SLACK = 0.18
#: So many steps of a lattice through an atom are one: random places have 1.5 of 14.
LATTICE = 3.0
#: So many columns are a lattice.
FEWEST = 12


def mean_round(positions: np.ndarray, values: np.ndarray, reach: float) -> np.ndarray:
    """Mean of the values of the atoms within `reach`, the atom itself included."""
    n = len(positions)
    total, count = values.astype(float).copy(), np.ones(n)
    if n > 1:
        pairs = scipy.spatial.cKDTree(positions).query_pairs(reach, output_type="ndarray")
        for a, b in (pairs.T, pairs.T[::-1]):
            total += np.bincount(a, values[b], minlength=n)
            count += np.bincount(a, minlength=n)
    return np.asarray(total / count)


def steps_of_lattice(
    positions: np.ndarray, spacing: float, weight: np.ndarray | None = None
) -> np.ndarray:
    """How many steps to a neighbour go on: back to the other side, or on to the next but one.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
    spacing : float
        Distance between nearest columns in the same unit.
    weight : ndarray, shape (n,), optional
        How much an atom counts as a neighbour, 0 to 1.

    Returns
    -------
    ndarray, shape (n,)
        Of at most 14 steps; those of atoms in the middle of a lattice of points are all.
    """
    n = len(positions)
    if n < 3:
        return np.zeros(n)
    tree = scipy.spatial.cKDTree(positions)
    k = min(NEIGHBOURS + 1, n)
    near = tree.query(positions, k=k, distance_upper_bound=FAR * spacing)[1][:, 1:]
    a, b = np.repeat(np.arange(n), k - 1), near.ravel()
    there = b < n
    a, b = a[there], b[there]
    step = positions[b] - positions[a]
    # an atom that is not there weighs nothing
    weights = np.r_[np.ones(n) if weight is None else weight, 0.0]
    goes_on = np.zeros(len(a))
    for place in (positions[a] - step, positions[b] + step):
        other = tree.query(place, distance_upper_bound=SLACK * spacing)[1]
        goes_on = np.maximum(goes_on, np.minimum(weights[b], weights[other]))
    return np.bincount(a, goes_on, minlength=n)


def rows_of_lattice(positions: np.ndarray, members: np.ndarray, spacing: float) -> np.ndarray:
    """How many rows of three members of a lattice lead to each place.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
    members : ndarray of bool, shape (n,)
        What belongs to the lattice.
    spacing : float
        Distance between nearest columns in the same unit.

    Returns
    -------
    ndarray, shape (n,)
        Of at most 15 rows; 0 for what stands beside the lattice or between its sites.
    """
    strong = positions[members]
    if len(strong) < 3:
        return np.zeros(len(positions))
    tree = scipy.spatial.cKDTree(strong)
    k = min(NEIGHBOURS + 1, len(strong))
    near = tree.query(positions, k=k, distance_upper_bound=FAR * spacing)[1]
    goal, first = np.repeat(np.arange(len(positions)), k), near.reshape(-1)
    goal, first = goal[first < len(strong)], first[first < len(strong)]
    step = strong[first] - positions[goal]
    row = np.hypot(step[:, 0], step[:, 1]) > 0.3 * spacing  # none leads to itself
    for n, slack in ((2, SLACK), (3, 1.35 * SLACK)):
        away = tree.query(positions[goal] + n * step, distance_upper_bound=slack * spacing)[0]
        row &= np.isfinite(away)
    return np.bincount(goal[row], minlength=len(positions)).astype(float)


def beside_a_lattice(positions: np.ndarray, spacing: float) -> np.ndarray:
    """What stands on no site of the lattice that the others form.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
    spacing : float
        Distance between nearest columns in the same unit.

    Returns
    -------
    ndarray of bool, shape (n,)
        Places to which no row of the lattice leads, and whose own steps go on half as often as is
        usual there; nothing where there is no lattice.
    """
    steps = steps_of_lattice(positions, spacing)
    within = steps >= LATTICE
    out = np.zeros(len(positions), bool)
    if within.sum() < FEWEST:
        return out
    usual = float(np.quantile(steps[within], 0.75))
    members = steps >= max(LATTICE, 0.5 * usual)
    if members.sum() < FEWEST:
        return out
    rows = rows_of_lattice(positions, members, spacing)
    if (rows > 0).sum() < FEWEST:
        return out
    return np.asarray((rows == 0) & (steps < 0.5 * usual))


def unfamiliarity(positions: np.ndarray, strange: np.ndarray, spacing: float) -> np.ndarray:
    """How far the neighbourhood of each atom is unlike what the model was trained on.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
    strange : ndarray, shape (n,)
        The unfamiliar-region map at each.
    spacing : float
        Distance between nearest columns in the same unit.

    Returns
    -------
    ndarray, shape (n,)
        0 to 1: the mean of the map over the atoms within 2.2 spacings; 0 for an atom that
        stands in a familiar lattice, however strange it is itself (a dopant, a core, a single
        chalcogen), and at the edge of one.
    """
    strange = np.clip(strange, 0, 1)
    steps = steps_of_lattice(positions, spacing, 1 - strange)
    outside = np.clip((LATTICE - steps) / (0.5 * LATTICE), 0, 1)
    return np.asarray(mean_round(positions, strange, NEAR * spacing) * outside)
