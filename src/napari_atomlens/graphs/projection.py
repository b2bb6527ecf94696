"""A crystal seen along a zone axis: columns of atoms, with what stands in each.

Seen along a lattice vector, the lattice of a crystal is a lattice of the plane, and the atoms
of one cell are its basis. Columns are as bright as the sum of ``Z**n`` over their atoms: linear
imaging at high angles, with n between 1.5 (low angles, screening) and 2 (Rutherford).

A site that several elements share is written with their shares, as "Nb0.7Sn0.3".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from napari_atomlens.elements import SYMBOLS
from napari_atomlens.errors import ParameterError
from napari_atomlens.points import connected

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


Z = {symbol: k + 1 for k, symbol in enumerate(SYMBOLS)}
#: Columns nearer than this to each other, in nm, are the same place.
SAME_NM = 0.004


@lru_cache(maxsize=1024)
def shares(atom: str) -> tuple[tuple[str, float], ...]:
    """Elements on a site, and the share of each.

    Raises
    ------
    ParameterError
        If there is a symbol of no element.

    Examples
    --------
    >>> shares("Nb0.7Sn0.3"), shares("O")
    ((('Nb', 0.7), ('Sn', 0.3)), (('O', 1.0),))
    """
    found = re.findall(r"([A-Z][a-z]?)([0-9.]*)", atom)
    if "".join(a + b for a, b in found) != atom or any(a not in Z for a, _ in found) or not found:
        raise ParameterError(f"{atom!r} is no chemical element.")
    return tuple((symbol, float(share or 1)) for symbol, share in found)


def _heaviness(atom: str) -> float:
    return sum(share * Z[symbol] for symbol, share in shares(atom))


def brightness(atoms: Sequence[str], exponent: float) -> float:
    """Sum of ``Z**exponent`` over the atoms of a column.

    Raises
    ------
    ParameterError
        If a symbol is no element.
    """
    return float(sum(part * Z[s] ** exponent for a in atoms for s, part in shares(a)))


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


def plane_of(
    cell_nm: np.ndarray, zone_axis: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is seen along a zone axis: two lattice vectors, and the plane.

    Returns
    -------
    first, second : ndarray, shape (3,)
        Lattice vectors that make a basis of the lattice with the axis.
    plane : ndarray, shape (3, 2)
        ``position @ plane`` is (y, x) as seen.
    """
    axis = np.rint(zone_axis).astype(int) // gcd(*np.rint(zone_axis).astype(int).tolist())
    beam = axis @ cell_nm
    beam = beam / np.linalg.norm(beam)
    first, second = (v @ cell_nm for v in _complement(axis))
    # right-handed frame: x along the first vector as seen, y down, the beam into the screen
    across = first - (first @ beam) * beam
    x = across / np.linalg.norm(across)
    return first, second, np.stack([np.cross(beam, x), x], axis=1)


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
    ProjectedColumns

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
    first, second, plane = plane_of(cell, axis)
    flat = _reduced(np.array([first @ plane, second @ plane]))
    fraction = (places @ plane) @ np.linalg.inv(flat)
    column = _groups(fraction, flat, merge_nm)
    centres, content = [], []
    for c in range(int(column.max()) + 1):
        mine = np.flatnonzero(column == c).tolist()
        near = fraction[mine] - np.rint(fraction[mine] - fraction[mine[0]])
        heavy = np.array([_heaviness(symbols[i]) for i in mine])
        centre = np.average(near, axis=0, weights=heavy)
        centres.append((centre - np.floor(centre)) @ flat)  # in the cell, whatever the atoms were
        content.append(tuple(sorted((symbols[i] for i in mine), key=lambda s: (-_heaviness(s), s))))
    return ProjectedColumns(name, flat, np.array(centres), tuple(content))


def _groups(fraction: np.ndarray, flat: np.ndarray, merge_nm: float) -> np.ndarray:
    """Number of the column of each atom."""
    shifts = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)])
    inside = fraction - np.floor(fraction)
    images = ((inside[:, None] + shifts) @ flat).reshape(-1, 2)
    near = scipy.spatial.cKDTree(images).query_pairs(merge_nm, output_type="ndarray")
    return connected(near // len(shifts), len(fraction))


def formula(atoms: Sequence[str]) -> str:
    """Write the content of a column, such as "W", "S2" or "TiO"."""
    return "".join(
        (s if s in Z else f"({s})") + (str(n) if n > 1 else "") for s, n in Counter(atoms).items()
    )


def contents(atoms: Sequence[Sequence[str]]) -> list[str]:
    """Write what stands in each column of a projection, over the shortest period.

    Examples
    --------
    >>> contents([("Au", "Au"), ("Au", "Au")]), contents([("W",), ("S", "S")])
    (['Au', 'Au'], ['W', 'S2'])
    """
    counts = [Counter(a) for a in atoms]
    common = gcd(*(n for c in counts for n in c.values())) or 1
    return [formula([s for s in c for _ in range(c[s] // common)]) for c in counts]


def primitive(columns: ProjectedColumns) -> ProjectedColumns:
    """Return the same projection with the smallest cell that repeats it.

    The cell of a centred crystal holds every column several times, and a projection may repeat
    after less than the crystal does.
    """
    kinds = [formula(a) for a in columns.atoms]
    rare = min(set(kinds), key=lambda k: (kinds.count(k), k))
    inverse = np.linalg.inv(columns.cell_nm)
    places = columns.places_nm @ inverse
    members = [i for i, k in enumerate(kinds) if k == rare]
    code = np.array([sorted(set(kinds)).index(k) for k in kinds])
    steps = [np.zeros(2)]
    for i in members[1:]:
        step = places[i] - places[members[0]]
        gap = places[:, None] + step - places[None]
        near = np.linalg.norm((gap - np.rint(gap)) @ columns.cell_nm, axis=-1) < SAME_NM
        if (near & (code[:, None] == code[None])).any(1).all():
            steps.append(step)
    if len(steps) == 1:
        return columns
    grid = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)])
    vectors = ((np.array(steps)[:, None] + grid).reshape(-1, 2)) @ columns.cell_nm
    length = np.linalg.norm(vectors, axis=1)
    vectors = vectors[length > SAME_NM][np.argsort(length[length > SAME_NM], kind="stable")]
    area = abs(np.linalg.det(columns.cell_nm)) / len(steps)
    size = np.abs(vectors[0, 0] * vectors[:, 1] - vectors[0, 1] * vectors[:, 0])
    second = vectors[np.flatnonzero(size > 0.5 * area)[0]]
    cell = _reduced(np.array([vectors[0], second]))
    kept: list[int] = []
    inside = columns.places_nm @ np.linalg.inv(cell)
    for i in range(len(kinds)):
        gap = inside[i] - inside[kept]
        near = np.linalg.norm((gap - np.rint(gap)) @ cell, axis=-1) < SAME_NM
        if not (near & (code[kept] == code[i])).any():
            kept.append(i)
    places = (inside[kept] - np.floor(inside[kept] + 1e-9)) @ cell
    return ProjectedColumns(columns.name, cell, places, tuple(columns.atoms[i] for i in kept))
