"""A crystal from every direction in which it may be seen: its low-index zone axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd

import numpy as np

from napari_atomlens.errors import ParameterError
from napari_atomlens.graphs.crystals import UnitCell
from napari_atomlens.graphs.projection import (
    ProjectedColumns,
    brightness,
    contents,
    plane_of,
    primitive,
)
from napari_atomlens.graphs.projection import project as project_atoms

Axis = tuple[int, int, int]
#: Columns nearer than these, in nm, may be seen as one; the first is one column for everybody.
MERGE_NM = (0.03, 0.06, 0.105)
#: Of directions that show the same, these are the usual names.
USUAL = ((0, 0, 1), (1, 1, 0), (1, 1, 1), (1, 1, 2), (2, 1, 0), (2, 2, 1), (1, 2, 0), (1, 0, 0))
#: Of crystals with more atoms in the cell only indices up to one are tried.
LARGE_CELL = 30
#: Distances that differ by less, in nm, are the same.
ALIKE_NM = 5e-4


@dataclass(frozen=True, eq=False)
class View:
    """A crystal along one zone axis.

    Attributes
    ----------
    crystal : UnitCell
    axis : tuple of int
    columns : ProjectedColumns
        Of the smallest cell.
    labels : tuple of str
        What stands in each column.
    merge_nm : float
        Columns nearer than this are seen as one.
    """

    crystal: UnitCell
    axis: Axis
    columns: ProjectedColumns
    labels: tuple[str, ...]
    merge_nm: float

    @property
    def name(self) -> str:
        """Crystal and zone axis, such as "GaAs [110]"."""
        return f"{self.crystal.name} {axis_name(self.axis)}"

    @property
    def area_nm2(self) -> float:
        """Area of the cell."""
        return abs(float(np.linalg.det(self.columns.cell_nm)))

    def weights(self, exponent: float) -> np.ndarray:
        """Brightness of each column, not scaled."""
        return np.array([brightness(a, exponent) for a in self.columns.atoms])

    def direction(self) -> tuple[Axis, np.ndarray]:
        """Simplest direction of the crystal that lies in the image, and where it goes (y, x)."""
        cell = self.crystal.cell_nm
        plane = plane_of(cell, np.array(self.axis))[2]
        beam = np.array(self.axis) @ cell
        choices = [d for d in low_axes(2) if d != self.axis]
        vectors = np.array(choices) @ cell
        tilt = np.abs(vectors @ beam) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(beam)
        flat = np.flatnonzero(tilt < 1e-3)
        best = int(flat[0]) if len(flat) else int(tilt.argmin())
        return choices[best], vectors[best] @ plane

    def nearest_nm(self) -> float:
        """Distance between the nearest two columns."""
        shifts = np.array(list(product((-1, 0, 1), repeat=2))) @ self.columns.cell_nm
        places = self.columns.places_nm
        gap = np.linalg.norm(places[:, None, None] + shifts - places[None, :, None], axis=-1)
        return float(gap[gap > 1e-6].min())


def axis_name(axis: Sequence[int]) -> str:
    """Write a direction, as "[1-10]"."""
    parts = [str(i) for i in axis]
    return f"[{(' ' if any(abs(i) > 9 for i in axis) else '').join(parts)}]"


def low_axes(max_index: int) -> list[Axis]:
    """Directions with indices up to one, each once and not its opposite, the simple ones first.

    Examples
    --------
    >>> low_axes(1)[:3]
    [(0, 0, 1), (1, 0, 0), (0, 1, 0)]
    """
    found = []
    for a, b, c in product(range(-max_index, max_index + 1), repeat=3):
        first = next((i for i in (a, b, c) if i), 0)
        if first > 0 and gcd(a, b, c) == 1:
            found.append((a, b, c))

    def rank(axis: Axis) -> tuple[int, int, int, Axis]:
        usual = USUAL.index(axis) if axis in USUAL else len(USUAL)
        negative = sum(i < 0 for i in axis)
        return sum(i * i for i in axis), negative, usual, (-axis[0], -axis[1], -axis[2])

    return sorted(found, key=rank)


def check_axis(axis: object) -> Axis:
    """Return a zone axis as three whole numbers.

    Raises
    ------
    ParameterError
        If it is none.
    """
    try:
        whole = [int(i) for i in axis]  # type: ignore[attr-defined]
        same = [float(i) for i in axis] == whole  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ParameterError(f"The zone axis must be three whole numbers, not {axis}.") from None
    if len(whole) != 3 or not same or not any(whole):
        raise ParameterError(f"The zone axis must be three whole numbers, not {axis}.")
    divisor = gcd(*whole)
    return whole[0] // divisor, whole[1] // divisor, whole[2] // divisor


def views_of(
    crystal: UnitCell, zone_axis: Sequence[int] | None = None, max_index: int = 2
) -> list[View]:
    """Return the different views of a crystal along low-index zone axes, or along the given one.

    Directions that show the same columns are one view. Where columns lie so near to each other
    that an image may show one, there is a view in which they are one, too.
    """
    if zone_axis is not None:
        axes = [check_axis(zone_axis)]
    else:
        few = len(crystal.symbols) <= LARGE_CELL
        axes = [(0, 0, 1)] if crystal.layer else low_axes(max_index if few else 1)
    found: list[View] = []
    prints: list[tuple[tuple[str, ...], np.ndarray]] = []
    for axis in axes:
        whole, joined = 0, -1
        for merge in MERGE_NM:
            columns = project_atoms(
                crystal.cell_nm, crystal.positions_nm, crystal.symbols, axis, merge_nm=merge,
                name=crystal.name,
            )  # fmt: skip
            whole = len(columns.atoms) if merge == MERGE_NM[0] else whole
            if len(columns.atoms) < 0.4 * whole:
                break  # chains without an end were joined
            if len(columns.atoms) == joined:
                continue
            joined = len(columns.atoms)
            columns = primitive(columns)
            labels = tuple(contents(columns.atoms))
            mark = _fingerprint(columns, labels)
            if any(mark[0] == p[0] and _equal(mark[1], p[1]) for p in prints):
                if merge == MERGE_NM[0]:
                    break
                continue
            prints.append(mark)
            found.append(View(crystal, axis, columns, labels, merge))
    return found


def _fingerprint(
    columns: ProjectedColumns, labels: tuple[str, ...]
) -> tuple[tuple[str, ...], np.ndarray]:
    """What does not change when a projection is turned, mirrored or cut out elsewhere."""
    shifts = np.array(list(product(range(-2, 3), repeat=2))) @ columns.cell_nm
    places = columns.places_nm
    gap = np.linalg.norm(places[:, None, None] + shifts - places[None, :, None], axis=-1)
    kinds = sorted(set(labels))
    code = np.array([kinds.index(x) for x in labels])
    rows = [np.array([abs(float(np.linalg.det(columns.cell_nm)))])]
    for i, j in product(range(len(kinds)), repeat=2):
        rows.append(np.sort(gap[code == i][:, code == j].ravel())[:12])
    return tuple(sorted(labels)), np.concatenate(rows)


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.abs(one - other).max() < ALIKE_NM)
