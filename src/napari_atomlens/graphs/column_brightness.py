"""How bright the columns of a crystal should be, against how bright those of the image are."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from napari_atomlens.graphs.views import View

#: Error of the logarithm of a brightness that is expected: this, and this share of how far it is
#: from the others, but no more than the last (channelling, thickness: brightness is not quite a
#: power of Z).
BRIGHT_ERR, BRIGHT_SHARE, BRIGHT_MOST = 0.05, 0.5, 0.35
#: Spread of that logarithm where nothing is expected.
ANY_BRIGHT = 0.5
#: Powers of Z that are tried, about the one that is expected, and how far off it may be.
EXPONENTS, EXPONENT_ERR = np.arange(-0.6, 0.61, 0.15), 0.3
#: Columns that should differ by more than this (log) are told apart by brightness.
UNLIKE = 0.5
#: Equal columns are equally bright within this (log), however many are measured.
EQUAL = 0.03


def fit_brightness(
    level: np.ndarray, error: np.ndarray, view: View, column: np.ndarray, exponent: float
) -> tuple[float, float, float]:
    """Log likelihood of the brightness of slots, how badly the worst fits, and the power of Z.

    Parameters
    ----------
    level, error : ndarray, shape (s,)
        Logarithm of the measured brightness, and its standard error.
    view : View
    column : ndarray of int, shape (s,)
        Column of each slot.
    exponent : float
        Expected power of Z; nearby ones are tried as well.
    """
    known = np.isfinite(level)
    if known.sum() < 2:
        return 0.0, 0.0, exponent
    best = (-np.inf, 0.0, exponent)
    for power in exponent + EXPONENTS:
        expected = np.log(view.weights(float(power)))[column[known]]
        middle = expected - expected.mean()
        share = np.minimum(BRIGHT_SHARE * np.abs(middle), BRIGHT_MOST)
        variance = BRIGHT_ERR**2 + share**2 + error[known] ** 2
        off = level[known] - expected
        off = off - np.average(off, weights=1 / variance)
        score = -0.5 * float((off**2 / variance + np.log(variance / ANY_BRIGHT**2)).sum())
        score -= 0.5 * ((power - exponent) / EXPONENT_ERR) ** 2
        if score > best[0]:
            best = (score, float(np.abs(off / np.sqrt(variance)).max()), float(power))
    return best


def repeats_sooner(
    level: np.ndarray,
    error: np.ndarray,
    sublattice: np.ndarray,
    view: View,
    column: np.ndarray,
    exponent: float,
) -> float:
    """Log odds that slots which should differ in brightness are the same column, repeated.

    The cell of a crystal may be laid over several cells of the image. Columns that a translation
    of the image leads to each other are then equally bright, to the error of the measurement,
    whereas two that only happen to be alike would not be so to some per cent.

    Parameters
    ----------
    level, error : ndarray, shape (s,)
        Logarithm of the measured brightness, and its standard error.
    sublattice : ndarray of int, shape (s,)
        Slots of one number are translations of the image apart.
    view : View
    column : ndarray of int, shape (s,)
        Column of the view of each slot.
    exponent : float
        Expected power of Z.

    Returns
    -------
    float
        The largest of all pairs, 0 where no two should differ.
    """
    expected = np.log(view.weights(exponent))[column]
    worst = 0.0
    for i, j in combinations(range(len(level)), 2):
        gap = float(expected[i] - expected[j])
        off = float(level[i] - level[j])
        if sublattice[i] != sublattice[j] or abs(gap) < UNLIKE or not np.isfinite(off):
            continue
        sharp = float(np.sqrt(error[i] ** 2 + error[j] ** 2 + EQUAL**2))
        wide = float(np.hypot(sharp, BRIGHT_SHARE * abs(gap)))
        same = -0.5 * (off / sharp) ** 2 - np.log(sharp)
        other = -0.5 * ((off - gap) / wide) ** 2 - np.log(wide)
        worst = max(worst, float(same - other))
    return worst
