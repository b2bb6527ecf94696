"""Scenes for the silicon-110 model: diamond and zincblende along <110>, barely split or well.

Wider than what the universal model sees of dumbbells: columns up to half as wide as they are
apart (no dip between them), light partners, twins, impurities, free edges.
"""

from __future__ import annotations

import numpy as np

from napari_atomlens.segmentation.network import UNIVERSAL_CLASSES
from napari_atomlens.simulation import crystals, faults
from napari_atomlens.simulation.scenes import (
    Scene,
    cut_holes,
    dislocate,
    remove,
    scene_from_crystal,
    substitute,
)
from napari_atomlens.simulation.training_scenes import (
    add_background,
    expose,
    noise_only,
    random_scene,
)

#: Classes of the softmax output, in order: those of the universal model, so that all that
#: follows works alike and all of its weights are a first guess.
CLASSES = UNIVERSAL_CLASSES
#: Width of a column (Gaussian sigma) over the length of a dumbbell. Two equal columns have a
#: dip between them up to 0.5 (Sparrow's limit).
SIGMA = (0.24, 0.52)
#: Angle between the lattices on both sides of the usual twin, seen along <110>.
TWIN_RAD = float(2 * np.arctan(1 / np.sqrt(2)))


def dumbbell_scene(shape: tuple[int, int], rng: np.random.Generator) -> Scene:
    """Draw one crystal at the network's sampling, before dose and faults."""
    low, high = (7.5, 13.0) if rng.random() < 0.85 else (5.5, 18.0)
    spacing = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    second = 1.0 if rng.random() < 0.55 else rng.uniform(0.3, 1.0)
    boundary = rng.random() < 0.25
    scene, _ = scene_from_crystal(
        crystals.dumbbell(second), shape, spacing, rng,
        sigma=rng.uniform(*SIGMA), aspect=rng.uniform(1.0, 1.25 if rng.random() < 0.3 else 1.06),
        jitter=rng.choice([0.0, 0.015, 0.03, 0.06]), shear=np.eye(2) + rng.normal(0, 0.03, (2, 2)),
        boundary=boundary, tilt_rad=TWIN_RAD if rng.random() < 0.4 else None,
    )  # fmt: skip
    if rng.random() < 0.08:
        dislocate(scene, rng)
    if rng.random() < 0.3:
        remove(scene, rng.random(len(scene.y)) < rng.choice([0.005, 0.02, 0.08]))
    if rng.random() < 0.2 and len(scene.y):
        cut_holes(scene, rng, rng.uniform(0.05, 0.6))
    if rng.random() < 0.2:  # columns that lost atoms
        substitute(scene, rng, rng.uniform(0.01, 0.06), rng.uniform(0.5, 0.85), "light", 0.1)
    if rng.random() < 0.35:  # heavy impurities, which push their neighbours
        substitute(scene, rng, rng.choice([0.004, 0.015, 0.04]), rng.uniform(1.6, 5.0), "heavy",
                   rng.choice([0, 0.3]))  # fmt: skip
    if len(scene.y):
        thickness = faults.smooth_field(shape, rng.uniform(40, 160), rng)
        gradient = np.clip(1 + rng.choice([0, 0.1, 0.3]) * thickness, 0.35, 2.5)
        rows = np.clip(np.rint(scene.y).astype(int), 0, shape[0] - 1)
        cols = np.clip(np.rint(scene.x).astype(int), 0, shape[1] - 1)
        spread = rng.choice([0, 0.04, 0.1])
        scene.amplitude = scene.amplitude * gradient[rows, cols]
        scene.amplitude *= np.clip(rng.normal(1, spread, len(scene.y)), 0.5, 1.5)
    return scene


def training_pair(shape: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one training image and its target; one in eight shows something else.

    Returns
    -------
    image : ndarray of float32, shape (H, W)
    target : ndarray of float16, shape (4, H, W)
        Coverage by column, much brighter column and contamination; peaks at the centres.
    """
    rng = np.random.default_rng(seed)
    target = np.zeros((4, *shape), np.float16)
    kind = rng.random()
    if kind < 0.04:
        image, textured = noise_only(shape, rng)
        target[2] = textured
        return image.astype(np.float32), target
    # other lattices, so that not everything is split in two
    scene = dumbbell_scene(shape, rng) if kind > 0.125 else random_scene(shape, rng)
    add_background(scene, rng)
    image = expose(scene, rng)
    column, bright, peaks = scene.truth_maps()
    hidden = scene.contamination
    target[:] = np.where(hidden, 0, column), np.where(hidden, 0, bright), hidden, peaks
    return image.astype(np.float32), target


def draw_dumbbells(shape: tuple[int, int], seed: int) -> tuple[np.ndarray, Scene]:
    """Draw an image with truth for measuring (seeds of ``seed_for``)."""
    rng = np.random.default_rng(seed)
    scene = add_background(dumbbell_scene(shape, rng), rng)
    return expose(scene, rng).astype(np.float32), scene


__all__ = ["CLASSES", "draw_dumbbells", "dumbbell_scene", "training_pair"]
