"""Columns that are two, closer than the image resolves.

One round column fitted to two leaves a quadrupole: light on both sides along the line through
them, too little across. Where it is far beyond its error, and far beyond what the columns of the
image have anyway, two columns of the usual height are tried; what they do not explain stays one,
marked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

from napari_atomlens import arrays
from napari_atomlens.atoms.fitted import Fit

#: A quadrupole counts from so many standard errors, from so many spreads of the image, and from
#: this on (logarithm of length over width).
SURE, UNUSUAL, LEAST = 5.0, 4.5, 0.1
#: Layers lie over one another where a larger share than the last of the columns is drawn out by so
#: much, alike with few others (within the second, of the third at most): a sublattice that its
#: neighbours draw out is alike. Single columns then count from so many errors of the noise on.
MUCH, ALIKE, SHARED, MANY, OVERLAID = 0.2, 0.08, 0.06, 0.15, 4.0
#: Two columns are between so many widths apart.
APART = (0.6, 2.8)
#: Each is as high as its neighbours within these factors.
AS_HIGH = (0.55, 1.6)
#: Together they are as high as one of the neighbours within these factors: they are one.
AS_ONE = (0.7, 1.4)
#: How often columns are looked for that are two: the first ones hide others.
ROUNDS = 3
#: Fewer columns do not tell what is usual.
FEWEST = 12


def _lean(fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Which columns have a quadrupole, and it (n, 2) beside what is usual in the image."""
    none = np.zeros(len(fit.y), bool)
    if fit.lean is None or fit.lean_err is None or fit.aspect is not None:
        return none, np.zeros((len(none), 2))
    placed = fit.places() & np.isfinite(fit.lean).all(1)
    if placed.sum() < FEWEST:
        return none, np.zeros((len(none), 2))
    # of nearly all columns the same: the shape of the probe, which is not told here
    return placed, fit.lean - np.median(fit.lean[placed], axis=0)


def overlaid(fit: Fit) -> bool:
    """Whether many columns are drawn out, each in its own direction, as of layers over others.

    Parameters
    ----------
    fit : Fit
        Of round columns.
    """
    placed, off = _lean(fit)
    if not placed.any() or fit.lean_noise is None:
        return False
    far = np.hypot(*off.T)
    much = placed & (far > np.maximum(MUCH, SURE * fit.lean_noise))
    if much.sum() <= MANY * placed.sum():
        return False
    alike = scipy.spatial.cKDTree(off[placed]).query_ball_point(
        off[much], ALIKE, return_length=True
    )
    return bool((alike < SHARED * placed.sum()).sum() > MANY * placed.sum())


def drawn_out(fit: Fit, *, layers: bool = False) -> np.ndarray:
    """Which columns are drawn out in one direction, unlike the others of the image.

    Parameters
    ----------
    fit : Fit
        Of round columns.
    layers : bool
        Layers lie over one another: drawn out columns are no exception.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    placed, off = _lean(fit)
    if not placed.any() or fit.lean_err is None:
        return placed
    far = np.hypot(*off.T)
    if layers and fit.lean_noise is not None:
        return np.asarray(placed & (far > np.maximum(LEAST, OVERLAID * fit.lean_noise)))
    spread = max(float(arrays.spread(off[placed].ravel(), centre=0.0)), 1e-9)
    sure = far > SURE * fit.lean_err
    return np.asarray(placed & sure & (far > max(UNUSUAL * spread, LEAST)))


@dataclass(frozen=True)
class Halves:
    """First guess of a fit in which some columns are two.

    Attributes
    ----------
    positions : ndarray, shape (m, 2)
    source : ndarray of int, shape (m,)
        The column that each comes from.
    two : ndarray of bool, shape (m,)
        Those that are one of two; both follow one another at the end.
    """

    positions: np.ndarray
    source: np.ndarray
    two: np.ndarray


def as_two(fit: Fit, which: np.ndarray) -> Halves:
    """Make two of each of some columns, along the direction in which they are drawn out."""
    places = np.c_[fit.y, fit.x]
    one = np.flatnonzero(~which)
    many = np.flatnonzero(which)
    lean = np.zeros((len(which), 2)) if fit.lean is None else fit.lean
    usual = np.median(lean[fit.places()], axis=0)
    e1, e2 = (lean[many] - usual).T
    size = np.hypot(e1, e2)
    turn = 0.5 * np.arctan2(e2, e1)  # of the longer axis, from +y (down) towards +x
    sigma = np.median(fit.sigma[fit.places()])
    # what is left is what the fit of one did not take up by a larger width
    half = np.clip(np.sqrt(np.expm1(2 * size)), 0.6, 1.0) * sigma
    step = half[:, None] * np.c_[np.cos(turn), np.sin(turn)]
    positions = np.concatenate([places[one], places[many] - step, places[many] + step])
    source = np.concatenate([one, many, many])
    return Halves(positions, source, np.arange(len(positions)) >= len(one))


def explained(before: Fit, after: Fit, made: Halves) -> np.ndarray:
    """Which of the split columns two columns explain, in the order of the pairs.

    Parameters
    ----------
    before, after : Fit
        Of single columns, and of the split ones.
    made : Halves

    Returns
    -------
    ndarray of bool, shape (n_pairs,)
    """
    first = int((~made.two).sum())
    n = (len(made.two) - first) // 2
    a, b = first + np.arange(n), first + n + np.arange(n)
    good = after.places()
    gap = np.hypot(after.y[a] - after.y[b], after.x[a] - after.x[b])
    sigma = float(np.median(before.sigma[before.places()]))
    near = scipy.spatial.cKDTree(np.c_[before.y, before.x])
    ok = before.places() & ~np.isin(np.arange(len(before.y)), made.source[made.two])
    around = near.query(np.c_[before.y, before.x][made.source[a]], k=min(25, len(before.y)))[1]
    right = good[a] & good[b] & (gap > APART[0] * sigma) & (gap < APART[1] * sigma)
    for i in range(n):
        beside = [j for j in around[i] if ok[j]][:12]
        if not beside:
            right[i] = False
            continue
        heights = before.amplitude[beside]
        both = np.array([after.amplitude[a[i]], after.amplitude[b[i]]])
        ratio = both[:, None] / heights  # as high as one of the kinds of neighbours
        like = (ratio > AS_HIGH[0]) & (ratio < AS_HIGH[1])
        # one heavy column that is drawn out is no two light ones
        whole = both.sum() / heights
        heavy = (whole > AS_ONE[0]) & (whole < AS_ONE[1])
        right[i] &= bool((like.mean(1) > 0.25).all() and heavy.mean() < 0.2)
    if after.chi2 is not None and before.chi2 is not None:
        # two must fit better than one did
        right &= np.maximum(after.chi2[a], after.chi2[b]) < before.chi2[made.source[a]]
    return np.asarray(right)


@dataclass(frozen=True)
class ResolvedPairs:
    """Columns of which some were found to be two.

    Attributes
    ----------
    fit : Fit
        ``ok`` is False of what is drawn out and neither one round column nor two.
    positions : ndarray, shape (m, 2)
        First guesses.
    source : ndarray of int, shape (m,)
        The candidate that each comes from.
    two : ndarray of bool, shape (m,)
        Those that are one of two.
    left : ndarray of bool, shape (m,)
        Those that are drawn out and stay one.
    """

    fit: Fit
    positions: np.ndarray
    source: np.ndarray
    two: np.ndarray
    left: np.ndarray


def resolve_pairs(
    fit: Fit, positions: np.ndarray, again: Callable[[np.ndarray, np.ndarray], Fit]
) -> ResolvedPairs:
    """Make two of the columns that are two, as far as two explain them, and mark the others.

    Parameters
    ----------
    fit : Fit
        Of round columns.
    positions : ndarray, shape (n, 2)
        From which it started.
    again : callable
        Fits columns from given positions, each made of a given candidate.

    Returns
    -------
    ResolvedPairs
    """
    n, layers = len(positions), overlaid(fit)
    source, two, tried = np.arange(n), np.zeros(n, bool), np.zeros(n, bool)
    for _ in range(ROUNDS):
        which = drawn_out(fit, layers=layers) & ~two & ~tried[source]
        if not which.any():
            break
        tried[source[which]] = True
        made = as_two(fit, which)
        trial = again(made.positions, source[made.source])
        right = np.zeros(len(which), bool)
        right[np.flatnonzero(which)] = explained(fit, trial, made)
        if not right.any():
            continue
        if not np.array_equal(right, which):
            made = as_two(fit, right)
            trial = again(made.positions, source[made.source])
        fit, positions = trial, made.positions
        two, source = made.two | two[made.source], source[made.source]
    left = drawn_out(fit, layers=layers) & ~two
    fit.ok = fit.ok & ~left
    return ResolvedPairs(fit, positions, source, two, left)


#: A larger share of the atoms that are drawn out is told, from so many on.
TOLD, FROM = 0.01, 3


def pair_sentences(two: np.ndarray, left: np.ndarray) -> list[str]:
    """What is said of the columns that are two, and of those that are neither one nor two.

    Parameters
    ----------
    two, left : ndarray of bool, shape (n,)
        See :class:`ResolvedPairs`.
    """
    pairs, odd, said = int(two.sum()) // 2, int(left.sum()), []
    if pairs:
        said.append(
            f"{pairs:,} column{' is' if pairs == 1 else 's are'} drawn out as by two that are "
            "closer than the image resolves: each is given as two."
        )
    if odd >= FROM and odd > TOLD * len(left):
        said.append(
            f"{odd:,} columns are drawn out and neither one nor two of "
            "the usual ones: the fit is marked as doubtful there."
        )
    return said
