"""What a model is trained for: its classes and the scenes that it sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from napari_atomlens.errors import ParameterError
from napari_atomlens.segmentation.network import UNIVERSAL_CLASSES
from napari_atomlens.simulation.scenes import Scene

#: What :func:`material` knows.
TRAINABLE = ("universal", "graphene", "silicon-110")
#: What the silicon-110 model is for.
DUMBBELLS = "diamond, zincblende <110>"

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
    """

    name: str
    material: str
    technique: str
    classes: tuple[str, ...]
    pair: Pair
    draw: Draw


def material(name: str) -> Material:
    """Look up what can be trained.

    Raises
    ------
    ParameterError
        If there is no such material.
    """
    if name == "universal":
        from napari_atomlens.simulation import training_scenes

        return Material(
            name, "any", "STEM, STM", UNIVERSAL_CLASSES, training_scenes.training_pair,
            lambda shape, seed: training_scenes.draw(shape, seed)[:2],
        )  # fmt: skip
    if name == "graphene":
        from napari_atomlens.simulation import graphene_scenes

        return Material(
            name, "graphene", "STEM", graphene_scenes.CLASSES, graphene_scenes.training_pair,
            graphene_scenes.draw,
        )  # fmt: skip
    if name in ("silicon-110", DUMBBELLS):
        from napari_atomlens.simulation import dumbbell_scenes

        return Material(
            "silicon-110", DUMBBELLS, "STEM", dumbbell_scenes.CLASSES,
            dumbbell_scenes.training_pair, dumbbell_scenes.draw,
        )  # fmt: skip
    raise ParameterError(
        f"There is no material {name!r} to train for; there are: {', '.join(TRAINABLE)}."
    )
