"""What people publish of single atoms: how many, how near to one another, in which groups.

Number per area with its error; distances to the nearest atom against places at random, with a
band; pairs, chains and clusters as the connected parts of a graph; and the intensities as a mixture
of a few kinds (one atom, two on top of one another, another element).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from napari_atomlens import points
from napari_atomlens.cards import Card
from napari_atomlens.errors import ParameterError, TableError
from napari_atomlens.familiar import familiar
from napari_atomlens.image import check_pixel_size
from napari_atomlens.params import Params, of_kind, param
from napari_atomlens.tables import check_table

#: Fewer atoms have no distances to compare, and no mixture.
FEWEST = 5
#: Fewer atoms than this for each kind are no mixture.
EACH = 6
#: Two atoms nearer than this, in widths, are seen as one: places at random keep as far apart.
RESOLVED = 2.4


@dataclass(frozen=True)
class PopulationParams(Params):
    """How single atoms are counted and grouped.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.PopulationParams(reach_nm=0.4).most_kinds
    4
    """

    reach_nm: float = param(
        0.0, "atoms nearer than this are of one group; 0 is 4.5 widths of an atom", unit="nm",
        ge=0, le=100,
    )  # fmt: skip
    min_probability: float = param(0.5, "atoms below this probability are left out", ge=0, le=1)
    most_kinds: int = param(4, "most kinds of intensity that are told apart", ge=1, le=8)
    draws: int = param(
        199, "sets of places at random that the distances are compared with", ge=19, le=10_000
    )
    seed: int = param(0, "seed of the places at random", ge=0, le=1 << 30)


@dataclass(repr=False, eq=False)
class Population(Card):
    """Single atoms of an image or movie in numbers.

    Attributes
    ----------
    summary : pandas.DataFrame
        One row per frame: number, area, number per area with its error, mean distance to the
        nearest atom, that of places at random and what share of these have less.
    distances : pandas.DataFrame
        One row per frame and distance: share of the atoms whose nearest atom is nearer, and of
        places at random the mean and the band that holds 95 % of them.
    groups : pandas.DataFrame
        One row per group of two or more: atoms, middle, largest distance in it.
    kinds : pandas.DataFrame
        One row per kind of intensity: mean, spread, share of the atoms.
    atoms : pandas.DataFrame
        The atoms with ``group``, ``group_size``, ``nearest_px``, ``kind``, ``kind_probability``.
    params : PopulationParams
    messages : list of str
        What the user must know.

    Examples
    --------
    >>> import pandas as pd, napari_atomlens as al
    >>> atoms = pd.DataFrame({"y_px": [10.0, 18.0, 60.0], "x_px": 10.0, "sigma_px": 3.0})
    >>> al.describe_population(atoms, (80, 80)).groups["n_atoms"].tolist()
    [2]
    """

    summary: pd.DataFrame
    distances: pd.DataFrame
    groups: pd.DataFrame
    kinds: pd.DataFrame
    atoms: pd.DataFrame
    params: PopulationParams
    messages: list[str] = field(default_factory=list)

    def _title(self) -> str:
        return f"Population of {len(self.atoms):,} atoms"

    def _facts(self) -> dict[str, object]:
        return {"groups": len(self.groups), "kinds of intensity": len(self.kinds)}

    def sentence(self) -> str:
        """Say the numbers in one line."""
        n, area = self.summary["n_atoms"].sum(), self.summary["area_nm2"].sum()
        if not len(self.summary):
            return "There is no atom to count."
        per = "px2"
        if np.isfinite(area):
            per = "nm2"
        else:
            area = self.summary["area_px2"].sum()
        error = float(np.hypot.reduce(self.summary["n_err"]))
        text = f"{n:,} atoms, {n / area:.3g} +- {error / area:.2g} per {per}"
        alone = int((self.atoms["group_size"] == 1).sum())
        pairs = int((self.groups["n_atoms"] == 2).sum())
        text += f"; {alone:,} alone, {pairs:,} pairs, {len(self.groups) - pairs:,} larger groups"
        return text + f"; {len(self.kinds)} kind{'s' * (len(self.kinds) != 1)} of intensity."


def describe_population(
    atoms: pd.DataFrame,
    shape: tuple[int, int],
    params: PopulationParams = PopulationParams(),
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    where: ArrayLike | None = None,
) -> Population:
    """Count single atoms, compare their distances with chance, group them, sort intensities.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table.
    shape : tuple of int
        (H, W) of the image in pixels.
    params : PopulationParams
    pixel_size_nm : float or tuple of float, optional
        (y, x); without it everything is in pixels, and the reach in widths only.
    where : array-like of bool, shape (H, W), optional
        Where atoms are counted, such as the film without the vacuum; everywhere by default.

    Returns
    -------
    Population

    Raises
    ------
    TableError
        If columns are missing.
    ParameterError
        If the mask has another size, or the pixel size is not known where it is needed.

    Examples
    --------
    >>> import numpy as np, pandas as pd, napari_atomlens as al
    >>> places = np.random.default_rng(0).uniform(0, 200, (40, 2))
    >>> atoms = pd.DataFrame({"frame": 0, "y_px": places[:, 0], "x_px": places[:, 1],
    ...                       "sigma_px": 3.0, "volume": 1.0})
    >>> found = al.describe_population(atoms, (200, 200), pixel_size_nm=0.03)
    >>> int(found.summary["n_atoms"].iloc[0]), len(found.kinds)
    (40, 1)
    """
    p = of_kind(PopulationParams, params)
    size = check_pixel_size(pixel_size_nm)
    mask = np.ones(shape, bool) if where is None else np.asarray(where, bool)
    if mask.shape != tuple(shape) or not mask.any():
        raise ParameterError("The mask of where atoms are counted has not the size of the image.")
    table = _counted(atoms, mask, p.min_probability)
    width = float(np.nanmedian(table["sigma_px"])) if "sigma_px" in table and len(table) else np.nan
    reach = _reach(p, size, width) if len(table) else 0.0
    parts = [
        _of_frame(mine.copy(), int(str(f)), mask, size, reach, width, p)
        for f, mine in table.groupby("frame", sort=True)
    ]
    kinds, kind, sure = _kinds(table, p.most_kinds)
    summary, distances, groups, out = _joined(parts, table)
    out = out.sort_index().assign(kind=kind, kind_probability=sure)
    messages = [] if size else ["The pixel size is unknown: lengths are in pixels."]
    return Population(summary, distances, groups, kinds, out, p, messages)


def _joined(
    parts: Sequence[tuple[pd.DataFrame, ...]], table: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Summary, distances, groups and atoms of all frames; empty tables where there is none."""
    if not parts:
        none = [pd.DataFrame(columns=list(names)) for names in _COLUMNS]
        return none[0], none[1], none[2], table.assign(group=0, group_size=1, nearest_px=np.nan)
    three = [pd.concat([part[k] for part in parts], ignore_index=True) for k in range(3)]
    return three[0], three[1], three[2], pd.concat([part[3] for part in parts])


def _counted(atoms: pd.DataFrame, mask: np.ndarray, least: float) -> pd.DataFrame:
    """Atoms that count: likely ones, in familiar surroundings, inside of the mask."""
    table = check_table(atoms).reset_index(drop=True)
    if "probability" in table:
        table = table[table["probability"].fillna(1.0) >= least]
    table = familiar(table) if "unfamiliar" in table else table
    if "frame" not in table:
        table = table.assign(frame=0)
    at = np.rint(table[["y_px", "x_px"]].to_numpy(float)).astype(int)
    at = np.clip(at, 0, np.array(mask.shape) - 1)
    return table[mask[at[:, 0], at[:, 1]]].reset_index(drop=True)


_COLUMNS = (
    ("frame", "n_atoms", "n_err", "area_px2", "area_nm2", "per_nm2", "per_nm2_err", "reach_px",
     "nearest_px", "nearest_random_px", "nearest_chance", "alone", "pairs", "larger"),
    ("frame", "distance_px", "distance_nm", "share", "random", "random_low", "random_high"),
    ("frame", "group", "n_atoms", "y_px", "x_px", "extent_px", "extent_nm"),
)  # fmt: skip


def _reach(p: PopulationParams, size: tuple[float, float] | None, width: float) -> float:
    """How near atoms of one group are, in pixels."""
    if p.reach_nm and size is None:
        raise ParameterError("The reach of a group is in nm, but the pixel size is unknown.")
    if p.reach_nm and size is not None:
        return p.reach_nm / float(np.mean(size))
    if not np.isfinite(width):
        raise TableError(
            "The atoms have no widths: set the distance within which atoms are of one group."
        )
    return 4.5 * width


def _of_frame(
    table: pd.DataFrame,
    frame: int,
    mask: np.ndarray,
    size: tuple[float, float] | None,
    reach: float,
    width: float,
    p: PopulationParams,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Summary, distances, groups and atoms of one frame."""
    places = table[["y_px", "x_px"]].to_numpy(float)
    pixel = float(np.sqrt(np.prod(size))) if size is not None else np.nan
    n = len(places)
    nearest = nearest_distances(places)
    tree = cKDTree(places)
    label = points.connected(tree.query_pairs(reach, output_type="ndarray"), n)
    members = np.bincount(label)
    table = table.assign(group=label, group_size=members[label], nearest_px=nearest)
    rows = []
    for g in np.flatnonzero(members > 1):
        mine = places[label == g]
        extent = float(np.linalg.norm(mine[:, None] - mine[None], axis=-1).max())
        rows.append((frame, g, len(mine), *mine.mean(0), extent, extent * pixel))
    groups = pd.DataFrame(rows, columns=list(_COLUMNS[2]))
    chance = table["probability"].fillna(1.0).to_numpy() if "probability" in table else np.ones(n)
    error = float(np.sqrt(n + (chance * (1 - chance)).sum()))
    area = float(mask.sum())
    area_nm2 = area * pixel**2
    distances, random, less = _against_chance(nearest, mask, width, frame, pixel, p)
    summary = pd.DataFrame([(
        frame, n, error, area, area_nm2, n / area_nm2, error / area_nm2, reach,
        float(np.mean(nearest)) if n > 1 else np.nan, random, less,
        int((members == 1).sum()), int((members == 2).sum()), int((members > 2).sum()),
    )], columns=list(_COLUMNS[0]))  # fmt: skip
    return summary, distances, groups, table


def nearest_distances(places: np.ndarray) -> np.ndarray:
    """Distance of each place to the nearest other one; NaN where there is none."""
    if len(places) < 2:
        return np.full(len(places), np.nan)
    return np.asarray(cKDTree(places).query(places, k=2)[0][:, 1])


def random_places(n: int, mask: np.ndarray, apart: float, rng: np.random.Generator) -> np.ndarray:
    """Places at random where a mask is true, at least `apart` from one another."""
    inside = np.argwhere(mask)
    out = np.zeros((0, 2))
    for _ in range(30):
        more = inside[rng.integers(0, len(inside), n)] + rng.uniform(-0.5, 0.5, (n, 2))
        out = np.concatenate([out, more])
        if apart > 0:
            for a, b in np.sort(cKDTree(out).query_pairs(apart, output_type="ndarray"), 1)[::-1]:
                out[b] = np.where(np.isfinite(out[a]).all(), np.nan, out[b])
            out = out[np.isfinite(out).all(1)]
        if len(out) >= n:
            return out[:n]
    return out


def _against_chance(
    nearest: np.ndarray, mask: np.ndarray, width: float, frame: int, pixel: float,
    p: PopulationParams,
) -> tuple[pd.DataFrame, float, float]:  # fmt: skip
    """Shares of nearer neighbours beside those of places at random; their mean; how many less."""
    n = len(nearest)
    if n < FEWEST:
        return pd.DataFrame(columns=list(_COLUMNS[1])), float("nan"), float("nan")
    rng = np.random.default_rng([p.seed, frame])
    apart = RESOLVED * width if np.isfinite(width) else 0.0
    drawn = [nearest_distances(random_places(n, mask, apart, rng)) for _ in range(p.draws)]
    top = 1.2 * max(float(np.nanmax(nearest)), max(float(np.nanmax(d)) for d in drawn))
    at = np.linspace(0, top, 61)[1:]
    shares = np.array([(d[:, None] < at).mean(0) for d in drawn])
    low, high = np.percentile(shares, [2.5, 97.5], axis=0)
    table = pd.DataFrame({
        "frame": frame, "distance_px": at, "distance_nm": at * pixel,
        "share": (nearest[:, None] < at).mean(0), "random": shares.mean(0), "random_low": low,
        "random_high": high,
    })  # fmt: skip
    means = np.array([d.mean() for d in drawn])
    return table, float(means.mean()), float((means < nearest.mean()).mean())


def _kinds(table: pd.DataFrame, most: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Kinds of intensity; the kind of each atom (0 is the dimmest), and how sure that is."""
    n = len(table)
    name = "volume" if "volume" in table and table["volume"].notna().any() else "amplitude"
    columns = ["kind", "quantity", "mean", "spread", "share", "n_atoms"]
    value = table[name].to_numpy(float) if name in table else np.full(n, np.nan)
    known = np.isfinite(value)
    kind, sure = np.full(n, -1), np.full(n, np.nan)
    if known.sum() < FEWEST:
        return pd.DataFrame(columns=columns), kind, sure
    errors = np.zeros(n)
    if f"{name}_err" in table:
        errors = table[f"{name}_err"].fillna(0.0).to_numpy(float)
    mean, spread, share, belongs = mixture(value[known], errors[known], most)
    kind[known], sure[known] = belongs.argmax(1), belongs.max(1)
    rows = pd.DataFrame({
        "kind": np.arange(len(mean)), "quantity": name, "mean": mean, "spread": spread,
        "share": share, "n_atoms": np.bincount(kind[known], minlength=len(mean)),
    })  # fmt: skip
    return rows, kind, sure


def mixture(
    values: np.ndarray, errors: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mixture of Gaussians of a few values with errors; as many as the BIC asks for.

    Parameters
    ----------
    values, errors : ndarray, shape (n,)
        Values and their standard errors, which add to the spread of each kind.
    most : int
        Kinds at most.

    Returns
    -------
    mean, spread, share : ndarray, shape (k,)
        By rising mean.
    belongs : ndarray, shape (n, k)
        Probability that each value is of each kind.
    """
    n, best = len(values), np.inf
    out = None
    for k in range(1, max(1, min(most, n // EACH)) + 1):
        mean = np.quantile(values, (np.arange(k) + 0.5) / k)
        spread = np.full(k, max(float(values.std()) / k, 1e-9 * (abs(values).max() + 1e-30)))
        share = np.full(k, 1 / k)
        floor = 0.02 * float(values.std()) + 1e-12
        for _ in range(200):
            variance = spread**2 + errors[:, None] ** 2
            log = np.log(share) - 0.5 * np.log(2 * np.pi * variance)
            log = log - 0.5 * (values[:, None] - mean) ** 2 / variance
            top = log.max(1, keepdims=True)
            total = top[:, 0] + np.log(np.exp(log - top).sum(1))
            belongs = np.exp(log - total[:, None])
            weight = belongs * spread**2 / variance
            share = np.clip(belongs.mean(0), 1e-6, None)
            share /= share.sum()
            # what a value was before its error, as far as the kind tells
            before = mean + (values[:, None] - mean) * spread**2 / variance
            rest = spread**2 * errors[:, None] ** 2 / variance
            number = np.maximum(belongs.sum(0), 1e-9)
            mean = (belongs * before).sum(0) / number
            spread = np.sqrt((belongs * ((before - mean) ** 2 + rest)).sum(0) / number)
            spread = np.maximum(spread, floor)
            if weight.sum() <= 0:
                break
        bic = -2 * float(total.sum()) + (3 * k - 1) * np.log(n)
        if bic < best - 2:
            best, out = bic, (mean, spread, share, belongs)
    assert out is not None  # one kind always fits
    order = np.argsort(out[0])
    return out[0][order], out[1][order], out[2][order], out[3][:, order]
