"""Identities of few things that hop far: the likeliest way to go on, and how likely it is.

Foreign atoms, vacancies and adsorbates stay for a while and then go one or more steps at once.
Each pair of a track and a detection has a likelihood: of staying, of hopping, of having been
missed; it is weighed against a track that ended and one that began. How often they hop and how
far is learned from the movie itself, in turns.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy

#: A step beyond this part of the spacing is a hop; less is the error of the place.
STEP = 0.6
#: Turns in which the hops are learned.
TURNS = 4
#: Part of the hops that go anywhere within reach: jumps that no learned width foretells.
FAR = 0.002
#: Width of a ring of sites, over the shortest hop.
RING = 0.2
#: Hops that are thought of before any was seen.
IMAGINED = 3.0
#: Hops are learned from links that are likelier than this.
SURE = 0.9


@dataclass(frozen=True)
class Habits:
    """How things that hop behave, per frame.

    Attributes
    ----------
    stay : float
        Chance not to hop.
    hop2 : float
        Mean square of a displacement by hops, px².
    noise2 : float
        Variance of a place, per axis.
    missed, lost : float
        Chance not to be seen; to end.
    born : float
        New ones per frame and site.
    site : float
        Area of a site, px².
    ring : float
        Width of the rings, px.
    rings : ndarray
        Chance of one site in each ring round the place of before, of those that hop.
    """

    stay: float
    hop2: float
    noise2: float
    missed: float
    lost: float
    born: float
    site: float
    ring: float = 1.0
    rings: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Walks:
    """Tracks of things that hop.

    Attributes
    ----------
    track : ndarray of int
        For each detection.
    probability : ndarray
        That the detection belongs to the one before it in its track; 1 of the first.
    habits : Habits
    """

    track: np.ndarray
    probability: np.ndarray
    habits: Habits


def step_cost(d2: np.ndarray, gap: np.ndarray, habits: Habits, reach: float) -> np.ndarray:
    """Minus logarithm of the chance of displacements after so many frames, per site.

    Things sit on sites, so that a place they hop to is as sharp as one where they stay: chances
    of sites are compared, not densities.
    """
    stay = habits.stay**gap
    wide = 0.5 * habits.hop2 * (1 + (1 - habits.stay) * (gap - 1)) + 2 * habits.noise2
    at_rest = stay * np.exp(-0.25 * d2 / habits.noise2)
    hopped = habits.site * np.exp(-0.5 * d2 / wide) / (2 * np.pi * wide)
    if len(habits.rings):  # what was seen to happen between two frames
        bins = np.minimum(np.sqrt(d2) / habits.ring, len(habits.rings) - 1).astype(int)
        hopped = np.where(gap == 1, habits.rings[bins], hopped)
    anywhere = habits.site / (np.pi * reach**2)
    moved = (1 - stay) * ((1 - FAR) * hopped + FAR * anywhere)
    return np.asarray(-np.log(np.maximum(at_rest + moved, 1e-300)))


def _best_links(i: np.ndarray, j: np.ndarray, gain: np.ndarray, n: int) -> np.ndarray:
    """Choose the pairs of least total cost; each i and each j is in one of them at most.

    Every detection of the movie is once on the left (what comes after it?) and once on the right
    (what came before it?). Both also have an empty partner, so that a full matching exists.
    """
    if not len(i):
        return np.zeros(0, np.int64)
    every = np.arange(n)
    # pairs of empty partners are free, where a real pair needs them
    left, right = np.r_[i, every, n + every, n + j], np.r_[j, n + every, every, n + i]
    # costs of a sparse matching must not be zero
    cost = np.r_[gain, np.zeros(2 * n + len(i))] + 100.0
    graph = scipy.sparse.csr_array((cost, (left, right)), shape=(2 * n, 2 * n))
    row, col = scipy.sparse.csgraph.min_weight_full_bipartite_matching(graph)
    after = np.full(n, -1)
    real = (row < n) & (col < n)
    after[row[real]] = col[real]
    return np.flatnonzero(after[i] == j)


def _chances(
    i: np.ndarray, j: np.ndarray, gain: np.ndarray, picked: np.ndarray, n: int
) -> np.ndarray:
    """Probability of each picked pair, against what differs from it by one change.

    Weighed are to drop the pair, to give either partner another free one, and to swap partners
    with another pair.
    """
    value = {(int(a), int(b)): -float(g) for a, b, g in zip(i, j, gain, strict=True)}
    after, before = np.full(n, -1), np.full(n, -1)
    after[i[picked]], before[j[picked]] = j[picked], i[picked]
    out_of: dict[int, list[int]] = {}
    into: dict[int, list[int]] = {}
    for a, b in value:
        out_of.setdefault(a, []).append(b)
        into.setdefault(b, []).append(a)
    chance = np.ones(len(picked))
    for k, p in enumerate(picked):
        a, b = int(i[p]), int(j[p])
        own = value[a, b]
        others = [-own]
        for m in out_of[a]:
            rival = int(before[m])
            if m == b:
                continue
            if rival < 0:
                others.append(value[a, m] - own)
            elif (rival, b) in value:
                others.append(value[a, m] + value[rival, b] - own - value[rival, m])
            else:  # the other one ends here
                others.append(value[a, m] - own - value[rival, m])
        others += [value[m, b] - own for m in into[b] if m != a and after[m] < 0]
        chance[k] = 1 / (1 + float(np.exp(np.clip(others, -50, 50)).sum()))
    return chance


def link_walkers(
    frame: np.ndarray, place: np.ndarray, spacing: float, reach: float, max_gap: int
) -> Walks:
    """Tracks of things that hop.

    Parameters
    ----------
    frame : ndarray of int, shape (n,)
        Sorted.
    place : ndarray, shape (n, 2)
        Without the drift of what they sit on.
    spacing : float
        Distance between nearest sites.
    reach : float
        Farthest that one goes between frames.
    max_gap : int
        Frames that one may be missed; -1 for any number.
    """
    every = np.unique(frame)
    per_frame = len(frame) / max(len(every), 1)
    # the room that they have; of one alone, that of its reach
    room = float(np.prod(np.ptp(place, axis=0) + 2 * spacing)) if len(place) else 1.0
    habits = Habits(
        0.7, 1.5 * spacing**2, (0.1 * spacing) ** 2, 0.05, 0.02,
        0.1 * per_frame * spacing**2 / room, spacing**2,
    )  # fmt: skip
    walks = Walks(np.zeros(0, np.int64), np.zeros(0), habits)
    for _ in range(TURNS):
        walks = _link_once(frame, place, habits, reach, max_gap)
        habits = _learn(frame, place, walks, spacing, room, habits)
    return Walks(walks.track, walks.probability, habits)


def _candidates(
    frame: np.ndarray, place: np.ndarray, habits: Habits, reach: float, max_gap: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (detection, later detection) that may follow each other, and what each costs.

    The cost is below zero where the pair is likelier than an end and a beginning.
    """
    gone = -np.log(habits.missed + habits.lost) - np.log(habits.born)
    tree = scipy.spatial.cKDTree(place)
    pairs = tree.query_pairs(reach, output_type="ndarray")
    gap = frame[pairs[:, 1]] - frame[pairs[:, 0]]
    pairs = np.where((gap < 0)[:, None], pairs[:, ::-1], pairs)
    gap = np.abs(gap)
    fits = gap > 0
    if max_gap >= 0:
        fits &= gap <= max_gap + 1
    (i, j), gap = pairs[fits].T, gap[fits].astype(float)
    d2 = ((place[j] - place[i]) ** 2).sum(1)
    gain = step_cost(d2, gap, habits, reach) - (gap - 1) * np.log(habits.missed) - gone
    keep = gain < 0
    return i[keep], j[keep], gain[keep]


def _link_once(
    frame: np.ndarray, place: np.ndarray, habits: Habits, reach: float, max_gap: int
) -> Walks:
    n = len(frame)
    i, j, gain = _candidates(frame, place, habits, reach, max_gap)
    picked = _best_links(i, j, gain, n)
    before = np.full(n, -1)
    before[j[picked]] = i[picked]
    track, born = np.full(n, -1, np.int64), 0
    for k in range(n):  # sorted by frame: what comes before has its track
        if before[k] >= 0:
            track[k] = track[before[k]]
        else:
            track[k], born = born, born + 1
    chance = np.ones(n)
    chance[j[picked]] = _chances(i, j, gain, picked, n)
    return Walks(track, chance, habits)


def _learn(
    frame: np.ndarray, place: np.ndarray, walks: Walks, spacing: float, room: float,
    before: Habits,
) -> Habits:  # fmt: skip
    """Learn from tracks how things hop; a few imagined ones keep it from certainty."""
    track = walks.track
    order = np.lexsort((frame, track))
    same = track[order][1:] == track[order][:-1]
    gap = np.diff(frame[order])[same]
    d2 = (np.diff(place[order], axis=0)[same] ** 2).sum(1)[gap == 1]
    sure = walks.probability[order][1:][same][gap == 1] > SURE
    n_tracks, frames = int(track.max()) + 1 if len(track) else 0, np.unique(frame)
    first, last = np.full(n_tracks, frame.max(initial=0)), np.zeros(n_tracks, np.int64)
    np.minimum.at(first, track, frame)
    np.maximum.at(last, track, frame)
    hopped = d2 > (STEP * spacing) ** 2
    n, hops = len(d2), int(hopped.sum())
    still = d2[~hopped]
    noise2 = before.noise2
    if len(still) > 10:  # two places, two axes; the median of an exponential
        noise2 = float(np.median(still)) / (4 * np.log(2))
    noise2 = max(noise2, (0.02 * spacing) ** 2)
    # imagined: a hop in five frames, each of a spacing and a half
    hop2 = (d2[hopped].sum() + 2 * 1.5 * spacing**2) / (hops + 2)
    # of a lattice of sites about 0.9 of the square of the shortest hop
    site = 0.9 * float(np.quantile(d2[hopped], 0.25)) if hops > 10 else before.site
    inside = (frames[:, None] > first) & (frames[:, None] < last)
    missed = (inside.sum() - (len(frame) - 2 * n_tracks) + 0.5) / (inside.sum() + 10)
    ended, began = int((last < frames.max()).sum()), int((first > frames.min()).sum())
    return Habits(
        float(np.clip((n - hops + 4) / (n + 5), 0.02, 0.999)),
        float(hop2),
        noise2,
        float(np.clip(missed, 0.005, 0.5)),
        float(np.clip((ended + 0.2) / (len(frame) + 10), 0.001, 0.3)),
        (began + 0.2) / (max(len(frames) - 1, 1) + 2) * site / room,
        site,
        *_rings(np.sqrt(d2[hopped & sure]), site, float(hop2) + 4 * noise2),
    )


def _rings(far: np.ndarray, site: float, hop2: float) -> tuple[float, np.ndarray]:
    """Width of the rings, and the chance of one site in each, from the lengths of hops."""
    width = RING * np.sqrt(site / 0.9)
    n = int(np.ceil(6 * np.sqrt(hop2) / width)) + 1
    middle = width * (np.arange(n) + 0.5)
    guess = middle * np.exp(-(middle**2) / hop2)
    counts = np.bincount(np.minimum(far / width, n - 1).astype(int), minlength=n).astype(float)
    smooth = np.convolve(counts, [0.25, 0.5, 0.25], "same")
    share = (smooth + IMAGINED * guess / guess.sum()) / (smooth.sum() + IMAGINED)
    return float(width), share * site / (2 * np.pi * middle * width)
