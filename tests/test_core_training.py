"""Training: a few steps write a checkpoint, resume goes on, the model loads."""

import json

import numpy as np
import pytest

from napari_atomlens.errors import ParameterError
from napari_atomlens.segmentation import find_model, segment
from napari_atomlens.simulation import seed_for
from napari_atomlens.training import TrainParams, train
from napari_atomlens.training.calibrate import expected_calibration_error, fit_probability


def test_training_resumes_and_its_model_loads(tmp_path):
    common = {"out": str(tmp_path), "batch": 2, "size_px": 64, "reuse": 1, "save_every": 2}
    train(TrainParams(steps=2, **common))
    path = train(TrainParams(steps=4, **common))
    info = find_model(str(path))
    assert json.loads((tmp_path / "log.jsonl").read_text() or "{}") == {}
    assert info.classes[0] == "background"
    import torch

    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 4
    image = np.random.default_rng(0).random((64, 64))
    assert segment(image, info, 10).maps.shape == (4, 64, 64)


def test_fitted_probabilities_are_calibrated():
    rng = np.random.default_rng(0)
    n = 20_000
    support = rng.uniform(0.02, 0.98, n)
    evidence = np.c_[rng.uniform(0.1, 0.9, n), support, rng.uniform(0, 6, n), rng.uniform(0, 1, n)]
    truth = (rng.random(n) < support**2).astype(float)
    constants = fit_probability(np.c_[evidence, truth])
    from napari_atomlens.atoms.peaks import calibrated

    assert expected_calibration_error(calibrated(evidence, constants), truth) < 0.03
    assert expected_calibration_error(support, truth) > 0.1


def test_materials_have_as_many_targets_as_classes():
    from napari_atomlens.training.materials import material

    for name in ("universal", "graphene"):
        goal = material(name)
        image, target = goal.pair((96, 96), seed_for("test", 11))
        assert image.shape == (96, 96) and np.isfinite(image).all()
        # one coverage per class but the background, and the centres
        assert target.shape == (len(goal.classes), 96, 96)
        assert goal.classes[0] == "background" and goal.classes[-1] == "contamination"
        assert target[:-1].sum(0).max() < 1.02
    with pytest.raises(ParameterError):
        material("unobtainium")


def test_graphene_scenes_tell_species_apart():
    from napari_atomlens.simulation.graphene_scenes import CLASSES, draw, species_maps

    kinds = set()
    for i in range(12):
        _, scene = draw((128, 128), seed_for("test", 100 + i))
        kinds |= set(scene.species)
        maps, peaks = species_maps(scene, CLASSES[1:-1])
        assert maps.shape == (3, 128, 128) and peaks.max() <= 1
        inside = scene.visible(3)
        for name, cover in zip(CLASSES[1:-1], maps, strict=True):
            here = inside & (scene.species == name)
            at = np.rint(np.c_[scene.y, scene.x][here]).astype(int)
            assert (cover[tuple(at.T)] > 0.5).all()
    assert {"C", "Si"} <= kinds
