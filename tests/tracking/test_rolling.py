"""Sums of frames: laid onto each other, of constant dose, measured frame by frame."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

import napari_atomlens as al
from napari_atomlens.simulation import movies
from napari_atomlens.tracking import rolling_mean


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
