"""Which column is which: told by its place in the lattice and by what the fit measured.

A crystal has few kinds of columns, and each of its sublattices holds one of them. Over a whole
region even a small difference of the mean volumes of two sublattices is certain, where single
columns drown in noise. So the sublattices are put into levels of brightness first, and a column
is what its sublattice is, unless its own volume says clearly that it is of another level. What
the network said is one witness more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import arrays
from napari_atomlens.familiar import is_unfamiliar
from napari_atomlens.lattice.grain import Grain
from napari_atomlens.lattice.grains import find_grains
from napari_atomlens.progress import ProgressLike

#: Names of the kinds of columns of any lattice, by level: the brightest, the others, faint ones.
BRIGHT, PLAIN, FAINT = "bright column", "column", "faint column"
#: Fewer measured columns of a sublattice tell no level.
FEWEST = 6
#: Volumes of two kinds differ by more than this (log): tilt and aberrations of the probe make
#: equal columns differ by up to about it, those of a honeycomb (three-fold astigmatism) more.
APART, APART_HONEYCOMB = 0.08, 0.16
#: ... and by so many standard errors of the means.
SIGMAS = 5.0
#: A third level is called so if it is fainter than the second by more than this (log), and by
#: half of what parts the first two: beside a bright column the volume of a dim one is uncertain.
THIRD, OF_FIRST = 0.35, 0.5
#: Columns of a region round one that tell what its surroundings do to volumes.
AROUND = 24
#: Share of the columns that are of another kind than their sublattice, before anything is
#: measured, and of those whose volume says nothing.
ELSEWHERE, ODD = 0.02, 0.05
#: Range of log volumes over which the odd ones are spread.
WIDE = 4.0
#: A site holds nothing where the volume is below this share of its sublattice, and so many standard
#: errors below half of it.
NOTHING, SURELY = 0.12, 3.0
#: More empty sites than this share are no vacancies.
MOST_EMPTY = 0.1
#: Probability of a column on such a site.
GONE = 0.02
#: The network is one witness: it counts for so much, and for no more than this (log odds).
WITNESS, MOST_WITNESS = 0.5, 1.5


@dataclass(frozen=True)
class Level:
    """Columns of one brightness in a region.

    Attributes
    ----------
    sublattices : tuple of int
    mean, spread : float
        Of the log volumes.
    n : int
        Measured columns.
    """

    sublattices: tuple[int, ...]
    mean: float
    spread: float
    n: int


@dataclass(frozen=True)
class Kinds:
    """What was told of the columns of a frame.

    Attributes
    ----------
    level : ndarray of int, shape (n,)
        0 for the brightest level of the region, 1 for the next ...; -1 where nothing is told.
    probability : ndarray, shape (n,)
        That it is of this level.
    region : ndarray of int, shape (n,)
        Region of one lattice; -1 for none.
    site : ndarray of int, shape (n,)
        Level of the sublattice on which the column stands; -1 for none.
    ratio : ndarray, shape (n,)
        Volume over the typical one of the level of its sublattice; NaN where it is unknown.
    empty : ndarray of bool, shape (n,)
        Where the fit finds nothing of the volume that a column of the sublattice has.
    levels : list of list of Level
        Of each region, the brightest first.
    """

    level: np.ndarray
    probability: np.ndarray
    region: np.ndarray
    site: np.ndarray
    ratio: np.ndarray
    empty: np.ndarray
    levels: list[list[Level]]


def log_volumes(atoms: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of the fitted volumes and its standard error, NaN where nothing was measured."""
    n = len(atoms)
    if "volume" not in atoms:
        return np.full(n, np.nan), np.full(n, np.nan)
    volume = atoms["volume"].to_numpy(float)
    error = atoms["volume_err"].to_numpy(float) if "volume_err" in atoms else np.zeros(n)
    good = np.isfinite(volume) & (volume > 0)
    if "fit_ok" in atoms:
        good &= atoms["fit_ok"].to_numpy(bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(good, np.clip(np.nan_to_num(error) / volume, 0, 2), np.nan)
        return np.where(good, np.log(np.where(good, volume, 1.0)), np.nan), relative


def _in_turn(grain: Grain, value: np.ndarray) -> np.ndarray:
    """Sublattices where every other column along the cell is brighter than the one between.

    Where noise hides that two columns are of different kinds the cell is found too small. Over
    all of the region it shows: of the three ways to make the cell twice as large, the one whose
    halves differ most.
    """
    s = len(grain.basis)
    best, told = grain.sublattice, 0.0
    for weight in ((1, 0), (0, 1), (1, 1)):
        half = (grain.cells @ np.array(weight)) % 2
        apart = 0.0
        for k in range(s):
            one, two = (value[(grain.sublattice == k) & (half == h)] for h in (0, 1))
            one, two = one[np.isfinite(one)], two[np.isfinite(two)]
            if min(len(one), len(two)) < 2 * FEWEST:
                continue
            gap = abs(float(np.median(one) - np.median(two)))
            if gap > APART and gap > (SIGMAS + 1) * _error((one, two)):
                apart = max(apart, gap)
        if apart > told:
            best, told = grain.sublattice + s * half, apart
    return best


def _error(groups: tuple[np.ndarray, ...]) -> float:
    """Standard error of the difference of medians."""
    return float(np.sqrt(sum((1.25 * arrays.spread(g)) ** 2 / len(g) for g in groups)))


def _is_honeycomb(grain: Grain) -> bool:
    """Whether two sublattices stand as in a honeycomb: the three neighbours at equal distance."""
    if len(grain.basis) != 2:
        return False
    shift = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)])
    step = (grain.basis[1] - grain.basis[0] + shift) @ grain.cell
    near = np.sort(np.linalg.norm(step, axis=1))
    return bool(near[2] < 1.15 * near[0] and near[3] > 1.5 * near[0])


def _levels(sublattice: np.ndarray, value: np.ndarray, apart: float) -> list[Level]:
    """Levels of brightness of the sublattices of a region, the brightest first.

    They are parted at the largest gap between means, if it is larger than what is left within
    either side and than chance; the dimmer side once more if it is parted as clearly.
    """
    groups = {}
    for s in np.unique(sublattice):
        mine = value[sublattice == s]
        mine = mine[np.isfinite(mine)]
        if len(mine) >= FEWEST:
            groups[int(s)] = mine
    order = sorted(groups, key=lambda s: -float(np.median(groups[s])))

    middle = {s: float(np.median(v)) for s, v in groups.items()}

    def parted(names: list[int], least: float) -> list[list[int]]:
        if len(names) < 2:
            return [names] if names else []
        height = np.array([middle[s] for s in names])
        gap = height[:-1] - height[1:]
        k = int(gap.argmax()) + 1
        inner = max(height[0] - height[k - 1], height[k] - height[-1])
        error = _error((groups[names[k - 1]], groups[names[k]]))
        if gap[k - 1] < max(least, inner, SIGMAS * error):
            return [names]
        return [names[:k], names[k:]]

    parts = parted(order, apart)
    if len(parts) == 2:
        gap = middle[parts[0][-1]] - middle[parts[1][0]]
        parts = [parts[0], *parted(parts[1], max(THIRD, OF_FIRST * gap))]
    found = []
    for names in parts:
        every = np.concatenate([groups[s] for s in names])
        found.append(
            Level(tuple(names), float(np.median(every)), float(arrays.spread(every)), len(every))
        )
    return found


def kinds_of(
    atoms: pd.DataFrame, share: np.ndarray | None = None, progress: ProgressLike = None
) -> Kinds:
    """Tell the columns of one frame apart by their sublattices and their volumes.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table of one frame, with fitted volumes.
    share : ndarray, shape (n,), optional
        Probability of each column to be of the brighter kind, as the network has it.
    progress : Progress or callable, optional
        Asked while it works whether to stop.

    Returns
    -------
    Kinds
        Regions of one level tell nothing: -1.
    """
    n = len(atoms)
    value, error = log_volumes(atoms)
    points = atoms[["y_px", "x_px"]].to_numpy(float)
    out = Kinds(
        np.full(n, -1), np.full(n, np.nan), np.full(n, -1), np.full(n, -1), np.full(n, np.nan),
        np.zeros(n, bool), list[list[Level]](),
    )  # fmt: skip
    known = np.flatnonzero(~is_unfamiliar(atoms) & np.isfinite(points).all(1))
    if np.isfinite(value[known]).sum() < 2 * FEWEST:
        return out
    for grain in find_grains(points[known], value[known], progress=progress):
        rows = known[grain.rows]
        _tell(out, grain, rows, points[rows], value[rows], error[rows],
              None if share is None else share[rows])  # fmt: skip
        out.empty[rows] = _empty(grain, atoms.iloc[rows])
    return out


def _empty(grain: Grain, atoms: pd.DataFrame) -> np.ndarray:
    """Which sites of a region hold nothing, though the network saw something there."""
    out = np.zeros(len(atoms), bool)
    if not {"volume", "volume_err"} <= set(atoms):
        return out
    volume, error = (atoms[c].to_numpy(float) for c in ("volume", "volume_err"))
    for s in range(len(grain.basis)):
        mine = (grain.sublattice == s) & np.isfinite(volume)
        if mine.sum() < FEWEST:
            continue
        usual = float(np.median(volume[mine]))
        # the error of a column of nothing says little: what the others have is its least
        least = float(np.nanmedian(error[mine])) if np.isfinite(error[mine]).any() else np.inf
        sure = volume + SURELY * np.fmax(np.nan_to_num(error), least) < 0.5 * usual
        out |= mine & (volume < NOTHING * usual) & sure
    # where a sublattice is often empty it is the fit that fails, not the site that is empty
    return out if out.mean() < MOST_EMPTY else np.zeros(len(atoms), bool)


def _trend(points: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """What thickness, tilt and contamination do to the volumes round each column (log)."""
    good = np.flatnonzero(np.isfinite(residual))
    k = min(AROUND + 1, len(good))
    if k < FEWEST:
        return np.zeros(len(points))
    near = scipy.spatial.cKDTree(points[good]).query(points, k=k)[1]
    return np.asarray(np.median(residual[good][near], axis=1))


def _tell(
    out: Kinds,
    grain: Grain,
    rows: np.ndarray,
    points: np.ndarray,
    value: np.ndarray,
    error: np.ndarray,
    share: np.ndarray | None,
) -> None:
    """Tell the columns of one region."""
    sublattice = _in_turn(grain, value)
    apart = APART_HONEYCOMB if _is_honeycomb(grain) else APART
    first = np.full(len(rows), np.nan)
    for s in np.unique(sublattice):
        mine = sublattice == s
        if np.isfinite(value[mine]).any():
            first[mine] = value[mine] - np.nanmedian(value[mine])
    level = value - _trend(points, first)
    found = _levels(sublattice, level, apart)
    out.region[rows] = len(out.levels)
    out.levels.append(found)
    if len(found) < 2:
        return
    site = np.full(len(rows), -1)
    for k, one in enumerate(found):
        site[np.isin(sublattice, one.sublattices)] = k
    # the order of two levels is as certain as the gap between them
    step = [
        (a.mean - b.mean) / np.sqrt((0.3 * apart) ** 2 + a.spread**2 / a.n + b.spread**2 / b.n)
        for a, b in pairwise(found)
    ]
    order = float(scipy.special.ndtr(min(step)))
    score = np.zeros((len(rows), len(found)))
    for k, one in enumerate(found):
        prior = np.where(site == k, 1 - ELSEWHERE, ELSEWHERE / (len(found) - 1))
        prior = np.where(site < 0, 1 / len(found), prior)
        width = np.hypot(one.spread, 0.02)
        width = np.maximum(width, np.nan_to_num(error))
        z = (level - one.mean) / width
        normal = np.exp(-0.5 * z**2) / (width * np.sqrt(2 * np.pi))
        chance = np.where(np.isfinite(level), (1 - ODD) * normal + ODD / WIDE, 1.0)
        score[:, k] = np.log(prior) + np.log(chance)
    if share is not None:
        score[:, 0] += _witness(share, site)
    score -= score.max(1, keepdims=True)
    chance = np.exp(score)
    chance /= chance.sum(1, keepdims=True)
    out.level[rows] = chance.argmax(1)
    out.site[rows] = site
    means = np.array([one.mean for one in found])
    out.ratio[rows] = np.where(site >= 0, np.exp(level - means[site]), np.nan)
    out.probability[rows] = chance.max(1) * order


#: Classes of models that are the brighter of two kinds, and those of the other: the first of each
#: is what a column is called that the model took for the other kind.
FAMILIES = (
    ((BRIGHT,), (PLAIN, FAINT)),
    (("metal", "light metal", "heavy metal"), ("chalcogen pair", "single chalcogen")),
    (("A",), ("B", "weak column")),
)
#: A class of a model of one material is overruled only by what is at least so sure.
OVERRULES = 0.9
#: A column whose volume is that of its kind within this is not of another element.
ORDINARY = 0.2
#: More than this share of the columns is told of when the lattice names them.
TOLD = 0.05


def named_by_lattice(
    atoms: pd.DataFrame, classes: Sequence[str], progress: ProgressLike = None
) -> tuple[pd.DataFrame, str]:
    """Give the columns of one frame the species that lattice, volumes and network agree on.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table of one frame as the model and the fit have it.
    classes : sequence of str
        Classes of the model.
    progress : Progress or callable, optional
        Asked while it works whether to stop.

    Returns
    -------
    atoms : pandas.DataFrame
        With ``species`` and ``species_probability`` changed where the lattice tells more, and
        ``probability`` where the site of a column holds nothing.
    sentence : str
        For the user, where many columns have another name than the model gave them.
    """
    family = next((f for f in FAMILIES if f[0][0] in classes and f[1][0] in classes), None)
    if family is None or not len(atoms):
        return atoms, ""
    said, sure = atoms["species"].to_numpy(object), atoms["species_probability"].to_numpy(float)
    first = np.isin(said, family[0])
    kinds = kinds_of(atoms, np.where(first, sure, 1 - sure), progress)
    if kinds.empty.any():
        chance = np.where(kinds.empty, GONE, atoms["probability"].to_numpy(float))
        atoms = atoms.assign(probability=np.minimum(chance, atoms["probability"]))
    told = kinds.level >= 0
    if not told.any():
        return atoms, ""
    species, chance = said.copy(), sure.copy()
    three = [len(x) > 2 for x in kinds.levels]
    many = np.isin(kinds.region, np.flatnonzero(three)).sum() > 0.5 * told.sum()
    if family is FAMILIES[0] or many:
        # a model of two kinds has no words for a third
        species[~told] = np.where(first[~told], BRIGHT, PLAIN)
        species[told] = np.array([BRIGHT, PLAIN, FAINT], object)[kinds.level[told]]
        chance[told] = kinds.probability[told]
    else:
        for region, levels in enumerate(kinds.levels):
            if len(levels) == 2:
                _of_material(kinds, region, family, species, chance)
    changed = int((np.isin(species, family[0]) != first)[told].sum())
    sentence = ""
    if changed > TOLD * len(atoms):
        largest = max((x for x in kinds.levels if len(x) > 1), key=lambda x: sum(k.n for k in x))
        ratio = " : ".join(f"{np.exp(k.mean - largest[0].mean):.2f}" for k in largest)
        sentence = (
            f"{changed:,} of {len(atoms):,} columns are named by the sublattice they stand on "
            f"(volumes {ratio}); one by one they look like the other kind."
        )
    named = pd.Series(species, index=atoms.index, dtype=object)
    return atoms.assign(species=named, species_probability=chance), sentence


def _of_material(
    kinds: Kinds,
    region: int,
    family: tuple[tuple[str, ...], tuple[str, ...]],
    species: np.ndarray,
    chance: np.ndarray,
) -> None:
    """Overrule the classes of a model of one material in a region, where that is sure."""
    mine = kinds.region == region
    first = np.isin(species, family[0])
    # which level is which, the model says over all of the region
    share = [float(first[mine & (kinds.site == k)].mean()) for k in (0, 1)]
    if abs(share[0] - share[1]) < 0.5:
        return  # the model sees no such order: it is not asked to
    bright = int(np.argmax(share))
    here = mine & (kinds.level >= 0)
    is_first = kinds.level == bright
    agree = here & (is_first == first)
    chance[agree] = np.maximum(chance[agree], kinds.probability[agree])
    # as bright as its kind is: neither light nor heavy, nor weak
    plain = agree & (kinds.site == kinds.level) & (np.abs(kinds.ratio - 1) < ORDINARY)
    odd = np.isin(species, ("light metal", "heavy metal", "weak column"))
    species[plain & odd & first], species[plain & odd & ~first] = family[0][0], family[1][0]
    other = here & (is_first != first) & (kinds.probability >= OVERRULES)
    species[other & is_first], species[other & ~is_first] = family[0][0], family[1][0]
    chance[other] = kinds.probability[other]


def _witness(share: np.ndarray, site: np.ndarray) -> np.ndarray:
    """What the network says of each column beyond what it says of its whole sublattice."""
    odds = np.log(np.clip(share, 0.02, 0.98) / (1 - np.clip(share, 0.02, 0.98)))
    usual = np.zeros(len(share))
    for k in np.unique(site):
        usual[site == k] = np.median(odds[site == k])
    return np.clip(WITNESS * (odds - usual), -MOST_WITNESS, MOST_WITNESS)
