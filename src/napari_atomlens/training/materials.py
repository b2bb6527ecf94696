"""What a model is trained for: its classes and the scenes that it sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from napari_atomlens.errors import ParameterError
from napari_atomlens.segmentation.network import UNIVERSAL_CLASSES
from napari_atomlens.simulation.scenes import Scene

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
    if name in ("graphene", WITHOUT_TRIMERS):
        from napari_atomlens.simulation import graphene_scenes

        pair = partial(graphene_scenes.training_pair, trimers=name == "graphene")
        return Material(
            name, name, "STEM", graphene_scenes.CLASSES, pair, graphene_scenes.draw
        )
    raise ParameterError(
        f"There is no material {name!r} to train for; there are: universal, graphene."
    )
