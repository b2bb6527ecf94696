"""Si(111)-7x7: its cell fitted to a scan, and where its adatoms must be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from napari_atomlens.errors import CalibrationError
from napari_atomlens.stm.geometry import lattice_vectors

#: Lattice constant of the 7x7 cell, nm.
CELL_NM = 2.69


def _adatoms() -> np.ndarray:
    """Positions (12, 2) of the adatoms in units of the cell vectors, by half."""
    half = np.array([(1 + 2 * i, 1 + 2 * j) for i in range(3) for j in range(3 - i)]) / 7
    return np.concatenate([half, 1 - half])


#: Twelve adatoms of the dimer-adatom-stacking-fault model (K. Takayanagi et al., Surf. Sci.
#: 164, 367, 1985), the corner hole at the origin.
ADATOMS = _adatoms()


@dataclass(frozen=True)
class CellFit:
    """A 7x7 lattice fitted to a terrace.

    Attributes
    ----------
    vectors : ndarray, shape (2, 2)
        Rows a and b, (y, x) in pixels; 60 degrees between them.
    origin : ndarray, shape (2,)
        A corner hole.
    places : ndarray, shape (n, 2)
        Adatoms of the cells that lie wholly on the terrace.
    cells : ndarray of int, shape (m, 2)
        Those cells.
    cell_nm : float
        Geometric mean of the two lattice constants.
    contrast : float
        Mean height at adatoms minus that of corner holes, over the spread of the scan.
    """

    vectors: np.ndarray
    origin: np.ndarray
    places: np.ndarray
    cells: np.ndarray
    cell_nm: float
    contrast: float

    def inside(self, points: np.ndarray) -> np.ndarray:
        """Whether points (n, 2) lie in one of the whole cells."""
        index = np.floor((points - self.origin) @ np.linalg.inv(self.vectors)).astype(int)
        known = {tuple(c) for c in self.cells}
        return np.array([tuple(i) in known for i in index], bool)


def fit_seven_by_seven(
    image: np.ndarray,
    pixel_size_nm: float,
    terrace: np.ndarray | None = None,
    vectors: np.ndarray | None = None,
) -> CellFit:
    """Fit the 7x7 cell to a terrace, by the image alone: no atom that was found is used.

    Vectors come from the autocorrelation; origin and vectors are then those for which the mean
    height at the adatoms minus that at the corner holes is largest.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Levelled scan.
    pixel_size_nm : float
    terrace : ndarray of bool, shape (H, W), optional
    vectors : ndarray, shape (2, 2), optional
        Of a larger terrace of the same crystal: a small one only has another origin.

    Raises
    ------
    CalibrationError
        If no such lattice is there.
    """
    use = np.ones(image.shape, bool) if terrace is None else terrace
    z = np.where(use, image - np.median(image[use]), 0.0)
    length = CELL_NM / pixel_size_nm
    if vectors is None:
        a, b = lattice_vectors(z, (length, length), 0.12)
        # 60, not 120 degrees between them
        vectors = np.stack([a, b if a @ b > 0 else -b])
    lattice = vectors
    smooth = scipy.ndimage.spline_filter(scipy.ndimage.gaussian_filter(z, 0.1 / pixel_size_nm), 3)
    weight = scipy.ndimage.binary_erosion(use, iterations=2)
    reach = int(np.hypot(*image.shape) / length) + 2
    grid = np.moveaxis(np.mgrid[-reach : reach + 1, -reach : reach + 1], 0, -1).reshape(-1, 2)

    def height(fractions: np.ndarray, origin: np.ndarray, basis: np.ndarray) -> float:
        p = ((grid[:, None] + fractions[None]) @ basis + origin).reshape(-1, 2)
        inside = ((p > 0) & (p < np.asarray(image.shape) - 1)).all(1)
        p = p[inside]
        near = np.rint(p).astype(int)
        p = p[weight[near[:, 0], near[:, 1]]]
        if len(p) < 6:
            return -np.inf
        return float(scipy.ndimage.map_coordinates(smooth, p.T, order=3, prefilter=False).mean())

    hole = np.zeros((1, 2))
    middle = np.asarray(image.shape) / 2

    def quality(x: np.ndarray) -> float:
        basis, origin = x[:4].reshape(2, 2), x[4:]
        return height(ADATOMS, origin, basis) - height(hole, origin, basis)

    steps = np.moveaxis(np.mgrid[0:1:21j, 0:1:21j], 0, -1).reshape(-1, 2)[:-1]
    start = max(steps, key=lambda s: quality(np.r_[lattice.ravel(), middle + s @ lattice]))
    x0 = np.r_[lattice.ravel(), middle + start @ lattice]
    scale = np.r_[np.full(4, 0.02 * length / reach), np.full(2, 0.05 * length)]
    found = scipy.optimize.minimize(
        lambda u: -quality(x0 + u * scale), np.zeros(6), method="Nelder-Mead",
        options={"maxiter": 600, "xatol": 1e-3, "fatol": 1e-6 * max(z.std(), 1e-300)},
    )  # fmt: skip
    x = x0 + found.x * scale
    lattice, origin = x[:4].reshape(2, 2), x[4:]
    contrast = quality(x) / max(float(z[use].std()), 1e-300)
    if contrast < 0.5:
        raise CalibrationError("There is no 7x7 reconstruction on this terrace.")
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0.5, 0.5]])
    whole = []
    for cell in grid:
        p = np.rint((cell + corners) @ lattice + origin).astype(int)
        if (
            (p >= 1).all()
            and (p < np.asarray(image.shape) - 1).all()
            and use[p[:, 0], p[:, 1]].all()
        ):
            whole.append(cell)
    cells = np.array(whole, int).reshape(-1, 2)
    places = ((cells[:, None] + ADATOMS[None]) @ lattice + origin).reshape(-1, 2)
    constant = float(np.sqrt(np.prod(np.hypot(*lattice.T))) * pixel_size_nm)
    return CellFit(lattice, origin, places, cells, constant, float(contrast))
