"""The kinds of strange image, each a function of a random generator and of the number of the image.

Doses are counts of the strongest column. The number of the image turns through lattices and doses,
so that few images already show what a kind is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.fft import dctn, idctn

from .scenes import (
    ORDINARY,
    WIDTH,
    Scene,
    columns,
    counted,
    inside,
    lattice,
    peak,
    scan_noise,
    speckle,
)

Rng = np.random.Generator
Make = Callable[[Rng, int], Scene]
NONE = np.zeros((0, 2))


@dataclass(frozen=True)
class Kind:
    """One row of the table."""

    name: str
    make: Make
    about: str
    z_matters: bool = True


KINDS: dict[str, Kind] = {}


def kind(name: str, z_matters: bool = True) -> Callable[[Make], Make]:
    """Enter a function as a row of the table; its docstring is what the row shows."""

    def enter(make: Make) -> Make:
        KINDS[name] = Kind(name, make, (make.__doc__ or "").split(".")[0], z_matters)
        return make

    return enter


def sigma_of(name: str, spacing: float) -> float:
    """Width of the columns of a lattice."""
    return WIDTH.get(name, 0.24) * spacing


def plain(
    rng: Rng,
    name: str,
    counts: float,
    spacing: float = 0.0,
    side: int = 288,
    background: float = 0.15,
    width: float = 1.0,
    **how: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, float]:
    """Clean image, places, heights, spacing and width of an ordinary lattice."""
    spacing = spacing or float(rng.uniform(9, 16))
    sigma = width * sigma_of(name, spacing)
    places, weights = lattice(name, (side, side), spacing, rng)
    heights = peak(counts, sigma) * weights
    clean = columns((side, side), places, heights, sigma, **how)
    return clean + background * peak(counts, sigma), places, heights, spacing, sigma


def disc(
    rng: Rng,
    counts: float,
    side: int = 320,
    radius: float = 0.32,
    name: str = "hexagonal",
    spacing: float = 0.0,
    rounded: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, float]:
    """A round particle: image of its columns alone, places, heights, spacing and width."""
    spacing = spacing or float(rng.uniform(9, 14))
    sigma = sigma_of(name, spacing)
    places, weights = lattice(name, (side, side), spacing, rng)
    far = np.hypot(*(places - side / 2 - rng.uniform(-10, 10, 2)).T) / (radius * side)
    keep = far < 1
    places, weights, far = places[keep], weights[keep], far[keep]
    thick = np.sqrt(np.clip(1 - far**2, 0.1, 1)) if rounded else 1.0
    heights = peak(counts, sigma) * weights * thick
    return columns((side, side), places, heights, sigma), places, heights, spacing, sigma


# What the model was trained on


@kind("ordinary")
def ordinary(rng: Rng, n: int) -> Scene:
    """Ordinary lattices, 300 and 3,000 counts: the control."""
    clean, places, _, spacing, _ = plain(rng, ORDINARY[n % 5], (300, 3000)[n % 2])
    return Scene(counted(scan_noise(clean, 0.03, rng), rng), places, spacing)


@kind("light columns")
def light_columns(rng: Rng, n: int) -> Scene:
    """Light columns of 0.2 to 0.45 beside heavy ones: they must not fall victim."""
    name = ("oxide", "tmd")[n % 2]
    clean, places, _, spacing, _ = plain(rng, name, 10_000 if name == "oxide" else 1000,
                                         spacing=rng.uniform(10, 15))  # fmt: skip
    return Scene(counted(clean, rng), places, spacing)


@kind("dopants")
def dopants(rng: Rng, n: int) -> Scene:
    """Graphene with single Si of 3 times the height, and a TMD with single chalcogens."""
    spacing, side = float(rng.uniform(9, 14)), 288
    sigma = 0.24 * spacing
    name = ("honeycomb", "tmd")[n % 2]
    places, weights = lattice(name, (side, side), spacing, rng)
    light = np.flatnonzero(weights < weights.max() if name == "tmd" else weights > 0)
    chosen = rng.choice(light, max(3, len(light) // 40), replace=False)
    weights[chosen] *= 3.0 if name == "honeycomb" else 0.55
    heights = peak(1500, sigma) * weights
    clean = columns((side, side), places, heights, sigma) + 0.1 * peak(1500, sigma)
    return Scene(counted(clean, rng), places, spacing)


@kind("edge of a crystal")
def edge(rng: Rng, n: int) -> Scene:
    """A crystal that ends in vacuum along a line."""
    clean, places, heights, spacing, sigma = plain(rng, ORDINARY[n % 5], 1000)
    keep = places @ np.array([np.sin(n), np.cos(n)]) < 144 * (np.sin(n) + np.cos(n))
    image = columns(clean.shape, places[keep], heights[keep], sigma) + 0.05 * heights.max()
    return Scene(counted(image, rng), places[keep], spacing)


@kind("20 counts")
def counts_20(rng: Rng, n: int) -> Scene:
    """Ordinary lattices at 20 counts of a column."""
    clean, places, _, spacing, _ = plain(rng, ORDINARY[n % 3], 20, background=0.1)
    return Scene(counted(clean, rng), places, spacing)


@kind("40 counts")
def counts_40(rng: Rng, n: int) -> Scene:
    """Ordinary lattices at 40 counts of a column."""
    clean, places, _, spacing, _ = plain(rng, ORDINARY[n % 3], 40, background=0.1)
    return Scene(counted(clean, rng), places, spacing)


@kind("spacing 4 px")
def spacing_4(rng: Rng, n: int) -> Scene:
    """Columns 4 to 4.6 px apart."""
    clean, places, _, spacing, _ = plain(
        rng,
        ("square", "hexagonal", "honeycomb")[n % 3],
        1000,
        spacing=rng.uniform(4, 4.6),
        side=160,
    )
    return Scene(counted(clean, rng), places, spacing)


@kind("spacing 90 px")
def spacing_90(rng: Rng, n: int) -> Scene:
    """Columns 85 to 95 px apart."""
    clean, places, _, spacing, _ = plain(
        rng, ("square", "hexagonal", "honeycomb")[n % 3], 20_000, spacing=rng.uniform(85, 95),
        side=640,
    )  # fmt: skip
    return Scene(counted(clean, rng), places, spacing)


# Shape and sign of the columns


def _dark(rng: Rng, n: int, counts: float) -> Scene:
    name = ("square", "hexagonal", "honeycomb", "perovskite", "dumbbell")[n % 5]
    spacing = float(rng.uniform(11, 16))
    light, places, heights, spacing, _ = plain(rng, name, counts, spacing, background=0.0)
    depth = heights.max() / rng.uniform(0.3, 0.6)
    return Scene(counted(depth * 1.2 - light, rng), places, spacing)


@kind("dark, 3000 counts")
def dark_3000(rng: Rng, n: int) -> Scene:
    """Dark columns on bright ground (ABF, BF), depth of 3,000 counts."""
    return _dark(rng, n, 3000)


@kind("dark, 300 counts deep at the peak")
def dark_300(rng: Rng, n: int) -> Scene:
    """Dark columns whose centres are 300 counts deep, and a perovskite with light ones."""
    sigma = 0.26 * 13
    return _dark(rng, n + 3, 300 * 2 * np.pi * sigma**2)


@kind("pixels 1:3, told")
def pixels_told(rng: Rng, n: int) -> Scene:
    """Pixels three times as high as wide, sizes known."""
    return _unequal(rng, n, told=True)


@kind("pixels 1:3, not told")
def pixels_not_told(rng: Rng, n: int) -> Scene:
    """Pixels three times as high as wide, sizes not known."""
    return _unequal(rng, n, told=False)


def _unequal(rng: Rng, n: int, told: bool) -> Scene:
    clean, places, _, spacing, _ = plain(rng, ORDINARY[n % 3], 3000, rng.uniform(14, 20), side=384)
    binned = clean.reshape(128, 3, 384).sum(1)
    places = np.c_[(places[:, 0] - 1) / 3, places[:, 1]]
    size = (0.03, 0.01) if told else None
    # the match is on the pixels of the image: a quarter spacing along the coarse direction
    return Scene(counted(binned, rng), places, spacing / 2, pixel_size_nm=size)


@kind("elongated 2:1")
def elongated(rng: Rng, n: int) -> Scene:
    """Columns twice as long as wide (mistilt, astigmatism)."""
    clean, places, _, spacing, _ = plain(
        rng, ("square", "hexagonal", "perovskite")[n % 3], (1000, 5000)[n % 2],
        rng.uniform(12, 18), stretch=2.0, direction=rng.uniform(0, np.pi),
    )  # fmt: skip
    return Scene(counted(clean, rng), places, spacing)


@kind("some unresolved pairs", z_matters=False)
def some_pairs(rng: Rng, n: int) -> Scene:
    """A lattice in which every seventh column is two, 1.5 to 1.9 widths apart."""
    spacing, side = float(rng.uniform(13, 18)), 320
    sigma = 0.22 * spacing
    places, _ = lattice(("square", "hexagonal")[n % 2], (side, side), spacing, rng)
    two = rng.random(len(places)) < 1 / 7
    turn = rng.uniform(0, 2 * np.pi, two.sum())
    half = rng.uniform(0.75, 0.95, two.sum()) * sigma
    step = half[:, None] * np.c_[np.sin(turn), np.cos(turn)]
    every = np.concatenate([places[~two], places[two] + step, places[two] - step])
    clean = columns((side, side), every, peak(5000, sigma), sigma, tail=0.0)
    image = counted(clean + 0.1 * peak(5000, sigma), rng)
    # the radius of a match is less than half a pair: what lies in the middle is no column
    return Scene(image, every, 2.4 * sigma)


@kind("only unresolved pairs", z_matters=False)
def only_pairs(rng: Rng, n: int) -> Scene:
    """Every column is two, 1.6 widths apart, as black phosphorus: right is one, with a word."""
    spacing, side = float(rng.uniform(14, 18)), 288
    sigma = 0.17 * spacing
    places, _ = lattice(("square", "hexagonal")[n % 2], (side, side), spacing, rng)
    turn = rng.uniform(0, np.pi)
    step = 0.8 * sigma * np.array([np.sin(turn), np.cos(turn)])
    every = np.concatenate([places + step, places - step])
    clean = columns((side, side), every, peak(3000, sigma), sigma, tail=0.0)
    return Scene(counted(clean + 0.1 * peak(3000, sigma), rng), places, spacing)


@kind("blurred")
def blurred(rng: Rng, n: int) -> Scene:
    """Out of focus: columns of 0.36 to 0.42 of the spacing, 5,000 counts."""
    clean, places, _, spacing, _ = plain(
        rng, ("square", "hexagonal")[n % 2], 5000, width=rng.uniform(1.5, 1.75)
    )
    return Scene(counted(clean, rng), places, spacing)


@kind("sharpened", z_matters=False)
def sharpened(rng: Rng, n: int) -> Scene:
    """Sharpened after recording: dark rings round the columns, and noise sharpened too."""
    clean, places, _, spacing, sigma = plain(rng, ORDINARY[n % 3], (1000, 5000)[n % 2])
    image = counted(clean, rng)
    image = image + 1.5 * (image - ndimage.gaussian_filter(image, 1.3 * sigma))
    return Scene(image, places, spacing)


@kind("smoothed by the user")
def smoothed(rng: Rng, n: int) -> Scene:
    """A Gaussian filter of 1 to 1.5 px after recording: noise of neighbouring pixels is alike."""
    clean, places, _, spacing, _ = plain(rng, ORDINARY[n % 5], (300, 3000)[n % 2])
    image = ndimage.gaussian_filter(counted(clean, rng), rng.uniform(1, 1.5))
    return Scene(image, places, spacing)


@kind("enlarged twice")
def enlarged(rng: Rng, n: int) -> Scene:
    """Enlarged twice by cubic interpolation after recording."""
    clean, places, _, spacing, _ = plain(
        rng, ORDINARY[n % 5], (300, 3000)[n % 2], rng.uniform(6, 8), side=160
    )
    image = ndimage.zoom(counted(clean, rng), 2, order=3, grid_mode=True, mode="grid-constant",
                         cval=float(np.median(clean)))  # fmt: skip
    return Scene(image, 2 * places + 0.5, 2 * spacing)


# Where nothing was measured, and what lies round the crystal


@kind("NaN holes")
def nan_holes(rng: Rng, n: int) -> Scene:
    """NaN where nothing was measured: aborted, a border lost by registration, a block, a turn."""
    clean, places, _, spacing, _ = plain(rng, ORDINARY[n % 3], 1000, side=224)
    missing = np.zeros(clean.shape, bool)
    if n % 4 == 0:
        missing[140:] = True
    elif n % 4 == 1:
        missing[:, 190:], missing[:20] = True, True
    elif n % 4 == 2:
        missing[90:140, 80:140] = True
    else:
        y, x = np.mgrid[:224, :224]
        missing = (y + x < 90) | (y + x > 360)
    return _not_recorded(clean, places, spacing, missing, np.nan, rng)


@kind("lines not recorded")
def not_recorded(rng: Rng, n: int) -> Scene:
    """A scan that was stopped: its last lines hold one value, 0 or another."""
    clean, places, _, spacing, _ = plain(rng, ORDINARY[n % 3], 1000, side=224)
    missing = np.zeros(clean.shape, bool)
    missing[rng.integers(90, 180) :] = True
    value = (0.0, float(clean.mean()), -1.0)[n % 3]
    return _not_recorded(clean, places, spacing, missing, value, rng)


@kind("border bands")
def border_bands(rng: Rng, n: int) -> Scene:
    """Bands of one value at two sides, as drift correction leaves, or corners of a turned frame."""
    clean, places, _, spacing, _ = plain(rng, ORDINARY[n % 3], 1000, side=256)
    missing = np.zeros(clean.shape, bool)
    if n % 3 == 2:
        y, x = np.mgrid[:256, :256] - 127.5
        turned = [np.cos(0.3) * y + np.sin(0.3) * x, np.cos(0.3) * x - np.sin(0.3) * y]
        missing = np.maximum(np.abs(turned[0]), np.abs(turned[1])) > 115
    else:
        missing[: 12 + 9 * n % 30], missing[:, 220 - 10 * (n % 3) :] = True, True
    return _not_recorded(clean, places, spacing, missing, (0.0, float(clean.mean()))[n % 2], rng)


def _not_recorded(
    clean: np.ndarray,
    places: np.ndarray,
    spacing: float,
    missing: np.ndarray,
    value: float,
    rng: Rng,
) -> Scene:
    image = counted(clean, rng)
    image[missing] = value
    depth = ndimage.distance_transform_edt(~missing)
    inner = np.clip(np.rint(places).astype(int), 0, np.array(clean.shape) - 1)
    away = depth[tuple(inner.T)] > spacing / 2
    # columns cut by the edge may be found or not; nothing is true beyond it
    cut = ~away & (depth[tuple(inner.T)] > 0) | _close(inner, missing, 2)
    return Scene(image, places[away], spacing, optional=places[cut])


def _close(pixel: np.ndarray, missing: np.ndarray, px: float) -> np.ndarray:
    deep = ndimage.distance_transform_edt(missing)[tuple(pixel.T)]
    return (deep > 0) & (deep <= px)


def _particle(rng: Rng, n: int, background: float) -> Scene:
    counts = (100, 1000, 10_000, 40)[n % 4]
    alone, places, heights, spacing, sigma = disc(rng, counts, rounded=n % 2 == 1)
    weak = heights < 0.4 * heights.max()
    image = counted(alone + background * peak(counts, sigma), rng)
    return Scene(image, places[~weak], spacing, optional=places[weak])


@kind("particle in zero background")
def particle_zero(rng: Rng, n: int) -> Scene:
    """A particle in a vacuum of exactly zero, 40 to 10,000 counts."""
    return _particle(rng, n, 0.0)


@kind("particle in thin background")
def particle_thin(rng: Rng, n: int) -> Scene:
    """A particle on a thin support of 3 % of a column, 40 to 10,000 counts."""
    return _particle(rng, n, 0.03)


@kind("particle in thick background")
def particle_thick(rng: Rng, n: int) -> Scene:
    """A particle on a support as high as a column, 40 to 10,000 counts."""
    return _particle(rng, n, 1.0)


@kind("wedge background")
def wedge(rng: Rng, n: int) -> Scene:
    """A background that climbs to twice the height of the columns."""
    clean, places, heights, spacing, _ = plain(rng, ORDINARY[n % 3], 3000)
    ramp = np.linspace(0, 2 * heights.max(), 288)
    image = counted(clean + (ramp[None] if n % 2 else ramp[:, None]), rng)
    return Scene(image, places, spacing, heights=heights * (1 - 0.06))


@kind("step background")
def step(rng: Rng, n: int) -> Scene:
    """The edge of a support, as sharp as the probe, half to twice a column high."""
    clean, places, heights, spacing, _ = plain(rng, ORDINARY[n % 3], 3000)
    x = np.arange(288)
    rise = rng.uniform(0.5, 2) * heights.max() / (1 + np.exp(-(x - rng.uniform(100, 190)) / 2))
    image = counted(clean + (rise[None] if n % 2 else rise[:, None]), rng)
    return Scene(image, places, spacing, heights=heights * (1 - 0.06))


# What is no column and looks like one


@kind("ghosts of a nanoparticle")
def ghosts(rng: Rng, n: int) -> Scene:
    """Weak maxima of 8 to 14 % on the hollow sites of a nanoparticle."""
    side, spacing = 320, float(rng.uniform(10, 14))
    sigma = 0.22 * spacing
    name = ("square", "hexagonal")[n % 2]
    state = rng.bit_generator.state
    places, _ = lattice(name, (side, side), spacing, rng)
    rng.bit_generator.state = state
    hollow, weights = lattice(
        "perovskite" if name == "square" else "honeycomb", (side, side),
        spacing / np.sqrt(2) if name == "square" else spacing / np.sqrt(3), rng,
    )  # fmt: skip
    # the second sublattice of the same cell, turned and shifted alike
    half = len(hollow) // 2
    hollow = hollow[weights < 1] if name == "square" else hollow[half:]
    keep = np.hypot(*(places - side / 2).T) < 0.33 * side
    places = places[keep]
    near = np.hypot(*(hollow[:, None] - places[None]).transpose(2, 0, 1)).min(1)
    hollow = hollow[(near > 0.4 * spacing) & (near < 0.8 * spacing)]
    counts = (3000, 30_000)[n % 2]
    far = np.hypot(*(places - side / 2).T) / (0.33 * side)
    heights = peak(counts, sigma) * np.sqrt(np.clip(1 - far**2, 0.15, 1))
    weak = peak(counts, sigma) * rng.uniform(0.08, 0.14)
    image = columns((side, side), places, heights, sigma)
    image = image + columns((side, side), hollow, weak, 0.9 * sigma, tail=0.0)
    return Scene(counted(image + 0.03 * peak(counts, sigma), rng), places, spacing)


def _on_film(rng: Rng, n: int, contrast: float) -> Scene:
    counts = (1000, 5000, 300)[n % 3]
    alone, places, heights, spacing, sigma = disc(rng, counts, side=384, radius=0.28)
    height = peak(counts, sigma)
    film = height * (0.25 + contrast * speckle(alone.shape, rng.uniform(0.7, 1.1) * sigma, rng))
    if n % 2:
        film[:, 330:] = 0.01 * height
    image = counted(alone + np.clip(film, 0, None), rng)
    weak = heights < 0.35 * height
    return Scene(image, places[~weak], spacing, optional=places[weak])


@kind("speckled support 2 %")
def speckled_2(rng: Rng, n: int) -> Scene:
    """A particle on carbon whose speckle is 2 % of a column."""
    return _on_film(rng, n, 0.02)


@kind("speckled support 5 %")
def speckled_5(rng: Rng, n: int) -> Scene:
    """A particle on carbon whose speckle is 5 % of a column."""
    return _on_film(rng, n, 0.05)


@kind("speckled support 10 %")
def speckled_10(rng: Rng, n: int) -> Scene:
    """A particle on carbon whose speckle is 10 % of a column."""
    return _on_film(rng, n, 0.10)


@kind("particle on strong film", z_matters=False)
def strong_film(rng: Rng, n: int) -> Scene:
    """A particle on a film whose speckle is 25 % of a column."""
    return _on_film(rng, n, 0.25)


@kind("amorphous alone")
def amorphous(rng: Rng, n: int) -> Scene:
    """An amorphous film and nothing else."""
    size = float(rng.uniform(1.5, 4))
    clean = (200, 30, 1000)[n % 3] * (1 + 0.2 * speckle((288, 288), size, rng))
    return Scene(counted(clean, rng), NONE, 4 * size)


@kind("amorphous ring")
def amorphous_ring(rng: Rng, n: int) -> Scene:
    """Amorphous in phase contrast: one ring in the transform, as HRTEM of a film shows."""
    wave = rng.uniform(8, 16)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(288), np.fft.fftfreq(288)))
    keep = np.exp(-(((f - 1 / wave) * wave * 5) ** 2) / 2)
    image = np.fft.ifft2(np.fft.fft2(rng.normal(size=(288, 288))) * keep).real
    return Scene(counted(100 * (1 + 0.25 * image / image.std()), rng), NONE, wave)


@kind("pure noise")
def noise(rng: Rng, n: int) -> Scene:
    """Counts without anything, a normal noise, a noise of 1/f."""
    shape = (288, 288)
    if n % 3 == 0:
        return Scene(counted(np.full(shape, rng.choice([0.3, 3.0, 100.0])), rng), NONE, 10)
    image = rng.normal(size=shape)
    if n % 3 == 2:
        f = np.hypot(*np.meshgrid(np.fft.fftfreq(288), np.fft.fftfreq(288)))
        f[0, 0] = f[0, 1]
        image = np.fft.ifft2(np.fft.fft2(image) / f).real
    return Scene(image.astype(np.float32), NONE, 10)


@kind("vacuum")
def vacuum(rng: Rng, n: int) -> Scene:
    """Vacuum: few counts, with a slope, or with a bright edge at one side."""
    y, x = np.mgrid[:288, :288] / 287
    clean = np.full((288, 288), (0.05, 1.0, 8.0)[n % 3])
    if n % 3 == 1:
        clean = clean * (1 + y)
    elif n % 3 == 2:
        clean = clean + 60 / (1 + np.exp(-(x - 0.8) * 80))
    return Scene(counted(clean, rng), NONE, 10)


@kind("fringes")
def fringes(rng: Rng, n: int) -> Scene:
    """Lattice fringes in one direction: no column is resolved."""
    y, x = np.mgrid[:288, :288]
    turn, wave = rng.uniform(0, np.pi), rng.uniform(8, 16)
    phase = 2 * np.pi * (np.cos(turn) * x + np.sin(turn) * y) / wave
    clean = (30, 300)[n % 2] * (1 + 0.4 * np.cos(phase))
    return Scene(counted(clean, rng), NONE, wave)


@kind("moire", z_matters=False)
def moire(rng: Rng, n: int) -> Scene:
    """Two layers turned by 4 to 12 degrees: columns of both, some on top of each other."""
    side, spacing = 288, float(rng.uniform(15, 19))
    sigma = 0.2 * spacing
    first, _ = lattice(("square", "hexagonal")[n % 2], (side, side), spacing, rng)
    turn = np.radians(rng.uniform(4, 12))
    cos, sin = np.cos(turn), np.sin(turn)
    second = (first - side / 2) @ np.array([[cos, sin], [-sin, cos]]) + side / 2
    second = second + rng.uniform(0, spacing, 2)
    every = np.concatenate([first, second])
    clean = columns((side, side), every, peak(3000, sigma), sigma) + 0.1 * peak(3000, sigma)
    return Scene(counted(clean, rng), every, 2 * sigma)


# What recording and saving did


def _burnt_in(rng: Rng, n: int, clean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A bar and letters written over the image, and where they are."""
    image = counted(clean, rng)
    top = float(image.max()) * (1.0, 1.6)[n % 2]
    over = np.zeros(image.shape, bool)
    h = image.shape[0]
    over[h - 24 : h - 18, 16:96] = True
    for k in range(4):  # letters: strokes of 3 px, with rings and feet
        x = 20 + 18 * k
        over[h - 46 : h - 30, x : x + 3] = True
        over[h - 46 : h - 43, x : x + 10] = True
        over[h - 33 : h - 30, x : x + 10] = True
        if k % 2:
            over[h - 46 : h - 30, x + 8 : x + 11] = True
        else:
            over[h - 40 : h - 37, x : x + 9] = True
    if n % 3 == 2:  # on a band of its own
        image[h - 52 :] = 0
        over_band = over.copy()
        over_band[h - 52 :] = True
        image[over] = top
        return image, over_band
    image[over] = top
    return image, over


@kind("burnt-in scale bar")
def scale_bar(rng: Rng, n: int) -> Scene:
    """A bar and letters written into the pixels, on the image or on a black band."""
    clean, places, _, spacing, _ = plain(rng, ORDINARY[n % 5], 2000)
    image, over = _burnt_in(rng, n, clean)
    depth = ndimage.distance_transform_edt(~over)
    pixel = np.clip(np.rint(places).astype(int), 0, np.array(image.shape) - 1)
    clear = depth[tuple(pixel.T)] > 0.6 * spacing
    return Scene(image, places[clear], spacing, optional=places[~clear])


@kind("saturated", z_matters=False)
def saturated(rng: Rng, n: int) -> Scene:
    """The upper half of every strong column is cut off."""
    clean, places, heights, spacing, _ = plain(rng, ORDINARY[n % 5], 3000)
    limit = clean.min() + rng.uniform(0.4, 0.7) * heights.max()
    return Scene(np.minimum(counted(clean, rng), limit), places, spacing)


@kind("few grey levels")
def quantised(rng: Rng, n: int) -> Scene:
    """8 bit of which the columns use 10 to 25 levels, because a hot pixel set the range."""
    clean, places, _, spacing, _ = plain(rng, ORDINARY[n % 5], (1000, 5000)[n % 2])
    image = counted(clean, rng)
    levels = int(rng.integers(10, 25))
    image = np.clip(np.rint(image / image.max() * levels), 0, 255)
    image[40, 40] = 255
    return Scene(image.astype(np.uint8), places, spacing)


@kind("JPEG")
def jpeg(rng: Rng, n: int) -> Scene:
    """Saved as JPEG: blocks of 8 px whose fine waves are cut off."""
    clean, places, _, spacing, _ = plain(rng, ORDINARY[n % 5], (1000, 5000)[n % 2])
    image = counted(clean, rng)
    image = 255 * image / image.max()
    y, x = np.mgrid[:8, :8]
    coarse = 8.0 + 4.0 * (y + x)
    out = np.zeros_like(image)
    for top in range(0, 288, 8):
        for left in range(0, 288, 8):
            block = np.s_[top : top + 8, left : left + 8]
            waves = dctn(image[block], norm="ortho")
            out[block] = idctn(np.rint(waves / coarse) * coarse, norm="ortho")
    return Scene(np.clip(out, 0, 255).astype(np.uint8), places, spacing)


@kind("gamma")
def gamma(rng: Rng, n: int) -> Scene:
    """Grey values raised to a power of 0.45 or 2 after recording."""
    clean, places, _, spacing, _ = plain(rng, ORDINARY[n % 5], 3000)
    image = counted(clean, rng) / clean.max()
    return Scene(image ** (0.45, 2.0)[n % 2], places, spacing)


@kind("flyback", z_matters=False)
def flyback(rng: Rng, n: int) -> Scene:
    """The beam is late at the start of every line: the left is stretched."""
    side, spacing = 288, float(rng.uniform(10, 15))
    name = ORDINARY[n % 3]
    clean, places, heights, spacing, sigma = plain(rng, name, 2000, spacing, side)
    wide = columns((side, side + 60), places + np.array([0, 40]), heights, sigma) + clean.min()
    x = np.arange(side, dtype=float)
    late = rng.uniform(15, 30) * np.exp(-x / rng.uniform(8, 15))
    image = np.stack([np.interp(x + 40 - late, np.arange(side + 60), row) for row in wide])
    at = np.interp(places[:, 1], x - late, x)
    moved = np.c_[places[:, 0], at]
    bad = at < 3 * spacing  # smeared to nothing, or at least distorted
    return Scene(counted(image, rng), moved[~bad], spacing, optional=moved[bad])


@kind("torn lines", z_matters=False)
def torn(rng: Rng, n: int) -> Scene:
    """Groups of lines are displaced by some pixels, as by a knock."""
    clean, places, _, spacing, _ = plain(rng, ORDINARY[n % 3], 2000)
    shift = np.zeros(288, int)
    for row in rng.integers(30, 260, 4):
        shift[row:] += int(rng.integers(-6, 7))
    image = np.stack([np.roll(r, s) for r, s in zip(clean, shift, strict=True)])
    at = places + np.c_[np.zeros(len(places)), shift[np.clip(places[:, 0].astype(int), 0, 287)]]
    pixel = np.clip(places[:, 0].astype(int), 3, 284)
    reach = round(spacing / 2)
    cut = np.array([np.ptp(shift[max(0, p - reach) : p + reach + 1]) > 0 for p in pixel])
    ignored = np.zeros((288, 288), bool)
    ignored[:, :8], ignored[:, -8:] = True, True
    for row in np.flatnonzero(np.diff(shift)):
        ignored[max(0, row - reach) : row + reach + 1] = True
    return Scene(counted(image, rng), at[~cut], spacing, optional=at[cut], ignored=ignored)


@kind("hot pixels and lines")
def hot(rng: Rng, n: int) -> Scene:
    """Single pixels at up to 50 times the maximum, and one bright and one dead line."""
    clean, places, _, spacing, _ = plain(rng, ORDINARY[n % 5], 1000)
    image = counted(clean, rng)
    y, x = rng.integers(0, 288, (2, 25))
    image[y, x] = image.max() * 10 ** rng.uniform(0.2, 1.7, 25)
    row = int(rng.integers(60, 220))
    image[row] = image.max() if n % 2 else 0
    return Scene(image, places, spacing)


@kind("blank frames")
def blank_frames(rng: Rng, n: int) -> Scene:
    """A movie of five frames of which two are blank: of one value, or noise alone."""
    clean, places, _, spacing, _ = plain(rng, ORDINARY[n % 3], 1000, side=192)
    movie = np.stack([counted(clean, rng) for _ in range(5)])
    blank = counted(np.full(clean.shape, 0.15 * clean.max()), rng)
    movie[n % 2] = blank if n % 3 else 0.0
    movie[3] = blank
    return Scene(movie, places, spacing, empty_frames=(n % 2, 3))


@kind("no atoms, sharp edges")
def shapes(rng: Rng, n: int) -> Scene:
    """Overview of particles, of lines of a device, or of a grid: nothing is a column."""
    y, x = np.mgrid[:288, :288]
    clean = np.full((288, 288), 20.0)
    if n % 3 == 0:
        for _ in range(12):
            cy, cx, r = rng.uniform(0, 288), rng.uniform(0, 288), rng.uniform(15, 40)
            clean = clean + 60 * np.sqrt(np.clip(1 - ((y - cy) ** 2 + (x - cx) ** 2) / r**2, 0, 1))
    elif n % 3 == 1:
        clean = clean + 80 * (((x // 36) % 2) == 0)
    else:
        clean = clean + 80 * ((((x - 10) % 72) > 20) & (((y - 30) % 72) > 20))
    return Scene(counted(clean, rng), NONE, 12)


def valid(scene: Scene) -> int:
    """Columns of a scene that count."""
    shape: tuple[int, int] = tuple(scene.image.shape[-2:])  # type: ignore[assignment]
    return int(inside(scene.true, shape, scene.spacing / 2).sum())
