"""Heights beside the edge of a support, where the background has a step."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import napari_atomlens as al
from napari_atomlens.atoms import refine
from napari_atomlens.atoms.refine import fit_columns

sys.path.insert(0, str(Path(__file__).parent))
from drawn_columns import drawn, square

SIDE, COUNTS = 256, 150.0


def beside_an_edge(angle: float, step: float, seed: int) -> tuple[np.ndarray, ...]:
    """Counts of a lattice across an edge as sharp as the probe, places, and spacings from it."""
    y, x = np.mgrid[:SIDE, :SIDE]
    away = (x - 130) * np.cos(angle) + (y - 128) * np.sin(angle)
    places = square((SIDE, SIDE), 13.0, 0.077)
    clean = drawn((SIDE, SIDE), places, 1.0, 2.6) + step / (1 + np.exp(-away / 2)) + 0.1
    image = np.random.default_rng(seed).poisson(COUNTS * clean).astype(np.float32)
    places = places[np.all((places > 0) & (places < SIDE - 1), axis=1)]
    off = (places[:, 1] - 130) * np.cos(angle) + (places[:, 0] - 128) * np.sin(angle)
    return image, places, np.abs(off) / 13


@pytest.mark.parametrize("step", [0.5, 1.2])
@pytest.mark.parametrize("angle", [0.0, 0.5, 1.2])
def test_heights_are_right_beyond_one_spacing_from_a_step(angle: float, step: float) -> None:
    image, places, away = beside_an_edge(angle, step, seed=0)
    fit = fit_columns(image, places, 13.0)
    height = fit.amplitude / COUNTS
    deep = np.all((places > 13) & (places < SIDE - 14), axis=1)
    for low in (1.0, 1.5, 2.0, 2.5):
        there = deep & (away >= low) & (away < low + 0.5)
        assert abs(height[there].mean() - 1) < 0.05
    assert fit.ok.mean() > 0.98
    # the background under the columns is that of their side
    far = deep & (away > 1.5)
    right = (fit.background - 0.1 * COUNTS) / COUNTS > step / 2
    side = (places[:, 1] - 130) * np.cos(angle) + (places[:, 0] - 128) * np.sin(angle) > 0
    assert (right == side)[far].all()


def hexagonal(turn: float) -> np.ndarray:
    """Places of a hexagonal lattice turned by an angle, 14 px between nearest columns."""
    i, j = (k.ravel() for k in np.meshgrid(np.arange(-30, 31), np.arange(-30, 31)))
    a, b = (14 * np.array([np.sin(t), np.cos(t)]) for t in (turn, turn + np.pi / 3))
    places = SIDE / 2 + i[:, None] * a + j[:, None] * b
    return places[np.all((places > -20) & (places < SIDE + 20), axis=1)]


@pytest.mark.parametrize("edge", ["straight", "bent", "soft"])
@pytest.mark.parametrize("step", [0.6, 1.8])
def test_wide_columns_beside_an_edge_keep_place_and_height(edge: str, step: float) -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    away = 90 - np.hypot(y - 130, x - 110) if edge == "bent" else 0.8 * (x - 120) + 0.6 * (y - 128)
    away = away / (2.5 if edge == "soft" else 1)
    places = hexagonal(0.4)
    clean = drawn((SIDE, SIDE), places, 1.0, 3.4) + step / (1 + np.exp(-away / 2)) + 0.15
    image = np.random.default_rng(1).poisson(40 * clean).astype(np.float32)
    places = places[np.all((places > 0) & (places < SIDE - 1), axis=1)]
    fit = fit_columns(image, places, 14.0)
    row, col = np.rint(places).astype(int).T
    beside = np.abs(away[row, col]) * (2.5 if edge == "soft" else 1) / 14
    deep = np.all((places > 14) & (places < SIDE - 15), axis=1)
    height = fit.amplitude / 40
    height = height / np.median(height[deep & (beside > 4)])  # of any width columns overlap
    for low in (1.0, 1.5, 2.0):
        there = deep & (beside >= low) & (beside < low + 0.5)
        assert abs(height[there].mean() - 1) < 0.05
    near = deep & (beside > 0.5) & (beside < 3) & fit.ok
    z = np.c_[fit.y - places[:, 0], fit.x - places[:, 1]] / np.c_[fit.y_err, fit.x_err]
    assert np.sqrt(np.mean(z[near] ** 2)) < 1.35
    assert fit.ok.mean() > 0.98


@pytest.mark.parametrize("lattice", ["square", "honeycomb", "perovskite"])
def test_dopants_and_vacancies_are_no_steps(lattice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image, scene = al.simulate(
        lattice, (128, 128), 10.0, counts=30000, seed=5, vacancies=0.03, dopants=0.03
    )
    places = scene.atoms()[["y_px", "x_px"]].to_numpy()
    places = places[np.all((places > 0) & (places < 127), axis=1)]
    found = fit_columns(image, places, 10.0)
    monkeypatch.setattr(refine, "find_edges", lambda *_: None)
    plain = fit_columns(image, places, 10.0)
    np.testing.assert_allclose(found.amplitude, plain.amplitude, rtol=1e-3)
    np.testing.assert_allclose(found.chi2, plain.chi2, rtol=1e-2)
    np.testing.assert_allclose(found.y_err, plain.y_err, rtol=1e-2)
