"""Trajectories: how far things wander, how fast they diffuse, where they have been."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from napari_atomlens.errors import CalibrationError, ParameterError
from napari_atomlens.image import check_pixel_size
from napari_atomlens.tables import need_columns


@dataclass(frozen=True)
class Diffusion:
    """A diffusion coefficient with its confidence interval.

    Attributes
    ----------
    d, low, high : float
        In nm^2/s where pixel size and time step are known, else px^2 per frame.
    localisation, localisation_err : float
        Error of a single position per axis that the tracks themselves show, nm or px.
    unit : str
    n_tracks, n_steps : int
        Tracks and displacements that were used.
    confidence : float
    """

    d: float
    low: float
    high: float
    localisation: float
    localisation_err: float
    unit: str
    n_tracks: int
    n_steps: int
    confidence: float


def _places(tracks: pd.DataFrame) -> np.ndarray:
    """Positions without drift where they are known, (n, 2) in pixels."""
    if "y_corr_px" in tracks and "x_corr_px" in tracks:
        return tracks[["y_corr_px", "x_corr_px"]].to_numpy(float)
    return tracks[["y_px", "x_px"]].to_numpy(float)


def _scale(
    pixel_size_nm: float | tuple[float, float] | None, time_step_s: float | None
) -> tuple[np.ndarray, float, str, str]:
    """Pixel size, time step, and the units of D and of lengths."""
    if (pixel_size_nm is None) != (time_step_s is None):
        raise CalibrationError("Give both the pixel size and the time step, or neither.")
    size = check_pixel_size(pixel_size_nm)
    if size is None or time_step_s is None:
        return np.ones(2), 1.0, "px^2/frame", "px"
    if not (np.isfinite(time_step_s) and time_step_s > 0):
        raise CalibrationError(f"The time step must be positive, but it is {time_step_s} s.")
    return np.array(size), float(time_step_s), "nm^2/s", "nm"


def _sorted(tracks: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    need_columns(tracks, ("frame", "track_id", "y_px", "x_px"), "tracks")
    place = _places(tracks)
    frame, who = tracks["frame"].to_numpy(np.int64), tracks["track_id"].to_numpy()
    good = np.isfinite(place).all(1)
    frame, who, place = frame[good], who[good], place[good]
    order = np.lexsort((frame, who))
    return frame[order], np.unique(who[order], return_inverse=True)[1], place[order]


def mean_squared_displacement(
    tracks: pd.DataFrame,
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    time_step_s: float | None = None,
    max_lag: int = 0,
) -> pd.DataFrame:
    """Mean squared displacement of all tracks together, by lag.

    Only pairs of frames in which the track was seen count; a gap is not filled.

    Parameters
    ----------
    tracks : pandas.DataFrame
        Tracks table; ``y_corr_px`` and ``x_corr_px`` are used where they are there.
    pixel_size_nm, time_step_s : float, optional
        Both or neither.
    max_lag : int
        Longest lag in frames; 0 takes a third of the longest track.

    Returns
    -------
    pandas.DataFrame
        ``lag`` (frames), ``time`` (s or frames), ``msd`` (nm^2 or px^2, both axes together),
        ``msd_err`` (jackknife over tracks, which are independent where lags are not), ``n_pairs``,
        ``n_tracks``.
    """
    size, step, _, _ = _scale(pixel_size_nm, time_step_s)
    frame, who, place = _sorted(tracks)
    place = place * size
    if not len(frame):
        return pd.DataFrame(columns=["lag", "time", "msd", "msd_err", "n_pairs", "n_tracks"])
    n = int(who.max()) + 1
    first = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(first, who, frame)
    length = int((frame - first[who]).max())
    longest = max_lag or max(1, length // 3)
    span = int(frame.max() - frame.min()) + 1
    key = who * (span + longest + 1) + (frame - frame.min())
    rows = []
    for lag in range(1, min(longest, length) + 1):
        at = np.searchsorted(key, key + lag)
        found = (at < len(key)) & (key[np.minimum(at, len(key) - 1)] == key + lag)
        a = np.flatnonzero(found)
        if not len(a):
            continue
        square = ((place[at[a]] - place[a]) ** 2).sum(1)
        total, count = np.bincount(who[a], square, minlength=n), np.bincount(who[a], minlength=n)
        used = np.flatnonzero(count)
        msd = total.sum() / count.sum()
        error = float("nan")
        if len(used) > 1:
            without = (total.sum() - total[used]) / np.maximum(count.sum() - count[used], 1)
            m = len(used)
            error = float(np.sqrt((m - 1) / m * ((without - without.mean()) ** 2).sum()))
        rows.append((lag, lag * step, msd, error, len(a), len(used)))
    return pd.DataFrame(rows, columns=["lag", "time", "msd", "msd_err", "n_pairs", "n_tracks"])


class _Steps:
    """Displacements between successive sightings, laid out for a filter along each track."""

    def __init__(self, frame: np.ndarray, who: np.ndarray, place: np.ndarray) -> None:
        same = who[1:] == who[:-1]
        dx = (place[1:] - place[:-1])[same]
        tau = (frame[1:] - frame[:-1])[same].astype(float)
        track = np.unique(who[1:][same], return_inverse=True)[1]
        start = np.r_[True, track[1:] != track[:-1]] if len(track) else np.zeros(0, bool)
        rank = np.arange(len(track)) - np.flatnonzero(start)[track] if len(track) else track
        n, m = (int(track.max()) + 1, int(rank.max()) + 1) if len(track) else (0, 0)
        # longest tracks first: each step of the filter works on a shrinking head
        counts = np.bincount(track, minlength=n)
        place_of = np.empty(n, int)
        place_of[np.argsort(-counts, kind="stable")] = np.arange(n)
        self.dx = np.zeros((m, n, 2))
        self.tau = np.ones((m, n))
        self.dx[rank, place_of[track]] = dx
        self.tau[rank, place_of[track]] = tau
        self.alive = (np.sort(counts)[::-1][None] > np.arange(m)[:, None]).sum(1)
        self.n_steps, self.n_tracks = len(track), n

    def minus_log_likelihood(self, walk: float, noise: float) -> float:
        """Two dx/dt variance `walk` per frame and axis, localisation variance `noise`.

        The covariance of the displacements of a track is tridiagonal, walk tau + 2 noise and
        -noise beside it: its Cholesky factor is made on the way, all tracks at once.
        """
        total = 0.0
        before_v = np.zeros(0)
        before_e = np.zeros((0, 2))
        for k, n in enumerate(self.alive):
            variance = walk * self.tau[k, :n] + 2 * noise
            off = self.dx[k, :n].copy()
            if k:
                turn = -noise / before_v[:n]
                variance = variance - turn * turn * before_v[:n]
                off = off - turn[:, None] * before_e[:n]
            variance = np.maximum(variance, 1e-300)
            total += float(np.log(variance).sum()) + 0.5 * float(((off**2).sum(1) / variance).sum())
            before_v, before_e = variance, off
        return total


def estimate_diffusion(
    tracks: pd.DataFrame,
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    time_step_s: float | None = None,
    confidence: float = 0.95,
    min_steps: int = 2,
) -> Diffusion:
    """Diffusion coefficient and localisation error of tracks, by maximum likelihood.

    Parameters
    ----------
    tracks : pandas.DataFrame
        Tracks table; ``y_corr_px`` and ``x_corr_px`` are used where they are there. Gaps are
        steps over a longer time, not filled.
    pixel_size_nm, time_step_s : float, optional
        Both or neither.
    confidence : float
        Of the interval.
    min_steps : int
        Shorter tracks are left out.

    Returns
    -------
    Diffusion

    Raises
    ------
    ParameterError
        If no track is long enough.
    CalibrationError
        If only one of pixel size and time step is given, or they are absurd.

    Notes
    -----
    Free diffusion in two dimensions seen with a constant localisation error and no motion
    blur: the displacements of a track are Gaussian with a tridiagonal covariance (Berglund,
    Phys. Rev. E 82, 011917, 2010; Michalet and Berglund, Phys. Rev. E 85, 061916, 2012). The
    interval is that of the profile likelihood.
    """
    from scipy.optimize import brentq, minimize_scalar
    from scipy.stats import chi2

    if not 0 < confidence < 1:
        raise ParameterError(f"confidence is {confidence}, but must lie between 0 and 1.")
    size, step, unit, _ = _scale(pixel_size_nm, time_step_s)
    frame, who, place = _sorted(tracks)
    if len(frame):
        enough = np.bincount(who)[who] > min_steps
        frame, who, place = frame[enough], who[enough], place[enough]
    if not len(frame):
        raise ParameterError("No track is long enough to show diffusion.")
    steps = _Steps(frame, who, place * size)
    scale = float((steps.dx**2).sum() / steps.n_steps / 2)
    if not scale > 0:
        raise ParameterError("The tracks do not move at all; there is no diffusion to measure.")
    steps.dx /= np.sqrt(scale)

    around: list[float] = []

    def best_noise(walk: float) -> tuple[float, float]:
        # the likelihood is flat at its top: a hundredth in the logarithm is plenty
        bounds = (around[0] - 1.5, around[0] + 1.5) if around else (-14.0, 1.0)
        found = minimize_scalar(
            lambda u: steps.minus_log_likelihood(walk, np.exp(u)), bounds=bounds,
            method="bounded", options={"xatol": 4e-3},
        )  # fmt: skip
        if around and min(found.x - bounds[0], bounds[1] - found.x) < 0.02:
            around.clear()
            return best_noise(walk)
        around[:] = [float(found.x)]
        zero = steps.minus_log_likelihood(walk, 0.0) if walk > 0 else np.inf
        if zero <= found.fun:
            return 0.0, float(zero)
        return float(np.exp(found.x)), float(found.fun)

    top = minimize_scalar(
        lambda u: best_noise(np.exp(u))[1], bounds=(-14, 2), method="bounded",
        options={"xatol": 1e-3},
    )  # fmt: skip
    walk, least = float(np.exp(top.x)), float(top.fun)
    still = best_noise(1e-9)[1]
    if still <= least:
        walk, least = 0.0, still
    # the log-likelihood above is per axis pair: twice its drop is chi-squared
    drop = 0.5 * chi2.ppf(confidence, 1)

    def excess(u: float) -> float:
        return best_noise(np.exp(u))[1] - least - drop

    at = np.log(max(walk, 1e-6))
    low = 0.0
    if excess(-16.0) > 0 and walk > 0:
        low = float(np.exp(brentq(excess, -16.0, at, xtol=1e-3)))
    up = at + 0.2
    while excess(up) < 0 and up < 8:
        up += 0.5
    high = float(np.exp(brentq(excess, at, up, xtol=1e-3))) if excess(up) > 0 else float("inf")
    noise = best_noise(max(walk, 1e-9))[0]
    h = max(0.02 * noise, 1e-6)
    curve = (
        steps.minus_log_likelihood(walk, noise + h)
        - 2 * steps.minus_log_likelihood(walk, noise)
        + steps.minus_log_likelihood(walk, max(noise - h, 0.0))
    ) / h**2
    noise_error = 1 / np.sqrt(curve) if curve > 0 else float("nan")
    to_d = scale / (2 * step)
    error = float(np.sqrt(noise * scale))
    return Diffusion(
        d=walk * to_d, low=low * to_d, high=high * to_d, localisation=error,
        localisation_err=float(0.5 * noise_error * scale / error) if error > 0 else float("nan"),
        unit=unit, n_tracks=steps.n_tracks, n_steps=steps.n_steps, confidence=confidence,
    )  # fmt: skip


def counts_per_frame(table: pd.DataFrame, by: str | None = None) -> pd.DataFrame:
    """How many rows of a table each frame has: columns per value of `by`, or ``n``."""
    need_columns(table, ("frame", by) if by else ("frame",), "counted")
    frames = pd.RangeIndex(
        int(table["frame"].min()) if len(table) else 0,
        int(table["frame"].max()) + 1 if len(table) else 0,
        name="frame",
    )
    if by is None:
        return table.groupby("frame").size().reindex(frames, fill_value=0).rename("n").reset_index()
    counts = table.groupby(["frame", table[by].astype(str)]).size().unstack(fill_value=0)
    return counts.reindex(frames, fill_value=0).reset_index()


def occupancy_map(tracks: pd.DataFrame, shape: tuple[int, int], blur_px: float = 1.0) -> np.ndarray:
    """How often each place was occupied: sum of the positions of all frames, drift removed.

    Parameters
    ----------
    tracks : pandas.DataFrame
    shape : tuple of int
        (H, W) of a frame.
    blur_px : float
        Standard deviation of the spot drawn for each position.

    Returns
    -------
    ndarray of float32, shape (H, W)
        Its sum is the number of positions (but for those beyond the border).
    """
    from scipy.ndimage import gaussian_filter

    need_columns(tracks, ("frame", "y_px", "x_px"), "tracks")
    place = _places(tracks)
    place = place[np.isfinite(place).all(1)]
    edges = [np.arange(n + 1) - 0.5 for n in shape]
    image = np.histogram2d(place[:, 0], place[:, 1], bins=edges)[0]
    if blur_px > 0:
        image = gaussian_filter(image, blur_px, mode="constant")
    return image.astype(np.float32)


def track_summary(tracks: pd.DataFrame) -> pd.DataFrame:
    """One row per track: first and last frame, how often seen, path and net displacement."""
    frame, who, place = _sorted(tracks)
    known = np.isfinite(_places(tracks)).all(1)
    ids = np.unique(tracks["track_id"].to_numpy()[known])
    if not len(frame):
        return pd.DataFrame(columns=["track_id", "first", "last", "n_seen", "path_px", "net_px"])
    first = np.r_[True, who[1:] != who[:-1]]
    last = np.r_[first[1:], True]
    step = np.r_[0.0, np.hypot(*(place[1:] - place[:-1]).T)]
    step[first] = 0
    return pd.DataFrame(
        {"track_id": ids, "first": frame[first], "last": frame[last],
         "n_seen": np.bincount(who), "path_px": np.bincount(who, step),
         "net_px": np.hypot(*(place[last] - place[first]).T)}
    )  # fmt: skip
