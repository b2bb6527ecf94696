"""Heavy atoms that stand alone on an amorphous film: scenes for training and measuring.

The film is random-phase carbon as the probe shows it: speckle of the size of the probe and, more
weakly, of the size of what clusters in it. Its thickness has steps, holes, wrinkles and an edge to
vacuum; graphite fringes, particles and contamination lie on it. On it stand atoms of several
elements at once: alone, in pairs, in chains and in clusters; some leave during the scan. A
scene has no lattice: its scale is the width of the probe.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage as ndi

from napari_atomlens.segmentation.isolated import SPACING_OF_WIDTH
from napari_atomlens.simulation import faults
from napari_atomlens.simulation.formation import render_columns
from napari_atomlens.simulation.scenes import Scene, thin_out
from napari_atomlens.simulation.training_scenes import resampled_noise

#: Classes of the model.
CLASSES = ("background", "atom", "contamination")
#: Two atoms nearer than this, in widths, are one to the eye.
RESOLVED = 2.4
#: Atoms of an amorphous carbon film per cubic nm.
CARBON_PER_NM3 = 100.0
#: Scattering of platinum over that of carbon (Z to the power of 1.7).
PLATINUM_OVER_CARBON = (78 / 6) ** 1.7


@dataclass
class FilmScene:
    """Atoms on a film, before noise.

    Attributes
    ----------
    scene : Scene
        Atoms with their background, speckle included; `contamination` is where a particle or
        thick dirt hides what is there.
    counts : float
        Counts of an atom of amplitude 1.
    rough : ndarray, shape (H, W)
        Standard deviation of the speckle.
    grain : float
        Width of a grain of the speckle in pixels.
    partial : ndarray, shape (H, W)
        What atoms that came or went during the scan add to the image.
    """

    scene: Scene
    counts: float
    rough: np.ndarray
    grain: float
    partial: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    def snr(self) -> np.ndarray:
        """Signal to noise of each atom behind a matched filter, shot noise and speckle alike.

        Amplitude times sqrt(sum of psf^2 / variance) for white noise; speckle as wide as the probe
        passes the filter nearly unchanged, so that its variance counts as such.
        """
        s = self.scene
        if not len(s.y):
            return np.zeros(0)
        rows = np.clip(np.rint(s.y).astype(int), 0, s.shape[0] - 1)
        cols = np.clip(np.rint(s.x).astype(int), 0, s.shape[1] - 1)
        around = ndi.gaussian_filter(s.background, 2 * float(np.mean(s.sigma)))
        per_grey = self.counts / (2 * np.pi * s.sigma**2)  # counts of a pixel of grey value 1
        pixel = (around[rows, cols] + 0.25 * s.amplitude) / per_grey
        white = pixel / (np.pi * s.sigma**2)
        # a Gaussian grain behind a Gaussian filter
        passed = self.grain**2 / (self.grain**2 + s.sigma**2)
        return np.asarray(s.amplitude / np.sqrt(white + passed * self.rough[rows, cols] ** 2))


def _thickness(shape: tuple[int, int], width: float, rng: np.random.Generator) -> np.ndarray:
    """Thickness of the film, 0 in vacuum, about 1 elsewhere."""
    thick = np.ones(shape)
    if rng.random() < 0.7:
        field = faults.smooth_field(shape, rng.uniform(8, 60) * width, rng)
        thick *= np.clip(1 + rng.uniform(0.05, 0.5) * field, 0.15, None)
    for _ in range(int(rng.integers(0, 4))):  # steps between layers
        edge = faults.smooth_field(shape, rng.uniform(8, 60) * width, rng) > rng.normal(0, 0.8)
        step = ndi.gaussian_filter(edge.astype(float), rng.uniform(0.15, 3) * width)
        thick *= 1 + rng.uniform(0.1, 1.2) * step
    if rng.random() < 0.25:  # wrinkles and rims
        for _ in range(int(rng.integers(1, 4))):
            line = faults.smooth_field(shape, rng.uniform(12, 60) * width, rng)
            slope = np.hypot(*np.gradient(line)) + 1e-3
            away = np.abs(line - rng.normal(0, 0.7)) / slope / width
            thick += rng.uniform(0.1, 1.0) * np.exp(-0.5 * (away / rng.uniform(0.8, 3)) ** 2)
    if rng.random() < 0.3:  # an edge to vacuum, holes
        edge = faults.smooth_field(shape, rng.uniform(10, 80) * width, rng) > rng.uniform(-2.0, 0.6)
        thick *= ndi.gaussian_filter(edge.astype(float), rng.uniform(0.2, 6) * width)
    return np.clip(thick, 0, None)


def _speckle(
    shape: tuple[int, int], grain: float, width: float, rng: np.random.Generator
) -> np.ndarray:
    """Random-phase speckle with unit variance at the size of the probe, and coarser grains."""
    fine = ndi.gaussian_filter(rng.standard_normal(shape), grain, mode="wrap")
    fine /= fine.std() + 1e-12
    # bright grains are fewer and brighter: by n ** -0.5 for n carbon atoms under the probe
    skew = rng.uniform(0, 0.06)
    fine = (fine + skew * (fine**2 - 1)) / np.sqrt(1 + 2 * skew**2)
    if rng.random() < 0.7:
        coarse = ndi.gaussian_filter(
            rng.standard_normal(shape), rng.uniform(2, 6) * width, mode="wrap"
        )
        fine = fine + rng.uniform(0.1, 0.8) * coarse / (coarse.std() + 1e-12)
    return np.asarray(fine)


def _fringes(shape: tuple[int, int], width: float, rng: np.random.Generator) -> np.ndarray:
    """Graphite fringes in patches, of height about 1."""
    period, turn = rng.uniform(2.8, 8) * width, rng.uniform(0, np.pi)
    y, x = np.indices(shape)
    bend = rng.uniform(0, 1.5) * faults.smooth_field(shape, 20 * width, rng)
    wave = np.cos(2 * np.pi * (y * np.sin(turn) + x * np.cos(turn)) / period + bend)
    patch = faults.smooth_field(shape, rng.uniform(6, 25) * width, rng) - rng.uniform(0, 1.5)
    return np.asarray(wave * np.clip(2 * patch, 0, 1))


def _dirt(
    shape: tuple[int, int], width: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Blobs and particles on the film, and where they hide what is there."""
    out = np.zeros(shape)
    hidden = np.zeros(shape, bool)
    if rng.random() < 0.15:  # blobs wider than an atom: dirt
        m = rng.poisson(4) + 1
        out += render_columns(
            shape, rng.uniform(0, shape[0], m), rng.uniform(0, shape[1], m),
            rng.uniform(0.2, 1.5, m), width * rng.uniform(1.9, 6, m), rng.uniform(1, 2, m),
            rng.uniform(0, np.pi, m),
        )  # fmt: skip
    if rng.random() < 0.1:  # a particle, whose inside is no place for single atoms
        particle = faults.smooth_field(shape, rng.uniform(8, 30) * width, rng) > rng.uniform(0.8, 2)
        inside = ndi.gaussian_filter(particle.astype(float), rng.uniform(0.3, 1.5) * width)
        texture = 1 + 0.3 * faults.smooth_field(shape, rng.uniform(2, 6) * width, rng)
        out += rng.uniform(2, 20) * inside * np.clip(texture, 0.1, None)
        hidden |= inside > 0.3
    return out, hidden


def _places(shape: tuple[int, int], width: float, rng: np.random.Generator) -> np.ndarray:
    """Where atoms stand: alone, in pairs, in chains and in clusters; (n, 2)."""
    cells = shape[0] * shape[1] / (SPACING_OF_WIDTH * width) ** 2
    far = SPACING_OF_WIDTH * width
    alone = rng.poisson(cells * 10 ** rng.uniform(-2.5, -0.6))
    found = [rng.uniform(-far, np.asarray(shape) + far, (alone, 2))]
    groups = rng.poisson(cells * 10 ** rng.uniform(-3.2, -1.6)) if rng.random() < 0.6 else 0
    for _ in range(groups):
        size = int(np.ceil(2 ** rng.exponential(1.2))) if rng.random() < 0.9 else 40
        size = int(np.clip(size, 2, 50))
        members = [rng.uniform(-far, np.asarray(shape) + far, 2)]
        chain, heading = rng.random() < 0.25, rng.uniform(0, 2 * np.pi)
        for _ in range(size - 1):
            if chain:
                heading += rng.normal(0, 0.4)
            root = members[-1] if chain else members[int(rng.integers(len(members)))]
            angle = heading if chain else rng.uniform(0, 2 * np.pi)
            step = width * rng.uniform(RESOLVED, 4.5)
            members.append(root + step * np.array([np.sin(angle), np.cos(angle)]))
        found.append(np.array(members))
    out = np.concatenate(found)
    return out[thin_out(out, RESOLVED * width)]


def _heights(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude and kind of atoms of one to three elements, spread by focus and by depth."""
    kinds = int(rng.integers(1, 4))
    levels = np.r_[1.0, np.exp(rng.uniform(np.log(0.35), np.log(2.5), kinds - 1))]
    which = rng.integers(0, kinds, n)
    height = levels[which] * np.clip(rng.normal(1, rng.choice([0.0, 0.1, 0.25]), n), 0.3, 2)
    height[rng.random(n) < rng.choice([0.0, 0.05])] *= 2  # two atoms on top of one another
    return height, np.array([f"atom {k + 1}" for k in which], object)


def _leaving(scene: Scene, rng: np.random.Generator, share: float) -> tuple[np.ndarray, np.ndarray]:
    """What atoms that come or go in mid-scan add, and which atoms stay for most of it."""
    partial, stay = np.zeros(scene.shape), np.ones(len(scene.y), bool)
    rows = np.arange(scene.shape[0])
    for k in np.flatnonzero(rng.random(len(scene.y)) < share):
        at = scene.y[k] + rng.normal(0, 1.2) * scene.sigma[k]
        there = rows < at if rng.random() < 0.5 else rows >= at
        one = render_columns(
            scene.shape, scene.y[k : k + 1], scene.x[k : k + 1], scene.amplitude[k : k + 1],
            scene.sigma[k : k + 1],
        )  # fmt: skip
        part = one * there[:, None]
        partial += part
        stay[k] = False
    width = float(scene.sigma[0]) if len(scene.sigma) else 3.0
    for _ in range(rng.poisson(1.5 * share * 10)):  # an atom that hops: streaks of few rows
        row, x = int(rng.integers(scene.shape[0])), rng.uniform(0, scene.shape[1])
        bell = np.exp(-0.5 * ((np.arange(scene.shape[1]) - x) / width) ** 2)
        partial[row : row + int(rng.integers(1, 3))] += rng.uniform(0.3, 1.5) * bell
    return partial, stay


def film_scene(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    width: float | None = None,
    counts: float | None = None,
    atoms: bool = True,
) -> FilmScene:
    """Draw atoms on a film, before noise.

    Parameters
    ----------
    shape : tuple of int
    rng : numpy.random.Generator
    width : float, optional
        Standard deviation of an atom in pixels; drawn round that of the network by default.
    counts : float, optional
        Counts of an atom of amplitude 1, drawn between 20 and 3,000 by default.
    atoms : bool
        Without them the film is bare.

    Returns
    -------
    FilmScene
    """
    width = float(np.exp(rng.uniform(np.log(2.1), np.log(3.9)))) if width is None else width
    counts = float(10 ** rng.uniform(1.3, 3.5)) if counts is None else counts
    places = _places(shape, width, rng) if atoms else np.zeros((0, 2))
    n = len(places)
    height, kinds = _heights(n, rng)
    aspect = rng.choice([1.0, rng.uniform(1, 1.25)])
    thick = _thickness(shape, width, rng)
    level = float(np.exp(rng.uniform(np.log(0.03), np.log(8))))  # of the film over an atom
    grain = width * rng.uniform(0.9, 1.2)
    contrast = min(float(np.exp(rng.uniform(np.log(0.015), np.log(0.4)))), 0.35 * level)
    rough = contrast * thick ** rng.uniform(0.5, 1.0)
    speckle = _speckle(shape, grain, width, rng)
    film = level * thick + rough * speckle
    if rng.random() < 0.15:
        film += rng.uniform(0.2, 2) * contrast * thick * _fringes(shape, width, rng)
    dirt, hidden = _dirt(shape, width, rng)
    film = film + dirt
    film = np.clip(film + rng.choice([0.0, 0.02, 0.2]), 0, None)
    scene = Scene(
        shape, places[:, 0], places[:, 1], height, np.full(n, width), np.full(n, aspect),
        np.full(n, rng.uniform(0, np.pi)), kinds, film, hidden, SPACING_OF_WIDTH * width, "none",
    )  # fmt: skip
    out = FilmScene(scene, counts, np.hypot(rough, 0), grain, np.zeros(shape))
    if rng.random() < 0.25 and n:
        out.partial, stay = _leaving(scene, rng, rng.uniform(0.02, 0.15))
        for name in ("y", "x", "amplitude", "sigma", "aspect", "angle", "species"):
            setattr(scene, name, getattr(scene, name)[stay])
    if rng.random() < 0.4:
        scene.row_shift = faults.row_walk(shape[0], rng, 10 ** rng.uniform(-1.3, -0.1))
    return out


def expose_film(film: FilmScene, rng: np.random.Generator, *, faulty: bool = True) -> np.ndarray:
    """Draw the pixels of a file: tails of the probe, counts, and what else befalls a scan."""
    scene = film.scene
    width = scene.spacing_px / SPACING_OF_WIDTH
    clean = scene.clean() + (film.partial if film.partial.size else 0.0)
    if faulty and rng.random() < 0.25:  # tails of the probe
        clean = 0.8 * clean + 0.2 * ndi.gaussian_filter(clean, rng.uniform(1.5, 3) * width)
    per_grey = film.counts / (2 * np.pi * width**2)
    image = faults.shot_noise(clean * per_grey, rng)
    if not faulty:
        return image
    noise = float(np.sqrt(np.mean(clean) * per_grey))
    if rng.random() < 0.3:
        image += rng.uniform(0.1, 0.8) * noise * rng.standard_normal(scene.shape)
    if rng.random() < 0.3:
        image += rng.uniform(0.05, 0.4) * noise * rng.standard_normal((scene.shape[0], 1))
        image += rng.uniform(0, 0.4) * noise * faults.pink_rows(scene.shape, rng)
    if rng.random() < 0.4:  # resampled, or smoothed by whoever saved it
        image = ndi.gaussian_filter(image, rng.uniform(0.3, 1.7))
    if rng.random() < 0.04:
        image = faults.skip_lines(image, int(rng.integers(1, 4)), rng)
    if rng.random() < 0.1:
        image = np.clip(image - image.min(), 0, None) ** rng.uniform(0.6, 1.4)
    if rng.random() < 0.15:
        image = faults.to_8_bit(image, rng.choice([0.05, 1]), rng.choice([99, 99.9, 100.0]))
    return image


def bare_carbon(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    thickness_nm: float,
    width_px: float,
    pixel_nm: float,
    counts: float = 300.0,
) -> FilmScene:
    """Draw an amorphous carbon film of a thickness, with every carbon atom in its place.

    Parameters
    ----------
    shape : tuple of int
    rng : numpy.random.Generator
    thickness_nm, width_px, pixel_nm : float
        Thickness of the film, width of the probe, size of a pixel.
    counts : float
        Of a platinum atom, whose amplitude is 1.

    Returns
    -------
    FilmScene
    """
    per_pixel = CARBON_PER_NM3 * thickness_nm * pixel_nm**2
    atoms = rng.poisson(per_pixel, shape).astype(float)
    probe = 2 * np.pi * width_px**2
    film = ndi.gaussian_filter(atoms, width_px, mode="wrap") * probe / PLATINUM_OVER_CARBON
    none = np.zeros(0)
    scene = Scene(
        shape, none, none, none, none, none, none, np.zeros(0, object), film,
        np.zeros(shape, bool), SPACING_OF_WIDTH * width_px, "none",
    )  # fmt: skip
    return FilmScene(scene, counts, np.full(shape, float(film.std())), width_px)


def draw(shape: tuple[int, int], seed: int) -> tuple[np.ndarray, Scene]:
    """Draw an image with truth for measuring (seeds of ``seed_for``)."""
    rng = np.random.default_rng(seed)
    film = film_scene(shape, rng)
    return expose_film(film, rng).astype(np.float32), film.scene


def training_pair(shape: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one training image and its target; one in ten is a bare film.

    Returns
    -------
    image : ndarray of float32, shape (H, W)
    target : ndarray of float16, shape (3, H, W)
        Coverage by atoms and by what hides them; peaks at the centres.
    """
    rng = np.random.default_rng(seed)
    film = film_scene(shape, rng, atoms=rng.random() > 0.1)
    image = expose_film(film, rng)
    if rng.random() < 0.08:  # a width that was found far too small: noise spread over many pixels
        noise = resampled_noise(shape, rng)
        if noise.shape == shape:
            return noise.astype(np.float32), np.zeros((3, *shape), np.float16)
    column, bright, peaks = film.scene.truth_maps()
    hidden = film.scene.contamination
    target = np.zeros((3, *shape), np.float16)
    target[:] = np.where(hidden, 0, column + bright), hidden, np.where(hidden, 0, peaks)
    return image.astype(np.float32), target
