"""What a column adds to the image, with its error: the ground of every count of atoms."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import napari_atomlens as al
from napari_atomlens.atoms.refine import FitParams, fit_columns
from napari_atomlens.session.edits.place import measure

sys.path.insert(0, str(Path(__file__).parent))
from drawn_columns import drawn, pairs, square

SHAPE = (150, 150)


@pytest.mark.parametrize("width", ["auto", "free"])
@pytest.mark.parametrize("spacing", [9.0, 16.0])
def test_volumes_and_their_errors_are_true(spacing: float, width: str) -> None:
    sigma, z, bias = 0.24 * spacing, [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        places = square(SHAPE, spacing, 0.2)
        # the columns of a wedge: one to ten atoms of 3,000 counts each
        true = 3000.0 * rng.integers(1, 11, len(places))
        heights = true / (2 * np.pi * sigma**2)
        clean = drawn(SHAPE, places, heights, sigma) + 800 / sigma**2
        image = rng.poisson(clean).astype(np.float32)
        here = np.all((places > 0) & (places < np.array(SHAPE) - 1), axis=1)
        fit = fit_columns(image, places[here], spacing, FitParams(width=width))
        deep = np.all((places > spacing) & (places < SHAPE[0] - 1 - spacing), axis=1)[here]
        z += [((fit.volume - true[here]) / fit.volume_err)[deep & fit.ok]]
        bias += [(fit.volume / true[here])[deep & fit.ok]]
    off = np.concatenate(z)
    assert 0.8 < off.std() < 1.15
    assert abs(np.concatenate(bias).mean() - 1) < 0.02


def test_the_volume_of_an_oblong_column_counts_both_widths() -> None:
    places = square(SHAPE, 16.0, 0.2)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    clean = np.full(SHAPE, 50.0)
    for cy, cx in places:
        clean += 300 * np.exp(-0.5 * (((y - cy) / 3.4) ** 2 + ((x - cx) / 2.6) ** 2))
    image = np.random.default_rng(1).poisson(clean).astype(np.float32)
    here = places[np.all((places > 0) & (places < 149), axis=1)]
    fit = fit_columns(image, here, 16.0, FitParams(elliptic=True))
    deep = np.all((here > 16) & (here < 133), axis=1)
    assert abs(np.median(fit.volume[deep]) / (2 * np.pi * 300 * 3.4 * 2.6) - 1) < 0.01


@pytest.mark.needs_model
def test_the_table_of_atoms_holds_volumes_in_the_grey_values_of_the_image() -> None:
    places = square(SHAPE, 12.0, 0.1)
    clean = drawn(SHAPE, places, 100.0, 2.6) + 10
    image = np.random.default_rng(2).poisson(clean).astype(np.float32)
    deep = places[np.all((places > 10) & (places < 140), axis=1)]
    for times in (1.0, 7.5):
        atoms = al.analyze(times * image + 3).atoms
        i, _ = pairs(atoms[["y_px", "x_px"]].to_numpy(), deep, 2)
        volume, error = (atoms[c].to_numpy()[i] for c in ("volume", "volume_err"))
        assert abs(volume.mean() / (times * 2 * np.pi * 100 * 2.6**2) - 1) < 0.02
        z = (volume - times * 2 * np.pi * 100 * 2.6**2) / error
        assert 0.8 < z.std() < 1.25
    quick = al.analyze(image, params=al.AnalysisParams(refine="off")).atoms
    assert quick["volume"].isna().all() and quick["volume_err"].isna().all()
    # an atom that is placed by hand is measured in the same way
    y, x = deep[20]
    others = atoms[["y_px", "x_px"]].to_numpy()
    one = measure(image, [(y, x)], others, 12.0)[0]
    assert abs(one["volume"] / (2 * np.pi * 100 * 2.6**2) - 1) < 0.15 and one["volume_err"] > 0
