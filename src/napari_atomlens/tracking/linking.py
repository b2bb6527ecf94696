"""Identities in time: who is who from frame to frame.

Candidates come from a k-d tree; where they compete, the assignment with the smallest sum of
squared distances is taken (Crocker and Grier, J. Colloid Interface Sci. 179, 298, 1996),
found with the Hungarian method. Drift is removed inside of the loop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import arrays, points, tables
from napari_atomlens.errors import TableError
from napari_atomlens.params import of_kind
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.tables import check_table, need_columns
from napari_atomlens.tracking.landmarks import Vectors, doubt_sentence, mark_frames
from napari_atomlens.tracking.params import LinkParams
from napari_atomlens.tracking.shift import common_shift

#: Search radius over the distance between nearest atoms, where the user gives none.
REACH = 0.45
#: Frames from which the motion model is learned.
LEARN = 20
#: Fewer atoms per frame than this may be moved one by one, further than they move by themselves.
FEW = 50
#: A frame missed counts as this part of the squared search radius: the fresher track wins.
MISSED = 0.02
_NONE = np.zeros(0)


@dataclass
class Linking:
    """What linking gave: a track for every detection, and the drift of every frame.

    `doubt` is the first frame whose shift may be another, and by which vectors (px).
    """

    track: np.ndarray
    drift: pd.DataFrame
    search_px: float
    gain: float
    doubt: tuple[int, np.ndarray] | None = None


@dataclass
class Detections:
    """Detections sorted by frame; `order` leads from the table to here, `mark` to landmarks."""

    frame: np.ndarray
    place: np.ndarray
    species: np.ndarray
    order: np.ndarray
    mark: np.ndarray


def prepare_links(atoms: pd.DataFrame, species: bool = False) -> Detections:
    """Sort the detections of a table by frame.

    Raises
    ------
    ParameterError
        If columns are missing or positions are not numbers.
    """
    atoms = check_table(atoms, ("frame", "y_px", "x_px"))
    place = atoms[["y_px", "x_px"]].to_numpy(float)
    frame = atoms["frame"].to_numpy(np.int64)
    order = np.argsort(frame, kind="stable")
    codes = np.zeros(len(atoms), np.int64)
    if species:
        need_columns(atoms, ("species",), "atoms")
        codes = pd.factorize(atoms["species"].astype(str))[0].astype(np.int64)
    frame, bright = frame[order], np.full(len(atoms), np.nan)
    if "amplitude" in atoms:
        bright = pd.to_numeric(atoms["amplitude"], errors="coerce").to_numpy(float)[order]
    return Detections(frame, np.ascontiguousarray(place[order]), codes[order], order,
                      mark_frames(frame, bright))  # fmt: skip


def assign_pairs(i: np.ndarray, j: np.ndarray, cost: np.ndarray, leave: float) -> np.ndarray:
    """Choose among candidate pairs so that the total cost is smallest.

    Parameters
    ----------
    i, j : ndarray of int, shape (n,)
        Candidate pairs (left, right).
    cost : ndarray, shape (n,)
        Of each pair.
    leave : float
        Cost of leaving a left and a right one alone, together.

    Returns
    -------
    ndarray of int
        Which of the pairs are taken; no left and no right one is in two of them.
    """
    if not len(i):
        return np.zeros(0, np.int64)
    left, a = np.unique(i, return_inverse=True)
    right, b = np.unique(j, return_inverse=True)
    gain = cost - leave  # pairs that cost more than they save are never taken
    graph = scipy.sparse.coo_array(
        (np.ones(len(a)), (a, len(left) + b)), shape=(len(left) + len(right),) * 2
    )
    parts, label = scipy.sparse.csgraph.connected_components(graph, directed=False)
    if len(left) * len(right) <= 2500 or parts == 1:
        groups = [np.arange(len(i))]
    else:
        of_pair = label[a]
        by = np.argsort(of_pair, kind="stable")
        groups = np.split(by, np.flatnonzero(np.diff(of_pair[by])) + 1)
    taken = []
    for g in groups:
        rows, ra = np.unique(a[g], return_inverse=True)
        cols, cb = np.unique(b[g], return_inverse=True)
        matrix = np.zeros((len(rows), len(cols)))
        which = np.full(matrix.shape, -1)
        matrix[ra, cb] = np.minimum(gain[g], 0)
        which[ra, cb] = np.where(gain[g] < 0, g, -1)
        picked = which[scipy.optimize.linear_sum_assignment(matrix)]
        taken.append(picked[picked >= 0])
    return np.concatenate(taken)


def link_candidates(
    expected: np.ndarray, tree: scipy.spatial.cKDTree, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs (track, detection) within reach, and their squared distances."""
    gap, near = tree.query(expected, k=2, distance_upper_bound=reach)
    one = np.flatnonzero(np.isfinite(gap[:, 0]) & ~np.isfinite(gap[:, 1]))
    many = np.flatnonzero(np.isfinite(gap[:, 1]))
    if not len(many):
        return one, near[one, 0], gap[one, 0] ** 2
    lists = tree.query_ball_point(expected[many], reach)
    i = np.repeat(many, [len(v) for v in lists])
    j = np.fromiter((k for v in lists for k in v), np.int64)
    d2 = ((tree.data[j] - expected[i]) ** 2).sum(1)
    return np.r_[one, i], np.r_[near[one, 0], j], np.r_[gap[one, 0] ** 2, d2]


def match_frames(
    expected: np.ndarray, age: np.ndarray, tree: scipy.spatial.cKDTree, reach: float,
    kind: np.ndarray | None = None, kind_there: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Best one-to-one assignment of tracks to detections within reach."""
    i, j, d2 = link_candidates(expected, tree, reach)
    if kind is not None and kind_there is not None:
        same = kind[i] == kind_there[j]
        i, j, d2 = i[same], j[same], d2[same]
    alone = (np.bincount(i, minlength=len(expected))[i] == 1) & (
        np.bincount(j, minlength=tree.n)[j] == 1
    )
    rest = np.flatnonzero(~alone)
    cost = d2[rest] + MISSED * reach**2 * np.minimum(age[i[rest]] - 1, 10)
    picked = rest[assign_pairs(i[rest], j[rest], cost, reach**2)]
    return np.r_[i[alone], i[picked]], np.r_[j[alone], j[picked]]


class _Tracks:
    """The tracks that are alive."""

    def __init__(self) -> None:
        self.id = np.zeros(0, np.int64)
        self.place = np.zeros((0, 2))
        self.speed = np.zeros((0, 2))
        self.step = np.full((0, 2), np.nan)
        self.last = np.zeros(0, np.int64)
        self.n = np.zeros(0, np.int64)
        self.kind = np.zeros(0, np.int64)
        self.mark = np.zeros(0)
        self.born = 0

    def keep(self, which: np.ndarray) -> None:
        for name in ("id", "place", "speed", "step", "last", "n", "kind", "mark"):
            setattr(self, name, getattr(self, name)[which])

    def add(self, place: np.ndarray, frame: int, kind: np.ndarray, mark: np.ndarray) -> np.ndarray:
        n = len(place)
        new = np.arange(self.born, self.born + n)
        self.born += n
        self.id = np.r_[self.id, new]
        self.place = np.concatenate([self.place, place])
        self.speed = np.concatenate([self.speed, np.zeros((n, 2))])
        self.step = np.concatenate([self.step, np.full((n, 2), np.nan)])
        self.last = np.r_[self.last, np.full(n, frame)]
        self.n = np.r_[self.n, np.ones(n, np.int64)]
        self.kind = np.r_[self.kind, kind]
        self.mark = np.r_[self.mark, mark]
        return new


def _gain(before: np.ndarray, after: np.ndarray) -> float:
    """How far a track follows a detection: the Kalman gain of a random walk seen with noise.

    Steps that follow each other are correlated by minus the variance of the noise (Berglund,
    Phys. Rev. E 82, 011917, 2010); the rest of their variance is the walk.
    """
    if len(before) < 30:
        return 1.0
    spread = arrays.spread(np.r_[before, after], centre=0.0)
    if spread <= 0:
        return 1.0
    a, b = (np.clip(v, -4 * spread, 4 * spread) for v in (before, after))
    noise = max(-float(np.mean(a * b)), 0.0)
    walk = max(0.5 * float(np.mean(a**2 + b**2)) - 2 * noise, 0.0)
    if noise == 0:
        return 1.0
    prior = 0.5 * (walk + np.sqrt(walk**2 + 4 * walk * noise))
    return float(np.clip(prior / (prior + noise), 0.05, 1.0))


def link_arrays(
    found: Detections,
    params: LinkParams,
    guess: pd.DataFrame | None = None,
    progress: ProgressLike = None,
) -> Linking:
    """Follow detections that are sorted by frame; the loop behind :func:`link`."""
    frames, start = np.unique(found.frame, return_index=True)
    stop = np.r_[start[1:], len(found.frame)]
    watch = as_progress(progress)
    spacing = points.spacing(found.place, found.frame)
    reach = params.search_px or REACH * spacing
    known = None
    if guess is not None:
        guess = check_table(guess, ("frame", "drift_y_px", "drift_x_px"), "drift")
        if guess["frame"].duplicated().any():
            raise TableError("The drift table has a frame twice.")
        known = guess.set_index("frame").reindex(frames)[["drift_y_px", "drift_x_px"]].to_numpy()
    track = np.full(len(found.frame), -1, np.int64)
    drift = np.zeros((len(frames), 3))
    follow = params.drift == "auto"
    gain = {"last": 1.0, "site": 0.0, "velocity": 1.0}.get(params.motion)
    alive = _Tracks()
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    at, step = np.zeros(2), np.zeros(2)
    lattice = Vectors(spacing)
    if not np.isfinite(reach) or reach <= 0:  # at most one atom per frame: anything goes
        reach = np.inf
    for k, f in enumerate(frames):
        part = slice(start[k], stop[k])
        place = found.place[part]
        tree = scipy.spatial.cKDTree(place)
        since = int(f - frames[k - 1]) if k else 1
        error = 0.0
        if k and follow:
            first = at + step * since if known is None else at + known[k] - known[k - 1]
            if not np.isfinite(first).all():
                first = at
            fresh = alive.last == frames[k - 1]
            new, error = common_shift(alive.place[fresh], tree, first, spacing)
            if known is None:
                base, had = new, (alive.place[fresh], alive.mark[fresh])
                new = lattice.settle(int(f), *had, tree, found.mark[part], at, first, base)
                if np.hypot(*(new - base)) > 0.4 * spacing:
                    new, error = common_shift(alive.place[fresh], tree, new, spacing)
            step, at = (new - at) / since, new
        drift[k] = *at, error
        if params.max_gap >= 0:
            alive.keep(f - alive.last <= params.max_gap + 1)
        age = f - alive.last
        expected = alive.place + at
        if params.motion == "velocity":
            expected = expected + alive.speed * age[:, None]
        kinds = (alive.kind, found.species[part]) if params.species == "stays" else (None, None)
        if np.isfinite(reach):
            i, j = match_frames(expected, age, tree, reach, *kinds)
        else:
            i, j = match_frames(expected, age, tree, 1e9, *kinds)
        mine = np.full(len(place), -1, np.int64)
        mine[j] = alive.id[i]
        off = place[j] - expected[i]
        moved = place[j] - at - alive.place[i]
        if gain is None:
            if k <= LEARN:
                again = np.isfinite(alive.step[i, 0]) & (age[i] == 1)
                steps.append((alive.step[i][again].ravel(), moved[again].ravel()))
            if k == min(LEARN, len(frames) - 1):
                gain = _gain(*(np.concatenate(v) for v in zip(*steps, strict=True)))
        g = 1.0 if gain is None else gain
        alive.n[i] += 1
        weight = np.maximum(g, 1 / alive.n[i])[:, None]
        if params.motion == "velocity":
            passed = age[i][:, None]
            second = alive.n[i][:, None] == 2
            alive.speed[i] = np.where(second, moved / passed, alive.speed[i] + 0.4 * off / passed)
            alive.place[i] = expected[i] - at + np.where(second, 1.0, 0.8) * off
        else:
            alive.place[i] += weight * off
        alive.step[i] = np.where((age[i] == 1)[:, None], moved, np.nan)
        alive.last[i] = f
        alive.kind[i] = found.species[part][j]
        alive.mark[i] = found.mark[part][j]
        born = np.flatnonzero(mine < 0)
        new_kind, new_mark = found.species[part][born], found.mark[part][born]
        mine[born] = alive.add(place[born] - at, int(f), new_kind, new_mark)
        track[part] = mine
        if k % 16 == 0 or k == len(frames) - 1:
            watch(k + 1, len(frames))
    table = pd.DataFrame(
        {"frame": frames, "drift_y_px": drift[:, 0], "drift_x_px": drift[:, 1],
         "drift_err_px": drift[:, 2]}
    )  # fmt: skip
    few = len(found.frame) < FEW * len(frames)
    if params.jump_px > 0 or (params.jump_px == 0 and few and np.isfinite(spacing)):
        moved_to = drift[np.searchsorted(frames, found.frame), :2]
        track = _join_jumps(track, found, found.place - moved_to, params, spacing)
    return Linking(track, table, float(reach), 1.0 if gain is None else gain, lattice.doubt)


def _join_jumps(
    track: np.ndarray, found: Detections, place: np.ndarray, params: LinkParams, spacing: float
) -> np.ndarray:
    """Join tracks that end with those that begin within the distance of a jump.

    Where the user set no distance, only between successive frames with the same number of
    atoms: what vanished here must have appeared there.
    """
    reach = params.jump_px or spacing
    n = int(track.max()) + 1 if len(track) else 0
    if n < 2:
        return track
    first, last = np.zeros(n, np.int64), np.zeros(n, np.int64)
    last[track] = np.arange(len(track))
    first[track[::-1]] = np.arange(len(track))[::-1]
    ends = np.flatnonzero(found.frame[last] < found.frame.max())
    begins = np.flatnonzero(found.frame[first] > found.frame.min())
    if not len(ends) or not len(begins):
        return track
    gap = params.max_gap if params.max_gap >= 0 else int(found.frame.max())
    near = scipy.spatial.cKDTree(place[first[begins]]).query_ball_point(place[last[ends]], reach)
    i = np.repeat(np.arange(len(ends)), [len(v) for v in near])
    j = np.fromiter((k for v in near for k in v), np.int64)
    a, b = last[ends[i]], first[begins[j]]
    wait = found.frame[b] - found.frame[a]
    fits = (wait > 0) & (wait <= gap + 1)
    if not params.jump_px:
        every, number = np.unique(found.frame, return_counts=True)
        here, there = (np.searchsorted(every, found.frame[k]) for k in (a, b))
        fits &= (there == here + 1) & (number[here] == number[there])
    if params.species == "stays":
        fits &= found.species[a] == found.species[b]
    i, j, a, b, wait = i[fits], j[fits], a[fits], b[fits], wait[fits]
    cost = ((place[a] - place[b]) ** 2).sum(1) + reach**2 * (wait - 1)
    picked = assign_pairs(i, j, cost, (gap + 2.0) * reach**2)
    root = np.arange(n)
    for e, b_ in sorted(zip(ends[i[picked]], begins[j[picked]], strict=True), key=lambda v: v[1]):
        root[b_] = root[e]
    return np.unique(root[track], return_inverse=True)[1]


def link(
    atoms: pd.DataFrame,
    params: LinkParams = LinkParams(),
    *,
    drift: pd.DataFrame | None = None,
    progress: ProgressLike = None,
) -> pd.DataFrame:
    """Give every atom of a movie an identity that it keeps from frame to frame.

    Parameters
    ----------
    atoms : pandas.DataFrame
        At least ``frame``, ``y_px`` and ``x_px``; any table of places in frames will do.
    params : LinkParams
    drift : pandas.DataFrame, optional
        A first guess of the drift (``frame``, ``drift_y_px``, ``drift_x_px``), needed only
        where frames move by more than half of the distance between nearest atoms.
    progress : callable, optional
        Called with (frames done, frames in all).

    Returns
    -------
    pandas.DataFrame
        The table, rows in their order, with ``track_id`` (in the order of appearance),
        ``y_corr_px`` and ``x_corr_px``, the positions less the drift. ``attrs["drift"]`` holds
        the drift of each frame as lists; ``attrs["doubt"]`` says where it may be off.

    Raises
    ------
    ParameterError
        If columns are missing, positions are not finite or a parameter is out of bounds.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import pandas as pd
    >>> truth = al.simulate("honeycomb", (96, 96), 12.0)[1]
    >>> atoms = pd.concat([truth.atoms(frame=t) for t in range(5)], ignore_index=True)
    >>> al.link(atoms)["track_id"].nunique() == len(truth.y)
    True
    """
    params = of_kind(LinkParams, params)
    atoms = check_table(atoms, ("frame", "y_px", "x_px"))
    found = prepare_links(atoms, params.species == "stays")
    if not len(found.frame):
        return atoms.assign(track_id=_NONE.astype(np.int64), y_corr_px=_NONE, x_corr_px=_NONE)
    linked = link_arrays(found, params, drift, progress)
    track = np.empty_like(linked.track)
    track[found.order] = linked.track
    at = linked.drift.set_index("frame").loc[
        atoms["frame"].to_numpy(np.int64), ["drift_y_px", "drift_x_px"]
    ]
    out = atoms.assign(
        track_id=track,
        y_corr_px=atoms["y_px"].to_numpy() - at["drift_y_px"].to_numpy(),
        x_corr_px=atoms["x_px"].to_numpy() - at["drift_x_px"].to_numpy(),
    )
    out.attrs["drift"] = linked.drift.to_dict("list")
    out.attrs |= {} if linked.doubt is None else {"doubt": doubt_sentence(*linked.doubt)}
    return out


def tracks_table(linked: pd.DataFrame) -> pd.DataFrame:
    """Tracks table of linked atoms: one row per track and frame, sorted by both.

    Columns of :data:`napari_atomlens.tables.TRACKS`, then ``y_corr_px``, ``x_corr_px`` and the
    species where they are known.
    """
    need_columns(linked, ("frame", "track_id", "y_px", "x_px"), "tracks")
    known = [
        *tables.TRACKS,
        "y_corr_px",
        "x_corr_px",
        "y_nm",
        "x_nm",
        "species",
        "y_err_px",
        "x_err_px",
    ]
    columns = {c: linked[c].to_numpy() for c in known if c in linked}
    table = tables.make("tracks", columns, len(linked))
    return table.sort_values(["track_id", "frame"], kind="stable", ignore_index=True)


def track_events(linked: pd.DataFrame, moved_px: float = 0.0) -> pd.DataFrame:
    """What happened to the atoms: appeared, vanished, moved, changed their species.

    Parameters
    ----------
    linked : pandas.DataFrame
        What :func:`link` returned.
    moved_px : float
        A step beyond this between two frames (drift apart) is an event; 0 takes six robust
        standard deviations of all steps, and at least a pixel.

    Returns
    -------
    pandas.DataFrame
        ``frame``, ``kind`` ("appeared", "vanished", "moved", "became NAME"), ``track_id``,
        ``y_px``, ``x_px`` (where it is in that frame; of a vanished atom where it was last)
        and ``size_px``, how far it went; sorted by frame.
    """
    need_columns(linked, ("frame", "track_id", "y_px", "x_px", "y_corr_px", "x_corr_px"), "tracks")
    columns = ["frame", "kind", "track_id", "y_px", "x_px", "size_px"]
    if not len(linked):
        return pd.DataFrame({c: [] for c in columns})
    t = linked.sort_values(["track_id", "frame"], kind="stable", ignore_index=True)
    frame, track = t["frame"].to_numpy(), t["track_id"].to_numpy()
    place = t[["y_corr_px", "x_corr_px"]].to_numpy()
    same = track[1:] == track[:-1]
    step = np.hypot(*(place[1:] - place[:-1]).T)
    limit = moved_px
    if limit <= 0 and same.any():
        limit = max(6 * 1.4826 * float(np.median(step[same])) / 1.1774, 1.0)
    parts = []

    def put(rows: np.ndarray, at: np.ndarray, kind: object, size: object = np.nan) -> None:
        parts.append(
            pd.DataFrame(
                {"frame": at, "kind": kind, "track_id": track[rows],
                 "y_px": t["y_px"].to_numpy()[rows], "x_px": t["x_px"].to_numpy()[rows],
                 "size_px": size},
                index=np.arange(len(rows)),
            )
        )  # fmt: skip

    every = np.unique(frame)
    begins = np.flatnonzero(np.r_[True, ~same] & (frame > every[0]))
    put(begins, frame[begins], "appeared")
    ends = np.flatnonzero(np.r_[~same, True] & (frame < every[-1]))
    # it is gone in the frame after the last one that shows it
    put(ends, every[np.searchsorted(every, frame[ends]) + 1], "vanished")
    moved = np.flatnonzero(same & (step > limit)) + 1
    put(moved, frame[moved], "moved", step[moved - 1])
    if "species" in t:
        name = t["species"].astype(str).to_numpy()
        other = np.flatnonzero(same & (name[1:] != name[:-1])) + 1
        put(other, frame[other], [f"became {n}" for n in name[other]])
    parts = [p for p in parts if len(p)]
    if not parts:
        return pd.DataFrame({c: [] for c in columns})
    events = pd.concat(parts, ignore_index=True)
    return events.sort_values(["frame", "kind", "track_id"], kind="stable", ignore_index=True)
