"""Columns that must lie just outside of what was recorded, as the lattice inside goes on."""

from __future__ import annotations

import numpy as np
import scipy


class Scanned:
    """How far places lie outside of what was recorded of a frame.

    Parameters
    ----------
    shape : tuple of int
        Of the frame.
    recorded : ndarray of bool, optional
        Which of its pixels were recorded; all by default.
    """

    def __init__(self, shape: tuple[int, ...], recorded: np.ndarray | None = None) -> None:
        self.last = np.subtract(shape, 1)
        self.hole: np.ndarray | None = None
        if recorded is not None:
            edt = scipy.ndimage.distance_transform_edt
            self.hole = np.where(recorded, 0.5 - edt(recorded), edt(~recorded) - 0.5)

    def outwards(self, places: np.ndarray) -> np.ndarray:
        """Distance of places (n, 2) from what was recorded, negative inside, in pixels."""
        far = np.maximum(-places, places - self.last).max(axis=1)
        if self.hole is not None:
            near = np.clip(np.rint(places), 0, self.last).astype(int)
            far = np.maximum(far, self.hole[near[:, 0], near[:, 1]])
        return np.asarray(far)


def beyond_border(
    positions: np.ndarray,
    amplitude: np.ndarray,
    scanned: Scanned,
    spacing: float,
    reach: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Where columns must lie just outside of what was recorded, as the lattice inside goes on.

    Translations of the lattice are the frequent differences between columns of about the
    same height; a column is carried outside by a translation that also leads from another
    column to it.

    Returns
    -------
    positions : ndarray, shape (m, 2)
        Within `reach` of the border, outside of what was recorded.
    source : ndarray of int, shape (m,)
        The column that each was carried from.
    """
    nothing = np.zeros((0, 2)), np.zeros(0, np.int64)
    if len(positions) < 12:
        return nothing
    tree = scipy.spatial.cKDTree(positions)
    translations = _translations(positions, amplitude, tree, spacing)
    rim = np.flatnonzero(scanned.outwards(positions) > -3 * spacing)
    new, source = [], []
    for t in translations:
        target = positions[rim] + t
        inner = 0.1 * spacing  # a column cut in half by the border is often not found
        far = scanned.outwards(target)
        k = rim[(far > -inner) & (far < reach)]
        back, which = tree.query(positions[k] - t, distance_upper_bound=0.2 * spacing)
        leads = np.isfinite(back)
        k, which = k[leads], which[leads]
        k = k[np.abs(np.log(amplitude[k] / amplitude[which])) < 0.7]
        new.append(positions[k] + t)
        source.append(k)
    if not new or not sum(len(v) for v in new):
        return nothing
    places, carried = np.concatenate(new), np.concatenate(source)
    # several translations lead to the same place: their mean is the best guess
    groups = scipy.spatial.cKDTree(places).query_ball_point(places, 0.3 * spacing)
    centre = np.array([places[g].mean(0) for g in groups])
    first = np.array([min(g) == n for n, g in enumerate(groups)])
    far = tree.query(centre)[0] > 0.6 * spacing
    return centre[first & far], carried[first & far]


def _translations(
    positions: np.ndarray, amplitude: np.ndarray, tree: scipy.spatial.cKDTree, spacing: float
) -> list[np.ndarray]:
    """Frequent differences between columns of about the same height."""
    some = np.arange(0, len(positions), -(-len(positions) // 250))
    near = tree.query_ball_point(positions[some], 2.6 * spacing)
    i = np.repeat(some, [len(v) for v in near])
    j = np.concatenate(near).astype(np.int64)
    alike = (i != j) & (np.abs(np.log(amplitude[i] / amplitude[j])) < 0.5)
    difference = (positions[j] - positions[i])[alike]
    if not len(difference):
        return []
    votes = scipy.spatial.cKDTree(difference).query_ball_point(
        difference, 0.12 * spacing, return_length=True
    )
    left = votes >= 0.25 * len(some)
    translations: list[np.ndarray] = []
    while left.any() and len(translations) < 24:
        best = int(np.argmax(np.where(left, votes, 0)))
        same = np.hypot(*(difference - difference[best]).T) < 0.2 * spacing
        translations.append(difference[same].mean(0))
        left &= ~same
    return translations
