"""What changed, when and by how much: steps, passing changes and trends of single dumbbells.

Every dumbbell is compared with itself. The user sets how many false alarms a dumbbell may
give in the whole movie; the thresholds follow from simulated noise of the same length.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import arrays
from napari_atomlens.errors import ParameterError
from napari_atomlens.params import Params, of_kind, param
from napari_atomlens.points import connected, nearest_distance
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.tables import check_table

#: What can be watched: value, its error, and the one measured between corrected places.
QUANTITIES: dict[str, tuple[str, str, str]] = {
    "length": ("length_px", "length_err_px", "length_corr_px"),
    "angle": ("angle_rad", "angle_err_rad", "angle_corr_rad"),
    "shift y": ("y_corr_px", "y_err_px", "y_corr_px"),
    "shift x": ("x_corr_px", "x_err_px", "x_corr_px"),
    "intensity ratio": ("intensity_ratio", "intensity_ratio_err", "intensity_ratio"),
}
#: How the false alarms are shared among the three looks at a series.
SHARE = {"step": 0.6, "passing": 0.25, "trend": 0.15}
#: Part of the allowed false alarms that is spent on noise; the rest is kept for what is no
#: Gaussian noise, such as columns beside the border or beside an atom that was not noticed.
SPENT = 0.6
#: Frames on either side of a step, at least: one frame off is an outlier, not a step.
SHORTEST = 2
#: Columns of dumbbells that are to be watched.
NEEDED = ("frame", "dumbbell_id", "y_px", "x_px")
_FOUND = ["frame", "last", "dumbbell_id", "quantity", "kind", "size", "size_err", "score"]
#: Fewer dumbbells than this in a frame say nothing of the frame as a whole.
FEWEST = 12
#: Series simulated to find a threshold.
TRIALS = 20_000


#: What is watched, by name.
Watched = Literal["length-angle", "length", "angle", "shift", "intensity-ratio", "everything"]


@dataclass(frozen=True)
class ChangeParams(Params):
    """How changes are found.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.ChangeParams(watch="length").quantities
    ('length',)
    """

    watch: Watched = param("length-angle", "what is watched")
    false_alarms: float = param(
        0.01, "false alarms per dumbbell in the whole movie, all that is watched together",
        ge=1e-6, le=0.5,
    )  # fmt: skip
    remove_common: bool = param(True, "remove what all dumbbells of a frame do together")
    remove_scan: bool = param(
        True, "use places without drift, distortion and row jitter of the scan"
    )

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of the series that are watched, keys of :data:`QUANTITIES`."""
        return {
            "length-angle": ("length", "angle"),
            "intensity-ratio": ("intensity ratio",),
            "shift": ("shift y", "shift x"),
            "everything": tuple(QUANTITIES),
        }.get(self.watch, (self.watch,))


@dataclass
class Series:
    """One quantity of all dumbbells as a matrix.

    Attributes
    ----------
    ids : ndarray of int, shape (n,)
    frames : ndarray of int, shape (t,)
    value, error : ndarray, shape (n, t)
        NaN where a dumbbell was not seen. Errors include what the scatter between frames
        shows beyond the errors of the fit.
    baseline : ndarray, shape (n,)
        Robust mean of each dumbbell.
    """

    ids: np.ndarray
    frames: np.ndarray
    value: np.ndarray
    error: np.ndarray
    baseline: np.ndarray


def as_matrix(table: pd.DataFrame, column: str, ids: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Column of a table as a matrix (dumbbells, frames), NaN where there is none."""
    out = np.full((len(ids), len(frames)), np.nan)
    row = np.searchsorted(ids, table["dumbbell_id"].to_numpy())
    col = np.searchsorted(frames, table["frame"].to_numpy())
    out[row, col] = table[column].to_numpy(float)
    return out


def _nanmedian(values: np.ndarray, axis: int) -> np.ndarray:
    """Median without the NaN, NaN where there is nothing else, and no warning."""
    ordered = np.sort(values, axis=axis)
    n = np.isfinite(values).sum(axis=axis)
    low, high = (np.expand_dims(np.maximum(k, 0), axis) for k in ((n - 1) // 2, n // 2))
    middle = 0.5 * (
        np.take_along_axis(ordered, low, axis) + np.take_along_axis(ordered, high, axis)
    )
    return np.where(n > 0, np.squeeze(middle, axis), np.nan)


def excess(value: np.ndarray, error: np.ndarray) -> float:
    """How much larger the scatter between successive frames is than the errors say, at least 1."""
    step = np.diff(value, axis=1) / np.hypot(error[:, 1:], error[:, :-1])
    step = step[np.isfinite(step)]
    return max(1.0, arrays.spread(step, centre=0.0)) if len(step) > 20 else 1.0


def series(dumbbells: pd.DataFrame, quantity: str, params: ChangeParams = ChangeParams()) -> Series:
    """One quantity of all dumbbells through the movie, with honest errors.

    Parameters
    ----------
    dumbbells : pandas.DataFrame
        Dumbbells table.
    quantity : str
        A key of :data:`QUANTITIES`.
    params : ChangeParams

    Raises
    ------
    ParameterError
        If the quantity is not known, or its column is missing.
    """
    if quantity not in QUANTITIES:
        raise ParameterError(
            f"{quantity!r} cannot be watched; choose from {', '.join(QUANTITIES)}."
        )
    column, error_column, corrected = QUANTITIES[quantity]
    dumbbells = check_table(dumbbells, ("frame", "dumbbell_id", column), "dumbbells", places=False)
    if params.remove_scan and corrected in dumbbells:
        column = corrected
    ids, frames = np.unique(dumbbells["dumbbell_id"]), np.unique(dumbbells["frame"])
    value = as_matrix(dumbbells, column, ids, frames)
    error = np.full(value.shape, np.nan)
    if error_column in dumbbells:
        error = as_matrix(dumbbells, error_column, ids, frames)
    seen = np.isfinite(value)
    # the fit gave no error: the scatter of all dumbbells does
    step = np.abs(np.diff(value, axis=1))
    step = step[np.isfinite(step)]
    scatter = 1.4826 * float(np.median(step)) / np.sqrt(2) if len(step) else float("nan")
    error = np.where(seen & ~(error > 0), scatter, error)
    error[~seen] = np.nan
    baseline = _nanmedian(value, 1)
    if params.remove_common and len(ids) >= FEWEST:
        for _ in range(2):
            off = value - baseline[:, None]
            enough = seen.sum(0) >= FEWEST
            value = value - np.where(enough, _nanmedian(off, 0), 0.0)
            baseline = _nanmedian(value, 1)
    return Series(ids, frames, value, error * excess(value, error), baseline)


def deviations(
    dumbbells: pd.DataFrame, quantity: str, params: ChangeParams = ChangeParams()
) -> pd.DataFrame:
    """How far each dumbbell is from its own baseline in each frame.

    Returns
    -------
    pandas.DataFrame
        ``frame``, ``dumbbell_id``, ``deviation`` (in the unit of the quantity), ``error`` and
        ``score``, the deviation over its error, in the order of the rows of `dumbbells`.
    """
    s = series(dumbbells, quantity, params)
    row = np.searchsorted(s.ids, dumbbells["dumbbell_id"].to_numpy())
    col = np.searchsorted(s.frames, dumbbells["frame"].to_numpy())
    off = (s.value - s.baseline[:, None])[row, col]
    error = s.error[row, col]
    return pd.DataFrame(
        {"frame": dumbbells["frame"].to_numpy(), "dumbbell_id": dumbbells["dumbbell_id"].to_numpy(),
         "deviation": off, "error": error, "score": off / error}
    )  # fmt: skip


# ----------------------------------------------------------------------- one series


def _cumulate(value: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Running sums of weights and weighted values along the last axis, with a zero first."""
    zero = np.zeros((*value.shape[:-1], 1))
    return (
        np.concatenate([zero, np.cumsum(weight, -1)], -1),
        np.concatenate([zero, np.cumsum(weight * value, -1)], -1),
    )


def step_scan(value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """How clearly the mean changes before each frame, in standard deviations.

    The generalised likelihood ratio of one step in Gaussian noise of known size.

    Parameters
    ----------
    value, weight : ndarray, shape (n, t)
        Weights are one over the variance, zero where there is no value.

    Returns
    -------
    ndarray, shape (n, t + 1)
        Entry k compares the frames before k with those from k on; 0 near the ends.
    """
    w, v = _cumulate(value, weight)
    count = _cumulate(value, (weight > 0).astype(float))[0]
    left, right = w, w[:, -1:] - w
    sides = (count >= SHORTEST) & (count[:, -1:] - count >= SHORTEST)
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = (v[:, -1:] - v) / right - v / left
        z = np.abs(difference) / np.sqrt(1 / left + 1 / right)
    return np.where(sides, z, 0.0)


def _widths(n: int) -> list[int]:
    """Lengths of passing changes that are looked for: all small ones, then by a quarter more."""
    out, k = [], SHORTEST
    while k <= n // 2:
        out.append(k)
        k = max(k + 1, round(1.25 * k))
    return out


def passing_scan(
    value: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clearest stretch of frames that differs from all the others.

    Returns
    -------
    score : ndarray, shape (n,)
        In standard deviations.
    start, stop : ndarray of int, shape (n,)
        First frame of the stretch, and the first after it.
    """
    w, v = _cumulate(value, weight)
    n, t = value.shape
    best, start, stop = np.zeros(n), np.zeros(n, int), np.zeros(n, int)
    total_w, total_v = w[:, -1:], v[:, -1:]
    for k in _widths(t):
        # a stretch at either end is a step
        inner_w = (w[:, k:] - w[:, :-k])[:, 1:-1]
        inner_v = (v[:, k:] - v[:, :-k])[:, 1:-1]
        if not inner_w.shape[1]:
            continue
        rest_w = total_w - inner_w
        with np.errstate(invalid="ignore", divide="ignore"):
            z = np.abs(inner_v / inner_w - (total_v - inner_v) / rest_w) / np.sqrt(
                1 / inner_w + 1 / rest_w
            )
        z = np.where((inner_w > 0) & (rest_w > 0), z, 0.0)
        at = z.argmax(1)
        top = z[np.arange(n), at]
        better = top > best
        best[better] = top[better]
        start[better], stop[better] = at[better] + 1, at[better] + 1 + k
    return best, start, stop


def slopes(
    value: np.ndarray, weight: np.ndarray, time: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Slope of each series by weighted least squares, and its standard error; shape (n,)."""
    total = np.maximum(weight.sum(1), 1e-300)
    centre = (weight * time).sum(1) / total
    off = time[None] - centre[:, None]
    spread = (weight * off**2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weight * off * value).sum(1) / spread, 1 / np.sqrt(spread)


@lru_cache(maxsize=64)
def thresholds(n_frames: int, n_quantities: int, false_alarms: float) -> dict[str, float]:
    """Scores that noise alone passes as seldom as the user wants.

    From simulated Gaussian noise; beyond what was simulated the tail is continued as
    log p = a - b z^2, which it is for maxima of Gaussian processes (Siegmund, Sequential
    Analysis, 1985, chapter 11).
    """
    rng = np.random.default_rng(20_261_121)
    found: dict[str, list[np.ndarray]] = {"step": [], "passing": []}
    per_block = max(1, min(TRIALS, 4_000_000 // max(n_frames, 1)))
    trials = TRIALS if n_frames <= 400 else max(2000, TRIALS * 400 // n_frames)
    for _ in range(0, trials, per_block):
        noise = rng.standard_normal((min(per_block, trials), n_frames))
        one = np.ones_like(noise)
        found["step"].append(step_scan(noise, one).max(1))
        found["passing"].append(passing_scan(noise, one)[0])
    out = {}
    for name, values in found.items():
        z = np.sort(np.concatenate(values))
        p = SPENT * false_alarms * SHARE[name] / n_quantities
        tail = z[int(0.8 * len(z)) :]
        survivors = 1 - (np.arange(int(0.8 * len(z)), len(z)) + 0.5) / len(z)
        if p * len(z) >= 20:
            out[name] = float(np.quantile(z, 1 - p))
        elif len(tail) > 10 and tail[-1] > tail[0]:
            b, a = np.polyfit(tail[:-5] ** 2, np.log(survivors[:-5]), 1)
            out[name] = float(np.sqrt(max((np.log(p) - a) / b, 0.0)))
        else:
            out[name] = float("inf")
    from scipy.stats import norm

    out["trend"] = float(norm.isf(SPENT * false_alarms * SHARE["trend"] / n_quantities / 2))
    return out


def _calm(value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weights without the single frames that stand out from both of their neighbours.

    One frame that jumps out and back is a bad reading; it must not make a step.
    """
    seen = weight > 0
    # the frames that were seen, side by side, so that neighbours are those before and after
    order = np.argsort(~seen, axis=1, kind="stable")
    packed = np.take_along_axis(np.where(seen, value, np.nan), order, 1)
    padded = np.pad(packed, ((0, 0), (2, 2)), constant_values=np.nan)
    t = value.shape[1]
    stack = np.stack([padded[:, k : k + t] for k in (0, 1, 3, 4)], -1)
    # beside a step two of the four neighbours are alike; a bad reading is like none of them
    gap = np.abs(stack - packed[..., None])
    nearest = np.where(np.isfinite(gap), gap, np.inf).min(-1)
    nearest = np.where(np.isfinite(nearest), nearest, 0.0)
    bad = nearest * np.sqrt(np.take_along_axis(weight, order, 1)) > 5.0
    out = weight.copy()
    rows, columns = np.nonzero(bad)
    out[rows, order[rows, columns]] = 0
    return out


def find_changes(
    dumbbells: pd.DataFrame,
    params: ChangeParams = ChangeParams(),
    *,
    progress: ProgressLike = None,
) -> pd.DataFrame:
    """Find steps, passing changes and trends of all dumbbells.

    Parameters
    ----------
    dumbbells : pandas.DataFrame
        Dumbbells table.
    params : ChangeParams
    progress : callable, optional
        Called with (quantities done, quantities in all).

    Returns
    -------
    pandas.DataFrame
        One row per change, sorted by frame: ``frame`` (the first that is different), ``last``
        (the last one), ``dumbbell_id``, ``quantity``, ``kind`` ("step", "passing" or "trend"),
        ``size`` and ``size_err`` (in pixels, radians or as a ratio; of a trend from ``frame`` to
        ``last``), ``score`` (standard deviations), ``y_px``, ``x_px`` (where it is then),
        ``group`` (changes that happen near each other in space and time) and ``group_size``.

    Notes
    -----
    Steps are found one by one, each time in the parts left and right of the last one (binary
    segmentation) as long as their likelihood ratio passes the threshold. A series that a
    straight line explains better than its steps is a trend.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np, pandas as pd
    >>> y, x = np.mgrid[10:90:20, 10:90:20].reshape(2, -1)
    >>> pairs = pd.DataFrame({"y_px": np.r_[y, y], "x_px": np.r_[x, x + 6.0]})
    >>> movie = pd.concat([pairs.assign(frame=t) for t in range(20)], ignore_index=True)
    >>> movie[["y_px", "x_px"]] += np.random.default_rng(0).normal(0, 0.05, (len(movie), 2))
    >>> movie.loc[(movie["frame"] >= 10) & (movie.index % len(pairs) == 0), "x_px"] -= 1.0
    >>> changes = al.find_changes(al.measure_dumbbells(al.link(movie)))
    >>> changes["frame"].tolist()
    [10]
    """
    params = of_kind(ChangeParams, params)
    dumbbells = check_table(dumbbells, NEEDED, "dumbbells", places=False)
    rows: list[tuple[object, ...]] = []
    names, watch = params.quantities, as_progress(progress)
    if len(dumbbells) and dumbbells["frame"].nunique() >= 2 * SHORTEST:
        for k, name in enumerate(names):
            rows += _changes_of(series(dumbbells, name, params), name, params, len(names))
            watch(k + 1, len(names))
    events = pd.DataFrame(rows, columns=_FOUND)
    where = dumbbells.drop_duplicates(["dumbbell_id", "frame"]).set_index(["dumbbell_id", "frame"])
    at = where.reindex(pd.MultiIndex.from_frame(events[["dumbbell_id", "frame"]]))
    events["y_px"], events["x_px"] = at["y_px"].to_numpy(float), at["x_px"].to_numpy(float)
    events = events.sort_values(
        ["frame", "dumbbell_id", "quantity"], kind="stable", ignore_index=True
    )
    return _group(events, dumbbells)


def _changes_of(
    s: Series, name: str, params: ChangeParams, n_quantities: int
) -> list[tuple[object, ...]]:
    value = np.nan_to_num(s.value - s.baseline[:, None])
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.where(np.isfinite(s.value) & (s.error > 0), 1 / s.error**2, 0.0)
    weight = _calm(value, weight)
    limit = thresholds(len(s.frames), n_quantities, params.false_alarms)
    time = (s.frames - s.frames[0]).astype(float)
    scan = step_scan(value, weight)
    passing, start, stop = passing_scan(value, weight)
    slope, slope_error = slopes(value, weight, time)
    with np.errstate(invalid="ignore"):
        trend = np.nan_to_num(np.abs(slope / slope_error))
    out: list[tuple[object, ...]] = []
    hot = (scan.max(1) > limit["step"]) | (passing > limit["passing"]) | (trend > limit["trend"])
    for i in np.flatnonzero(hot & ((weight > 0).sum(1) >= 2 * SHORTEST)):
        v, w = value[i], weight[i]
        cuts = _segments(v, w, limit["step"])
        if passing[i] > limit["passing"] and not cuts:
            cuts = _segments_within(v, w, [int(start[i]), int(stop[i])])
        level = _misfit(v, w, cuts)
        line = float((w * v**2).sum()) - (w.sum() > 0) * (w @ v) ** 2 / w.sum() - trend[i] ** 2
        seen = np.flatnonzero(w > 0)
        # one more number per cut than a line: each must pay for itself (BIC)
        price = np.log(max(len(seen), 2))
        if trend[i] > limit["trend"] and (
            not cuts or line + price < level + (2 * len(cuts) - 1) * price
        ):
            a, b = seen[0], seen[-1]
            span = time[b] - time[a]
            out.append(
                (s.frames[a], s.frames[b], s.ids[i], name, "trend", slope[i] * span,
                 slope_error[i] * span, trend[i])
            )  # fmt: skip
            continue
        out += _describe(s, int(i), v, w, cuts, name)
    return out


def _segments(v: np.ndarray, w: np.ndarray, limit: float) -> list[int]:
    """Frames at which steps begin: binary segmentation."""
    cuts: list[int] = []
    parts = [(0, len(v))]
    while parts:
        a, b = parts.pop()
        z = step_scan(v[None, a:b], w[None, a:b])[0]
        k = int(z.argmax())
        if z[k] > limit:
            cuts.append(a + k)
            parts += [(a, a + k), (a + k, b)]
    # each cut again between its neighbours: it may find a better place, or be needless by now
    cuts.sort()
    n = 0
    while n < len(cuts):
        a = cuts[n - 1] if n else 0
        b = cuts[n + 1] if n + 1 < len(cuts) else len(v)
        z = step_scan(v[None, a:b], w[None, a:b])[0]
        k = int(z.argmax())
        if z[k] <= limit:
            del cuts[n]
            n = 0
            continue
        cuts[n] = a + k
        n += 1
    return cuts


def _segments_within(v: np.ndarray, w: np.ndarray, cuts: list[int]) -> list[int]:
    return [c for c in cuts if 0 < c < len(v)]


def _misfit(v: np.ndarray, w: np.ndarray, cuts: list[int]) -> float:
    total = 0.0
    for a, b in zip([0, *cuts], [*cuts, len(v)], strict=True):
        weight = w[a:b].sum()
        if weight > 0:
            total += float((w[a:b] * v[a:b] ** 2).sum() - (w[a:b] @ v[a:b]) ** 2 / weight)
    return total


def _describe(
    s: Series, i: int, v: np.ndarray, w: np.ndarray, cuts: list[int], name: str
) -> list[tuple[object, ...]]:
    """One row per step; two steps that undo each other are one passing change."""
    edges = [0, *cuts, len(v)]
    mean, error = [], []
    for a, b in itertools.pairwise(edges):
        weight = max(float(w[a:b].sum()), 1e-300)
        mean.append(float(w[a:b] @ v[a:b]) / weight)
        error.append(weight**-0.5)
    out: list[tuple[object, ...]] = []
    k = 1
    while k < len(mean):
        seen = np.flatnonzero(w[edges[k] : edges[k + 1]] > 0) + edges[k]
        if not len(seen):
            k += 1
            continue
        size, err = mean[k] - mean[k - 1], float(np.hypot(error[k], error[k - 1]))
        first, last, kind = s.frames[seen[0]], s.frames[seen[-1]], "step"
        if k + 1 < len(mean):
            left = mean[k + 1] - mean[k - 1]
            if abs(left) < 3 * np.hypot(error[k + 1], error[k - 1]) and abs(left) < 0.5 * abs(size):
                around = np.array([1 / error[k - 1] ** 2, 1 / error[k + 1] ** 2])
                base = float(around @ [mean[k - 1], mean[k + 1]]) / around.sum()
                size, kind = mean[k] - base, "passing"
                err = float(np.hypot(error[k], around.sum() ** -0.5))
                k += 1
        if kind == "step":
            last = s.frames[-1] if k == len(mean) - 1 else last
        out.append((first, last, s.ids[i], name, kind, size, err, abs(size) / err))
        k += 1
    return out


def _group(events: pd.DataFrame, dumbbells: pd.DataFrame) -> pd.DataFrame:
    """Number changes that happen within two spacings and two frames of each other alike."""
    if not len(events):
        return events.assign(group=np.zeros(0, np.int64), group_size=np.zeros(0, np.int64))
    first = dumbbells[dumbbells["frame"] == dumbbells["frame"].iloc[0]]
    place = first[["y_px", "x_px"]].to_numpy(float)
    gap = nearest_distance(place)
    reach = 2.2 * gap if np.isfinite(gap) else 1.0
    point = np.c_[
        np.nan_to_num(events[["y_px", "x_px"]].to_numpy(float)) / reach,
        events["frame"].to_numpy(float) / 2.2,
    ]
    pairs = scipy.spatial.cKDTree(point).query_pairs(1.0, output_type="ndarray")
    n = len(events)
    label = connected(pairs, n)
    who = events["dumbbell_id"].to_numpy()
    sizes = pd.Series(who).groupby(label).nunique().to_numpy()
    return events.assign(group=label.astype(np.int64), group_size=sizes[label])


def neighbour_correlation(
    dumbbells: pd.DataFrame, quantity: str, params: ChangeParams = ChangeParams()
) -> pd.DataFrame:
    """Whether neighbours change together, frame by frame: a passing defect moves several.

    Returns
    -------
    pandas.DataFrame
        ``frame``, ``moran`` (Moran's I of the scores over pairs of neighbouring dumbbells: 0 for
        noise, 1 where neighbours do the same), ``error`` (standard deviation for noise) and
        ``n_pairs``.

    Notes
    -----
    P. A. P. Moran, Biometrika 37, 17 (1950); for independent values with weights of one the
    standard deviation is close to 1 / sqrt(number of pairs).
    """
    dumbbells = check_table(dumbbells, NEEDED, "dumbbells", places=False)
    score = deviations(dumbbells, quantity, params)["score"].to_numpy()
    frame = dumbbells["frame"].to_numpy()
    place = dumbbells[["y_px", "x_px"]].to_numpy(float)
    rows = []
    for f in np.unique(frame):
        here = np.flatnonzero((frame == f) & np.isfinite(score))
        moran, error, n = float("nan"), float("nan"), 0
        if len(here) >= 4:
            tree = scipy.spatial.cKDTree(place[here])
            gap = nearest_distance(place[here])
            pairs = tree.query_pairs(1.4 * gap, output_type="ndarray")
            z = np.clip(score[here] - np.median(score[here]), -10, 10)
            variance = float(np.mean(z**2))
            n = len(pairs)
            if n and variance > 0:
                moran = float(np.mean(z[pairs[:, 0]] * z[pairs[:, 1]]) / variance)
                error = n**-0.5
        rows.append((f, moran, error, n))
    return pd.DataFrame(rows, columns=["frame", "moran", "error", "n_pairs"])
