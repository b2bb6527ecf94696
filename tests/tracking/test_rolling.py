"""Sums of frames: laid onto each other, of constant dose, measured frame by frame."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import shift
from scipy.spatial import cKDTree

import napari_atomlens as al
from napari_atomlens.simulation import movies
from napari_atomlens.tracking import choose_window, rolling_mean


def test_the_mean_follows_the_drift_and_keeps_the_dose():
    movie = movies.silicon_110(128, 9, drift_px=(1.1, -0.7), counts=60, seed=3)
    clean = movies.silicon_110(128, 9, drift_px=(1.1, -0.7), counts=1e6, seed=3).data
    for frame in (0, 4, 8):
        target = clean[frame][12:-12, 12:-12].ravel()
        mean = rolling_mean(movie.data, frame, 7)[12:-12, 12:-12].ravel()
        single = movie.data[frame][12:-12, 12:-12].ravel()
        plain = movie.data.mean(0)[12:-12, 12:-12].ravel()
        likeness = [np.corrcoef(target, v)[0, 1] for v in (mean, single, plain)]
        assert likeness[0] > likeness[1] + 0.1 and likeness[0] > likeness[2] + 0.1
    assert rolling_mean(movie.data, 2, 1).shape == (128, 128)
    np.testing.assert_array_equal(rolling_mean(movie.data, 2, 1), movie.data[2])


@pytest.mark.needs_model
def test_atoms_that_single_frames_hide_are_found_in_the_sum():
    movie = movies.silicon_110(160, 7, drift_px=(0.6, 0.4), counts=40, seed=9)
    t = movie.truth[movie.truth["frame"] == 3]
    true = np.concatenate([t[["ay_px", "ax_px"]], t[["by_px", "bx_px"]]])
    true = true[np.all((true > 8) & (true < 151), axis=1)]
    found = {}
    for window in (1, 7):
        params = al.AnalysisParams(window=window, spacing_px=10)
        atoms = al.analyze(movie.data, frames=[3], params=params, keep_maps=False).atoms
        place = atoms[["y_px", "x_px"]].to_numpy()
        gap = cKDTree(place).query(true)[0] if len(place) else np.full(len(true), np.inf)
        found[window] = (gap < 3).mean()
    assert found[7] > 0.9 and found[7] > found[1] + 0.1


def test_frames_of_hardly_any_dose_are_laid_onto_each_other_in_the_right_place():
    # 25 counts per column: each frame alone is mostly noise
    settings = dict(drift_px=(0.4, 0.2), seed=5)
    movie = movies.silicon_110(128, 15, counts=25, **settings)
    clean = movies.silicon_110(128, 15, counts=1e6, **settings).data[7][14:-14, 14:-14].ravel()
    mean = rolling_mean(movie.data, 7, 15)[14:-14, 14:-14].ravel()
    off = movie.drift - movie.drift[7]
    known = np.mean(
        [shift(f, -o, order=1, mode="nearest") for f, o in zip(movie.data, off, strict=True)], 0
    )
    best = np.corrcoef(clean, known[14:-14, 14:-14].ravel())[0, 1]
    assert np.corrcoef(clean, mean)[0, 1] > best - 0.04


def test_the_dose_chooses_the_window():
    rng = np.random.default_rng(0)
    pattern = np.kron(rng.random((12, 12)), np.ones((4, 4)))
    for noise, expected in ((0.01, {1}), (2.0, {7, 15, 31, 63})):
        stack = pattern + rng.normal(0, noise, (63, 48, 48))

        def certainty(image: np.ndarray) -> float:
            return max(float(np.corrcoef(image.ravel(), pattern.ravel())[0, 1]) - 0.3, 0.0)

        assert choose_window(stack, certainty) in expected
    assert choose_window(stack, lambda image: 0.0) == 1
    asked: list[int] = []

    def never_surer(image: np.ndarray) -> float:
        asked.append(1)
        return 10.0

    assert choose_window(stack, never_surer) == 1 and len(asked) == 3


@pytest.mark.needs_model
def test_the_window_that_was_chosen_is_in_the_provenance():
    movie = movies.silicon_110(128, 5, drift_px=(0.3, 0.1), counts=45, seed=4)
    params = al.AnalysisParams(window=0, spacing_px=10, contours=False)
    result = al.analyze(movie.data, frames=[2], params=params, keep_maps=False)
    assert result.provenance["parameters"]["window"] == 0
    assert result.provenance["window"] == 3
    plenty = movies.silicon_110(128, 5, counts=2000, seed=4)
    result = al.analyze(plenty.data, frames=[2], params=params, keep_maps=False)
    assert result.provenance["window"] == 1
