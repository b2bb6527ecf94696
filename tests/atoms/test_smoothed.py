"""Errors stay true in images that were smoothed or enlarged after they were recorded."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_atomlens.atoms.noise import smoothed
from napari_atomlens.atoms.refine import fit_columns

sys.path.insert(0, str(Path(__file__).parent))
from drawn_columns import drawn, square

SIDE = 200


def spread_of_z(counts: float, width: float, seed: int) -> float:
    """Root mean square of errors over stated errors, of an image smoothed by so many pixels."""
    places = square((SIDE, SIDE), 12.0)
    places = places[((places > -3) & (places < SIDE + 2)).all(1)]
    height = counts / (2 * np.pi * 2.9**2)
    clean = drawn((SIDE, SIDE), places, height, 2.9) + 0.15 * height
    image = np.random.default_rng(seed).poisson(clean).astype(np.float32)
    if width:
        image = ndimage.gaussian_filter(image, width)
    fit = fit_columns(image, places, 12.0)
    inner = ((places > 12) & (places < SIDE - 13)).all(1)
    z = [(fit.y - places[:, 0]) / fit.y_err, (fit.x - places[:, 1]) / fit.x_err]
    return float(np.sqrt(np.mean(np.square(np.asarray(z)[:, inner]))))


@pytest.mark.parametrize("counts", [300.0, 3000.0])
@pytest.mark.parametrize("width", [0.0, 0.7, 1.2])
def test_errors_of_a_smoothed_image_are_true(counts: float, width: float) -> None:
    assert 0.85 < spread_of_z(counts, width, 5) < 1.2


def test_white_noise_is_not_taken_for_smoothed() -> None:
    """Whatever the width of a column; noise whose neighbours go together is."""
    rng = np.random.default_rng(1)
    for side in (64, 256):
        white, every = rng.normal(size=(side, side)), np.ones((side, side))
        for sigma in (0.8, 2.0, 5.0):
            assert smoothed(white, every, sigma) == 1.0
    slow = ndimage.gaussian_filter(white, 1.0)
    slow /= slow.std()
    # of a Gaussian of 1 px, 4 pi as much in the longest waves
    assert smoothed(slow, every, 3.0) == pytest.approx(4 * np.pi * np.exp(-2 / 9), rel=0.15)
