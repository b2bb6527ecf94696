"""Local deformation and displacements of the sites of one region.

Everything is a least-squares fit in a window round each site, from moments that sparse
matrix products give for all sites at once. ``u`` are ideal positions (y, x), ``d`` what
the atoms are displaced from them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy

from napari_atomlens.lattice.cell import rotation_of, site_neighbours
from napari_atomlens.lattice.elastic import StrainField
from napari_atomlens.lattice.grain import TOLERANCE, Grain, SiteGrid


@dataclass(frozen=True)
class LocalFit:
    """An affine fit round each site.

    Attributes
    ----------
    gradient : ndarray, shape (n, 2, 2)
        Deformation gradient F in (y, x): du = F @ du0; NaN where too few atoms are near.
    covariance : ndarray, shape (n, 2, 2)
        Of each row of F, for a position variance of 1.
    predicted : ndarray, shape (n, 2)
        Where the atoms round the site expect it, as a displacement from its ideal position.
    spread : ndarray, shape (n,)
        Root of the mean squared residual per axis of the atoms in the window.
    n_near : ndarray of int, shape (n,)
        Atoms in the window.
    """

    gradient: np.ndarray
    covariance: np.ndarray
    predicted: np.ndarray
    spread: np.ndarray
    n_near: np.ndarray


def local_fit(
    u: np.ndarray,
    d: np.ndarray,
    sublattice: np.ndarray,
    at: np.ndarray,
    at_sublattice: np.ndarray,
    n_sublattices: int,
    radius: float,
    *,
    leave_out_self: bool = False,
) -> LocalFit:
    """Fit ``r = c_s + F u`` to the atoms within `radius` of each site.

    Every sublattice has an offset ``c_s`` of its own, so that a polar displacement of one
    against the other is no strain.

    Parameters
    ----------
    u, d : ndarray, shape (n, 2)
        Ideal position and displacement of the atoms.
    sublattice : ndarray of int, shape (n,)
    at : ndarray, shape (k, 2)
        Ideal positions of the sites to look at.
    at_sublattice : ndarray of int, shape (k,)
    n_sublattices : int
    radius : float
        Of the window, in pixels.
    leave_out_self : bool
        The sites are the atoms, in the same order, and each is left out of its own window.
    """
    centre = u.mean(0)
    u, at = u - centre, at - centre
    tree, places = scipy.spatial.cKDTree(u), scipy.spatial.cKDTree(at)
    pairs = places.sparse_distance_matrix(tree, radius, output_type="coo_matrix")
    rows, cols = pairs.row, pairs.col
    if leave_out_self:
        other = rows != cols
        rows, cols = rows[other], cols[other]
    window = scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, cols)), (len(at), len(u)))
    # uu, du and dd over the whole window
    products = np.concatenate(
        [
            (u[:, :, None] * u[:, None, :]).reshape(-1, 4),
            (d[:, :, None] * u[:, None, :]).reshape(-1, 4),
            (d**2).sum(1, keepdims=True),
        ],
        1,
    )
    # one, u and d per sublattice
    one = np.eye(n_sublattices)[sublattice]
    each = np.concatenate([one, *(one * v[:, None] for v in (*u.T, *d.T))], 1)
    return _affine(window @ products, window @ each, at, at_sublattice, n_sublattices, radius)


def torn_fit(
    grain: Grain,
    sites: np.ndarray,
    origin: np.ndarray,
    position: np.ndarray,
    at: np.ndarray,
    at_sublattice: np.ndarray,
    at_frames: np.ndarray,
    radius: float,
    field: StrainField | None = None,
    *,
    leave_out_self: bool = False,
) -> LocalFit:
    """Fit as :func:`local_fit` where cells cannot be compared across the region.

    How many cells lie between two atoms follows from the vectors at the place itself, not from
    numbers that were counted round a dislocation on one side or the other.

    Parameters
    ----------
    grain : Grain
    sites, origin : ndarray, shape (2, 2) and (s, 2)
        Vectors of the lattice that the deformation is told against, place of each sublattice.
    position : ndarray, shape (n, 2)
        Of the atoms of the region.
    at, at_sublattice, at_frames : ndarray
        Where to look, and the vectors there.
    radius, leave_out_self
        As there; `at` are the atoms.
    field : StrainField, optional
        What dislocations do, which is no affine deformation of a window: taken off before the
        fit, and added to what it gives.

    Returns
    -------
    LocalFit
        ``predicted`` is against `at`.
    """
    tree, places = scipy.spatial.cKDTree(position), scipy.spatial.cKDTree(at)
    pairs = places.sparse_distance_matrix(tree, 1.3 * radius, output_type="coo_matrix")
    i, j = pairs.row, pairs.col
    if leave_out_self:
        i, j = i[i != j], j[i != j]
    difference = position[j] - at[i]
    sub, sub_at = grain.sublattice[j], at_sublattice[i]
    step = np.einsum("pi,pij->pj", difference, np.linalg.inv(at_frames)[i])
    step -= grain.basis[sub] - grain.basis[sub_at]
    whole = np.rint(step)
    u = whole @ sites + origin[sub] - origin[sub_at]
    near = np.linalg.norm(u, axis=1) <= radius
    near &= np.linalg.norm((step - whole) @ sites, axis=1) < TOLERANCE * grain.spacing
    i, u, sub = i[near], u[near], sub[near]
    d = difference[near] - u
    if field is not None:
        d -= field.difference(at[i], position[j[near]])
    found = _summed(len(at), len(grain.basis), i, u, d, sub, at_sublattice, radius)
    if field is None:
        return found
    # r0 = r - u(r), so that dr0 = (1 - grad u) dr
    unknown = np.linalg.norm(at[:, None] - field.places, axis=2).min(1) < grain.spacing
    back = np.eye(2) - np.where(unknown[:, None, None], 0, field.gradient(at))
    gradient = np.linalg.inv(back) @ found.gradient
    gradient[unknown] = np.nan
    return replace(found, gradient=gradient)


def _summed(
    k: int,
    s: int,
    i: np.ndarray,
    u: np.ndarray,
    d: np.ndarray,
    sub: np.ndarray,
    at_sublattice: np.ndarray,
    radius: float,
) -> LocalFit:
    """Fit k windows from pairs: of window i, u from its middle, displaced by d, sublattice."""
    products = (
        u[:, 0] ** 2, u[:, 0] * u[:, 1], u[:, 0] * u[:, 1], u[:, 1] ** 2,
        d[:, 0] * u[:, 0], d[:, 0] * u[:, 1], d[:, 1] * u[:, 0], d[:, 1] * u[:, 1], (d**2).sum(1),
    )  # fmt: skip
    total = np.stack([np.bincount(i, v, minlength=k) for v in products], -1)
    each = [
        np.bincount(i * s + sub, v, minlength=k * s).reshape(k, s)
        for v in (np.ones(len(i)), *u.T, *d.T)
    ]
    return _affine(total, np.concatenate(each, 1), np.zeros((k, 2)), at_sublattice, s, radius)


def _affine(
    total: np.ndarray,
    sums: np.ndarray,
    at: np.ndarray,
    at_sublattice: np.ndarray,
    n_sublattices: int,
    radius: float,
) -> LocalFit:
    """Solve ``r = c_s + F u`` from the moments of each window.

    Parameters
    ----------
    total : ndarray, shape (k, 9)
        Sums of uu, du and dd over each window.
    sums : ndarray, shape (k, 5 s)
        Sums of one, u and d over the atoms of each sublattice in it.
    """
    k = len(at)
    uu, du, dd = total[:, :4].reshape(k, 2, 2), total[:, 4:8].reshape(k, 2, 2), total[:, 8]
    n, uy, ux, dy, dx = sums.reshape(k, 5, n_sublattices).transpose(1, 0, 2)
    su, sd = np.stack([uy, ux], -1), np.stack([dy, dx], -1)
    share = 1 / np.maximum(n, 1)
    m = uu - np.einsum("ks,ksi,ksj->kij", share, su, su)
    c = du - np.einsum("ks,ksi,ksj->kij", share, sd, su)
    # two independent directions, each wider than a third of the window
    determinant, trace = np.linalg.det(m), np.trace(m, axis1=1, axis2=2)
    smallest = determinant / np.maximum(trace, 1e-30)
    enough = smallest > 0.1 * radius**2
    safe = np.where(enough[:, None, None], m, np.eye(2))
    inverse = np.linalg.inv(safe)
    g = np.where(enough[:, None, None], c @ inverse, 0.0)
    # offset of the own sublattice; where none is near, that of all together
    own = np.arange(k), at_sublattice
    count = n.sum(1)
    mean_u = np.where(n[own][:, None] > 0, su[own] * share[own][:, None],
                      su.sum(1) / np.maximum(count, 1)[:, None])  # fmt: skip
    mean_d = np.where(n[own][:, None] > 0, sd[own] * share[own][:, None],
                      sd.sum(1) / np.maximum(count, 1)[:, None])  # fmt: skip
    predicted = mean_d + np.einsum("kij,kj->ki", g, at - mean_u)
    predicted[count == 0] = np.nan
    within = dd - np.einsum("ks,ksi,ksi->k", share, sd, sd) - np.einsum("kij,kij->k", g, c)
    freedom = 2 * (count - (n > 0).sum(1)) - 4
    spread = np.sqrt(np.maximum(within, 0) / np.maximum(freedom, 1))
    spread[freedom < 1] = np.nan
    f = g + np.eye(2)
    f[~enough] = np.nan
    return LocalFit(
        f, np.where(enough[:, None, None], inverse, np.nan), predicted, spread, count.astype(int)
    )


@dataclass(frozen=True)
class Strain:
    """Strain of sites, shape (n,) each.

    ``exx``, ``eyy``, ``exy`` along the columns (x, to the right) and rows (y, down) of the
    image, dimensionless; ``rotation`` in radians, counter-clockwise as drawn. The ``_err``
    are standard errors.
    """

    exx: np.ndarray
    eyy: np.ndarray
    exy: np.ndarray
    rotation: np.ndarray
    exx_err: np.ndarray
    eyy_err: np.ndarray
    exy_err: np.ndarray
    rotation_err: np.ndarray


def strain_of(gradient: np.ndarray, row_covariance: np.ndarray, variance: np.ndarray) -> Strain:
    """Strain and rotation from deformation gradients, by their polar decomposition.

    ``F = V R`` with the rotation R and the left stretch V; the strain is ``V - 1`` (Biot), in
    the axes of the image. For small strains it is the symmetric part of ``F - 1``, but it
    stays zero where a crystal is only turned.

    Parameters
    ----------
    gradient : ndarray, shape (n, 2, 2)
        In (y, x).
    row_covariance : ndarray, shape (n, 2, 2)
        Covariance of a row of F for a position variance of 1.
    variance : ndarray, shape (n, 2)
        Variance of the positions in y and x.
    """
    angle = rotation_of(gradient)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)
    v = gradient @ np.swapaxes(turn, 1, 2)
    yy, xx = row_covariance[:, 0, 0], row_covariance[:, 1, 1]
    vy, vx = variance[:, 0], variance[:, 1]
    # the rows of F, along y and along x, come from different coordinates: independent
    half = 0.5 * np.sqrt(np.maximum(vy * xx + vx * yy, 0))
    return Strain(
        exx=v[:, 1, 1] - 1,
        eyy=v[:, 0, 0] - 1,
        exy=0.5 * (v[:, 0, 1] + v[:, 1, 0]),
        rotation=angle,
        exx_err=np.sqrt(vx * xx),
        eyy_err=np.sqrt(vy * yy),
        exy_err=half,
        rotation_err=half.copy(),
    )


@dataclass(frozen=True)
class Polar:
    """Displacement of atoms from the centre of their neighbours, (n,) each, NaN where none."""

    dy: np.ndarray
    dx: np.ndarray
    dy_err: np.ndarray
    dx_err: np.ndarray
    against: np.ndarray


def shells(grain: Grain) -> dict[tuple[int, int], np.ndarray]:
    """Shells of neighbours of another sublattice that surround a site evenly.

    Returns
    -------
    dict of (int, int) to ndarray of int, shape (k, 2)
        For (sublattice, other sublattice): by how many cells each neighbour is away. Only
        shells whose centre is the site itself, within a quarter of their radius.
    """
    shifts = np.array([[m, n] for m in range(-2, 3) for n in range(-2, 3)])
    found = {}
    for s in range(len(grain.basis)):
        for t in range(len(grain.basis)):
            if s == t:
                continue
            vectors = (shifts + grain.basis[t] - grain.basis[s]) @ grain.cell
            length = np.linalg.norm(vectors, axis=1)
            shell = length < 1.3 * length.min()
            centre = np.linalg.norm(vectors[shell].mean(0))
            if shell.sum() >= 2 and centre < 0.25 * length.min():
                found[s, t] = shifts[shell]
    return found


def polar_displacement(
    grain: Grain,
    position: np.ndarray,
    variance: np.ndarray,
    brightness: np.ndarray,
    against: int = -1,
) -> Polar:
    """Displacement of each atom from the centre of its neighbours of another sublattice.

    Parameters
    ----------
    grain : Grain
    position, variance : ndarray, shape (k, 2)
        (y, x) of its atoms, and their variances (NaN where unknown).
    brightness : ndarray, shape (s,)
        Of the sublattices: of the others that surround a site, the brightest serves.
    against : int
        The other sublattice, -1 to choose.

    Returns
    -------
    Polar
        NaN where a neighbour is missing: the centre of the rest would lie.
    """
    n = len(grain.rows)
    shift, var = np.full((n, 2), np.nan), np.full((n, 2), np.nan)
    other = np.full(n, -1)
    around = shells(grain)
    grid = SiteGrid(grain.cells, grain.sublattice, len(grain.basis))
    for s in range(len(grain.basis)):
        options = [t for (a, t) in around if a == s and against in (-1, t)]
        if not options:
            continue
        t = max(options, key=lambda o: (np.nan_to_num(brightness[o]), -o))
        mine = np.flatnonzero(grain.sublattice == s)
        cells = grain.cells[mine][:, None] + around[s, t]
        near = grid.find(cells, np.full(cells.shape[:2], t))
        whole = (near >= 0).all(1)
        mine, near = mine[whole], near[whole]
        shift[mine] = position[mine] - position[near].mean(1)
        var[mine] = variance[mine] + variance[near].sum(1) / near.shape[1] ** 2
        other[mine] = t
    error = np.sqrt(var)
    return Polar(shift[:, 0], shift[:, 1], error[:, 0], error[:, 1], other)


def bonds(grain: Grain) -> np.ndarray:
    """Pairs of atoms on neighbouring sites, each once, shape (k, 2), indices into the region.

    Neighbours are sites that share an edge of the Voronoi tessellation and are hardly farther
    (1.2 times) than the nearest ones.
    """
    links = site_neighbours(grain.cell, grain.basis)
    vectors = (links[:, 2:] + grain.basis[links[:, 1]] - grain.basis[links[:, 0]]) @ grain.cell
    length = np.linalg.norm(vectors, axis=1)
    links = links[length < 1.2 * length.min()]
    grid = SiteGrid(grain.cells, grain.sublattice, len(grain.basis))
    pairs = []
    for s, t, m, n in links:
        mine = np.flatnonzero(grain.sublattice == s)
        near = grid.find(grain.cells[mine] + [m, n], np.full(len(mine), t))
        pairs.append(np.c_[mine, near][near >= 0])
    both = np.concatenate(pairs) if pairs else np.zeros((0, 2), int)
    both = both[both[:, 0] < both[:, 1]]
    return np.unique(both, axis=0) if len(both) else both
