"""Training: a few steps write a checkpoint, resume goes on, the model loads."""

import json

import numpy as np

from napari_atomlens.segmentation import find_model, segment
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
