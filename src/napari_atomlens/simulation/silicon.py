"""STM scans of H-Si(100) 2x1 with exact truth: terraces, dimers, defects, contaminants.

Distances of the surface are facts (a = 0.5431 nm); heights and shapes of the defects are
assumptions that were drawn wide and looked at beside published scans: what a defect looks
like depends on the tip and on the bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage as ndi

from napari_atomlens.params import Params, of_kind, param
from napari_atomlens.simulation import faults
from napari_atomlens.simulation.formation import render_columns
from napari_atomlens.stm.site_kinds import ALONG_NM, KINDS, ROW_NM, STEP_NM

#: A defect whose centre is nearer than this to another is not drawn, in nm.
CLEARANCE_NM = 1.1


@dataclass(frozen=True)
class SiliconParams(Params):
    """What a simulated scan of H-Si(100) looks like.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.SiliconParams(size_px=128, steps=1).steps
    1
    """

    size_px: int = param(512, "side of the scan", unit="px", ge=32, le=8192)
    pixel_size_nm: float = param(0.08, "pixel size", unit="nm", ge=0.005, le=1)
    steps: int = param(0, "monatomic steps", ge=0, le=20)
    defects_per_nm2: float = param(0.05, "defects in a square nanometre", ge=0, le=2)
    contaminants: int = param(0, "large contaminants", ge=0, le=200)
    corrugation_nm: float = param(0.03, "height of a dimer over the trough", unit="nm", ge=0, le=1)
    split_nm: float = param(
        0.0,
        "distance of the two hydrogen sites of a dimer; 0: not resolved",
        unit="nm",
        ge=0,
        le=0.5,
    )
    blur_nm: float = param(0.17, "width of a site (standard deviation)", unit="nm", ge=0.02, le=1)
    noise_nm: float = param(0.004, "rms of white noise", unit="nm", ge=0, le=10)
    pink_nm: float = param(0.004, "rms of 1/f noise along the scan", unit="nm", ge=0, le=10)
    line_nm: float = param(0.003, "rms of the offsets of lines", unit="nm", ge=0, le=10)
    tilt: float = param(0.0, "slope of the sample", ge=-1, le=1)
    row_angle_rad: float = param(0.0, "direction of the rows of the lowest terrace", unit="rad")
    contrast: float = param(1.0, "height of defects over the usual one", ge=0, le=100)
    charged: bool = param(False, "empty-state look: dark halos round charged defects")
    seed: int = param(0, "seed", ge=0, le=2**40)


@dataclass
class SiliconScan:
    """A scan and what it shows.

    Attributes
    ----------
    image : ndarray, shape (H, W)
        Heights in nm.
    dimers : pandas.DataFrame
        ``y_px``, ``x_px``, ``terrace``, ``visible`` (False under contaminants and where a
        defect took it away).
    defects : pandas.DataFrame
        ``y_px``, ``x_px``, ``kind`` (of `KINDS`), ``half_y_px``, ``half_x_px`` (half of the box).
    terrace : ndarray of int, shape (H, W)
        0 the lowest.
    contaminated : ndarray of bool, shape (H, W)
    steps : list of ndarray, each (n, 2)
        Step edges, (row, column) in pixels.
    pixel_size_nm : float
    """

    image: np.ndarray
    dimers: pd.DataFrame
    defects: pd.DataFrame
    terrace: np.ndarray
    contaminated: np.ndarray
    steps: list[np.ndarray]
    pixel_size_nm: float


# One part of a defect: (along the row, across it, height, sigma along, sigma across), in nm.
Parts = list[tuple[float, float, float, float, float]]


def _shape_of(kind: str, rng: np.random.Generator, charged: bool) -> tuple[Parts, Parts, float]:
    """Parts that are narrow, parts that are wide (halos), and half the length along the row."""
    u = rng.uniform
    side = rng.choice([-1.0, 1.0])
    wide: Parts = []
    half = 0.7
    if kind == "dangling bond":
        bright = u(0.02, 0.06) if charged else u(0.06, 0.16)
        parts = [(0.0, side * u(0, 0.15), bright, u(0.15, 0.26), u(0.14, 0.24))]
        if charged or rng.random() < 0.2:
            s = u(0.7, 1.4)
            wide = [(0.0, 0.0, -u(0.03, 0.09), s, s)]
            half = 1.0
    elif kind == "bare dimer":
        gap, a, s = u(0.1, 0.2), u(0.05, 0.12), u(0.13, 0.22)
        parts = [(0.0, gap, a, s, s), (0.0, -gap, a * u(0.8, 1.2), s, s)]
    elif kind == "missing dimer":
        ring = u(0.0, 0.035) if charged else u(0.0, 0.015)
        deep = u(0.01, 0.05) if charged else u(0.05, 0.14)
        n = int(rng.integers(1, 3))
        parts = []
        for k in range(n):
            c = (k - (n - 1) / 2) * ALONG_NM * 2
            parts.append((c, 0.0, -deep, u(0.14, 0.2), u(0.16, 0.24)))
            for t in np.arange(8) * np.pi / 4:
                parts.append((c + 0.42 * np.cos(t), 0.36 * np.sin(t), ring, 0.16, 0.14))
        half = 0.7 + 0.3 * (n - 1)
    elif kind == "dihydride":
        if rng.random() < 0.2:  # one side only: a bright arc with a dark spot beside
            a, arm = u(0.02, 0.05), u(0.25, 0.4)
            parts = [
                (-arm, side * 0.05, a, 0.2, 0.14),
                (0.0, side * 0.16, a, 0.2, 0.14),
                (arm, side * 0.05, a, 0.2, 0.14),
                (0.0, -side * 0.2, -a, 0.17, 0.14),
            ]
        else:
            d, b, y = u(0.02, 0.06), u(0.008, 0.035), u(0.32, 0.44)
            s = u(0.12, 0.19)
            parts = [
                (0.0, y, -d, s, 0.13),
                (0.0, -y, -d, s, 0.13),
                (0.0, 0.0, -u(0, 0.5) * d, 0.1, 0.1),
                (0.3, 0.0, b, 0.2, 0.14),
                (-0.3, 0.0, b, 0.2, 0.14),
            ]
    elif kind == "3x1":
        a, h = u(0.015, 0.06), u(0.45, 0.75)
        ys = np.linspace(-h, h, 5)
        parts = [(x, y, a * 0.6, 0.17, 0.2) for y in ys for x in (-0.17, 0.17)]
        parts += [
            (0.0, h + 0.4, -u(0.01, 0.04), 0.18, 0.14),
            (0.0, -h - 0.4, -u(0.01, 0.04), 0.18, 0.14),
        ]
        half = 0.75
    elif kind == "1x1":
        d, y, s = u(0.05, 0.12), u(0.22, 0.36), u(0.18, 0.28)
        parts = [
            (0.0, y, -d, s, 0.16),
            (0.0, -y, -d, s, 0.16),
            (0.0, 0.0, -d * u(0.3, 0.9), s, 0.16),
            (0.5, 0.0, u(0, 0.03), 0.2, 0.2),
            (-0.5, 0.0, u(0, 0.03), 0.2, 0.2),
        ]
        half = 1.0
    elif kind == "raised silicon":
        a = u(0.06, 0.16)
        parts = [(0.0, 0.0, a, u(0.22, 0.36), u(0.2, 0.3))]
    elif kind == "etch pit":
        n, d = int(min(rng.geometric(0.45), 16)), u(0.08, 0.2)
        at = (np.arange(n) - (n - 1) / 2) * ALONG_NM
        w, s = u(0.22, 0.32), u(0.2, 0.3)
        # overlapping Gaussians, so that the floor is flat
        total = np.exp(-0.5 * (at / w) ** 2).sum()
        parts = [(float(v), 0.0, -d / max(total, 1.0), w, s) for v in at]
        half = 0.75 + ALONG_NM * n / 2
    elif kind == "adatom":
        parts = [(0.0, 0.0, u(0.018, 0.06), u(0.16, 0.26), u(0.14, 0.22))]
        half = 0.5
    elif kind == "dopant":
        s = u(0.6, 1.1)
        wide = [(0.0, 0.0, -u(0.05, 0.12), s, s * u(0.8, 1.2))]
        parts = [(u(-0.3, 0.3), u(-0.3, 0.3), -u(0.0, 0.08), u(0.2, 0.4), u(0.2, 0.4))]
        half = 1.05
    elif kind == "anomaly":
        n = int(rng.integers(2, 6))
        parts = [
            (
                u(-0.7, 0.7),
                u(-0.55, 0.55),
                u(0.02, 0.08) * rng.choice([-1, 1]),
                u(0.13, 0.26),
                u(0.13, 0.26),
            )
            for _ in range(n)
        ]
        half = 0.9
    else:  # contaminant
        n, size = int(rng.integers(1, 5)), u(0.3, 0.7)
        parts = [
            (u(-0.4, 0.4), u(-0.3, 0.3), u(0.12, 0.35), size * u(0.6, 1.2), size * u(0.5, 1.0))
            for _ in range(n)
        ]
        half = 1.0 + size
    return parts, wide, half


#: Dimers so near to the centre, along the row and across it (nm), are replaced or hidden.
COVERED_NM = {
    "dangling bond": (0.19, 0.3),
    "bare dimer": (0.19, 0.3),
    "raised silicon": (0.4, 0.35),
    "3x1": (0.4, 0.85),
    "contaminant": (0.9, 0.6),
}
#: How often each kind is drawn.
FREQUENCY = dict(
    zip(KINDS, (0.14, 0.05, 0.1, 0.17, 0.04, 0.05, 0.12, 0.09, 0.13, 0.04, 0.05, 0.02), strict=True)
)


def _terraces(
    shape: tuple[int, int], n: int, pixel: float, rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Terrace number of every pixel, and the edges between them as lines."""
    level = np.zeros(shape, int)
    lines: list[np.ndarray] = []
    if not n:
        return level, lines
    phi = rng.uniform(0, np.pi)
    normal = np.array([np.sin(phi), np.cos(phi)])
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    middle = (np.asarray(shape) - 1) / 2
    s = (rows - middle[0]) * normal[0] + (cols - middle[1]) * normal[1]
    t = -(rows - middle[0]) * normal[1] + (cols - middle[1]) * normal[0]
    reach = 0.5 * min(shape)
    at = np.linspace(-1, 1, n + 2)[1:-1] * reach * 0.9 + rng.uniform(-0.1, 0.1, n) * reach / n
    grid = np.arange(-max(shape), max(shape) + 1, 1.0)
    for c in at:
        wander = ndi.gaussian_filter1d(rng.standard_normal(len(grid)), rng.uniform(10, 30))
        wander *= rng.uniform(0.0, 0.8) / max(wander.std(), 1e-9) / pixel
        # edges run along the rows for a while and then jump by one of them
        kinks = np.round(wander / (ROW_NM / pixel)) * ROW_NM / pixel
        edge = c + (kinks if rng.random() < 0.5 else wander)
        level += s > np.interp(t, grid, edge)
        line = middle + edge[:, None] * normal + grid[:, None] * np.array([-normal[1], normal[0]])
        inside = ((line >= 0) & (line <= np.asarray(shape) - 1)).all(1)
        lines.append(line[inside])
    return level, lines


def _sites(
    shape: tuple[int, int], pixel: float, angle: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """All dimers of one terrace that covers the image: positions and lattice indices."""
    along = np.array([-np.sin(angle), np.cos(angle)]) * ALONG_NM / pixel  # (row, column)
    across = np.array([-np.cos(angle), -np.sin(angle)]) * ROW_NM / pixel
    basis = np.stack([along, across])
    origin = np.asarray(shape) / 2 + rng.uniform(0, 1, 2) @ basis
    reach = np.hypot(*shape) / 2 + 2 * ROW_NM / pixel
    ni, nj = int(reach / (ALONG_NM / pixel)) + 1, int(reach / (ROW_NM / pixel)) + 1
    i, j = (a.ravel() for a in np.mgrid[-ni : ni + 1, -nj : nj + 1])
    index = np.c_[i, j]
    place = origin + index @ basis
    keep = ((place > -8) & (place < np.asarray(shape) + 7)).all(1)
    return place[keep], index[keep]


def simulate_silicon(p: SiliconParams = SiliconParams()) -> SiliconScan:
    """Simulate a scan of H-Si(100) 2x1.

    Returns
    -------
    SiliconScan
        Image and truth; positions in pixels, heights in nm.

    Raises
    ------
    ParameterError
        If a parameter lies outside of its bounds.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> scan = al.simulate_silicon(al.SiliconParams(size_px=128, defects_per_nm2=0.1))
    >>> scan.image.shape, len(scan.defects)
    ((128, 128), 7)
    """
    p = of_kind(SiliconParams, p)
    rng = np.random.default_rng(p.seed)
    shape, pixel = (p.size_px, p.size_px), p.pixel_size_nm
    terrace, steps = _terraces(shape, p.steps, pixel, rng)
    margin = 1.5 / pixel

    places, terraces, angles = [], [], []
    for k in range(terrace.max() + 1):
        turned = p.row_angle_rad + (np.pi / 2) * (k % 2)  # rows turn on every single step
        place, _ = _sites(shape, pixel, turned, rng)
        near = np.clip(np.rint(place).astype(int), 0, np.asarray(shape) - 1)
        mine = terrace[near[:, 0], near[:, 1]] == k
        places.append(place[mine])
        terraces.append(np.full(mine.sum(), k))
        angles.append(np.full(mine.sum(), turned))
    place, of = np.concatenate(places), np.concatenate(terraces)
    angle = np.concatenate(angles)
    n = len(place)
    amplitude = p.corrugation_nm * (1 + 0.03 * rng.standard_normal(n))

    # defects on sites, far enough from each other
    area = (shape[0] + 2 * margin) * (shape[1] + 2 * margin) * pixel**2
    wanted = rng.poisson(p.defects_per_nm2 * area)
    chosen: list[int] = []
    kinds: list[str] = []
    taken = np.zeros((0, 2))
    for i in rng.permutation(n)[:wanted]:
        if len(taken) and (np.hypot(*(taken - place[i]).T) < CLEARANCE_NM / pixel).any():
            continue
        chosen.append(int(i))
        kinds.append(str(rng.choice(KINDS, p=np.asarray(list(FREQUENCY.values())))))
        taken = np.vstack([taken, place[i]])
    narrow: list[tuple[float, ...]] = []
    wide: list[tuple[float, ...]] = []
    boxes = []
    centres = []
    visible = np.ones(n, bool)
    for i, kind in zip(chosen, kinds, strict=True):
        parts, halos, half = _shape_of(kind, rng, p.charged)
        a = angle[i]
        along = np.array([-np.sin(a), np.cos(a)]) / pixel
        across = np.array([-np.cos(a), -np.sin(a)]) / pixel
        offset = 0.0 if kind in ("missing dimer", "bare dimer", "dangling bond") else 0.5
        centre = place[i] + offset * rng.choice([0, 1]) * ALONG_NM * along
        for source, target in ((parts, narrow), (halos, wide)):
            for u, v, h, su, sv in source:
                y, x = centre + u * along + v * across
                target.append((y, x, h * p.contrast, su / pixel, sv / pixel, a))
        high = 1.1 if kind == "3x1" else 0.62 if kind not in ("dopant", "dangling bond") else 0.9
        half_y = abs(half * np.sin(a)) + abs(high * np.cos(a))
        half_x = abs(half * np.cos(a)) + abs(high * np.sin(a))
        boxes.append((half_y / pixel, half_x / pixel))
        centres.append(centre)
        d = (place - centre) @ np.stack([along, across]).T * pixel**2
        if kind in ("missing dimer", "etch pit", "1x1", "anomaly"):
            reach = max(half - 0.55, 0.2)
            gone = (np.abs(d[:, 0]) < reach) & (np.abs(d[:, 1]) < 0.4)
            amplitude[gone] *= 0.1
            visible[gone] = False
        elif kind in COVERED_NM:
            # what replaces dimers, or hides them
            along_nm, across_nm = COVERED_NM[kind]
            visible[(np.abs(d[:, 0]) < along_nm) & (np.abs(d[:, 1]) < across_nm)] = False

    def site(d: float, weight: float) -> np.ndarray:
        y = place[:, 0] - d / pixel * np.cos(angle)
        x = place[:, 1] - d / pixel * np.sin(angle)
        aspect = 1.0 if p.split_nm else 1.45
        blur = p.blur_nm / pixel
        return render_columns(
            shape, y, x, weight * amplitude, blur, aspect, angle + np.pi / 2, reach=3.5
        )

    if p.corrugation_nm == 0:
        image = np.zeros(shape)
    elif p.split_nm:
        image = site(p.split_nm / 2, 0.7) + site(-p.split_nm / 2, 0.7)
    else:
        image = site(0.0, 1.0)
    for group, reach in ((narrow, 3.5), (wide, 3.2)):
        if group:
            y, x, h, su, sv, a = np.array(group).T
            sigma, aspect = np.sqrt(su * sv), su / sv
            image += render_columns(shape, y, x, h, sigma, aspect, a, reach=reach)
    image += terrace * STEP_NM
    if p.steps:
        image = image + 0  # the tip has a width: a step is never sharper than it
        edge = ndi.gaussian_filter(terrace * STEP_NM, 0.15 / pixel) - terrace * STEP_NM
        image += edge
    contaminated = np.zeros(shape, bool)
    for _ in range(p.contaminants):
        y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        lump, size = np.zeros(shape), rng.uniform(0.4, 1.3)
        m = int(rng.integers(2, 7))
        lump = render_columns(
            shape,
            y + rng.normal(0, size, m) / pixel,
            x + rng.normal(0, size, m) / pixel,
            rng.uniform(0.15, 0.5, m),
            rng.uniform(0.4, 0.9, m) * size / pixel,
            reach=3.5,
        )
        image += lump
        contaminated |= lump > 0.04
    if n:
        near = np.clip(np.rint(place).astype(int), 0, np.asarray(shape) - 1)
        visible &= ~contaminated[near[:, 0], near[:, 1]]
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    image = image + p.tilt * pixel * (np.cos(1.0) * rows + np.sin(1.0) * cols)
    image = image + p.noise_nm * rng.standard_normal(shape)
    if p.pink_nm:
        image = image + p.pink_nm * faults.pink_rows(shape, rng, 1.0)
    image = image + p.line_nm * rng.standard_normal(shape[0])[:, None]

    inside = ((place >= 0) & (place <= np.asarray(shape) - 1)).all(1)
    dimers = pd.DataFrame(
        {
            "y_px": place[inside, 0],
            "x_px": place[inside, 1],
            "terrace": of[inside],
            "visible": visible[inside],
        }
    )
    c, b = np.array(centres).reshape(-1, 2), np.array(boxes).reshape(-1, 2)
    defects = pd.DataFrame(
        {
            "y_px": c[:, 0],
            "x_px": c[:, 1],
            "kind": np.asarray(kinds, object),
            "half_y_px": b[:, 0],
            "half_x_px": b[:, 1],
        }
    )
    on = ((c >= 0) & (c <= np.asarray(shape) - 1)).all(1) if len(c) else np.zeros(0, bool)
    return SiliconScan(
        image,
        dimers,
        pd.DataFrame(defects[on]).reset_index(drop=True),
        terrace,
        contaminated,
        steps,
        pixel,
    )


def training_scan(size_px: int, seed: int, row_px: float = 8.0) -> SiliconScan:
    """Draw one scan of the wide family that the defect network learns from."""
    rng = np.random.default_rng(seed)
    charged = bool(rng.random() < 0.5)
    resolved = rng.random() < 0.65
    contrast = float(np.exp(rng.uniform(np.log(0.5), np.log(2.0))))
    # half of the scans are as clean as averaged ones, with the weakest defects just seen
    base = float(np.exp(rng.uniform(np.log(0.0008), np.log(0.012)))) * contrast
    params = SiliconParams(
        size_px=size_px,
        pixel_size_nm=ROW_NM / row_px / float(np.exp(rng.uniform(-0.13, 0.13))),
        steps=int(rng.random() < 0.12),
        defects_per_nm2=float(np.exp(rng.uniform(np.log(0.01), np.log(0.16)))),
        contaminants=int(rng.random() < 0.15),
        corrugation_nm=float(rng.uniform(0.01, 0.06)) if resolved else float(rng.uniform(0, 0.006)),
        split_nm=float(rng.choice([0.0, 0.25])),
        blur_nm=float(rng.uniform(0.12, 0.22)),
        noise_nm=base,
        pink_nm=base * float(rng.uniform(0, 1.0)),
        line_nm=base * float(rng.uniform(0, 0.5)),
        row_angle_rad=float(rng.uniform(0, np.pi))
        if rng.random() < 0.7
        else float(rng.choice([0, np.pi / 2]) + rng.normal(0, 0.03)),
        contrast=contrast,
        charged=charged,
        seed=int(rng.integers(2**39)),
    )
    scan = simulate_silicon(params)
    smooth = rng.uniform(0, 0.12) / params.pixel_size_nm  # pictures are often filtered
    if rng.random() < 0.5:
        scan.image = ndi.gaussian_filter(scan.image, (rng.uniform(0, 0.6) * smooth, smooth))
    return scan
