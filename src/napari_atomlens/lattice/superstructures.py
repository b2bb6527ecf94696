"""Superstructures: every second (third) cell is another one, by movement or by brightness.

A translation that leads from every atom to another one as bright within a quarter of the nearest
distance makes a cell, though the atoms beside it move in turns. What is left then is a wave with
half (a third) of a reciprocal vector: its amplitude is compared with that of waves beside it,
where there is noise only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from napari_atomlens import arrays
from napari_atomlens.lattice.grain import STEPS, Grain, SiteGrid

#: Wave vectors (in reciprocal vectors) and the cell, in vectors of the simple one, that they make.
WAVES: list[tuple[tuple[float, float], tuple[tuple[int, int], tuple[int, int]]]] = [
    ((1 / 2, 0), ((2, 0), (0, 1))),
    ((0, 1 / 2), ((1, 0), (0, 2))),
    ((1 / 2, 1 / 2), ((1, 1), (-1, 1))),
    ((1 / 3, 0), ((3, 0), (0, 1))),
    ((0, 1 / 3), ((1, 0), (0, 3))),
    ((1 / 3, 1 / 3), ((1, -1), (1, 2))),
    ((1 / 3, -1 / 3), ((1, 1), (-1, 2))),
]
#: The power of a wave over that of those beside it, least.
LEAST_RATIO = 25.0
#: Least difference between the cells, over how single atoms scatter: of places, of brightness.
LEAST_MOVED, LEAST_BRIGHTER = 3.0, 1.5
#: Least difference of the logarithm of brightness.
LEAST_LEVEL = 0.05
#: A region with fewer atoms that have all six neighbours is too small, a larger one is sampled.
FEWEST, MOST = 40, 8000


@dataclass(frozen=True)
class Order:
    """What makes the cell larger.

    Attributes
    ----------
    kind : str
        "movement" or "brightness".
    amount, error : float
        Distance (pixels) of the cells that differ most, or difference of their log brightness.
    times : int
        The cell is so many times larger.
    """

    kind: str
    amount: float
    error: float
    times: int


def with_superstructure(
    grain: Grain, position: np.ndarray, level: np.ndarray
) -> tuple[Grain, Order | None]:
    """Take the larger cell where the evidence for it is significant.

    Parameters
    ----------
    grain : Grain
    position : ndarray, shape (k, 2)
    level : ndarray, shape (k,)
        Logarithm of the intensity of its atoms, NaN where it is unknown.
    """
    rows, around = among_six(grain)
    if len(rows) < FEWEST or grain.frames is not None:
        return grain, None
    # what an atom differs by from the middle of its six neighbours: free of strain
    moved = position[rows] - position[around].mean(0)
    brighter = (level[rows] - level[around].mean(0))[:, None]
    found: list[tuple[float, Order, int]] = []
    for kind, values in (("movement", moved), ("brightness", brighter)):
        for w in range(len(WAVES)):
            ratio, order = evidence(grain, rows, values, w, kind)
            if order is not None:
                found.append((ratio, order, w))
    if not found:
        return grain, None
    _, order, best = max(found, key=lambda f: f[0])
    halves = {w for _, _, w in found if w < 3}
    matrix = np.array(WAVES[best][1])
    if best < 3 and len(halves) > 1:
        matrix = np.array([[2, 0], [0, 2]])
    times = round(abs(np.linalg.det(matrix)))
    return enlarged(grain, matrix), replace(order, times=times)


def among_six(grain: Grain) -> tuple[np.ndarray, np.ndarray]:
    """Atoms with all six neighbours of their own sublattice, and these, shape (6, k)."""
    grid = SiteGrid(grain.cells, grain.sublattice, len(grain.basis))
    rows = np.arange(len(grain.rows))
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST, replace=False))
    around = np.stack(
        [grid.find(grain.cells[rows] + s, grain.sublattice[rows]) for s in np.r_[STEPS, -STEPS]]
    )
    whole = (around >= 0).all(0)
    return rows[whole], around[:, whole]


def evidence(
    grain: Grain, rows: np.ndarray, values: np.ndarray, wave: int, kind: str
) -> tuple[float, Order | None]:
    """Compare a wave with those beside it: the ratio of powers, and what it does if that is much.

    Of all sublattices the one that shows it best counts.
    """
    q = np.array(WAVES[wave][0])
    cells = grain.cells[rows].astype(float)
    best: tuple[float, Order | None] = (0.0, None)
    for s in range(len(grain.basis)):
        mine = (grain.sublattice[rows] == s) & np.isfinite(values).all(1)
        if mine.sum() < FEWEST:
            continue
        x, v = cells[mine], values[mine] - np.mean(values[mine], axis=0)
        # far enough that the wave itself, which ends with the region, does not reach there
        size = np.sqrt(mine.sum())
        radius = float(np.clip(1.6 / size, 0.11, 0.2))
        angles = np.pi / 8 + np.pi / 4 * np.arange(8)
        beside = q + radius * np.c_[np.cos(angles), np.sin(angles)]
        waves = amplitudes(grain.cells[rows][mine], v, np.r_[q[None], beside])
        waves /= gain(np.r_[q[None], beside])[:, None]
        power = (np.abs(waves) ** 2).sum(1)
        usual = 1.2 * float(np.median(power[1:]))
        ratio = float(power[0]) / max(usual, 1e-30)
        if ratio < max(LEAST_RATIO, best[0]):
            continue
        amplitude = float(np.sqrt(power[0]))
        halves = wave < 3
        amount = amplitude * (2.0 if halves else np.sqrt(3.0) * 2)
        model = np.real(np.exp(-2j * np.pi * x @ q)[:, None] * waves[0]) * gain(q[None])
        rest = v - model * (1.0 if halves else 2.0)
        # the difference from the mean of six scatters by 7/6 of the variance of an atom
        scatter = arrays.spread(rest, centre=np.median(rest, 0)) / np.sqrt(7 / 6)
        least = LEAST_MOVED * scatter
        if kind == "brightness":
            least = max(LEAST_BRIGHTER * scatter, LEAST_LEVEL)
        if amount > least:
            error = 2 * scatter * np.sqrt(7 / 6 / mine.sum()) / float(gain(q[None])[0])
            best = (ratio, Order(kind, amount, float(error), 2))
    return best


def amplitudes(cells: np.ndarray, values: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Mean of the values times each wave, shape (w, c): first along a, then along b."""
    low = cells.min(0)
    size = cells.max(0) + 1 - low
    grid = np.zeros((*size, values.shape[1]))
    grid[tuple((cells - low).T)] = values
    a, b = (np.exp(2j * np.pi * q[:, k, None] * (low[k] + np.arange(size[k]))) for k in (0, 1))
    along = (a @ grid.reshape(size[0], -1)).reshape(len(q), size[1], -1)
    return np.asarray((along * b[:, :, None]).sum(1) / len(cells))


def gain(q: np.ndarray) -> np.ndarray:
    """By how much a wave grows where the mean of the six neighbours is taken off, shape (n,)."""
    return np.asarray(1 - np.cos(2 * np.pi * q @ STEPS.T).mean(1))


def enlarged(grain: Grain, matrix: np.ndarray) -> Grain:
    """Describe a region by a larger cell: `matrix` times the vectors."""
    inverse = np.linalg.inv(matrix)
    times = round(abs(np.linalg.det(matrix)))
    reach = range(-4, 5)
    steps = np.array(list(product(reach, repeat=2)))
    inside = steps[(np.floor(steps @ inverse + 1e-9) == 0).all(1)]
    assert len(inside) == times
    cells = np.floor(grain.cells @ inverse + 1e-9).astype(int)
    left = grain.cells - cells @ matrix
    which = (left[:, None] == inside[None]).all(2).argmax(1)
    basis = ((inside[None] + grain.basis[:, None]) @ inverse).reshape(-1, 2)
    return replace(
        grain, cells=cells, sublattice=grain.sublattice * times + which, cell=matrix @ grain.cell,
        basis=basis,
    )  # fmt: skip
