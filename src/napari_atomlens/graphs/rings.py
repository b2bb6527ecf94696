"""Rings as the faces of a planar drawing of the bonds, all of them at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Rings of more atoms are taken for holes and edges.
MAX_RING = 24


@dataclass(frozen=True)
class Rings:
    """The bounded faces of a bond graph.

    Attributes
    ----------
    members : ndarray of int, shape (n, longest)
        Rows of the atoms of each ring in order round it, -1 beyond its size.
    size : ndarray of int, shape (n,)
        Atoms in each ring.
    area : ndarray of float, shape (n,)
        Area in the square of the unit of the positions.
    """

    members: np.ndarray
    size: np.ndarray
    area: np.ndarray

    def __len__(self) -> int:
        return len(self.size)

    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """Ring and atom of every membership, two arrays of the same length."""
        ring, place = np.nonzero(self.members >= 0)
        return ring, self.members[ring, place]

    def polygon(self, ring: int) -> np.ndarray:
        """Rows of the atoms of one ring, in order."""
        return self.members[ring, : self.size[ring]]


def core(pairs: np.ndarray, n: int) -> np.ndarray:
    """Mask of the bonds that can belong to a ring: dangling ends are taken off again and again."""
    keep = np.ones(len(pairs), bool)
    while True:
        degree = np.bincount(pairs[keep].ravel(), minlength=n)
        loose = keep & (degree[pairs] < 2).any(axis=1)
        if not loose.any():
            return keep
        keep &= ~loose


def crossing(positions: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Mask of the bonds that cross a shorter one, so that the rest lies flat.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
    pairs : ndarray of int, shape (m, 2)
    """
    from scipy.spatial import cKDTree

    drop = np.zeros(len(pairs), bool)
    if len(pairs) < 2:
        return drop
    start, end = positions[pairs[:, 0]], positions[pairs[:, 1]]
    length = np.hypot(*(end - start).T)
    # bonds that cross have atoms nearer to each other than half of the longer bond, on either
    # side; only bonds of atoms with four or more neighbours, or with a short one, can
    order = np.argsort(length, kind="stable")
    rank = np.empty(len(pairs), int)
    rank[order] = np.arange(len(pairs))
    middle = (start + end) / 2
    # two bonds that cross have their middles nearer than half the sum of their lengths
    typical = float(np.median(length))
    is_long = length > 1.12 * typical
    suspects = np.flatnonzero(is_long)
    if not len(suspects):
        return drop
    tree = cKDTree(middle)
    near = tree.query_ball_point(middle[suspects], length[suspects], return_sorted=False)
    count = np.fromiter(map(len, near), int, len(near))
    first = np.repeat(suspects, count)
    second = np.fromiter((j for row in near for j in row), int, int(count.sum()))
    ok = rank[second] < rank[first]
    first, second = first[ok], second[ok]
    shared = (pairs[first][:, :, None] == pairs[second][:, None, :]).any(axis=(1, 2))
    first, second = first[~shared], second[~shared]
    p, r = start[first], end[first] - start[first]
    q, s = start[second], end[second] - start[second]

    def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]

    side_a, side_b = cross(r, q - p), cross(r, q + s - p)
    side_c, side_d = cross(s, p - q), cross(s, p + r - q)
    drop[first[(side_a * side_b < 0) & (side_c * side_d < 0)]] = True
    return drop


def trace_rings(positions: np.ndarray, pairs: np.ndarray, max_size: int = MAX_RING) -> Rings:
    """Find every ring: the bounded faces of the bonds as they are drawn.

    Each bond is two half-bonds, one in either direction. From a half-bond the face goes on
    with the next one clockwise about the atom that it reaches, so that the faces are the
    cycles of a permutation, followed for all half-bonds at once. Dangling ends are left
    out, and of two bonds that cross the longer one.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
        (y, x) in any unit.
    pairs : ndarray of int, shape (m, 2)
        Rows of the bonded atoms.
    max_size : int
        Longest ring to find.

    Returns
    -------
    Rings
        Sorted by their lowest atom.
    """
    positions = np.asarray(positions, float)
    pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
    n = len(positions)
    none = Rings(np.full((0, max_size), -1), np.zeros(0, int), np.zeros(0))
    if len(pairs) < 3:
        return none
    pairs = pairs[~crossing(positions, pairs)]
    pairs = pairs[core(pairs, n)]
    m = len(pairs)
    if m < 3:
        return none
    origin = np.r_[pairs[:, 0], pairs[:, 1]]
    target = np.r_[pairs[:, 1], pairs[:, 0]]
    step = positions[target] - positions[origin]
    angle = np.arctan2(step[:, 0], step[:, 1])
    order = np.lexsort((angle, origin))
    begin = np.searchsorted(origin[order], np.arange(n))
    degree = np.bincount(origin, minlength=n)
    place = np.empty(2 * m, np.int64)
    place[order] = np.arange(2 * m)
    place -= begin[origin]  # of each half-bond among those of its atom, by angle
    twin = np.r_[np.arange(m, 2 * m), np.arange(m)]
    back = place[twin]
    following = order[begin[target] + (back - 1) % degree[target]]

    # follow every half-bond until it comes back to itself
    here = following.copy()
    size = np.zeros(2 * m, np.int64)
    least = np.minimum(np.arange(2 * m), here)
    active = np.arange(2 * m)
    for k in range(1, max_size + 1):
        closed = here[active] == active
        size[active[closed]] = k
        active = active[~closed]
        if not len(active) or k == max_size:
            break
        here[active] = following[here[active]]
        least[active] = np.minimum(least[active], here[active])
    first = np.flatnonzero((size >= 3) & (least == np.arange(2 * m)))
    members = np.full((len(first), max_size), -1, np.int64)
    half, sizes = first.copy(), size[first]
    area = np.zeros(len(first))
    for k in range(max_size):
        inside = np.flatnonzero(k < sizes)
        if not len(inside):
            break
        at = half[inside]
        members[inside, k] = origin[at]
        a, b = positions[origin[at]], positions[target[at]]
        area[inside] += a[:, 1] * b[:, 0] - a[:, 0] * b[:, 1]
        half[inside] = following[at]
    area /= 2
    # outer faces run the other way; a face that meets an atom twice is no ring
    ranked = np.sort(members, axis=1)
    twice = ((ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] >= 0)).any(axis=1)
    good = np.flatnonzero((area > 0) & ~twice)
    lowest = np.where(members[good] < 0, n, members[good]).min(axis=1)
    good = good[np.argsort(lowest, kind="stable")]
    return Rings(members[good], sizes[good], area[good])
