"""Scenes for the graphene model: relaxed sheets with Si, heavier adatoms, holes, contamination."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from napari_atomlens.errors import ParameterError
from napari_atomlens.points import connected
from napari_atomlens.simulation.bank import with_profile
from napari_atomlens.simulation.graphene_defects import C_C, NAMES, graphene_sheet
from napari_atomlens.simulation.scenes import (
    Scene,
    add_columns,
    contaminate,
    cut_holes,
    seed_for,
    substitute,
    thin_out,
)
from napari_atomlens.simulation.species_targets import species_maps
from napari_atomlens.simulation.training_scenes import (
    add_background,
    empty_scene,
    expose,
    lumps,
    noise_only,
)

#: Classes of the softmax output of the graphene model, in order.
CLASSES = ("background", "C", "Si", "heavy", "contamination")
#: Intensity of Si over that of C: (14 / 6)^1.7 is 4.2 in a detector at high angles.
SI_OVER_C = (2.6, 6.0)


#: Named defects with fewer than three Si.
WITHOUT_TRIMERS = tuple(n for n in NAMES if n[:3] not in ("Si3", "Si4"))


def _defects(
    size_nm: np.ndarray, rng: np.random.Generator, known: tuple[str, ...]
) -> list[tuple[str, tuple[float, float]]]:
    """Names and places of a few defects that leave room for one another."""
    count = int(rng.choice([0, 1, 2, 3, 5], p=[0.2, 0.3, 0.25, 0.15, 0.1]))
    names = [str(rng.choice(known)) for _ in range(count)]
    places = rng.uniform(0.1, 0.9, (8 * count + 1, 2)) * size_nm
    places = places[thin_out(places, 9.5 * C_C)][:count]
    return [(n, (float(y), float(x))) for n, (y, x) in zip(names, places, strict=False)]


def _part_trimers(scene: Scene) -> None:
    """Turn Si of groups of three and more, nearer than 300 pm, back into C, in place."""
    silicon = np.flatnonzero(scene.species == "Si")
    if len(silicon) < 3:
        return
    places = np.c_[scene.y, scene.x][silicon]
    pairs = cKDTree(places).query_pairs(0.3 / C_C * scene.spacing_px, output_type="ndarray")
    group = connected(pairs, len(places))
    crowded = silicon[np.bincount(group)[group] > 2]
    scene.species[crowded] = "C"
    scene.amplitude[crowded] = np.median(scene.amplitude[scene.species == "C"])


def graphene_scene(shape: tuple[int, int], rng: np.random.Generator, trimers: bool = True) -> Scene:
    """Draw one sheet at the network's sampling, before dose and faults.

    Without `trimers` no three Si are near one another.
    """
    known = NAMES if trimers else WITHOUT_TRIMERS
    low, high = (7.5, 13.0) if rng.random() < 0.85 else (6.0, 17.0)
    spacing = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    size_nm = np.asarray(shape) / spacing * C_C
    turn, seed = float(rng.uniform(0, 2 * np.pi)), int(rng.integers(1 << 31))
    try:
        sheet = graphene_sheet(
            (float(size_nm[0]), float(size_nm[1])), _defects(size_nm, rng, known),
            rotation_rad=turn, seed=seed,
        )  # fmt: skip
    except (ParameterError, IndexError):  # defects in each other's way, or at the rim
        sheet = graphene_sheet(
            (float(size_nm[0]), float(size_nm[1])), [], rotation_rad=turn, seed=seed
        )
    p = sheet.places_nm / C_C * spacing
    p = (p - np.asarray(shape) / 2) @ (np.eye(2) + rng.normal(0, 0.02, (2, 2)))
    p = p + np.asarray(shape) / 2 + rng.normal(0, rng.choice([0, 0.02, 0.05]) * spacing, p.shape)
    n = len(p)
    scene = empty_scene(shape, spacing, "graphene")
    scene.y, scene.x = p.T.copy()
    scene.species = sheet.species.copy()
    scene.amplitude = np.where(scene.species == "Si", rng.uniform(*SI_OVER_C), 1.0)
    scene.amplitude *= np.clip(rng.normal(1, 0.04, n), 0.8, 1.2)
    scene.sigma = np.full(n, rng.uniform(0.2, 0.4) * spacing)
    scene.aspect = np.full(n, rng.uniform(1.0, 1.25))
    scene.angle = np.full(n, rng.uniform(0, np.pi))
    if rng.random() < 0.3:  # more Si, anywhere
        light = scene.species == "C"
        substitute(scene, rng, rng.choice([0.005, 0.02, 0.05]), rng.uniform(*SI_OVER_C), "Si",
                   rng.choice([0, 0.4]))  # fmt: skip
        again = (scene.species == "Si") & ~light  # an atom that was Si already stays one Si
        scene.amplitude[again] = np.minimum(scene.amplitude[again], SI_OVER_C[1])
        if not trimers:
            _part_trimers(scene)
    if rng.random() < 0.35:
        cut_holes(scene, rng, rng.uniform(0.05, 0.6))
    if rng.random() < 0.15 and len(scene.y):
        extra = rng.uniform(0, 1, (int(rng.integers(1, 4)), 2)) * np.asarray(shape)
        near = cKDTree(np.c_[scene.y, scene.x]).query(extra)[0]
        extra = extra[near > 0.5 * spacing]
        add_columns(scene, extra, rng.uniform(7, 20) * np.ones(len(extra)), "heavy")
    if rng.random() < 0.06 and len(scene.y):  # in the lattice
        scene.species[rng.integers(len(scene.y))] = "heavy"
        scene.amplitude[scene.species == "heavy"] = rng.uniform(7, 20)
    return scene


def training_pair(
    shape: tuple[int, int], seed: int, trimers: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one training image and its target.

    Returns
    -------
    image : ndarray of float32, shape (H, W)
    target : ndarray of float16, shape (5, H, W)
        Coverage by C, Si, heavier atoms and contamination; peaks at the centres.
    """
    rng = np.random.default_rng(seed)
    target = np.zeros((5, *shape), np.float16)
    if rng.random() < 0.06:
        image, textured = noise_only(shape, rng)
        target[3] = textured
        return image.astype(np.float32), target
    scene = with_profile(add_background(graphene_scene(shape, rng, trimers), rng), seed, ("C-",))
    if rng.random() < 0.35:  # beside and on top of what every scene has
        contaminate(scene, rng, rng.uniform(0.1, 0.6), 10 ** rng.uniform(-0.2, 1.0))
        lumps(scene, rng)
    image = expose(scene, rng)
    maps, peaks = species_maps(scene, CLASSES[1:-1])
    target[:3] = np.where(scene.contamination, 0, maps)
    target[3], target[4] = scene.contamination, peaks
    return image.astype(np.float32), target


def draw(shape: tuple[int, int], seed: int) -> tuple[np.ndarray, Scene]:
    """Draw an image with truth for measuring (seeds of :func:`seed_for`)."""
    rng = np.random.default_rng(seed)
    scene = with_profile(add_background(graphene_scene(shape, rng), rng), seed, ("C-",))
    return expose(scene, rng).astype(np.float32), scene


__all__ = ["CLASSES", "draw", "graphene_scene", "seed_for", "species_maps", "training_pair"]
