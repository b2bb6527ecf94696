"""Columns that are two, closer than the image resolves: given as two, or marked."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

import napari_atomlens as al

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
