"""Ordinary and strange images, with truth, on which the second stage is trained.

They have their own generator of noise and lattices' faults so that the images that the
benchmarks measure on are never seen here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage as ndi

from napari_atomlens.simulation import crystals, faults
from napari_atomlens.simulation.formation import render_columns
from napari_atomlens.simulation.scenes import scene_from_crystal, simulate
from napari_atomlens.simulation.training_scenes import draw

Rng = np.random.Generator
SIDE = 208
#: Counts of a column, drawn evenly on a logarithmic scale.
LEAST_COUNTS, MOST_COUNTS = 20.0, 5000.0
#: Columns so many widths apart are seen as two.
RESOLVED = 2.4
NOTHING = np.zeros((0, 2))


@dataclass
class Shown:
    """An image, the places of its columns, and those that may be found or not."""

    image: np.ndarray
    true: np.ndarray = field(default_factory=lambda: NOTHING)
    optional: np.ndarray = field(default_factory=lambda: NOTHING)
    spacing_px: float = 0.0  #: told to the analysis where it cannot be found


Make = Callable[[Rng], Shown]
KINDS: dict[str, Make] = {}


def kind(make: Make) -> Make:
    """Enter a kind of image."""
    KINDS[make.__name__.strip("_")] = make
    return make


def with_counts(clean: np.ndarray, rng: Rng) -> np.ndarray:
    """Counts."""
    return rng.poisson(np.clip(clean, 0, None)).astype(np.float32)


def dose(rng: Rng) -> float:
    """Counts of a column."""
    return float(np.exp(rng.uniform(np.log(LEAST_COUNTS), np.log(MOST_COUNTS))))


def speckle(shape: tuple[int, int], size: float, rng: Rng) -> np.ndarray:
    """Grain of a size, of spread one."""
    grain = ndi.gaussian_filter(rng.normal(size=shape), size)
    return np.asarray(grain / grain.std())


@dataclass
class DrawnLattice:
    """A clean lattice: its columns, and how counts of a column make grey values."""

    y: np.ndarray
    x: np.ndarray
    height: np.ndarray
    sigma: float
    spacing: float
    counts: float

    @property
    def places(self) -> np.ndarray:
        """Places of the columns, shape (n, 2)."""
        return np.c_[self.y, self.x]

    @property
    def peak(self) -> float:
        """Grey value of a column of height one."""
        return self.counts / (2 * np.pi * self.sigma**2)

    def image(self, aspect: float = 1.0, angle: float = 0.0, sigma: float = 0.0) -> np.ndarray:
        """Counts expected, without background."""
        n = len(self.y)
        return np.asarray(
            render_columns(
                (SIDE, SIDE), self.y, self.x, self.peak * self.height,
                np.full(n, sigma or self.sigma), np.full(n, aspect), np.full(n, angle),
            )
        )  # fmt: skip

    def some(self, keep: np.ndarray) -> DrawnLattice:
        """Only some of the columns."""
        return DrawnLattice(
            self.y[keep], self.x[keep], self.height[keep], self.sigma, self.spacing, self.counts
        )


def sheet(
    rng: Rng, *, counts: float = 0.0, spacing: float = 0.0, crystal: str = ""
) -> DrawnLattice:
    """Draw a lattice."""
    spacing = spacing or float(np.exp(rng.uniform(np.log(7.5), np.log(20))))
    lattice = getattr(crystals, crystal)() if crystal else crystals.random_crystal(rng)
    scene, _ = scene_from_crystal(
        lattice, (SIDE, SIDE), spacing, rng, jitter=rng.choice([0.0, 0.02, 0.04])
    )
    width = rng.uniform(0.2, 0.3) * spacing
    heights = scene.amplitude / np.median(scene.amplitude)
    return DrawnLattice(scene.y, scene.x, heights, width, spacing, counts or dose(rng))


def background(rng: Rng, peak: float) -> float:
    """Grey value under the columns."""
    return float(peak * rng.choice([0.03, 0.1, 0.3, 0.8]))


@kind
def _ordinary(rng: Rng) -> Shown:
    """Lattices over the dose, with vacancies."""
    s = sheet(rng)
    s = s.some(rng.random(len(s.y)) > rng.choice([0, 0.02, 0.06]))
    return Shown(with_counts(s.image() + background(rng, s.peak), rng), s.places)


@kind
def _simulated(rng: Rng) -> Shown:
    """The images of `simulate`."""
    name = str(rng.choice(["honeycomb", "tmd", "perovskite", "dumbbell", "hexagonal", "square"]))
    spacing = float(np.exp(rng.uniform(np.log(7), np.log(22))))
    image, scene = simulate(
        name, (SIDE, SIDE), spacing, rotation_deg=rng.uniform(0, 360), counts=dose(rng),
        seed=int(rng.integers(1 << 40)),
    )  # fmt: skip
    return Shown(image, np.c_[scene.y, scene.x])


@kind
def _trained_on(rng: Rng) -> Shown:
    """What the network was trained on: every fault of the microscope, contamination, holes."""
    image, scene, _ = draw((SIDE, SIDE), int(rng.integers(1 << 40)))
    places = np.c_[scene.y, scene.x]
    pixel = np.clip(np.rint(places).astype(int), 0, SIDE - 1)
    hidden = scene.contamination[tuple(pixel.T)]
    return Shown(image, places[~hidden], places[hidden], scene.spacing_px)


@kind
def _cut(rng: Rng) -> Shown:
    """A crystal that ends."""
    s = sheet(rng)
    turn = rng.uniform(0, 2 * np.pi)
    level = s.places @ np.array([np.sin(turn), np.cos(turn)])
    s = s.some(level < np.quantile(level, rng.uniform(0.3, 0.8)))
    return Shown(with_counts(s.image() + rng.choice([0.0, 0.05]) * s.peak, rng), s.places)


def particle(rng: Rng) -> tuple[DrawnLattice, np.ndarray]:
    """A rounded particle, and which of its columns are high enough to ask for."""
    name = str(rng.choice(["square", "hexagonal", "oblique"]))
    s = sheet(rng, crystal=name, spacing=float(rng.uniform(8, 13)))
    far = np.hypot(*(s.places - rng.uniform(0.4, 0.6, 2) * SIDE).T) / (
        rng.uniform(0.25, 0.4) * SIDE
    )
    s = s.some(far < 1)
    s.height = s.height * np.sqrt(np.clip(1 - far[far < 1] ** 2, 0.03, 1))
    return s, s.height > 0.35


@kind
def _particle_alone(rng: Rng) -> Shown:
    """A particle in vacuum or on a thin film."""
    s, high = particle(rng)
    image = s.image() + rng.choice([0.0, 0.01, 0.1, 0.5]) * s.peak
    return Shown(with_counts(image, rng), s.places[high], s.places[~high])


@kind
def _particle_on_film(rng: Rng) -> Shown:
    """A particle on a speckled film."""
    s, high = particle(rng)
    film = 0.25 + rng.choice([0.02, 0.05, 0.1, 0.25]) * speckle(
        (SIDE, SIDE), rng.uniform(0.6, 1.3) * s.sigma, rng
    )
    image = s.image() + s.peak * np.clip(film, 0, None)
    return Shown(with_counts(image, rng), s.places[high], s.places[~high])


@kind
def _film(rng: Rng) -> Shown:
    """Glass and nothing else."""
    size = float(rng.uniform(1.2, 5))
    level = float(10 ** rng.uniform(0.8, 3.2))
    clean = level * (1 + rng.uniform(0.05, 0.3) * speckle((SIDE, SIDE), size, rng))
    return Shown(with_counts(clean, rng), spacing_px=float(rng.choice([0.0, 4 * size])))


@kind
def _rings(rng: Rng) -> Shown:
    """Glass in phase contrast."""
    wave = rng.uniform(7, 18)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    keep = np.exp(-(((f - 1 / wave) * wave * rng.uniform(3, 8)) ** 2) / 2)
    image = np.fft.ifft2(np.fft.fft2(rng.normal(size=(SIDE, SIDE))) * keep).real
    level = 10 ** rng.uniform(1, 3)
    return Shown(with_counts(level * (1 + 0.25 * image / image.std()), rng))


@kind
def _noise(rng: Rng) -> Shown:
    """Noise of several colours."""
    out = rng.normal(size=(SIDE, SIDE))
    if rng.random() < 0.4:
        out = ndi.gaussian_filter(out, rng.uniform(0.5, 2))
    elif rng.random() < 0.5:
        out = out + rng.uniform(0.5, 2) * faults.pink_rows((SIDE, SIDE), rng, 1.0)
    else:
        out = with_counts(np.full((SIDE, SIDE), 10 ** rng.uniform(-0.5, 2)), rng)
    return Shown(out.astype(np.float32), spacing_px=float(rng.choice([0.0, 10.0])))


@kind
def _fringes(rng: Rng) -> Shown:
    """Lines without columns."""
    y, x = np.mgrid[:SIDE, :SIDE]
    turn = rng.uniform(0, np.pi)
    wave = np.cos(2 * np.pi * (y * np.sin(turn) + x * np.cos(turn)) / rng.uniform(6, 20))
    level = 10 ** rng.uniform(0.7, 2.5)
    return Shown(with_counts(level * (1 + rng.uniform(0.1, 0.5) * wave), rng))


@kind
def _two_layers(rng: Rng) -> Shown:
    """Two lattices over one another: columns nearer than they are resolved are one or none."""
    s = sheet(rng, crystal="hexagonal", counts=float(10 ** rng.uniform(2.3, 3.7)))
    t = sheet(rng, crystal="hexagonal", counts=s.counts, spacing=s.spacing)
    image = s.image() + t.image() + background(rng, s.peak)
    places = np.r_[s.places, t.places]
    # hexagonal layers are nowhere further apart than 0.58 spacings
    alone = _nearest(places) > RESOLVED * s.sigma if len(places) else np.zeros(0, bool)
    return Shown(with_counts(image, rng), places[alone], places[~alone])


def _nearest(places: np.ndarray) -> np.ndarray:
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    return np.asarray(apart.min(1))


@kind
def _wedge(rng: Rng) -> Shown:
    """Background that rises, evenly or in a step."""
    s = sheet(rng)
    t = np.linspace(0, 1, SIDE)
    rise = t if rng.random() < 0.5 else 1 / (1 + np.exp(-(t - rng.uniform(0.3, 0.7)) * 80))
    rise = rng.uniform(0.5, 3) * s.peak * rise
    image = s.image() + (rise[None] if rng.random() < 0.5 else rise[:, None]) + 0.1 * s.peak
    return Shown(with_counts(image, rng), s.places)


@kind
def _elongated(rng: Rng) -> Shown:
    """Columns that mistilt and astigmatism draw out."""
    s = sheet(rng, crystal=str(rng.choice(["square", "hexagonal", "perovskite", "honeycomb"])))
    image = s.image(aspect=rng.uniform(1.3, 2.0), angle=rng.uniform(0, np.pi))
    return Shown(with_counts(image + background(rng, s.peak), rng), s.places)


@kind
def _washed(rng: Rng) -> Shown:
    """Saturated, sharpened, smoothed, quantised, or with another gamma."""
    s = sheet(rng)
    image = with_counts(s.image() + background(rng, s.peak), rng)
    what = rng.integers(5)
    if what == 0:
        image = np.minimum(image, np.quantile(image, rng.uniform(0.85, 0.97)))
    elif what == 1:
        image = faults.sharpen(image, rng.uniform(1, 3), rng.uniform(0.5, 3))
    elif what == 2:
        image = ndi.gaussian_filter(image, rng.uniform(0.8, 2.5))
    elif what == 3:
        image = np.floor(image / max(1e-6, np.ptp(image) / rng.integers(6, 24)))
    else:
        image = image ** rng.uniform(0.4, 2.0)
    return Shown(image.astype(np.float32), s.places)


@kind
def _scanned(rng: Rng) -> Shown:
    """Faults of the scan: flyback, skipped lines, hot pixels, lines that jump."""
    s = sheet(rng)
    image = with_counts(s.image() + background(rng, s.peak), rng)
    what = rng.integers(4)
    hidden = np.zeros(len(s.y), bool)
    if what == 0:
        image = faults.flyback(image, rng.uniform(3, 12), rng.uniform(0.5, 3))
        hidden = s.x < 15
    elif what == 1:
        image = faults.skip_lines(image, int(rng.integers(1, 6)), rng)
    elif what == 2:
        image = faults.hot_pixels(image, int(rng.integers(5, 40)), rng.uniform(2, 30), rng)
    else:
        torn = int(rng.uniform(0.3, 0.7) * SIDE)
        shift = int(rng.uniform(0.2, 0.8) * s.spacing) + 1
        image[torn:] = np.roll(image[torn:], shift, axis=1)
        moved = s.y >= torn
        s.x[moved] += shift
        hidden = (np.abs(s.y - torn) < s.spacing) | (moved & (s.x < 2 * s.spacing))
        hidden |= s.x > SIDE
    return Shown(image.astype(np.float32), s.places[~hidden], s.places[hidden])


@kind
def _labelled(rng: Rng) -> Shown:
    """A scale bar and letters burnt in."""
    s = sheet(rng)
    image = with_counts(s.image() + background(rng, s.peak), rng)
    top, left = int(rng.integers(5, SIDE - 40)), int(rng.integers(5, 60))
    long = int(rng.integers(50, 120))
    box = np.zeros((SIDE, SIDE), bool)
    box[top : top + 34, left : left + long + 10] = True
    if rng.random() < 0.5:
        image[box] = image.min()
    image[top + 24 : top + 30, left + 5 : left + 5 + long] = image.max()
    for k in range(int(rng.integers(2, 7))):
        glyph = rng.random((5, 4)) < 0.6
        big = np.kron(glyph, np.ones((3, 2), bool))
        part = image[top + 4 : top + 19, left + 8 + 11 * k : left + 16 + 11 * k]
        big = big[: part.shape[0], : part.shape[1]]
        part[big] = image.max()
    inside = ndi.binary_dilation(box, iterations=int(s.spacing))
    pixel = np.clip(np.rint(s.places).astype(int), 0, SIDE - 1)
    hidden = inside[tuple(pixel.T)]
    return Shown(image, s.places[~hidden], s.places[hidden])


@kind
def _far_or_near(rng: Rng) -> Shown:
    """Columns few or many pixels apart."""
    spacing = float(rng.choice([rng.uniform(4, 6), rng.uniform(25, 45)]))
    name = str(rng.choice(["square", "hexagonal", "honeycomb"]))
    s = sheet(rng, spacing=spacing, crystal=name)
    return Shown(with_counts(s.image() + background(rng, s.peak), rng), s.places)


@kind
def _scattered(rng: Rng) -> Shown:
    """Single atoms on a film, in no lattice."""
    spacing = float(rng.uniform(9, 14))
    places = rng.uniform(5, SIDE - 5, (int(rng.integers(5, 90)), 2))
    places = places[_nearest(places) > spacing]
    n = len(places)
    height = rng.uniform(0.8, 1.2, n)
    s = DrawnLattice(places[:, 0], places[:, 1], height, 0.24 * spacing, spacing, dose(rng))
    film = 0.3 + rng.choice([0.0, 0.03, 0.1]) * speckle((SIDE, SIDE), s.sigma, rng)
    image = s.image() + s.peak * np.clip(film, 0, None)
    return Shown(with_counts(image, rng), places, spacing_px=spacing)


@kind
def _dopants(rng: Rng) -> Shown:
    """Lattices with brighter and with weaker atoms here and there."""
    s = sheet(rng, crystal=str(rng.choice(["honeycomb", "tmd", "perovskite"])))
    odd = rng.random(len(s.y)) < 0.06
    s.height = np.where(odd, s.height * rng.choice([0.5, 0.6, 2.5, 4.0]), s.height)
    s = s.some(rng.random(len(s.y)) > 0.01)
    return Shown(with_counts(s.image() + background(rng, s.peak), rng), s.places)


@kind
def _dumbbells(rng: Rng) -> Shown:
    """Pairs of columns that are resolved, hardly so, or with one of them lighter."""
    spacing = float(np.exp(rng.uniform(np.log(5), np.log(14))))
    s = sheet(rng, crystal="dumbbell", spacing=spacing, counts=float(10 ** rng.uniform(1.8, 4)))
    s.sigma = rng.uniform(0.28, 0.44) * spacing
    s.height = s.height * np.where(rng.random() < 0.5, 1.0, rng.uniform(0.8, 1.2, len(s.y)))
    return Shown(with_counts(s.image() + rng.choice([0.1, 0.5, 1.0]) * s.peak, rng), s.places)
