"""Weak maxima between strong columns: tails that meet on hollow sites, or light columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from napari_atomlens import points
from napari_atomlens.atoms.surroundings import FAR, NEIGHBOURS, SLACK

#: A candidate is weak below this share of the second highest of its neighbours.
WEAK = 0.4
#: Weak maxima of a particle are ghosts below this share of the brightest columns near them.
FAINT = 0.22
#: In a crystal that fills the frame weak maxima are doubtful below this share.
GHOST = 0.155
#: A weak maximum lies within so many spacings of a strong column.
BESIDE = 1.25
#: Heights of neighbours of one kind differ by less than this (logarithm).
KIND = 0.12
#: A particle is rounded where its rim is lower than this share of its brightest columns.
ROUNDED = 0.8
#: So many columns are a crystal, and so many of its rim tell whether it is rounded.
FEWEST, RIM = 12, 8
#: Strong columns among so many neighbours are asked for the brightest.
BRIGHTEST_OF = 60
#: Weak ones within so many spacings share one typical height.
AROUND = 5.0
#: No wider gap between the directions to its neighbours: a place that is surrounded, and a
#: column that is not of the rim.
WIDEST_GAP, RIM_GAP = np.deg2rad(200.0), np.deg2rad(150.0)


#: More than this share of the candidates is told of.
TOLD = 0.01
LEFT_OUT = (
    "{:,} weak maxima between the columns of a particle are left out as ghosts; faint keeps them."
)
KEPT = (
    "{:,} weak columns between strong ones of one kind are light columns or ghosts: they are kept "
    "as doubtful; faint believes them."
)


@dataclass(frozen=True)
class Ghosts:
    """What weak maxima are.

    Attributes
    ----------
    none : ndarray of bool, shape (n,)
        No columns: weak maxima of a rounded particle of one kind of column.
    doubtful : ndarray of bool, shape (n,)
        Light columns or ghosts: weak maxima of a crystal of one kind of column.
    """

    none: np.ndarray
    doubtful: np.ndarray

    def sentences(self, seen: np.ndarray) -> list[str]:
        """What the user must know, where more than a few of those that were seen are such.

        Parameters
        ----------
        seen : ndarray of bool, shape (n,)
            Candidates that are likely enough to be atoms.
        """
        said = []
        for which, text in ((self.none, LEFT_OUT), (self.doubtful, KEPT)):
            n = int((which & seen).sum())
            if n > TOLD * seen.sum():
                said.append(text.format(n))
        return said


def surrounded(
    places: np.ndarray, strong: np.ndarray, reach: float, widest: float = WIDEST_GAP
) -> np.ndarray:
    """Mask of the places that have at least three strong ones round them, on all sides."""
    out = np.zeros(len(places), bool)
    if len(strong) < 3:
        return out
    k = min(9, len(strong))
    distance, near = scipy.spatial.cKDTree(strong).query(places, k=k, distance_upper_bound=reach)
    there = np.isfinite(distance) & (distance > 0)
    step = strong[np.where(there, near, 0)] - places[:, None]
    angle = np.where(there, np.arctan2(step[..., 0], step[..., 1]), np.inf)
    angle = np.sort(angle, axis=1)
    count = there.sum(1)
    for n in range(3, k + 1):
        rows = np.flatnonzero(count == n)
        some = angle[rows, :n]
        gaps = np.diff(np.c_[some, some[:, :1] + 2 * np.pi], axis=1)
        out[rows] = gaps.max(1, initial=0) < widest
    return out


def led_to(goals: np.ndarray, strong: np.ndarray, spacing: float) -> np.ndarray:
    """Which places a row of three strong columns leads to: sites of their own lattice."""
    tree = scipy.spatial.cKDTree(strong)
    k = min(NEIGHBOURS, len(strong))
    near = tree.query(goals, k=k, distance_upper_bound=FAR * spacing)[1].reshape(-1, k)
    goal, first = np.repeat(np.arange(len(goals)), k), near.ravel()
    goal, first = goal[first < len(strong)], first[first < len(strong)]
    step = strong[first] - goals[goal]
    row = np.ones(len(goal), bool)
    for n, slack in ((2, SLACK), (3, 1.5 * SLACK)):
        away = tree.query(goals[goal] + n * step, distance_upper_bound=slack * spacing)[0]
        row &= np.isfinite(away)
    return np.bincount(goal[row], minlength=len(goals)) > 0


def _second_highest(
    places: np.ndarray, heights: np.ndarray, trusted: np.ndarray, spacing: float
) -> np.ndarray:
    """Height of the second highest neighbour of each place, -inf where there is none."""
    tree = scipy.spatial.cKDTree(places[trusted])
    k = min(13, int(trusted.sum()))
    near = tree.query(places, k=k, distance_upper_bound=2.2 * spacing)[1]
    beside = np.r_[heights[trusted], -np.inf][near]
    return np.asarray(np.sort(beside, axis=1)[:, -2])


def _brightest(places: np.ndarray, strong: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Height of the brightest strong columns round each place, one in ten left out."""
    k = min(BRIGHTEST_OF, len(strong))
    near = scipy.spatial.cKDTree(strong).query(places, k=k)[1]
    return np.asarray(np.quantile(heights[near], 0.9, axis=1))


@dataclass(frozen=True)
class _Crystal:
    """What is known of the strong columns that hang together with one another."""

    label: np.ndarray
    one_kind: np.ndarray  #: of each label
    rounded: np.ndarray


def _crystals(
    strong: np.ndarray, heights: np.ndarray, spacing: float, shape: tuple[int, int]
) -> _Crystal:
    tree = scipy.spatial.cKDTree(strong)
    label = points.connected(tree.query_pairs(1.6 * spacing, output_type="ndarray"), len(strong))
    beside = tree.query(strong, k=min(7, len(strong)))[1][:, 1:]
    usual = np.median(heights[beside], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        differs = np.abs(np.log(heights / usual))
    inner = surrounded(strong, strong, 1.6 * spacing, RIM_GAP)
    cut = ((strong < 1.2 * spacing) | (strong > np.array(shape) - 1 - 1.2 * spacing)).any(1)
    rim = ~inner & ~cut
    ratio = heights / _brightest(strong, strong, heights)
    n = int(label.max()) + 1
    one_kind, rounded = np.zeros(n, bool), np.zeros(n, bool)
    for c in np.flatnonzero(np.bincount(label) >= FEWEST):
        mine = label == c
        whole = mine & ~rim
        one_kind[c] = bool(whole.any()) and float(np.nanmedian(differs[whole])) < KIND
        edge = mine & rim
        rounded[c] = edge.sum() >= RIM and float(np.median(ratio[edge])) < ROUNDED
    return _Crystal(label, one_kind, rounded)


def ghosts(
    places: np.ndarray, amplitude: np.ndarray, ok: np.ndarray, spacing: float,
    shape: tuple[int, int],
) -> Ghosts:  # fmt: skip
    """Which candidates are weak maxima between columns that are much stronger.

    Parameters
    ----------
    places : ndarray, shape (n, 2)
    amplitude : ndarray, shape (n,)
        Fitted together, so that the tails of neighbours are taken off as far as columns are
        Gaussian.
    ok : ndarray of bool, shape (n,)
        Whose amplitude can be trusted; the others are neither ghosts nor strong.
    spacing : float
    shape : tuple of int
        Of the image.

    Returns
    -------
    Ghosts

    Notes
    -----
    Tails and rings of real probes, and channelling, make maxima of 5 to 20 % where strong columns
    stand on all sides. One image cannot tell them from light columns of that height by their
    shape; what they stand in can. Of a rounded particle of one kind of column they are ghosts. In
    a crystal of one kind without a rim they may be the oxygen of an oxide: they are doubtful.
    Between columns of several kinds they are the light ones of a compound. What stands on a site
    of the strong columns, such as a light dopant, is none, nor is what belongs to a sublattice
    of weak columns that is typically higher, such as a single chalcogen.
    """
    out = Ghosts(np.zeros(len(places), bool), np.zeros(len(places), bool))
    trusted = ok & np.isfinite(amplitude)
    if trusted.sum() < FEWEST:
        return out
    weak = trusted & (amplitude < WEAK * _second_highest(places, amplitude, trusted, spacing))
    strong, heights = places[trusted & ~weak], amplitude[trusted & ~weak]
    if not weak.any() or len(strong) < FEWEST:
        return out
    spacing = points.spacing(strong)  # that of ghosts is less
    if not np.isfinite(spacing):
        return out
    rows = np.flatnonzero(trusted)
    away, nearest = scipy.spatial.cKDTree(strong).query(places[rows], k=2)
    beside = weak[rows] & (away[:, 0] < BESIDE * spacing)
    beside[beside] = ~led_to(places[rows[beside]], strong, spacing)
    rows, nearest = rows[beside], nearest[beside, 0]
    if not len(rows):
        return out
    share = amplitude[rows] / _brightest(places[rows], strong, heights)
    sets = scipy.spatial.cKDTree(places[rows]).query_ball_point(places[rows], AROUND * spacing)
    typical = np.array([np.median(share[s]) for s in sets])
    crystal = _crystals(strong, heights, spacing, shape)
    mine = crystal.label[nearest]
    alike, particle = crystal.one_kind[mine], crystal.rounded[mine]
    out.none[rows] = alike & particle & (typical < FAINT)
    out.doubtful[rows] = alike & ~particle & (typical < GHOST)
    _take_in_the_rim(out.none, places, amplitude, trusted, strong, spacing)
    return out


def _take_in_the_rim(
    none: np.ndarray, places: np.ndarray, amplitude: np.ndarray, trusted: np.ndarray,
    strong: np.ndarray, spacing: float,
) -> None:  # fmt: skip
    """Add the ghosts at the rim of a particle, where its columns are hardly higher than they."""
    if not none.any():
        return
    known = np.flatnonzero(none)
    rows = np.flatnonzero(trusted & ~none)
    away, near = scipy.spatial.cKDTree(places[known]).query(places[rows])
    alike = (away < 1.5 * spacing) & (amplitude[rows] < 1.6 * amplitude[known][near])
    rows = rows[alike]
    if len(rows):
        # not by themselves: a column that was taken for strong leads to no site
        high = strong[~np.isin(_codes(strong), _codes(places[rows]))]
        none[rows] = ~led_to(places[rows], high, spacing) if len(high) >= FEWEST else False


def _codes(places: np.ndarray) -> np.ndarray:
    """One number per place."""
    return np.asarray(places[:, 0] + 1j * places[:, 1])
