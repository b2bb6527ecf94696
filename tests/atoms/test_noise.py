"""Errors of columns are true whatever lies round them, and a fit that fails says so."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import napari_atomlens as al
from napari_atomlens.atoms.fitted import Fit
from napari_atomlens.atoms.refine import FitParams, fit_columns

sys.path.insert(0, str(Path(__file__).parent))
from drawn_columns import drawn, pairs, square

SIGMA, SPACING = 2.4, 11.2


def places_of(side: int, radius: float) -> np.ndarray:
    """Columns of a round particle in the middle of a frame."""
    every = square((side, side), SPACING, 0.18)
    return every[np.hypot(*(every - side / 2).T) < radius]


def fitted(side: int, background: float, counts: float, seed: int) -> tuple[Fit, np.ndarray]:
    """Fit of a particle of Poisson counts from places that are somewhat off, and the truth."""
    rng = np.random.default_rng(seed)
    places = places_of(side, 75)
    height = counts / (2 * np.pi * SIGMA**2)
    clean = drawn((side, side), places, height, SIGMA) + background
    image = rng.poisson(clean).astype(np.float32)
    start = places + rng.normal(0, 0.4, places.shape)
    return fit_columns(image, start, SPACING), places


@pytest.mark.parametrize(
    ("side", "background", "counts"),
    [(220, 0.0, 40), (220, 0.0, 300), (220, 0.02, 40), (220, 0.02, 10000), (220, 2.0, 40),
     (420, 0.0, 100), (420, 0.0, 10000)],
)  # fmt: skip
def test_errors_of_a_particle_are_true_in_every_vacuum(
    side: int, background: float, counts: float
) -> None:
    z = []
    for seed in (1, 2) if side == 220 else (3,):
        fit, places = fitted(side, background, counts, seed)
        good = fit.ok
        assert good.mean() > 0.9
        z += [(fit.y - places[:, 0])[good] / fit.y_err[good]]
        z += [(fit.x - places[:, 1])[good] / fit.x_err[good]]
    assert 0.88 < np.concatenate(z).std() < 1.2


@pytest.mark.needs_model
@pytest.mark.parametrize("background", [0.0, 0.02])
def test_errors_are_true_from_pixels_to_atoms(background: float) -> None:
    places = places_of(300, 75)
    clean = drawn((300, 300), places, 100 / (2 * np.pi * SIGMA**2), SIGMA) + background
    atoms = al.analyze(np.random.default_rng(8).poisson(clean).astype(np.float32)).atoms
    found = atoms[["y_px", "x_px"]].to_numpy()
    i, k = pairs(found, places, 3)
    assert len(i) == len(places) == len(atoms)
    z = (found[i] - places[k]) / atoms[["y_err_px", "x_err_px"]].to_numpy()[i]
    assert 0.88 < z.std() < 1.2


def test_a_fit_that_does_not_explain_the_image_says_so() -> None:
    side = 200
    places = square((side, side), SPACING, 0.18)
    places = places[np.all((places > 4) & (places < side - 5), axis=1)]
    clean = drawn((side, side), places, 400.0, SIGMA) + 40
    # three columns are two that lie on one another: no Gaussian describes them
    odd = np.argsort(np.hypot(*(places - side / 2).T))[[0, 7, 19]]
    for k in odd:
        two = places[k] + np.array([[0.0, 2.2], [0.0, -2.2]])
        clean += drawn((side, side), two, 200.0, 1.2)
        clean -= drawn((side, side), places[[k]], 200.0, SIGMA)
    rng = np.random.default_rng(0)
    image = rng.poisson(np.maximum(clean, 1)).astype(np.float32)
    fit = fit_columns(image, places + rng.normal(0, 0.3, places.shape), SPACING)
    assert not fit.ok[odd].any()
    rest = np.setdiff1d(np.arange(len(places)), odd)
    assert fit.ok[rest].mean() > 0.98
    # it stays where the fit had put it, with an error that says how badly it fits
    assert np.abs(np.c_[fit.y, fit.x][odd] - places[odd]).max() < 0.5
    assert (fit.y_err[odd] > 1.2 * np.median(fit.y_err[rest])).all()


@pytest.mark.parametrize("shape", [(96, 96), (64, 180)])
def test_ordinary_columns_are_explained(shape: tuple[int, int]) -> None:
    odd = total = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        places = square(shape, 9.0, 0.1 * seed)
        heights = rng.uniform(100, 160, len(places))
        image = rng.poisson(drawn(shape, places, heights, 2.0) + 30).astype(np.float32)
        inside = np.all((places > 0) & (places < np.array(shape) - 1), axis=1)
        fit = fit_columns(image, places[inside], 9.0, FitParams())
        odd, total = odd + (~fit.ok).sum(), total + len(fit.ok)
    assert odd <= 0.02 * total
