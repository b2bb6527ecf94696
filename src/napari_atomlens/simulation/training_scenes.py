"""The endless variety of scenes that the universal model is trained on.

Everything is drawn at the network's preferred sampling; ranges are wider than what a
user will meet, since what a network has never seen it gets wrong.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

from napari_atomlens.simulation import crystals, faults
from napari_atomlens.simulation.formation import render_columns
from napari_atomlens.simulation.scenes import (
    Scene,
    add_columns,
    contaminate,
    cut_holes,
    dislocate,
    remove,
    scene_from_crystal,
    substitute,
    thin_out,
)


def empty_scene(shape: tuple[int, int], spacing_px: float, lattice: str) -> Scene:
    """A field of view without columns."""
    none = np.zeros(0)
    return Scene(
        shape, none, none, none, none, none, none, np.zeros(0, object), np.zeros(shape),
        np.zeros(shape, bool), spacing_px, lattice,
    )  # fmt: skip


def disordered(shape: tuple[int, int], spacing_px: float, rng: np.random.Generator) -> Scene:
    """Columns anywhere, at least a spacing apart: adatoms, molecules, glass."""
    density = rng.choice([0.03, 0.15, 0.6, 2.0])
    n = rng.poisson(density * shape[0] * shape[1] / spacing_px**2) + 1
    positions = rng.uniform(-spacing_px, np.asarray(shape) + spacing_px, (n, 2))
    positions = positions[thin_out(positions, spacing_px)]
    scene = empty_scene(shape, spacing_px, "disordered")
    scene.sigma = np.full(1, rng.uniform(0.18, 0.42) * spacing_px)
    amplitude = rng.uniform(0.8, 1.2, len(positions))
    width = float(scene.sigma[0])
    scene.sigma = np.zeros(0)
    add_columns(scene, positions, amplitude, "column")
    scene.sigma[:] = width
    return scene


def resampled_noise(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """White noise, often of few counts, recorded at another sampling and resampled to ours."""
    zoom = float(np.exp(rng.uniform(np.log(0.25), np.log(2.5))))
    native = tuple(int(np.ceil(s / zoom)) + 2 for s in shape)
    if rng.random() < 0.7:
        noise = faults.shot_noise(np.full(native, 10 ** rng.uniform(-2, 1.5)), rng)
    else:
        noise = rng.standard_normal(native)
    if zoom < 1:
        noise = ndi.gaussian_filter(noise, 0.45 / zoom)
    out = ndi.zoom(noise, zoom, order=1 if zoom < 1 else 3)
    return out[: shape[0], : shape[1]]


def noise_only(shape: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """An image without any column, and whether it is textured (unresolved) rather than flat."""
    kind = rng.integers(6)
    if rng.random() < 0.25:
        out = resampled_noise(shape, rng)
        if out.shape == shape:
            return out, False
    if kind == 0:
        return faults.shot_noise(np.full(shape, 10 ** rng.uniform(-1, 3)), rng), False
    if kind == 1:
        return rng.standard_normal(shape), False
    if kind == 2:
        return faults.pink_rows(shape, rng, rng.uniform(0.5, 1.6)) + rng.uniform(
            0, 0.6
        ) * rng.standard_normal(shape), False
    if kind == 3:
        return ndi.gaussian_filter(rng.standard_normal(shape), rng.uniform(0.4, 1.2)), False
    if kind == 4:  # amorphous: grain of about the size of a column
        grain = faults.smooth_field(shape, rng.uniform(5, 16), rng, octaves=int(rng.integers(1, 3)))
        return grain + rng.uniform(0, 0.5) * rng.standard_normal(shape), True
    ramp = np.add.outer(
        np.linspace(0, rng.normal(), shape[0]), np.linspace(0, rng.normal(), shape[1])
    )
    step = (faults.smooth_field(shape, 60, rng) > 0) * rng.uniform(0, 3)
    return 4 * ramp + step + rng.uniform(0.1, 1) * rng.standard_normal(shape), False


def random_scene(shape: tuple[int, int], rng: np.random.Generator) -> Scene:
    """Draw one scene of columns at the network's sampling, before dose and faults."""
    # mostly the preferred sampling; the tails make a wrong guess of the scale harmless
    low, high = (7.0, 14.0) if rng.random() < 0.82 else (5.0, 20.0)
    spacing = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    if rng.random() < 0.06:
        scene = disordered(shape, spacing, rng)
    else:
        crystal = crystals.random_crystal(rng)
        if crystal.name == "dumbbell":
            spacing = rng.uniform(6.5, 11.0)
        shear = np.eye(2) + rng.normal(0, 0.025, (2, 2))
        scene, _ = scene_from_crystal(
            crystal, shape, spacing, rng,
            jitter=rng.choice([0.0, 0.015, 0.03, 0.06]), shear=shear, boundary=rng.random() < 0.22,
        )  # fmt: skip
    if rng.random() < 0.08 and scene.lattice != "disordered":
        dislocate(scene, rng)
    if rng.random() < 0.3:
        remove(scene, rng.random(len(scene.y)) < rng.choice([0.01, 0.04, 0.12]))
    if rng.random() < 0.22 and len(scene.y):
        cut_holes(scene, rng, rng.uniform(0.05, 0.75))
    if rng.random() < 0.15:  # lighter substitutes: a missing atom of a pair
        substitute(scene, rng, rng.uniform(0.01, 0.08), rng.uniform(0.45, 0.75), "light", 0.1)
    chance = 0.55 if scene.lattice == "honeycomb" else 0.2
    if rng.random() < chance:
        factor = rng.uniform(2.0, 6.0) if scene.lattice != "tmd" else rng.uniform(1.6, 3.0)
        substitute(
            scene,
            rng,
            rng.choice([0.004, 0.015, 0.05]),
            factor,
            "heavy",
            rng.choice([0, 0.35, 0.6]),
        )
    if rng.random() < 0.12 and len(scene.y):
        extra = rng.uniform(0, 1, (int(rng.integers(1, 6)), 2)) * np.asarray(shape)
        everything = np.r_[np.c_[scene.y, scene.x], extra]
        ok = thin_out(everything, 0.75 * spacing)[len(scene.y) :]
        add_columns(scene, extra[ok], rng.uniform(0.8, 5.0) * np.ones(ok.sum()), "adatom")
    if len(scene.y):
        thickness = faults.smooth_field(shape, rng.uniform(40, 160), rng)
        gradient = np.clip(1 + rng.choice([0, 0.1, 0.25]) * thickness, 0.35, 2.5)
        rows = np.clip(np.rint(scene.y).astype(int), 0, shape[0] - 1)
        cols = np.clip(np.rint(scene.x).astype(int), 0, shape[1] - 1)
        scene.amplitude = scene.amplitude * gradient[rows, cols]
        spread = rng.choice([0, 0.04, 0.1])
        scene.amplitude = scene.amplitude * np.clip(rng.normal(1, spread, len(scene.y)), 0.5, 1.5)
    return scene


def lumps(scene: Scene, rng: np.random.Generator) -> Scene:
    """Heavier atoms here and there in thick contamination, in place: bright, but no columns."""
    area = scene.contamination.sum() / scene.spacing_px**2
    n = rng.poisson(rng.uniform(0.1, 1.2) * area)
    if not n:
        return scene
    inside = np.argwhere(scene.contamination)
    at = inside[rng.integers(0, len(inside), n)] + rng.uniform(-0.5, 0.5, (n, 2))
    typical = np.median(scene.amplitude) if len(scene.amplitude) else 1.0
    sigma = float(np.mean(scene.sigma)) if len(scene.sigma) else 0.28 * scene.spacing_px
    height = typical * rng.uniform(0.3, 3.0) * rng.uniform(0.3, 1.5, n)
    width = sigma * rng.uniform(0.8, 1.5, n)
    scene.background = scene.background + render_columns(
        scene.shape, at[:, 0], at[:, 1], height, width, np.ones(n), np.zeros(n)
    )
    return scene


def add_background(scene: Scene, rng: np.random.Generator) -> Scene:
    """Background level, ramps, steps and contamination, in place."""
    weak = float(np.percentile(scene.amplitude, 20)) if len(scene.amplitude) else 1.0
    typical = float(np.median(scene.amplitude)) if len(scene.amplitude) else 1.0
    scene.background = scene.background + rng.choice([0.05, 0.2, 0.5, 1.0, 2.0]) * weak
    if rng.random() < 0.3:
        scene.background += (
            typical
            * rng.uniform(0.1, 1.0)
            * (faults.smooth_field(scene.shape, rng.uniform(50, 200), rng) + 2)
        )
    if rng.random() < 0.12:  # steps: another layer, a terrace
        edge = faults.smooth_field(scene.shape, rng.uniform(80, 200), rng)
        height = rng.uniform(0.3, 2.0) * typical
        scene.background += height * ndi.gaussian_filter(
            (edge > 0).astype(float), rng.uniform(0.5, 4)
        )
    if rng.random() < 0.3:
        contaminate(scene, rng, rng.uniform(0.05, 0.6), 10 ** rng.uniform(-0.3, 0.9))
        if rng.random() < 0.6:
            lumps(scene, rng)
    scene.background = np.clip(scene.background, 0, None)
    return scene


def expose(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Noise, scan faults and post-processing: from a scene to the pixels of a file."""
    h, w = scene.shape
    if rng.random() < 0.3:
        scene.row_shift = faults.row_walk(h, rng, 10 ** rng.uniform(-1.3, 0.1))
    clean = scene.clean()
    weak = float(np.percentile(scene.amplitude, 10)) if len(scene.amplitude) else 1.0
    width = float(np.mean(scene.sigma)) if len(scene.sigma) else 3.0
    if rng.random() < 0.12:  # tails of the probe
        clean = 0.8 * clean + 0.2 * ndi.gaussian_filter(clean, rng.uniform(2, 6))
    stm = scene.lattice in ("dimer_rows", "molecules", "oxide", "seven_by_seven", "disordered")
    if rng.random() < (0.75 if stm else 0.15):
        # tunnelling: additive noise, partly along the scan
        noise = 10 ** rng.uniform(-1.6, -0.15) * weak
        image = clean + noise * rng.standard_normal((h, w)) * rng.uniform(0.3, 1)
        image += noise * rng.uniform(0, 0.6) * faults.pink_rows((h, w), rng, rng.uniform(0.8, 1.4))
        if rng.random() < 0.4:
            image += noise * rng.uniform(0, 1.0) * rng.standard_normal((h, 1))
    else:
        counts = 10 ** (rng.uniform(1.85, 2.8) if rng.random() < 0.5 else rng.uniform(2.5, 5))
        scale = counts / (2 * np.pi * width**2 * weak)
        image = faults.shot_noise(clean * scale, rng)
        if rng.random() < 0.3:
            read = rng.uniform(0.1, 0.6) * np.sqrt(np.mean(clean) * scale)
            image = image + read * rng.standard_normal((h, w))
        if rng.random() < 0.15:
            level = 0.15 * np.sqrt(np.mean(clean) * scale)
            image = (
                image + level * faults.pink_rows((h, w), rng) + level * rng.standard_normal((h, 1))
            )
    if rng.random() < 0.5:  # resampled by us, or smoothed by whoever saved it
        image = ndi.gaussian_filter(image, rng.uniform(0.3, 1.5))
    if rng.random() < 0.06:
        image = faults.sharpen(image, rng.uniform(1, 3), rng.uniform(0.3, 1.5))
    if rng.random() < 0.06:
        image = faults.skip_lines(image, int(rng.integers(1, 4)), rng)
    if rng.random() < 0.06:
        image = faults.flyback(image, rng.uniform(1, 10), rng.uniform(0.5, 3))
    if rng.random() < 0.12:
        image = np.clip(image - image.min(), 0, None) ** rng.uniform(0.6, 1.5)
    if rng.random() < 0.2:
        image = faults.to_8_bit(image, rng.choice([0.05, 1, 3]), rng.choice([97.0, 99, 99.9]))
    return image


def draw(shape: tuple[int, int], seed: int) -> tuple[np.ndarray, Scene, bool]:
    """Draw one image, its scene, and whether the whole of it is unresolved texture."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.15:
        image, textured = noise_only(shape, rng)
        return image, empty_scene(shape, 10.0, "none"), textured
    scene = add_background(random_scene(shape, rng), rng)
    return expose(scene, rng), scene, False


def training_pair(shape: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one training image and its target.

    Returns
    -------
    image : ndarray of float32, shape (H, W)
    target : ndarray of float16, shape (4, H, W)
        Coverage by column, much brighter column and contamination; peaks at the centres.
    """
    image, scene, textured = draw(shape, seed)
    target = np.zeros((4, *shape), np.float16)
    hidden = scene.contamination | textured
    column, bright, peaks = scene.truth_maps()
    target[:] = np.where(hidden, 0, column), np.where(hidden, 0, bright), hidden, peaks
    return image.astype(np.float32), target
