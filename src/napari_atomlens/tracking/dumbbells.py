"""Pairs of columns that belong together, measured in every frame and followed through a movie.

A dumbbell vector is found from the material itself: in a lattice of dumbbells the nearest
neighbour of a column is much nearer than the next one, and the vectors to it form one cluster
per grain. Each column has at most one partner.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import arrays, tables
from napari_atomlens.image import check_pixel_size
from napari_atomlens.params import of_kind
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.tables import check_table
from napari_atomlens.tracking.linking import Detections, link_arrays
from napari_atomlens.tracking.params import DumbbellParams, LinkParams

#: A pair may differ from the vector of its grain by this part of its length.
TOLERANCE = 0.33
#: Grains with less than this part of the pairs are not looked for.
SMALLEST = 0.06
#: Part of the columns that must have a partner, and of pairs that lie like their neighbour.
MOST, SAME_WAY = 0.5, 0.65


@dataclass
class Pairs:
    """Pairs of columns of all frames: row numbers of the two atoms, and the grain."""

    a: np.ndarray
    b: np.ndarray
    grain: np.ndarray
    vectors: np.ndarray


def dumbbell_neighbours(
    frame: np.ndarray, place: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k nearest neighbours of every atom within its frame: from, to, distance.

    Both atoms must be sorted by frame.
    """
    starts = np.r_[0, np.flatnonzero(np.diff(frame)) + 1, len(frame)]
    i, j, d = [], [], []
    for low, high in itertools.pairwise(starts):
        n = min(k + 1, high - low)
        if n < 2:
            continue
        gap, near = scipy.spatial.cKDTree(place[low:high]).query(place[low:high], k=n)
        mine = np.repeat(np.arange(low, high), n - 1)
        i.append(mine)
        j.append(near[:, 1:].ravel() + low)
        d.append(gap[:, 1:].ravel())
    if not i:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    return np.concatenate(i), np.concatenate(j), np.concatenate(d)


def grain_vectors(vector: np.ndarray, length: float) -> np.ndarray:
    """Clusters of dumbbell vectors, one per grain, pointing to the right (or up), shape (g, 2).

    Parameters
    ----------
    vector : ndarray, shape (n, 2)
        From columns to their nearest neighbours (y, x), of both signs.
    length : float
        Typical length.
    """
    both = np.concatenate([vector, -vector])
    some = both[:: max(1, len(both) // 6000)]
    tree = scipy.spatial.cKDTree(some)
    votes = tree.query_ball_point(some, 0.12 * length, return_length=True)
    left = np.ones(len(some), bool)
    found: list[np.ndarray] = []
    while left.any() and len(found) < 12:
        best = int(np.argmax(np.where(left, votes, 0)))
        centre = some[best]
        for _ in range(3):
            near = np.hypot(*(both - centre).T) < 0.2 * length
            centre = np.median(both[near], axis=0)
        share = np.hypot(*(both - centre).T) < TOLERANCE * length
        if found and share.sum() < SMALLEST * 0.5 * len(both):
            break
        found.append(centre)
        for sign in (1, -1):
            left &= np.hypot(*(some - sign * centre).T) > 0.5 * length
    vectors = np.array(found)
    back = (vectors[:, 1] < -1e-9) | ((np.abs(vectors[:, 1]) <= 1e-9) & (vectors[:, 0] > 0))
    vectors[back] *= -1
    return vectors


def pair_up(
    frame: np.ndarray, place: np.ndarray, params: DumbbellParams = DumbbellParams()
) -> Pairs:
    """Pair the columns of all frames; no column is in two pairs of a frame.

    Parameters
    ----------
    frame : ndarray of int, shape (n,)
        Sorted.
    place : ndarray, shape (n, 2)
        (y, x) in pixels.

    Returns
    -------
    Pairs
        `a` to `b` points along the vector of the grain. Empty where the lattice has no
        dumbbells.
    """
    none = np.zeros(0, np.int64)
    nothing = Pairs(none, none, none, np.zeros((0, 2)))
    i, j, d = dumbbell_neighbours(frame, place, 4)
    if len(i) < 8:
        return nothing
    # the first neighbour in the order of the list is the nearest
    first = np.r_[True, i[1:] != i[:-1]]
    second = np.r_[False, first[:-1]] & ~first
    nearest = np.full(len(frame), np.inf)
    nearest[i[first]] = d[first]
    if not params.length_px:
        next_one = np.full(len(frame), np.nan)
        next_one[i[second]] = d[second]
        ratio = next_one / nearest
        length = float(np.median(nearest[np.isfinite(nearest)]))
        # columns that miss their partner, and false ones, have no say
        typical = np.abs(nearest / length - 1) < TOLERANCE
        with np.errstate(invalid="ignore"):
            if not np.nanmedian(ratio[typical]) >= params.separation:
                return nothing
    else:
        length = params.length_px
    fits = (d > (1 - TOLERANCE) * length) & (d < (1 + TOLERANCE) * length)
    vector = place[j] - place[i]
    if not (fits & first).any():
        return nothing
    vectors = grain_vectors(vector[fits & first], length)
    off = vector[:, None] - vectors[None]
    gap = np.sqrt((off**2).sum(-1))
    grain = gap.argmin(1)
    size = np.hypot(*vectors.T)
    gap = gap[np.arange(len(gap)), grain] / size[grain]
    use = gap < TOLERANCE
    a, b, grain, gap = i[use], j[use], grain[use], gap[use]
    busy = np.bincount(np.r_[a, b], minlength=len(frame))
    alone = (busy[a] == 1) & (busy[b] == 1)
    taken = [np.flatnonzero(alone)]
    rest = np.flatnonzero(~alone)
    if len(rest):
        taken.append(rest[_compete(a[rest], b[rest], gap[rest])])
    pick = np.sort(np.concatenate(taken))
    if not params.length_px and not _in_order(frame, place, a[pick], b[pick], grain[pick]):
        return nothing
    return Pairs(a[pick], b[pick], grain[pick], vectors)


def _in_order(
    frame: np.ndarray, place: np.ndarray, a: np.ndarray, b: np.ndarray, grain: np.ndarray
) -> bool:
    """Whether most columns are paired, and neighbouring pairs lie the same way.

    Atoms strewn over the sites of any lattice also make pairs, but in all directions.
    """
    if 2 * len(a) < MOST * len(frame):
        return False
    i, j, _ = dumbbell_neighbours(frame[a], 0.5 * (place[a] + place[b]), 1)
    return len(i) == 0 or float((grain[i] == grain[j]).mean()) > SAME_WAY


def _compete(a: np.ndarray, b: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Pairs that share a column: the matching with most pairs, and of these the best fitting."""
    import networkx as nx

    edges = nx.Graph()
    row: dict[frozenset[int], int] = {}
    for k, (p, q, g) in enumerate(zip(a.tolist(), b.tolist(), gap.tolist(), strict=True)):
        key = frozenset((p, q))
        if key in row and gap[row[key]] <= g:
            continue
        row[key] = k
        edges.add_edge(p, q, weight=1.5 * TOLERANCE - g)
    matched = nx.max_weight_matching(edges)
    return np.array(sorted(row[frozenset(m)] for m in matched), np.int64)


def pair_correlation(
    length: float, sigma: float, ratio: float, background: float
) -> tuple[float, float, float]:
    """Correlation of the position errors of the two columns of a dumbbell.

    From the Fisher information of two overlapping round columns counted with Poisson noise,
    positions, heights, their common width and the background free.

    Parameters
    ----------
    length, sigma : float
        Distance and width in pixels.
    ratio : float
        Height of the weaker over that of the stronger column.
    background : float
        Over the height of the stronger column.

    Returns
    -------
    along, across : float
        Correlation of the errors along the dumbbell, and across it.
    height : float
        Error of the logarithm of the ratio of both heights, over the rms position error of a
        column per axis in widths.
    """
    d = length / sigma
    if not (np.isfinite([d, ratio, background]).all() and 0.5 < d < 20):
        return 0.0, 0.0, np.sqrt(2)
    step = 0.15
    x = np.arange(-4.5, d + 4.5, step)[None, :]
    y = np.arange(-4.5, 4.5 + step, step)[:, None]
    rows, mean = [], np.full((y.size, x.size), max(background, 1e-3))
    width = np.zeros_like(mean)
    for centre, height in ((0.0, 1.0), (d, ratio)):
        g = np.exp(-0.5 * ((x - centre) ** 2 + y**2))
        rows += [height * g * (x - centre), height * g * y, g]
        width += height * g * ((x - centre) ** 2 + y**2)
        mean = mean + height * g
    jacobian = np.array([r.ravel() for r in (*rows, width, np.ones_like(mean))])
    fisher = (jacobian / mean.ravel()) @ jacobian.T
    c = np.linalg.inv(fisher)
    heights = c[2, 2] + c[5, 5] / ratio**2 - 2 * c[2, 5] / ratio
    return (
        float(c[0, 3] / np.sqrt(c[0, 0] * c[3, 3])),
        float(c[1, 4] / np.sqrt(c[1, 1] * c[4, 4])),
        float(np.sqrt(heights / (0.25 * np.trace(c[np.ix_([0, 1, 3, 4], [0, 1, 3, 4])])))),
    )


def union_ellipse(
    centre: np.ndarray, area: np.ndarray, major: np.ndarray, minor: np.ndarray, angle: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ellipse with the second moments of two outlines together.

    Parameters
    ----------
    centre : ndarray, shape (n, 2, 2)
        (y, x) of both outlines.
    area, major, minor, angle : ndarray, shape (n, 2)
        Of both outlines; axes in pixels (full length), angle counter-clockwise from +x.

    Returns
    -------
    major, minor, angle : ndarray, shape (n,)
    """
    weight = area / area.sum(1, keepdims=True)
    middle = (weight[..., None] * centre).sum(1, keepdims=True)
    off = centre - middle
    c, s = np.cos(angle), np.sin(angle)
    long, short = (major / 4) ** 2, (minor / 4) ** 2
    dx, dy = off[..., 1], -off[..., 0]  # y up, as angles are drawn
    xx = (weight * (long * c**2 + short * s**2 + dx**2)).sum(1)
    yy = (weight * (long * s**2 + short * c**2 + dy**2)).sum(1)
    xy = (weight * ((long - short) * c * s + dx * dy)).sum(1)
    mean, half = 0.5 * (xx + yy), np.hypot(0.5 * (xx - yy), xy)
    return (
        4 * np.sqrt(mean + half),
        4 * np.sqrt(np.maximum(mean - half, 0)),
        0.5 * np.arctan2(2 * xy, xx - yy),
    )


def _own_scatter(values: np.ndarray, who: np.ndarray) -> np.ndarray:
    """Error of single readings of each dumbbell, from steps between successive frames.

    The median over all dumbbells, where one has fewer than eight steps.
    """
    step = np.abs(np.diff(values)) * 1.4826 / np.sqrt(2)
    step = step[(who[1:] == who[:-1]) & np.isfinite(step)]
    of = who[1:][(who[1:] == who[:-1]) & np.isfinite(np.diff(values))]
    if not len(step):
        return np.full(len(values), np.nan)
    per = pd.Series(step).groupby(of).agg(["median", "size"])
    good = per["median"].where(per["size"] >= 8).reindex(who).to_numpy(float)
    return np.where(np.isfinite(good), good, float(np.median(step)))


def follow_pairs(
    frame: np.ndarray, centre: np.ndarray, drift: pd.DataFrame | None, max_gap: int, reach: float
) -> tuple[np.ndarray, pd.DataFrame]:
    """Identity of every dumbbell and the drift of the frames; dumbbells sit on fixed sites."""
    order = np.argsort(frame, kind="stable")
    none = np.zeros(len(frame), np.int64)
    found = Detections(frame[order], centre[order], none, order, none.astype(float))
    params = LinkParams(search_px=reach, max_gap=max_gap, motion="auto")
    linked = link_arrays(found, params, drift)
    who = np.empty_like(linked.track)
    who[order] = linked.track
    return who, linked.drift


def measure_dumbbells(
    atoms: pd.DataFrame,
    contours: pd.DataFrame | None = None,
    params: DumbbellParams = DumbbellParams(),
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    drift: pd.DataFrame | None = None,
    progress: ProgressLike = None,
) -> pd.DataFrame:
    """Pair columns into dumbbells, measure each in every frame and follow it through the movie.

    Parameters
    ----------
    atoms : pandas.DataFrame
        ``frame``, ``y_px``, ``x_px``; ``atom_id``, the errors ``y_err_px`` and ``x_err_px`` of the
        joint fit, ``amplitude``, ``sigma_px`` and ``background`` are used where they are there.
    contours : pandas.DataFrame, optional
        Contours table, for the second reading: the ellipse of both outlines together.
    params : DumbbellParams
    pixel_size_nm : float or tuple of float, optional
        (y, x); taken from ``y_nm`` and ``x_nm`` of the atoms where they are there.
    drift : pandas.DataFrame, optional
        First guess of the drift, as in :func:`napari_atomlens.tracking.link`.
    progress : callable, optional
        Called with (stages done, stages in all).

    Returns
    -------
    pandas.DataFrame
        Dumbbells table (see :mod:`napari_atomlens.tables`), sorted by dumbbell and frame: the
        vector goes from column a to column b, always the same way for the same dumbbell, so
        ``angle_rad`` has no jumps. Where the two columns differ, a is the brighter one. Further
        ``length_err_nm``, ``y_err_px``, ``x_err_px`` of the centre, ``intensity_ratio_err``
        (b over a, of the fitted volumes), ``grain``, the centre without drift (``y_corr_px``,
        ``x_corr_px``), and with `contours` ``ellipse_major_px``, ``ellipse_minor_px``,
        ``ellipse_angle_rad`` with ``*_err`` from their scatter between frames. Atoms that went
        through :func:`napari_atomlens.tracking.correct_scan` also give ``length_corr_px`` and
        ``angle_corr_rad``, measured between the corrected places. Empty where the lattice has no
        dumbbells.

    Raises
    ------
    ParameterError
        If columns are missing or a parameter is out of bounds.

    Notes
    -----
    The error of the length adds those of both columns along the dumbbell, that of the angle
    those across it, with the correlation of the two from :func:`pair_correlation`.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np, pandas as pd
    >>> y, x = np.mgrid[10:90:20, 10:90:20].reshape(2, -1)
    >>> pairs = pd.DataFrame({"y_px": np.r_[y, y], "x_px": np.r_[x, x + 6.0]})
    >>> movie = pd.concat([pairs.assign(frame=t) for t in range(3)], ignore_index=True)
    >>> dumbbells = al.measure_dumbbells(al.link(movie))
    >>> dumbbells["length_px"].round(2).unique().tolist()
    [6.0]
    """
    params = of_kind(DumbbellParams, params)
    atoms = check_table(atoms, ("frame", "y_px", "x_px"))
    tell = as_progress(progress)
    extra = (
        "length_err_nm", "y_err_px", "x_err_px", "intensity_ratio_err", "grain",
        "y_corr_px", "x_corr_px",
    )  # fmt: skip
    a_table = atoms.sort_values("frame", kind="stable", ignore_index=True)
    frame = a_table["frame"].to_numpy(np.int64)
    place = a_table[["y_px", "x_px"]].to_numpy(float)
    pairs = pair_up(frame, place, params)
    tell(1, 4)
    if not len(pairs.a):
        return tables.make("dumbbells", {c: np.zeros(0) for c in extra}, 0)

    def column(name: str) -> np.ndarray:
        if name not in a_table:
            return np.full(len(a_table), np.nan)
        return a_table[name].to_numpy(float)

    a, b = pairs.a.copy(), pairs.b.copy()
    volume = column("amplitude") * column("sigma_px") ** 2
    _orient(a, b, pairs.grain, volume, params)
    centre = 0.5 * (place[a] + place[b])
    length_typical = float(np.median(np.hypot(*(place[b] - place[a]).T)))
    who, moved = follow_pairs(frame[a], centre, drift, params.max_gap, 0.7 * length_typical)
    tell(2, 4)
    a, b = _same_way(a, b, who, place)
    vector = place[b] - place[a]
    length = np.hypot(vector[:, 0], vector[:, 1])
    angle = np.arctan2(-vector[:, 0], vector[:, 1])
    # continuous round the first direction of each dumbbell
    reference = np.bincount(who, np.cos(angle))[who] + 1j * np.bincount(who, np.sin(angle))[who]
    angle = np.angle(reference) + np.angle(np.exp(1j * angle) / (reference / np.abs(reference)))
    size = _pixel_size(a_table, pixel_size_nm)
    along, across, length_nm_error, relative = _errors(a_table, a, b, vector, column, size)
    ratio = volume[b] / volume[a]
    at = moved.set_index("frame").loc[frame[a], ["drift_y_px", "drift_x_px"]].to_numpy()
    nm = np.hypot(vector[:, 0] * size[0], vector[:, 1] * size[1])
    rows = np.argsort(atoms["frame"].to_numpy(), kind="stable")
    ids = a_table["atom_id"].to_numpy() if "atom_id" in a_table else rows
    half = [0.5 * np.hypot(column(e)[a], column(e)[b]) for e in ("y_err_px", "x_err_px")]
    tell(3, 4)
    columns = {
        "frame": frame[a], "dumbbell_id": who, "atom_a": ids[a], "atom_b": ids[b],
        "y_px": centre[:, 0], "x_px": centre[:, 1], "length_px": length, "length_nm": nm,
        "angle_rad": angle, "length_err_px": along, "angle_err_rad": across / length,
        "intensity_ratio": ratio, "length_err_nm": length_nm_error, "y_err_px": half[0],
        "x_err_px": half[1], "intensity_ratio_err": ratio * relative, "grain": pairs.grain,
        "y_corr_px": centre[:, 0] - at[:, 0], "x_corr_px": centre[:, 1] - at[:, 1],
    }  # fmt: skip
    table = tables.make("dumbbells", columns, len(a))
    if "y_corr_px" in a_table and "x_corr_px" in a_table:
        table = _add_corrected(table, a_table[["y_corr_px", "x_corr_px"]].to_numpy(float), a, b)
    table = table.sort_values(["dumbbell_id", "frame"], kind="stable", ignore_index=True)
    if contours is not None and len(contours):
        table = _add_ellipse(table, contours, a_table)
    tell(4, 4)
    return table


def _orient(
    a: np.ndarray, b: np.ndarray, grain: np.ndarray, volume: np.ndarray, params: DumbbellParams
) -> None:
    """Turn pairs round, in place, so that a is the brighter column of a polar material."""
    if params.polar == "never":
        return
    for g in np.unique(grain):
        mine = grain == g
        with np.errstate(invalid="ignore", divide="ignore"):
            difference = np.log(volume[b[mine]] / volume[a[mine]])
        difference = difference[np.isfinite(difference)]
        if not len(difference):
            continue
        middle = float(np.median(difference))
        spread = arrays.spread(difference, centre=middle)
        clear = abs(middle) > 0.1 and abs(middle) > 0.5 * spread
        if middle > 0 and (params.polar == "always" or clear):
            k = np.flatnonzero(mine)
            a[k], b[k] = b[k], a[k].copy()


def _same_way(
    a: np.ndarray, b: np.ndarray, who: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn pairs of the same dumbbell the same way (near the border of two grains)."""
    vector = place[b] - place[a]
    z = vector[:, 1] - 1j * vector[:, 0]
    _, at, number = np.unique(who, return_index=True, return_inverse=True)
    back = (z / z[at][number]).real < 0
    return np.where(back, b, a), np.where(back, a, b)


def _pixel_size(
    atoms: pd.DataFrame, pixel_size_nm: float | tuple[float, float] | None
) -> tuple[float, float]:
    """Pixel size (y, x) in nm, NaN where it is unknown."""
    size = check_pixel_size(pixel_size_nm)
    if size is not None:
        return size
    out = []
    for axis in "yx":
        value = float("nan")
        if f"{axis}_nm" in atoms:
            px, nm = (atoms[f"{axis}_{u}"].to_numpy(float) for u in ("px", "nm"))
            known = np.isfinite(nm) & (np.abs(px) > 1)
            if known.any():
                value = float(np.median(nm[known] / px[known]))
        out.append(value)
    return out[0], out[1]


def _errors(
    atoms: pd.DataFrame, a: np.ndarray, b: np.ndarray, vector: np.ndarray,
    column: Callable[[str], np.ndarray], size: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Errors along and across each dumbbell (px), of its length (nm), of its log ratio."""
    ye, xe = column("y_err_px"), column("x_err_px")
    if "fit_ok" in atoms:  # the place of the network has no error to speak of
        bad = ~atoms["fit_ok"].to_numpy(bool)
        ye, xe = (np.where(bad, np.nan, v) for v in (ye, xe))
    unit = vector / np.maximum(np.hypot(*vector.T), 1e-12)[:, None]
    amplitude, sigma = column("amplitude"), column("sigma_px")
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = (f(amplitude[a], amplitude[b]) for f in (np.minimum, np.maximum))
        ratio = np.nanmedian(low / high) if np.isfinite(low / high).any() else float("nan")
        over = column("background")[a] / high
        level = np.nanmedian(over) if np.isfinite(over).any() else float("nan")
    width = np.nanmedian(sigma[a]) if np.isfinite(sigma[a]).any() else float("nan")
    # grey values need not be zero without electrons: no more light than twice the column
    level = float(np.clip(level, 0.02, 2.0))
    distance = float(np.median(np.hypot(*vector.T)))
    rho = pair_correlation(distance, float(width), float(np.clip(ratio, 0.05, 1)), level)

    def total(wy: np.ndarray, wx: np.ndarray, r: float) -> np.ndarray:
        one, two = (np.sqrt((wy * ye[k]) ** 2 + (wx * xe[k]) ** 2) for k in (a, b))
        return np.sqrt(np.maximum(one**2 + two**2 - 2 * r * one * two, 0))

    along = total(unit[:, 0], unit[:, 1], rho[0])
    across = total(unit[:, 1], unit[:, 0], rho[1])
    real = vector * np.asarray(size)
    unit_nm = real / np.maximum(np.hypot(*real.T), 1e-30)[:, None]
    nm = total(unit_nm[:, 0] * size[0], unit_nm[:, 1] * size[1], rho[0])
    square = 0.25 * (ye[a] ** 2 + xe[a] ** 2 + ye[b] ** 2 + xe[b] ** 2)
    return along, across, nm, rho[2] * np.sqrt(square) / np.sqrt(sigma[a] * sigma[b])


def _add_corrected(
    table: pd.DataFrame, place: np.ndarray, a: np.ndarray, b: np.ndarray
) -> pd.DataFrame:
    """Add what is measured between coordinates without drift and distortion of the scan."""
    vector = place[b] - place[a]
    angle = np.arctan2(-vector[:, 0], vector[:, 1])
    raw = table["angle_rad"].to_numpy()
    centre = 0.5 * (place[a] + place[b])
    return table.assign(
        y_corr_px=centre[:, 0], x_corr_px=centre[:, 1], length_corr_px=np.hypot(*vector.T),
        angle_corr_rad=raw + np.angle(np.exp(1j * (angle - raw))),
    )  # fmt: skip


def _add_ellipse(table: pd.DataFrame, contours: pd.DataFrame, atoms: pd.DataFrame) -> pd.DataFrame:
    """Add the second reading: the ellipse of the outlines of both columns."""
    need = ("atom_id", "area_px2", "major_px", "minor_px", "orientation_rad")
    contours = check_table(contours, need, "contours", places=False)
    known = contours.drop_duplicates("atom_id").set_index("atom_id")
    places = atoms.drop_duplicates("atom_id").set_index("atom_id")[["y_px", "x_px"]]
    both = []
    for end in ("atom_a", "atom_b"):
        ids = table[end].to_numpy()
        shape = known.reindex(ids)
        centre = places.reindex(ids).to_numpy(float)
        if "offset_y_px" in shape:
            off = shape[["offset_y_px", "offset_x_px"]].to_numpy(float)
            centre = centre + np.where(np.isfinite(off), off, 0)
        both.append((centre, *(shape[c].to_numpy(float) for c in need[1:])))
    stacked = [np.stack(v, axis=1) for v in zip(*both, strict=True)]
    major, minor, angle = union_ellipse(*stacked)
    # an axis has no direction: the one nearest to that of the dumbbell
    turn = angle - table["angle_rad"].to_numpy()
    angle = angle - np.pi * np.round(turn / np.pi)
    who = table["dumbbell_id"].to_numpy()
    new = {"ellipse_major_px": major, "ellipse_minor_px": minor, "ellipse_angle_rad": angle}
    for name, values in list(new.items()):
        stem, unit = name.rsplit("_", 1)
        new[f"{stem}_err_{unit}"] = _own_scatter(values, who)
    return table.assign(**new)
