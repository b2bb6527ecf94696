"""Places of columns twice as long as wide, and their errors along and across."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from napari_atomlens.atoms.refine import FitParams, fit_columns

sys.path.insert(0, str(Path(__file__).parent))
from drawn_columns import square


def test_errors_are_larger_along_a_column_than_across_it() -> None:
    side, spacing, sigma = 256, 16.0, 3.6
    places = square((side, side), spacing, 0.2)
    y, x = np.arange(side), np.arange(side)
    gy = np.exp(-0.5 * ((y - places[:, :1]) / (sigma * np.sqrt(2))) ** 2)
    gx = np.exp(-0.5 * ((x - places[:, 1:]) / (sigma / np.sqrt(2))) ** 2)
    image = np.random.default_rng(4).poisson(30 * (gy.T @ gx + 0.15)).astype(np.float32)
    places = places[np.all((places > 0) & (places < side - 1), axis=1)]
    fit = fit_columns(image, places, spacing, FitParams(elliptic=True))
    inner = fit.ok & np.all((places > 20) & (places < side - 21), axis=1)
    assert fit.aspect is not None
    assert abs(float(np.median(fit.aspect[inner])) - 2) < 0.25
    assert np.median(fit.y_err[inner]) > 1.6 * np.median(fit.x_err[inner])
    for found, true, error in ((fit.y, places[:, 0], fit.y_err), (fit.x, places[:, 1], fit.x_err)):
        z = ((found - true) / error)[inner]
        assert (
            0.75 < np.sqrt(np.mean(z**2)) < 1.5
        )  # not yet 1: the fit places ellipses by the slopes of round columns
