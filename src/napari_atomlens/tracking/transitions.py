"""Changes between classes: how often, how likely, and how long in between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from napari_atomlens.errors import ParameterError
from napari_atomlens.tables import need_columns


def _pairs(tracks: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class before and after, of rows of the same track in successive frames."""
    need_columns(tracks, ("frame", "track_id", column), "tracks")
    t = tracks.sort_values(["track_id", "frame"], kind="stable")
    frame, who = t["frame"].to_numpy(), t["track_id"].to_numpy()
    state = t[column].astype(str).to_numpy()
    # a state that nobody saw is not a state: nothing is counted across a gap
    next_one = (who[1:] == who[:-1]) & (frame[1:] == frame[:-1] + 1)
    return state[:-1][next_one], state[1:][next_one], who[1:][next_one]


def count_transitions(
    tracks: pd.DataFrame, column: str = "species", states: Sequence[str] | None = None
) -> pd.DataFrame:
    """Number of transitions between classes, pooled over all tracks, none across gaps.

    Parameters
    ----------
    tracks : pandas.DataFrame
        ``frame``, ``track_id`` and the class.
    column : str
        The column of the class.
    states : sequence of str, optional
        The classes and their order; by default all that there are, sorted.

    Returns
    -------
    pandas.DataFrame
        From (rows) to (columns).

    Raises
    ------
    ParameterError
        If the table lacks columns or holds a class that is not in `states`.
    """
    before, after, _ = _pairs(tracks, column)
    there = sorted(set(tracks[column].astype(str)))
    names = [str(s) for s in states] if states is not None else there
    if lost := set(there) - set(names):
        raise ParameterError(f"The classes {', '.join(sorted(lost))} are not among the states.")
    number = {s: k for k, s in enumerate(names)}
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(
        counts, ([number[s] for s in before], [number[s] for s in after]), 1
    )  # fmt: skip
    return pd.DataFrame(
        counts, index=pd.Index(names, name="from"), columns=pd.Index(names, name="to")
    )


def wilson(k: np.ndarray, n: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Score interval of a proportion (Wilson, J. Am. Stat. Assoc. 22, 209, 1927).

    Parameters
    ----------
    k, n : ndarray
        Successes and trials.
    confidence : float

    Returns
    -------
    low, high : ndarray
        0 and 1 where there were no trials.
    """
    from scipy.stats import norm

    z = norm.isf((1 - confidence) / 2)
    k, n = np.asarray(k, float), np.asarray(n, float)
    safe = np.maximum(n, 1)
    p = k / safe
    middle = (p + z**2 / (2 * safe)) / (1 + z**2 / safe)
    half = z * np.sqrt(p * (1 - p) / safe + z**2 / (4 * safe**2)) / (1 + z**2 / safe)
    low = np.where(n > 0, np.where(k == 0, 0.0, middle - half), 0.0)
    high = np.where(n > 0, np.where(k == n, 1.0, middle + half), 1.0)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def transition_matrix(
    tracks: pd.DataFrame,
    column: str = "species",
    states: Sequence[str] | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Probability per frame to go from one class to another, with intervals.

    Counts are pooled over all tracks, so that rows sum to one and long tracks count for what
    they saw; there are no transitions across gaps.

    Parameters
    ----------
    tracks, column, states
        As for :func:`count_transitions`.
    confidence : float
        Of the intervals.

    Returns
    -------
    pandas.DataFrame
        ``from``, ``to``, ``count``, ``out_of``, ``probability`` (NaN for a class never left nor
        kept), ``low``, ``high``.
    """
    if not 0 < confidence < 1:
        raise ParameterError(f"confidence is {confidence}, but must lie between 0 and 1.")
    counts = count_transitions(tracks, column, states)
    k = counts.to_numpy()
    n = np.broadcast_to(k.sum(1, keepdims=True), k.shape)
    low, high = wilson(k, n, confidence)
    names = list(counts.index)
    with np.errstate(invalid="ignore"):
        p = np.where(n > 0, k / np.maximum(n, 1), np.nan)
    return pd.DataFrame(
        {"from": np.repeat(names, len(names)), "to": np.tile(names, len(names)),
         "count": k.ravel(), "out_of": n.ravel(), "probability": p.ravel(), "low": low.ravel(),
         "high": high.ravel()}
    )  # fmt: skip


def dwell_times(tracks: pd.DataFrame, column: str = "species") -> pd.DataFrame:
    """How long each track stayed in each class before it changed.

    Returns
    -------
    pandas.DataFrame
        One row per stay: ``track_id``, ``state``, ``first``, ``frames`` (its length),
        ``left`` (its end was seen) and ``complete`` (its beginning too). Stays cut by a gap, or by
        the beginning or end of a track, are not complete; they bias a plain mean.
    """
    need_columns(tracks, ("frame", "track_id", column), "tracks")
    t = tracks.sort_values(["track_id", "frame"], kind="stable")
    frame, who = t["frame"].to_numpy(), t["track_id"].to_numpy()
    state = t[column].astype(str).to_numpy()
    if not len(t):
        return pd.DataFrame(columns=["track_id", "state", "first", "frames", "left", "complete"])
    joined = (who[1:] == who[:-1]) & (frame[1:] == frame[:-1] + 1)
    stays = joined & (state[1:] == state[:-1])
    start = np.flatnonzero(np.r_[True, ~stays])
    stop = np.r_[start[1:], len(t)]
    began = np.r_[False, joined][start]
    ended = np.r_[joined, False][stop - 1]
    return pd.DataFrame(
        {"track_id": who[start], "state": state[start], "first": frame[start],
         "frames": stop - start, "left": ended, "complete": began & ended}
    )  # fmt: skip


def mean_dwell(stays: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Mean dwell time per class from all stays, the cut ones included.

    Frames spent divided by exits seen: the maximum-likelihood mean of a memoryless class with
    censored stays; the interval is that of a Poisson number of exits.

    Returns
    -------
    pandas.DataFrame
        ``state``, ``frames`` (spent in all), ``exits``, ``mean``, ``low``, ``high`` in frames.
    """
    from scipy.stats import chi2

    need_columns(stays, ("state", "frames", "left"), "dwell")
    tail = (1 - confidence) / 2
    rows = []
    for state, part in stays.groupby("state"):
        spent = float(part["frames"].sum())
        exits = int(part["left"].sum())
        low = 2 * spent / chi2.ppf(1 - tail, 2 * exits + 2)
        high = 2 * spent / chi2.ppf(tail, 2 * exits) if exits else float("inf")
        rows.append((state, spent, exits, spent / exits if exits else float("inf"), low, high))
    return pd.DataFrame(rows, columns=["state", "frames", "exits", "mean", "low", "high"])
