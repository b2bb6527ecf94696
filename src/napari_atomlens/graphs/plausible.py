"""Which atoms beside a foreign atom to believe: the detector's odds weighed with chemistry.

The tails of a bright atom hide weak neighbours and invent others. Here every atom near a
foreign one is kept or left out so that an energy is lowest:
minus the log odds of the detector, plus costs for atoms that overlap, triangles with two
host atoms, missing bonds and bonds too many. The costs are in units of log odds.
"""

from __future__ import annotations

import numpy as np

from napari_atomlens.graphs.geometry import drop_chords
from napari_atomlens.graphs.rules import Rules
from napari_atomlens.points import connected

#: An overlap costs half the square of (typical - distance) over this times the typical length.
SOFTNESS = 0.12
#: Costs of a missing bond, a bond too many, and a triangle of a foreign and two host atoms.
MISSING, TOO_MANY, TRIANGLE = 0.9, 1.5, 3.0
#: Foreign atoms may come as near as this times their usual bond before it costs anything.
BULGE = 0.7
#: A fitted amplitude of nothing costs this, one of half the usual nothing.
DIM = 4.0
#: Nothing is more certain than this, for or against.
CERTAIN = 5.0
ROUNDS = 25


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Log odds of probabilities, limited to plus or minus 5; unknown ones count as certain."""
    p = np.clip(np.nan_to_num(np.asarray(probability, float), nan=1.0), 1e-6, 1 - 1e-6)
    return np.clip(np.log(p / (1 - p)), -CERTAIN, CERTAIN)


def dimness(amplitude: np.ndarray, usual: float) -> np.ndarray:
    """Log odds lost by a fitted amplitude below half the usual one; unknown ones lose none."""
    share = np.nan_to_num(np.asarray(amplitude, float) / usual, nan=1.0, posinf=1.0)
    return DIM * np.clip(1 - 2 * share, 0, 1)


def select(
    pairs: np.ndarray,
    length: np.ndarray,
    code: np.ndarray,
    names: tuple[str, ...],
    odds: np.ndarray,
    rules: Rules,
) -> np.ndarray:
    """Mask of the atoms to believe.

    Parameters
    ----------
    pairs, length : ndarray, shape (m, 2) and (m,)
        All pairs nearer than the longest bond, the lower row first, sorted.
    code : ndarray of int, shape (n,)
        Species of each atom as an index into `names`.
    names : tuple of str
    odds : ndarray, shape (n,)
        Log odds that each atom is there.
    rules : Rules
    """
    host = np.array([s in rules.host for s in names], bool)[code]
    chosen = np.ones(len(code), bool)
    foreign = ~host
    if not foreign.any() or not len(pairs):
        return chosen
    n = len(code)
    low, high, usual = rules.lengths(names)
    kinds = code[pairs[:, 0]], code[pairs[:, 1]]
    top = high[kinds]
    # only what lies near a foreign atom is in question
    touches = foreign[pairs].any(axis=1) & (length <= 1.1 * np.maximum(top, 1e-12))
    asked = np.zeros(n, bool)
    asked[pairs[touches].ravel()] = True
    near = asked[pairs].any(axis=1)
    pairs, length, top = pairs[near], length[near], top[near]
    bottom = low[kinds][near]
    typical = usual[kinds][near]
    relative = length / np.maximum(typical, 1e-12)
    # clusters of foreign atoms bulge out of the plane: seen from above they come closer
    typical = np.where(host[pairs].any(axis=1), typical, BULGE * typical)
    overlap = np.zeros(len(pairs))
    real = typical > 0
    overlap[real] = 0.5 * np.clip((1 - length[real] / typical[real]) / SOFTNESS, 0, 4) ** 2
    bonded = (length >= bottom) & (length <= top)
    least = np.array([rules.species_rule(s).min_coordination for s in names], int)[code]
    most = np.array([rules.species_rule(s).max_coordination for s in names], int)[code]
    group = connected(pairs[foreign[pairs].any(axis=1)], n)
    flips = np.zeros(n, int)
    for _ in range(ROUNDS):
        on = chosen[pairs].all(axis=1)
        links = np.flatnonzero(on & bonded)
        # an invented atom between two foreign ones must not undo their bond
        stay = drop_chords(pairs[links], relative[links], n, rules.chord)
        links = links[stay | ~host[pairs[links]].any(axis=1)]
        degree = np.bincount(pairs[links].ravel(), minlength=n)
        half = np.flatnonzero(chosen[pairs].any(axis=1) & bonded)
        stay = drop_chords(pairs[half], relative[half], n, rules.chord)
        half = half[stay | ~host[pairs[half]].any(axis=1)]
        triangles = _triangles(pairs[half], host, chosen)
        # what atom i would pay if it is there, against if it is not
        cost = -odds.copy()
        for side, other in ((0, 1), (1, 0)):
            i, j = pairs[:, side], pairs[:, other]
            there = chosen[j]
            np.add.at(cost, i[there], overlap[there])
            b = there & bonded
            with_i = degree[j[b]] + ~on[b]  # bonds of j if i is there
            change = _dues(with_i, least[j[b]], most[j[b]]) - _dues(
                with_i - 1, least[j[b]], most[j[b]]
            )
            np.add.at(cost, i[b], change)
        mine = np.bincount(
            np.r_[pairs[bonded & chosen[pairs[:, 1]], 0], pairs[bonded & chosen[pairs[:, 0]], 1]],
            minlength=n,
        )
        cost += _dues(mine, least, most) + TRIANGLE * triangles
        gain = np.where(chosen, cost, -cost)
        gain[~asked | (flips > 2)] = -np.inf
        best = np.flatnonzero(gain > 1e-9)
        if not len(best):
            break
        order = np.lexsort((-gain[best], group[best]))
        first = np.r_[True, np.diff(group[best][order]) != 0]
        flip = best[order[first]]
        chosen[flip] = ~chosen[flip]
        flips[flip] += 1
    return chosen


def _dues(degree: np.ndarray, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Cost of the coordination of each atom."""
    return np.asarray(
        MISSING * np.maximum(least - degree, 0) + TOO_MANY * np.maximum(degree - most, 0)
    )


def _triangles(pairs: np.ndarray, host: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Triangles of foreign and host atoms that each host atom makes with chosen ones."""
    from scipy.sparse import coo_array

    n = len(host)
    mixed = host[pairs].sum(axis=1) == 1
    f = np.where(host[pairs[mixed, 0]], pairs[mixed, 1], pairs[mixed, 0])
    h = np.where(host[pairs[mixed, 0]], pairs[mixed, 0], pairs[mixed, 1])
    f, h = f[chosen[f]], h[chosen[f]]
    if not len(f):
        return np.zeros(n)
    to_foreign = coo_array((np.ones(len(f)), (h, f)), shape=(n, n)).tocsr()
    a, b = pairs[host[pairs].all(axis=1)].T
    common = np.asarray(to_foreign[a].multiply(to_foreign[b]).sum(axis=1)).ravel()
    found = np.bincount(a, common * chosen[b], minlength=n)
    found = found + np.bincount(b, common * chosen[a], minlength=n)
    # a host atom between two foreign ones that are bonded to each other
    c, d = pairs[~host[pairs].any(axis=1) & chosen[pairs].all(axis=1)].T
    if len(c):
        between = to_foreign[:, c].multiply(to_foreign[:, d]).sum(axis=1)
        found = found + np.asarray(between).ravel()
    return np.asarray(found)
