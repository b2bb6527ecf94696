"""Projected crystals and surfaces, in units of the distance between nearest columns.

A crystal is a cell and a basis. Every basis column carries a relative peak weight, so
that one lattice serves many materials: a honeycomb with two weights is a TMD.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin, sqrt

import numpy as np

from napari_atomlens.graphs.projection import ProjectedColumns

ATOM_KINDS = ("host", "light", "heavy")


@dataclass(frozen=True)
class Crystal:
    """A two-dimensional lattice with its basis; nearest columns are 1 apart.

    Attributes
    ----------
    name : str
        Name of the lattice.
    cell : ndarray, shape (2, 2)
        Lattice vectors as rows, (y, x).
    basis : ndarray, shape (n, 2)
        Positions of the columns in the cell, (y, x), same unit as `cell`.
    weights : ndarray, shape (n,)
        Peak intensity of each column relative to the strongest.
    sigma : tuple of float
        Range of the column width (Gaussian sigma) that makes sense for it.
    aspect : tuple of float
        Range of the aspect ratio of a column (1 is round).
    """

    name: str
    cell: np.ndarray
    basis: np.ndarray
    weights: np.ndarray
    sigma: tuple[float, float] = (0.18, 0.36)
    aspect: tuple[float, float] = (1.0, 1.08)


def _crystal(
    name: str,
    cell: list[list[float]],
    basis: list[list[float]],
    weights: list[float] | None = None,
    **kwargs: tuple[float, float],
) -> Crystal:
    """Scale a cell and basis so that nearest columns are exactly 1 apart."""
    vectors, points = np.asarray(cell, float), np.asarray(basis, float)
    shifts = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)]) @ vectors
    separations = np.linalg.norm(
        points[:, None, None] + shifts[None, None] - points[None, :, None], axis=-1
    )
    scale = separations[separations > 1e-6].min()
    strengths = np.ones(len(points)) if weights is None else np.asarray(weights, float)
    return Crystal(name, vectors / scale, points / scale, strengths, **kwargs)


def from_projection(
    columns: ProjectedColumns, exponent: float, spacing_nm: float, sigma: tuple[float, float]
) -> Crystal:
    """Return a projected crystal as a :class:`Crystal` in which `spacing_nm` is 1."""
    return Crystal(
        columns.name, columns.cell_nm / spacing_nm, columns.places_nm / spacing_nm,
        columns.weights(exponent), sigma,
    )  # fmt: skip


def honeycomb() -> Crystal:
    """Graphene: two equal columns."""
    return _crystal(
        "honeycomb", [[0, sqrt(3)], [1.5, sqrt(3) / 2]], [[0, 0], [1, 0]], sigma=(0.22, 0.40)
    )


def tmd(chalcogen: float = 0.35) -> Crystal:
    """A 2H monolayer such as WS2 seen from above: metal, and a pair of chalcogens."""
    return _crystal(
        "tmd",
        [[0, sqrt(3)], [1.5, sqrt(3) / 2]],
        [[0, 0], [1, 0]],
        [1.0, chalcogen],
        sigma=(0.18, 0.36),
    )


def hexagonal() -> Crystal:
    """A close-packed layer."""
    return _crystal("hexagonal", [[0, 1], [sqrt(3) / 2, 0.5]], [[0, 0]])


def square() -> Crystal:
    """A simple square lattice."""
    return _crystal("square", [[0, 1], [1, 0]], [[0, 0]])


def perovskite(b_weight: float = 0.5) -> Crystal:
    """ABO3 along <001>: A at the corners, B(+O) in the centre."""
    return _crystal(
        "perovskite", [[0, 1], [1, 0]], [[0, 0], [0.5, 0.5]], [1.0, b_weight], sigma=(0.16, 0.34)
    )


def dumbbell(second: float = 1.0) -> Crystal:
    """Diamond or zincblende along <110>: pairs a/4 apart, `second` of them weaker or not."""
    return _crystal(
        "dumbbell",
        [[0, 1 / sqrt(2)], [0.5, 0.5 / sqrt(2)]],
        [[0, 0], [0.25, 0]],
        [1.0, second],
        sigma=(0.25, 0.40),
    )


def oblique(ratio: float = 1.2, angle_rad: float = 1.3) -> Crystal:
    """One column in a cell without symmetry."""
    return _crystal("oblique", [[0, 1], [ratio * sin(angle_rad), ratio * cos(angle_rad)]], [[0, 0]])


def dimer_rows(separation: float = 0.0, weight: float = 1.0) -> Crystal:
    """Si(100) 2x1 rows: one blob per dimer (separation 0) or two atoms per dimer.

    Parameters
    ----------
    separation : float
        Distance of the two atoms of a dimer over the distance between dimers in the row.
    weight : float
        Strength of the second atom.
    """
    if separation <= 0:
        return _crystal(
            "dimer_rows", [[1, 0], [0, 2]], [[0, 0]], sigma=(0.24, 0.38), aspect=(1.1, 1.8)
        )
    return _crystal(
        "dimer_rows", [[1, 0], [0, 2]], [[0, 0], [0, separation]], [1, weight], sigma=(0.25, 0.40)
    )


def molecules() -> Crystal:
    """A hexagonal film of round molecules, wide against their distance."""
    return _crystal(
        "molecules", [[0, 1], [sqrt(3) / 2, 0.5]], [[0, 0]], sigma=(0.26, 0.40), aspect=(1, 1.25)
    )


def oxide() -> Crystal:
    """A square oxide surface in STM with elongated charge clouds."""
    return _crystal("oxide", [[0, 1], [1, 0]], [[0, 0]], sigma=(0.22, 0.36), aspect=(1.0, 1.5))


def seven_by_seven() -> Crystal:
    """Si(111)-7x7: the twelve adatoms of the large cell (dimer-adatom-stacking-fault)."""
    a1, a2 = np.array([0.0, 1.0]), np.array([sqrt(3) / 2, 0.5])
    half = [(1 + 2 * i, 1 + 2 * j) for i in range(3) for j in range(3 - i)]
    sites = half + [(7 - i, 7 - j) for i, j in half]
    basis = [list(i * a1 + j * a2) for i, j in sites]
    weights = [1.0] * 6 + [0.85] * 6
    return _crystal(
        "seven_by_seven", [list(7 * a1), list(7 * a2)], basis, weights, sigma=(0.18, 0.32)
    )


def random_crystal(rng: np.random.Generator) -> Crystal:
    """Draw a crystal for training, those that matter most more often."""
    kind = rng.choice(
        ["honeycomb", "tmd", "hexagonal", "square", "perovskite", "dumbbell", "oblique",
         "dimer_rows", "molecules", "oxide", "seven_by_seven"],
        p=[0.20, 0.15, 0.06, 0.07, 0.13, 0.14, 0.06, 0.08, 0.03, 0.04, 0.04],
    )  # fmt: skip
    match kind:
        case "tmd":
            return tmd(rng.uniform(0.15, 1.0))
        case "perovskite":
            return perovskite(rng.uniform(0.2, 1.0))
        case "dumbbell":
            return dumbbell(1.0 if rng.random() < 0.6 else rng.uniform(0.35, 1.0))
        case "oblique":
            return oblique(rng.uniform(1.0, 1.9), rng.uniform(pi / 3, pi / 2))
        case "dimer_rows":
            resolved = rng.random() < 0.5
            return dimer_rows(rng.uniform(0.65, 1.0) if resolved else 0.0, rng.uniform(0.6, 1))
        case _:
            return CRYSTALS[str(kind)]()


CRYSTALS = {
    f.__name__: f
    for f in (
        honeycomb, tmd, hexagonal, square, perovskite, dumbbell, oblique, dimer_rows, molecules,
        oxide, seven_by_seven,
    )
}  # fmt: skip


def fill(
    crystal: Crystal,
    shape: tuple[int, int],
    spacing_px: float,
    rotation_rad: float = 0.0,
    origin_px: tuple[float, float] = (0.0, 0.0),
    shear: np.ndarray | None = None,
    margin_px: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Tile a field of view with a crystal.

    Parameters
    ----------
    crystal : Crystal
        What to tile.
    shape : tuple of int
        Field of view (H, W) in pixels.
    spacing_px : float
        Distance between nearest columns in pixels.
    rotation_rad : float
        Rotation of the lattice.
    origin_px : tuple of float
        Position (y, x) of the origin of one cell.
    shear : ndarray, shape (2, 2), optional
        Further linear distortion of the plane.
    margin_px : float, optional
        How far beyond the field of view columns are kept (default: 1.5 spacings).

    Returns
    -------
    positions : ndarray, shape (n, 2)
        (y, x) in pixels.
    basis_index : ndarray of int, shape (n,)
        Which column of the basis each one is.
    """
    c, s = cos(rotation_rad), sin(rotation_rad)
    linear = np.array([[c, s], [-s, c]])
    if shear is not None:
        linear = linear @ shear
    cell = crystal.cell @ linear * spacing_px
    basis = crystal.basis @ linear * spacing_px
    margin = 1.5 * spacing_px if margin_px is None else margin_px
    corners = np.array(
        [[y, x] for y in (-margin, shape[0] + margin) for x in (-margin, shape[1] + margin)]
    )
    coefficients = (corners - np.asarray(origin_px)) @ np.linalg.inv(cell)
    low = np.floor(coefficients.min(0)).astype(int) - 1
    high = np.ceil(coefficients.max(0)).astype(int) + 1
    ij = np.stack(
        np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1), indexing="ij"),
        -1,
    )
    points = (ij.reshape(-1, 1, 2) @ cell + basis[None] + np.asarray(origin_px)).reshape(-1, 2)
    index = np.tile(np.arange(len(basis)), ij.shape[0] * ij.shape[1])
    inside = (
        (points[:, 0] > -margin) & (points[:, 0] < shape[0] + margin)
        & (points[:, 1] > -margin) & (points[:, 1] < shape[1] + margin)
    )  # fmt: skip
    return points[inside], index[inside]
