"""Columns that are two, closer than the image resolves: given as two, or marked."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

import napari_atomlens as al
from napari_atomlens.atoms.fitted import Fit
from napari_atomlens.atoms.pairs import drawn_out, overlaid

sys.path.insert(0, str(Path(__file__).parent))
from drawn_columns import drawn, square

SIDE, SPACING, SIGMA = 224, 16.0, 3.5


def an_image(
    seed: int, apart: float, *, second: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts of a lattice with some pairs `apart` widths apart; single places, places of pairs."""
    rng = np.random.default_rng(seed)
    places = square((SIDE, SIDE), SPACING, 0.11)
    two = rng.random(len(places)) < 0.12
    turn = rng.uniform(0, 2 * np.pi, two.sum())
    half = 0.5 * apart * SIGMA * np.c_[np.sin(turn), np.cos(turn)]
    single, pairs = places[~two], np.stack([places[two] - half, places[two] + half], axis=1)
    clean = drawn((SIDE, SIDE), single, 1.0, SIGMA) + drawn((SIDE, SIDE), pairs[:, 0], 1.0, SIGMA)
    clean = clean + drawn((SIDE, SIDE), pairs[:, 1], second, SIGMA)
    return rng.poisson(80 * (clean + 0.1)).astype(np.float32), single, pairs


def inner(places: np.ndarray) -> np.ndarray:
    """Which places are a spacing within the frame."""
    return np.all((places > SPACING) & (places < SIDE - 1 - SPACING), axis=-1)


def found(image: np.ndarray) -> tuple[pd.DataFrame, list[str]]:
    result = al.analyze(image)
    return result.atoms, [str(m) for m in result.messages]


def test_pairs_are_two_atoms_in_their_places_with_true_errors() -> None:
    image, single, pairs = an_image(1, 1.7)
    atoms, said = found(image)
    places = atoms[["y_px", "x_px"]].to_numpy()
    for true in (single[inner(single)], pairs.reshape(-1, 2)[inner(pairs.reshape(-1, 2))]):
        gap, which = cKDTree(places).query(true)
        assert (gap < 0.6 * SIGMA).mean() > 0.97
        near = gap < 0.6 * SIGMA
        off = places[which[near]] - true[near]
        z = off / atoms[["y_err_px", "x_err_px"]].to_numpy()[which[near]]
        assert 0.75 < np.sqrt(np.mean(z**2)) < 1.3
        assert atoms["fit_ok"].to_numpy()[which[near]].mean() > 0.97
    assert any("given as two" in sentence for sentence in said)


def test_what_two_of_the_usual_columns_do_not_explain_is_marked() -> None:
    image, single, pairs = an_image(2, 2.2, second=0.3)
    atoms, _ = found(image)
    places = atoms[["y_px", "x_px"]].to_numpy()
    true = pairs[inner(pairs.mean(1))]
    # either both are there, or the one in their place carries a mark
    gap, which = cKDTree(places).query(true[:, 0])
    both = (cKDTree(places).query(true[:, 1])[0] < 0.6 * SIGMA) & (gap < 0.6 * SIGMA)
    marked = ~atoms["fit_ok"].to_numpy()[which]
    assert (both | marked).mean() > 0.8
    gap, which = cKDTree(places).query(single[inner(single)])
    assert (~atoms["fit_ok"].to_numpy()[which]).mean() < 0.02


def test_single_columns_stay_single() -> None:
    rng = np.random.default_rng(3)
    places = square((SIDE, SIDE), SPACING, 0.11)
    height = np.where(rng.random(len(places)) < 0.05, 2.0, 1.0)  # dopants
    clean = drawn((SIDE, SIDE), places, height, SIGMA)
    atoms, said = found(rng.poisson(80 * (clean + 0.1)).astype(np.float32))
    gap, _ = cKDTree(atoms[["y_px", "x_px"]]).query(atoms[["y_px", "x_px"]], k=2)
    assert gap[:, 1].min() > 0.7 * SPACING
    assert atoms["fit_ok"].mean() > 0.98
    assert not said


def _layers(turned: float, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Two square layers over one another, their columns, and the width of a column."""
    side, spacing, sigma = 220, 16.0, 3.2
    rng = np.random.default_rng(seed)
    i, j = (k.ravel() for k in np.meshgrid(np.arange(-20, 21), np.arange(-20, 21)))
    places = []
    for angle in (0.3, 0.3 + turned):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        places.append(spacing * np.c_[i, j] @ turn.T + side / 2 + rng.uniform(0, spacing, 2))
    every = np.concatenate(places)
    every = every[((every > -8) & (every < side + 8)).all(1)]
    y = np.arange(side)
    gy = np.exp(-0.5 * ((y - every[:, :1]) / sigma) ** 2)
    gx = np.exp(-0.5 * ((y - every[:, 1:]) / sigma) ** 2)
    return rng.poisson(45 * gy.T @ gx + 5).astype(np.float32), every, sigma


@pytest.mark.needs_model
def test_layers_over_one_another_are_no_usual_spread() -> None:
    """Where half of the columns are drawn out none is an exception: nearly all were believed."""
    image, every, sigma = _layers(np.radians(7), 5)
    atoms = al.analyze(image).atoms
    found = atoms[["y_px", "x_px"]].to_numpy()
    inner = ((found > 8) & (found < 211)).all(1)
    away = cKDTree(every).query(found)[0]
    wrong = inner & (away > 0.5 * sigma)
    sure = atoms["fit_ok"].to_numpy() & (atoms["probability"] > 0.9).to_numpy()
    sure &= (atoms["unfamiliar"] <= 0.5).to_numpy()
    assert (wrong & sure).sum() <= 0.06 * inner.sum()
    assert (inner & ~wrong & sure).sum() > 0.4 * inner.sum()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4])
def test_a_sublattice_that_is_drawn_out_alike_is_no_second_layer(share: float) -> None:
    """Of many drawn out columns those of layers differ, those of a sublattice do not."""
    rng = np.random.default_rng(1)
    n = 400
    some = rng.random(n) < share
    turn = rng.uniform(0, 2 * np.pi, n)
    one = np.zeros((6, n)) + 1.0
    fit = Fit(np.arange(n) * 10.0, np.zeros(n), *one, ok=np.ones(n, bool))
    fit.lean_err = fit.lean_noise = np.full(n, 0.03)
    fit.lean = rng.normal(0, 0.03, (n, 2))
    fit.lean[some] += 0.3 * np.array([0.6, 0.8])
    assert not overlaid(fit)
    fit.lean[some] = 0.3 * np.c_[np.cos(turn), np.sin(turn)][some]
    assert overlaid(fit) == (share > 0.15)
    drawn = drawn_out(fit, layers=True)
    assert drawn[some].all() and drawn[~some].mean() < 0.02
