"""Scans of many surfaces, good and with each of the faults that an assessment must see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from napari_atomlens.simulation import crystals, faults
from napari_atomlens.simulation.formation import render_columns
from napari_atomlens.simulation.silicon import SiliconParams, simulate_silicon
from napari_atomlens.stm.assessment import FAULTS
from napari_atomlens.stm.site_kinds import ROW_NM

#: Kinds of surfaces and how often each is drawn.
FREQUENCY = {
    "silicon": 0.22, "square": 0.1, "hexagonal": 0.1, "adatoms": 0.08, "7x7": 0.1,
    "molecules": 0.08, "oxide": 0.1, "corral": 0.08, "molecule": 0.07, "lines": 0.07,
}  # fmt: skip
SURFACES = tuple(FREQUENCY)
#: On these nobody can see that the scan drifted: there is no lattice.
WITHOUT_LATTICE = ("adatoms", "corral", "molecule")
#: A second tip only changes the motif of these.
REPEATING = ("square", "hexagonal", "7x7", "molecules", "oxide", "molecule", "lines")


@dataclass(frozen=True)
class FaultyScan:
    """A scan with its fault.

    Attributes
    ----------
    image : ndarray, shape (H, W)
    fault : str
        "good" or one of :data:`napari_atomlens.stm.assessment.FAULTS`.
    surface : str
        Of `SURFACES`, "none" for featureless scans.
    change_row : int
        Line at which the tip changed, -1 without.
    usable : ndarray of bool, shape (H, W)
        What a careful person would use.
    """

    image: np.ndarray
    fault: str
    surface: str
    change_row: int
    usable: np.ndarray


def seven_by_seven(
    shape: tuple[int, int],
    pixel_size_nm: float,
    angle: float,
    rng: np.random.Generator,
    *,
    missing: float = 0.03,
    corner: float = 1.1,
    faulted: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adatoms of Si(111)-7x7: clean image of height one, positions (n, 2), and which are there.

    Twelve adatoms per cell of 2.69 nm, six in each half, on a 2x2 mesh of the (1x1) lattice
    (K. Takayanagi et al., Surf. Sci. 164, 367, 1985).
    """
    a = 2.69 / pixel_size_nm
    rot = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    basis = a * np.array([[0.0, 1.0], [np.sqrt(3) / 2, 0.5]]) @ rot
    one = ADATOMS_7X7
    reach = int(np.hypot(*shape) / a) + 2
    i, j = (v.ravel() for v in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    cells = np.c_[i, j] + rng.uniform(0, 1, 2)
    place = ((cells[:, None] + one[None]) @ basis).reshape(-1, 2) + np.asarray(shape) / 2
    is_corner = np.tile(np.isin(np.arange(12), CORNERS_7X7), len(cells))
    in_faulted = np.tile(np.arange(12) < 6, len(cells))
    inside = ((place > -5) & (place < np.asarray(shape) + 4)).all(1)
    place, is_corner, in_faulted = place[inside], is_corner[inside], in_faulted[inside]
    there = rng.random(len(place)) >= missing
    height = np.where(is_corner, corner, 1.0) * np.where(in_faulted, faulted, 1.0)
    image = render_columns(
        shape,
        place[there, 0],
        place[there, 1],
        height[there],
        rng.uniform(0.18, 0.24) / pixel_size_nm,
    )
    return image, place, there


def _adatoms() -> tuple[np.ndarray, np.ndarray]:
    """Positions of the 12 adatoms in units of the cell vectors, and which sit at the corners."""
    # centroid of each half, adatoms 2 (1x1) lattice constants apart round it
    out, corners = [], []
    for half, sign in ((np.array([1.0, 1.0]) / 3, 1.0), (np.array([2.0, 2.0]) / 3, -1.0)):
        # the six of a half: three towards the corners of the triangle and three between them
        for ring, scale in (
            (np.array([[-1, -1], [2, -1], [-1, 2]]), 4 / 21),
            (np.array([[1, 1], [-2, 1], [1, -2]]), 2 / 21),
        ):
            for v in ring:
                out.append(half + sign * scale * v)
                corners.append(scale > 0.15)
    return np.array(out), np.flatnonzero(corners)


ADATOMS_7X7, CORNERS_7X7 = _adatoms()


def _surface(kind: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a clean surface; its corrugation or its defects are of the order of one."""
    shape = (size, size)
    angle = float(rng.uniform(0, np.pi))
    if kind == "silicon":
        params = SiliconParams(
            size_px=size,
            pixel_size_nm=ROW_NM / float(rng.uniform(5, 12)),
            steps=int(rng.integers(0, 3)),
            defects_per_nm2=float(np.exp(rng.uniform(np.log(0.015), np.log(0.12)))),
            corrugation_nm=float(rng.choice([0.004, 0.02, 0.04, 0.06])),
            noise_nm=0,
            pink_nm=0,
            line_nm=0,
            split_nm=float(rng.choice([0, 0.25])),
            row_angle_rad=angle,
            charged=bool(rng.random() < 0.4),
            seed=int(rng.integers(2**39)),
        )
        image = simulate_silicon(params).image
    elif kind in ("square", "hexagonal"):
        spacing = float(np.exp(rng.uniform(np.log(5), np.log(22))))
        cell = crystals.square() if kind == "square" else crystals.hexagonal()
        place, _ = crystals.fill(cell, shape, spacing, angle, tuple(rng.uniform(0, spacing, 2)))
        height = 1 + 0.06 * rng.standard_normal(len(place))
        height[rng.random(len(place)) < rng.uniform(0.003, 0.04)] = rng.choice([0.0, 2.0])
        image = render_columns(
            shape, place[:, 0], place[:, 1], height, spacing * rng.uniform(0.2, 0.32)
        )
        if rng.random() < 0.4:
            normal = rng.uniform(0, np.pi)
            rows, cols = np.mgrid[:size, :size]
            side = (rows - size / 2) * np.sin(normal) + (cols - size / 2) * np.cos(normal)
            image = image + rng.uniform(1, 4) * (side > rng.uniform(-0.3, 0.3) * size)
    elif kind == "adatoms":
        n = int(rng.integers(8, 90))
        image = render_columns(
            shape,
            rng.uniform(0, size, n),
            rng.uniform(0, size, n),
            rng.uniform(0.7, 1.3, n) * 2.5,
            rng.uniform(2.2, 4.5),
        )
        if rng.random() < 0.5:  # standing waves round a few of them
            rows, cols = np.mgrid[:size, :size]
            wavelength = rng.uniform(10, 24)
            for y, x in rng.uniform(0, size, (6, 2)):
                r = np.hypot(rows - y, cols - x) + 2
                image = image + 0.25 * np.cos(4 * np.pi * r / wavelength) / np.sqrt(r)
    elif kind == "7x7":
        image, _, _ = seven_by_seven(
            shape,
            float(rng.uniform(0.05, 0.11)),
            angle,
            rng,
            missing=rng.uniform(0, 0.06),
            corner=rng.uniform(0.95, 1.3),
            faulted=rng.uniform(1, 1.25),
        )
    elif kind == "oxide":
        image = _oxide(shape, angle, rng)
    elif kind == "corral":
        image = _bare_metal(shape, rng)
    elif kind == "molecule":
        image = _single_molecules(shape, rng)
    elif kind == "lines":
        image = _line_defects(shape, angle, rng)
    else:
        spacing = float(rng.uniform(14, 30))
        place, _ = crystals.fill(
            crystals.hexagonal(), shape, spacing, angle, tuple(rng.uniform(0, spacing, 2))
        )
        place = place + rng.normal(0, 0.03 * spacing, place.shape)
        up = rng.choice([0.5, 1.0], len(place))
        there = rng.random(len(place)) > rng.uniform(0, 0.12)
        image = render_columns(shape, place[there, 0], place[there, 1], up[there], 0.24 * spacing)
    return np.asarray(image)


def _oxide(shape: tuple[int, int], angle: float, rng: np.random.Generator) -> np.ndarray:
    """Two sublattices of different height, with vacancies and clusters of them."""
    spacing = float(np.exp(rng.uniform(np.log(7), np.log(34))))
    cell = crystals.square() if rng.random() < 0.5 else crystals.hexagonal()
    place, _ = crystals.fill(cell, shape, spacing, angle, tuple(rng.uniform(0, spacing, 2)))
    turn = angle + rng.uniform(0, 2 * np.pi)
    other = place + rng.uniform(0.35, 0.6) * spacing * np.array([np.sin(turn), np.cos(turn)])
    height = 1 + 0.05 * rng.standard_normal(len(place))
    lower = rng.uniform(0.1, 0.7) * (1 + 0.05 * rng.standard_normal(len(place)))
    n = int(rng.integers(3, 40))
    centres = rng.uniform(0, min(shape), (n, 2))
    reach = rng.uniform(0.4, 1.6, n) * spacing
    deep, what = rng.uniform(0.2, 1.0, n), rng.random(n)
    for c, r, d, w in zip(centres, reach, deep, what, strict=True):
        near = np.hypot(*(place - c).T) < r
        height[near] *= 1 - d if w < 0.75 else 1 + d
        lower[np.hypot(*(other - c).T) < r] *= 1 - d
    width = spacing * rng.uniform(0.17, 0.28)
    image = render_columns(shape, place[:, 0], place[:, 1], height, width)
    return image + render_columns(shape, other[:, 0], other[:, 1], lower, width)


def _bare_metal(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Few adatoms, on a ring or scattered, on metal without a lattice; waves and steps at times."""
    size = min(shape)
    n = int(rng.integers(3, 30))
    if rng.random() < 0.6:
        turn = np.linspace(0, 2 * np.pi, n, endpoint=False) + rng.normal(0, 0.1, n)
        radius = size * rng.uniform(0.18, 0.42) * (1 + rng.normal(0, 0.04, n))
        centre = size / 2 + rng.uniform(-0.1, 0.1, 2) * size
        y, x = centre[0] + radius * np.sin(turn), centre[1] + radius * np.cos(turn)
        more = int(rng.integers(0, 4))
        y, x = np.r_[y, rng.uniform(0, size, more)], np.r_[x, rng.uniform(0, size, more)]
    else:
        y, x = rng.uniform(0, size, (2, n))
    m = len(y)
    width = float(np.exp(rng.uniform(np.log(2.5), np.log(size / 18))))
    image = render_columns(shape, y, x, 1 + 0.06 * rng.standard_normal(m), width,
                           rng.uniform(1, 1.25), rng.uniform(0, np.pi))  # fmt: skip
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    if rng.random() < 0.5:
        wavelength = rng.uniform(10, 40)
        for a, b in zip(y, x, strict=True):
            r = np.hypot(rows - a, cols - b) + width
            image = image + rng.uniform(0, 0.12) * np.cos(4 * np.pi * r / wavelength) / np.sqrt(r)
    for _ in range(int(rng.integers(0, 3)) if rng.random() < 0.35 else 0):
        normal = rng.uniform(0, np.pi)
        side = (rows - size / 2) * np.sin(normal) + (cols - size / 2) * np.cos(normal)
        step = side > rng.uniform(-0.4, 0.4) * size
        image = image + rng.uniform(0.8, 3) * ndi.gaussian_filter(step.astype(float), 1.0)
    return np.asarray(image)


def _single_molecules(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """One to four molecules of fused rings, bright or dark, in a broad well or on a hill."""
    size = min(shape)
    image = np.zeros(shape)
    hexagon = np.exp(1j * np.pi / 3 * np.arange(6))
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    for _ in range(int(rng.integers(1, 5))):
        ring = size * rng.uniform(0.04, 0.11)
        turn = np.exp(1j * rng.uniform(0, 2 * np.pi))
        centres = [0j]
        for _ in range(int(rng.integers(2, 9))):  # rings grow on rings
            at = centres[int(rng.integers(len(centres)))]
            centres.append(at + np.sqrt(3) * hexagon[int(rng.integers(6))] * np.exp(1j * np.pi / 6))
        rings = np.unique(np.round(np.array(centres), 3)) * ring * turn
        middle = complex(*(size * rng.uniform(0.3, 0.7, 2)))
        corners = (rings[:, None] + hexagon[None] * ring * turn).ravel() + middle
        if rng.random() < 0.6:  # the bonds are seen
            ends = (rings[:, None] + np.roll(hexagon, 1)[None] * ring * turn).ravel() + middle
            t = np.linspace(0, 1, 5)[:, None]
            dots = ((1 - t) * corners + t * ends).ravel()
        else:  # lobes
            dots = rings + middle
        sign = rng.choice([-1.0, 1.0])
        width = ring * (
            rng.uniform(0.18, 0.35) if len(dots) > len(rings) else rng.uniform(0.4, 0.7)
        )
        image += sign * render_columns(
            shape, dots.real, dots.imag, rng.uniform(0.7, 1.3, len(dots)), width
        )
        r = np.hypot(rows - middle.real, cols - middle.imag) / (size * rng.uniform(0.15, 0.35))
        image += rng.uniform(-1.5, 1.5) * np.exp(-0.5 * r**2)
    return image


def _line_defects(shape: tuple[int, int], angle: float, rng: np.random.Generator) -> np.ndarray:
    """Rows of atoms, crowded with bright and dark dashes along them and a few across."""
    spacing = float(rng.uniform(3.6, 10))
    size = int(1.5 * max(shape))
    rows = np.arange(int(size / spacing)) * spacing
    image = np.cos(2 * np.pi * np.arange(size)[:, None] / spacing) * np.ones(size)
    image *= rng.uniform(0.1, 1.0)
    if rng.random() < 0.5:
        image *= 1 + 0.5 * np.cos(4 * np.pi * np.arange(size)[None] / spacing)
    n = int(size**2 / spacing**2 * rng.uniform(0.005, 0.05))
    y = rng.choice(rows, n) + rng.choice([0, 0.5]) * spacing
    x = rng.uniform(0, size, n)
    dots = np.minimum(rng.geometric(rng.uniform(0.15, 0.7), n), 20)
    tall = rng.choice([-1.0, 1.0], n, p=[0.7, 0.3]) * rng.uniform(0.6, 1.4, n)
    first = np.cumsum(dots) - dots
    step = np.arange(dots.sum()) - np.repeat(first, dots)
    pitch = spacing * rng.choice([0.5, 1.0])
    image = image + 2 * render_columns(
        (size, size), np.repeat(y, dots), np.repeat(x, dots) + step * pitch,
        np.repeat(tall, dots), spacing * rng.uniform(0.2, 0.35),
    )  # fmt: skip
    turned = ndi.rotate(image, np.degrees(angle), reshape=False, order=1, mode="reflect")
    top = (size - shape[0]) // 2, (size - shape[1]) // 2
    return np.asarray(turned[top[0] : top[0] + shape[0], top[1] : top[1] + shape[1]])


def _creep(image: np.ndarray, by: np.ndarray, decay: float, size: int, offset: float) -> np.ndarray:
    """Scan whose first lines are displaced by `by` pixels, which decays over the lines."""
    t = np.arange(size) / size
    part = (np.exp(-t / decay) - np.exp(-1 / decay)) / (1 - np.exp(-1 / decay))
    rows = np.arange(size)[:, None] + offset + (by[0] * part)[:, None] + np.zeros(size)
    cols = np.arange(size)[None] + offset + (by[1] * part)[:, None]
    return np.asarray(ndi.map_coordinates(image, [rows, cols], order=1, mode="reflect"))


def _lumps(size: int, cover: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Contamination that covers about this part of the scan, and its mask."""
    field = faults.smooth_field((size, size), rng.uniform(18, 50), rng, 3)
    level = np.quantile(field, 1 - cover)
    mask = field > level
    lump = np.clip(field - level, 0, None)
    return lump / max(lump.std(), 1e-9), mask


def faulty_scan(seed: int, fault: str | None = None, size_px: int = 256) -> FaultyScan:
    """Draw a scan of a random surface with a random fault, or a given one.

    Parameters
    ----------
    seed : int
    fault : str, optional
        "good" or one of :data:`napari_atomlens.stm.assessment.FAULTS`.
    size_px : int
    """
    rng = np.random.default_rng(seed)
    if fault is None:
        fault = str(rng.choice(np.array(["good", "good", *FAULTS])))
    kind = str(rng.choice(SURFACES, p=list(FREQUENCY.values())))
    if fault == "drift" and kind in WITHOUT_LATTICE:
        kind = str(rng.choice(["silicon", "oxide", "7x7"]))
    size = size_px
    usable = np.ones((size, size), bool)
    row = -1
    if fault == "featureless":
        image, kind = np.zeros((size, size)), "none"
        image = image + rng.uniform(0, 1) * faults.smooth_field(
            (size, size), rng.uniform(60, 200), rng
        )
        usable[:] = False
        spread = 0.2
    else:
        image = _surface(kind, size + 64 if fault == "drift" else size, rng)
        if fault != "drift" and rng.random() < 0.4:  # a little of it is on good scans, too
            image = _creep(image, rng.uniform(-3, 3, 2), rng.uniform(0.2, 0.6), size, 0.0)
        spread = float((image - ndi.gaussian_filter(image, 12)).std())
    if fault != "too contaminated" and rng.random() < 0.4:  # a little of it is on good scans, too
        lump, mask = _lumps(len(image), rng.uniform(0.005, 0.06), rng)
        image = image + rng.uniform(1, 6) * max(spread, 0.05) * lump
        usable &= ~mask[:size, :size]
    # half of the scans are as clean as slow ones at low temperature
    least, most = (0.004, 0.04) if rng.random() < 0.5 else (0.04, 0.28)
    noise = float(np.exp(rng.uniform(np.log(least), np.log(most)))) * spread
    if fault == "double tip":
        usable[:] = False
        # nearer than the features are wide a second tip only makes them wider
        far, way = rng.uniform(10, 34), rng.uniform(0, 2 * np.pi)
        if kind in REPEATING:
            # on a perfect lattice a second tip changes the motif, which nobody can know;
            # what repeats are steps and adsorbates, so there are some
            n = int(rng.integers(8, 30))
            image = image + render_columns(
                image.shape,
                rng.uniform(0, size, n),
                rng.uniform(0, size, n),
                rng.uniform(1, 3, n) * np.ptp(image) * 0.7,
                rng.uniform(2, 4),
            )
        ghost = ndi.shift(image, (far * np.sin(way), far * np.cos(way)), order=1, mode="reflect")
        share = rng.uniform(0.45, 1.0)
        image = image + share * ghost
    elif fault == "noisy":
        usable[:] = False
        noise = float(rng.uniform(1.1, 3.5)) * spread
    elif fault == "tip change":
        row = int(rng.uniform(0.18, 0.82) * size)
        after = image.copy()
        what = rng.random(3)
        if what[0] < 0.6:
            after = ndi.gaussian_filter(after, rng.uniform(2.2, 4.5))
        else:
            s = rng.uniform(3, 15) * rng.choice([-1, 1])
            moved = (rng.uniform(-8, 8), s)
            after = after + rng.uniform(0.5, 1) * ndi.shift(after, moved, order=1, mode="reflect")
        if what[1] < 0.7:
            after = after * rng.choice([rng.uniform(0.3, 0.6), rng.uniform(1.7, 2.8)])
        after = after + rng.choice([-1, 1]) * rng.uniform(0.5, 5) * spread
        swap = bool(rng.random() < 0.5)
        top, bottom = (after, image) if swap else (image, after)
        image = np.concatenate([top[:row], bottom[row:]])
        # the larger part is used, if it is not the bad one
        usable[: row + 1 if swap or row < size / 2 else 0] = False
        if not swap and row >= size / 2:
            usable[row:] = False
    elif fault == "drift":
        usable[:] = False
        decay = float(rng.uniform(0.2, 0.6))
        by = (
            30.0
            * rng.uniform(0.9, 1.4)
            * rng.choice([-1, 1], 2)
            * np.array([rng.choice([0.6, 1.0]), 1.0])
        )
        # never so fast that lines are scanned twice
        by[0] = np.clip(by[0], -32, min(32, 0.5 * size * decay))
        image = _creep(image, by, decay, size, 32.0)
    if fault == "too contaminated":
        lump, mask = _lumps(size, rng.uniform(0.35, 0.8), rng)
        image = np.where(mask, 0.3, 1.0) * image + rng.uniform(3, 10) * spread * lump
        usable &= ~mask
    image = image + noise * rng.standard_normal((size, size))
    image = image + noise * rng.uniform(0, 1) * faults.pink_rows((size, size), rng)
    image = image + noise * rng.uniform(0, 1) * rng.standard_normal(size)[:, None]
    rows, cols = np.mgrid[:size, :size] / size
    image = image + spread * rng.uniform(0, 20) * (
        rng.uniform(-1, 1) * rows + rng.uniform(-1, 1) * cols
    )
    image = image + spread * rng.uniform(-2, 2) * (rows - 0.5) ** 2
    if rng.random() < 0.15:
        image = -image if kind != "silicon" else image
    if rng.random() < 0.2:
        image = faults.to_8_bit(image)
    return FaultyScan(image, fault, kind, row, usable)
