"""The lattice vectors of a region by robust least squares, with honest standard errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from napari_atomlens.lattice.cell import conventional
from napari_atomlens.lattice.elastic import StrainField
from napari_atomlens.lattice.grain import Grain

#: Residuals beyond so many typical ones (medians) lose weight (Huber).
HUBER = 2.0


@dataclass(frozen=True)
class LatticeFit:
    """``r = origin_s + m a + n b`` over the atoms of a region.

    Attributes
    ----------
    cell : ndarray, shape (2, 2)
        a and b as rows, (y, x).
    origin : ndarray, shape (s, 2)
        Of each sublattice, in pixels; NaN where no atom of it was used.
    covariance : ndarray, shape (4, 4)
        Of (a_y, a_x, b_y, b_x).
    origin_err : ndarray, shape (s, 2)
    rms : float
        Root of the mean squared distance of the atoms from their sites, per axis.
    field : StrainField, optional
        What its dislocations do to it.
    """

    cell: np.ndarray
    origin: np.ndarray
    covariance: np.ndarray
    origin_err: np.ndarray
    rms: float
    field: StrainField | None = None

    def sites(self, cells: np.ndarray, sublattice: np.ndarray) -> np.ndarray:
        """Ideal positions of sites, shape (n, 2)."""
        return cells @ self.cell + self.origin[sublattice]

    def basis(self) -> np.ndarray:
        """Fractional positions of the sublattices from the first, shape (s, 2)."""
        return (self.origin - self.origin[0]) @ np.linalg.inv(self.cell)


def fit_lattice(
    grain: Grain, position: np.ndarray, use: np.ndarray | None = None
) -> LatticeFit | None:
    """Fit the vectors and origins of a region.

    Residuals of a real region hang together over many atoms (drift, strain, bending), so the
    number of atoms alone would promise too much: the errors are the larger of the ordinary
    ones and those from blocks of atoms that may move together (cluster-robust, for 64, 36 and
    16 blocks, as it is not known how far they do).

    Parameters
    ----------
    grain : Grain
    position : ndarray, shape (k, 2)
        Of its atoms.
    use : ndarray of bool, shape (k,), optional
        Atoms to fit, for example those in a reference region.

    Returns
    -------
    LatticeFit or None
        None where the atoms do not span two directions.
    """
    use = np.ones(len(grain.rows), bool) if use is None else use
    cells, sub, r = grain.cells[use].astype(float), grain.sublattice[use], position[use]
    n, s = len(cells), len(grain.basis)
    if n < 4:
        return None
    one = np.eye(s)[sub]
    weight = np.ones(n)
    cell, origin = grain.cell, np.zeros((s, 2))
    inverse = np.eye(2)
    x = cells
    for _ in range(8):
        total = weight @ one
        safe = np.maximum(total, 1e-12)[:, None]
        mean_x, mean_r = (one.T @ (weight[:, None] * v) / safe for v in (cells, r))
        x, y = cells - mean_x[sub], r - mean_r[sub]
        normal = x.T @ (weight[:, None] * x)
        if np.linalg.eigvalsh(normal)[0] < 0.5:
            return None
        inverse = np.linalg.inv(normal)
        cell = inverse @ (x.T @ (weight[:, None] * y))
        origin = np.where(total[:, None] > 0, mean_r - mean_x @ cell, np.nan)
        residual = y - x @ cell
        size = np.linalg.norm(residual, axis=1)
        # the median of a Rayleigh distribution is 1.1774 sigma
        sigma = np.median(size) / 1.1774
        new = 1 / np.maximum(1.0, size / max(HUBER * 1.1774 * sigma, 1e-12))
        if np.abs(new - weight).max() < 1e-4:
            break
        weight = new
    freedom = max(n - 2 - int((weight @ one > 0).sum()), 1)
    scores = weight[:, None] * residual
    # Huber's estimator in two dimensions: beyond the bend only the tangent half counts
    slope = float(np.where(weight < 1, 0.5 * weight, 1.0).mean())
    plain = scores.T @ scores / freedom / slope**2
    inverse = np.linalg.inv(x.T @ x)
    covariance = np.einsum("ab,ij->aibj", inverse, plain).reshape(4, 4)
    for side in (8, 6, 4):
        clustered = block_covariance(r, x, scores / slope, inverse, side)
        if clustered is not None and np.trace(clustered) > np.trace(covariance):
            covariance = clustered
    covariance = covariance + disagreement(x, y, sub, cell, covariance)
    variance = np.diag(plain)
    count = np.maximum(weight @ one, 1e-12)[:, None]
    rms = float(np.sqrt((residual**2).sum() / (2 * freedom)))
    return LatticeFit(cell, origin, covariance, np.sqrt(variance / count), rms)


def disagreement(
    x: np.ndarray, y: np.ndarray, sub: np.ndarray, cell: np.ndarray, covariance: np.ndarray
) -> np.ndarray:
    """Covariance that sublattices add whose own vectors differ beyond chance, shape (4, 4).

    In a crystal of which a part is polar one sublattice does not have the vectors of another;
    then the vectors of all together are uncertain by how much they differ.
    """
    total, chance, freedom = np.zeros((4, 4)), 0.0, 0
    # of perfect positions the covariance is zero
    covariance = covariance + 1e-16 * (cell**2).sum() * np.eye(4)
    for s in np.unique(sub):
        mine = sub == s
        normal = x[mine].T @ x[mine]
        if mine.sum() < 6 or np.linalg.eigvalsh(normal)[0] < 0.5:
            continue
        share = mine.mean()
        off = (np.linalg.solve(normal, x[mine].T @ y[mine]) - cell).ravel()
        chance += float(off @ np.linalg.solve(covariance / share, off))
        total += share * np.outer(off, off)
        freedom += 4
    from scipy.stats import chi2  # takes a quarter of a second to load

    if freedom <= 4 or chance < chi2.isf(1e-3, freedom - 4):
        return np.zeros((4, 4))
    return total


def block_covariance(
    position: np.ndarray, x: np.ndarray, scores: np.ndarray, inverse: np.ndarray, side: int
) -> np.ndarray | None:
    """Covariance of (a_y, a_x, b_y, b_x) from side x side blocks, None where they are too small.

    The sandwich estimator with the blocks as clusters; A. C. Cameron and D. L. Miller,
    Journal of Human Resources 50, 317 (2015).
    """
    n = len(position)
    if n < 12 * side**2:
        return None
    low, high = position.min(0), position.max(0)
    at = np.minimum(((position - low) / np.maximum(high - low, 1e-9) * side).astype(int), side - 1)
    block = at[:, 0] * side + at[:, 1]
    terms = (x[:, :, None] * scores[:, None, :]).reshape(n, 4)
    total = np.stack([np.bincount(block, t, minlength=side * side) for t in terms.T], -1)
    used = np.bincount(block, minlength=side * side) > 0
    groups = int(used.sum())
    meat = total.T @ total * groups / max(groups - 1, 1)
    bread = np.kron(inverse, np.eye(2))
    return np.asarray(bread @ meat @ bread.T)


def describe_cell(
    cell: np.ndarray, covariance: np.ndarray, size: np.ndarray
) -> dict[str, tuple[float, float]]:
    """Lengths, angle and plane spacings with their standard errors.

    Parameters
    ----------
    cell : ndarray, shape (2, 2)
    covariance : ndarray, shape (4, 4)
    size : ndarray, shape (2,)
        Length of a pixel along y and x: one for pixels, the pixel size for nm.

    Returns
    -------
    dict of str to (value, standard error)
        Errors by the derivatives of each value (central differences).
    """
    scaled = cell * size
    # which of the candidates is the conventional cell must not change with a derivative
    choice = np.rint(conventional(scaled) @ np.linalg.inv(scaled))
    measures: dict[str, Callable[[np.ndarray], float]] = {
        "a": lambda c: float(np.linalg.norm(c[0])),
        "b": lambda c: float(np.linalg.norm(c[1])),
        "conventional_a": lambda c: float(np.linalg.norm((choice @ c)[0])),
        "conventional_b": lambda c: float(np.linalg.norm((choice @ c)[1])),
        # planes (hk): the distance between lattice rows
        "spacing_10": lambda c: abs(float(np.linalg.det(c))) / float(np.linalg.norm(c[1])),
        "spacing_01": lambda c: abs(float(np.linalg.det(c))) / float(np.linalg.norm(c[0])),
        "spacing_11": lambda c: abs(float(np.linalg.det(c))) / float(np.linalg.norm(c[0] - c[1])),
        "angle": lambda c: float(
            np.arccos(np.clip(c[0] @ c[1] / np.linalg.norm(c[0]) / np.linalg.norm(c[1]), -1, 1))
        ),
        "direction": lambda c: float(np.arctan2(-c[0, 0], c[0, 1])),
    }
    scale = np.tile(size, 2)
    spread = covariance * scale[:, None] * scale[None]
    step = 1e-6 * np.linalg.norm(scaled)
    found = {}
    for name, measure in measures.items():
        gradient = np.array(
            [
                (
                    measure(scaled + step * e.reshape(2, 2))
                    - measure(scaled - step * e.reshape(2, 2))
                )
                / (2 * step)
                for e in np.eye(4)
            ]
        )
        found[name] = (measure(scaled), float(np.sqrt(max(gradient @ spread @ gradient, 0.0))))
    return found
