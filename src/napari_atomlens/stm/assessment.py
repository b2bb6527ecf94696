"""Is this scan any good? A verdict with its reasons and the region that can be used.

Physical features of the scan (noise, correlation of lines, lattice peaks, echoes of a
second tip, changes from line to line, bending of the lattice, cover by contaminants) go
into a small network that was trained on simulated scans of six kinds of surfaces.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import scipy

from napari_atomlens import arrays
from napari_atomlens.cards import Card, by_size
from napari_atomlens.errors import ImageError, ModelError
from napari_atomlens.image import Image, as_stack
from napari_atomlens.stm.background import finite_image
from napari_atomlens.stm.rows import FEWEST_RATIO, find_peak, whitened_spectrum
from napari_atomlens.stm.scars import find_scars

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


#: Faults, in the order of the outputs of the network.
FAULTS = ("double tip", "noisy", "tip change", "drift", "featureless", "too contaminated")
#: Tensors that say how scans of the training are spread: centre, inverse covariance, limit.
KNOWN = ("known_centre", "known_inverse", "known_limit")
#: Said where the network has no right to a verdict.
NOT_SURE = "not sure"
#: A lattice differs from the first to the last lines when a wave vector changes by this part.
LEAST_CHANGE = 0.03
#: Amplitude of a lattice where it is weak (20th percentile) over its rms; less is no lattice that
#: covers the scan but a few features that have a wavelength.
LEAST_UNIFORM = 0.4
#: A second tip makes one peak of the cepstrum; its log ratio to the second highest is more.
ONE_ECHO = 0.12
#: The network with which verdicts are made.
WEIGHTS = Path(__file__).parent / "weights" / "assess.safetensors"
#: Larger scans are assessed on a sample of about this side: windows of the scan.
LARGEST_PX = 512
#: A scan of fewer lines, or columns, cannot be assessed.
FEWEST_LINES = 32
_SAID = {
    "double tip": "Features repeat {what} away, as a second tip makes them.",
    "noisy": "Noise is {noise:.1f} times as strong as what the lines have in common.",
    "tip change": "The tip changed about line {row}.",
    "drift": "The lattice bends or stretches from the first lines to the last.",
    "featureless": "There is no lattice and hardly any feature above the noise.",
    "too contaminated": "{cover:.0f} % of the scan lies under contaminants.",
}


@dataclass(frozen=True, repr=False, eq=False)
class Verdict(Card):
    """What an assessment says.

    Attributes
    ----------
    score : float
        0 (useless) to 1 (good).
    label : str
        "good", the most likely of `FAULTS`, or "not sure": the scan is unlike all that the
        network was trained on, or it says drift where no lattice can show it.
    reasons : tuple of str
        Sentences, the weightiest first; one that says what is good where nothing is wrong.
    usable_mask : ndarray of bool, shape (H, W)
        Pixels that can be used: after a tip change the better part, without contaminants,
        scars and missing lines. Empty where the fault spoils all of the scan.
    faults : dict of str to float
        Probability of each fault.
    features : dict of str to float
        What was measured.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np
    >>> al.assess(np.random.default_rng(0).normal(size=(128, 128)))
    Verdict: ...
      reasons: ...
      usable: ...
      faults: ...
    """

    score: float
    label: str
    reasons: tuple[str, ...]
    usable_mask: np.ndarray
    faults: dict[str, float]
    features: dict[str, float]

    def _title(self) -> str:
        return f"Verdict: {self.label}, score {self.score:.2f}"

    def _facts(self) -> dict[str, object]:
        likely = sorted(self.faults.items(), key=lambda fault: -fault[1])[:3]
        return {
            "reasons": " ".join(self.reasons),
            "usable": f"{self.usable_mask.mean():.0%} of {by_size(self.usable_mask.shape)}",
            "faults": ", ".join(f"{name} {p:.0%}" for name, p in likely),
        }

    def _picture(self) -> np.ndarray:
        return self.usable_mask


def _spread(x: np.ndarray) -> float:
    return arrays.spread(x) + 1e-30


def _split(profile: np.ndarray, edge: int) -> tuple[float, int]:
    """Largest difference of the means before and after a row over the spread, and the row.

    The statistic of a change point: |m1 - m2| sqrt(n1 n2 / n) / spread within the parts.
    """
    n = len(profile)
    k = np.arange(edge, n - edge)
    total, square = np.cumsum(profile), np.cumsum(profile**2)
    n1, n2 = k, n - k
    m1, m2 = total[k - 1] / n1, (total[-1] - total[k - 1]) / n2
    within = (square[-1] - n1 * m1**2 - n2 * m2**2) / n
    value = np.abs(m1 - m2) * np.sqrt(n1 * n2 / n**2) / np.sqrt(np.maximum(within, 1e-30))
    best = int(value.argmax())
    return float(value[best]), int(k[best])


def _autocorrelation(x: np.ndarray) -> np.ndarray:
    """Autocorrelation for all shifts, normalised by the overlap, the centre 1."""
    h, w = x.shape
    n = (2 * h, 2 * w)
    ac = np.fft.irfft2(np.abs(np.fft.rfft2(x, n)) ** 2, n)
    ones = np.fft.irfft2(np.abs(np.fft.rfft2(np.ones_like(x), n)) ** 2, n)
    ac = np.fft.fftshift(ac / np.maximum(ones, 0.05 * x.size))
    return np.asarray(ac / max(float(ac[h, w]), 1e-30))


def _lattice(z: np.ndarray) -> tuple[float, float, np.ndarray]:
    """How far lattice peaks stand out, their share of the power, and z without them."""
    window = np.hanning(z.shape[0])[:, None] * np.hanning(z.shape[1])[None]
    power = np.abs(np.fft.rfft2(z * window)) ** 2
    fy = np.fft.fftfreq(z.shape[0])[:, None]
    fx = np.fft.rfftfreq(z.shape[1])[None]
    radius = np.hypot(fy, fx)
    ring = np.clip((radius * 2 * 32).astype(int), 0, 40)
    # typical power at each distance from the centre
    order = np.argsort(ring.ravel(), kind="stable")
    edges = np.searchsorted(ring.ravel()[order], np.arange(42))
    flat = power.ravel()[order]
    typical = np.array([np.median(flat[a:b]) if b > a else 1e-30 for a, b in pairwise(edges)])
    ratio = power / np.maximum(typical[ring], 1e-30)
    band = (radius > 2.0 / min(z.shape) * 3) & (radius < 0.45) & (np.abs(fy) < 0.45)
    band &= np.abs(fx) > 1.5 / z.shape[1]  # noise of lines is no lattice
    peaks = band & (ratio > 40)
    share = float(power[peaks].sum() / max(power[band].sum(), 1e-30))
    best = np.sort(ratio[band])[-6:]
    full = np.fft.rfft2(z)
    near = scipy.ndimage.binary_dilation(peaks, iterations=1)
    rest = np.fft.irfft2(np.where(near, 0.1 * full, full), z.shape)
    return float(np.log10(best.mean() + 1)), share, rest


def _echo(rest: np.ndarray, smallest: int = 4) -> tuple[list[float], tuple[float, float]]:
    """How strongly features repeat at one certain distance."""
    out: list[float] = []
    spread = _spread(rest)
    where = (0.0, 0.0)
    best = -1.0
    for part in (
        np.clip(rest / spread, -12, 12),
        np.clip(rest / spread - 2.5, 0, 12),
        np.clip(-rest / spread - 2.5, 0, 12),
    ):
        part = part - part.mean()
        if part.std() < 1e-9:
            out += [0.0, 0.0, 0.0]
            continue
        ac = _autocorrelation(part)
        cy, cx = np.asarray(ac.shape) // 2
        reach = min(cy - 1, cx - 1, 44)
        view = ac[cy - reach : cy + reach + 1, cx - reach : cx + reach + 1].copy()
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        r = np.hypot(y, x)
        # compared with what is usual at this distance: the width of features is no echo
        ring = r.astype(int)
        mean = scipy.ndimage.mean(view, ring, np.arange(ring.max() + 1))
        view -= mean[ring]
        top = scipy.ndimage.maximum_filter(view, 5)
        peak = (view == top) & (r >= smallest) & (r < reach - 2) & (y >= 0)
        peak &= np.abs(y) >= 1
        heights = np.sort(view[peak])[::-1]
        heights = np.concatenate([heights, np.zeros(8)])
        noise = arrays.spread(view[r > 6], centre=0.0) + 1e-9
        out += [
            float(heights[0]),
            float(heights[0] - heights[2]),
            float(np.log1p(max(heights[0], 0.0) / noise)),
        ]
        if peak.any() and heights[0] > best:
            best = heights[0]
            k = np.flatnonzero(peak.ravel())[view[peak].argmax()]
            where = (float(y.ravel()[k]), float(x.ravel()[k]))
    return out, where


def _cepstrum(z: np.ndarray) -> tuple[list[float], tuple[float, float]]:
    """Echo of all that the scan shows: the real cepstrum.

    A second tip of strength s at a distance d multiplies the power spectrum by
    1 + s^2 + 2 s cos(2 pi f d): a ripple in its logarithm, whatever the surface shows, and
    hence a peak at d in the cepstrum (B. P. Bogert et al., Symp. Time Series Analysis, 1963).
    Frequencies of the lattice, and those that only show noise, are left out.
    """
    h, w = z.shape
    window = np.hanning(h)[:, None] * np.hanning(w)[None]
    power = np.abs(np.fft.fft2(z * window)) ** 2
    log = np.log(power + 1e-12 * power.max())
    fy, fx = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None]
    ring = np.rint(np.hypot(fy, fx) * min(h, w) / 1.5).astype(int)
    n = ring.max() + 1
    count = np.maximum(np.bincount(ring.ravel(), minlength=n), 1)
    mean = np.bincount(ring.ravel(), log.ravel(), n) / count
    floor = float(np.median(log[np.hypot(fy, fx) > 0.42]))
    rest = log - mean[ring]
    # white noise has a log power of its own spread, 1.28: only what is well above it counts
    weight = np.clip((mean - floor) / 1.5, 0, 1)[ring]
    weight = weight * (np.hypot(fy, fx) > 2.5 / min(h, w)) * (np.abs(rest) < 3.5)
    weight = weight * (np.abs(fx) > 1.2 / w) * (np.abs(fy) > 1.2 / h)
    rest = np.clip(rest, -2.5, 2.0)
    rest = (rest - (rest * weight).sum() / max(weight.sum(), 1e-9)) * weight
    c = np.fft.fftshift(np.fft.ifft2(rest).real) * rest.size / max(weight.sum(), 1.0)
    cy, cx = h // 2, w // 2
    reach = min(cy, cx, 44) - 1
    view = scipy.ndimage.gaussian_filter(c, 0.7)[
        cy - reach : cy + reach + 1, cx - reach : cx + reach + 1
    ]
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    r = np.hypot(y, x)
    far = r > 8
    noise = arrays.spread(view[far], centre=0.0) + 1e-12
    top = (view == scipy.ndimage.maximum_filter(view, 5)) & (r >= 3.5) & (r < reach - 1)
    top &= (y > 0) | ((y == 0) & (x > 0))
    heights = np.sort(view[top])[::-1]
    heights = np.concatenate([heights, np.zeros(8)])
    at = np.flatnonzero((top & (view >= heights[0])).ravel())
    k = int(at[0]) if len(at) else 0
    where = (float(y.ravel()[k]), float(x.ravel()[k]))
    # a second tip makes one peak (and a weak, negative one at twice the distance)
    double = (np.rint([2 * where[0], 2 * where[1]]) + reach).astype(int)
    inside = ((double >= 0) & (double <= 2 * reach)).all()
    second = float(view[double[0], double[1]]) if inside else 0.0
    used = float(weight.mean())
    return [
        float(heights[0]), float(np.log(max(heights[0], 1e-9) / noise)),
        float(np.log(max(heights[0], 1e-9) / max(heights[1], 1e-9))),
        float(np.log(max(heights[0], 1e-9) / max(heights[3], 1e-9))),
        second / max(heights[0], 1e-9), float(np.hypot(*where)) / 44, used,
    ], where  # fmt: skip


def _wander(z: np.ndarray) -> list[float]:
    """How far the strongest lattice planes wander from straight lines down the scan.

    The scan is demodulated at a lattice peak; the phase gained from line to line, averaged
    along the lines, adds up to the displacement of the lattice along its wave vector.
    """
    h, w = z.shape
    calm = np.clip(z, -2.0 * _spread(z), 2.0 * _spread(z))
    lower = calm[h // 2 :]
    window = np.hanning(len(lower))[:, None] * np.hanning(w)[None]
    n = (512, 512)
    power = np.abs(np.fft.rfft2((lower * window)[:, : n[1]], n)) ** 2
    fy, fx = np.fft.fftfreq(n[0])[:, None], np.fft.rfftfreq(n[1])[None]
    radius = np.hypot(fy, fx)
    ring = np.clip((radius * 80).astype(int), 0, 60)
    power /= np.maximum(scipy.ndimage.median(power, ring, np.arange(61)), 1e-30)[ring]
    allowed = (radius > 0.025) & (radius < 0.3) & (fx > 2.5 / w)
    y, x = np.arange(h)[:, None], np.arange(w)[None]
    out: list[float] = []
    first: np.ndarray | None = None
    for _ in range(2):
        value = np.where(allowed, power, 0)
        i, j = np.unravel_index(value.argmax(), value.shape)
        k = np.array([fy[i, 0], fx[0, j]])
        length = max(float(np.hypot(*k)), 1 / w)  # 0 where there is no power at all
        wave = calm * np.exp(-2j * np.pi * (k[0] * y + k[1] * x))
        sigma = 0.75 / length
        a = scipy.ndimage.gaussian_filter(wave.real, sigma) + 1j * scipy.ndimage.gaussian_filter(
            wave.imag, sigma
        )
        size = np.abs(a)
        a = a / np.maximum(size, np.percentile(size, 30) + 1e-9)
        step = (a[1:] * a[:-1].conj()).mean(1)
        # phases that run together along a line are a lattice, others are noise
        phase = np.concatenate([[0.0], np.cumsum(np.angle(step))])
        t = np.linspace(-1, 1, h)
        line = np.polyval(np.polyfit(t, phase, 1), t)
        bent = scipy.ndimage.gaussian_filter1d(phase - line, 2.0)
        curve = np.polyfit(t, phase, 2)[0]
        px = bent.std() / (2 * np.pi * length)
        out += [float(bent.std()), float(px), float(np.log(abs(curve) + 0.02)),
                float(np.ptp(bent[h // 2 :]) / (np.ptp(bent) + 0.1)), float(np.abs(step).mean()),
                float(np.log(value.max() + 1)), length]  # fmt: skip
        # the next one points elsewhere
        near = np.abs(fy * k[1] - fx * k[0]) < 0.35 * radius * length
        allowed &= ~near
        if first is not None:
            out.append(float(abs(np.corrcoef(first, bent)[0, 1])))
        first = bent
    return out


def _bending(z: np.ndarray) -> list[float]:
    """How the lattice of the first lines must be sheared and stretched to be that of the last.

    Drift takes wave vectors k of the last lines to (k_y + s k_x + e k_y, k_x); the power of the
    first lines there, over the usual power, says which s and e are right.
    """
    calm = np.clip(z, -2.0 * _spread(z), 2.0 * _spread(z))
    calm = calm / np.sqrt(scipy.ndimage.gaussian_filter(calm**2, 10) + 1e-3)
    h = z.shape[0]
    size = h // 4
    spectra = []
    n = (256, 512)
    fy = np.fft.fftshift(np.fft.fftfreq(n[0]))[:, None]
    fx = np.fft.rfftfreq(n[1])[None]
    radius = np.hypot(fy, fx)
    ring = np.clip((radius * 80).astype(int), 0, 60)
    index = np.arange(61)
    for band in (calm[:size], calm[h // 2 - size // 2 : h // 2 + size - size // 2], calm[-size:]):
        band = band[:, : n[1]]
        window = np.hanning(len(band))[:, None] * np.hanning(band.shape[1])[None]
        power = np.abs(np.fft.rfft2((band - band.mean()) * window, n)) ** 2
        power = np.fft.fftshift(power, axes=0)
        typical = np.maximum(scipy.ndimage.median(power, ring, index), 1e-30)
        spectra.append(np.clip(power / typical[ring], 0, 300))
    out: list[float] = []
    allowed = (radius > 0.03) & (radius < 0.4) & (fx > 2.0 / z.shape[1])
    shears, stretches = np.linspace(-0.7, 0.7, 29), np.linspace(-0.35, 0.35, 15)
    for a, b in ((2, 0), (2, 1)):
        smooth = scipy.ndimage.gaussian_filter(np.log1p(spectra[b]), 1.0)
        first = spectra[a]
        top = (first == scipy.ndimage.maximum_filter(first, (7, 9))) & allowed
        y, x = np.nonzero(top)
        order = np.argsort(-first[y, x])[:5]
        y, x = y[order], x[order]
        strength = np.log1p(first[y, x])
        ky, kx = fy[y, 0], fx[0, x]
        weight = np.maximum(strength - 2.5, 0.0) + 1e-6
        s, e = np.meshgrid(shears, stretches, indexing="ij")
        yy = ky[:, None, None] * (1 + e) + s * kx[:, None, None]
        rows = yy * n[0] + n[0] // 2
        cols = np.broadcast_to((kx * n[1])[:, None, None], rows.shape)
        value = scipy.ndimage.map_coordinates(smooth, [rows, cols], order=1, mode="constant")
        score = (weight[:, None, None] * value).sum(0) / max(weight.sum(), 1e-12)
        i0, j0 = len(shears) // 2, len(stretches) // 2
        k, j = np.unravel_index(score.argmax(), score.shape)
        still = score[i0 - 1 : i0 + 2, j0 - 1 : j0 + 2].max()
        out += [
            float(score[i0, j0]), float(score.max() - score[i0, j0]), float(score.max() - still),
            float(abs(shears[k])), float(abs(stretches[j])),
            float(strength.max(initial=0.0)),
        ]  # fmt: skip
    return out


class Places(TypedDict):
    """Where and how :func:`measure_scan` saw what it tells, beside the features."""

    row: int
    echo: tuple[float, float]
    lumps: np.ndarray
    strength: np.ndarray
    noise: float
    sharp: np.ndarray


def measure_scan(image: ArrayLike) -> tuple[dict[str, float], Places]:
    """Measure the features of a scan.

    Returns
    -------
    features : dict of str to float
    places : dict
        ``row`` of a possible tip change, ``echo`` (y, x) in pixels, ``noise``, ``lumps`` (mask).

    Raises
    ------
    ImageError
        If the scan is too small or constant.
    """
    z = finite_image(image, 32)
    missing = float(np.isnan(z).mean())
    if np.nanmax(z) == np.nanmin(z):
        raise ImageError("The scan is constant; there is nothing to assess.")
    z = np.where(np.isfinite(z), z, np.nanmedian(z))
    # a plane by medians of halves: quick, and steps do not matter here
    h, w = z.shape
    half = np.median(z[h // 2 :]) - np.median(z[: h // 2])
    side = np.median(z[:, w // 2 :]) - np.median(z[:, : w // 2])
    z = z - half * 2 * np.arange(h)[:, None] / h - side * 2 * np.arange(w)[None] / w
    rows = np.median(z, axis=1)
    jump = np.abs(np.diff(rows))
    level = z - rows[:, None]
    wide = max(6.0, min(h, w) / 20)
    hp = level - scipy.ndimage.gaussian_filter(level, wide)
    hp = np.clip(hp, *(np.percentile(hp, [0.2, 99.8]) * 1.5))
    scale = float(hp.std()) + 1e-30
    hp = hp / scale
    f: dict[str, float] = {}
    # white noise by the second difference across lines and along them
    for name, axis in (("across", 0), ("along", 1)):
        second = np.diff(hp, 2, axis=axis)
        f[f"noise_{name}"] = _spread(second) / np.sqrt(6)
    diagonal = hp[1:-1, 1:-1] * 4 - 2 * (
        hp[:-2, 1:-1] + hp[2:, 1:-1] + hp[1:-1, :-2] + hp[1:-1, 2:]
    )
    diagonal += hp[:-2, :-2] + hp[:-2, 2:] + hp[2:, :-2] + hp[2:, 2:]
    f["noise"] = _spread(diagonal) / 6
    for lag in (1, 2, 4):
        f[f"rows_{lag}"] = float((hp[:-lag] * hp[lag:]).mean())
        f[f"columns_{lag}"] = float((hp[:, :-lag] * hp[:, lag:]).mean())
    f["kurtosis"] = float(np.log(np.mean(hp**4) + 1e-9))
    f["skewness"] = float(np.cbrt(np.mean(hp**3)))
    f["lattice"], f["lattice_share"], rest = _lattice(hp)
    smooth = scipy.ndimage.gaussian_filter(rest, 1.0)
    f["rest"] = float(smooth.std())
    f["rest_spread"] = _spread(smooth) / max(f["rest"], 1e-30)
    echoes, where = _echo(smooth)
    for k, value in enumerate(echoes):
        f[f"echo_{k}"] = value
    raw, _ = _echo(scipy.ndimage.gaussian_filter(hp, 1.0))
    for k, value in enumerate(raw[:3]):
        f[f"repeat_{k}"] = value
    ripple, echo = _cepstrum(scipy.ndimage.gaussian_filter(hp, 0.5))
    for k, value in enumerate(ripple):
        f[f"ripple_{k}"] = value
    raw_ripple, _ = _cepstrum(level / scale)
    for k, value in enumerate(raw_ripple):
        f[f"whole_ripple_{k}"] = value
    where = echo if ripple[1] > 2.0 else where
    # what changes from line to line
    edge = max(8, h // 12)
    sharp = np.log(np.abs(np.diff(hp, axis=1)).mean(1) + 1e-3)
    strength = np.log(np.abs(hp).mean(1) + 1e-3)
    fine = np.log(np.abs(np.diff(hp, 2, axis=1)).mean(1) + 1e-3)
    ratio = fine - strength
    change, place = [], []
    for profile in (sharp, strength, fine, ratio):
        value, at = _split(profile, edge)
        change.append(value)
        place.append(at)
    for k, value in enumerate(change):
        f[f"change_{k}"] = value
    f["change_agree"] = float(np.std(place[:3]) / h)
    # the jump of the lines themselves, against how they usually differ
    usual = np.median(jump) + 1e-3 * scale
    at = int(jump[edge:-edge].argmax()) + edge
    f["jump"] = float(np.log(jump[at] / usual + 1))
    f["jump_scale"] = float(np.log(jump[at] / scale + 0.05))
    both = z[at + 1] - z[at]
    f["jump_common"] = float(np.abs(np.median(both)) / (_spread(both) + 1e-3 * scale))
    for k, name in enumerate(("sharp", "strength", "ratio")):
        profile = (sharp, strength, ratio)[k]
        n = min(at + 1, h - at - 1, h // 4)
        before, after = profile[at + 1 - n : at + 1], profile[at + 1 : at + 1 + n]
        f[f"jump_{name}"] = float(
            abs(before.mean() - after.mean()) / np.sqrt(before.var() + after.var() + 1e-4)
        )
    for k, value in enumerate(_bending(hp)):
        f[f"bend_{k}"] = value
    for k, value in enumerate(_wander(hp)):
        f[f"wander_{k}"] = value
    # contaminants: high and smooth over more than the lattice
    slow = scipy.ndimage.gaussian_filter(level, max(2.0, min(h, w) / 64)) / scale
    centre = np.median(slow)
    typical = _spread(slow)
    for k, threshold in enumerate((1.0, 2.0, 4.0)):
        f[f"cover_{k}"] = float((np.abs(slow - centre) > threshold).mean())
    f["slow_std"] = float(np.log(slow.std() + 1e-3))
    f["slow_spread"] = float(np.log(typical + 1e-3))
    f["slow_skew"] = float(np.cbrt(np.mean(((slow - slow.mean()) / (slow.std() + 1e-9)) ** 3)))
    texture = np.sqrt(scipy.ndimage.gaussian_filter(hp**2, wide / 2))
    f["texture"] = float(np.percentile(texture, 90) / (np.percentile(texture, 10) + 0.05))
    f["missing"] = missing
    f["size"] = float(np.log(min(h, w)))
    low = np.percentile(slow, 25)
    below = slow[slow < centre]
    lumps = slow - low > 3.0 + 2 * (_spread(below) if len(below) else 0.0)
    row = at if f["jump"] > 2.2 else place[int(np.argmax(change))]
    signal = max(f["rows_1"], 1e-3)
    return f, {
        "row": row, "echo": where, "lumps": lumps, "strength": strength,
        "noise": float(np.sqrt(max(1 - signal, 0) / signal)), "sharp": sharp,
    }  # fmt: skip


@lru_cache(maxsize=2)
def assessment_network(
    path: Path,
) -> tuple[list[np.ndarray], list[np.ndarray], dict[str, list[str]]]:
    """Layers of the network (weight, bias, ...), what it knows of scans, and facts of it.

    Raises
    ------
    ModelError
        If they cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "numpy") as file:
            facts = json.loads(file.metadata()["atomlens"])
            layers = [file.get_tensor(k) for k in facts["layers"]]
            known = [file.get_tensor(k).astype(float) for k in KNOWN]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The network of the assessment cannot be read ({error}).") from None
    return layers, known, facts


def lattice_change(image: np.ndarray) -> tuple[float, float]:
    """How the lattice of the first lines differs from that of the last, and how far it covers.

    Parameters
    ----------
    image : ndarray, shape (H, W)

    Returns
    -------
    change : float
        Largest relative change of the two strongest wave vectors, NaN where none is seen in
        both the first and the last third.
    uniform : float
        20th percentile of the amplitude of the strongest one over its rms, in the last half.
    """
    z = np.where(np.isfinite(image), image, np.nanmedian(image))
    z = z - np.median(z, axis=1, keepdims=True)
    h, w = z.shape
    first, last = z[: h // 3], z[-(h // 3) :]
    top, fy, fx = whitened_spectrum(first, np.ones(first.shape, bool))
    end, _, _ = whitened_spectrum(last, np.ones(last.shape, bool))
    radius = np.hypot(fy, fx)
    allowed = ((fx > 0) | ((fx == 0) & (fy > 0))) & (radius < 0.45) & (radius > 5 / w)
    allowed &= np.abs(fx) > 2.5 / w  # noise of lines is no lattice
    change = np.nan
    strongest = np.zeros(2)
    for turn in range(2):
        if not allowed.any():
            break
        height, k = find_peak(end, fy, fx, allowed)
        strongest = k if turn == 0 else strongest
        length = float(np.hypot(*k))
        near = (np.hypot(fy - k[0], fx - k[1]) < 0.4 * length) & (radius < 0.49)
        near &= np.abs(fx) > 1.5 / w
        if near.any():
            before, was = find_peak(top, fy, fx, near)
            if min(height, before) > FEWEST_RATIO:
                change = float(np.nanmax([change, np.hypot(*(k - was)) / length]))
        allowed &= np.abs(fy * k[1] - fx * k[0]) > 0.35 * radius * length
    half = z[h // 2 :] - np.median(z[h // 2 :])
    spread = _spread(half)
    y, x = np.arange(len(half))[:, None], np.arange(w)[None]
    wave = np.clip(half, -2 * spread, 2 * spread) * np.exp(
        -2j * np.pi * (strongest[0] * y + strongest[1] * x)
    )
    sigma = 1.5 / max(float(np.hypot(*strongest)), 0.02)
    amplitude = np.hypot(
        scipy.ndimage.gaussian_filter(wave.real, sigma),
        scipy.ndimage.gaussian_filter(wave.imag, sigma),
    )
    rms = float(np.sqrt((amplitude**2).mean())) + 1e-300
    return change, float(np.percentile(amplitude, 20)) / rms


def strangeness(vector: np.ndarray, layers: list[np.ndarray], known: list[np.ndarray]) -> float:
    """Squared Mahalanobis distance of features from all simulated scans, over its limit.

    Above 1 a scan is unlike what the network was trained on.
    """
    centre, inverse, limit = known
    x = np.clip((vector - layers[0]) / layers[1], -5, 5) - centre
    return float(x @ inverse @ x / limit[0])


def as_vector(features: dict[str, float], names: list[str]) -> np.ndarray:
    """Features in the order of the network, limited to what numbers can be."""
    return np.nan_to_num(np.array([features[n] for n in names], float), posinf=1e3, neginf=-1e3)


def judge_scan(vectors: np.ndarray, layers: list[np.ndarray]) -> np.ndarray:
    """Probabilities of the faults, (n, 6), from features (n, k).

    `layers` are mean, spread, then weight and bias of every layer; tanh between them.
    """
    mean, spread, *rest = layers
    x = np.clip((vectors - mean) / spread, -5, 5)
    for k in range(0, len(rest), 2):
        x = x @ rest[k].T + rest[k + 1]
        if k + 2 < len(rest):
            x = np.tanh(x)
    return 1 / (1 + np.exp(-x))


def _first_frame(image: ArrayLike | Image) -> np.ndarray:
    """Return the pixels of an image, or of the first frame of a movie."""
    return as_stack(image)[0]


def assess(image: ArrayLike | Image) -> Verdict:
    """Assess a scan.

    Parameters
    ----------
    image : array-like, shape (H, W), or an image of :func:`napari_atomlens.read`
        Heights (or currents) in any unit; of a movie the first frame counts.

    Returns
    -------
    Verdict

    Raises
    ------
    ImageError
        If it is no image, too small, or constant, or too few of its lines were recorded.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.assess(al.simulate_silicon(al.SiliconParams(size_px=256, seed=2)).image).label
    'good'
    """
    z = _unscaled(_without_empty_lines(finite_image(_first_frame(image), FEWEST_LINES)))
    first, part = _recorded(z)
    small, step = _sample(part)
    with np.errstate(all="ignore"):  # what is no number is limited in the vector of features
        features, places = measure_scan(small)
    features["missing"] = float(np.isnan(z).mean())
    layers, known, facts = assessment_network(WEIGHTS)
    vector = as_vector(features, facts["features"])
    chance = judge_scan(vector[None], layers)[0]
    faults = {name: float(p) for name, p in zip(FAULTS, chance, strict=True)}
    worst = max(faults, key=lambda k: faults[k])
    label = worst if faults[worst] > 0.5 else "good"
    score = float(np.prod([1 - p for p in chance]) ** 0.7)
    places["row"] *= step
    reasons = _reasons(faults, {**places, "row": places["row"] + first}, step, features)
    doubt = ""
    features["strangeness"] = strangeness(vector, layers, known)
    if label == "drift":
        features["lattice_change"], features["lattice_uniform"] = lattice_change(small)
        doubt = _doubt_drift(features["lattice_change"], features["lattice_uniform"])
    if label == "double tip" and max(features["ripple_2"], features["whole_ripple_2"]) < ONE_ECHO:
        doubt = "Features repeat, but at several distances: a motif does that, a second tip not."
    if not doubt and features["strangeness"] > 1:
        doubt = (
            "This scan is unlike those that the assessment was trained on"
            + (f", to which it looks like {label}" if label != "good" else "")
            + "; judge it by eye."
        )
    if doubt:
        missing = tuple(r for r in reasons if r.endswith("not recorded."))
        label, score, reasons = NOT_SURE, 0.5, (doubt, *missing)
    elif label != "good":
        score = min(score, 0.49)
    usable = np.zeros(z.shape, bool)
    usable[first : first + len(part)] = _usable(part, label, faults, places, step)
    return Verdict(score, label, reasons, usable, faults, features)


def _doubt_drift(change: float, uniform: float) -> str:
    """Say why drift cannot be claimed, "" where it can."""
    if not np.isfinite(change) or uniform < LEAST_UNIFORM:
        return "No lattice covers this scan, so nobody can tell drift; the rest looks fine."
    if change < LEAST_CHANGE:
        return (
            f"The lattice is the same in the first and the last lines to {100 * change:.0f} %, but "
            "something varies along the scan; judge it by eye."
        )
    return ""


def _without_empty_lines(z: np.ndarray) -> np.ndarray:
    """Scan with NaN in the lines that were not recorded, whatever the instrument put there.

    No line of a measurement holds one value only; a scan that was stopped is filled with such
    lines.
    """
    finite = np.isfinite(z)
    low = np.where(finite, z, np.inf).min(1)
    high = np.where(finite, z, -np.inf).max(1)
    empty = low >= high
    if empty.all():
        raise ImageError("The scan is constant along its lines; there is nothing to assess.")
    return np.where(empty[:, None], np.nan, z)


def _unscaled(z: np.ndarray) -> np.ndarray:
    """Scan in a unit in which its values are about 1: squares of 1e154 or 1e-300 are no numbers.

    By powers of two, and less a value of its own: nothing is rounded that was not before.
    """
    finite = z[np.isfinite(z)]
    middle = np.median(finite)
    with np.errstate(over="ignore"):
        limit = 1e6 * arrays.spread(finite, centre=middle)
        if limit > 0:  # one pixel of 1e300 would hide all others
            z = np.clip(z, middle - limit, middle + limit)
    for _ in range(2):  # a wide range of large numbers is no number either
        z = np.ldexp(z, -int(np.frexp(np.nanmax(np.abs(z)))[1]))
        if np.nanmax(np.abs(z)) > 1e3 * np.ptp(z[np.isfinite(z)]):
            z = z - z[np.isfinite(z)][0]
    return z


def _recorded(z: np.ndarray) -> tuple[int, np.ndarray]:
    """Lines that were recorded, of a scan that was stopped; all where little is missing."""
    begun = int(np.isfinite(z).any(1).sum())
    if begun < FEWEST_LINES:
        raise ImageError(
            f"Only {begun} of {len(z)} lines were recorded; an assessment needs {FEWEST_LINES}."
        )
    there = np.isfinite(z).mean(1) > 0.5
    if there.mean() > 0.98 or there.sum() < FEWEST_LINES:
        return 0, z
    rows = np.flatnonzero(there)
    return int(rows[0]), z[rows[0] : rows[-1] + 1]


def _sample(z: np.ndarray) -> tuple[np.ndarray, int]:
    """Scan in at most about 512 pixels: means of blocks of a large one."""
    step = max(1, int(np.ceil(min(z.shape) / (1.5 * LARGEST_PX))))
    if step == 1:
        return z, 1
    h, w = (n // step * step for n in z.shape)
    blocks = z[:h, :w].reshape(h // step, step, w // step, step)
    return np.nanmean(blocks, axis=(1, 3)), step


def _reasons(
    faults: dict[str, float], places: Places, step: int, features: dict[str, float]
) -> tuple[str, ...]:
    echo = np.hypot(*places["echo"]) * step
    words = {
        "what": f"{echo:.0f} px", "noise": places["noise"], "row": places["row"],
        "cover": 100 * float(places["lumps"].mean()),
    }  # fmt: skip
    found = sorted((f for f in FAULTS if faults[f] > 0.5), key=lambda f: -faults[f])
    said = [_SAID[f].format(**words) for f in found]
    if features["missing"] > 0.005:
        said.append(f"{100 * features['missing']:.0f} % of the scan was not recorded.")
    return tuple(said) or ("The scan is sharp and uniform enough to be analysed.",)


def _usable(
    z: np.ndarray, label: str, faults: dict[str, float], places: Places, step: int
) -> np.ndarray:
    """Pixels that can be used."""
    mask = np.isfinite(z)
    if label in ("double tip", "noisy", "drift", "featureless"):
        return np.zeros_like(mask)
    lumps = np.kron(places["lumps"], np.ones((step, step), bool))
    covered = np.zeros_like(mask)
    covered[: lumps.shape[0], : lumps.shape[1]] = lumps[: z.shape[0], : z.shape[1]]
    mask &= ~scipy.ndimage.binary_dilation(covered, iterations=2)
    if min(z.shape) <= 2048:
        mask &= ~find_scars(z)
    if label == "tip change" or (label == "good" and faults["tip change"] > 0.5):
        row = places["row"] // step + 1
        sharp = places["sharp"] - places["strength"]
        n = len(sharp)
        # the larger part, unless the other is much sharper
        first = row / n + 0.35 * (sharp[:row].mean() - sharp[row:].mean()) > 0.5
        at = min(row * step, z.shape[0])
        mask[at:] &= not first
        mask[:at] &= first
    return mask
