"""The shift between two sets of points that most of them agree on."""

from __future__ import annotations

import numpy as np
import scipy

#: Fewer atoms than this that go together are no drift, they are atoms that move.
FEWEST = 8
#: The same drift carries at least this part of the atoms, else shifts are voted on.
AGREE = 0.55
#: Turns after which the middle of some steps is near enough.
MOST_TURNS = 60


def _middle(steps: np.ndarray, spacing: float) -> np.ndarray:
    """Point with the least sum of distances to some steps (their geometric median).

    Unlike the median of each axis it turns with the movie: which atoms count for the drift must
    not depend on how the image lies.

    Parameters
    ----------
    steps : ndarray, shape (n, 2)
    spacing : float
        Distance between nearest points, against which a change is small.

    References
    ----------
    E. Weiszfeld, Sur le point pour lequel la somme des distances de n points donnés est
    minimum, Tohoku Math. J. 43 (1937).
    """
    middle = steps.mean(axis=0)
    for _ in range(MOST_TURNS):
        weight = 1 / np.maximum(np.hypot(*(steps - middle).T), 1e-9 * spacing)
        new = weight @ steps / weight.sum()
        moved, middle = np.hypot(*(new - middle)), new
        if moved < 1e-6 * spacing:
            break
    return np.asarray(middle, float)


def vote(
    before: np.ndarray, after: scipy.spatial.cKDTree, guess: np.ndarray, reach: float, bin_px: float
) -> np.ndarray | None:
    """Shift that most pairs of points agree on, the one nearest to `guess` of equal ones.

    A lattice fits onto itself at every lattice vector, with some votes lost at the border;
    of shifts with at least 0.8 of the most votes the one nearest to the guess is taken.
    """
    near = after.query_ball_point(before + guess, reach)
    counts = np.fromiter((len(v) for v in near), int, len(near))
    if not counts.sum():
        return None
    j = np.concatenate([np.asarray(v, int) for v in near if v])
    d = after.data[j] - np.repeat(before, counts, axis=0) - guess
    n = int(np.ceil(2 * reach / bin_px)) + 1
    edges = np.linspace(-reach, reach, n)
    votes, _, _ = np.histogram2d(d[:, 0], d[:, 1], bins=[edges, edges])
    padded = np.pad(votes, 1)
    m = len(votes)
    votes = np.sum([padded[a : a + m, b : b + m] for a in range(3) for b in range(3)], axis=0)
    middle = 0.5 * (edges[1:] + edges[:-1])
    good = np.argwhere(votes >= 0.8 * votes.max())
    places = middle[good]
    best = places[np.argmin((places**2).sum(1))]
    close = np.hypot(*(d - best).T) < 2 * bin_px
    return guess + (np.median(d[close], axis=0) if close.any() else best)


def common_shift(
    before: np.ndarray, after: scipy.spatial.cKDTree, guess: np.ndarray, spacing: float
) -> tuple[np.ndarray, float]:
    """Shift that carries most of the points of one frame onto those of the next.

    Parameters
    ----------
    before : ndarray, shape (n, 2)
        Positions in one frame.
    after : cKDTree
        Of the positions in the next.
    guess : ndarray, shape (2,)
        First guess, right within half of the distance between nearest points.
    spacing : float
        Distance between nearest points.

    Returns
    -------
    shift : ndarray, shape (2,)
        `guess`, where too few points agree.
    error : float
        Standard error of the shift per axis, NaN where it is the guess.
    """
    if len(before) < FEWEST or after.n < FEWEST or not np.isfinite(spacing):
        return guess, float("nan")
    shift = guess
    for attempt in range(2):
        moved = np.zeros(2)
        for _ in range(2):
            gap, j = after.query(before + shift, distance_upper_bound=0.5 * spacing)
            seen = np.isfinite(gap)
            if seen.sum() < FEWEST:
                break
            d = after.data[j[seen]] - before[seen]
            middle = _middle(d, spacing)
            off = np.hypot(d[:, 0] - middle[0], d[:, 1] - middle[1])
            close = off < max(3 * float(np.median(off)), 1e-9)
            tight = (off < 0.17 * spacing).mean() * seen.mean()
            moved, shift = d[close].mean(axis=0) - shift, d[close].mean(axis=0)
            if np.hypot(*moved) < 0.08 * spacing:  # the partners would be the same
                break
        if seen.sum() >= FEWEST and (tight >= AGREE or attempt):
            spread = float(np.sqrt(np.mean((d[close] - shift) ** 2)))
            good = tight >= 0.3
            return (shift, spread / np.sqrt(close.sum())) if good else (guess, float("nan"))
        if attempt:
            break
        # a wrong shift also finds partners, but all over the place
        voted = vote(before, after, guess, 2.2 * spacing, 0.1 * spacing)
        if voted is None:
            break
        shift = voted
    return guess, float("nan")
