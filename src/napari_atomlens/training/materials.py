"""What a model is trained for: its classes and the scenes that it sees."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from napari_atomlens.errors import ParameterError
from napari_atomlens.files import write_whole
from napari_atomlens.segmentation.network import UNIVERSAL_CLASSES
from napari_atomlens.segmentation.zoo import ModelInfo
from napari_atomlens.simulation import (
    atom_scenes,
    dumbbell_scenes,
    graphene_scenes,
    material_scenes,
    training_scenes,
)
from napari_atomlens.simulation.known_materials import RECIPES
from napari_atomlens.simulation.material_scenes import Recipe
from napari_atomlens.simulation.scenes import Scene
from napari_atomlens.untrusted import read_json

#: What :func:`material` knows by name.
TRAINABLE = ("universal", "graphene", "silicon-110", "tmd", "perovskite", "single-atoms")
#: What the silicon-110 model is for.
DUMBBELLS = "diamond, zincblende <110>"
#: What the single-atoms model is for.
ATOMS_ALONE = "single atoms"
#: Graphene whose scenes never hold three Si together: what does a model make of an unseen type?
WITHOUT_TRIMERS = "graphene-without-trimers"

Draw = Callable[[tuple[int, int], int], tuple[np.ndarray, Scene]]
Pair = Callable[[tuple[int, int], int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Material:
    """Classes and scenes of a kind of model.

    Attributes
    ----------
    name, material, technique : str
    classes : tuple of str
        Background first, contamination last.
    pair : callable
        ``pair(shape, seed)`` draws an image and its target: coverage by each class but the
        background, and peaks at the centres.
    draw : callable
        ``draw(shape, seed)`` draws an image and its scene, for measuring.
    recipe : dict
        What the scenes of a crystal are drawn from, for the file of the model.
    """

    name: str
    material: str
    technique: str
    classes: tuple[str, ...]
    pair: Pair
    draw: Draw
    recipe: dict[str, object] = field(default_factory=dict)


def material(name: str) -> Material:
    """Look up what can be trained.

    Raises
    ------
    ParameterError
        If there is no such material.
    """
    if name == "universal":
        return Material(
            name, "any", "STEM, STM", UNIVERSAL_CLASSES, training_scenes.training_pair,
            lambda shape, seed: training_scenes.draw(shape, seed)[:2],
        )  # fmt: skip
    if name in ("graphene", WITHOUT_TRIMERS):
        pair = partial(graphene_scenes.training_pair, trimers=name == "graphene")
        return Material(name, name, "STEM", graphene_scenes.CLASSES, pair, graphene_scenes.draw)
    if name in ("silicon-110", DUMBBELLS):
        return Material(
            "silicon-110", DUMBBELLS, "STEM", dumbbell_scenes.CLASSES,
            dumbbell_scenes.training_pair, dumbbell_scenes.draw_dumbbells,
        )  # fmt: skip
    if name in ("single-atoms", ATOMS_ALONE):
        return Material(
            "single-atoms", ATOMS_ALONE, "STEM", atom_scenes.CLASSES, atom_scenes.training_pair,
            atom_scenes.draw,
        )  # fmt: skip
    if name in RECIPES:
        return from_recipe(RECIPES[name]())
    if name.endswith(".json"):
        return from_recipe(load_recipe(Path(name)))
    raise ParameterError(
        f"There is no material {name!r} to train for; there are: universal, graphene, silicon-110, "
        f"single-atoms, {', '.join(RECIPES)}, and recipes of crystals (atomlens train crystal)."
    )


def from_recipe(recipe: Recipe) -> Material:
    """Make a material of a recipe: its scenes, and the recipe for the file of the model."""
    return Material(
        recipe.name, recipe.material, recipe.technique,
        ("background", *recipe.species, "contamination"),
        partial(material_scenes.training_pair, recipe=recipe),
        partial(material_scenes.draw, recipe=recipe), recipe.as_dict(),
    )  # fmt: skip


def material_of(info: ModelInfo) -> Material:
    """Look up the material that a model was trained for.

    Raises
    ------
    ParameterError
        If the model does not say.
    """
    if info.recipe:
        return from_recipe(Recipe.from_dict(info.recipe))
    return material("universal" if info.material == "any" else info.material)


def save_recipe(path: Path, recipe: Recipe) -> Path:
    """Write a recipe with its projected crystals, whole or not at all."""
    return write_whole(path, json.dumps(recipe.as_dict(), indent=1) + "\n")


def load_recipe(path: Path) -> Recipe:
    """Read what :func:`save_recipe` wrote.

    Raises
    ------
    FormatError, ParameterError
        If the file cannot be read, or holds no recipe.
    """
    return Recipe.from_dict(read_json(path))
