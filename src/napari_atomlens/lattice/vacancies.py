"""Sites without an atom: vacancies, and gaps that are too large to be called so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import tables
from napari_atomlens.lattice.cell import site_neighbours
from napari_atomlens.lattice.grain import Grain, SiteGrid
from napari_atomlens.lattice.lattice import (
    MEASURED,
    FrameLattice,
    LatticeParams,
    by_sublattice,
    local_sites,
)
from napari_atomlens.lattice.latticefit import LatticeFit

#: An atom nearer than this to an empty site (over the nearest distance) is on it, off place.
OCCUPIED_WITHIN = 0.5


@dataclass(frozen=True)
class Gaps:
    """Empty sites inside of a region.

    Attributes
    ----------
    cells, sublattice : ndarray
        Of the vacant sites, shape (k, 2) and (k,).
    support : ndarray, shape (k,)
        Share of the sites round each one that hold an atom, each counted with its probability.
    group : ndarray of int, shape (k,)
        Vacant sites of one group touch.
    holes : list of ndarray of int, each (n, 3)
        Cells and sublattices of the sites of each larger gap.
    """

    cells: np.ndarray
    sublattice: np.ndarray
    support: np.ndarray
    group: np.ndarray
    holes: list[np.ndarray]


def find_gaps(grain: Grain, probability: np.ndarray, largest: int) -> Gaps:
    """Group the empty sites of a region and tell vacancies from holes and from the outside.

    Empty sites that share an edge of the Voronoi tessellation of the crystal form a group. A
    group that reaches the outside of the region is the outside; one of at most `largest`
    sites is made of vacancies; a larger one is a hole.

    Parameters
    ----------
    grain : Grain
    probability : ndarray, shape (k,)
        Of its atoms.
    largest : int
    """
    s = len(grain.basis)
    grid = SiteGrid(grain.cells, grain.sublattice, s, pad=3)
    links = site_neighbours(grain.cell, grain.basis)
    empty = grid.occupant < 0
    number = np.arange(empty.size).reshape(grid.shape)
    rows, cols = [], []
    size_m, size_n, _ = grid.shape
    for a, b, m, n in links:
        # slices that lay the site and its neighbour over each other
        here = (slice(max(0, -m), size_m - max(0, m)), slice(max(0, -n), size_n - max(0, n)), a)
        there = (slice(max(0, m), size_m + min(0, m)), slice(max(0, n), size_n + min(0, n)), b)
        touching = empty[here] & empty[there]
        rows.append(number[here][touching])
        cols.append(number[there][touching])
    i, j = np.concatenate(rows), np.concatenate(cols)
    graph = scipy.sparse.coo_matrix((np.ones(len(i), np.int8), (i, j)), (empty.size, empty.size))
    group = scipy.sparse.csgraph.connected_components(graph, directed=False)[1].reshape(grid.shape)
    edge = np.zeros(grid.shape, bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    outside = np.unique(group[edge & empty])
    inner = empty & ~np.isin(group, outside)
    at = np.argwhere(inner)
    if not len(at):
        none = np.zeros(0, int)
        return Gaps(np.zeros((0, 2), int), none, np.zeros(0), none, [])
    _, index, counts = np.unique(group[inner], return_inverse=True, return_counts=True)
    small = counts[index] <= largest
    cells = at[:, :2] + grid.low
    holes = [np.c_[cells[index == g], at[index == g, 2]] for g in np.flatnonzero(counts > largest)]
    vacant, sub = cells[small], at[small, 2]
    return Gaps(vacant, sub, support_of(grain, grid, links, vacant, sub, probability),
                index[small], holes)  # fmt: skip


def support_of(
    grain: Grain,
    grid: SiteGrid,
    links: np.ndarray,
    cells: np.ndarray,
    sublattice: np.ndarray,
    probability: np.ndarray,
) -> np.ndarray:
    """Mean probability of the atoms on the neighbouring sites and the next translations."""
    total, count = np.zeros(len(cells)), np.zeros(len(cells))
    known = np.where(np.isfinite(probability), probability, 1.0)
    translations = [
        (s, s, m, n)
        for s in range(len(grain.basis))
        for m, n in ((1, 0), (0, 1), (1, 1), (-1, 0), (0, -1), (-1, -1))
    ]
    for a, b, m, n in {tuple(int(v) for v in row) for row in [*links.tolist(), *translations]}:
        mine = sublattice == a
        near = grid.find(cells[mine] + [m, n], np.full(mine.sum(), b))
        total[mine] += np.where(near >= 0, known[near], 0.0)
        count[mine] += 1
    return total / np.maximum(count, 1)


def not_taken(places: np.ndarray, points: np.ndarray, spacing: float) -> np.ndarray:
    """Which empty sites have no atom near them, of whatever region or of none."""
    if not len(places) or not len(points):
        return np.ones(len(places), bool)
    return scipy.spatial.cKDTree(points).query(places)[0] > OCCUPIED_WITHIN * spacing


#: A sublattice with a larger share of empty sites than this may be one that is hardly seen: if the
#: volume of its columns is so uncertain, or they are so doubtful themselves.
MANY_GONE, NOISY, DOUBTED = 0.03, 0.25, 0.8
#: Background above that of the region, over the amplitude of an atom, that hides atoms.
VEIL = 0.5
#: ... if not more than this share of the atoms of the region has such a background.
MOST_VEILED = 0.15


def add_vacancies(
    frame: int,
    region: int,
    grain: Grain,
    fit: LatticeFit,
    used: LatticeFit,
    table: pd.DataFrame,
    points: np.ndarray,
    params: LatticeParams,
    stretch: np.ndarray,
    nm: np.ndarray,
    excluded: np.ndarray | None,
    result: FrameLattice,
    beside: np.ndarray,
) -> pd.DataFrame:
    """Rows of the vacant sites of a region, none of them `beside` others; holes go to `result`."""
    probability = table["probability"].to_numpy(float)[grain.rows]
    gaps = find_gaps(grain, probability, params.largest_vacancy)

    def expected(cells: np.ndarray, sublattice: np.ndarray) -> np.ndarray:
        here = local_sites(grain, fit, points[grain.rows], cells, sublattice, params, False)
        ideal = fit.sites(cells, sublattice)
        return ideal + np.where(np.isfinite(here.predicted), here.predicted, 0.0)

    for hole in gaps.holes:
        places = expected(hole[:, :2], hole[:, 2])
        free = not_taken(places, points, grain.spacing)
        if free.sum() <= params.largest_vacancy:
            continue  # another region, or what does not fit the lattice, fills it
        centre = places[free].mean(0) / stretch
        area = abs(float(np.linalg.det(fit.cell))) / len(grain.basis) * free.sum() / stretch[0]
        result.holes.append(
            {"frame": frame, "region": region, "n_sites": int(free.sum()), "y_px": centre[0],
             "x_px": centre[1], "area_px2": area}
        )  # fmt: skip
    if not params.vacancies or not len(gaps.cells):
        return tables.empty("atoms")
    places = expected(gaps.cells, gaps.sublattice)
    keep = not_taken(places, points, grain.spacing) & _apart(places, beside, grain, fit)
    if excluded is not None:
        at = np.rint(places / stretch).astype(int)
        at = np.clip(at, 0, np.array(excluded.shape) - 1)
        keep &= ~np.asarray(excluded[at[:, 0], at[:, 1]], bool)
    faint = keep & _faint(grain, gaps.sublattice, keep, table)
    result.faint += int(faint.sum())
    keep &= ~faint
    hidden = keep & _veiled(places, table, points, grain, gaps.sublattice)
    result.hidden, keep = result.hidden + int(hidden.sum()), keep & ~hidden
    cells, sub, places = gaps.cells[keep], gaps.sublattice[keep], places[keep]
    ideal = places if params.sites == "local" else used.sites(cells, sub)
    pixels = places / stretch
    columns: dict[str, object] = {
        "frame": frame, "y_px": pixels[:, 0], "x_px": pixels[:, 1],
        "y_nm": pixels[:, 0] * nm[0], "x_nm": pixels[:, 1] * nm[1], "species": "vacancy",
        "probability": gaps.support[keep], "sublattice": sub, "source": "lattice",
        "site_y_px": ideal[:, 0] / stretch[0], "site_x_px": ideal[:, 1] / stretch[1],
        "region": region, "cell_m": cells[:, 0], "cell_n": cells[:, 1],
    }  # fmt: skip
    columns |= {c: np.nan for c, d in MEASURED.items() if d == tables.F}
    return tables.make("atoms", columns, len(cells))


def _apart(places: np.ndarray, beside: np.ndarray, grain: Grain, fit: LatticeFit) -> np.ndarray:
    """Which sites are farther than the width of an interface from other regions and from cores."""
    if not len(beside):
        return np.ones(len(places), bool)
    width = max(float(np.linalg.norm(fit.cell, axis=1).max()), 2 * grain.spacing)
    return np.asarray(scipy.spatial.cKDTree(beside).query(places)[0] > width)


def _faint(
    grain: Grain, sublattice: np.ndarray, keep: np.ndarray, table: pd.DataFrame
) -> np.ndarray:
    """Which empty sites are of a sublattice so faint that many of its columns were not found.

    Where a column of the sublattice can hardly be told from noise, one that is not found is not
    missing.
    """
    out = np.zeros(len(sublattice), bool)
    volume, error, probability = (
        table[c].to_numpy(float)[grain.rows] if c in table else np.full(len(grain.rows), np.nan)
        for c in ("volume", "volume_err", "probability")
    )
    for s in range(len(grain.basis)):
        here, gone = grain.sublattice == s, keep & (sublattice == s)
        if not here.any() or gone.sum() < MANY_GONE * here.sum():
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = error[here] / volume[here]
        relative, chance = relative[np.isfinite(relative)], probability[here]
        noisy = len(relative) > 0 and float(np.median(relative)) > NOISY
        doubted = np.isfinite(chance).any() and float(np.nanmedian(chance)) < DOUBTED
        if noisy or doubted:
            out |= sublattice == s
    return out


def _veiled(
    places: np.ndarray,
    table: pd.DataFrame,
    points: np.ndarray,
    grain: Grain,
    sublattice: np.ndarray,
) -> np.ndarray:
    """Which empty sites lie under contamination: there the network may have missed the atom.

    There the background of the atoms round the site is above that of the region by more than
    half of the amplitude of an atom of its sublattice, as it is for few atoms of the region
    only: what lifts many is a terrace or a thicker part, in which atoms can be seen.
    """
    background = table["background"].to_numpy(float)[grain.rows]
    amplitude = by_sublattice(grain, table["amplitude"].to_numpy(float)[grain.rows])[sublattice]
    usual = np.nanmedian(background) if np.isfinite(background).any() else np.nan
    lifted = background - usual > VEIL * float(np.nanmin(amplitude, initial=np.inf))
    if not len(places) or not np.isfinite(usual) or lifted.mean() > MOST_VEILED:
        return np.zeros(len(places), bool)
    near = scipy.spatial.cKDTree(points[grain.rows]).query(places, k=min(6, len(grain.rows)))[1]
    around = background[near.reshape(len(places), -1)]
    known = np.isfinite(around).any(1)
    level = np.full(len(places), np.nan)
    level[known] = np.nanmedian(around[known], axis=1)
    return np.asarray(level - usual > VEIL * amplitude)
