"""The simulated sample data: small, generated on demand in about a second, with truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from napari_atomlens.simulation import crystals, faults, movies, surfaces
from napari_atomlens.simulation.molecules import simulate_flips
from napari_atomlens.simulation.scenes import (
    Scene,
    add_columns,
    add_dose,
    contaminate,
    remove,
    scene_from_crystal,
    seed_for,
    substitute,
)


@dataclass(frozen=True)
class Sample:
    """A simulated image or movie with its calibration and truth.

    Attributes
    ----------
    name : str
    data : ndarray of float32, shape (H, W) or (T, H, W)
    pixel_size_nm : float
    time_step_s : float or None
    scenes : tuple of Scene
        The truth, one per frame; empty for the movies of :mod:`.movies`, which hold their own.
    """

    name: str
    data: np.ndarray
    pixel_size_nm: float
    time_step_s: float | None
    scenes: tuple[Scene, ...]


def _sample(name: str, image: np.ndarray, pixel: float, scene: Scene) -> Sample:
    return Sample(name, image.astype(np.float32), pixel, None, (scene,))


def graphene_si(size_px: int = 512) -> Sample:
    """Graphene (C-C 142 pm) with silicon dopants, a grain boundary and some contamination."""
    rng = np.random.default_rng(seed_for("sample", 0))
    pixel = 0.0125
    scene, _ = scene_from_crystal(
        crystals.honeycomb(), (size_px, size_px), 0.142 / pixel, rng, rotation_rad=0.2, sigma=0.30,
        jitter=0.012, boundary=True,
    )  # fmt: skip
    scene.species[:] = "C"
    substitute(scene, rng, 0.008, 3.6, "Si", 0.3)
    scene.background = scene.background + 0.15
    contaminate(scene, rng, 0.12, 3.0)
    return _sample("graphene with Si (simulated)", add_dose(scene, 900, rng, 1.0), pixel, scene)


def ws2_vacancies(size_px: int = 512) -> Sample:
    """WS2 monolayer (a = 315 pm) with one or both sulphurs of a pair missing."""
    rng = np.random.default_rng(seed_for("sample", 1))
    pixel = 0.0165
    scene, index = scene_from_crystal(
        crystals.tmd(0.30), (size_px, size_px), 0.315 / np.sqrt(3) / pixel, rng, rotation_rad=0.35,
        sigma=0.25, jitter=0.01,
    )  # fmt: skip
    scene.species[:] = np.where(index == 0, "W", "S2")
    draw = rng.random(len(scene.y))
    single = (index == 1) & (draw < 0.03)
    scene.amplitude[single] *= 0.5
    scene.species[single] = "S1"
    remove(scene, (index == 1) & (draw > 0.985))
    scene.background = scene.background + 0.03
    return _sample("WS2 with S vacancies (simulated)", add_dose(scene, 700, rng, 0.3), pixel, scene)


def perovskite(size_px: int = 512) -> Sample:
    """SrTiO3-like perovskite (a = 390.5 pm); in the right half the B columns move by 15 pm."""
    rng = np.random.default_rng(seed_for("sample", 2))
    pixel = 0.019
    scene, index = scene_from_crystal(
        crystals.perovskite(0.45), (size_px, size_px), 0.3905 / np.sqrt(2) / pixel, rng,
        rotation_rad=0.1, sigma=0.22, jitter=0.005,
    )  # fmt: skip
    scene.species[:] = np.where(index == 0, "A", "B")
    polar = (index == 1) & (scene.x > size_px / 2)
    scene.y = scene.y - np.where(polar, 0.015 / pixel, 0.0)
    scene.amplitude = scene.amplitude * (1 + 0.15 * (scene.x / size_px - 0.5))
    scene.background = scene.background + 0.12
    return _sample(
        "perovskite, polar half (simulated)", add_dose(scene, 800, rng, 0.45), pixel, scene
    )


def silicon_110_movie(size_px: int = 256, n_frames: int = 24) -> Sample:
    """Si <110> dumbbells (135.8 pm) drifting, while a strain field passes."""
    rng = np.random.default_rng(seed_for("sample", 3))
    pixel = 0.0136
    cell = crystals.dumbbell()
    frames, scenes = [], []
    start, _ = scene_from_crystal(
        cell, (size_px + 80, size_px + 80), 0.1358 / pixel, rng, rotation_rad=0.12, sigma=0.30
    )
    for t in range(n_frames):
        scene = Scene(**{**start.__dict__, "shape": (size_px, size_px)})
        centre = np.array([size_px * 0.5, size_px * (0.1 + 0.8 * t / max(n_frames - 1, 1))])
        y = start.y - 40 + 0.35 * t
        x = start.x - 40 + 0.20 * t
        d = np.c_[y, x] - centre
        pull = 0.03 / pixel * np.exp(-(d**2).sum(1) / (2 * (0.9 / pixel) ** 2))[:, None]
        moved = np.c_[y, x] + pull * d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-9)
        moved += rng.normal(0, 0.003 / pixel, moved.shape)
        scene.y, scene.x = moved.T
        scene.background = np.full((size_px, size_px), 0.2)
        scene.contamination = np.zeros((size_px, size_px), bool)
        frames.append(add_dose(scene, 1000, rng, 1.0))
        scenes.append(scene)
    data = np.stack(frames).astype(np.float32)
    return Sample("Si <110> movie (simulated)", data, pixel, 0.5, tuple(scenes))


def h_si_100(size_px: int = 384) -> Sample:
    """H-Si(100) 2x1 in STM: dimer rows 768 pm apart, dangling bonds, missing dimers, a step."""
    rng = np.random.default_rng(seed_for("sample", 4))
    pixel = 0.04
    scene, _ = scene_from_crystal(
        crystals.dimer_rows(), (size_px, size_px), 0.384 / pixel, rng, rotation_rad=0.4, sigma=0.30,
        aspect=1.5, jitter=0.01,
    )  # fmt: skip
    scene.species[:] = "dimer"
    n = len(scene.y)
    remove(scene, rng.random(n) < 0.015)
    chosen = rng.random(len(scene.y)) < 0.006
    sites = np.c_[scene.y, scene.x][chosen]
    add_columns(
        scene, sites + rng.normal(0, 1.5, sites.shape), np.full(len(sites), 2.5), "dangling bond"
    )
    rows, cols = np.mgrid[0:size_px, 0:size_px]
    step = 0.3 * cols + rows > 0.85 * size_px + 6 * np.sin(cols / 25)
    scene.background = 1.2 * ndi.gaussian_filter(step.astype(float), 1.2)
    image = scene.clean() + 0.08 * rng.standard_normal((size_px, size_px))
    image += 0.05 * faults.pink_rows((size_px, size_px), rng, 1.1)
    return _sample("H-Si(100) 2x1 (simulated)", 0.03 * image, pixel, scene)


def manganite_surface(n_sites: int = 1000) -> Sample:
    """Square oxide surface (a = 390 pm) in STM; 3 % of the charge clouds are anomalous."""
    image, _ = surfaces.manganite(n_sites, seed=seed_for("sample", 5))
    return Sample(
        "manganite-like surface (simulated)", image.astype(np.float32), 0.39 / 16.2, None, ()
    )


def ws2_point_defects(size_px: int = 512) -> Sample:
    """WS2 monolayer with V_S, V_S2, Mo on W, and Mo with a vacancy beside it."""
    image, _ = surfaces.ws2(700, shape=(size_px, size_px), jitter=0.012, seed=seed_for("sample", 6))
    return Sample("WS2 with point defects (simulated)", image.astype(np.float32), 0.0165, None, ())


def _movie(movie: movies.Movie) -> Sample:
    return Sample(movie.name, movie.data, movie.pixel_size_nm, movie.time_step_s, ())


def silicon_110_defects() -> Sample:
    """Si <110> dumbbells with bulk vacancies that hop while a Bi-like impurity passes."""
    return _movie(
        movies.silicon_110(
            n_frames=30, impurity=True, vacancies=5, stepped=0.05, seed=seed_for("sample", 5)
        )
    )


def ws2_movie() -> Sample:
    """WS2 decomposing under the beam, D = 0.002 nm2/s."""
    return _movie(movies.ws2_decomposing(seed=seed_for("sample", 6)))


def buckybowl_movie() -> Sample:
    """Buckybowls that turn over now and then."""
    return _movie(movies.buckybowls(seed=seed_for("sample", 7)))


def sumanene_film() -> Sample:
    """Film of bowls with three-fold symmetry: up or down, four rotations, some flips (STM)."""
    movie, _, _ = simulate_flips(8, 220, rate=0.02, seed=seed_for("sample", 11))
    data = movie.astype(np.float32)
    return Sample("film of bowls, STM (simulated)", data, 0.055, 60.0, ())


SAMPLES = {
    f.__name__: f
    for f in (
        graphene_si, ws2_vacancies, perovskite, silicon_110_movie, silicon_110_defects, ws2_movie,
        buckybowl_movie, h_si_100, manganite_surface, ws2_point_defects,
        sumanene_film,
    )
}  # fmt: skip
