"""One grain: atoms on the sites of one lattice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

#: Largest distance of an atom from where its site is expected, over the nearest distance.
TOLERANCE = 0.35
#: Translations a, b and a + b as multiples of a and b.
STEPS = np.array([[1, 0], [0, 1], [1, 1]])
#: A lattice that turns by more than this between neighbours is broken there ...
LEAST_TURN = np.deg2rad(1.0)
#: ... unless its atoms are so uncertain; in standard deviations of the turn between neighbours.
TURN_SIGMAS = 6.0
#: Share of the atoms that may claim the same cell of the same sublattice as another.
MOST_TWICE = 0.03
MAX_PATCHES = 12
MAX_FAILURES = 3


@dataclass
class Grain:
    """Atoms of one region with their cells.

    Attributes
    ----------
    rows : ndarray of int, shape (k,)
        Indices into the atoms of the frame.
    cells : ndarray of int, shape (k, 2)
        Cell (m, n) of each: at m a + n b from the origin.
    sublattice : ndarray of int, shape (k,)
    cell : ndarray, shape (2, 2)
        Vectors a and b as rows (y, x).
    basis : ndarray, shape (s, 2)
        Fractional position of each sublattice.
    spacing : float
        Median distance between nearest atoms.
    frames : ndarray, shape (k, 2, 2), optional
        The vectors at each atom, where the cells do not close round some place: there is a
        dislocation, and differences of cells say nothing across a line that begins at it.
    """

    rows: np.ndarray
    cells: np.ndarray
    sublattice: np.ndarray
    cell: np.ndarray
    basis: np.ndarray
    spacing: float
    frames: np.ndarray | None = None


def wrapped(fraction: np.ndarray) -> np.ndarray:
    """Fractional differences to the nearest equivalent, in [-0.5, 0.5]."""
    return fraction - np.rint(fraction)


def supported(grain: Grain, fewest: int = 2) -> Grain:
    """Leave out atoms with fewer than two of the six translations of their own sublattice."""
    while len(grain.rows):
        site = SiteGrid(grain.cells, grain.sublattice, len(grain.basis))
        count = np.zeros(len(grain.rows), int)
        for step in np.r_[STEPS, -STEPS]:
            count += site.find(grain.cells + step, grain.sublattice) >= 0
        good = count >= fewest
        if good.all():
            break
        grain = part_of(grain, good)
    return grain


def part_of(grain: Grain, keep: np.ndarray) -> Grain:
    """Return a region with some of its atoms."""
    return replace(
        grain, rows=grain.rows[keep], cells=grain.cells[keep], sublattice=grain.sublattice[keep],
        frames=None if grain.frames is None else grain.frames[keep],
    )  # fmt: skip


def vectors_at(grain: Grain) -> np.ndarray:
    """Vectors at each atom, those of the region where no others are known, shape (k, 2, 2)."""
    if grain.frames is not None:
        return grain.frames
    return np.broadcast_to(grain.cell, (len(grain.rows), 2, 2))


def without_empty_sublattices(grain: Grain) -> Grain:
    """Leave out sublattices whose atoms all went to other regions: nothing tells where they lie."""
    left, sublattice = np.unique(grain.sublattice, return_inverse=True)
    return replace(grain, sublattice=sublattice, basis=grain.basis[left])


class SiteGrid:
    """Which atom is on the site (m, n, sublattice): a lookup that is vectorised.

    Parameters
    ----------
    cells : ndarray of int, shape (k, 2)
    sublattice : ndarray of int, shape (k,)
    n_sublattices : int
    pad : int
        Rows of empty cells kept round the region.
    """

    def __init__(
        self, cells: np.ndarray, sublattice: np.ndarray, n_sublattices: int, pad: int = 2
    ) -> None:
        self.low = cells.min(0) - pad
        size = cells.max(0) + pad + 1 - self.low
        self.shape = (int(size[0]), int(size[1]), n_sublattices)
        self.occupant = np.full(self.shape, -1, np.int64)
        at = cells - self.low
        self.occupant[at[:, 0], at[:, 1], sublattice] = np.arange(len(cells))

    def find(self, cells: np.ndarray, sublattice: np.ndarray) -> np.ndarray:
        """Index of the atom on each site, -1 where there is none."""
        at = cells - self.low
        inside = ((at >= 0) & (at < self.shape[:2])).all(-1)
        at = np.clip(at, 0, np.array(self.shape[:2]) - 1)
        return np.where(inside, self.occupant[at[..., 0], at[..., 1], sublattice], -1)


def nearest_image(fraction: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Shortest vector (y, x) between equivalents of a fractional difference."""
    shifts = np.array([[m, n] for m in (-1, 0, 1) for n in (-1, 0, 1)])
    vectors = (wrapped(fraction) + shifts) @ cell
    size = np.linalg.norm(vectors, axis=1)
    # a bond and its equals by symmetry: the one nearest to +x, whatever the noise
    short = vectors[size < size.min() * 1.05]
    return np.asarray(short[np.argmax(np.abs(short[:, 1]))])
