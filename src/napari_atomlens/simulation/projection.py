"""A crystal seen along a zone axis: columns of atoms, with what stands in each.

Seen along a lattice vector, the lattice of a crystal is a lattice of the plane, and the atoms
of one cell are its basis. Columns are as bright as the sum of ``Z**n`` over their atoms: linear
imaging at high angles, with n between 1.5 (low angles, screening) and 2 (Rutherford).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from napari_atomlens.elements import SYMBOLS
from napari_atomlens.errors import ParameterError
from napari_atomlens.points import connected
from napari_atomlens.simulation.crystals import Crystal

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


Z = {symbol: k + 1 for k, symbol in enumerate(SYMBOLS)}


def brightness(atoms: Sequence[str], exponent: float) -> float:
    """Sum of ``Z**exponent`` over the atoms of a column.

    Raises
    ------
    ParameterError
        If a symbol is no element.
    """
    if unknown := [a for a in atoms if a not in Z]:
        raise ParameterError(f"{unknown[0]!r} is no chemical element.")
    return float(sum(Z[a] ** exponent for a in atoms))


@dataclass(frozen=True)
class ProjectedColumns:
    """A crystal along a zone axis.

    Attributes
    ----------
    name : str
    cell_nm : ndarray, shape (2, 2)
        Vectors of the projected lattice as rows, (y, x).
    places_nm : ndarray, shape (n, 2)
        Columns of one cell, (y, x).
    atoms : tuple of tuple of str
        Chemical symbols in each column, over one period along the zone axis.
    """

    name: str
    cell_nm: np.ndarray
    places_nm: np.ndarray
    atoms: tuple[tuple[str, ...], ...]

    def weights(self, exponent: float) -> np.ndarray:
        """Brightness of each column over the brightest."""
        bright = np.array([brightness(a, exponent) for a in self.atoms])
        return np.asarray(bright / bright.max())

    def spacing_nm(self, which: np.ndarray | None = None) -> float:
        """Distance between the nearest of the columns chosen by the mask `which`."""
        places = self.places_nm if which is None else self.places_nm[which]
        shifts = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)]) @ self.cell_nm
        gap = np.linalg.norm(places[:, None, None] + shifts - places[None, :, None], axis=-1)
        return float(gap[gap > 1e-6].min())

    def crystal(self, exponent: float, spacing_nm: float, sigma: tuple[float, float]) -> Crystal:
        """Return the same as a :class:`Crystal` in which `spacing_nm` is 1."""
        return Crystal(
            self.name, self.cell_nm / spacing_nm, self.places_nm / spacing_nm,
            self.weights(exponent), sigma,
        )  # fmt: skip

    def as_dict(self) -> dict[str, object]:
        """Return plain data, as model files hold them."""
        return {
            "name": self.name, "cell_nm": self.cell_nm.round(6).tolist(),
            "places_nm": self.places_nm.round(6).tolist(), "atoms": [list(a) for a in self.atoms],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ProjectedColumns:
        """Build from what :meth:`as_dict` gave."""
        return cls(
            str(data["name"]), np.asarray(data["cell_nm"], float),
            np.asarray(data["places_nm"], float).reshape(-1, 2),
            tuple(tuple(str(s) for s in a) for a in data["atoms"]),
        )  # fmt: skip


def _complement(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two integer vectors that make a basis of the whole lattice with `axis`."""
    reach = int(np.abs(axis).max())
    grid = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), -1)
    every = grid.reshape(-1, 3)
    every = every[np.argsort((every**2).sum(1), kind="stable")]
    for p in every[1:]:
        # of a primitive pair some third vector completes the basis
        determinant = every @ np.cross(axis, p)
        if len(q := np.flatnonzero(np.abs(determinant) == 1)):
            return p, every[q[0]]
    raise ParameterError(f"The zone axis {axis.tolist()} cannot be used.")  # pragma: no cover


def _reduced(cell: np.ndarray) -> np.ndarray:
    """Shortest vectors of a lattice of the plane (Lagrange's reduction)."""
    a, b = cell
    while True:
        if a @ a > b @ b:
            a, b = b, a
        k = round(float(a @ b / (a @ a)))
        if not k:
            return np.array([a, b])
        b = b - k * a


def project(
    cell_nm: ArrayLike,
    positions_nm: ArrayLike,
    symbols: Sequence[str],
    zone_axis: Sequence[int] = (0, 0, 1),
    *,
    merge_nm: float = 0.03,
    name: str = "crystal",
) -> ProjectedColumns:
    """Project a crystal along a zone axis.

    Parameters
    ----------
    cell_nm : array-like, shape (3, 3)
        Lattice vectors as rows, in nm.
    positions_nm : array-like, shape (n, 3)
        Atoms of one cell.
    symbols : sequence of str, length n
        Their chemical symbols.
    zone_axis : sequence of int, length 3
        Direction of the beam [u v w], a vector of this lattice.
    merge_nm : float
        Atoms nearer than this to one another, as seen, stand in one column.

    Returns
    -------
    Columns

    Raises
    ------
    ParameterError
        If the axis is no direction, the cell is flat or there is no atom.
    """
    cell, places = np.asarray(cell_nm, float), np.asarray(positions_nm, float).reshape(-1, 3)
    axis = np.asarray(zone_axis)
    if axis.shape != (3,) or (axis != np.rint(axis)).any() or not axis.any():
        raise ParameterError(f"The zone axis must be three whole numbers, not {zone_axis}.")
    if np.abs(axis).max() > 9:
        raise ParameterError(f"The zone axis {list(zone_axis)} has an index above 9.")
    if cell.shape != (3, 3) or not np.isfinite(cell).all() or abs(np.linalg.det(cell)) < 1e-9:
        raise ParameterError("The crystal needs a cell with a volume; this one has none.")
    if not len(places) or len(places) != len(symbols) or not np.isfinite(places).all():
        raise ParameterError("The crystal has no atoms, or not a position for each.")
    brightness(symbols, 1.0)
    axis = np.rint(axis).astype(int) // gcd(*np.rint(axis).astype(int).tolist())
    beam = axis @ cell
    beam = beam / np.linalg.norm(beam)
    first, second = (v @ cell for v in _complement(axis))
    # right-handed frame: x along the first vector as seen, y down, the beam into the screen
    across = first - (first @ beam) * beam
    x = across / np.linalg.norm(across)
    y = np.cross(beam, x)
    plane = np.stack([y, x], axis=1)
    flat = _reduced(np.array([first @ plane, second @ plane]))
    fraction = (places @ plane) @ np.linalg.inv(flat)
    column = _groups(fraction, flat, merge_nm)
    centres, content = [], []
    for c in range(int(column.max()) + 1):
        mine = np.flatnonzero(column == c).tolist()
        near = fraction[mine] - np.rint(fraction[mine] - fraction[mine[0]])
        heavy = np.array([Z[symbols[i]] for i in mine], float)
        centre = np.average(near, axis=0, weights=heavy)
        centres.append((centre - np.floor(centre)) @ flat)  # in the cell, whatever the atoms were
        content.append(tuple(sorted((symbols[i] for i in mine), key=lambda s: -Z[s])))
    return ProjectedColumns(name, flat, np.array(centres), tuple(content))


def _groups(fraction: np.ndarray, flat: np.ndarray, merge_nm: float) -> np.ndarray:
    """Number of the column of each atom."""
    shifts = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)])
    inside = fraction - np.floor(fraction)
    images = ((inside[:, None] + shifts) @ flat).reshape(-1, 2)
    pairs = cKDTree(images).query_pairs(merge_nm, output_type="ndarray") // len(shifts)
    return connected(pairs, len(fraction))


def formula(atoms: Sequence[str]) -> str:
    """Write the content of a column, such as "W", "S2" or "TiO"."""
    return "".join(f"{s}{n if n > 1 else ''}" for s, n in Counter(atoms).items())
