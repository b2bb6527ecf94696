"""How often things hop from site to site, in which direction, out of which state.

Between two frames one may hop more than once, or there and back: what was seen is compared with
random walks on the lattice of sites, so that hops that nobody saw are counted too: the likelihood
of the shells reached, for a Poisson number of hops; intervals of Jeffreys' prior. Rates of a
direction are per site from which there is such a hop: on a honeycomb every second one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from napari_atomlens.errors import CalibrationError, ParameterError
from napari_atomlens.image import check_pixel_size
from napari_atomlens.tables import need_columns
from napari_atomlens.tracking.trajectories import _sorted

#: Neighbours of a site -> lattices on which walks are compared with what was seen.
LATTICES = {"honeycomb": 3, "square": 4, "triangular": 6}
#: Most hops between two frames that are thought of.
MOST = 12
#: Rates per frame that are weighed.
RATES = np.geomspace(1e-4, 6.0, 600)
#: Hops of one length whose directions alternate at least this often are on a honeycomb.
ALTERNATES = 0.85
SHELLS = 4
#: Displacements below this part of the longest are noise.
LEAST = 0.08
#: Hops are thought to be hidden unless the logarithm of the likelihood says no by this much.
DOUBT = 3.0
#: Lengths of one shell differ by less than this factor.
NARROW = 1.5


@dataclass(frozen=True)
class Stays:
    """Sightings, each on a site, and the hops between them.

    Attributes
    ----------
    gap : ndarray of int, shape (n,)
        Frames between a sighting and the next of the same track.
    step : ndarray, shape (n, 2)
        Displacement, zero where it stayed.
    state : ndarray of str
        What it was before.
    track : ndarray of int
    hop_px : float
        Length of the shortest hop.
    """

    gap: np.ndarray
    step: np.ndarray
    state: np.ndarray
    track: np.ndarray
    hop_px: float


def walk_shells(lattice: str) -> tuple[np.ndarray, np.ndarray]:
    """Distances of the shells of sites, and the chance of each after 0, 1, 2, ... hops.

    Returns
    -------
    distance : ndarray, shape (SHELLS,)
        Over the length of a hop; the last one stands for all beyond.
    chance : ndarray, shape (MOST + 1, SHELLS)
    """
    angle = np.arange(LATTICES[lattice]) * 2 * np.pi / LATTICES[lattice]
    hop = np.exp(1j * angle)
    at = {(0.0, 0.0): 1.0}
    rows = []
    for m in range(MOST + 1):
        place = np.array([complex(*k) for k in at])
        share = np.array(list(at.values()))
        rows.append((np.abs(place), share))
        side = -1 if lattice == "honeycomb" and m % 2 else 1
        new: dict[tuple[float, float], float] = {}
        for (re, im), value in at.items():
            for h in side * hop:
                to = complex(re, im) + h
                key = (round(to.real, 3) + 0.0, round(to.imag, 3) + 0.0)
                new[key] = new.get(key, 0.0) + value / len(hop)
        at = new
    every = np.unique(np.round(np.concatenate([r for r, _ in rows]), 2))
    distance = every[:SHELLS]
    chance = np.zeros((MOST + 1, SHELLS))
    for m, (r, share) in enumerate(rows):
        shell = np.minimum(np.searchsorted(distance, np.round(r, 2)), SHELLS - 1)
        np.add.at(chance[m], shell, share)
    return distance, chance


def find_stays(tracks: pd.DataFrame, hop_px: float = 0.0, state: str = "") -> Stays:
    """Put every sighting on a site, and tell the hops from the noise of places.

    Parameters
    ----------
    tracks : pandas.DataFrame
        ``frame``, ``track_id`` and places, without drift where they are known.
    hop_px : float
        Length of the shortest hop; 0 finds it.
    state : str
        Column that says what it is (formula, coordination, ...), empty for none.

    Raises
    ------
    ParameterError
        If columns are missing.
    """
    frame, who, place = _sorted(tracks)
    names = np.full(len(frame), "")
    if state:
        need_columns(tracks, (state,), "tracks")
        good = tracks[np.isfinite(tracks[["y_px", "x_px"]].to_numpy(float)).all(1)]
        good = good.sort_values(["track_id", "frame"], kind="stable")
        if len(good) == len(frame):
            names = good[state].astype(str).to_numpy()
    same = who[1:] == who[:-1]
    far = np.hypot(*np.diff(place, axis=0).T)[same]
    hop = hop_px or _shortest_hop(far)
    rows = []
    site, seen = np.zeros(2), 0
    for k in range(len(frame)):
        if k == 0 or who[k] != who[k - 1]:
            site, seen = place[k], 1
            continue
        off = place[k] - site
        gap = int(frame[k] - frame[k - 1])
        if np.hypot(*off) < 0.5 * hop:
            seen += 1
            site = site + off / seen
            rows.append((gap, 0.0, 0.0, names[k - 1], int(who[k])))
        else:
            rows.append((gap, off[0], off[1], names[k - 1], int(who[k])))
            site, seen = place[k], 1
    if not rows:
        return Stays(np.zeros(0, int), np.zeros((0, 2)), names[:0], np.zeros(0, int), hop)
    gaps, dy, dx, what, track = (np.array(v) for v in zip(*rows, strict=True))
    return Stays(gaps, np.c_[dy, dx], what, track, hop)


def _shortest_hop(far: np.ndarray) -> float:
    """Length of the shortest hop that many displacements have, NaN where nothing hops.

    Lengths come in heaps: the noise of places, which is wide (its lower and upper tenth differ
    by a factor of four), and the hops of each shell, which are narrow.
    """
    if len(far) < 2 or not far.max() > 0:
        return float("nan")
    x = np.sort(far[far > LEAST * far.max()])
    gaps = np.diff(np.log(x))
    if not len(gaps):
        return float(x[0])
    wide = np.flatnonzero(gaps >= 0.6 * gaps.max())
    split = int(wide[0]) + 1 if gaps.max() > 0.15 else 0
    below = x[:split]
    hops = x[split:]
    if len(below) and below[-1] < NARROW * below[0]:
        # the tail of noise goes on downwards; below the shortest hops there is nothing
        under = np.count_nonzero((far > 0.6 * below[0]) & (far < below[0]))
        hops = x if under < 0.3 * len(below) else hops
    first = hops[hops < NARROW * np.quantile(hops, 0.02)]
    about = float(np.median(first))
    for _ in range(3):  # as many shorter ones as longer ones
        about = float(np.median(far[np.abs(far / about - 1) < 0.25]))
    return about


def _posterior(log_like: np.ndarray, fisher: np.ndarray, tail: float) -> tuple[float, float, float]:
    """Likeliest rate, and the interval of Jeffreys' prior."""
    weight = log_like - log_like.max()
    density = np.exp(weight) * np.sqrt(np.maximum(fisher, 1e-300)) * np.gradient(RATES)
    below = np.cumsum(density) - 0.5 * density
    low, high = np.interp([tail, 1 - tail], below / density.sum(), RATES)
    k = int(log_like.argmax())
    if 0 < k < len(RATES) - 1:  # the top of a parabola in the logarithm
        a, b, c = log_like[k - 1 : k + 2]
        shift = 0.5 * (a - c) / (a - 2 * b + c) if a - 2 * b + c < 0 else 0.0
        step = np.log(RATES[1] / RATES[0])
        return float(RATES[k] * np.exp(np.clip(shift, -1, 1) * step)), float(low), float(high)
    return float(RATES[k] if k else 0.0), float(low), float(high)


class _Counts:
    """How often each shell was reached, by the frames between."""

    def __init__(self, stays: Stays, which: np.ndarray, lattice: str) -> None:
        self.distance, walk = walk_shells(lattice)
        far = np.hypot(*stays.step[which].T) / stays.hop_px
        shell = np.abs(far[:, None] - self.distance).argmin(1)
        gap = stays.gap[which]
        self.frames = float(gap.sum())
        self.seen = np.zeros(SHELLS)
        self.log_like = np.zeros(len(RATES))
        self.fisher = np.zeros(len(RATES))
        np.add.at(self.seen, shell, 1)
        for g in np.unique(gap):
            p = _chances(RATES * g, walk)
            n = np.bincount(shell[gap == g], minlength=SHELLS)
            self.log_like += (n * np.log(np.maximum(p, 1e-12))).sum(1)
            slope = np.gradient(p, RATES, axis=0)
            self.fisher += n.sum() * (slope**2 / np.maximum(p, 1e-12)).sum(1)


def _chances(mean: np.ndarray, walk: np.ndarray) -> np.ndarray:
    """Chance of each shell after a Poisson number of hops."""
    m = np.arange(len(walk))
    factorial = np.cumprod(np.r_[1.0, m[1:]])
    poisson = np.exp(-mean[:, None]) * mean[:, None] ** m / factorial
    chance = poisson @ walk
    chance[:, -1] += 1 - poisson.sum(1)
    return np.asarray(chance)


def _once_at_most(counts: _Counts, stays: Stays, which: np.ndarray) -> float:
    """Logarithm of the likelihood that nothing hops twice between two frames."""
    n = len(stays.gap[which])
    stay, one = counts.seen[0], counts.seen[1]
    far = counts.seen[2:].sum()
    p = np.clip((one + far) / max(n, 1), 1e-9, 1 - 1e-9)
    # farther ones: links that are wrong
    return float(stay * np.log(1 - p) + one * np.log(p) + far * np.log(1e-3))


def hop_rates(
    tracks: pd.DataFrame,
    *,
    hop_px: float = 0.0,
    lattice: str = "auto",
    hidden: str = "auto",
    state: str = "",
    pixel_size_nm: float | tuple[float, float] | None = None,
    time_step_s: float | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Rates of hops with intervals: of all directions, of each, and by state.

    Parameters
    ----------
    tracks : pandas.DataFrame
        As :func:`follow_defects` gives them.
    hop_px : float
        Length of the shortest hop; 0 finds it.
    lattice : str
        Of the sites: "honeycomb", "square", "triangular", or "auto" for the likeliest.
    hidden : str
        "yes" counts hops between frames that nobody saw, "no" those seen, "auto" what fits.
    state : str
        Column by which rates are told apart, such as ``formula``; empty for none.
    pixel_size_nm, time_step_s : float, optional
        With a time step rates are per second, else per frame; with both there is D in nm²/s.
    confidence : float

    Returns
    -------
    pandas.DataFrame
        ``state`` (empty for all), ``direction_deg`` (counter-clockwise from +x as drawn; NaN for
        all directions), ``hops`` (seen), ``frames`` (watched), ``rate``, ``low``, ``high``, ``d``
        with ``d_low`` and ``d_high`` (nm²/s or px²/frame; of all directions only).
        ``attrs["lattice"]`` and ``attrs["hop_px"]`` say what was found.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import pandas as pd
    >>> place = [0.0, 0.1, 10.0, 10.1, 20.0, 20.1, 20.0, 10.1]
    >>> tracks = pd.DataFrame({"frame": range(8), "track_id": 0, "y_px": 0.0, "x_px": place})
    >>> int(al.hop_rates(tracks)["hops"].iloc[0])
    3
    """
    if lattice not in ("auto", *LATTICES) or hidden not in ("auto", "yes", "no"):
        raise ParameterError(f"There is no lattice {lattice} or no choice {hidden} of hidden hops.")
    if not 0 < confidence < 1:
        raise ParameterError(f"confidence is {confidence}, but must lie between 0 and 1.")
    if time_step_s is not None and not (np.isfinite(time_step_s) and time_step_s > 0):
        raise CalibrationError(f"The time step must be positive, but it is {time_step_s} s.")
    size = check_pixel_size(pixel_size_nm)
    length = float(np.mean(size)) if size is not None and time_step_s else 1.0
    stays = find_stays(tracks, hop_px, state)
    if not (stays.step != 0).any():
        raise ParameterError("Nothing hops in these tracks: there is no rate to measure.")
    return _all_rates(stays, bool(state), lattice, hidden, length, time_step_s or 1.0, confidence)


def _all_rates(
    stays: Stays, by_state: bool, lattice: str, hidden: str, length: float, step: float,
    confidence: float,
) -> pd.DataFrame:  # fmt: skip
    """Rates of all, and of each state, with D."""
    side = _sides(stays)
    every = np.ones(len(stays.gap), bool)
    name = lattice if lattice != "auto" else _likeliest(stays, side)
    counts = _Counts(stays, every, name)
    twice = hidden == "yes" or (
        hidden == "auto" and counts.log_like.max() + DOUBT >= _once_at_most(counts, stays, every)
    )
    tail = (1 - confidence) / 2
    rows = _rows("", stays, every, name, twice, side, tail)
    for what in sorted(set(stays.state)) if by_state else []:
        rows += _rows(what, stays, stays.state == what, name, twice, side, tail)
    out = pd.DataFrame(
        rows, columns=["state", "direction_deg", "hops", "frames", "rate", "low", "high"]
    )
    whole = out["direction_deg"].isna().to_numpy()
    for a, b in (("d", "rate"), ("d_low", "low"), ("d_high", "high")):
        out[b] = out[b] / step
        out[a] = np.where(whole, out[b] * (stays.hop_px * length) ** 2 / 4, np.nan)
    out.attrs.update(lattice=name, hop_px=stays.hop_px, hidden="yes" if twice else "no")
    return out


def _sides(stays: Stays) -> np.ndarray:
    """Of each sighting which of two kinds of sites it was on (0, 1), -1 where nobody can tell.

    On a honeycomb hops from one kind go in three directions, from the other in the opposite
    ones. All are -1 where single hops do not alternate like that.
    """
    far = np.hypot(*stays.step.T)
    single = (far > 0.7 * stays.hop_px) & (far < 1.3 * stays.hop_px)
    angle = np.arctan2(-stays.step[:, 0], stays.step[:, 1])
    out = np.full(len(far), -1)
    if single.sum() < 8:
        return out
    start = np.angle(np.exp(6j * angle[single]).mean()) / 6
    kind = np.where(np.cos(3 * (angle - start)) > 0, 0, 1)
    rows = np.flatnonzero(far > 0)
    pairs = (np.diff(stays.track[rows]) == 0) & single[rows][1:] & single[rows][:-1]
    turns = kind[rows][1:] != kind[rows][:-1]
    if pairs.sum() < 4 or turns[pairs].mean() < ALTERNATES:
        return out
    for k in np.flatnonzero(single):
        out[k] = kind[k]
        for step, value in ((-1, kind[k]), (1, 1 - kind[k])):
            m = k + step
            while 0 <= m < len(far) and stays.track[m] == stays.track[k] and out[m] < 0:
                if far[m] > 0:
                    break
                out[m] = value
                m += step
    return out


def _likeliest(stays: Stays, side: np.ndarray) -> str:
    if (side >= 0).any():
        return "honeycomb"
    every = np.ones(len(stays.gap), bool)
    others = ("square", "triangular")
    far = np.hypot(*stays.step.T) / stays.hop_px

    def misfit(name: str) -> float:
        distance, _ = walk_shells(name)
        near = far[far < distance[-1] + 0.2]
        return float((np.abs(near[:, None] - distance).min(1) ** 2).sum())

    counts = {name: _Counts(stays, every, name).log_like.max() for name in others}
    noise = 2 * 0.1**2
    return max(others, key=lambda name: counts[name] - misfit(name) / noise)


def _rows(
    what: str, stays: Stays, which: np.ndarray, lattice: str, twice: bool, side: np.ndarray,
    tail: float,
) -> list[tuple[str, float, int, float, float, float, float]]:  # fmt: skip
    """The rate of all directions of a state, then of each direction."""
    from scipy.stats import beta, gamma

    if not which.any():
        return []
    counts = _Counts(stays, which, lattice)
    far = np.hypot(*stays.step.T)
    hops = int((far[which] > 0).sum())
    if twice:
        rate, low, high = _posterior(counts.log_like, counts.fisher, tail)
    else:
        next_one = which & (stays.gap == 1)
        n, moved = int(next_one.sum()), int((far[next_one] > 0).sum())
        rate = moved / max(n, 1)
        low, high = beta.ppf([tail, 1 - tail], moved + 0.5, n - moved + 0.5)
    rows = [(what, float("nan"), hops, counts.frames, rate, float(low), float(high))]
    single = which & (far > 0.7 * stays.hop_px) & (far < 1.3 * stays.hop_px)
    n_single = int(single.sum())
    if not n_single or not rate > 0:
        return rows
    n_fold = 6 if lattice == "honeycomb" else LATTICES[lattice]
    angle = np.arctan2(-stays.step[:, 0], stays.step[:, 1])
    start = np.angle(np.exp(1j * n_fold * angle[single]).mean()) / n_fold
    sector = np.round((angle - start) / (2 * np.pi / n_fold)).astype(int) % n_fold
    # so many frames watched as one hop is seen in, hidden ones counted
    watched = n_single / rate
    for d in range(n_fold):
        seen = int((single & (sector == d)).sum())
        part = 1.0
        if lattice == "honeycomb":
            # nobody knows of some on which side they were: half of them
            mine = np.where(side[which] < 0, 0.5, side[which] == d % 2)
            part = float((mine * stays.gap[which]).sum() / stays.gap[which].sum())
        low, high = gamma.ppf([tail, 1 - tail], seen + 0.5) / (watched * part)
        direction = np.degrees(start + d * 2 * np.pi / n_fold)
        direction = float((direction + 180) % 360 - 180)
        rows.append(
            (
                what,
                direction,
                seen,
                watched * part,
                seen / (watched * part),
                float(low),
                float(high),
            )
        )
    return rows
