"""Where a projected crystal lies on a measured lattice: turned, scaled and moved onto it.

The lattice of the columns is known (:mod:`napari_atomlens.lattice`), and with it the mean place and
brightness of the columns in each of its cells, here called slots. The cell of the crystal is laid
over it in every way that the scale and a little distortion allow, and the slots say which of
them fits: by where they lie, and, where that is not enough, by how bright they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from napari_atomlens import arrays
from napari_atomlens.graphs.column_brightness import fit_brightness, repeats_sooner
from napari_atomlens.graphs.views import MERGE_NM, View
from napari_atomlens.lattice.grain import Grain
from napari_atomlens.lattice.latticefit import LatticeFit

#: What differs from a rotated and scaled cell by more is another one; nothing else fits a scan
#: that is distorted by up to the second.
MOST_STRAIN, DISTORTED = 0.055, 0.11
#: Usual strain of an image, and error of its pixel size.
STRAIN_ERR, SCALE_ERR = 0.01, 0.1
#: Places of slots are off by so much, in nm, for reasons that no number of columns averages out.
PLACE_NM = 0.012
#: Farther than this from a column of the crystal, in nm, a slot is none of it.
REACH_NM = 0.06
#: A pose with a smaller share of the columns on sites is none.
LEAST_ON = 0.3
#: Log odds of a column that is there and should not be, and the reverse.
AMISS = -4.0
#: So many columns count as independent; the others repeat what these say.
INDEPENDENT = 40.0
#: Columns fainter than the first, over the brightest, are rarely seen; those brighter than the
#: second rarely are not, and those brighter than the last never.
SEEN_FROM, SEEN_OFTEN, SEEN_ALWAYS = 0.05, 0.2, 0.6
#: Columns fainter than this may be hidden by brighter ones while others as faint are seen.
HIDDEN = 0.25


@dataclass(frozen=True, eq=False)
class LatticeRegion:
    """A region of one lattice, in nm (or in pixels where their size is not known).

    Attributes
    ----------
    grain : Grain
    fit : LatticeFit
    points : ndarray, shape (k, 2)
        Of the columns of the region.
    level : ndarray, shape (k,)
        Logarithm of their brightness, NaN where it is unknown.
    """

    grain: Grain
    fit: LatticeFit
    points: np.ndarray
    level: np.ndarray


@dataclass(frozen=True, eq=False)
class Slots:
    """Mean columns of one cell of a lattice.

    Attributes
    ----------
    places, level, error, count : ndarray
        Place, logarithm of the brightness, its error, and how many columns.
    of_atom : ndarray of int, shape (n,)
        Slot of each column.
    sublattice : ndarray of int, shape (s,)
        Of the measured lattice.
    """

    places: np.ndarray
    level: np.ndarray
    error: np.ndarray
    count: np.ndarray
    of_atom: np.ndarray
    sublattice: np.ndarray


@dataclass(frozen=True, eq=False)
class Pose:
    """One way in which a view of a crystal fits a region.

    Attributes
    ----------
    view : View
    matrix : ndarray, shape (2, 2)
        From the crystal to the image: ``place @ matrix + origin``.
    origin : ndarray, shape (2,)
    geometry : float
        Log likelihood of a column, over that of the same columns anywhere.
    perfect : float
        The same if each column were in its place.
    brightness : float
        Log likelihood of the brightness of the slots.
    prior : float
        Log odds of scale, strain, and of which columns are seen.
    worst : float
        Brightness of the slot that fits worst: in units of its expected error.
    seen : ndarray of bool, shape (n,)
        Columns of the view that the image shows.
    column : ndarray of int, shape (k,)
        Column of the view of each atom of the region, -1 where there is none.
    exponent : float
        Power of Z that fits the brightness best.
    finer : float
        Log odds that the image repeats sooner than the crystal does: columns that should differ
        in brightness are equally bright.
    """

    view: View
    matrix: np.ndarray
    origin: np.ndarray
    geometry: float
    perfect: float
    brightness: float
    prior: float
    worst: float
    seen: np.ndarray
    column: np.ndarray
    exponent: float
    finer: float

    @property
    def total(self) -> float:
        """Logarithm of the evidence, up to a constant."""
        return INDEPENDENT * self.geometry + self.brightness + self.prior

    @property
    def scale(self) -> float:
        """Size in the image over that of the crystal."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))

    @property
    def mirrored(self) -> bool:
        """Whether the crystal is seen against the direction of its axis."""
        return bool(np.linalg.det(self.matrix) < 0)

    @property
    def labels(self) -> tuple[str, ...]:
        """What stands in the column of each atom, "" where there is none."""
        names = np.array([*self.view.labels, ""], dtype=object)
        return tuple(names[self.column])


def slots_of(measured: LatticeRegion, cell: np.ndarray) -> Slots:
    """Average the columns over the cells of a lattice whose vectors are `cell` times the measured.

    Parameters
    ----------
    measured : LatticeRegion
    cell : ndarray of int, shape (2, 2)
    """
    grain, fit = measured.grain, measured.fit
    size = abs(round(float(np.linalg.det(cell))))
    if size == 1:
        key = grain.sublattice.astype(np.int64)
    else:
        adjugate = np.array([[cell[1, 1], -cell[0, 1]], [-cell[1, 0], cell[0, 0]]])
        rest = (grain.cells @ adjugate) % size
        key = (grain.sublattice.astype(np.int64) * size + rest[:, 0]) * size + rest[:, 1]
    _, first, of_atom, count = np.unique(
        key, return_index=True, return_inverse=True, return_counts=True
    )
    ideal = fit.sites(grain.cells, grain.sublattice)
    off = measured.points - ideal
    n = len(count)
    mean = np.stack([np.bincount(of_atom, off[:, i], minlength=n) for i in (0, 1)], -1)
    level, error = np.full(n, np.nan), np.full(n, np.nan)
    for s in range(n):
        values = measured.level[of_atom == s]
        values = values[np.isfinite(values)]
        if len(values):
            level[s] = np.median(values)
            spread = arrays.spread(values, centre=level[s])
            error[s] = 1.25 * max(spread, 0.02) / np.sqrt(len(values))
    return Slots(
        ideal[first] + mean / count[:, None], level, error, count, of_atom, grain.sublattice[first]
    )  # fmt: skip


def _whole_vectors(base: np.ndarray, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of a lattice up to a length: coefficients, and the vectors."""
    reach = np.ceil(longest * np.linalg.norm(np.linalg.inv(base), axis=0)).astype(int)
    grid = np.array(list(product(*(range(-r, r + 1) for r in reach))))
    vectors = grid @ base
    keep = (np.linalg.norm(vectors, axis=1) <= longest) & grid.any(1)
    return grid[keep], vectors[keep]


def finer_lattices(most: int) -> list[np.ndarray]:
    """Lattices of which a lattice is a part: divisors of its vectors, with up to `most` points."""
    found = []
    for size in range(2, most + 1):
        for a in range(1, size + 1):
            if size % a == 0:
                found += [np.array([[a, b], [0, size // a]]) for b in range(size // a)]
    return found


@dataclass(frozen=True, eq=False)
class _Laid:
    """A cell of the image on which the cell of a view is laid."""

    vectors: np.ndarray
    multiple: np.ndarray
    finer: int


def _laid(
    measured: LatticeRegion,
    view: View,
    scales: tuple[float, float] | None,
    counts: np.ndarray,
    most_strain: float,
) -> Iterator[_Laid]:
    """Yield the cells of the image that have the shape of the cell of a view.

    Parameters
    ----------
    scales : tuple of float or None
        Least and largest scale; None where it is free.
    counts : ndarray of int
        How many columns of the cell may be seen.
    most_strain : float
        What differs by more from a rotated and scaled cell is another one.
    """
    cell, n = measured.fit.cell, len(measured.grain.basis)
    area, model = abs(float(np.linalg.det(cell))), view.columns.cell_nm
    inverse = np.linalg.inv(model)
    lengths = np.linalg.norm(model, axis=1)
    most = 4 if n > 1 else 1
    for divisor in [np.eye(2, dtype=int), *finer_lattices(min(most, n))]:
        finer = round(float(np.linalg.det(divisor)))
        if n % finer:
            continue
        base = np.linalg.inv(divisor) @ cell
        # the number of columns says how large the cell is, whatever the scale
        sizes = (counts.min() / 1.5 * finer / n, counts.max() * 1.5 * finer / n)
        low, high = (np.sqrt(s * area / finer / view.area_nm2) for s in sizes)
        if scales is not None:
            low, high = max(low, scales[0]), min(high, scales[1])
        if low > high:
            continue
        stretch = 1 + most_strain
        whole, vectors = _whole_vectors(base, lengths.max() * high * stretch)
        size = np.linalg.norm(vectors, axis=1)
        fits = [
            np.flatnonzero((size > low / stretch * m) & (size < high * stretch * m))
            for m in lengths
        ]
        if not len(fits[0]) or not len(fits[1]):
            continue
        i, j = (v.ravel() for v in np.meshgrid(*fits, indexing="ij"))
        pairs = np.stack([vectors[i], vectors[j]], axis=1)
        matrices = inverse @ pairs
        scale = np.sqrt(np.abs(np.linalg.det(matrices)))
        good = (scale >= low) & (scale <= high)
        gram = matrices[good] @ matrices[good].transpose(0, 2, 1)
        middle = 0.5 * (gram[:, 0, 0] + gram[:, 1, 1])
        spread = np.hypot(0.5 * (gram[:, 0, 0] - gram[:, 1, 1]), gram[:, 0, 1])
        strain = np.sqrt(middle + spread) / scale[good] - 1
        for k in np.flatnonzero(good)[strain < most_strain].tolist():
            multiple = np.array([whole[i[k]], whole[j[k]]])
            if finer > 1 and abs(round(float(np.linalg.det(multiple)))) != 1:
                continue
            yield _Laid(pairs[k], multiple if finer == 1 else np.eye(2, dtype=int), finer)


def _hermite(cell: np.ndarray) -> tuple[int, ...]:
    """Return a name for a lattice that does not depend on which of its cells is given."""
    (a, b), (c, d) = cell.tolist()
    while c:
        q = a // c
        a, b, c, d = c, d, a - q * c, b - q * d
    d = abs(d)
    return abs(a), (b if a > 0 else -b) % d if d else 0, d


class PoseSearch:
    """Looks for the poses of views on one region.

    Parameters
    ----------
    measured : LatticeRegion
    scales : tuple of float or None
        Least and largest scale that is allowed; None where the pixel size is not known.
    exponent : float
        Expected power of Z.
    most_strain : float, optional
        What differs by more from a rotated and scaled cell is another one.
    """

    def __init__(
        self,
        measured: LatticeRegion,
        scales: tuple[float, float] | None,
        exponent: float,
        most_strain: float = MOST_STRAIN,
    ) -> None:
        self.measured, self.scales, self.exponent = measured, scales, exponent
        self.most_strain = most_strain
        self._slots: dict[tuple[int, ...], Slots] = {}

    def slots(self, multiple: np.ndarray) -> Slots:
        """Slots of a lattice, found once."""
        key = _hermite(multiple)
        if key not in self._slots:
            self._slots[key] = slots_of(self.measured, multiple)
        return self._slots[key]

    def poses(self, view: View) -> Iterator[Pose]:
        """Yield the poses of a view, several for each cell on which it can be laid."""
        weights = view.weights(self.exponent)
        order = np.unique(np.round(np.log(weights), 4))[::-1]
        counts = np.array([(np.log(weights) >= w - 1e-3).sum() for w in order])
        fractions = view.columns.places_nm @ np.linalg.inv(view.columns.cell_nm)
        reach = min(REACH_NM, 0.4 * view.nearest_nm())
        for laid in _laid(self.measured, view, self.scales, counts, self.most_strain):
            slots = self.slots(laid.multiple)
            places = slots.places @ np.linalg.inv(laid.vectors)
            for start in _starts(places, slots.count, fractions, view.columns.cell_nm, reach):
                pose = self._pose(view, laid, slots, places, fractions, start, reach)
                if (pose.column >= 0).mean() > LEAST_ON:
                    yield pose

    def _pose(
        self,
        view: View,
        laid: _Laid,
        slots: Slots,
        places: np.ndarray,
        fractions: np.ndarray,
        start: np.ndarray,
        reach: float,
    ) -> Pose:
        cell = view.columns.cell_nm
        for _ in range(2):
            off = places[:, None] - start - fractions[None]
            off -= np.rint(off)
            gap = np.linalg.norm(off @ cell, axis=-1)
            column = gap.argmin(1)
            rows = np.arange(len(places))
            near = gap[rows, column] < reach
            if near.any():
                start = start + np.average(off[rows, column][near], axis=0,
                                           weights=slots.count[near])  # fmt: skip
        gap = np.linalg.norm(off @ cell, axis=-1)[rows, column]
        matrix = np.linalg.inv(cell) @ laid.vectors
        column = np.where(near, column, -1)
        if laid.finer == 1:
            column = _once(column, gap)
        density = len(places) / laid.finer / view.area_nm2
        geometry, prior, seen = _geometry(view, column, gap, density, self.exponent)
        seen_slots = (column >= 0) & seen[column]
        bright, worst, exponent = fit_brightness(
            slots.level[seen_slots], slots.error[seen_slots], view, column[seen_slots],
            self.exponent,
        )  # fmt: skip
        # slots that are repeated within the cell say no more than one of them
        bright *= min(1.0, len(self.measured.grain.basis) / len(places))
        finer = repeats_sooner(
            slots.level[seen_slots], slots.error[seen_slots], slots.sublattice[seen_slots], view,
            column[seen_slots], self.exponent,
        )  # fmt: skip
        return Pose(
            view, matrix, start @ laid.vectors, geometry, perfect_score(density), bright,
            prior + self._shape_odds(view, matrix), worst, seen,
            np.where(seen_slots, column, -1)[slots.of_atom], exponent, finer,
        )  # fmt: skip

    def _shape_odds(self, view: View, matrix: np.ndarray) -> float:
        """Log odds of a strain, of a scale, and of columns that are seen as one."""
        values = np.linalg.svd(matrix, compute_uv=False)
        odds = -0.5 * (0.5 * float(np.log(values[0] / values[1])) / STRAIN_ERR) ** 2
        if self.scales is not None:
            odds -= 0.5 * (0.5 * float(np.log(values.prod())) / SCALE_ERR) ** 2
        return odds - (view.merge_nm > MERGE_NM[0])


def _once(column: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Keep the nearest slot of each column only."""
    order = np.lexsort((gap, column))
    first = np.ones(len(column), bool)
    first[1:] = column[order][1:] != column[order][:-1]
    kept = np.full(len(column), -1)
    kept[order[first]] = column[order[first]]
    return kept


def _starts(
    places: np.ndarray, count: np.ndarray, fractions: np.ndarray, cell: np.ndarray, reach: float
) -> list[np.ndarray]:
    """Return the moves of the crystal, in its cell, that lay most of its columns on slots."""
    anchors = np.argsort(-count, kind="stable")[:3]
    moves = (places[anchors, None] - fractions[None]).reshape(-1, 2)
    off = places[None, :, None] - moves[:, None, None] - fractions[None, None]
    off -= np.rint(off)
    gap = np.sqrt((off[..., 0] * cell[0, 0] + off[..., 1] * cell[1, 0]) ** 2
                  + (off[..., 0] * cell[0, 1] + off[..., 1] * cell[1, 1]) ** 2)  # fmt: skip
    nearest = gap.argmin(2)
    close = gap.min(2)
    good = close < 2 * reach
    score = np.where(good, 1 - (close / (2 * reach)) ** 2, 0).sum(1)
    order = np.argsort(-score, kind="stable")
    order = order[score[order] >= 0.6 * score[order[0]]]
    found, known = [], set()
    for k in order.tolist():
        mark = tuple(np.where(good[k], nearest[k], -1).tolist())
        if mark not in known:
            known.add(mark)
            found.append(moves[k])
        if len(found) == 12:
            break
    return found


def perfect_score(density: float) -> float:
    """Log likelihood of a column in its place, over that of one anywhere at a density per nm2."""
    return -float(np.log(2 * np.pi * PLACE_NM**2 * density))


def _geometry(
    view: View, column: np.ndarray, gap: np.ndarray, density: float, exponent: float
) -> tuple[float, float, np.ndarray]:
    """Log likelihood of the places, log odds of what is seen, and which columns are."""
    weights = view.weights(exponent)
    relative = weights / weights.max()
    on = column >= 0
    hit = perfect_score(density) - 0.5 * (gap / PLACE_NM) ** 2
    hit = np.maximum(hit, AMISS)
    taken = np.zeros(len(weights), bool)
    taken[column[on]] = True
    labels = np.array(view.labels, dtype=object)
    hides = (relative < HIDDEN) & ~np.isin(labels, labels[taken])
    best: tuple[float, float, np.ndarray] | None = None
    for limit in np.unique(np.round(np.log(relative), 4)):
        seen = (np.log(relative) >= limit - 1e-3) & ~hides
        right = on & seen[column]
        score = hit[right].sum() + AMISS * ((~right).sum() + (seen & ~taken).sum())
        score /= len(column)
        odds = -1.5 * max(0.0, float(np.log(SEEN_FROM) - limit))
        if not seen.all():
            hidden = float(relative[~seen].max())
            if hidden > SEEN_ALWAYS:
                continue
            odds -= 1.5 * max(0.0, float(np.log(hidden / SEEN_OFTEN)))
        if best is None or INDEPENDENT * score + odds > INDEPENDENT * best[0] + best[1]:
            best = (float(score), odds, seen)
    assert best is not None  # all of them may be seen
    return best


def tell_apart(poses: list[Pose], per_view: int = 3) -> list[Pose]:
    """Return the best pose of each answer: of each view, and of each content of the columns.

    Parameters
    ----------
    poses : list of Pose
    per_view : int
        At most so many of one view.
    """
    found: dict[tuple[object, ...], Pose] = {}

    def rank(pose: Pose) -> tuple[float, bool, float]:
        turn = abs(float(np.arctan2(pose.matrix[1, 0] - pose.matrix[0, 1], np.trace(pose.matrix))))
        return round(pose.total, 3), not pose.mirrored, -round(turn, 3)

    for pose in sorted(poses, key=rank, reverse=True):
        key = (id(pose.view), pose.labels)
        found.setdefault(key, pose)
    kept, number = [], dict[int, int]()
    for pose in sorted(found.values(), key=lambda p: -p.total):
        number[id(pose.view)] = number.get(id(pose.view), 0) + 1
        if number[id(pose.view)] <= per_view:
            kept.append(pose)
    return kept
