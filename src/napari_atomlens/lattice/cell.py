"""The unit cell of a projected lattice: found in a patch of atoms, reduced and described.

Vectors are (y, x) with y down the rows; a cell is a 2 x 2 array with the vectors a and b
as rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import scipy

#: Tolerances in units of the distance between nearest atoms.
MATCH = 0.25
#: A translation must lead from an atom to an atom in this share of all cases ...
LEAST_SHARE = 0.55
#: ... and in this share of the cases of the best translation.
OF_BEST = 0.8
#: How far translations of large cells are looked for, and among how many columns.
FAR = (10.0, 420)
#: Differences between atoms that are tried as translations.
MOST_PEAKS = 48
#: Lengths that differ by less are taken for equal when a cell is named and oriented.
ALIKE = 0.035


@dataclass(frozen=True)
class Cloud:
    """The atoms of a frame among which a lattice is looked for.

    Attributes
    ----------
    points : ndarray, shape (n, 2)
        All atoms (y, x).
    level : ndarray, shape (n,)
        Logarithm of the intensity, NaN where it is unknown.
    free : ndarray of bool, shape (n,)
        Atoms that belong to no region yet.
    """

    points: np.ndarray
    level: np.ndarray
    free: np.ndarray

    def hull(self) -> np.ndarray:
        """Half planes (normal, offset) of the convex hull, shape (k, 3), none for a line."""
        try:
            return np.asarray(scipy.spatial.ConvexHull(self.points).equations)
        except (scipy.spatial.QhullError, ValueError):
            return np.zeros((0, 3))


@dataclass(frozen=True)
class Patch:
    """A cell that was found round one place, and how well it holds there."""

    cell: np.ndarray
    spacing: float
    score: float


def find_cell(
    cloud: Cloud,
    tree: scipy.spatial.cKDTree,
    hull: np.ndarray,
    centre: np.ndarray,
    n_atoms: int = 140,
    large: bool = False,
) -> Patch | None:
    """Look for the primitive cell among the free atoms round a place.

    A translation of the lattice leads from (almost) every atom to another atom *of the same
    intensity*; other differences between atoms do so from some sublattices only. The
    differences are collected in a histogram, its peaks are tested for both, and the cell is
    the largest one that explains what is left.

    Parameters
    ----------
    cloud : Cloud
    tree : scipy.spatial.cKDTree
        Of all atoms.
    hull : ndarray, shape (k, 3)
        :meth:`Cloud.hull`.
    centre : ndarray, shape (2,)
    n_atoms : int
        Size of the patch.
    large : bool
        Look for larger cells, too, in a larger patch, where there is no small one.

    Returns
    -------
    Patch or None
        None where no lattice was found.
    """
    for n, reach, most in ((n_atoms, 3.3, 56), (n_atoms, 5.6, 150), (2 * n_atoms, *FAR)):
        _, near = tree.query(centre, k=min(n, len(cloud.points)))
        near = np.atleast_1d(near)
        refs = near[cloud.free[near]]
        if len(refs) < 6:
            return None
        spacing = float(np.median(tree.query(cloud.points[refs], k=2)[0][:, 1]))
        if not spacing > 0:
            return None
        found = _find_cell(cloud, tree, hull, refs, spacing, reach, most)
        if found is not None or (most == 150 and not large):
            return found
    return None


def _find_cell(
    cloud: Cloud,
    tree: scipy.spatial.cKDTree,
    hull: np.ndarray,
    refs: np.ndarray,
    spacing: float,
    reach: float,
    most: int,
) -> Patch | None:
    points = cloud.points
    k = min(most, len(points))
    _, j = tree.query(points[refs], k=k, distance_upper_bound=reach * spacing)
    there = (j < len(points)) & (j != refs[:, None])
    there[there] = cloud.free[j[there]]
    difference = (points[np.minimum(j, len(points) - 1)] - points[refs, None])[there]
    peaks = difference_peaks(difference / spacing, reach) * spacing
    if len(peaks) < 2:
        return None
    share, level = translation_share(cloud, tree, hull, refs, peaks, MATCH * spacing)
    best = share.max()
    if best < LEAST_SHARE:
        return None
    good = share >= max(LEAST_SHARE, OF_BEST * best)
    if np.isfinite(level[good]).any():
        good &= ~(level > 1.5 * np.nanmin(level[good]) + 0.03)
    vectors, weight = peaks[good], share[good]
    cell = generate(vectors, weight, 0.3 * spacing)
    if cell is None:
        return None
    cell = reduced(cell)
    # how well the three shortest translations hold, and how many there are to go by
    ring = np.array([cell[0], cell[1], cell[0] + cell[1]])
    holds, _ = translation_share(cloud, tree, hull, refs, ring, MATCH * spacing)
    if np.sort(holds)[1] < LEAST_SHARE:
        return None
    return Patch(cell, spacing, float(holds.mean()) * min(1.0, len(refs) / 60))


def difference_peaks(difference: np.ndarray, reach: float) -> np.ndarray:
    """Peaks of the histogram of differences, one of each pair of opposite ones.

    Parameters
    ----------
    difference : ndarray, shape (n, 2)
        In units of the distance between nearest atoms.
    reach : float
        Largest length.

    Returns
    -------
    ndarray, shape (k, 2)
        Sorted by length.
    """
    far = reach > 8
    step = 0.08
    half = int(np.ceil(reach / step)) + 4
    side = 2 * half + 1
    cells = np.rint(difference / step).astype(int) + half
    counts = np.bincount(cells[:, 0] * side + cells[:, 1], minlength=side * side)
    smooth = scipy.ndimage.gaussian_filter(counts.reshape(side, side).astype(float), 1.4)
    smooth = smooth + smooth[::-1, ::-1]
    top = (smooth == scipy.ndimage.maximum_filter(smooth, 5)) & (smooth > 0.25 * smooth.max())
    found = np.argwhere(top)
    if far:  # of many the most frequent: a translation starts at every atom
        found = found[np.argsort(-smooth[top], kind="stable")[: 2 * MOST_PEAKS + 1]]
    at = (found - half) * step
    at = at[(at[:, 0] > 1e-9) | ((np.abs(at[:, 0]) <= 1e-9) & (at[:, 1] > 0))]
    if not len(at):
        return at
    both = np.r_[difference, -difference]
    tree = scipy.spatial.cKDTree(at)
    for _ in range(2):
        gap, which = tree.query(both, distance_upper_bound=MATCH)
        near = np.isfinite(gap)
        n = np.bincount(which[near], minlength=len(at))
        mean = np.stack(
            [np.bincount(which[near], both[near, i], minlength=len(at)) for i in (0, 1)], -1
        )
        at = np.where(n[:, None] > 0, mean / np.maximum(n, 1)[:, None], at)
        tree = scipy.spatial.cKDTree(at)
    length = np.linalg.norm(at, axis=1)
    at = at[(length > 0.5) & (length < reach - 0.1)]
    return at[np.argsort(np.linalg.norm(at, axis=1), kind="stable")][:MOST_PEAKS]


def translation_share(
    cloud: Cloud,
    tree: scipy.spatial.cKDTree,
    hull: np.ndarray,
    refs: np.ndarray,
    vectors: np.ndarray,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """How often each vector leads from an atom to an atom, and to one as bright.

    Returns
    -------
    share : ndarray, shape (k,)
        Atoms met over those that could be met: not beyond the hull of all atoms, nor
        where an atom of another region is.
    level : ndarray, shape (k,)
        70th percentile of the difference in log intensity, NaN where it is unknown.
    """
    target = cloud.points[refs][None] + vectors[:, None]
    gap, j = tree.query(target)
    met = (gap < tolerance) & cloud.free[j]
    possible = met | cloud.free[j]
    if len(hull):
        # a little inside, for the zigzag of an edge
        inside = (target @ hull[:, :2].T + hull[:, 2]).max(-1) < -0.1 * tolerance
        possible &= inside | met
    share = met.sum(1) / np.maximum(possible.sum(1), 1)
    share[met.sum(1) < 5] = 0.0
    jump = np.abs(cloud.level[j] - cloud.level[refs][None])
    jump[~met] = np.nan
    level = np.full(len(vectors), np.nan)
    enough = np.isfinite(jump).sum(1) >= 5
    if enough.any():
        level[enough] = np.nanpercentile(jump[enough], 70, axis=1)
    return share, level


def generate(vectors: np.ndarray, weight: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Return the largest cell whose lattice contains (almost) all of the given vectors.

    A vector that does not belong cannot make the cell smaller than it is, as at least 85 %
    of the weight must be explained, not all of it.
    """
    best: tuple[float, np.ndarray] | None = None
    n = min(len(vectors), 12)
    for p in range(n):
        for q in range(p + 1, n):
            cell = np.array([vectors[p], vectors[q]])
            area = abs(np.linalg.det(cell))
            lengths = np.linalg.norm(cell, axis=1)
            if area < 0.26 * lengths[0] * lengths[1]:
                continue
            index = np.rint(vectors @ np.linalg.inv(cell))
            off = np.linalg.norm(vectors - index @ cell, axis=1)
            # twice the vectors, thus twice the tolerance: they add up what is strained
            fits = off < tolerance * np.maximum(1.0, 0.5 * np.abs(index).sum(1))
            if weight[fits].sum() < 0.85 * weight.sum():
                continue
            if best is None or area > 1.2 * best[0]:
                w = (weight * fits)[:, None]
                solved, *_ = np.linalg.lstsq(index * w, vectors * w, rcond=None)
                best = (area, solved)
    return None if best is None else best[1]


def reduced(cell: np.ndarray) -> np.ndarray:
    """Lagrange-reduced cell, oriented the same way always.

    Of equally short vectors a is the one nearest to +x as drawn for which b, 60 to 120
    degrees counter-clockwise from it, can make an angle of at least 90 degrees. Vectors
    within 3.5 % of each other count as equally short.
    """
    a, b = np.array(cell[0], float), np.array(cell[1], float)
    for _ in range(64):
        if a @ a > b @ b:
            a, b = b, a
        n = np.rint((a @ b) / (a @ a))
        if n == 0:
            break
        b = b - n * a
    short = np.array([a, b, a + b, a - b])
    length = np.linalg.norm(short, axis=1)
    firsts = short[length <= (1 + ALIKE) * length.min()]
    # a direction and its opposite are the same
    firsts = np.array([v if (v[1], -v[0]) > (0.0, 0.0) else -v for v in firsts])
    firsts = firsts[np.argsort(-firsts[:, 1] / np.linalg.norm(firsts, axis=1), kind="stable")]
    acute = None
    for first in firsts:
        others = np.r_[short, -short]
        # counter-clockwise as drawn: y points down
        turn = others[:, 0] * first[1] - others[:, 1] * first[0]
        others = others[turn < -1e-6 * (first @ first)]
        size = np.linalg.norm(others, axis=1)
        others = others[size <= (1 + ALIKE) * size.min()]
        cosine = others @ first / np.linalg.norm(others, axis=1) / np.linalg.norm(first)
        obtuse = others[cosine <= ALIKE]
        if len(obtuse):
            return np.array([first, obtuse[np.argmax(obtuse @ first)]])
        if acute is None:
            acute = np.array([first, others[np.argmin(cosine)]])
    assert acute is not None
    return acute


def name_of(cell: np.ndarray) -> str:
    """Kind of the plane lattice: square, rectangular, centred rectangular, hexagonal, oblique."""
    length = np.linalg.norm(cell, axis=1)
    cosine = float(cell[0] @ cell[1]) / (length[0] * length[1])
    equal = abs(length[0] / length[1] - 1) < ALIKE
    if abs(cosine) < ALIKE:
        return "square" if equal else "rectangular"
    if equal:
        return "hexagonal" if abs(abs(cosine) - 0.5) < ALIKE else "centred rectangular"
    # centred also where the half of one edge is the projection of the other vector
    halves = (2 * (cell[0] @ cell[1]) / length**2) if length.min() > 0 else np.zeros(2)
    if (np.abs(np.abs(halves) - 1) < 2 * ALIKE).any():
        return "centred rectangular"
    return "oblique"


def conventional(cell: np.ndarray) -> np.ndarray:
    """Conventional cell: the rectangle of a centred lattice, otherwise the cell itself."""
    if name_of(cell) != "centred rectangular":
        return cell
    a, b = cell
    options = [
        (u, v)
        for u, v in ((a + b, a - b), (a, a + 2 * b), (b, b + 2 * a), (a, 2 * b - a), (b, 2 * a - b))
    ]
    u, v = min(
        options, key=lambda p: abs(float(p[0] @ p[1])) / np.sqrt((p[0] @ p[0]) * (p[1] @ p[1]))
    )
    return np.array(sorted((u, v), key=lambda w: float(w @ w)))


def equivalents() -> list[np.ndarray]:
    """Cells M @ cell span the same lattice: matrices M of determinant 1 with small entries."""
    found = []
    for entries in product((-1, 0, 1), repeat=4):
        m = np.array(entries).reshape(2, 2)
        if m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0] == 1:
            found.append(m)
    return found


def matched_to(cell: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Choose the equivalent of `other` that is `cell` but for the least strain and rotation.

    Returns
    -------
    cell : ndarray, shape (2, 2)
        Vectors of the lattice of `other` that answer those of `cell`.
    rotation_rad : float
        Rotation from `other` to `cell`, counter-clockwise as drawn.
    strain : float
        Largest principal strain between the two.
    """
    candidates = [m @ other for m in equivalents()]
    gradients = np.array([deformation(c, cell) for c in candidates])
    stretch = np.abs(np.linalg.svd(gradients, compute_uv=False) - 1).max(1)
    angle = rotation_of(gradients)
    # symmetry makes some equally good: of these the least turned
    good = np.flatnonzero(stretch < stretch.min() + 0.02)
    best = good[np.argmin(np.abs(angle[good]))]
    return candidates[best], float(angle[best]), float(stretch[best])


def deformation(reference: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Deformation gradient F with F @ v the vector of `cell` that answers v of `reference`."""
    return np.linalg.solve(reference, cell).T


def rotation_of(f: np.ndarray) -> np.ndarray:
    """Rotation angle of deformation gradients (..., 2, 2) in (y, x), counter-clockwise as drawn.

    That of the polar decomposition F = R U, in closed form for two dimensions.
    """
    return np.arctan2(f[..., 1, 0] - f[..., 0, 1], f[..., 0, 0] + f[..., 1, 1])


def site_neighbours(cell: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Neighbours of each site that share an edge of the Voronoi tessellation of the crystal.

    Parameters
    ----------
    cell : ndarray, shape (2, 2)
    basis : ndarray, shape (s, 2)
        Fractional positions.

    Returns
    -------
    ndarray of int, shape (k, 4)
        From sublattice, to sublattice, and by how many cells along a and b. Edges shorter
        than a fifth of the longest one of the tessellation are corners: left out.
    """
    s = len(basis)
    cells = np.array(list(product(range(-3, 4), repeat=2)))
    sites = ((cells[:, None] + basis[None]) @ cell).reshape(-1, 2)
    tessellation = scipy.spatial.Voronoi(sites)
    home = np.flatnonzero((cells == 0).all(1))[0] * s + np.arange(s)
    pairs = tessellation.ridge_points
    ends = np.array([v if -1 not in v else [0, 0] for v in tessellation.ridge_vertices])
    length = np.linalg.norm(
        tessellation.vertices[ends[:, 0]] - tessellation.vertices[ends[:, 1]], axis=1
    )
    rows = []
    for i in home:
        mine = (pairs == i).any(1)
        keep = mine & (length > 0.2 * length[mine].max())
        for p in pairs[keep]:
            other = p[1] if p[0] == i else p[0]
            rows.append([i - home[0], other % s, *cells[other // s]])
    return np.array(rows, int)
