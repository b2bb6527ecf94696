"""The lattice of a crystal that holds dislocations: what is left without their strain.

The strain of a dislocation falls off with the distance only, so the mean over an image is not
that of the perfect crystal. The field of each is fitted beside it: Burgers vectors and cores are
known, the constant ``1 / (1 - nu)`` is fitted, too.
"""

from __future__ import annotations

import numpy as np

from napari_atomlens.lattice.dislocations import Core
from napari_atomlens.lattice.elastic import StrainField, distortions
from napari_atomlens.lattice.grain import Grain
from napari_atomlens.lattice.latticefit import LatticeFit
from napari_atomlens.lattice.strain import LocalFit, torn_fit

#: Nearer to a core than so many vectors the crystal is not what elasticity says.
CORE = 2.5
#: 1 / (1 - nu) of what solids have.
SOFTEST, STIFFEST = 1.0, 2.0


def without_dislocations(
    grain: Grain, position: np.ndarray, fit: LatticeFit, local: LocalFit, cores: list[Core]
) -> LatticeFit:
    """Fit the vectors of the perfect crystal, and the strain of its dislocations beside them.

    `local` is told against `fit`; the cells of `grain` do not cross the cuts. Of no core what is
    left is the mean.
    """
    longest = float(np.linalg.norm(grain.cell, axis=1).max())
    use = np.isfinite(local.gradient).all((1, 2))
    for core in cores:
        use &= np.linalg.norm(position - core.place, axis=1) > CORE * longest
    if use.sum() < 12:
        return fit
    gradient, p = local.gradient[use], position[use]
    cell, kappa = fit.cell, 1.4
    first = np.array([c.place for c in cores]).reshape(-1, 2)
    steps = np.array([c.burgers for c in cores]).reshape(-1, 2)
    places, weight, covariance = first.copy(), np.ones(len(p)), np.zeros((4, 4))
    for _ in range(6):
        field = StrainField(places, steps @ cell, kappa)
        # displacements are known where the atoms are, not where they were
        model = np.linalg.inv(np.eye(2) - field.gradient(p))
        change = np.linalg.solve(fit.cell, cell).T
        off = (gradient @ np.linalg.inv(change) - model).reshape(-1, 4)
        design = _design(p, field, longest)
        w = weight[:, None, None]
        normal = (design.transpose(0, 2, 1) @ (w * design)).sum(0)
        right = (design.transpose(0, 2, 1) @ (w * off[:, :, None])).sum(0)[:, 0]
        solved = np.linalg.lstsq(normal, right, rcond=None)[0]
        residual = off - (design @ solved[:, None])[:, :, 0]
        cell = cell @ (np.eye(2) + solved[:4].reshape(2, 2)).T
        if cores:
            kappa = float(np.clip(kappa + solved[4], SOFTEST, STIFFEST))
            move = places + longest * solved[5:].reshape(-1, 2) - first
            far = np.linalg.norm(move, axis=1, keepdims=True)
            places = first + move * np.minimum(1, longest / np.maximum(far, 1e-9))
        size = np.linalg.norm(residual, axis=1)
        weight = 1 / np.maximum(1, size / max(2 * float(np.median(size)), 1e-12))
        # windows share atoms
        shared = float(np.median(local.n_near[use]))
        spread = (weight[:, None] * residual**2).sum(0) / weight.sum() * shared / weight.sum()
        covariance = np.diag(spread)
    field = StrainField(places, steps @ cell, kappa)
    known = local.spread[np.isfinite(local.spread)]
    rms = float(np.median(known)) if len(known) else fit.rms
    count = np.bincount(grain.sublattice, minlength=len(grain.basis))[:, None]
    error = rms / np.sqrt(np.maximum(count, 1)) * np.ones(2)
    return LatticeFit(
        cell, _origins(grain, position, cell), _of_vectors(covariance, cell), error, rms,
        field if cores else None,
    )  # fmt: skip


def _design(p: np.ndarray, field: StrainField, longest: float) -> np.ndarray:
    """By how much each gradient changes with the vectors, the stiffness and the places of cores.

    Shape (n, 4, 4 + 1 + 2 c), or (n, 4, 4) without a core; places in units of `longest`.
    """
    columns = [np.broadcast_to(np.eye(4), (len(p), 4, 4))]
    if len(field.places):
        elastic = np.zeros((len(p), 2, 2))
        moves, step = [], 0.05 * longest
        for place, vector in zip(field.places, field.burgers, strict=True):
            elastic += distortions(p, place, vector)[1]
            for e in np.eye(2):
                one, other = (
                    StrainField((place + sign * step * e)[None], vector[None], field.stiffness)
                    for sign in (1, -1)
                )
                moves.append((one.gradient(p) - other.gradient(p)) / (2 * step) * longest)
        every = np.stack([elastic, *moves], -1)
        columns.append(every.reshape(len(p), 4, -1))
    return np.concatenate(columns, 2)


def _origins(
    grain: Grain, position: np.ndarray, cell: np.ndarray, use: np.ndarray | bool = True
) -> np.ndarray:
    """Where each sublattice begins, NaN where there is no atom of it, shape (s, 2)."""
    origin = np.full((len(grain.basis), 2), np.nan)
    for s in range(len(grain.basis)):
        mine = use & (grain.sublattice == s)
        if mine.any():
            origin[s] = np.median(position[mine] - grain.cells[mine] @ cell, axis=0)
    return origin


def _of_vectors(covariance: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Covariance of (a_y, a_x, b_y, b_x) from that of a gradient (yy, yx, xy, xx)."""
    turn = np.zeros((4, 4))
    for k in (0, 1):
        turn[2 * k, 0:2] = cell[k]
        turn[2 * k + 1, 2:4] = cell[k]
    return np.asarray(turn @ covariance @ turn.T)


def strained_there(
    grain: Grain, position: np.ndarray, fit: LatticeFit, inside: np.ndarray
) -> LatticeFit | None:
    """Lattice as it is in a part of a region with dislocations, None where that is not told."""
    assert grain.frames is not None
    radius = 1.53 * float(np.linalg.norm(fit.cell, axis=1).max())
    local = torn_fit(
        grain, fit.cell, fit.origin, position, position[inside], grain.sublattice[inside],
        grain.frames[inside], radius, fit.field,
    )  # fmt: skip
    known = np.isfinite(local.gradient).all((1, 2))
    if not known.any():
        return None
    change = np.median(local.gradient[known], axis=0)
    cell = fit.cell @ change.T
    origin = _origins(grain, position, cell, inside)
    return LatticeFit(cell, origin, fit.covariance, fit.origin_err, fit.rms)
