"""Which of the shifts that a lattice makes alike is the right one: what breaks it tells.

Vacancies, foreign atoms and edges are landmarks: laid onto each other by a wrong vector of the
lattice, atoms lie where none are, and bright ones on others.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy

from napari_atomlens import arrays
from napari_atomlens.tracking.shift import FEWEST

#: Shifts up to this many spacings from the expected one are looked at.
REACH = 3.0
#: Partners lie within this part of the spacing.
NEAR = 0.3
#: Chance that a landmark has moved; that two meet by chance.
MOVED, RARE = 0.2, 0.05
#: An atom this many robust standard deviations off the usual brightness is a landmark.
BRIGHT = 5.0
#: A shift is right if it is this much likelier than all others (natural logarithm).
SURE = 3.0
#: So much likelier than the expected one must another be to be taken.
SWITCH = 6.0
#: Where nothing tells, a step that is off the expected one by more than this part of the spacing
#: may be another.
LARGE = 0.25
#: Frames in which all shifts are weighed against each other.
WEIGHED = 3
#: Least part of the atoms of the best shift that another carries.
AGREE = 0.6


@dataclass(frozen=True)
class ChosenShift:
    """A shift, and what else it may be.

    Attributes
    ----------
    shift : ndarray, shape (2,)
    others : ndarray, shape (n, 2)
        Vectors by which it may be off, shortest first; empty where it is sure.
    alone : float
        Part of the atoms without a partner.
    """

    shift: np.ndarray
    others: np.ndarray
    alone: float


def landmarks(bright: np.ndarray) -> np.ndarray:
    """Whether each atom is unlike most: -1 darker, 0 usual, 1 brighter."""
    known = np.isfinite(bright)
    if known.sum() < 8:
        return np.zeros(len(bright))
    middle = float(np.median(bright[known]))
    spread = arrays.spread(bright[known], centre=middle)
    score = (np.nan_to_num(bright, nan=middle) - middle) / max(spread, 1e-3 * abs(middle), 1e-12)
    return np.where(score > BRIGHT, 1.0, np.where(score < -BRIGHT, -1.0, 0.0))


def mark_frames(frame: np.ndarray, bright: np.ndarray) -> np.ndarray:
    """Landmarks of every frame by itself; `frame` is sorted."""
    mark = np.zeros(len(frame))
    starts = np.flatnonzero(np.r_[True, np.diff(frame) > 0]) if len(frame) else frame
    for a, b in pairwise([*starts, len(frame)]):
        mark[a:b] = landmarks(bright[a:b])
    return mark


def shift_evidence(
    before: np.ndarray, marks: np.ndarray, after: scipy.spatial.cKDTree, marks_after: np.ndarray,
    shift: np.ndarray, spacing: float,
) -> tuple[int, int, int, int]:  # fmt: skip
    """What speaks against a shift.

    Returns
    -------
    inside, alone, marked, wrong : int
        Atoms of both frames that should have a partner, and those without one; landmarks, and
        those whose partner is none.
    """
    moved = before + shift
    rim = 0.6 * spacing
    low, high = np.min(after.data, axis=0) + rim, np.max(after.data, axis=0) - rim
    mine = np.all((moved > low) & (moved < high), axis=1)
    low, high = moved.min(0) + rim, moved.max(0) - rim
    theirs = np.all((after.data > low) & (after.data < high), axis=1)
    gap, j = after.query(moved, distance_upper_bound=NEAR * spacing)
    met = np.isfinite(gap)
    back = np.zeros(after.n, bool)
    back[j[met]] = True
    pairs = np.flatnonzero(met)
    a, b = marks[pairs], marks_after[j[pairs]]
    marked, wrong = (a != 0) | (b != 0), (a != b)
    return (
        int(mine.sum() + theirs.sum()), int((mine & ~met).sum() + (theirs & ~back).sum()),
        int(marked.sum()), int(wrong.sum()),
    )  # fmt: skip


def _candidates(
    before: np.ndarray, after: scipy.spatial.cKDTree, first: np.ndarray, spacing: float
) -> np.ndarray:
    """Shifts that carry many atoms onto others, within reach of the expected one."""
    reach, bin_px = REACH * spacing, 0.1 * spacing
    near = after.query_ball_point(before + first, reach)
    counts = np.fromiter((len(v) for v in near), int, len(near))
    if not counts.sum():
        return np.zeros((0, 2))
    j = np.concatenate([np.asarray(v, int) for v in near if v])
    d = after.data[j] - np.repeat(before, counts, axis=0) - first
    edges = np.arange(-reach, reach + bin_px, bin_px)
    votes, _, _ = np.histogram2d(d[:, 0], d[:, 1], bins=[edges, edges])
    votes = scipy.ndimage.uniform_filter(votes, 3, mode="constant") * 9
    top = (votes == scipy.ndimage.maximum_filter(votes, 5)) & (votes >= AGREE * votes.max())
    middle = 0.5 * (edges[1:] + edges[:-1])
    places = middle[np.argwhere(top)]
    tree = scipy.spatial.cKDTree(d)
    found = [
        np.median(d[rows], axis=0) for rows in tree.query_ball_point(places, 2 * bin_px) if rows
    ]
    return first + np.array(found).reshape(-1, 2)


def choose_shift(
    before: np.ndarray, marks: np.ndarray, after: scipy.spatial.cKDTree, marks_after: np.ndarray,
    first: np.ndarray, base: np.ndarray, spacing: float,
) -> ChosenShift:  # fmt: skip
    """Choose among the shifts that a lattice makes alike.

    Parameters
    ----------
    before : ndarray, shape (n, 2)
    marks : ndarray, shape (n,)
        Landmarks of the frame before (:func:`landmarks`).
    after : cKDTree
        Of the positions in the next frame.
    marks_after : ndarray
    first : ndarray, shape (2,)
        Where the shift is expected.
    base : ndarray, shape (2,)
        Shift that fits best near there.
    spacing : float
        Distance between nearest atoms.
    """
    every = np.concatenate([base[None], _candidates(before, after, first, spacing)])
    keep = [0]
    for k in range(1, len(every)):  # each once
        if np.hypot(*(every[keep] - every[k]).T).min() > 0.4 * spacing:
            keep.append(k)
    every = every[keep]
    seen = np.array([
        shift_evidence(before, marks, after, marks_after, s, spacing) for s in every
    ], float)  # fmt: skip
    share = seen[:, 1] / np.maximum(seen[:, 0], 1)
    # as many of all as of the first: a small overlap is no merit
    value = -_excess(share * seen[0, 0])
    fits = seen[:, 2] - seen[:, 3]
    value += fits * np.log((1 - MOVED) / RARE) + seen[:, 3] * np.log(MOVED)
    best = int(value.argmax())
    if value[best] < value[0] + SWITCH:
        best = 0  # nothing tells: the one that is expected
    near = np.flatnonzero(value > value[best] - SURE)
    others = every[near[near != best]] - every[best]
    others = others[np.argsort(np.hypot(*others.T), kind="stable")]
    return ChosenShift(every[best], others, float(share[best]))


def _excess(alone: np.ndarray) -> np.ndarray:
    """How much likelier than one rate for both two rates are, of each count and the least."""
    least = float(alone.min())
    both = np.maximum(alone + least, 1e-12)
    return np.asarray(
        alone * np.log(np.maximum(2 * alone / both, 1e-12))
        + least * np.log(max(least, 1e-12) * 2 / both)
    )


class Vectors:
    """Settles by which vector of the lattice each frame has moved.

    All shifts are weighed in the first frames, and where more atoms than usual have no partner or
    a landmark has none.
    """

    def __init__(self, spacing: float) -> None:
        self.spacing, self.usual = spacing, list[float]()
        self.doubt: tuple[int, np.ndarray] | None = None

    def settle(
        self, frame: int, before: np.ndarray, marks: np.ndarray, after: scipy.spatial.cKDTree,
        marks_after: np.ndarray, at: np.ndarray, first: np.ndarray, base: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        """Return the shift that landmarks tell."""
        if len(before) < FEWEST or after.n < FEWEST or not np.isfinite(self.spacing):
            return base
        inside, alone, _, wrong = shift_evidence(
            before, marks, after, marks_after, base, self.spacing
        )
        limit = 1.3 * float(np.median(self.usual)) * inside + 2 if self.usual else 0.0
        large = np.hypot(*(base - at)) > LARGE * self.spacing
        if len(self.usual) >= WEIGHED and alone <= limit and not wrong and not large:
            return base
        chosen = choose_shift(before, marks, after, marks_after, first, base, self.spacing)
        self.usual.append(chosen.alone)
        far = np.hypot(*(chosen.shift - first)) > LARGE * self.spacing
        if far and len(chosen.others) and self.doubt is None:
            self.doubt = (frame, chosen.others)
        return chosen.shift


def doubt_sentence(frame: int, vectors: np.ndarray) -> str:
    """Say by which vectors of the lattice identities may be off."""
    named = ", ".join(f"({y:+.1f}, {x:+.1f})" for y, x in vectors[:4])
    return (
        f"From frame {frame} on identities and drift may be off by a vector of the lattice, "
        f"such as (y, x) = {named} px: the frame moved far, and nothing in it breaks the lattice."
    )
