"""Drift of a lattice that noise hides: from the phases of its waves, all frames on one reference.

Waves of a lattice stand in a spectrum where no atom of it can be told from noise, and their
phases say where it lies, up to a vector of the lattice.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import arrays
from napari_atomlens.image import Pixels, recorded
from napari_atomlens.progress import ProgressLike, as_progress

#: A peak of the mean spectrum is so many times as high as others of its distance.
PEAK = 6.0
#: Most waves; shortest and longest period in px, the longest also over the side of a frame.
MOST, SHORT, LONG = 6, 3.0, 0.12
#: Frames from which the waves are found.
LOOK = 40
#: Spectra are finer than pixels of frames by this, in turns.
FINER = 2


@dataclass(frozen=True)
class Waves:
    """Waves of a lattice.

    Attributes
    ----------
    k : ndarray, shape (n, 2)
        Periods per px.
    vectors : ndarray, shape (2, 2)
        Shortest vectors (y, x) by which the lattice fits onto itself.
    """

    k: np.ndarray
    vectors: np.ndarray

    @property
    def spacing(self) -> float:
        """About the distance of nearest atoms: that of a honeycomb."""
        return float(np.hypot(*self.vectors.T).min() / np.sqrt(3))


def without_slow(image: np.ndarray, sites: np.ndarray, radius: float) -> np.ndarray:
    """Frame without its slow parts and without spots, fading towards the border."""
    image = np.array(image, float)
    there = recorded(image)
    image = arrays.bridge(image, there) if there.any() else np.nan_to_num(image)
    flat = image - scipy.ndimage.gaussian_filter(image, 10)
    limit = 4 * arrays.spread(flat.ravel())
    flat = np.clip(flat, -limit, limit) if limit > 0 else flat
    y, x = np.ogrid[: flat.shape[0], : flat.shape[1]]
    for p in sites:
        flat = flat * (1 - np.exp(-0.5 * ((y - p[0]) ** 2 + (x - p[1]) ** 2) / radius**2))
    return np.asarray(flat * np.outer(*(np.hanning(n + 2)[1:-1] for n in flat.shape)))


def find_waves(frames: list[np.ndarray]) -> Waves | None:
    """Waves that all frames share, None where no lattice shows; frames are without slow parts."""
    shape = tuple(FINER * n for n in frames[0].shape)
    power = sum(np.abs(scipy.fft.rfft2(f, shape)) ** 2 for f in frames)
    fy, fx = scipy.fft.fftfreq(shape[0]), scipy.fft.rfftfreq(shape[1])
    far = np.hypot(fy[:, None], fx[None])
    ring = np.round(far * max(shape)).astype(int)
    order = np.argsort(ring.ravel(), kind="stable")
    edges = np.searchsorted(ring.ravel()[order], np.arange(ring.max() + 2))
    values = np.asarray(power).ravel()[order]
    parts = [values[a:b] for a, b in pairwise(edges)]
    usual = np.array([np.median(v) if len(v) else np.inf for v in parts])
    ratio = power / np.maximum(usual[ring], 1e-300)
    ratio[(far < 1 / (LONG * min(frames[0].shape))) | (far > 1 / SHORT)] = 0
    top = (ratio == scipy.ndimage.maximum_filter(ratio, 2 * FINER + 1)) & (ratio > PEAK)
    y, x = np.nonzero(top)
    keep = np.argsort(-ratio[y, x])[: 2 * MOST]
    k = np.c_[fy[y[keep]], fx[x[keep]]]
    strong = ratio[y[keep], x[keep]]
    # of plus and minus one
    good = (k[:, 1] > 0) | ((k[:, 1] == 0) & (k[:, 0] > 0))
    k, strong = k[good][:MOST], strong[good][:MOST]
    if len(k) < 2:
        return None
    k = np.array([_refined(frames, v, 0.5 / max(shape)) for v in k])
    shortest = np.argsort(np.hypot(*k.T))
    first = k[shortest[0]]
    for other in shortest[1:]:
        area = abs(float(first[0] * k[other][1] - first[1] * k[other][0]))
        if area > 0.3 * np.hypot(*first) * np.hypot(*k[other]):
            vectors = np.linalg.inv(np.array([first, k[other]])).T
            return Waves(k, _shortest(vectors))
    return None


def _shortest(vectors: np.ndarray) -> np.ndarray:
    """The two shortest vectors of a lattice."""
    m = np.array([(i, j) for i in range(-2, 3) for j in range(-2, 3) if (i, j) != (0, 0)])
    every = m @ vectors
    every = every[np.argsort(np.hypot(*every.T), kind="stable")]
    area = np.abs(every[0][0] * every[:, 1] - every[0][1] * every[:, 0])
    second = int(np.flatnonzero(area > 0.3 * np.hypot(*every[0]) * np.hypot(*every.T))[0])
    return np.asarray(every[[0, second]])


def _phasor(image: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Amplitudes of waves in an image, complex."""
    y, x = (np.arange(n) for n in image.shape)
    up, along = (
        np.exp(-2j * np.pi * np.outer(k[:, 0], y)),
        np.exp(-2j * np.pi * np.outer(k[:, 1], x)),
    )
    return np.asarray(((up @ image) * along).sum(1))


def _refined(frames: list[np.ndarray], k: np.ndarray, step: float) -> np.ndarray:
    """Place of a peak of the mean spectrum between the points of the grid."""
    some = frames[:: max(1, len(frames) // 12)]

    def power(at: np.ndarray) -> float:
        return float(sum(np.abs(_phasor(f, at[None])[0]) ** 2 for f in some))

    for _ in range(2):
        for axis in (0, 1):
            e = np.eye(2)[axis] * step
            a, b, c = power(k - e), power(k), power(k + e)
            bent = a - 2 * b + c
            if bent < 0:
                k = k + e * float(np.clip(0.5 * (a - c) / bent, -1, 1))
        step /= 2
    return np.asarray(k)


def wave_drift(
    stack: Pixels, spots: pd.DataFrame | None = None, *, progress: ProgressLike = None
) -> tuple[pd.DataFrame, Waves | None]:
    """Drift of a lattice from the phases of its waves.

    Parameters
    ----------
    stack : array-like, shape (T, H, W)
        Frames are read one at a time.
    spots : pandas.DataFrame, optional
        ``frame``, ``y_px``, ``x_px`` of what does not belong to the lattice.
    progress : callable, optional
        Called with (frames done, frames in all).

    Returns
    -------
    drift : pandas.DataFrame
        ``frame``, ``drift_y_px``, ``drift_x_px``, ``score`` (0 to 1: how well all waves agree).
        Steps are the shortest of those that a vector of the lattice makes alike.
    waves : Waves or None
        None where no lattice shows; there is no drift then.
    """
    n, watch = int(stack.shape[0]), as_progress(progress)
    place = {} if spots is None else {f: t for f, t in spots.groupby("frame")}

    def frame(f: int) -> np.ndarray:
        sites = place[f][["y_px", "x_px"]].to_numpy(float) if f in place else np.zeros((0, 2))
        return without_slow(np.asarray(stack[f]), sites, 0.04 * min(stack.shape[-2:]))

    waves = find_waves(
        [frame(int(f)) for f in np.unique(np.linspace(0, n - 1, min(n, LOOK)).astype(int))]
    )
    rows = np.zeros((n, 3))
    if waves is None:
        return pd.DataFrame(rows, columns=["drift_y_px", "drift_x_px", "score"]).assign(
            frame=np.arange(n)
        ), None
    reference, at = np.zeros(len(waves.k), complex), np.zeros(2)
    grid = _cell(waves.vectors)
    for f in range(n):
        seen = _phasor(frame(f), waves.k)
        score = 1.0
        if f:
            at, score = _best_shift(np.conj(reference) * seen, waves.k, at, grid)
        reference = reference + seen * np.exp(2j * np.pi * waves.k @ at)
        rows[f] = *at, score
        watch(f + 1, n)
    out = pd.DataFrame(rows, columns=["drift_y_px", "drift_x_px", "score"])
    return out.assign(frame=np.arange(n))[["frame", "drift_y_px", "drift_x_px", "score"]], waves


def _cell(vectors: np.ndarray) -> np.ndarray:
    """Points all over the cell of the lattice round zero."""
    part = np.linspace(-0.5, 0.5, 24, endpoint=False)
    a, b = np.meshgrid(part, part)
    return np.asarray(np.c_[a.ravel(), b.ravel()] @ vectors)


def _best_shift(
    product: np.ndarray, k: np.ndarray, before: np.ndarray, grid: np.ndarray
) -> tuple[np.ndarray, float]:
    """Shift with which all waves agree, the one nearest to that of before."""
    weight = np.sqrt(np.abs(product) + 1e-300)
    turn = product / np.maximum(np.abs(product), 1e-300)
    places = before + grid
    agree = np.real(np.exp(2j * np.pi * places @ k.T) @ (weight * turn)) / weight.sum()
    best = places[int(agree.argmax())]
    for _ in range(8):  # the phases that are left, in least squares
        left = np.angle(turn * np.exp(2j * np.pi * k @ best))
        step = np.linalg.lstsq(weight[:, None] * 2 * np.pi * k, -weight * left, rcond=None)[0]
        best = best + step
        if np.hypot(*step) < 1e-4:
            break
    score = float(np.real((weight * turn * np.exp(2j * np.pi * k @ best)).sum()) / weight.sum())
    return best, score
