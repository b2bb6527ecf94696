"""Is this scan any good? A verdict with its reasons and the region that can be used.

Physical features of the scan (noise, correlation of lines, lattice peaks, echoes of a
second tip, changes from line to line, bending of the lattice, cover by contaminants) go
into a small network that was trained on simulated scans of six kinds of surfaces.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage as ndi

from napari_atomlens.errors import ImageError, ModelError
from napari_atomlens.stm.levelling import finite_image

#: Faults, in the order of the outputs of the network.
FAULTS = ("double tip", "noisy", "tip change", "drift", "featureless", "too contaminated")
#: The network with which verdicts are made.
WEIGHTS = Path(__file__).parent / "weights" / "assess.safetensors"
#: Larger scans are assessed on a sample of about this side: windows of the scan.
LARGEST_PX = 512
_SAID = {
    "double tip": "Features repeat {what} away, as a second tip makes them.",
    "noisy": "Noise is {noise:.1f} times as strong as what the lines have in common.",
    "tip change": "The tip changed about line {row}.",
    "drift": "The lattice bends or stretches from the first lines to the last.",
    "featureless": "There is no lattice and hardly any feature above the noise.",
    "too contaminated": "{cover:.0f} % of the scan lies under contaminants.",
}


@dataclass(frozen=True)
class Verdict:
    """What an assessment says.

    Attributes
    ----------
    score : float
        0 (useless) to 1 (good).
    label : str
        "good" or the most likely of `FAULTS`.
    reasons : tuple of str
        Sentences, the weightiest first; one that says what is good where nothing is wrong.
    usable_mask : ndarray of bool, shape (H, W)
        Pixels that can be used: after a tip change the better part, without contaminants,
        scars and missing lines. Empty where the fault spoils all of the scan.
    faults : dict of str to float
        Probability of each fault.
    features : dict of str to float
        What was measured.
    """

    score: float
    label: str
    reasons: tuple[str, ...]
    usable_mask: np.ndarray
    faults: dict[str, float]
    features: dict[str, float]


def _spread(x: np.ndarray) -> float:
    return 1.4826 * float(np.median(np.abs(x - np.median(x)))) + 1e-30


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
    return np.asarray(ac / max(ac[h, w], 1e-30))


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
    typical = np.array(
        [np.median(flat[a:b]) if b > a else 1e-30 for a, b in zip(edges[:-1], edges[1:], strict=True)]
    )
    ratio = power / np.maximum(typical[ring], 1e-30)
    band = (radius > 2.0 / min(z.shape) * 3) & (radius < 0.45) & (np.abs(fy) < 0.45)
    band &= np.abs(fx) > 1.5 / z.shape[1]  # noise of lines is no lattice
    peaks = band & (ratio > 40)
    share = float(power[peaks].sum() / max(power[band].sum(), 1e-30))
    best = np.sort(ratio[band])[-6:]
    full = np.fft.rfft2(z)
    near = ndi.binary_dilation(peaks, iterations=1)
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
        reach = min(cy, cx, 44)
        view = ac[cy - reach : cy + reach + 1, cx - reach : cx + reach + 1].copy()
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        r = np.hypot(y, x)
        # compared with what is usual at this distance: the width of features is no echo
        ring = r.astype(int)
        mean = ndi.mean(view, ring, np.arange(ring.max() + 1))
        view -= mean[ring]
        top = ndi.maximum_filter(view, 5)
        peak = (view == top) & (r >= smallest) & (r < reach - 2) & (y >= 0)
        peak &= np.abs(y) >= 1
        heights = np.sort(view[peak])[::-1]
        heights = np.concatenate([heights, np.zeros(8)])
        noise = 1.4826 * float(np.median(np.abs(view[r > 6]))) + 1e-9
        out += [float(heights[0]), float(heights[0] - heights[2]), float(np.log1p(max(heights[0], 0.0) / noise))]
        if peak.any() and heights[0] > best:
            best = heights[0]
            k = np.flatnonzero(peak.ravel())[view[peak].argmax()]
            where = (float(y.ravel()[k]), float(x.ravel()[k]))
    return out, where


def _bending(z: np.ndarray) -> list[float]:
    """How much the autocorrelation changes down the scan, and how its peaks move."""
    bands = np.array_split(z, 5)
    maps = []
    for band in bands:
        ac = _autocorrelation(band - band.mean())
        cy, cx = np.asarray(ac.shape) // 2
        ry, rx = min(20, cy - 1), min(32, cx - 1)
        maps.append(ac[cy : cy + ry + 1, cx - rx : cx + rx + 1])
    ry, width = maps[0].shape[0] - 1, maps[0].shape[1]
    ry = min(m.shape[0] for m in maps) - 1
    y, x = np.mgrid[: ry + 1, : width].astype(float)
    x -= width // 2
    far = (np.hypot(y, x) > 4) & (y >= 0)
    same, moved, shears, stretches = [], [], [], []
    for k in range(4):
        a, b = maps[0 + k][: ry + 1], maps[4 if k == 0 else k + 1][: ry + 1]
        same.append(float(np.corrcoef(a[far], b[far])[0, 1]))
        best, at = -2.0, (0.0, 1.0)
        smooth = ndi.spline_filter(ndi.gaussian_filter(b, 0.7), 3)
        for shear in np.linspace(-0.6, 0.6, 13) if k == 0 else (0.0,):
            for stretch in (0.75, 0.87, 1.0, 1.15, 1.32) if k == 0 else (1.0,):
                xx = x + shear * y + width // 2
                yy = stretch * y
                values = ndi.map_coordinates(smooth, [yy, xx], order=3, prefilter=False, mode="nearest")
                c = float(np.corrcoef(a[far], values[far])[0, 1])
                if c > best:
                    best, at = c, (shear, stretch)
        moved.append(best)
        shears.append(abs(at[0]))
        stretches.append(abs(np.log(at[1])))
    return [same[0], moved[0], moved[0] - same[0], shears[0], stretches[0], min(same[1:])]


def measure(image: Any) -> tuple[dict[str, float], dict[str, Any]]:
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
    hp = level - ndi.gaussian_filter(level, wide)
    hp = np.clip(hp, *(np.percentile(hp, [0.2, 99.8]) * 1.5))
    scale = float(hp.std()) + 1e-30
    hp = hp / scale
    f: dict[str, float] = {}
    # white noise by the second difference across lines and along them
    for name, axis in (("across", 0), ("along", 1)):
        second = np.diff(hp, 2, axis=axis)
        f[f"noise_{name}"] = _spread(second) / np.sqrt(6)
    diagonal = hp[1:-1, 1:-1] * 4 - 2 * (hp[:-2, 1:-1] + hp[2:, 1:-1] + hp[1:-1, :-2] + hp[1:-1, 2:])
    diagonal += hp[:-2, :-2] + hp[:-2, 2:] + hp[2:, :-2] + hp[2:, 2:]
    f["noise"] = _spread(diagonal) / 6
    for lag in (1, 2, 4):
        f[f"rows_{lag}"] = float((hp[:-lag] * hp[lag:]).mean())
        f[f"columns_{lag}"] = float((hp[:, :-lag] * hp[:, lag:]).mean())
    f["kurtosis"] = float(np.log(np.mean(hp**4) + 1e-9))
    f["skewness"] = float(np.cbrt(np.mean(hp**3)))
    f["lattice"], f["lattice_share"], rest = _lattice(hp)
    smooth = ndi.gaussian_filter(rest, 1.0)
    f["rest"] = float(smooth.std())
    f["rest_spread"] = _spread(smooth) / f["rest"]
    echoes, where = _echo(smooth)
    for k, value in enumerate(echoes):
        f[f"echo_{k}"] = value
    raw, _ = _echo(ndi.gaussian_filter(hp, 1.0))
    for k, value in enumerate(raw[:3]):
        f[f"repeat_{k}"] = value
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
    # contaminants: high and smooth over more than the lattice
    slow = ndi.gaussian_filter(level, max(2.0, min(h, w) / 64)) / scale
    centre = np.median(slow)
    typical = _spread(slow)
    for k, threshold in enumerate((1.0, 2.0, 4.0)):
        f[f"cover_{k}"] = float((np.abs(slow - centre) > threshold).mean())
    f["slow_std"] = float(np.log(slow.std() + 1e-3))
    f["slow_spread"] = float(np.log(typical + 1e-3))
    f["slow_skew"] = float(np.cbrt(np.mean(((slow - slow.mean()) / (slow.std() + 1e-9)) ** 3)))
    texture = np.sqrt(ndi.gaussian_filter(hp**2, wide / 2))
    f["texture"] = float(np.percentile(texture, 90) / (np.percentile(texture, 10) + 0.05))
    f["missing"] = missing
    low = np.percentile(slow, 25)
    lumps = slow - low > 3.0 + 2 * _spread(slow[slow < np.median(slow)])
    row = at if f["jump"] > 2.2 else place[int(np.argmax(change))]
    signal = max(f["rows_1"], 1e-3)
    return f, {
        "row": row, "echo": where, "lumps": lumps, "strength": strength,
        "noise": float(np.sqrt(max(1 - signal, 0) / signal)), "sharp": sharp,
    }  # fmt: skip


@lru_cache(maxsize=2)
def _network(path: Path) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Layers of the network (weight, bias, ...) and what is known of it."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "numpy") as file:
            facts = json.loads(file.metadata()["atomlens"])
            layers = [file.get_tensor(k) for k in facts["layers"]]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The network of the assessment cannot be read ({error}).") from None
    return layers, facts


def as_vector(features: dict[str, float], names: list[str]) -> np.ndarray:
    """Features in the order of the network, limited to what numbers can be."""
    return np.nan_to_num(np.array([features[n] for n in names], float), posinf=1e3, neginf=-1e3)


def run_network(vectors: np.ndarray, layers: list[np.ndarray]) -> np.ndarray:
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


def assess(image: Any) -> Verdict:
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
        If it is no image, too small, or constant.
    """
    data = getattr(image, "data", image) if not isinstance(image, np.ndarray) else image
    array = np.asarray(data if np.ndim(data) != 3 else data[0])
    z = finite_image(array, 32)
    small, step = _sample(z)
    features, places = measure(small)
    layers, facts = _network(WEIGHTS)
    chance = run_network(as_vector(features, facts["features"])[None], layers)[0]
    faults = {name: float(p) for name, p in zip(FAULTS, chance, strict=True)}
    worst = max(faults, key=lambda k: faults[k])
    label = worst if faults[worst] > 0.5 else "good"
    score = float(np.prod([1 - p for p in chance]) ** 0.7)
    if label != "good":
        score = min(score, 0.49)
    reasons = _reasons(faults, places, step, features)
    return Verdict(score, label, reasons, _usable(z, label, faults, places, step), faults, features)


def _sample(z: np.ndarray) -> tuple[np.ndarray, int]:
    """Scan in at most about 512 pixels: means of blocks of a large one."""
    step = max(1, int(np.ceil(min(z.shape) / (1.5 * LARGEST_PX))))
    if step == 1:
        return z, 1
    h, w = (n // step * step for n in z.shape)
    blocks = z[:h, :w].reshape(h // step, step, w // step, step)
    return np.nanmean(blocks, axis=(1, 3)), step


def _reasons(
    faults: dict[str, float], places: dict[str, Any], step: int, features: dict[str, float]
) -> tuple[str, ...]:
    echo = np.hypot(*places["echo"]) * step
    words = {
        "what": f"{echo:.0f} px", "noise": places["noise"], "row": places["row"] * step,
        "cover": 100 * float(places["lumps"].mean()),
    }  # fmt: skip
    found = sorted((f for f in FAULTS if faults[f] > 0.5), key=lambda f: -faults[f])
    said = [_SAID[f].format(**words) for f in found]
    if features["missing"] > 0.005:
        said.append(f"{100 * features['missing']:.0f} % of the scan was not recorded.")
    return tuple(said) or ("The scan is sharp and uniform enough to be analysed.",)


def _usable(
    z: np.ndarray, label: str, faults: dict[str, float], places: dict[str, Any], step: int
) -> np.ndarray:
    """Pixels that can be used."""
    from napari_atomlens.stm.scars import find_scars

    mask = np.isfinite(z)
    if label in ("double tip", "noisy", "drift", "featureless"):
        return np.zeros_like(mask)
    lumps = np.kron(places["lumps"], np.ones((step, step), bool))
    covered = np.zeros_like(mask)
    covered[: lumps.shape[0], : lumps.shape[1]] = lumps[: z.shape[0], : z.shape[1]]
    mask &= ~ndi.binary_dilation(covered, iterations=2)
    if min(z.shape) <= 2048:
        mask &= ~find_scars(z)
    if faults["tip change"] > 0.5:
        row = places["row"] + 1
        sharp = places["sharp"] - places["strength"]
        n = len(sharp)
        # the larger part, unless the other is much sharper
        first = row / n + 0.35 * (sharp[:row].mean() - sharp[row:].mean()) > 0.5
        at = min(row * step, z.shape[0])
        mask[at:] &= not first
        mask[:at] &= first
    return mask
