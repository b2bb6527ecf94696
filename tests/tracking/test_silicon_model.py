"""The silicon-110 model: there, its classes, and better than the universal one where it should."""

from __future__ import annotations

import numpy as np
import pytest

import napari_atomlens as al
from napari_atomlens.segmentation import find_model
from napari_atomlens.simulation import seed_for
from napari_atomlens.simulation.dumbbell_scenes import (
    CLASSES,
    TWIN_RAD,
    draw_dumbbells,
    training_pair,
)
from napari_atomlens.simulation.scoring import match
from napari_atomlens.training.materials import TRAINABLE, material


def test_scenes_are_drawn_again_alike_and_hold_their_truth():
    image, target = training_pair((96, 96), seed_for("test", 1))
    again, _ = training_pair((96, 96), seed_for("test", 1))
    np.testing.assert_array_equal(image, again)
    assert target.shape == (4, 96, 96) and np.isfinite(image).all()
    assert target.min() >= 0 and target.max() <= 1
    for i in range(6):
        image, scene = draw_dumbbells((96, 96), seed_for("test", 10 + i))
        assert image.shape == (96, 96) and scene.lattice == "dumbbell"
        assert 0.2 < np.mean(scene.sigma) / scene.spacing_px < 0.55
    assert abs(np.degrees(TWIN_RAD) - 70.53) < 0.01


def test_what_can_be_trained_is_found_by_name():
    for name in TRAINABLE:
        assert material(name).name == name
    assert material(material("silicon-110").material).name == "silicon-110"


@pytest.mark.needs_model
def test_it_splits_dumbbells_better_than_the_universal_model():
    assert find_model("silicon-110").classes == CLASSES
    hits = {}
    for name in ("universal", "silicon-110"):
        total = np.zeros(3)
        for i in range(6):
            image, scene = draw_dumbbells((192, 192), seed_for("test", 400 + i))
            params = al.AnalysisParams(
                model=name, spacing_px=scene.spacing_px, refine="off", contours=False
            )
            atoms = al.analyze(image, params=params, keep_maps=False).atoms
            true = np.c_[scene.y, scene.x][scene.visible(4)]
            place = atoms[["y_px", "x_px"]].to_numpy()
            place = place[np.all((place >= 4) & (place <= 187), axis=1)]
            right = len(match(place, true, 0.25 * scene.spacing_px)[0])
            total += right, len(place), len(true)
        hits[name] = 2 * total[0] / (total[1] + total[2])
    assert hits["silicon-110"] > hits["universal"]
    assert hits["silicon-110"] > 0.85
